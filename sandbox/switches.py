"""What can be switched on in a running sandbox, and off again: faults that break it, variants that stay healthy.

A switch is a generator: what stands before its `yield` makes the state, what stands after it takes the state back.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from gli.common.errors import UsageError
from gli.config.environments import Environment
from sandbox.handle import Sandbox

Make = Callable[[Sandbox], Iterator[None]]


@dataclass(frozen=True)
class Switch:
    """One state that the sandbox can be in."""

    id: str
    description: str
    make: Make

    @property
    def told(self) -> str:
        """What is said once it is on."""
        return self.description

    def refuse(self, environment: Environment) -> None:
        """Raises `UsageError` where it can't be switched on."""


Kind = TypeVar("Kind", bound=Switch)


class SwitchFailed(Exception):
    """A switch could not be made or undone."""


def register(known: dict[str, Kind], switch: Kind) -> None:
    """Add a switch to those of its kind; its id must be new."""
    if switch.id in known:
        raise ValueError(f"two switches are called {switch.id}")
    known[switch.id] = switch


def imported(package: str, path: Iterable[str], known: Mapping[str, Kind]) -> Mapping[str, Kind]:
    """Every switch of one kind, sorted by id: those of all the modules of a package."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
    return dict(sorted(known.items()))


def described(make: Make) -> str:
    """The first line of a switch's docstring."""
    return (make.__doc__ or "").strip().partition("\n")[0]


class Runner(Generic[Kind]):
    """Keeps the suspended generator of every active switch. Blocking: called in a thread, one call at a time."""

    def __init__(self, sandbox: Sandbox, known: Callable[[], Mapping[str, Kind]], word: str, off: str) -> None:
        """`word` is what a switch is called (`fault`), `off` what it is afterwards (`healed`)."""
        self._sandbox = sandbox
        self._known, self._word, self._off = known, word, off
        self._active: dict[str, Iterator[None]] = {}
        self._lock = threading.Lock()

    @property
    def active(self) -> list[str]:
        """The ids of the active switches, oldest first."""
        return list(self._active)

    def on(self, ids: Sequence[str]) -> list[str]:
        """Switch these on; a line on each."""
        with self._lock:
            return [self._make(one) for one in self._find(ids)]

    def off(self, ids: Sequence[str]) -> list[str]:
        """Switch these off, or all of them where none is named, the newest first; a line on each."""
        with self._lock:
            wanted = {one.id for one in self._find(ids)} if ids else set(self._active)
            lines, failed = [f"{id} was not active" for id in ids if id not in self._active], []
            for id in [id for id in reversed(self.active) if id in wanted]:
                try:
                    lines.append(self._undo(id))
                except SwitchFailed as e:  # the others are undone all the same
                    failed.append(str(e))
            if failed:
                raise SwitchFailed(f"{'; '.join(failed)}; start the sandbox again")
            return lines

    def _find(self, ids: Iterable[str]) -> list[Kind]:
        return find(self._known(), ids, self._word)

    def _make(self, one: Kind) -> str:
        if one.id in self._active:
            return f"{one.id} is already active"
        one.refuse(self._sandbox.environment)
        generator = one.make(self._sandbox)
        try:
            next(generator)
        except Exception as e:
            raise SwitchFailed(f"{one.id} could not be made: {_told(e)}") from e
        self._active[one.id] = generator
        return f"{one.id} is active: {one.told}"

    def _undo(self, id: str) -> str:
        try:
            with suppress(StopIteration):
                next(self._active.pop(id))
        except Exception as e:
            raise SwitchFailed(f"{id} could not be {self._off}: {_told(e)}") from e
        return f"{id} is {self._off}"


def find(known: Mapping[str, Kind], ids: Iterable[str], word: str) -> list[Kind]:
    """The switches with these ids; an unknown one is a `UsageError` that names its neighbours."""
    found = []
    for id in ids:
        if id not in known:
            near = difflib.get_close_matches(id, known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"`{word}s` lists them all."
            raise UsageError(f"there is no {word} {id!r}; {hint}")
        found.append(known[id])
    return found


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
