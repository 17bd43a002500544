"""The time by the clocks of the hosts that answer: a machine whose clock is behind would accept expired waivers and
verdicts.

Source of truth: `Date` and `Age`, RFC 9110 section 6.6.1 and RFC 9111 section 5.1.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from statistics import median

from gli.common.clock import now


class RemoteClocks:
    """By how many seconds this machine's clock is behind the clocks of the hosts that answered."""

    def __init__(self) -> None:
        self._behind: dict[str, float] = {}

    def heard(self, source: str, date: str | None, age: str | None = None) -> None:
        """Reads the headers of an answer; ignores a header without a valid time."""
        try:
            moment = parsedate_to_datetime(date or "")
            since_s = int(age or 0)
        except (ValueError, OverflowError):
            return
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        self._behind[source] = (moment - now()).total_seconds() + since_s

    @property
    def behind_s(self) -> float | None:
        """The median of all hosts; None if no host told its time."""
        return round(median(self._behind.values()), 1) if self._behind else None
