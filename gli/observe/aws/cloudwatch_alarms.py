"""Log groups, dashboards and alarms.

Source of truth: logs DescribeLogGroups, cloudwatch DescribeAlarms and ListDashboards.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Any

from gli.common.clock import now
from gli.common.sentences import phrase
from gli.config.services import Service
from gli.observe.aws.ecs_services import ecs_service, ecs_services
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, Unobserved, one_of
from gli.observe.engine.probe import Observer, probe

_INVALID = frozenset({"InvalidParameterValue", "InvalidParameterValueException", "ValidationError"})
_STATES = frozenset({"OK", "ALARM", "INSUFFICIENT_DATA"})
_COMPARISONS = frozenset(
    f"{than}Threshold" for than in ("GreaterThan", "GreaterThanOrEqualTo", "LessThan", "LessThanOrEqualTo")
)
"""Those with a fixed threshold; an alarm on a band has no metric's name and is not judged."""
_UNSEARCHABLE = frozenset({"INFREQUENT_ACCESS", "DELIVERY"})
_SELECTED = re.compile(r"\bSELECT\s+\w+\(\s*(?:\"([^\"]+)\"|([\w.]+))\s*\)", re.IGNORECASE)
"""Finds the metric in a Metrics Insights query, `SELECT AVG(CPUUtilization) FROM ...`."""
_WATCHED = re.compile(r"\b(?:ALARM|OK|INSUFFICIENT_DATA)\(\s*+\"?([^\")]++)\"?\s*+\)", re.IGNORECASE)
_OF_SEVERAL = re.compile(r"\bAT_LEAST\([^,]+,[^,]+,\s*\(([^)]*)\)", re.IGNORECASE)
"""Find the alarms in a composite alarm's rule, by name or by ARN: `ALARM(a)`, and `AT_LEAST(2, ALARM, (a, b, c))`."""
_LONGEST_RULE = 10_240
"""CloudWatch API Reference, PutCompositeAlarm."""
_EMPTY = len('{"widgets":[]}')


class LogGroup(Observation):
    """A log group. `exists` is false if CloudWatch has no group of this name."""

    name: str
    exists: bool
    retention_days: int | None = None
    """None: events never expire."""
    log_class: str = "STANDARD"
    key: str | None = None
    """The key of KMS that encrypts its events; None: one of AWS's own."""

    @property
    def searchable(self) -> bool:
        """Whether FilterLogEvents accepts groups of this class."""
        return self.log_class not in _UNSEARCHABLE


class Alarm(Observation):
    """An alarm."""

    name: str
    arn: str = ""
    metrics: tuple[str, ...] = ()
    """The names of the metrics that it watches, sorted. An alarm on a formula has several."""
    composite: bool = False
    """The alarm watches other alarms."""
    watched: tuple[str, ...] = ()
    """The names or ARNs of the alarms that a composite one watches."""
    state: str
    reason: str
    enabled: bool
    actions: tuple[str, ...]
    namespace: str = ""
    """The namespace of its metric; empty for an alarm on anything but one metric."""
    dimensions: tuple[tuple[tuple[str, str], ...], ...] = ()
    """The dimensions of each metric that it watches."""
    limit: str = ""
    """`GreaterThanThreshold 80`: when an alarm on one metric fires; empty for another kind of alarm."""
    sleeps: bool = False
    """It never fires when the metric gets worse, or only hours later: its threshold is out of reach or on the wrong
    side, or it waits for too many periods."""
    blind_s: float = 0.0
    """Seconds for which it has had no data of a metric that AWS always sends; 0: it has data, or need not have any."""

    @property
    def scales(self) -> bool:
        """Whether its only actions are scaling policies. Such an alarm fires whenever the service has to scale."""
        return bool(self.actions) and all(re.match(r"arn:[^:]+:autoscaling:", action) for action in self.actions)


@probe()
async def log_groups(observer: Observer) -> dict[str, LogGroup]:
    """Name to log group, for the groups of the environment and of its services. One call for each."""
    wanted = set(observer.environment.logs.groups if observer.environment.logs else ())
    wanted |= {s.log_group for s in observer.environment.services.values() if s.log_group}
    found = await asyncio.gather(*[_log_group(observer, name) for name in sorted(wanted)])
    return {group.name: group for group in found}


