"""`environments.toml` as plain tables, with `extends` and overlays merged in.

`gli.config.environments` validates the tables. This module imports no models, so that a command that needs only a few
keys starts at once.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gli.common.errors import UsageError

FILE = "environments.toml"


def read_tables(root: Path) -> dict[str, Any]:
    """The file as TOML tables; `UsageError` where it is missing or not TOML."""
    path = root / FILE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} is missing; run from the project's root, or write one (see the README)") from None
    except OSError as e:
        raise UsageError(f"{path} can't be read: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"{FILE} is not valid TOML: {e}; mend that line") from None


def names(root: Path) -> list[str]:
    """The environments that the file describes, sorted."""
    return sorted(k for k, v in read_tables(root).items() if isinstance(v, dict))


def overlay_path(root: Path, merged: Mapping[str, Any], variables: Mapping[str, str] = os.environ) -> Path | None:
    """Where the environment's overlay lies, `${NAME-default}` replaced by the variable; None where it has none."""
    template = merged.get("overlay")
    if not isinstance(template, str):
        return None
    expanded = re.sub(r"\$\{(\w+)-(\w*)\}", lambda m: variables.get(m[1]) or m[2], template)
    return root / expanded


def read_overlay(root: Path, merged: Mapping[str, Any]) -> dict[str, Any] | None:
    """The overlay's tables; None where nothing wrote one."""
    path = overlay_path(root, merged)
    if path is None or not path.is_file():
        return None
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as e:
        raise UsageError(f"{path} is not valid TOML: {e}; start the environment again") from None


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
    return _merged(own, (read_overlay(root, own) or {}) if overlay is None else overlay)


def extended(tables: Mapping[str, Any], name: str, *, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """One environment of the file's tables with `extends` merged in; `UsageError` where there is none of that name."""
    environments = sorted(k for k, v in tables.items() if isinstance(v, dict))
    own = tables.get(name)
    if not isinstance(own, dict):
        where = f" ([{seen[-1]}] extends it)" if seen else ""
        raise UsageError(f"{FILE} has no environment {name!r}{where}; it has: {', '.join(environments) or 'none'}")
    if name in seen:
        raise UsageError(f"{FILE}: [{name}] extends itself ({' -> '.join((*seen, name))}); take one `extends` out")
    parent = own.get("extends")
    if parent is None:
        return dict(own)
    if not isinstance(parent, str):
        raise UsageError(f"{FILE}: [{name}] extends must be the name of an environment, in quotes")
    return _merged(extended(tables, parent, seen=(*seen, name)), own)


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`change` on top of `base`, table by table; anything that is not a table is replaced whole."""
    both = dict(base)
    for key, value in change.items():
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both
