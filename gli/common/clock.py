"""The one place for time: an aware UTC now, and RFC 3339 for everything that is written."""

from __future__ import annotations

import hashlib
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

CLOCKS_DIFFER = timedelta(minutes=2)
"""How much the clocks of two machines may differ: what is closer together than this has no order."""


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`2026-01-31T09:00:00.123Z`: sortable as text, and what `verdict.json` holds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The moment that a text of RFC 3339 names, UTC; raises `ValueError` for any other, and for one without a zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text} is beyond the calendar") from None


def is_time(tag: str, form: str) -> bool:
    """Whether a tag is a moment in this form of `strftime`."""
    try:
        return datetime.strptime(tag, form).strftime(form) == tag  # noqa: DTZ007 - only its shape is of interest
    except ValueError:
        return False


def machine() -> str:
    """A name of this machine that tells nobody which one it is: moments that it wrote have an order."""
    try:
        name = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        name = ""
    return hashlib.sha256(f"{name} {socket.gethostname()}".encode()).hexdigest()[:12]
