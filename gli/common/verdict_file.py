"""`verdict.json` as text: its two words, its digest, and how it is replaced; and the last line that a run prints.

Imports nothing but Python's own library: the process that watches a run has this code before the run begins, so no run
can change it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

VERDICT = "verdict.json"
GO: Literal["GO"] = "GO"
NO_GO: Literal["NO-GO"] = "NO-GO"
_COLOURS = {GO: 32, NO_GO: 31}
_PRIVATE_FILE = 0o600
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def last_line(environment: str, verdict: str, *, coloured: bool = False) -> str:
    """`VERDICT stg: GO`, the last line of every run, in every language; with colours of ANSI terminals if asked for."""
    return f"VERDICT {environment}: " + (f"\x1b[{_COLOURS[verdict]}m{verdict}\x1b[0m" if coloured else verdict)


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a verdict's document without its own `digest`: what tells an edited file from the one a run wrote."""
    rest = {k: v for k, v in document.items() if k != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_verdict(folder: Path, document: Mapping[str, Any]) -> None:
    """Writes `verdict.json`, replaced atomically. The document must not hold secrets any more."""
    text = json.dumps({**document, "digest": digest(document)}, ensure_ascii=False, indent=1)
    write_whole(folder / VERDICT, text + "\n")


def write_whole(path: Path, text: str) -> None:
    """The file has either its old content or all of the new one, also after a power cut."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, _ANEW, _PRIVATE_FILE), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
