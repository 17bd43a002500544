"""JSON that somebody else may have written: read so that whatever is wrong with it is a `ValueError`."""

from __future__ import annotations

import json
from typing import Any

_DEEPEST = 100  # what is nested deeper can't be written again: each library has its own limit


def parsed(text: str) -> Any:
    """A JSON document; raises `ValueError` for text that is none, is nested too deeply or is no Unicode."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [document]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
        if not level:
            break
    else:
        raise ValueError("it is nested too deeply")
    if "\\ud" in text.lower():  # half of a pair is no text, which only writing it says
        json.dumps(document, ensure_ascii=False).encode()
    return document


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
