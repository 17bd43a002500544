"""CloudWatch's metrics: one GetMetricData call for 500 metrics of a region, over three hours in five-minute steps.

    (await observer.see(metrics)).latest("stg-gli-database", "FreeStorageSpace")

Subject (a service, the load balancer, a database instance) and name identify a metric. Ratios are computed here:
metric math costs more, and its result does not show whether data is missing. Source of truth: cloudwatch
GetMetricData. A count that is always zero has no datapoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.common.sentences import phrase
from gli.observe.aws.cloudwatch_alarms import alarms
from gli.observe.aws.ecs_services import ecs_services
from gli.observe.aws.metric_queries import Query, queries_of, told_by
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe

STEP = timedelta(minutes=5)
_QUERIES_PER_CALL = 500  # the most that GetMetricData accepts
LATELY = 3 * STEP
SPAN = timedelta(hours=3)  # for a longer span CloudWatch halves the account's request limit


class Metrics(Observation):
    """The data of every metric. `series` maps `subject metric` to (start of the step, value), oldest first."""

    taken: datetime
    series: dict[str, tuple[tuple[datetime, float], ...]]
    incomplete: Mapping[str, str] = {}
    """Metric that CloudWatch returned only in part, to its StatusCode."""

    def points(self, subject: str, metric: str) -> tuple[tuple[datetime, float], ...]:
        """The datapoints, perhaps none. Raises `Unobserved` if the metric was not fetched, or only in part."""
        name = f"{subject} {metric}"
        if name not in self.series:
            raise unknown(
                "dependency", phrase("{} of {} could not be asked for: what it belongs to is unknown", metric, subject)
            )
        if name in self.incomplete:
            raise unknown(
                "too-little-data", phrase("CloudWatch did not tell all of {}: {}", name, self.incomplete[name])
            )
        return self.series[name]

    def latest(self, subject: str, metric: str) -> float:
        """The newest value. Raises `Unobserved` if there is no recent value."""
        return self.lately(subject, metric)[-1]

    def lately(self, subject: str, metric: str) -> tuple[float, ...]:
        """The values of the last quarter of an hour. Raises `Unobserved` if there is none."""
        values = self.between(subject, metric, self.taken - LATELY, self.taken)
        if not values:
            minutes = LATELY // timedelta(minutes=1)
            raise unknown(
                "too-little-data", phrase("CloudWatch has no {} of {} in the last {} min", metric, subject, minutes)
            )
        return values

    def between(self, subject: str, metric: str, start: datetime, end: datetime) -> tuple[float, ...]:
        """The values of the steps whose start t is in `start` <= t < `end`."""
        return tuple(value for t, value in self.points(subject, metric) if start <= t < end)


@probe(deadline=20)
async def metrics(observer: Observer) -> Metrics:
    """Every metric of the environment. One call for 500 metrics of a region."""
    taken, wanted = now(), await queries_of(observer)
    regions = dict.fromkeys(query.region for query in wanted)
    answers = await asyncio.gather(
        *[_of_region(observer, region, [q for q in wanted if q.region == region], taken) for region in regions]
    )
    return Metrics(
        taken=taken,
        series={name: points for series, _ in answers for name, points in series.items()},
        incomplete={name: status for _, partial in answers for name, status in partial.items()},
    )


async def _of_region(
    observer: Observer, region: str | None, queries: Sequence[Query], taken: datetime
) -> tuple[dict[str, tuple[tuple[datetime, float], ...]], dict[str, str]]:
    """`series` and `incomplete` of one region. Another region that does not answer takes no metric of this one away."""
    named = {f"m{n}": query for n, query in enumerate(queries)}
    asked = [data_query(key, query) for key, query in named.items()]
    try:
        results = await metric_data(observer, asked, step_of(taken) - SPAN, taken, region)
    except (Unobserved, AwsError):
        if region is None:
            raise
        return {}, {}
    found: dict[str, list[tuple[datetime, float]]] = {query.name: [] for query in queries}
    for result in results:
        times, values = result["Timestamps"], result["Values"]
        if len(times) != len(values):
            raise unknown("too-little-data", phrase("CloudWatch gave {} times and {} values", len(times), len(values)))
        found[named[result["Id"]].name] += zip(times, values, strict=True)
    incomplete = incomplete_results(asked, results)
    return {name: tuple(sorted(p)) for name, p in found.items()}, {named[k].name: s for k, s in incomplete.items()}


async def metric_data(
    observer: Observer, asked: list[dict[str, Any]], start: datetime, end: datetime, region: str | None = None
) -> list[dict[str, Any]]:
    """The results of all queries, from the environment's region or another one."""
    answers = await asyncio.gather(
        *[
            observer.aws.call(
                observer,
                "cloudwatch",
                "get_metric_data",
                region=region,
                MetricDataQueries=asked[n : n + _QUERIES_PER_CALL],
                StartTime=start,
                EndTime=end,
                ScanBy="TimestampAscending",
            )
            for n in range(0, len(asked), _QUERIES_PER_CALL)
        ]
    )
    return [result for answer in answers for result in answer["MetricDataResults"]]


def incomplete_results(asked: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, str]:
    """Id to StatusCode, for each result that is not complete. The last page of a result has its final StatusCode."""
    status: dict[str, str] = {query["Id"]: phrase("no result") for query in asked}
    status |= {r["Id"]: r["StatusCode"] for r in results}
    return {key: code for key, code in status.items() if code != "Complete"}


@probe(deadline=20)
async def unfed_alarms(observer: Observer) -> tuple[str, ...]:
    """The alarms whose metric, with these dimensions, had no data for three hours: their state stays what it is.

    An alarm that takes missing data for good (`notBreaching`) is OK for ever. Of a metric that is sent only above zero,
    another one of the same resource tells. The idle target group of a blue/green pair has no data.
    """
    seen, found = await observer.see(metrics), await observer.see(alarms)
    services = (await observer.see(ecs_services)).values()
    idle = {arn.split(":")[-1] for s in services for arn in {*s.every_group} - {*s.target_groups}}
    judged = [a for a in found if idle.isdisjoint(value for each in a.dimensions for _, value in each)]
    asked = [(a.name, metric) for a in judged if (metric := told_by(a)) and f"{a.name} {metric}" in seen.series]
    return tuple(name for name, metric in asked if not seen.points(name, metric))


def data_query(key: str, query: Query) -> dict[str, Any]:
    """The query in the form of GetMetricData's `MetricDataQueries`, with `key` as its id."""
    metric = {
        "Namespace": query.namespace,
        "MetricName": query.metric,
        "Dimensions": [{"Name": name, "Value": value} for name, value in query.dimensions],
    }
    return {"Id": key, "MetricStat": {"Metric": metric, "Period": int(STEP.total_seconds()), "Stat": query.statistic}}


def step_of(moment: datetime) -> datetime:
    """The start of the five-minute step that contains `moment`. Datapoints are aligned to these steps."""
    return moment - timedelta(minutes=moment.minute % 5, seconds=moment.second, microseconds=moment.microsecond)
