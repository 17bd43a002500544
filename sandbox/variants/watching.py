"""Set-ups of logs and alarms."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.aws.seed_watching import put_metric_filter
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
