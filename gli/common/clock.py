"""The one place for time: the current time in UTC, and RFC 3339 for every time that is written."""

from __future__ import annotations

import hashlib
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

CLOCKS_DIFFER = timedelta(minutes=2)
"""How far the clocks of two machines may differ. Two moments that are closer than this have no order."""


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
    """Whether a tag is a time in this format of `strftime`."""
    try:
        return datetime.strptime(tag, form).strftime(form) == tag  # noqa: DTZ007 - only its shape is of interest
    except ValueError:
        return False


def machine() -> str:
    """A name for this machine that does not reveal which machine it is. Times that the same machine wrote have an
    order.
    """
    try:
        name = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        name = ""
    return hashlib.sha256(f"{name} {socket.gethostname()}".encode()).hexdigest()[:12]
