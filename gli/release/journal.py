"""The journal of one operation: a JSON line an event, on disk before the effect that it announces.

A file `ID.jsonl` in `.release/journal/`; whoever finds it after a crash knows what was meant and how far it came. Every
line carries its own hash over its content and the hash of the line before, so an edit shows. A last line without its
newline was torn by a crash, before its effect: it is dropped. Anything else that does not fit is refused.

Events, in the order in which they can come; `detail` holds what is named here:

    opened      kind, source, branch, reason: what was asked for
    planned     manifest (the id), trees (their digest), tag, moves {repository: see gli.release.plan.Move}, and what
                the operation adds: verdict, held, to, ...
    refused     reason, code: it ended before anything moved                                                   (final)
    approved    requested_by, approved_by, approved (the id)
    parking     tag, tagged [repository], lock (object), fences {repository: [objects]} (see gli.release.fence): from
                here on remotes may hold something of it
    adopted     the fences of another machine's operation are this machine's now
    parked      tags {repository: tag object}
    pushing     from here on branches may move
    pushed      repository
    failed      repository, reason, sure: whether it certainly did not land
    decided     decision "commit" | "abort", reason
    restoring   repository, restore: the commit that takes it back
    restored    repository
    stuck       repositories, reason: a person has to look
    done        tag                                                                                            (final)
    overtaken   by, reason: another machine has taken it over (final, until this machine takes it over from that one)
    undone      reason, moved [repository]: those that had moved, and are back at the tree that they had        (final)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gli.common.clock import now, rfc3339
from gli.common.errors import FULL, DiskError, UsageError

FINAL = ("refused", "done", "undone", "overtaken")
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
_START = "0" * 64
_ESCAPED = "backslashreplace"  # git may print bytes outside UTF-8; JSON reads them back


@dataclass(frozen=True)
class Event:
    """One line of a journal."""

    seq: int
    at: str
    """The time of the event: RFC 3339, UTC."""
    id: str
    event: str
    actor: str
    host: str
    pid: int
    detail: Mapping[str, Any]
    prev: str
    """The hash of the line before; zeros in the first."""
    hash: str = ""
    """SHA-256 of all fields above."""


@dataclass
class Journal:
    """A journal that is being written. `append` returns when the line is on disk; threads may call it."""

    path: Path
    actor: str
    events: list[Event]
    _file: int
    _torn: bool = False
    """Whether a line was not written completely: no line may follow it."""
    _writing: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def create(cls, folder: Path, id_: str, actor: str) -> Journal:
        """A new journal. Raises `FileExistsError` for an id that was used, `UsageError` if it can't be written."""
        path = folder / f"{id_}.jsonl"
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
            _sync_folder(folder)
        except OSError as e:
            if isinstance(e, FileExistsError) and folder.is_dir():
                raise
            error = DiskError if e.errno in FULL else UsageError
            raise error(f"{path} can't be written: {e.strerror}; nothing was moved") from None
        return cls(path, actor, [], file)

    @classmethod
    def reopen(cls, path: Path, actor: str) -> Journal:
        """An existing journal, to continue it; a torn last line is cut off. Raises `UsageError` as `read` does."""
        events, whole = _parsed(path)
        try:
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as e:
            raise UsageError(f"{path} can't be written: {e.strerror}; let whoever ends it write there") from None
        os.ftruncate(file, whole)
        os.fsync(file)
        return cls(path, actor, events, file)

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def head(self) -> str:
        """The hash of the last line."""
        return self.events[-1].hash if self.events else _START

    def append(self, event: str, **detail: Any) -> Event:
        """Write one line to the disk. Raises `DiskError` if that fails, and for every call after that."""
        with self._writing:
            line = Event(
                seq=len(self.events) + 1,
                at=rfc3339(now()),
                id=self.id,
                event=event,
                actor=self.actor,
                host=os.uname().nodename,
                pid=os.getpid(),
                detail=detail,
                prev=self.head,
            )
            body = _body(line)
            line = Event(**{**body, "hash": _hash(body)})
            text = json.dumps({**body, "hash": line.hash}, ensure_ascii=False).encode(errors=_ESCAPED) + b"\n"
            self._write(text)
            self.events.append(line)
            return line

    def close(self) -> None:
        os.close(self._file)

    def _write(self, line: bytes) -> None:
        why = "a line before could not be written"
        try:
            if not self._torn and os.write(self._file, line) == len(line):
                os.fsync(self._file)
                return
            why = why if self._torn else "the disk took only a part of a line"
        except OSError as e:
            why = e.strerror or str(e)
        self._torn = True
        raise DiskError(f"{self.path} can't be written: {why}; {self.so_far}")

    @property
    def so_far(self) -> str:
        """How far the operation came, and what to do now."""
        names = [event.event for event in self.events]
        if "parking" not in names:
            return "nothing was pushed; make room, then start again"
        if "pushing" not in names:
            return "nothing has moved; make room, then: gli promote --undo"
        moved = {event.detail["repository"] for event in self.events if event.event == "pushed"}
        known = (last(self.events, "planned") or {}).get("moves", {})
        return f"{len(moved)} of {len(known)} are known to have moved; make room, then gli promote --resume, or --undo"


