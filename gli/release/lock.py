"""One operation at a time: a lock on this machine, and a lock ref in the log repository, both with the holder's name.

The lock on this machine is a `flock` of `.release/lock`. Every git process that fetches or pushes notes its id in
`.release/running/` before it starts. So after a promoter was killed, its successor can wait for the git processes that
it left. Children do not inherit the lock: git may start a daemon (git-credential-cache) that lives for hours.

Across machines the lock is the ref `refs/gli/lock`. A push creates it, and fails if it exists. It is replaced if the
fences say that its operation has ended, or by a person with `gli promote --take-over` (see `gli.release.fence`,
`gli.release.take_over`).

Source of truth: flock(2), git-push (--force-with-lease).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gli.common.clock import now, rfc3339
from gli.common.errors import UsageError
from gli.release.mirror import Mirror

_ORPHANS_S = 120.0


class Busy(Exception):
    """Another process or person holds the lock; the text says who."""


@dataclass(frozen=True)
class Holder:
    """The holder of a lock."""

    id: str
    actor: str
    host: str
    pid: int
    since: str

    @classmethod
    def this_process(cls, id_: str, actor: str) -> Holder:
        return cls(id_, actor, os.uname().nodename, os.getpid(), rfc3339(now()))

    @classmethod
    def parsed(cls, text: str) -> Holder | None:
        """The holder that a lock names; None if the text is not in our format."""
        try:
            found = json.loads(text)
            holder = cls(**{field.name: found[field.name] for field in fields(cls)})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        texts = (holder.id, holder.actor, holder.host, holder.since)
        return holder if isinstance(holder.pid, int) and all(isinstance(t, str) for t in texts) else None

    @classmethod
    def of(cls, mirror: Mirror, object_: str) -> Holder | None:
        """The holder that the object of a lock ref names. Raises `GitFailed`."""
        return cls.parsed(mirror.message(object_))

    def made(self, mirror: Mirror, over: str | None) -> str:
        """Make the object of a lock ref that names this holder, on top of the lock that it replaces. Returns its id."""
        return mirror.make_chain([self.text], over or "")[0]

    @property
    def text(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        return f"{self.actor} on {self.host} (process {self.pid}, since {self.since})"


@contextmanager
def local(state: Path, actor: str, patience_s: float = _ORPHANS_S) -> Iterator[Path]:
    """The lock of this machine while the block runs. Yields the folder in which git processes note their ids.

    Raises `Busy` if a living process holds it. If its holder is dead, git processes that it left may still work: waits
    for them for at most `patience_s` seconds.
    """
    path, running = state / "lock", state / "running"
    try:
        running.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise UsageError(f"{path} can't be opened: {e.strerror}; choose another `state` in environments.toml") from None
    try:
        _acquire(file, path, patience_s)
        _wait_for(running, Holder.parsed(path.read_text(encoding="utf-8", errors="replace")), patience_s)
        os.ftruncate(file, 0)
        os.pwrite(file, Holder.this_process("", actor).text.encode(), 0)
        yield running
    finally:
        os.close(file)


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
            raise Busy(f"{holder or 'somebody'} has {path}; wait until that process has ended")
        time.sleep(0.02)


def _wait_for(running: Path, holder: Holder | None, patience_s: float) -> None:
    """Wait until the noted git processes have ended. Raises `Busy` if they have not ended in time."""
    deadline = time.monotonic() + patience_s
    for path in list(running.iterdir()):
        while is_git(path.name):
            if time.monotonic() > deadline:
                left = f"git processes that {holder or 'somebody'} left are still at work"
                raise Busy(f"{left}; wait until they have ended")
            time.sleep(0.02)
        path.unlink(missing_ok=True)


def is_git(pid: str) -> bool:
    """Whether the process is alive and is git (or the shell that becomes git), as far as the system tells."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return False  # another user's process: the system has used the number again
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self").exists()  # without /proc nothing more is known
    return state != "Z" and b"git" in command


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
