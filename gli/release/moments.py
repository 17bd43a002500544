"""The moments of operations: their ids, the time zone of their tags, and a clock that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from gli.common.clock import rfc3339

if TYPE_CHECKING:
    from gli.release.journal import Journal
    from gli.release.mirror import Refs

_AHEAD_S, _BEHIND_S = 3600.0, 365 * 24 * 3600.0
"""How much later, or earlier, than this machine's clock the newest commit may be."""


def id_of(moment: datetime) -> str:
    """The id of an operation that begins now."""
    fraction = moment.microsecond * 0x10000 // 1_000_000  # so that the ids of one second sort by time too
    return f"{moment:%Y%m%d-%H%M%S}-{fraction:04x}"


def of(id_: str) -> datetime:
    """The second that an id names."""
    return datetime.strptime(f"{id_[:15]}+0000", "%Y%m%d-%H%M%S%z")


def began(journal: Journal) -> datetime:
    """When an operation began. Its id names a later moment where an operation before it began by a wrong clock."""
    return datetime.fromisoformat(journal.events[0].at) if journal.events else of(journal.id)


def apart(refs: Mapping[str, Refs], now: datetime) -> str:
    """A sentence if this machine's clock and the newest commit of a person are far apart; empty if they are not. The
    log and the tag name the time by that clock.
    """
    name, newest = max(((name, found.newest) for name, found in refs.items()), key=lambda found: found[1])
    if not newest or -_AHEAD_S < now.timestamp() - newest < _BEHIND_S:
        return ""
    return (
        f"the clock of this machine says {rfc3339(now)}, and the newest commit of a person, in {name}, is of "
        f"{rfc3339(datetime.fromtimestamp(newest, UTC))}: one of the two is wrong; the log and the tag will have the "
        "time of this clock"
    )


def zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # only another zone needs its tables

    return ZoneInfo(name)