async def _log_group(observer: Observer, name: str) -> LogGroup:
    answer = await observer.aws.call(observer, "logs", "describe_log_groups", logGroupNamePrefix=name)
    described = next((g for g in answer["logGroups"] if g["logGroupName"] == name), None)
    if described is None:
        return LogGroup(name=name, exists=False)
    return LogGroup(
        name=name,
        exists=True,
        retention_days=described.get("retentionInDays"),
        log_class=described.get("logGroupClass") or "STANDARD",
        key=described.get("kmsKeyId"),
    )


@probe(deadline=30)
async def alarms(observer: Observer) -> tuple[Alarm, ...]:
    """The alarms whose names start with the environment's prefix."""
    prefix = observer.environment.alarms.prefix if observer.environment.alarms else ""
    return tuple(sorted(await _alarms(observer, AlarmNamePrefix=prefix), key=lambda a: a.name))


@probe()
async def deployment_alarms(observer: Observer, service: Service) -> dict[str, str]:
    """Alarm that rolls a deployment of the service back to its state; `missing` if there is none of this name."""
    named = (await observer.see(ecs_service, service)).rolled_back_by
    if not named:
        return {}
    found = await _alarms(observer, AlarmNames=[*named])
    return dict.fromkeys(named, "missing") | {a.name: a.state for a in found}


@probe()
async def rollback_alarms(observer: Observer) -> tuple[str, ...]:
    """The alarms that roll a deployment of a service back; none where ECS can't be asked."""
    try:
        services = (await observer.see(ecs_services)).values()
    except Unobserved:
        return ()
    return tuple(sorted({name for service in services for name in service.rolled_back_by}))


@probe()
async def dashboards(observer: Observer) -> tuple[str, ...]:
    """The names of the dashboards that hold anything, of those whose names start with the environment's prefix."""
    prefix = observer.environment.alarms.prefix if observer.environment.alarms else ""
    answer = await observer.aws.call(observer, "cloudwatch", "list_dashboards", DashboardNamePrefix=prefix)
    return tuple(sorted(d["DashboardName"] for d in answer["DashboardEntries"] if d["Size"] > _EMPTY))


async def _alarms(observer: Observer, **which: Any) -> list[Alarm]:
    """Alarms of every kind. A region that does not know alarms on queries of logs yet refuses to be asked for them."""
    kinds = ["MetricAlarm", "CompositeAlarm", "LogAlarm"]
    try:
        answer = await observer.aws.call(observer, "cloudwatch", "describe_alarms", **which, AlarmTypes=kinds)
    except AwsError as e:
        if e.code not in _INVALID:
            raise
        answer = await observer.aws.call(observer, "cloudwatch", "describe_alarms", **which, AlarmTypes=kinds[:2])
    found = (*answer["MetricAlarms"], *answer["CompositeAlarms"], *(answer.get("LogAlarms") or []))
    return [read_alarm(a) for a in found]


def read_alarm(described: Mapping[str, Any]) -> Alarm:
    """Reads an alarm: on a metric, on an expression over metrics, on a query of metrics or of logs, or a composite
    alarm.
    """
    queries = described.get("Metrics") or []
    watched = [described, *(q["MetricStat"]["Metric"] for q in queries if "MetricStat" in q)]
    selected = [m for q in queries for m in _SELECTED.findall(q.get("Expression") or "")]
    names = {w["MetricName"] for w in watched if w.get("MetricName")} | {quoted or plain for quoted, plain in selected}
    rule = described.get("AlarmRule")
    return Alarm(
        name=described["AlarmName"],
        arn=described.get("AlarmArn") or "",
        metrics=tuple(sorted(names)),
        composite=rule is not None,
        watched=tuple(sorted(_watched_by(rule or ""))),
        state=one_of(_STATES, described["StateValue"], phrase("the state of the alarm {}", described["AlarmName"])),
        reason=described.get("StateReason") or "",
        enabled=described["ActionsEnabled"],
        namespace=described.get("Namespace") or "",
        limit=_limit(described),
        blind_s=_blind_s(described),
        sleeps=_sleeps(described),
        actions=tuple(described["AlarmActions"]),
        dimensions=tuple(
            tuple(sorted((d["Name"], d["Value"]) for d in w["Dimensions"]))
            for w in watched
            if w.get("Dimensions") or (w is described and w.get("MetricName"))  # AWS sends an empty list too
        ),
    )


