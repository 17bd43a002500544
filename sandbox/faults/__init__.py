"""Faults: named, undoable ways to break one thing of the sandbox, and the handle through which they reach it.

A fault is a generator: what stands before its `yield` breaks, what stands after it heals. It stands in the module of
the catalogue's layer that its first check is of.

    @fault("redis-user-off", turns_red=["redis-ping"])
    def redis_user_off(sandbox: Sandbox) -> Iterator[None]:
        \"""The ACL user that the suite logs in with is switched off.\"""
        sandbox.redis().acl_setuser("gli_verify", enabled=False)
        yield
        sandbox.redis().acl_setuser("gli_verify", enabled=True)
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from gli.common.errors import UsageError
from sandbox.handle import Sandbox

__all__ = ["Fault", "Runner", "Sandbox", "fault", "find", "known"]

Break = Callable[[Sandbox], Iterator[None]]


@dataclass(frozen=True)
class Fault:
    """One way to break the sandbox."""

    id: str
    turns_red: tuple[str, ...]
    """The checks that fail while it is active, as its root cause or as a symptom."""
    description: str
    make: Break
    production: bool = False
    """Whether it only turns them red in production."""


_registry: dict[str, Fault] = {}


def fault(id: str, *, turns_red: Sequence[str], production: bool = False) -> Callable[[Break], Break]:
    """Register the decorated generator function under `id`; the first line of its docstring describes it."""

    def register(make: Break) -> Break:
        if id in _registry:
            raise ValueError(f"two faults are called {id}")
        description = (make.__doc__ or "").strip().partition("\n")[0]
        _registry[id] = Fault(id, tuple(turns_red), description, make, production)
        return make

    return register


@cache
def known() -> Mapping[str, Fault]:
    """Every fault, sorted by id: those of all the modules of this package."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_registry.items()))


def find(ids: Iterable[str]) -> list[Fault]:
    """The faults with these ids; an unknown one is a `UsageError` that names its neighbours."""
    faults = known()
    found = []
    for id in ids:
        if id not in faults:
            near = difflib.get_close_matches(id, faults, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else "`faults` lists them all."
            raise UsageError(f"there is no fault {id!r}; {hint}")
        found.append(faults[id])
    return found


class FaultError(Exception):
    """A fault could not be made or undone."""


class Runner:
    """Keeps the suspended generator of every active fault. Blocking: called in a thread, one call at a time."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._active: dict[str, Iterator[None]] = {}
        self._lock = threading.Lock()

    @property
    def active(self) -> list[str]:
        """The ids of the active faults, oldest first."""
        return list(self._active)

    def make(self, ids: Sequence[str]) -> list[str]:
        """Break these; a line on each."""
        with self._lock:
            return [self._make(one) for one in find(ids)]

    def heal(self, ids: Sequence[str]) -> list[str]:
        """Heal these, or all of them where none is named, the newest first; a line on each."""
        with self._lock:
            wanted = {one.id for one in find(ids)} if ids else set(self._active)
            lines, failed = [f"{id} was not active" for id in ids if id not in self._active], []
            for id in [id for id in reversed(self.active) if id in wanted]:
                try:
                    lines.append(self._heal(id))
                except FaultError as e:  # the others are healed all the same
                    failed.append(str(e))
            if failed:
                raise FaultError(f"{'; '.join(failed)}; start the sandbox again")
            return lines

    def _make(self, one: Fault) -> str:
        if one.id in self._active:
            return f"{one.id} is already active"
        if one.production and not self._sandbox.environment.production:
            raise UsageError(f"{one.id} only turns production red; break it where production is played (`--env`)")
        generator = one.make(self._sandbox)
        try:
            next(generator)
        except Exception as e:
            raise FaultError(f"{one.id} could not be made: {_told(e)}") from e
        self._active[one.id] = generator
        return f"{one.id} is active: {one.description} It turns red: {', '.join(one.turns_red)}"

    def _heal(self, id: str) -> str:
        try:
            with suppress(StopIteration):
                next(self._active.pop(id))
        except Exception as e:
            raise FaultError(f"{id} could not be healed: {_told(e)}") from e
        return f"{id} is healed"


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
