"""Tables of `environments.toml` with comments, as TOML.

Source of truth: TOML 1.0. A key that the user wrote already keeps the user's value, and loses the comment on it.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gli.config.toml_tables import merged

Path = tuple[str, ...]
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WIDTH = 118
_MOST_NAMES = 12


class Draft:
    """The tables of one environment, and comments on keys and tables."""

    def __init__(self) -> None:
        self.tables: dict[str, Any] = {}
        self.notes: dict[Path, list[str]] = {}

    def put(self, path: Path, value: Any, *notes: str) -> None:
        """Sets one key; a value that is empty sets nothing. The notes stand above the key."""
        if value in (None, "", (), [], {}):
            return
        table = self.tables
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = [*value] if isinstance(value, tuple) else value
        for note in notes:
            self.note(path, note)

    def note(self, path: Path, text: str) -> None:
        """Adds a comment: above a key, or at the top of a table (of the environment: the empty path)."""
        self.notes.setdefault(path, []).append(text)


def text(draft: Draft, name: str, written: Mapping[str, Any], repositories: Sequence[Mapping[str, Any]]) -> str:
    """A file for one environment: what was found, below what the user `written`, with the comments."""
    tables = merged(draft.tables, written)
    notes = {path: lines for path, lines in draft.notes.items() if not _is_written(written, path)}
    lines = []
    for repository in repositories:
        lines += ["[[repositories]]", *(_line(key, value) for key, value in repository.items())]
    lines += ["", *_table(tables, (), name, notes)]
    return "\n".join(lines).strip() + "\n"


def _is_written(written: Mapping[str, Any], path: Path) -> bool:
    """Whether the user wrote this key, or any key of this table."""
    for key in path:
        if not isinstance(written, Mapping) or key not in written:
            return False
        written = written[key]
    return bool(path)


def _table(table: Mapping[str, Any], path: Path, name: str, notes: Mapping[Path, list[str]]) -> Iterator[str]:
    """One table: its comments, its keys, then its sub-tables. A table of tables only has no heading."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in table.items() if key not in inner}
    below = [n for n in notes if n[:-1] == path and n[-1:] and n[-1] not in table]
    if plain or path in notes or below or not inner:
        yield f"[{'.'.join(map(_key, (name, *path)))}]"
        yield from _comments(notes.get(path, ()))
        for key, value in plain.items():
            yield from _comments(notes.get((*path, key), ()))
            yield _line(key, value)
        for note in below:
            yield from _comments(notes[note])
        yield ""
    for key, value in inner.items():
        yield from _table(value, (*path, key), name, notes)


def _comments(texts: Sequence[str]) -> Iterator[str]:
    for text_ in texts:
        yield from textwrap.wrap(
            text_, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False, break_on_hyphens=False
        )


def _line(key: str, value: Any) -> str:
    line = f"{_key(key)} = {_value(value)}"
    if len(line) > _WIDTH and isinstance(value, list | tuple):
        return "\n".join([f"{_key(key)} = [", *(f"  {_value(each)}," for each in value), "]"])
    return line


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_line(key, inner) for key, inner in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    # A JSON string is a basic string of TOML, but for the character DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def few(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    every = [*names]
    more = f" and {len(every) - _MOST_NAMES} more" if len(every) > _MOST_NAMES else ""
    return ", ".join(every[:_MOST_NAMES]) + more
