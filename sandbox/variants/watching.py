"""Set-ups of logs and alarms."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sandbox.aws.seed_watching import put_metric_filter
from sandbox.faults.common import logged
from sandbox.site import required
from sandbox.variants import Sandbox, variant


@variant("two-filters-for-a-metric")
def two_filters_for_a_metric(sandbox: Sandbox) -> Iterator[None]:
    """Two metric filters feed the metric of the API's errors, and each counts a part of the lines."""
    wanted = required(sandbox.environment.alarms).metric_filters[0]
    put_metric_filter(sandbox.account, sandbox.environment, wanted, '"Internal Server Error"')
    put_metric_filter(sandbox.account, sandbox.environment, wanted, "?Traceback ?CRITICAL", name="Crashes")
    yield
    sandbox.aws("logs").delete_metric_filter(logGroupName=wanted.group, filterName="Crashes")
    put_metric_filter(sandbox.account, sandbox.environment, wanted)


@variant("alarm-on-the-whole-balancer")
def alarm_on_the_whole_balancer(sandbox: Sandbox) -> Iterator[None]:
    """Another alarm on errors watches the load balancer with all its groups; missing data is good."""
    cloudwatch, alarms = sandbox.aws("cloudwatch"), required(sandbox.environment.alarms)
    name, load_balancer = f"{alarms.prefix}all-5xx", required(sandbox.environment.load_balancer).name
    arn = sandbox.aws("elbv2").describe_load_balancers(Names=[load_balancer])["LoadBalancers"][0]["LoadBalancerArn"]
    topics = cloudwatch.describe_alarms(AlarmNamePrefix=alarms.prefix)["MetricAlarms"][0]["AlarmActions"]
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/ApplicationELB",
        MetricName="HTTPCode_Target_5XX_Count",
        Dimensions=[{"Name": "LoadBalancer", "Value": arn.partition(":loadbalancer/")[2]}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=3,
        Threshold=20.0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
        AlarmActions=topics,
    )
    yield
    cloudwatch.delete_alarms(AlarmNames=[name])


@variant("alarms-by-a-filter")
def alarms_by_a_filter(sandbox: Sandbox) -> Iterator[None]:
    """The mail subscription of the alarms' topic wants alarms that began, and another one other messages alone."""
    sns, name = sandbox.aws("sns"), required(sandbox.environment.alarms).topics[0]
    topic = next(t["TopicArn"] for t in sns.list_topics()["Topics"] if t["TopicArn"].endswith(f":{name}"))
    known = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    mail = next(s["SubscriptionArn"] for s in known if s["Protocol"] == "email")

    def put(subscription: str, policy: object, scope: str) -> None:
        for key, value in (("FilterPolicy", json.dumps(policy)), ("FilterPolicyScope", scope)):
            sns.set_subscription_attributes(SubscriptionArn=subscription, AttributeName=key, AttributeValue=value)

    put(mail, {"NewStateValue": ["ALARM", "INSUFFICIENT_DATA"]}, "MessageBody")
    other = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="releases@glibiz.com")["SubscriptionArn"]
    put(other, {"kind": ["release"]}, "MessageAttributes")
    yield
    sns.unsubscribe(SubscriptionArn=other)
    put(mail, {}, "MessageAttributes")


@variant("lines-of-json")
def lines_of_json(sandbox: Sandbox) -> Iterator[None]:
    """The API logs lines of JSON that name errors there are none of, and paths that are called so."""
    quiet: dict[str, object] = {"level": "info", "msg": "done", "error": None, "errors": [], "error_count": 0}
    lines = [json.dumps(quiet | {"n": n}) for n in range(200)]
    lines += [f"INFO GET /static/error.js 200 {n}" for n in range(100)]
    with logged(sandbox, "task/json", lines):
        yield
