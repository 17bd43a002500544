"""Switches of a running sandbox: faults, which break it, and variants, which stay healthy.

A switch is a generator: the code before its `yield` makes the state, the code after it undoes the state.
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
    """A state of the sandbox that can be switched on and off."""

    id: str
    description: str
    make: Make

    @property
    def told(self) -> str:
        """The message after it was switched on."""
        return self.description

    def refuse(self, environment: Environment) -> None:
        """Raises `UsageError` if it can't be switched on in this environment."""


Kind = TypeVar("Kind", bound=Switch)


class SwitchFailed(Exception):
    """A switch could not be made or undone."""


def register(known: dict[str, Kind], switch: Kind) -> None:
    """Add a switch to the known ones of its kind; its id must be new."""
    if switch.id in known:
        raise ValueError(f"two switches are called {switch.id}")
    known[switch.id] = switch


def imported(package: str, path: Iterable[str], known: Mapping[str, Kind]) -> Mapping[str, Kind]:
    """Import all modules of a package; returns their switches of one kind, sorted by id."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
    return dict(sorted(known.items()))


def described(make: Make) -> str:
    """The first line of a switch's docstring."""
    return (make.__doc__ or "").strip().partition("\n")[0]


class Runner(Generic[Kind]):
    """Keeps the suspended generator of every active switch. Blocking: called in a thread, one call at a time."""

    def __init__(self, sandbox: Sandbox, known: Callable[[], Mapping[str, Kind]], word: str, off: str) -> None:
        """`word` is the name of the kind in messages (`fault`), `off` the word for switched off (`healed`)."""
        self._sandbox = sandbox
        self._known, self._word, self._off = known, word, off
        self._active: dict[str, Iterator[None]] = {}
        self._lock = threading.Lock()

    @property
    def active(self) -> list[str]:
        """The ids of the active switches, oldest first."""
        return list(self._active)

    def on(self, ids: Sequence[str]) -> list[str]:
        """Switch these on; returns a line for each."""
        with self._lock:
            return [self._make(one) for one in self._find(ids)]

    def off(self, ids: Sequence[str]) -> list[str]:
        """Switch these off, or all if none is named, newest first; returns a line for each."""
        with self._lock:
            wanted = {one.id for one in self._find(ids)} if ids else set(self._active)
            lines, failed = [f"{id} was not active" for id in ids if id not in self._active], []
            for id in [id for id in reversed(self.active) if id in wanted]:
                try:
                    lines.append(self._undo(id))
                except SwitchFailed as e:  # go on and undo the others
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
    """The switches with these ids. An unknown id raises `UsageError`, which names similar ids."""
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