def _watched_by(rule: str) -> set[str]:
    rule = rule[:_LONGEST_RULE]
    several = {name.strip(' "') for names in _OF_SEVERAL.findall(rule) for name in names.split(",")}
    return {*(name.strip() for name in _WATCHED.findall(rule)), *several} - {""}


_SHARES = frozenset(
    {
        *("CPUUtilization", "MemoryUtilization", "EngineCPUUtilization", "DatabaseMemoryUsagePercentage"),
        *("BurstBalance", "ByteBalance%", "EBSByteBalance%", "EBSIOBalance%", "CacheHitRate", "5xxErrorRate"),
    }
)
"""Metrics of AWS's between 0 and 100."""
_WORSE_BELOW = frozenset(
    {
        *("FreeStorageSpace", "FreeableMemory", "HealthyHostCount", "BurstBalance", "CPUCreditBalance"),
        *("EBSByteBalance%", "EBSIOBalance%", "RunningTaskCount", "RabbitMQDiskFree"),
    }
)
_WORSE_ABOVE = re.compile(
    r"HTTPCode_\w*5XX_Count|5xxErrorRate|UnHealthyHostCount|CPUUtilization|EngineCPUUtilization|MemoryUtilization"
    r"|DatabaseMemoryUsagePercentage|Evictions|ReplicaLag|TargetResponseTime|RejectedConnectionCount"
)


_ALWAYS_SENT = frozenset({"AWS/RDS", "AWS/ElastiCache", "AWS/ECS", "AWS/AmazonMQ"})
"""Namespaces whose metrics have a datapoint each minute. Counts of a load balancer are only sent above 0."""
_OF_SOME = re.compile(r".*Lag|CPU\w*Credit\w*|HTTPCode_\w+|\w*Throttled\w*")
"""Metrics of these that only some resources send, or send only above 0: replicas, instances that live on credits,
services with ECS Service Connect. After a failover it is another node of a cache that sends its lag."""


def always_sent(namespace: str, metric: str) -> bool:
    """Whether every resource of the namespace sends the metric each minute."""
    return namespace in _ALWAYS_SENT and not _OF_SOME.fullmatch(metric)


_TOO_LATE_S = 6 * 3600


def _limit(described: Mapping[str, Any]) -> str:
    if not described.get("MetricName"):
        return ""
    limit, waits_s = f"{described['ComparisonOperator']} {described['Threshold']:g}", _waits_s(described)
    return f"{limit} for {waits_s / 3600:.0f} h" if waits_s > _TOO_LATE_S else limit


def _waits_s(described: Mapping[str, Any]) -> float:
    """The shortest time for which the metric must be bad before the alarm fires."""
    periods = described.get("DatapointsToAlarm") or described["EvaluationPeriods"]
    return float(described["Period"] * periods)


def _blind_s(described: Mapping[str, Any]) -> float:
    sent = always_sent(described.get("Namespace") or "", described.get("MetricName") or "")
    blind = described["StateValue"] == "INSUFFICIENT_DATA" and sent
    return round((now() - described["StateUpdatedTimestamp"]).total_seconds(), 1) if blind else 0.0


def _sleeps(described: Mapping[str, Any]) -> bool:
    """See `Alarm.sleeps`. AWS's own metrics are never negative. An alarm on a formula or a band is not judged."""
    name = described.get("MetricName")
    if not name or not described["Namespace"].startswith("AWS/"):
        return False
    if _waits_s(described) > _TOO_LATE_S:
        return True
    what = phrase("the comparison of the alarm {}", described["AlarmName"])
    threshold, compares = described["Threshold"], one_of(_COMPARISONS, described["ComparisonOperator"], what)
    above, also_equal = compares.startswith("GreaterThan"), "OrEqual" in compares
    if above:
        most = 100 if name in _SHARES else math.inf
        return name in _WORSE_BELOW or threshold > most or (threshold == most and not also_equal)
    return _WORSE_ABOVE.fullmatch(name) is not None or threshold < 0 or (threshold == 0 and not also_equal)
