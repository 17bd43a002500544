"""Freeze windows: times without promotions to production. A weekly window uses the wall-clock time of its zone, so it
keeps its hours when clocks change. A dated window is a span of time.

Source of truth: the comments at `[[stg.git.freeze]]` in environments.toml.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from gli.config.parts import Freeze

_DAY = 24 * 60
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def frozen(windows: Iterable[Freeze], moment: datetime) -> Freeze | None:
    """The first window that contains an aware moment. A window includes its first minute, and excludes its last."""
    return next((window for window in windows if _holds(window, moment)), None)


def says(window: Freeze) -> str:
    """One sentence: `frozen from Fri 17:00 to Mon 09:00 (Asia/Seoul): nobody is there`."""
    return f"frozen from {window.begins} to {window.ends} ({window.timezone}): {window.reason}"


def _holds(window: Freeze, moment: datetime) -> bool:
    zone = ZoneInfo(window.timezone)
    if window.begins[:1].isdigit():
        begins, ends = (datetime.fromisoformat(at).replace(tzinfo=zone) for at in (window.begins, window.ends))
        return begins <= moment < ends
    local = moment.astimezone(zone)
    now = local.weekday() * _DAY + local.hour * 60 + local.minute
    begin, end = _of_week(window.begins), _of_week(window.ends)
    if begin < end:
        return begin <= now < end
    return now >= begin or now < end  # the window contains the end of the week


def _of_week(at: str) -> int:
    """Minutes since Monday 00:00."""
    day, _, clock = at.partition(" ")
    hours, minutes = clock.split(":")
    return _DAYS.index(day) * _DAY + int(hours) * 60 + int(minutes)
