"""CloudWatch's metrics: one GetMetricData call for 500 metrics of a run, over three hours in five-minute steps.

    (await observer.see(metrics)).latest("stg-gli-database", "FreeStorageSpace")

Subject (a service, the load balancer, a database instance) and name identify a metric. Ratios are computed here:
metric math costs more, and its result does not show whether data is missing. Source of truth: cloudwatch
GetMetricData. A count that is always zero has no datapoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.common.sentences import phrase
from gli.config.parts import Metrics as Windows
from gli.config.services import LoadBalancer, Service
from gli.observe.aws.cloudwatch_alarms import ALWAYS_SENT, Alarm, alarms
from gli.observe.aws.ecs_services import EcsService, ecs_service, ecs_services
from gli.observe.aws.elasticache import replication_group
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.rds import database_instance
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe

STEP = timedelta(minutes=5)
_QUERIES_PER_CALL = 500  # the most that GetMetricData accepts
LATELY = 3 * STEP
_SAME_MINUTES = (timedelta(days=1), timedelta(days=7))
SPAN = timedelta(hours=3)  # for a longer span CloudWatch halves the account's request limit


class Query(Observation):
    """One metric to fetch."""

    subject: str
    namespace: str
    metric: str
    statistic: str
    """`Sum`, `Average`, `Maximum`, or a percentile such as `p95`."""
    dimensions: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return f"{self.subject} {self.metric}"


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


class Comparison(Observation):
    """A value of one service since its deploy (at most over the environment's window), and the value before."""

    service: str
    since: datetime
    requests: float
    now: float
    before: float | None
    """None: too little was measured before."""


class Traffic(Observation):
    """The number of requests to one service, now and in the same minutes of an earlier day."""

    service: str
    since: datetime
    requests: float
    usual: float
    """The number a day or a week ago, whichever is smaller: weekdays differ from each other."""


class Utilisation(Observation):
    """The CPU and memory that a service's tasks used, in percent of theirs, averaged over a quarter of an hour."""

    service: str
    cpu: float
    memory: float


@probe(deadline=20)
async def metrics(observer: Observer) -> Metrics:
    """Every metric of the environment. One call for 500 metrics."""
    taken = now()
    queries = {f"m{n}": query for n, query in enumerate(await _queries(observer))}
    asked = [_asked(key, query) for key, query in queries.items()]
    results = await _data(observer, asked, _step(taken) - SPAN, taken)
    found: dict[str, list[tuple[datetime, float]]] = {query.name: [] for query in queries.values()}
    for result in results:
        times, values = result["Timestamps"], result["Values"]
        if len(times) != len(values):
            raise unknown("too-little-data", phrase("CloudWatch gave {} times and {} values", len(times), len(values)))
        found[queries[result["Id"]].name] += zip(times, values, strict=True)
    return Metrics(
        taken=taken,
        series={name: tuple(sorted(points)) for name, points in found.items()},
        incomplete={queries[key].name: status for key, status in _incomplete(asked, results).items()},
    )


async def _data(
    observer: Observer, asked: list[dict[str, Any]], start: datetime, end: datetime
) -> list[dict[str, Any]]:
    """The results of all queries."""
    answers = await asyncio.gather(
        *[
            observer.aws.call(
                observer,
                "cloudwatch",
                "get_metric_data",
                MetricDataQueries=asked[n : n + _QUERIES_PER_CALL],
                StartTime=start,
                EndTime=end,
                ScanBy="TimestampAscending",
            )
            for n in range(0, len(asked), _QUERIES_PER_CALL)
        ]
    )
    return [result for answer in answers for result in answer["MetricDataResults"]]


def _incomplete(asked: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, str]:
    """Id to StatusCode, for each result that is not complete. The last page of a result has its final StatusCode."""
    status: dict[str, str] = {query["Id"]: phrase("no result") for query in asked}
    status |= {r["Id"]: r["StatusCode"] for r in results}
    return {key: code for key, code in status.items() if code != "Complete"}


@probe(deadline=20)
async def earlier_requests(observer: Observer) -> dict[str, tuple[float, ...]]:
    """Service to its number of requests in the same minutes a day and a week ago. One call for each of the two days."""
    taken = (await observer.see(metrics)).taken
    queries = [q for q in await _of_services(observer) if q.metric == "RequestCount"]
    asked = [_asked(f"m{n}", query) for n, query in enumerate(queries)]
    if not asked:
        raise unknown("dependency", phrase("RequestCount could not be asked for: what it belongs to is unknown"))
    start, end = _window(observer, taken)
    answers = await asyncio.gather(*[_data(observer, asked, start - ago, end - ago) for ago in _SAME_MINUTES])
    for results in answers:
        if partial := _incomplete(asked, results):
            raise unknown(
                "too-little-data",
                phrase("CloudWatch did not tell all of {}: {}", "RequestCount", min(partial.values())),
            )
    sums = [_sums(results) for results in answers]
    return {query.subject: tuple(of.get(f"m{n}", 0.0) for of in sums) for n, query in enumerate(queries)}


def _sums(results: list[dict[str, Any]]) -> dict[str, float]:
    """Id to the sum of its values. A large result comes in several parts."""
    sums: dict[str, float] = {}
    for result in results:
        sums[result["Id"]] = sums.get(result["Id"], 0.0) + sum(result["Values"])
    return sums


@probe(deadline=20)
async def traffic(observer: Observer, service: Service) -> Traffic:
    """The requests over the environment's window, in complete five-minute steps."""
    seen, windows = await observer.see(metrics), observer.environment.metrics
    usual = [n for n in (await observer.see(earlier_requests)).get(service.name, ()) if n >= windows.least_requests]
    start, end = _window(observer, seen.taken)
    if not usual:
        raise too_few(service, 0, start - _SAME_MINUTES[-1], windows)
    requests = sum(seen.between(service.name, "RequestCount", start, end))
    return Traffic(service=service.name, since=start, requests=requests, usual=min(usual))


def _window(observer: Observer, taken: datetime) -> tuple[datetime, datetime]:
    """(start, end) of the environment's window, in complete steps: a step in progress would look like a collapse."""
    end = _step(taken) - STEP  # a datapoint takes minutes to arrive
    return end - timedelta(minutes=observer.environment.metrics.window_minutes), end


@probe(deadline=20)
async def error_rate(observer: Observer, service: Service) -> Comparison:
    """The share of requests that ended in a 5XX, from the service or from the load balancer itself."""
    seen, windows = await observer.see(metrics), observer.environment.metrics
    since, before = await _periods(observer, service, seen.taken)
    asked, errors = _share(observer, service, seen, since, seen.taken)
    if asked < windows.least_requests:
        raise too_few(service, asked, since, windows)
    asked_before, errors_before = _share(observer, service, seen, before, since)
    return Comparison(
        service=service.name,
        since=since,
        requests=asked,
        now=errors / asked,
        before=errors_before / asked_before if asked_before >= windows.least_requests else None,
    )


@probe(deadline=20)
async def latency(observer: Observer, service: Service) -> Comparison:
    """The p95 of the response time in the slowest five-minute step, in seconds."""
    seen, windows = await observer.see(metrics), observer.environment.metrics
    since, before = await _periods(observer, service, seen.taken)
    asked = sum(seen.between(service.name, "RequestCount", since, seen.taken))
    slow = seen.between(service.name, "TargetResponseTime", since, seen.taken)
    if asked < windows.least_requests or not slow:
        raise too_few(service, asked, since, windows)
    return Comparison(
        service=service.name,
        since=since,
        requests=asked,
        now=max(slow),
        before=max(seen.between(service.name, "TargetResponseTime", before, since), default=None),
    )


@probe(deadline=20)
async def utilisation(observer: Observer, service: Service) -> Utilisation:
    """The average over the last three steps. A single step may show only a deploy's start or one job."""
    seen = await observer.see(metrics)
    start = _step(seen.taken) - 2 * STEP
    taken = {m: seen.between(service.name, m, start, seen.taken) for m in _OF_TASKS}
    if not all(taken.values()):
        raise unknown(
            "too-little-data",
            phrase("CloudWatch has no {} of {} since {}", " or ".join(_OF_TASKS), service.name, start),
        )
    cpu, memory = (sum(values) / len(values) for values in taken.values())
    return Utilisation(service=service.ecs.service if service.ecs else service.name, cpu=cpu, memory=memory)


async def _queries(observer: Observer) -> list[Query]:
    """The metrics to fetch. If a resource could not be observed, its metrics are left out."""
    parts = await asyncio.gather(
        _of_services(observer), _of_the_database(observer), _of_the_cache(observer), _of_alarms(observer)
    )
    return [*(query for part in parts for query in part), *_of_the_broker(observer)]


async def _of_alarms(observer: Observer) -> list[Query]:
    """For each alarm that should always get data, the metric that shows whether it does."""
    if observer.environment.alarms is None:
        return []
    try:
        found = await observer.see(alarms)
    except Unobserved:
        return []
    wanted = [(a, told_by(a)) for a in found if {*a.metrics} & {*observer.environment.alarms.metrics}]
    return [_query(a.name, a.namespace, metric, "Average", a.dimensions[0]) for a, metric in wanted if metric]


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


_OF_BALANCERS = frozenset({"AWS/ApplicationELB", "AWS/NetworkELB"})


def told_by(alarm: Alarm) -> str | None:
    """The metric that has data whenever the resource of an alarm's dimensions is there; None: there is none.

    CloudWatch keeps a metric for each set of dimensions that AWS sends, and knows no other.
    """
    if not alarm.dimensions:
        return None
    if alarm.namespace in ALWAYS_SENT:
        return alarm.metrics[0]
    if alarm.namespace in _OF_BALANCERS:
        return "HealthyHostCount" if "TargetGroup" in dict(alarm.dimensions[0]) else "ConsumedLCUs"
    return None


def _of_the_broker(observer: Observer) -> list[Query]:
    broker = observer.environment.broker
    if broker is None or broker.amazon_mq is None:
        return []
    own, namespace = [("Broker", broker.amazon_mq)], "AWS/AmazonMQ"
    return [_query(broker.amazon_mq, namespace, m, statistic, own) for m, statistic in _OF_A_BROKER.items()]


_OF_A_BROKER = {
    "RabbitMQMemUsed": "Maximum",
    "RabbitMQMemLimit": "Minimum",
    "RabbitMQDiskFree": "Minimum",
    "RabbitMQDiskFreeLimit": "Maximum",
    "MessageUnacknowledgedCount": "Maximum",
}


async def _of_services(observer: Observer) -> list[Query]:
    try:
        described = await observer.see(ecs_services)
    except Unobserved:
        return []
    queries = [query for name, service in described.items() for query in _of_tasks(name, service)]
    for load_balancer in observer.environment.balancers.values():
        if load_balancer.application:  # a network load balancer counts no requests
            queries += await _of_traffic(observer, load_balancer, described)
    return queries


async def _of_traffic(
    observer: Observer, load_balancer: LoadBalancer, described: Mapping[str, EcsService]
) -> list[Query]:
    try:
        arn = (await observer.see(balancer, load_balancer)).arn or ""
    except Unobserved:
        return []
    front = ("LoadBalancer", arn.partition("loadbalancer/")[2])
    if not front[1]:
        return []
    queries = [_query(load_balancer.name, "AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "Sum", [front])]
    for name, service in described.items():
        behind = observer.environment.services[name].load_balancer == load_balancer
        groups = [("TargetGroup", g.split(":")[-1]) for g in service.target_groups[:1]]
        queries += [
            _query(name, "AWS/ApplicationELB", metric, statistic, [front, *groups])
            for metric, statistic in _OF_TRAFFIC.items()
            if groups and behind
        ]
    return queries


_OF_TRAFFIC = {"RequestCount": "Sum", "HTTPCode_Target_5XX_Count": "Sum", "TargetResponseTime": "p95"}


_OF_TASKS = ("CPUUtilization", "MemoryUtilization")


def _of_tasks(name: str, service: EcsService) -> list[Query]:
    where = [("ClusterName", service.cluster), ("ServiceName", service.name)]
    return [_query(name, "AWS/ECS", metric, "Average", where) for metric in _OF_TASKS]


async def _of_the_database(observer: Observer) -> list[Query]:
    database = observer.environment.database
    if database is None or not database.instance:
        return []
    try:
        instance = await observer.see(database_instance, database)
    except Unobserved:
        return []
    own = [("DBInstanceIdentifier", instance.id)]
    storage = "FreeLocalStorage" if instance.aurora else "FreeStorageSpace"
    load = {storage: "Minimum", **_OF_A_DATABASE, **({"CPUCreditBalance": "Minimum"} if instance.burstable else {})}
    return [_query(instance.id, "AWS/RDS", metric, statistic, own) for metric, statistic in load.items()] + [
        _query(replica, "AWS/RDS", "ReplicaLag", "Average", [("DBInstanceIdentifier", replica)])
        for replica in instance.replicas
    ]


_OF_A_DATABASE = {
    "FreeableMemory": "Minimum",
    "CPUUtilization": "Average",
    "ReadLatency": "Average",
    "WriteLatency": "Average",
}


async def _of_the_cache(observer: Observer) -> list[Query]:
    cache = observer.environment.cache
    if cache is None or not cache.replication_group:
        return []
    try:
        group = await observer.see(replication_group, cache)
    except Unobserved:
        return []
    if group.serverless:
        return [
            _query(group.id, "AWS/ElastiCache", metric, statistic, [("clusterId", group.id)])
            for metric, statistic in _OF_A_SERVERLESS_CACHE.items()
        ]
    return [
        _query(node, "AWS/ElastiCache", metric, statistic, [("CacheClusterId", node)])
        for node in group.members
        for metric, statistic in _OF_A_NODE.items()
    ]


_OF_A_SERVERLESS_CACHE = {"BytesUsedForCache": "Maximum", "Evictions": "Sum", "ThrottledCmds": "Sum"}
_OF_A_NODE = {"Evictions": "Sum", "EngineCPUUtilization": "Average"}


def _query(subject: str, namespace: str, metric: str, statistic: str, dimensions: Iterable[tuple[str, str]]) -> Query:
    return Query(subject=subject, namespace=namespace, metric=metric, statistic=statistic, dimensions=tuple(dimensions))


def _asked(key: str, query: Query) -> dict[str, Any]:
    metric = {
        "Namespace": query.namespace,
        "MetricName": query.metric,
        "Dimensions": [{"Name": name, "Value": value} for name, value in query.dimensions],
    }
    return {"Id": key, "MetricStat": {"Metric": metric, "Period": int(STEP.total_seconds()), "Stat": query.statistic}}


def _step(moment: datetime) -> datetime:
    """The start of the five-minute step that contains `moment`. Datapoints are aligned to these steps."""
    return moment - timedelta(minutes=moment.minute % 5, seconds=moment.second, microseconds=moment.microsecond)


def too_few(service: Service, asked: float, since: datetime, windows: Windows) -> Unobserved:
    """What to raise for a service with too few requests to judge it by."""
    return unknown(
        "too-little-data" if windows.too_few == "unknown" else "not-applicable",
        phrase(
            "{} had {:.0f} requests since {:%H:%M} UTC; {} tell something",
            service.name,
            asked,
            since,
            windows.least_requests,
        ),
    )


async def _periods(observer: Observer, service: Service, taken: datetime) -> tuple[datetime, datetime]:
    """(start of the judged window, start of the window before). A deploy within the window starts the judged one."""
    window = timedelta(minutes=observer.environment.metrics.window_minutes)
    since = taken - window
    deployed = (await observer.see(ecs_service, service)).primary.created
    if deployed is not None and since < deployed <= taken:
        since = deployed
    return _step(since), _step(since) - window


def _share(observer: Observer, service: Service, seen: Metrics, start: datetime, end: datetime) -> tuple[float, float]:
    """(requests, errors). A 5XX of the load balancer itself reached no target, so it is added to both."""
    load_balancer = service.load_balancer
    assert load_balancer is not None, "asked only of services behind a load balancer"
    own = sum(seen.between(load_balancer.name, "HTTPCode_ELB_5XX_Count", start, end))
    requests = sum(seen.between(service.name, "RequestCount", start, end))
    errors = sum(seen.between(service.name, "HTTPCode_Target_5XX_Count", start, end))
    return requests + own, errors + own
