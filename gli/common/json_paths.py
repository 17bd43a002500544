"""Values inside a JSON document by a path: `results.0.title`.

A key that holds a dot is found as well: at each level, the longest key that fits is taken.
"""

from __future__ import annotations

from typing import Any

MISSING = object()
"""What `at` returns where the document has no such value; None may be a value."""


def at(document: Any, path: str) -> Any:
    """The value under the path; `MISSING` where there is none."""
    if not path:
        return document
    parts = path.split(".")
    if isinstance(document, list):
        index = int(parts[0]) if parts[0].isdecimal() else len(document)
        return at(document[index], ".".join(parts[1:])) if index < len(document) else MISSING
    if not isinstance(document, dict):
        return MISSING
    for n in range(len(parts), 0, -1):
        key = ".".join(parts[:n])
        if key in document:
            return at(document[key], ".".join(parts[n:]))
    return MISSING
