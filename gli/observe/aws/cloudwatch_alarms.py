"""Log groups, alarms, and the topics that the alarms notify.

Source of truth: logs DescribeLogGroups, cloudwatch DescribeAlarms and ListDashboards, sns ListSubscriptionsByTopic,
GetSubscriptionAttributes and GetTopicAttributes.
Whether the resource of an alarm's dimension exists, its own service tells (elbv2, rds, elasticache, ecs).
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine, Mapping
from fnmatch import fnmatchcase
from typing import Any

from gli.common.clock import now
from gli.common.sentences import Said, phrase
from gli.config.data_tier import Database
from gli.config.services import Service
from gli.observe.aws.ecs_services import clusters, ecs_service, ecs_services
from gli.observe.aws.elasticache import replication_group
from gli.observe.aws.identity import caller_identity
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.policy_documents import named_in, statements_of, values_of
from gli.observe.aws.rds import database_instance
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, one_of
from gli.observe.engine.probe import Observer, probe

_STATES = frozenset({"OK", "ALARM", "INSUFFICIENT_DATA"})
_UNSEARCHABLE = frozenset({"INFREQUENT_ACCESS", "DELIVERY"})
_SELECTED = re.compile(r"\bSELECT\s+\w+\(\s*(?:\"([^\"]+)\"|([\w.]+))\s*\)", re.IGNORECASE)
"""Finds the metric in a Metrics Insights query, `SELECT AVG(CPUUtilization) FROM ...`."""
_WATCHED = re.compile(r"\b(?:ALARM|OK|INSUFFICIENT_DATA)\(\s*\"?([^\")]+?)\"?\s*\)", re.IGNORECASE)
"""Finds the alarms in a composite alarm's rule, by name or by ARN."""
_SERVICES_PER_CALL = 10
_EMPTY = len('{"widgets":[]}')


class LogGroup(Observation):
    """A log group. `exists` is false if CloudWatch has no group of this name."""

    name: str
    exists: bool
    retention_days: int | None = None
    """None: events never expire."""
    log_class: str = "STANDARD"

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


class Topic(Observation):
    """An SNS topic and its subscriptions. `arn` is None if there is no topic of this name."""

    name: str
    arn: str | None
    refuses_alarms: Said | None = None
    """Why CloudWatch may not publish to it, although everything else about it looks well."""
    confirmed: tuple[str, ...] = ()
    """Protocols with a confirmed subscription that alarms pass, sorted."""
    key: str | None = None
    """The key of KMS that encrypts it; None: none does."""
    deaf: tuple[str, ...] = ()
    """Protocols with a confirmed subscription whose filter policy drops each message of an alarm, sorted."""
    pending: int = 0


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
    )


