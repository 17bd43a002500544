"""The private folder of a running sandbox: found by the sandbox's name, removed when the sandbox ends.

A link leads to this folder, at the place where runs look for the overlay of `environments.toml`. The supervisor holds
a lock in the folder as long as it lives: a folder without a held lock is a dead sandbox's. All environments of one name
share `.sandbox/NAME.git`: each sandbox holds a lock in it, and the last one removes it.
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
# A killed supervisor can't tidy up, so a shell does: it waits for the end of a pipe from the supervisor, then removes
# the folder. The servers may still write to the folder until they end too, so the shell tries several times.
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
    """Identifies a sandbox: its name, and the environment of `environments.toml` that it plays."""

    root: Path
    name: str
    environment: str
    link: Path
    """Leads to the folder of the one that is up."""

    @classmethod
    def of(cls, name: str, environment: str) -> Place:
        """The place of this name in the project around the working directory; `UsageError` if that is impossible."""
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
        """The folder that all environments of this name share: git's remotes, and GitHub's runs."""
        return self.link.with_name(f"{self.name}.git")

    @property
    def options(self) -> str:
        """The command-line options that select this sandbox."""
        return "" if self.environment == ENVIRONMENT else f" --env {self.environment}"


class NotUp(Exception):
    """No sandbox of this name is up."""

    def __init__(self, place: Place) -> None:
        super().__init__(f"no sandbox {place.link.name!r} is up; start one with `python -m sandbox up{place.options}`")


class AlreadyUp(Exception):
    """A sandbox of this name is already up."""

    def __init__(self, place: Place) -> None:
        name = place.link.name
        super().__init__(f"a sandbox {name!r} is already up; `down` ends it, `--name` starts another beside it")


def project_root() -> Path:
    """The folder of `environments.toml`: the working directory, or the nearest folder above it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    raise UsageError(f"there is no {FILE} in {here} or above it; run from the project's root")


def running(place: Place) -> Path:
    """The folder of the sandbox that is up at this place; raises `NotUp`."""
    if not _in_use(place.link):
        raise NotUp(place)
    return place.link.resolve()


class State:
    """The folder of one sandbox, held by its supervisor."""

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
        """Make the folder and take the name; raises `AlreadyUp`. Folders of dead sandboxes are removed first."""
        try:
            _sweep(place.link.parent)
            path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            path.chmod(0o711)  # a server that runs as another user can reach its own folder in it
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
        """Write a file of the folder atomically."""
        path = self.path / name
        fresh = path.with_name(f"{name}.new")
        fresh.touch(mode)
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
        return path

    def share(self, make: Callable[[Path], None]) -> bool:
        """Hold the shared folder; returns whether `make` has just filled it. Blocking.

        An existing folder is kept if another sandbox of this name is up; a dead sandbox's folder is made again.
        """
        while True:
            lock = _shared_lock(self.place.shared)
            made = _filled(self.place.shared, lock, make)
            fcntl.flock(lock, fcntl.LOCK_SH)  # waits while another sandbox fills the folder
            if _is_at(lock, self.place.shared / "lock") and (self.place.shared / "ready").exists():
                self._locks.append(lock)
                return made
            os.close(lock)  # another sandbox removed the folder meanwhile

    def remove(self) -> None:
        """Release the name and remove the folder. Its files must not be in use any more."""
        assert self._janitor.stdin is not None
        for shared in self._locks[1:]:
            os.close(shared)
        self._janitor.stdin.close()
        self._janitor.wait()
        os.close(self._locks[0])


def _shared_lock(folder: Path) -> int:
    while True:
        with suppress(FileNotFoundError):  # the last sandbox that held it has removed it
            folder.mkdir(parents=True, exist_ok=True)
            return os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)


def _filled(folder: Path, lock: int, make: Callable[[Path], None]) -> bool:
    """Fill the folder if no other sandbox holds it; False if one does."""
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
    """Whether this open file is still the one at `path`."""
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
        except FileNotFoundError:  # another sandbox ended and removed the empty folder
            continue
        except OSError as e:
            raise UsageError(f"{link.parent} can't be written: {e.strerror}; mend its permissions") from None
    raise UsageError(f"{link.parent} keeps vanishing")


def _in_use(link: Path) -> bool:
    """Whether the supervisor that made this folder still lives."""
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
    """Remove the folders of dead sandboxes."""
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
