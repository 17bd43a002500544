"""Where a running sandbox keeps what it must: a private folder, found by its name, gone when it ends.

Where the overlay of `environments.toml` lies is a link to the folder. The supervisor holds a lock in it as long as it
lives, so that what a dead one left behind is told from what is in use. `.sandbox/NAME.git` is of all environments of
one name: whoever plays one of them holds a lock in it, and it goes with the last of them.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gli.common.errors import UsageError
from gli.config.toml_tables import FILE, overlay_path, tables_of

PROVIDER = "sandbox"
"""What `environments.toml` calls this package, as the `provider` of the environments that it plays."""
ENVIRONMENT = "sandbox"
"""The environment that is played where none is named."""
_PREFIX = "gli-sandbox-"
# A supervisor that is killed can't tidy up, so a shell waits for the end of its pipe and does: for both kinds of end.
# The servers may write until they die too, hence the second, third, ... attempt.
_JANITOR = """
trap '' HUP INT TERM
cat >/dev/null
[ "$(readlink "$2")" = "$1" ] && rm -f "$2"
[ -d "$3" ] && "$4" -ISc "$5" "$3"
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" 2>/dev/null && break
    sleep 0.1
done
rmdir "${2%/*}" 2>/dev/null
"""
# Remove the shared folder, unless another sandbox holds it. Not flock(1): macOS has none.
_REMOVE_UNUSED = """
import fcntl, shutil, sys
with open(sys.argv[1] + "/lock") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    shutil.rmtree(sys.argv[1])
"""


@dataclass(frozen=True)
class Place:
    """Which sandbox: its name, and the environment of `environments.toml` that it plays."""

    root: Path
    name: str
    environment: str
    link: Path
    """Leads to the folder of the one that is up."""

    @classmethod
    def of(cls, name: str, environment: str) -> Place:
        """The place of that name in the project around the working directory; `UsageError` where there can't be one."""
        if not re.fullmatch(r"\w[\w.-]{0,63}", name):
            raise UsageError(f"{name!r} can't name a sandbox; use letters, digits, '-', '_' and '.'")
        root = project_root()
        tables = tables_of(root, environment)
        overlay = overlay_path(root, tables, {"GLI_SANDBOX": name})
        if tables.get("provider") != PROVIDER or overlay is None or "extends" not in tables:
            raise UsageError(
                f"{FILE}: [{environment}] is no environment that is played here; it needs extends, overlay and "
                f'provider = "{PROVIDER}"'
            )
        return cls(root, name, environment, overlay.parent)

    @property
    def shared(self) -> Path:
        """The folder of what all environments of this name have in common: git's remotes, and GitHub's runs."""
        return self.link.with_name(f"{self.name}.git")

    @property
    def options(self) -> str:
        """What a command adds to mean this environment."""
        return "" if self.environment == ENVIRONMENT else f" --env {self.environment}"


class NotUp(Exception):
    """No sandbox of that name is up."""

    def __init__(self, place: Place) -> None:
        super().__init__(f"no sandbox {place.link.name!r} is up; start one with `python -m sandbox up{place.options}`")


class AlreadyUp(Exception):
    """One of that name is."""

    def __init__(self, place: Place) -> None:
        name = place.link.name
        super().__init__(f"a sandbox {name!r} is already up; `down` ends it, `--name` starts another beside it")


def project_root() -> Path:
    """The folder of `environments.toml`: this one, or the nearest above it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    raise UsageError(f"there is no {FILE} in {here} or above it; run from the project's root")


def running(place: Place) -> Path:
    """The folder of the sandbox that is up there, or `NotUp`."""
    if not _in_use(place.link):
        raise NotUp(place)
    return place.link.resolve()


class State:
    """The folder of one sandbox, as its supervisor holds it."""

    def __init__(self, path: Path, place: Place, lock: int) -> None:
        self.path = path
        self.place = place
        self.control = path / "control"
        self._locks = [lock]
        self._janitor = subprocess.Popen(
            ["sh", "-c", _JANITOR, "sh", path, place.link, place.shared, sys.executable, _REMOVE_UNUSED],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @classmethod
    def claim(cls, place: Place) -> State:
        """Make the folder and take the name, or `AlreadyUp`. What dead sandboxes left is removed first."""
        try:
            _sweep(place.link.parent)
            path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            path.chmod(0o711)  # a server under another user finds its own folder in it
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = cls(path, place, lock)
        except OSError as e:
            raise UsageError(f"{e.filename} can't be used: {e.strerror}; mend its permissions") from None
        try:
            _link(place, path)
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

    def share(self, make: Callable[[Path], None]) -> bool:
        """Hold on to the shared folder; whether it was `make` that filled it just now. Blocking.

        What is found is of another sandbox of this name that is up, or else a dead one's, and made again.
        """
        while True:
            lock = _shared_lock(self.place.shared)
            made = _filled(self.place.shared, lock, make)
            fcntl.flock(lock, fcntl.LOCK_SH)  # waits for another one that is filling it
            if _is_at(lock, self.place.shared / "lock") and (self.place.shared / "ready").exists():
                self._locks.append(lock)
                return made
            os.close(lock)  # it was given up meanwhile

    def remove(self) -> None:
        """Give up the name and remove the folder. Nothing of it may be in use any more."""
        assert self._janitor.stdin is not None
        for shared in self._locks[1:]:
            os.close(shared)
        self._janitor.stdin.close()
        self._janitor.wait()
        os.close(self._locks[0])


def _shared_lock(folder: Path) -> int:
    while True:
        with suppress(FileNotFoundError):  # the last one that held it took it along
            folder.mkdir(parents=True, exist_ok=True)
            return os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)


def _filled(folder: Path, lock: int, make: Callable[[Path], None]) -> bool:
    """Fill a folder that nobody else holds; False where somebody does."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != "lock":
            left.unlink()
    make(folder)
    (folder / "ready").touch()
    return True


def _is_at(lock: int, path: Path) -> bool:
    """Whether that open file is still the one of that name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), path.stat())
    return False


def _link(place: Place, target: Path) -> None:
    link = place.link
    for _ in range(10):
        link.parent.mkdir(exist_ok=True)
        try:
            link.symlink_to(target)
            return
        except FileExistsError:
            raise AlreadyUp(place) from None
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
    for shared in folder.glob("*.git/lock"):
        with suppress(OSError), shared.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(shared.parent)
