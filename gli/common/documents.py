"""Files and JSON from elsewhere. Whatever is wrong with a document, reading it raises `ValueError`."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 64_000_000
_DEEPEST = 100  # deeper documents can't be written again: each library has its own limit


def content(path: Path) -> bytes:
    """The content of a file, read once. Raises `OSError` for a pipe or a device, which may have no end, and for a file
    of more than MOST_BYTES.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        found = file.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return found


def parsed(text: str) -> Any:
    """A JSON document that every reader understands alike.

    Raises `ValueError` if the text is not JSON (NaN and Infinity are not), is nested too deeply or is not valid
    Unicode, or if a key stands twice in one object: readers differ in which one counts (RFC 8259 section 4).
    """
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    refuse_deep(document)
    if "\\ud" in text.lower():  # half of a surrogate pair: only encoding shows that it is not text
        json.dumps(document, ensure_ascii=False).encode()
    return document


def refuse_deep(document: Any) -> None:
    """Raises `ValueError` for a document that is nested too deeply to be written again."""
    level = [document]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
