"""One operation at a time: a lock on this machine and a lock ref in the log repository, both with the holder's name.

The lock on this machine is a `flock` of `.release/lock`. Its file descriptor is inherited by every git that an
operation starts, so it is free only when the last of them is gone: whoever cleans up after a promoter that was killed
waits for what it left running. Across machines it is the ref `refs/gli/lock`, made by a push that only creates; it can
be taken over after its deadline, or where it is known that the operation of that id has ended. Source of truth:
flock(2), git-push (--force-with-lease).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gli.common.clock import now, rfc3339
from gli.common.errors import UsageError
from gli.release.mirror import Mirror

REF = "refs/gli/lock"
VALID_FOR = timedelta(minutes=30)
_ORPHANS_S = 120.0


class Busy(Exception):
    """Somebody else is at it; the text says who."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    id: str
    actor: str
    host: str
    pid: int
    since: str
    until: str
    """RFC 3339: after it another machine may take the lock over."""

    @classmethod
    def this_process(cls, id_: str, actor: str) -> Holder:
        moment = now()
        return cls(id_, actor, os.uname().nodename, os.getpid(), rfc3339(moment), rfc3339(moment + VALID_FOR))

    @classmethod
    def parsed(cls, text: str) -> Holder | None:
        """The holder that a lock names; None where it is not ours to read."""
        try:
            holder = cls(**json.loads(text))
            aware = datetime.fromisoformat(holder.until).tzinfo is not None if holder.until else not holder.id
        except (ValueError, TypeError):
            return None
        texts = (holder.id, holder.actor, holder.host, holder.since, holder.until)
        return holder if aware and isinstance(holder.pid, int) and all(isinstance(t, str) for t in texts) else None

    @classmethod
    def of(cls, mirror: Mirror, object_: str) -> Holder | None:
        """The holder that the object of a lock ref names; raises `GitFailed`."""
        return cls.parsed(mirror.git("cat-file", "-p", object_))

    @property
    def text(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @property
    def expired(self) -> bool:
        return now() > datetime.fromisoformat(self.until)

    def __str__(self) -> str:
        return f"{self.actor} on {self.host} (process {self.pid}, since {self.since})"


@contextmanager
def local(state: Path, actor: str, patience_s: float = _ORPHANS_S) -> Iterator[int]:
    """The lock of this machine while the block runs; the file descriptor that git's processes have to inherit.

    Raises `Busy` where a living process holds it. Where its holder is dead, the git processes that it left still hold
    it: waits for them, for `patience_s` at most.
    """
    path = state / "lock"
    try:
        state.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise UsageError(f"{path} can't be opened: {e.strerror}; choose another `state` in environments.toml") from None
    try:
        _acquire(file, path, patience_s)
        os.ftruncate(file, 0)
        os.pwrite(file, Holder.this_process("", actor).text.encode(), 0)
        yield file
    finally:
        os.close(file)  # frees it, unless a git process that was left behind still has it


def _acquire(file: int, path: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = Holder.parsed(path.read_text(encoding="utf-8", errors="replace"))
        if holder is not None and _alive(holder):
            raise Busy(f"{holder} is at work in {path.parent}; wait until that has ended")
        if time.monotonic() > deadline:
            raise Busy(f"git processes that {holder or 'somebody'} left are still at work; wait until they have ended")
        time.sleep(0.02)


def _alive(holder: Holder) -> bool:
    if holder.host != os.uname().nodename:
        return True
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
