"""Who is told when something breaks: log groups, alarms and the topics that they notify.

Source of truth: logs DescribeLogGroups, cloudwatch DescribeAlarms, sns ListTopics and ListSubscriptionsByTopic.
"""

from __future__ import annotations

from typing import Any

from gli.observe.aws.ecs_services import clusters, ecs_services
from gli.observe.aws.elasticache import replication_group
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.rds import database_instance
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe


class LogGroup(Observation):
    """A log group; `exists` is false where CloudWatch knows none of that name."""

    name: str
    exists: bool
    retention_days: int | None = None
    """None: events never expire."""


class Alarm(Observation):
    """An alarm."""

    name: str
    metric: str
    """Empty for a composite alarm, which watches other alarms."""
    state: str
    reason: str
    enabled: bool
    actions: tuple[str, ...]
    dimensions: dict[str, str]


class Topic(Observation):
    """An SNS topic and whom it reaches."""

    name: str
    arn: str | None
    confirmed: tuple[str, ...] = ()
    """Protocols with a confirmed subscription, sorted."""
    pending: int = 0


@probe()
async def log_groups(observer: Observer) -> dict[str, LogGroup]:
    """The environment's log groups by name; one paged call for the prefix that all share."""
    wanted = observer.environment.logs.groups if observer.environment.logs else ()
    prefix = _common_prefix(wanted)
    answer = await observer.aws.call(observer, "logs", "describe_log_groups", logGroupNamePrefix=prefix)
    found = {g["logGroupName"]: g.get("retentionInDays") for g in answer["logGroups"]}
    return {n: LogGroup(name=n, exists=n in found, retention_days=found.get(n)) for n in wanted}


@probe()
async def alarms(observer: Observer) -> tuple[Alarm, ...]:
    """The alarms whose names start with the environment's prefix."""
    prefix = observer.environment.alarms.prefix if observer.environment.alarms else ""
    answer = await observer.aws.call(
        observer, "cloudwatch", "describe_alarms", AlarmNamePrefix=prefix, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    found = [_alarm(a) for a in (*answer.get("MetricAlarms", []), *answer.get("CompositeAlarms", []))]
    return tuple(sorted(found, key=lambda a: a.name))


def _alarm(described: dict[str, Any]) -> Alarm:
    """A metric alarm, one on an expression over metrics, or a composite one."""
    metrics = [m["MetricStat"]["Metric"] for m in described.get("Metrics", []) if "MetricStat" in m]
    watched = [described, *metrics]
    return Alarm(
        name=described["AlarmName"],
        metric=next((w["MetricName"] for w in watched if w.get("MetricName")), ""),
        state=described["StateValue"],
        reason=described.get("StateReason", ""),
        enabled=described.get("ActionsEnabled", True),
        actions=tuple(described.get("AlarmActions", [])),
        dimensions={d["Name"]: d["Value"] for w in watched for d in w.get("Dimensions", [])},
    )


@probe()
async def topics(observer: Observer) -> dict[str, Topic]:
    """The environment's topics by name, with their subscriptions."""
    wanted = observer.environment.alarms.topics if observer.environment.alarms else ()
    answer = await observer.aws.call(observer, "sns", "list_topics")
    arns = {t["TopicArn"].rpartition(":")[2]: t["TopicArn"] for t in answer["Topics"]}
    found = {}
    for name in wanted:
        if name not in arns:
            found[name] = Topic(name=name, arn=None)
            continue
        answer = await observer.aws.call(observer, "sns", "list_subscriptions_by_topic", TopicArn=arns[name])
        confirmed = [s for s in answer["Subscriptions"] if s["SubscriptionArn"].startswith("arn:")]
        found[name] = Topic(
            name=name,
            arn=arns[name],
            confirmed=tuple(sorted({s["Protocol"] for s in confirmed})),
            pending=len(answer["Subscriptions"]) - len(confirmed),
        )
    return found


@probe(deadline=15)
async def live_dimensions(observer: Observer) -> tuple[str, ...]:
    """Every value that a dimension of an alarm may have: the names of the environment's resources that exist."""
    environment = observer.environment
    live: set[str] = set()
    if environment.load_balancer:
        arn = (await observer.see(balancer, environment.load_balancer)).arn
        live |= {arn.partition("loadbalancer/")[2]} if arn else set()
    active = {c.name for c in await observer.see(clusters) if c.status == "ACTIVE"}
    for service in (await observer.see(ecs_services)).values():
        if service.status == "ACTIVE" and service.cluster in active:
            live |= {service.name, service.cluster, *(arn.split(":")[-1] for arn in service.target_groups)}
    if environment.database and (await observer.see(database_instance, environment.database)).status != "missing":
        live.add(environment.database.instance)
    if environment.cache and (group := await observer.see(replication_group, environment.cache)).status != "missing":
        live |= {group.id, *group.members, f"{group.id}-001"}
    return tuple(sorted(live))


def _common_prefix(names: tuple[str, ...]) -> str:
    """The longest text that all names start with."""
    if not names:
        return ""
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]
