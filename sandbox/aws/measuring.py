"""Keep CloudWatch measuring and tasks writing logs, however long ago the sandbox was seeded."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend, MetricDatum, cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.logs.exceptions import InvalidParameterException
from moto.logs.models import LogGroup

_SILENT: set[tuple[str, str]] = set()
"""(region, log group) of the groups that nobody writes to any more."""
_CLASSES: dict[tuple[str, str], str] = {}
"""(region, log group) to its class, if it is not STANDARD."""
_QUIET_FOR_MS = 30_000


def apply() -> None:
    """Patch moto in this process, once."""
    _metrics_go_on()
    _logs_go_on()


def metric_data(
    region: str,
    namespace: str,
    metric: str,
    dimensions: Mapping[str, str],
    value: float | None = None,
    for_s: int = 0,
) -> dict[str, Any]:
    """Give a metric this value from `for_s` seconds ago on; without a value, its earlier values again."""
    data = cloudwatch_backends[DEFAULT_ACCOUNT_ID][region].metric_data
    named = [{"Name": name, "Value": of} for name, of in dimensions.items()]
    data[:] = [d for d in data if not (isinstance(d, _Overlaid) and _is(d, namespace, metric, named))]
    if value is not None:
        data.append(_Overlaid(namespace, metric, value, named, utcnow() - timedelta(seconds=for_s)))
    return {"region": region, "namespace": namespace, "metric": metric, "dimensions": dimensions}


def log_group(region: str, name: str, silent: bool) -> dict[str, Any]:
    """Stop the writing to a log group, or start it again."""
    before = (region, name) in _SILENT
    (_SILENT.add if silent else _SILENT.discard)((region, name))
    return {"region": region, "name": name, "silent": before}


def log_class(region: str, name: str, log_class: str) -> dict[str, Any]:
    """Set the class of a log group, which moto lacks."""
    before = _CLASSES.pop((region, name), "STANDARD")
    if log_class != "STANDARD":
        _CLASSES[region, name] = log_class
    return {"region": region, "name": name, "log_class": before}


class _Overlaid(MetricDatum):  # type: ignore[misc]
    """A datapoint that `metric_data` added."""


def _metrics_go_on() -> None:
    """Answer percentiles, which moto lacks, and let a step without a datapoint repeat the previous one."""

    def measured(
        self: Any,
        queries: Sequence[dict[str, Any]],
        start_time: datetime,
        end_time: datetime,
        scan_by: str = "TimestampDescending",
    ) -> list[dict[str, Any]]:
        results = []
        for query in queries:
            wanted = query["MetricStat"]
            points = list(_steps(self.metric_data, wanted, start_time, end_time))
            if scan_by == "TimestampDescending":
                points.reverse()
            results.append(
                {
                    "id": query["Id"],
                    "label": query.get("Label") or wanted["Metric"]["MetricName"],
                    "timestamps": [moment for moment, _ in points],
                    "values": [value for _, value in points],
                    "status_code": "Complete",
                }
            )
        return results

    CloudWatchBackend.get_metric_data = measured


def _steps(
    data: Sequence[Any], wanted: Mapping[str, Any], start: datetime, end: datetime
) -> Iterator[tuple[datetime, float]]:
    """Pairs of (start of the step, statistic) for one metric."""
    metric, step = wanted["Metric"], timedelta(seconds=int(wanted["Period"]))
    named = metric.get("Dimensions", [])
    series = [d for d in data if _is(d, metric["Namespace"], metric["MetricName"], named)]
    series.sort(key=lambda d: d.timestamp)
    while start < end:
        values = [d.value for d in series if start <= d.timestamp < start + step]
        values = values or [d.value for d in series if d.timestamp < start][-1:]
        if values:
            yield start, _statistic(wanted["Stat"], values)
        start += step


def _is(datum: Any, namespace: str, metric: str, dimensions: Sequence[Mapping[str, str]]) -> bool:
    own = {(d.name, d.value) for d in datum.dimensions}
    return (datum.namespace, datum.name) == (namespace, metric) and own == {(d["Name"], d["Value"]) for d in dimensions}


def _statistic(name: str, values: Sequence[float]) -> float:
    if name.startswith("p"):
        rank = math.ceil(len(values) * float(name[1:]) / 100)
        return sorted(values)[max(rank, 1) - 1]
    simple = {"Sum": sum(values), "Minimum": min(values), "Maximum": max(values), "SampleCount": len(values)}
    return float(simple.get(name, sum(values) / len(values)))


def _logs_go_on() -> None:
    """Add a line to each stream when the stream is read. DescribeLogStreams shows it later, as on AWS.

    Only groups of the class STANDARD can be searched.
    """
    search, describe = LogGroup.filter_log_events, LogGroup.to_describe_dict

    def described(self: Any) -> dict[str, Any]:
        return {**describe(self), "logGroupClass": _CLASSES.get((self.region, self.name), "STANDARD")}

    def searched(self: Any, log_group_name: str, *args: Any, **kwargs: Any) -> Any:
        if (self.region, log_group_name) in _CLASSES:
            raise InvalidParameterException("the class of the log group does not support this operation")
        now = int(time.time() * 1000)
        if (self.region, log_group_name) not in _SILENT:
            for stream in self.streams.values():
                if stream.events and stream.events[-1].timestamp < now - _QUIET_FOR_MS:
                    stream.put_log_events([{"timestamp": now, "message": 'INFO "GET /health/" 200'}])
        return search(self, log_group_name, *args, **kwargs)

    LogGroup.filter_log_events, LogGroup.to_describe_dict = searched, described
