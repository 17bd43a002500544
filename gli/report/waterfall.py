"""When each observation of a run began, how long it took, and how its time divides into phases.

A bar begins where its observation began. A record says how long each phase took, not when it began: the phases are
drawn first, in their order, and the rest of the time (waiting for another observation, further requests) after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gli.observe.engine.observation import Record

PHASES = ("resolve", "connect", "tls", "handshake", "first_byte", "query", "body", "other", "rest")
_SHOWN = 25
_TICKS = 5
_STEPS_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)
_STRAGGLER = 3.0
"""A bar that ends this many times later than nearly all others is cut: the others would be too short to see."""


@dataclass(frozen=True)
class Bar:
    """One observation; `x` and `width` are percent of the axis."""

    record: Record
    x: float
    width: float
    parts: tuple[tuple[str, float, float], ...]
    """Phase, x and width in percent of the axis."""
    cut: bool
    """Whether the bar goes on beyond the axis."""
    more: bool
    """Whether it is hidden until all bars are shown: it is not among the slowest."""


@dataclass(frozen=True)
class Waterfall:
    """The bars by their beginning, with an axis of seconds since the first of them."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    """x in percent, and the time there."""
    slowest: tuple[Record, ...]
    phases: tuple[str, ...]
    """The phases that occur in the records."""

    @property
    def more(self) -> bool:
        """Whether only the slowest are shown at first."""
        return any(bar.more for bar in self.bars)


def of(records: Sequence[Record]) -> Waterfall:
    """The waterfall of a run's records."""
    if not records:
        return Waterfall((), (), (), ())
    first = min(record.started for record in records)
    begun = {record.fact: (record.started - first).total_seconds() for record in records}
    ends = sorted(begun[record.fact] + record.duration_s for record in records)
    usual = ends[int(0.95 * (len(ends) - 1))]
    horizon = max(ends[-1] if ends[-1] <= _STRAGGLER * usual else 1.5 * usual, 0.001)
    slowest = sorted(records, key=lambda record: -record.duration_s)
    shown = {record.fact for record in slowest[:_SHOWN]}
    bars = tuple(
        _bar(record, begun[record.fact], horizon, more=record.fact not in shown)
        for record in sorted(records, key=lambda record: (record.started, record.fact))
    )
    used = {name for bar in bars for name, _, _ in bar.parts}
    return Waterfall(bars, _ticks(horizon), tuple(slowest[:3]), tuple(p for p in PHASES if p in used))


def _bar(record: Record, begun: float, horizon: float, *, more: bool) -> Bar:
    def percent(seconds: float) -> float:
        return round(100 * max(min(seconds, horizon), 0) / horizon, 2)

    end = begun + record.duration_s
    parts, at = [], begun
    for name, seconds in record.phases_s.items():
        until = min(at + seconds, end)
        parts.append((name if name in PHASES else "other", percent(at), round(percent(until) - percent(at), 2)))
        at = until
    parts.append(("rest", percent(at), round(percent(end) - percent(at), 2)))
    return Bar(
        record=record,
        x=percent(begun),
        width=round(percent(end) - percent(begun), 2),
        parts=tuple(part for part in parts if part[2] > 0),
        cut=end > horizon,
        more=more,
    )


def _ticks(horizon: float) -> tuple[tuple[float, str], ...]:
    step = next((s for s in _STEPS_S if horizon / s <= _TICKS), _STEPS_S[-1])
    return tuple((round(100 * i * step / horizon, 2), f"{i * step:g} s") for i in range(int(horizon / step) + 1))