@probe(deadline=30)
async def alarms(observer: Observer) -> tuple[Alarm, ...]:
    """The alarms whose names start with the environment's prefix."""
    prefix = observer.environment.alarms.prefix if observer.environment.alarms else ""
    answer = await observer.aws.call(
        observer, "cloudwatch", "describe_alarms", AlarmNamePrefix=prefix, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    found = [read_alarm(a) for a in (*answer["MetricAlarms"], *answer["CompositeAlarms"])]
    return tuple(sorted(found, key=lambda a: a.name))


@probe()
async def deployment_alarms(observer: Observer, service: Service) -> dict[str, str]:
    """Alarm that rolls a deployment of the service back to its state; `missing` if there is none of this name."""
    named = (await observer.see(ecs_service, service)).rolled_back_by
    if not named:
        return {}
    answer = await observer.aws.call(
        observer,
        "cloudwatch",
        "describe_alarms",
        AlarmNames=[*named],
        AlarmTypes=["MetricAlarm", "CompositeAlarm"],
    )
    found = [read_alarm(a) for a in (*answer["MetricAlarms"], *answer["CompositeAlarms"])]
    return dict.fromkeys(named, "missing") | {a.name: a.state for a in found}


@probe()
async def dashboards(observer: Observer) -> tuple[str, ...]:
    """The names of the dashboards that hold anything, of those whose names start with the environment's prefix."""
    prefix = observer.environment.alarms.prefix if observer.environment.alarms else ""
    answer = await observer.aws.call(observer, "cloudwatch", "list_dashboards", DashboardNamePrefix=prefix)
    return tuple(sorted(d["DashboardName"] for d in answer["DashboardEntries"] if d["Size"] > _EMPTY))


def read_alarm(described: Mapping[str, Any]) -> Alarm:
    """Reads an alarm: on a metric, on an expression over metrics, on a Metrics Insights query, or a composite alarm."""
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
        watched=tuple(sorted(set(_WATCHED.findall(rule or "")))),
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


ALWAYS_SENT = frozenset({"AWS/RDS", "AWS/ElastiCache", "AWS/ECS", "AWS/AmazonMQ"})
"""Namespaces whose metrics have a datapoint each minute. Counts of a load balancer are only sent above 0."""
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
    blind = described["StateValue"] == "INSUFFICIENT_DATA" and described.get("Namespace") in ALWAYS_SENT
    return round((now() - described["StateUpdatedTimestamp"]).total_seconds(), 1) if blind else 0.0


def _sleeps(described: Mapping[str, Any]) -> bool:
    """See `Alarm.sleeps`. AWS's own metrics are never negative. An alarm on a formula or a band is not judged."""
    name = described.get("MetricName")
    if not name or not described["Namespace"].startswith("AWS/"):
        return False
    if _waits_s(described) > _TOO_LATE_S:
        return True
    threshold, compares = described["Threshold"], described["ComparisonOperator"]
    above, also_equal = compares.startswith("GreaterThan"), "OrEqual" in compares
    if above:
        most = 100 if name in _SHARES else math.inf
        return name in _WORSE_BELOW or threshold > most or (threshold == most and not also_equal)
    return _WORSE_ABOVE.fullmatch(name) is not None or threshold < 0 or (threshold == 0 and not also_equal)


@probe(deadline=20)
async def topics(observer: Observer) -> dict[str, Topic]:
    """Name to topic with its subscriptions, for the environment's topics. Two calls for each, and one for each
    subscription."""
    wanted = observer.environment.alarms.topics if observer.environment.alarms else ()
    identity = await observer.see(caller_identity)
    partition = identity.arn.split(":")[1]
    arns = {name: f"arn:{partition}:sns:{identity.region}:{identity.account}:{name}" for name in wanted}
    found = await asyncio.gather(*[_topic(observer, name, arn) for name, arn in arns.items()])
    return {topic.name: topic for topic in found}


async def _topic(observer: Observer, name: str, arn: str) -> Topic:
    try:
        answer = await observer.aws.call(observer, "sns", "list_subscriptions_by_topic", TopicArn=arn)
    except AwsError as e:
        if e.code in ("NotFound", "NotFoundException"):
            return Topic(name=name, arn=None)
        raise
    settings = await observer.aws.call(observer, "sns", "get_topic_attributes", TopicArn=arn)
    arns = [s["SubscriptionArn"] for s in answer["Subscriptions"]]
    protocols = {s["SubscriptionArn"]: s["Protocol"] for s in answer["Subscriptions"]}
    confirmed = [a for a in arns if a.startswith("arn:")]
    owners = {s["SubscriptionArn"]: s["Owner"] for s in answer["Subscriptions"]}
    account = arn.split(":")[4]  # another account does not show its subscriptions
    heard = [owners[a] != account or await _hears_alarms(observer, a) for a in confirmed]
    return Topic(
        name=name,
        arn=arn,
        refuses_alarms=_refusal(settings["Attributes"]),
        key=settings["Attributes"].get("KmsMasterKeyId") or None,
        confirmed=tuple(sorted({protocols[a] for a, hears in zip(confirmed, heard, strict=True) if hears})),
        deaf=tuple(sorted({protocols[a] for a, hears in zip(confirmed, heard, strict=True) if not hears})),
        pending=arns.count("PendingConfirmation"),  # a removed one is listed as Deleted for three days
    )


async def _hears_alarms(observer: Observer, subscription: str) -> bool:
    """Whether an alarm's message passes the filter policy of a subscription, as far as the policy can be judged."""
    try:
        answer = await observer.aws.call(observer, "sns", "get_subscription_attributes", SubscriptionArn=subscription)
    except AwsError as e:
        if e.code not in ("NotFound", "NotFoundException"):  # removed since it was listed
            raise
        return False
    attributes = answer["Attributes"]
    policy = json.loads(attributes.get("FilterPolicy") or "{}")
    body = attributes.get("FilterPolicyScope") == "MessageBody"
    return all(_passes(key, wanted, _OF_AN_ALARM if body else {}) for key, wanted in policy.items())


_ANYTHING = None
_OF_AN_ALARM: Mapping[str, str | None] = {"NewStateValue": "ALARM"} | dict.fromkeys(
    (
        *("AlarmName", "AlarmDescription", "AWSAccountId", "AlarmConfigurationUpdatedTimestamp", "NewStateReason"),
        *("StateChangeTime", "Region", "AlarmArn", "OldStateValue", "OKActions", "AlarmActions", "Trigger"),
        "InsufficientDataActions",
    ),
    _ANYTHING,
)
"""The members of an alarm's message, with the value that each alarm has there. A message has no attributes."""


def _passes(key: str, wanted: Any, message: Mapping[str, str | None]) -> bool:
    """Whether a message passes one key of a filter policy. What depends on the alarm, and operators that are not judged
    here, pass."""
    asked = values_of(wanted)
    if key.startswith("$"):  # `$or`
        return True
    if key not in message:
        return any(isinstance(each, dict) and each.get("exists") is False for each in asked)
    there = message[key]
    if there is _ANYTHING or isinstance(wanted, dict):
        return True
    return any(each == there if isinstance(each, str) else _is_met(each, there) for each in asked)


def _is_met(operator: Any, value: str) -> bool:
    if not isinstance(operator, dict):
        return False
    if "anything-but" in operator:
        return value not in values_of(operator["anything-but"])
    if "prefix" in operator:
        return value.startswith(str(operator["prefix"]))
    return operator.get("exists") is not False


def _refusal(attributes: Mapping[str, str]) -> Said | None:
    """Why CloudWatch may not publish to a topic with these attributes; None if it may, as far as they tell.

    AWS's own key for SNS lets no other service in, and nobody can change that key's policy.
    """
    if (attributes.get("KmsMasterKeyId") or "").endswith("alias/aws/sns"):
        return phrase("AWS's own key for SNS encrypts it, which CloudWatch may not use")
    if any(map(_lets_alarms_in, statements_of(attributes["Policy"]))):
        return None
    return phrase("its policy lets CloudWatch not publish")


def _lets_alarms_in(statement: Mapping[str, Any]) -> bool:
    """Whether a statement may let an alarm publish: for the service, or for everybody; conditions are not judged."""
    named = named_in(statement.get("Principal"))
    able = any(fnmatchcase("sns:publish", str(action).lower()) for action in values_of(statement.get("Action")))
    return statement.get("Effect") == "Allow" and able and bool({"*", "cloudwatch.amazonaws.com"}.intersection(named))


@probe(deadline=40)
async def dead_dimensions(observer: Observer) -> tuple[str, ...]:
    """The values of alarms' dimensions whose resource does not exist, sorted.

    The environment's own resources are known already. Other resources are looked up in a list of all resources of
    their kind, one call for each kind. Dimensions of further kinds (a queue, a zone, a firewall) are ignored.
    """
    watched = {d for alarm in await observer.see(alarms) for dimensions in alarm.dimensions for d in dimensions}
    services = {
        (dict(dimensions).get("ClusterName", ""), value)
        for alarm in await observer.see(alarms)
        for dimensions in alarm.dimensions
        for name, value in dimensions
        if name == "ServiceName" and "ClusterName" in dict(dimensions)
    }
    live = await _own(observer)
    dead: set[str] = set()
    for kind, listed in _LISTED.items():
        strangers = {value for name, value in watched if name == kind} - live
        dead |= strangers - await listed(observer) if strangers else set()
    of_services = {cluster for cluster, _ in services} | {v for name, v in watched if name == "ClusterName"}
    dead |= of_services - live - await _active_clusters(observer, sorted(of_services - live))
    for cluster in sorted({c for c, name in services if name not in live} - dead):
        names = sorted(name for c, name in services if c == cluster and name not in live)
        dead |= set(names) - await _active_services(observer, cluster, names)
    return tuple(sorted(dead))


async def _own(observer: Observer) -> set[str]:
    """The dimension values of the environment's own resources that exist."""
    environment = observer.environment
    live: set[str] = set()
    for load_balancer in environment.balancers.values():
        arn = (await observer.see(balancer, load_balancer)).arn
        live |= {arn.partition("loadbalancer/")[2]} if arn else set()
    active = {c.name for c in await observer.see(clusters) if c.status == "ACTIVE"}
    for service in (await observer.see(ecs_services)).values():
        if service.status == "ACTIVE" and service.cluster in active:
            live |= {service.name, service.cluster, *(arn.split(":")[-1] for arn in service.every_group)}
    for part in environment.in_aws:
        if isinstance(part, Database):
            instance = await observer.see(database_instance, part)
            live |= {part.instance, *instance.ids} if instance.status != "missing" else set()
        elif (group := await observer.see(replication_group, part)).status != "missing":
            live |= {group.id, *group.members}
    return live


def _all(service: str, operation: str, key: str, name: str, after: str = "") -> Listing:
    """Lists every resource of a kind, by its value in an alarm's dimension: the part of field `name` behind `after`."""

    async def listed(observer: Observer) -> set[str]:
        answer = await observer.aws.call(observer, service, operation)
        return {str(each[name]).rpartition(after)[2] if after else str(each[name]) for each in answer[key]}

    return listed


Listing = Callable[[Observer], Coroutine[Any, Any, set[str]]]
_LISTED: Mapping[str, Listing] = {
    "LoadBalancer": _all("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerArn", ":loadbalancer/"),
    "TargetGroup": _all("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupArn", ":"),
    "DBInstanceIdentifier": _all("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
    "CacheClusterId": _all("elasticache", "describe_cache_clusters", "CacheClusters", "CacheClusterId"),
    "ReplicationGroupId": _all("elasticache", "describe_replication_groups", "ReplicationGroups", "ReplicationGroupId"),
}
"""Dimension to a function that lists all resources of its kind."""


async def _active_clusters(observer: Observer, names: list[str]) -> set[str]:
    if not names:
        return set()
    answer = await observer.aws.call(observer, "ecs", "describe_clusters", clusters=names)
    return {c["clusterName"] for c in answer["clusters"] if c["status"] == "ACTIVE"}


async def _active_services(observer: Observer, cluster: str, names: list[str]) -> set[str]:
    found: set[str] = set()
    for at in range(0, len(names), _SERVICES_PER_CALL):
        answer = await observer.aws.call(
            observer, "ecs", "describe_services", cluster=cluster, services=names[at : at + _SERVICES_PER_CALL]
        )
        found |= {s["serviceName"] for s in answer["services"] if s["status"] == "ACTIVE"}
    return found
