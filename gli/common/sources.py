"""The files that judge are compiled from the bytes that are hashed, and from nothing else.

Python prefers cached bytecode (`__pycache__`) to the source file if size and time agree, or if the bytecode says that
nobody needs to compare. Restored caches and `rsync -t` cause both without malice. Here each file of this package, and
each file outside the installed distributions, is read once, hashed, and compiled from the bytes that were read.

Source of truth: PEP 552 and `importlib.machinery.SourceFileLoader`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import marshal
import os
import site
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep
_HEADER = 16  # bytes in front of the code in a .pyc file: PEP 552
_kept = SourceFileLoader.get_code


@dataclass(frozen=True)
class Loaded:
    """One file that took part in a process."""

    module: str
    path: str
    sha256: str
    """Of the bytes that were compiled; empty where the file can't be read."""
    stale: bool = False
    """Whether what ran is not what the source says."""


_loaded: dict[str, Loaded] = {}
_ahead: dict[str, tuple[bytes, CodeType]] = {}
"""Path of a file that was compiled before its import, to its bytes and their code."""
_before: set[str] = set()
"""The modules that were loaded before `compile_from_source`; empty until then."""


def _installed_places() -> tuple[str, ...]:
    places = {str(Path(os.__file__).parent), *site.getsitepackages([sys.prefix, sys.base_prefix])}
    if site.ENABLE_USER_SITE and site.USER_SITE and "PYTHONUSERBASE" not in os.environ:  # which names any folder
        places.add(site.USER_SITE)
    return tuple({form + os.sep for place in places for form in (place, os.path.realpath(place))})


_INSTALLED = _installed_places()


def real(path: str | Path) -> str:
    """`os.path.realpath`, which looks at every folder above the file: here each folder is looked up once in a process.

    A run asks for thousands of files in a few folders.
    """
    folder, name = os.path.split(path)
    found = _real_folder(folder) + os.sep + name
    if not folder.startswith(os.sep) or name in ("", os.curdir, os.pardir) or Path(found).is_symlink():
        return os.path.realpath(path)
    return found


@functools.cache
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder).rstrip(os.sep)


def judges(path: str) -> bool:
    """Whether a file belongs to this package, or to no installed distribution."""
    return real(path).startswith(PACKAGE) or not is_installed(path)


def is_installed(path: str) -> bool:
    """Whether a path is below a place where Python keeps its own modules or installed distributions."""
    # `site-packages/../elsewhere` is elsewhere, so both forms are without `..`
    return any(f"{form(path)}{os.sep}".startswith(_INSTALLED) for form in (os.path.abspath, real))


def compile_from_source() -> None:
    """Make this process compile the files that judge from their source, from now on."""
    if SourceFileLoader.get_code is _kept:
        _before.update(sys.modules)
        SourceFileLoader.get_code = _fresh  # type: ignore[method-assign, assignment]


def _fresh(self: SourceFileLoader, fullname: str) -> CodeType | None:
    path = self.get_filename(fullname)
    if not judges(path):
        return _kept(self, fullname)
    source = taken(fullname, path)
    ahead, code = _ahead.pop(path, (None, None))
    return code if source == ahead else self.source_to_code(source, path)


def compiled_ahead(path: str, source: bytes) -> CodeType:
    """The code of a file that may be imported later. The import takes it if the file has the same bytes then."""
    code = compile(source, path, "exec", dont_inherit=True)
    _ahead[path] = source, code
    return code


def taken(module: str, path: str) -> bytes:
    """The source of a module that is compiled now. Its hash is kept for `loaded`."""
    source = Path(path).read_bytes()
    _loaded[path] = Loaded(module, path, hashlib.sha256(source).hexdigest())
    return source


def loaded(others: Iterable[Any] = ()) -> list[Loaded]:
    """Every file that judges and that this process has loaded so far, sorted by module.

    `others` are modules that may have left `sys.modules`; other objects are skipped. A file that was loaded before
    `compile_from_source` is compared with its bytecode; one that something else loaded after it counts as stale.
    """
    for module in [*sys.modules.values(), *_of_site(), *others]:
        path = _origin(module)
        if path is not None and path not in _loaded and judges(path):
            _loaded[path] = _compared(module.__name__, path, module)
    return sorted(_loaded.values(), key=lambda one: (one.module, one.path))


def _of_site() -> Iterator[ModuleType]:
    """The modules that Python imports by itself at its start (`site`), even if they have left `sys.modules`."""
    for name in ("sitecustomize", "usercustomize"):
        spec = PathFinder.find_spec(name)
        if spec is not None:
            yield importlib.util.module_from_spec(spec)


def look_in_installed_places_first() -> None:
    """Makes Python look for modules in the installed places before all other folders, from now on: no file `queue.py`
    of the project takes the place of Python's own module or of a library.
    """
    sys.path.sort(key=lambda folder: not is_installed(folder))


def hidden_modules() -> Iterator[tuple[str, str]]:
    """Each of Python's own modules whose place another file has taken in this process: (name, path)."""
    for name in sorted(sys.stdlib_module_names & sys.modules.keys()):
        path = _origin(sys.modules[name])
        if path is not None and not is_installed(path):
            yield name, path


def stale() -> Iterator[str]:
    """The files whose bytecode does not come from their source."""
    return (one.path for one in loaded() if one.stale)


def _origin(module: Any) -> str | None:
    """The file of a module; None for a built-in module and for the script that started the process."""
    if not isinstance(module, ModuleType) or module.__name__ == "__main__":
        return None
    spec = getattr(module, "__spec__", None)
    path = spec.origin if spec is not None and spec.has_location else getattr(module, "__file__", None)
    return path if isinstance(path, str) else None


def _compared(name: str, path: str, module: ModuleType) -> Loaded:
    try:
        source = Path(path).read_bytes()
    except OSError:
        return Loaded(name, path, "")
    sha256 = hashlib.sha256(source).hexdigest()
    if not path.endswith(".py"):
        return Loaded(name, path, sha256)
    if _before and name not in _before:
        return Loaded(name, path, sha256, stale=True)  # something else than `_fresh` loaded it: what ran is unknown
    return Loaded(name, path, sha256, stale=not _is_of(path, source, module))


def _is_of(path: str, source: bytes, module: ModuleType) -> bool:
    """Whether the bytecode that Python used for a module comes from its source. A module without bytecode counts as
    yes.
    """
    try:
        kept = Path(getattr(module, "__cached__", None) or importlib.util.cache_from_source(path)).read_bytes()
        if not _is_taken(kept, source, Path(path).stat()):
            return True  # Python compiled the source itself
        return bool(marshal.loads(kept[_HEADER:]) == compile(source, path, "exec", dont_inherit=True))
    except (OSError, NotImplementedError):
        return True  # there is no bytecode
    except (EOFError, ValueError, TypeError, SyntaxError):
        return False


def _is_taken(kept: bytes, source: bytes, stat: os.stat_result) -> bool:
    """Whether Python accepts this bytecode for a source, judged by the bytecode's header (PEP 552)."""
    flags = int.from_bytes(kept[4:8], "little")
    if flags == 0:
        written = int.from_bytes(kept[8:12], "little"), int.from_bytes(kept[12:16], "little")
        return written == (int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size & 0xFFFFFFFF)
    return flags == 1 or kept[8:16] == importlib.util.source_hash(source)  # 1: never compared
