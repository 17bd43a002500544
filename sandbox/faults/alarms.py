"""Faults of the alarms, and of the topic that they notify."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.aws.seed_watching import ERRORS, put_metric_filter
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


def _alarm(sandbox: Sandbox, metric: str) -> dict[str, Any]:
    """The first alarm on a metric."""
    prefix = required(sandbox.environment.alarms).prefix
    alarms: list[dict[str, Any]] = sandbox.aws("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    return next(alarm for alarm in alarms if alarm["MetricName"] == metric)


def _put(sandbox: Sandbox, alarm: dict[str, Any], **changes: Any) -> None:
    """Put an alarm from its description, with some fields changed."""
    alarm = {field: alarm[field] for field in _ALARM_FIELDS}
    sandbox.aws("cloudwatch").put_metric_alarm(**{**alarm, **changes})


@fault("alarm-missing", turns_red=["alarms-exist"])
def alarm_missing(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on the database's free storage is missing."""
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


@fault("dashboard-deleted", turns_red=["dashboards-exist"])
def dashboard_deleted(sandbox: Sandbox) -> Iterator[None]:
    """Somebody deleted one of the dashboards."""
    cloudwatch, name = sandbox.aws("cloudwatch"), required(sandbox.environment.alarms).dashboards[0]
    body = cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"]
    cloudwatch.delete_dashboards(DashboardNames=[name])
    yield
    cloudwatch.put_dashboard(DashboardName=name, DashboardBody=body)


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
    """The alarm on errors notifies nobody: its actions are still off after a maintenance."""
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


def _topic_arn(sandbox: Sandbox) -> str:
    name = required(sandbox.environment.alarms).topics[0]
    topics = sandbox.aws("sns").list_topics()["Topics"]
    return str(next(t["TopicArn"] for t in topics if t["TopicArn"].endswith(f":{name}")))


@fault("topic-under-the-key-of-aws", turns_red=["sns-takes-alarms"])
def topic_under_the_key_of_aws(sandbox: Sandbox) -> Iterator[None]:
    """The topic of the alarms was encrypted with AWS's own key: CloudWatch can't publish, and nobody is told."""
    sns, arn = sandbox.aws("sns"), _topic_arn(sandbox)
    sns.set_topic_attributes(TopicArn=arn, AttributeName="KmsMasterKeyId", AttributeValue="alias/aws/sns")
    yield
    sns.set_topic_attributes(TopicArn=arn, AttributeName="KmsMasterKeyId", AttributeValue="")


@fault("topic-for-others", turns_red=["sns-takes-alarms"])
def topic_for_others(sandbox: Sandbox) -> Iterator[None]:
    """The policy of the alarms' topic was replaced by one that lets EventBridge alone publish."""
    sns, arn = sandbox.aws("sns"), _topic_arn(sandbox)
    before = sns.get_topic_attributes(TopicArn=arn)["Attributes"]["Policy"]
    who = {"Service": "events.amazonaws.com"}
    statement = {"Effect": "Allow", "Principal": who, "Action": "sns:Publish", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
    yield
    sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=before)


