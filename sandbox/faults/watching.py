"""Faults of the watch: log groups, alarms, and the topic that they notify."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.aws.seed_watching import seed_log_group
from sandbox.faults import Sandbox, fault
from sandbox.site import required

_ALARM_FIELDS = (
    "AlarmName",
    "Namespace",
    "MetricName",
    "Dimensions",
    "Statistic",
    "Period",
    "EvaluationPeriods",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
    "ActionsEnabled",
    "AlarmActions",
    "OKActions",
)


def _log_group(sandbox: Sandbox) -> str:
    return required(sandbox.environment.logs).groups[0]


@fault("log-group-missing", turns_red=["logs-groups-exist"])
def log_group_missing(sandbox: Sandbox) -> Iterator[None]:
    """The API's log group does not exist."""
    sandbox.aws("logs").delete_log_group(logGroupName=_log_group(sandbox))
    yield
    seed_log_group(sandbox.account, _log_group(sandbox))


@contextmanager
def _retention(sandbox: Sandbox, days: int | None) -> Iterator[None]:
    """The API's log group keeps its events that long; None: for ever."""
    logs, name = sandbox.aws("logs"), _log_group(sandbox)
    before = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]["retentionInDays"]
    if days is None:
        logs.delete_retention_policy(logGroupName=name)
    else:
        logs.put_retention_policy(logGroupName=name, retentionInDays=days)
    try:
        yield
    finally:
        logs.put_retention_policy(logGroupName=name, retentionInDays=before)


@fault("logs-kept-for-ever", turns_red=["logs-retention"])
def logs_kept_for_ever(sandbox: Sandbox) -> Iterator[None]:
    """The API's log group never expires."""
    with _retention(sandbox, None):
        yield


@fault("logs-kept-for-a-day", turns_red=["logs-retention"])
def logs_kept_for_a_day(sandbox: Sandbox) -> Iterator[None]:
    """The API's log group forgets after a day."""
    with _retention(sandbox, 1):
        yield


def _alarm(sandbox: Sandbox, metric: str) -> dict[str, Any]:
    """One of the alarms on a metric."""
    prefix = required(sandbox.environment.alarms).prefix
    alarms: list[dict[str, Any]] = sandbox.aws("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    return next(alarm for alarm in alarms if alarm["MetricName"] == metric)


def _put(sandbox: Sandbox, alarm: dict[str, Any], **changes: Any) -> None:
    """The alarm as it was described, with some fields changed."""
    alarm = {field: alarm[field] for field in _ALARM_FIELDS}
    sandbox.aws("cloudwatch").put_metric_alarm(**{**alarm, **changes})


@fault("alarm-missing", turns_red=["alarms-exist"])
def alarm_missing(sandbox: Sandbox) -> Iterator[None]:
    """Nobody watches how much storage the database has left."""
    alarm = _alarm(sandbox, "FreeStorageSpace")
    sandbox.aws("cloudwatch").delete_alarms(AlarmNames=[alarm["AlarmName"]])
    yield
    _put(sandbox, alarm)


@fault("alarm-on-a-ghost", turns_red=["alarms-exist"])
def alarm_on_a_ghost(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on errors watches a load balancer that was replaced."""
    alarm = _alarm(sandbox, "HTTPCode_Target_5XX_Count")
    ghost = {"Name": "LoadBalancer", "Value": "app/replaced/0123456789abcdef"}
    _put(sandbox, alarm, Dimensions=[ghost if d["Name"] == ghost["Name"] else d for d in alarm["Dimensions"]])
    yield
    _put(sandbox, alarm)


@fault("alarm-rings", turns_red=["alarms-quiet"])
def alarm_rings(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on errors is in ALARM."""
    cloudwatch, alarm = sandbox.aws("cloudwatch"), _alarm(sandbox, "HTTPCode_Target_5XX_Count")
    name, reason = alarm["AlarmName"], "Threshold Crossed: 3 datapoints were greater than the threshold."
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason=reason)
    yield
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=alarm["StateValue"], StateReason=alarm["StateReason"])


@fault("alarm-muted", turns_red=["alarms-actions"])
def alarm_muted(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on errors notifies nobody: somebody muted it for a maintenance and forgot."""
    name = _alarm(sandbox, "HTTPCode_Target_5XX_Count")["AlarmName"]
    sandbox.aws("cloudwatch").disable_alarm_actions(AlarmNames=[name])
    yield
    sandbox.aws("cloudwatch").enable_alarm_actions(AlarmNames=[name])


@fault("subscription-pending", turns_red=["sns-subscribed"])
def subscription_pending(sandbox: Sandbox) -> Iterator[None]:
    """Nobody has confirmed the mail subscription of the alarms' topic."""
    sns, name = sandbox.aws("sns"), required(sandbox.environment.alarms).topics[0]
    topic = next(t["TopicArn"] for t in sns.list_topics()["Topics"] if t["TopicArn"].endswith(f":{name}"))
    subscriptions = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    arn = next(s["SubscriptionArn"] for s in subscriptions if s["Protocol"] == "email")
    region = required(sandbox.environment.aws).region
    undo = sandbox.aws_overlay("subscription", region=region, arn=arn, shown_as="PendingConfirmation")
    yield
    sandbox.aws_overlay("subscription", **undo)
