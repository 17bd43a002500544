"""Whether CloudWatch counts the lines that an alarm waits for: the metric filters of log groups, tried with real lines.

Source of truth: logs DescribeMetricFilters and TestMetricFilter, which applies a pattern as the service itself does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from gli.config.parts import MetricFilter
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_LINES_PER_CALL = 50


class Filtered(Observation):
    """What the filters of a log group that feed one metric count, of the declared lines."""

    metric: str
    group: str
    patterns: tuple[str, ...] = ()
    """Of the filters that add to the metric, sorted."""
    missed: tuple[str, ...] = ()
    """Lines that no filter counts, though one must."""
    taken: tuple[str, ...] = ()
    """Lines that a filter counts, though none may."""


@probe()
async def metric_filters(observer: Observer) -> dict[str, Filtered]:
    """Metric to what its filters count. One call for each log group, and one for each pattern and 50 lines."""
    declared = observer.environment.alarms.metric_filters if observer.environment.alarms else ()
    groups = sorted({each.group for each in declared})
    found = dict(zip(groups, await asyncio.gather(*[_described(observer, group) for group in groups]), strict=True))
    patterns = {each.metric: _patterns(found[each.group], each.metric) for each in declared}
    lines: dict[str, set[str]] = {}
    for each in declared:
        for pattern in patterns[each.metric]:
            lines.setdefault(pattern, set()).update(each.counts, each.ignores)
    matched = await asyncio.gather(*[_matched(observer, pattern, sorted(some)) for pattern, some in lines.items()])
    counted = dict(zip(lines, matched, strict=True))
    return {each.metric: _filtered(each, patterns[each.metric], counted) for each in declared}


async def _described(observer: Observer, group: str) -> list[Mapping[str, Any]]:
    """The metric filters of a log group; none where there is no such group."""
    try:
        answer = await observer.aws.call(observer, "logs", "describe_metric_filters", logGroupName=group)
    except AwsError as e:
        if e.code == "ResourceNotFoundException":
            return []
        raise
    found: list[Mapping[str, Any]] = answer["metricFilters"]
    return found


def _patterns(filters: Iterable[Mapping[str, Any]], metric: str) -> tuple[str, ...]:
    """The patterns of the filters that add to a metric. A filter that publishes the value 0 adds nothing."""
    return tuple(
        sorted(
            {
                str(each.get("filterPattern") or "")
                for each in filters
                for to in each["metricTransformations"]
                if to["metricName"] == metric and to["metricValue"] != "0"
            }
        )
    )


async def _matched(observer: Observer, pattern: str, lines: list[str]) -> set[str]:
    """Those of the lines that a pattern matches."""
    batches = [lines[n : n + _LINES_PER_CALL] for n in range(0, len(lines), _LINES_PER_CALL)]
    answers = await asyncio.gather(
        *[
            observer.aws.call(observer, "logs", "test_metric_filter", filterPattern=pattern, logEventMessages=batch)
            for batch in batches
        ]
    )
    return {match["eventMessage"] for answer in answers for match in answer["matches"]}


def _filtered(declared: MetricFilter, patterns: tuple[str, ...], counted: Mapping[str, set[str]]) -> Filtered:
    matched = set().union(*(counted[pattern] for pattern in patterns))
    return Filtered(
        metric=declared.metric,
        group=declared.group,
        patterns=patterns,
        missed=tuple(line for line in declared.counts if line not in matched),
        taken=tuple(line for line in declared.ignores if line in matched),
    )