def folder(state: Path) -> Path:
    """The folder of the journals in a state folder."""
    return state / "journal"


def ids(folder: Path) -> list[str]:
    """The ids of the journals in a folder, oldest first: they sort by time."""
    return sorted(path.stem for path in folder.glob("*.jsonl") if _ID.fullmatch(path.stem) and path.is_file())


def is_id(text: str) -> bool:
    """Whether a text has the form of an operation's id."""
    return _ID.fullmatch(text) is not None


def paths(state: Path) -> list[Path]:
    """The journals of a state folder, oldest first."""
    return [of(state, id_) for id_ in ids(folder(state))]


def of(state: Path, id_: str) -> Path:
    """The path of an operation's journal."""
    return folder(state) / f"{id_}.jsonl"


def read(path: Path) -> list[Event]:
    """The events of a journal. Raises `UsageError` if a line was changed, removed or inserted. A torn last line is left
    out.
    """
    return _parsed(path)[0]


def is_final(events: Sequence[Event]) -> bool:
    """Whether the operation came to an end, good or bad. An empty journal announced nothing, so it counts as ended."""
    return not events or events[-1].event in FINAL


def is_overtaken(events: Sequence[Event]) -> bool:
    """Whether another machine has taken the operation over: this machine does no more of it, and does not know whether
    it has ended.
    """
    return bool(events) and events[-1].event == "overtaken"


def since_overtaken(events: Sequence[Event]) -> Sequence[Event]:
    """The events since this machine has taken the operation back from another one; all if it has not."""
    at = max((number for number, event in enumerate(events, 1) if event.event == "overtaken"), default=0)
    return events[at:]


def last(events: Sequence[Event], name: str) -> Mapping[str, Any] | None:
    """The detail of the last event with that name."""
    return next((e.detail for e in reversed(events) if e.event == name), None)


def _parsed(path: Path) -> tuple[list[Event], int]:
    """The events, and the number of bytes that they take."""
    try:
        content = path.read_bytes()
    except OSError as e:
        raise UsageError(f"{path} can't be read: {e.strerror}") from None
    whole = content.rfind(b"\n") + 1
    events: list[Event] = []
    for number, line in enumerate(content[:whole].split(b"\n")[:-1], 1):
        event = _event(line)
        if event is None or event.seq != number or event.id != path.stem:
            raise _broken(path, number)
        if event.prev != (events[-1].hash if events else _START):
            raise _broken(path, number)
        events.append(event)
    return events, whole


def _event(line: bytes) -> Event | None:
    try:
        event = Event(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    return event if event.hash == _hash(_body(event)) else None


def _broken(path: Path, number: int) -> UsageError:
    return UsageError(
        f"{path}: line {number} is not as it was written, so nobody knows what happened; compare the branches by hand "
        "(gli doctor), then move the file away"
    )


def _body(event: Event) -> dict[str, Any]:
    return {k: v for k, v in vars(event).items() if k != "hash"}


def _hash(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors=_ESCAPED)).hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
