"""How each service does: its requests, errors, response time, CPU and memory, now and before.

Source of truth: cloudwatch GetMetricData; the metrics of `AWS/ApplicationELB` and `AWS/ECS`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from gli.common.sentences import phrase
from gli.config.parts import Metrics as Windows
from gli.config.services import Service
from gli.observe.aws.cloudwatch import STEP, Metrics, data_query, incomplete_results, metric_data, metrics, step_of
from gli.observe.aws.ecs_services import ecs_service
from gli.observe.aws.metric_queries import OF_TASKS, service_queries
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe

_SAME_MINUTES = (timedelta(days=1), timedelta(days=7))


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
async def earlier_requests(observer: Observer) -> dict[str, tuple[float, ...]]:
    """Service to its number of requests in the same minutes a day and a week ago. One call for each of the two days."""
    taken = (await observer.see(metrics)).taken
    queries = [q for q in await service_queries(observer) if q.metric == "RequestCount"]
    asked = [data_query(f"m{n}", query) for n, query in enumerate(queries)]
    if not asked:
        raise unknown("dependency", phrase("RequestCount could not be asked for: what it belongs to is unknown"))
    start, end = _window(observer, taken)
    answers = await asyncio.gather(*[metric_data(observer, asked, start - ago, end - ago) for ago in _SAME_MINUTES])
    for results in answers:
        if partial := incomplete_results(asked, results):
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
    end = step_of(taken) - STEP  # a datapoint takes minutes to arrive
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
    start = step_of(seen.taken) - 2 * STEP
    taken = {m: seen.between(service.name, m, start, seen.taken) for m in OF_TASKS}
    if not all(taken.values()):
        raise unknown(
            "too-little-data",
            phrase("CloudWatch has no {} of {} since {}", " or ".join(OF_TASKS), service.name, start),
        )
    cpu, memory = (sum(values) / len(values) for values in taken.values())
    return Utilisation(service=service.ecs.service if service.ecs else service.name, cpu=cpu, memory=memory)


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
    return step_of(since), step_of(since) - window


def _share(observer: Observer, service: Service, seen: Metrics, start: datetime, end: datetime) -> tuple[float, float]:
    """(requests, errors). A 5XX of the load balancer itself reached no target, so it is added to both."""
    load_balancer = service.load_balancer
    assert load_balancer is not None, "asked only of services behind a load balancer"
    own = sum(seen.between(load_balancer.name, "HTTPCode_ELB_5XX_Count", start, end))
    requests = sum(seen.between(service.name, "RequestCount", start, end))
    errors = sum(seen.between(service.name, "HTTPCode_Target_5XX_Count", start, end))
    return requests + own, errors + own
