"""Where a running sandbox keeps what it must: a private folder, found by its name, gone when it ends.

`.sandbox/NAME` beside `environments.toml` is a link to the folder. The supervisor holds a lock in it as long as it
lives, so that what a dead one left behind is told from what is in use.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from gli.environments import FILE
from gli.errors import UsageError

_FOLDER = ".sandbox"
_PREFIX = "gli-sandbox-"
# A supervisor that is killed can't tidy up, so a shell waits for the end of its pipe and does: for both kinds of end.
# The servers may write until they die too, hence the second, third, ... attempt.
_JANITOR = """
trap '' HUP INT TERM
cat >/dev/null
[ "$(readlink "$2")" = "$1" ] && rm -f "$2"
rmdir "${2%/*}" 2>/dev/null
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" 2>/dev/null && break
    sleep 0.1
done
"""


class NotUp(Exception):
    """No sandbox of that name is up."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no sandbox {name!r} is up; start one with `python -m sandbox up`")


class AlreadyUp(Exception):
    """One of that name is."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a sandbox {name!r} is already up; `down` ends it, `--name` starts another beside it")


def project_root() -> Path:
    """The folder of `environments.toml`: this one, or the nearest above it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    raise UsageError(f"there is no {FILE} in {here} or above it; run from the project's root")


def checked_name(name: str) -> str:
    """A name that can be a file's."""
    if not re.fullmatch(r"\w[\w.-]{0,63}", name):
        raise UsageError(f"{name!r} can't name a sandbox; use letters, digits, '-', '_' and '.'")
    return name


def running(root: Path, name: str) -> Path:
    """The folder of the sandbox of that name, or `NotUp`."""
    link = root / _FOLDER / name
    if not _in_use(link):
        raise NotUp(name)
    return link.resolve()


class State:
    """The folder of one sandbox, as its supervisor holds it."""

    def __init__(self, path: Path, link: Path, lock: int) -> None:
        self.path = path
        self.name = link.name
        self.control = path / "control"
        self._lock = lock
        self._janitor = subprocess.Popen(
            ["sh", "-c", _JANITOR, "sh", path, link],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @classmethod
    def claim(cls, root: Path, name: str) -> State:
        """Make the folder and take the name, or `AlreadyUp`. What dead sandboxes left is removed first."""
        folder = root / _FOLDER
        link = folder / name
        try:
            _sweep(folder)
            path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            path.chmod(0o711)  # a server under another user finds its own folder in it
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = cls(path, link, lock)
        except OSError as e:
            raise UsageError(f"{e.filename} can't be used: {e.strerror}; mend its permissions") from None
        try:
            _link(link, path)
        except BaseException:
            state.remove()
            raise
        return state

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Write a file of the folder, all at once."""
        path = self.path / name
        fresh = path.with_name(f"{name}.new")
        fresh.touch(mode)
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
        return path

    def remove(self) -> None:
        """Give up the name and remove the folder. Nothing of it may be in use any more."""
        assert self._janitor.stdin is not None
        self._janitor.stdin.close()
        self._janitor.wait()
        os.close(self._lock)


def _link(link: Path, target: Path) -> None:
    for _ in range(10):
        link.parent.mkdir(exist_ok=True)
        try:
            link.symlink_to(target)
            return
        except FileExistsError:
            raise AlreadyUp(link.name) from None
        except FileNotFoundError:  # another sandbox ended and took the empty folder along
            continue
        except OSError as e:
            raise UsageError(f"{link.parent} can't be written: {e.strerror}; mend its permissions") from None
    raise UsageError(f"{link.parent} keeps vanishing")


def _in_use(link: Path) -> bool:
    """Whether the supervisor that made it lives."""
    try:
        lock = os.open(link / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _sweep(folder: Path) -> None:
    """Remove what dead sandboxes left."""
    for link in folder.glob("*") if folder.is_dir() else ():
        if link.is_symlink() and not _in_use(link):
            target = link.readlink()
            link.unlink(missing_ok=True)
            if target.name.startswith(_PREFIX):
                with suppress(OSError):
                    shutil.rmtree(target)
