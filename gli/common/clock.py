"""The one place for time: the current time in UTC, and RFC 3339 for every time that is written."""

from __future__ import annotations

import hashlib
import re
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

CLOCKS_DIFFER = timedelta(minutes=2)
"""How far the clocks of two machines may differ. Two moments that are closer than this have no order."""


_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`2026-01-31T09:00:00.123Z`: sortable as text, and what `verdict.json` holds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The moment that a text of RFC 3339 names, UTC; raises `ValueError` for any other, and for one without a zone."""
    if not _RFC3339.fullmatch(text):  # Python reads more: dates of ISO 8601's weeks, and times without a zone
        raise ValueError(f"{text} is no time of RFC 3339, with its zone")
    found = datetime.fromisoformat(text.upper())
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
    """A name for this machine since its last start, which does not reveal the machine. What two runs with the same
    name say in `since_start` has an order.
    """
    parts = [socket.gethostname()]
    for file in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        with suppress(OSError, ValueError):
            parts.append(Path(file).read_text(encoding="ascii").strip())
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]


def since_start() -> float:
    """Seconds since this machine's start, which nobody can set: clock_gettime(2), CLOCK_BOOTTIME on Linux."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