@fault("alarm-out-of-reach", turns_red=["alarms-exist"])
def alarm_out_of_reach(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on the memory of the tasks fires above 1000 percent."""
    alarm = _alarm(sandbox, "MemoryUtilization")
    _put(sandbox, alarm, Threshold=1000.0)
    yield
    _put(sandbox, alarm)


@fault("alarm-the-wrong-way-round", turns_red=["alarms-exist"])
def alarm_the_wrong_way_round(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on the database's free storage fires while there is room."""
    alarm = _alarm(sandbox, "FreeStorageSpace")
    _put(sandbox, alarm, ComparisonOperator="GreaterThanThreshold")
    yield
    _put(sandbox, alarm)


@fault("alarm-a-day-late", turns_red=["alarms-exist"])
def alarm_a_day_late(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on errors wants a whole day of errors before it fires."""
    alarm = _alarm(sandbox, "HTTPCode_Target_5XX_Count")
    _put(sandbox, alarm, Period=86400, EvaluationPeriods=1)
    yield
    _put(sandbox, alarm)


@fault("alarm-without-data", turns_red=["alarms-exist"])
def alarm_without_data(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on the memory of the tasks has had no data for two hours."""
    region, name = required(sandbox.environment.aws).region, _alarm(sandbox, "MemoryUtilization")["AlarmName"]
    undo = sandbox.aws_overlay("alarm", region=region, name=name, state="INSUFFICIENT_DATA", since_s=7200.0)
    yield
    sandbox.aws_overlay("alarm", **undo)


@fault("alarm-of-other-dimensions", turns_red=["alarms-exist"])
def alarm_of_other_dimensions(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on the CPU of the tasks names no cluster: AWS sends no such metric, and missing data is good."""
    alarm = _alarm(sandbox, "CPUUtilization")
    _put(sandbox, alarm, Dimensions=[d for d in alarm["Dimensions"] if d["Name"] != "ClusterName"])
    yield
    _put(sandbox, alarm)


@fault("alarm-of-a-group-without-its-balancer", turns_red=["alarms-exist"])
def alarm_of_a_group_without_its_balancer(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on errors names the target group alone: AWS sends errors for a group with its load balancer."""
    alarm = _alarm(sandbox, "HTTPCode_Target_5XX_Count")
    _put(sandbox, alarm, Dimensions=[d for d in alarm["Dimensions"] if d["Name"] == "TargetGroup"])
    yield
    _put(sandbox, alarm)


@fault("filter-missing", turns_red=["alarm-filter-counts"])
def filter_missing(sandbox: Sandbox) -> Iterator[None]:
    """Nothing counts the API's error lines: the metric filter was lost, as its log group was made anew."""
    with _filter(sandbox, None):
        yield


@fault("filter-of-another-format", turns_red=["alarm-filter-counts"])
def filter_of_another_format(sandbox: Sandbox) -> Iterator[None]:
    """The filter looks for errors in JSON, and the API writes lines of text."""
    with _filter(sandbox, '"\\"level\\": \\"ERROR\\""'):
        yield


@fault("filter-ignores-its-words", turns_red=["alarm-filter-counts"])
def filter_ignores_its_words(sandbox: Sandbox) -> Iterator[None]:
    """The filter excludes the health check's lines, and CloudWatch ignores ?words beside another word."""
    with _filter(sandbox, f"{ERRORS} -kube-probe"):
        yield


@fault("filter-publishes-zero", turns_red=["alarm-filter-counts"])
def filter_publishes_zero(sandbox: Sandbox) -> Iterator[None]:
    """The filter publishes 0 for every error line, so that the sum stays 0."""
    with _filter(sandbox, ERRORS, value="0"):
        yield


@contextmanager
def _filter(sandbox: Sandbox, pattern: str | None, value: str = "1") -> Iterator[None]:
    """Give the filter of the API's errors another pattern and value; None: delete the filter."""
    wanted = required(sandbox.environment.alarms).metric_filters[0]
    if pattern is None:
        sandbox.aws("logs").delete_metric_filter(logGroupName=wanted.group, filterName=wanted.metric)
    else:
        put_metric_filter(sandbox.account, sandbox.environment, wanted, pattern, value)
    yield
    put_metric_filter(sandbox.account, sandbox.environment, wanted)


@fault("subscriptions-filtered", turns_red=["sns-takes-alarms"])
def subscriptions_filtered(sandbox: Sandbox) -> Iterator[None]:
    """Each subscription of the alarms' topic wants an attribute that no alarm has: SNS drops what alarms publish."""
    sns = sandbox.aws("sns")
    arns = [
        s["SubscriptionArn"] for s in sns.list_subscriptions_by_topic(TopicArn=_topic_arn(sandbox))["Subscriptions"]
    ]
    for arn in arns:
        policy = json.dumps({"severity": ["critical"]})
        sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue=policy)
    yield
    for arn in arns:
        sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue="{}")


@fault("alarms-to-a-deleted-topic", turns_red=["sns-takes-alarms"])
def alarms_to_a_deleted_topic(sandbox: Sandbox) -> Iterator[None]:
    """Each alarm still notifies the topic of before: the topic was made again under another name."""
    prefix = required(sandbox.environment.alarms).prefix
    alarms = sandbox.aws("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    notifying = [alarm for alarm in alarms if _topic_arn(sandbox) in alarm["AlarmActions"]]
    for alarm in notifying:
        gone = [f"{action}-2019" for action in alarm["AlarmActions"]]
        _put(sandbox, alarm, AlarmActions=gone, OKActions=[])
    yield
    for alarm in notifying:
        _put(sandbox, alarm)


@fault("all-alarms-muted", turns_red=["sns-takes-alarms"])
def all_alarms_muted(sandbox: Sandbox) -> Iterator[None]:
    """The actions of all alarms are still off after a maintenance."""
    prefix = required(sandbox.environment.alarms).prefix
    names = [a["AlarmName"] for a in sandbox.aws("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]]
    sandbox.aws("cloudwatch").disable_alarm_actions(AlarmNames=names)
    yield
    sandbox.aws("cloudwatch").enable_alarm_actions(AlarmNames=names)
