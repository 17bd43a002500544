"""How late the event loop of a run is. An answer may have waited for this runner; then the target is not to blame.

A ticker asks the loop to wake it every few milliseconds. The time that it oversleeps is the lateness.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress

TOLERATED = 0.1
"""A duration is not the target's if the loop was late for more than this part of it."""
_TICK_S = 0.01
_USUAL_S = 0.02
"""A tick that is later by less than this is in time: an answer waits for the loop once or twice, not at each tick."""
_KEPT_S = 200.0
"""longer than any run looks back"""
_CALM_OVER_S = 0.5
_LONGEST_WAIT_S = 10.0


class Lateness:
    """Measures its event loop from `start` to `stop`."""

    def __init__(self) -> None:
        self._ticks: deque[tuple[float, float]] = deque()  # (when it woke, how late that was)
        self._due = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to measure the loop that calls it."""
        self._due = time.monotonic() + _TICK_S
        self._task = asyncio.create_task(self._tick(), name="lateness")

    async def stop(self) -> None:
        """Ends the measurement."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def since(self, begun: float) -> float:
        """For how many seconds in all the loop was late, from that time of `time.monotonic` up to now."""
        now = time.monotonic()
        late_s = min(_late(self._due, now), now - begun)  # of the tick that is overdue now
        for woke, late in reversed(list(self._ticks)):
            if woke <= begun:
                break
            late_s += min(late, woke - begun)
        return round(late_s, 4)

    def spoils(self, limit_s: float, begun: float) -> bool:
        """Whether a duration that began then may be over its limit because the loop was late."""
        return self.since(begun) > limit_s * TOLERATED

    async def calm(self) -> None:
        """Waits until the loop is in time again, at most 10 seconds."""
        gives_up = time.monotonic() + _LONGEST_WAIT_S
        await asyncio.sleep(_CALM_OVER_S)
        while self.spoils(_CALM_OVER_S, time.monotonic() - _CALM_OVER_S) and time.monotonic() < gives_up:
            await asyncio.sleep(_CALM_OVER_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._due - time.monotonic()))
            woke = time.monotonic()
            if late := _late(self._due, woke):
                self._ticks.append((woke, late))
            while self._ticks and self._ticks[0][0] < woke - _KEPT_S:
                self._ticks.popleft()
            self._due = woke + _TICK_S


def _late(due: float, woke: float) -> float:
    return woke - due if woke - due > _USUAL_S else 0.0
