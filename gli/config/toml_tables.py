"""TOML files as plain tables: the one reader, and `environments.toml` with `extends` and overlays merged in.

`gli.config.toml_models` validates tables. This module imports no models: a command that needs only a few keys starts at
once.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gli.common.documents import content, refuse_deep
from gli.common.errors import UsageError

FILE = "environments.toml"
DEFAULT = "stg"
"""The environment of the release commands."""
_VARIABLE = re.compile(r"\$\{(\w+)-(\w*)\}")
READ: dict[str, set[str]] = {}
"""Real path of each file that this process has read to the SHA-256 of its content: two where it changed meanwhile."""


def read(path: Path, name: str | Path, *, missing: str = "write it", mend: str = "mend that line") -> dict[str, Any]:
    """The tables of a TOML file, which messages call `name`.

    Raises `UsageError` if the file does not exist (`missing` says what to do), can't be read, or is not TOML (`mend`
    says what to do).
    """
    try:
        found = content(path)
        READ.setdefault(os.path.realpath(path), set()).add(hashlib.sha256(found).hexdigest())
        tables = tomllib.loads(found.decode())
        refuse_deep(tables)
        return tables
    except FileNotFoundError:
        raise UsageError(f"{name} is missing; {missing}") from None
    except OSError as e:
        raise UsageError(f"{name} can't be read: {e.strerror}") from None
    except RecursionError:
        raise UsageError(f"{name} is not valid TOML: it is nested too deeply; {mend}") from None
    except ValueError as e:  # of TOML, of UTF-8, or of a number with thousands of digits
        raise UsageError(f"{name} is not valid TOML: {e}; {mend}") from None


def with_own(tables: dict[str, Any], root: Path, own: Path, ours: Path) -> dict[str, Any]:
    """The tables, with those of a project's own file after them if there is one; `UsageError` for a table of both."""
    if not (root / own).is_file():
        return tables
    added = read(root / own, own)
    both = sorted(added.keys() & tables.keys())
    if both:
        raise UsageError(f"{own}: [{both[0]}] stands in {ours} too; give it another name")
    return {**tables, **added}


def read_tables(root: Path) -> dict[str, Any]:
    """The tables of `environments.toml`; raises `UsageError` as `read` does."""
    return read(root / FILE, FILE, missing="run from the project's root, or write one (see the README)")


def environment_names(tables: Mapping[str, Any]) -> list[str]:
    """The environments that the tables of the file describe, sorted."""
    return sorted(k for k, v in tables.items() if isinstance(v, dict))


def names(root: Path) -> list[str]:
    """The environments that the file describes, sorted."""
    return environment_names(read_tables(root))


def default_environment(root: Path) -> str:
    """The environment of the release commands if nobody names one. Raises `UsageError` if the file does not have it."""
    known = names(root)
    if DEFAULT not in known:
        raise UsageError(
            f"no environment is named, and {FILE} does not have the default, {DEFAULT!r}; write --env NAME, or set "
            f"GLI_ENV; it has: {', '.join(known) or 'none'}"
        )
    return DEFAULT


def overlay_path(root: Path, merged: Mapping[str, Any], variables: Mapping[str, str] = os.environ) -> Path | None:
    """The path of the environment's overlay, with `${NAME-default}` replaced by the variable; None if it has no
    overlay.
    """
    template = merged.get("overlay")
    if not isinstance(template, str):
        return None
    return root / _VARIABLE.sub(lambda m: variables.get(m[1]) or m[2], template)


def overlay_variables(template: str | None) -> list[str]:
    """The names of the variables that move the overlay of an environment."""
    return [name for name, _ in _VARIABLE.findall(template or "")]


def read_overlay(root: Path, merged: Mapping[str, Any]) -> dict[str, Any] | None:
    """The overlay's tables; None if the file does not exist."""
    path = overlay_path(root, merged)
    if path is None or not path.is_file():
        return None
    return read(path, path, mend="start the environment again")


def tables_of(root: Path, name: str) -> dict[str, Any]:
    """The tables of one environment with `extends` merged in, before the overlay and before validation."""
    return extended(read_tables(root), name)


def whole(
    root: Path, tables: Mapping[str, Any], name: str, *, overlay: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The tables of one environment with `extends` and the overlay merged in, before validation.

    `overlay` replaces the overlay file.
    """
    own = extended(tables, name)
    return merged(own, (read_overlay(root, own) or {}) if overlay is None else overlay)


def extended(tables: Mapping[str, Any], name: str, *, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """One environment of the file's tables with `extends` merged in. Raises `UsageError` if no environment has this
    name.
    """
    environments = environment_names(tables)
    own = tables.get(name)
    if not isinstance(own, dict):
        where = f" ([{seen[-1]}] extends it)" if seen else ""
        raise UsageError(f"{FILE} has no environment {name!r}{where}; it has: {', '.join(environments) or 'none'}")
    if not re.fullmatch(r"\w[\w.-]*", name):  # a folder of reports has this name, and the last line of a run tells it
        raise UsageError(f"{FILE}: [{name!r}] is no name of an environment: give it letters, digits, '_', '.' and '-'")
    if name in seen:
        raise UsageError(f"{FILE}: [{name}] extends itself ({' -> '.join((*seen, name))}); take one `extends` out")
    parent = own.get("extends")
    if parent is None:
        return dict(own)
    if not isinstance(parent, str):
        raise UsageError(f"{FILE}: [{name}] extends must be the name of an environment, in quotes")
    return merged(extended(tables, parent, seen=(*seen, name)), own)


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`change` on top of `base`, table by table. Any other value is replaced as a whole."""
    both = dict(base)
    for key, value in change.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both
