"""Set-ups of logs and alarms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

from sandbox.aws.seed_watching import put_metric_filter
from sandbox.faults.common import logged
from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import overlaid, region, service, target_group, where


@variant("two-filters-for-a-metric", tries=["alarm-filter-counts"])
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


@variant("alarms-by-a-filter", tries=["sns-subscribed"])
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


@variant("alarm-that-only-rolls-back", tries=["alarms-actions"])
def alarm_that_only_rolls_back(sandbox: Sandbox) -> Iterator[None]:
    """A second alarm on errors has no actions: ECS alone asks for it, and rolls deployments of the API back."""
    cloudwatch, ecs, place = sandbox.aws("cloudwatch"), sandbox.aws("ecs"), where(sandbox)
    prefix = required(sandbox.environment.alarms).prefix
    found = cloudwatch.describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    like = next(a for a in found if a["MetricName"] == "HTTPCode_Target_5XX_Count")
    kept = ("Namespace", "MetricName", "Dimensions", "Statistic", "Period", "ComparisonOperator")
    name = f"{prefix}rollback"
    cloudwatch.put_metric_alarm(AlarmName=name, EvaluationPeriods=1, Threshold=2.0, **{key: like[key] for key in kept})
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="no errors")
    before = service(sandbox)["deploymentConfiguration"]
    watched = {**before, "alarms": {"alarmNames": [name], "enable": True, "rollback": True}}
    ecs.update_service(cluster=place.cluster, service=place.service, deploymentConfiguration=watched)
    yield
    ecs.update_service(cluster=place.cluster, service=place.service, deploymentConfiguration=before)
    cloudwatch.delete_alarms(AlarmNames=[name])


@variant("lag-of-each-node", tries=["alarms-exist"])
def lag_of_each_node(sandbox: Sandbox) -> Iterator[None]:
    """An alarm watches how far each node of the cache is behind: the primary sends no lag, until a failover."""
    cloudwatch, alarms = sandbox.aws("cloudwatch"), required(sandbox.environment.alarms)
    topics = cloudwatch.describe_alarms(AlarmNamePrefix=alarms.prefix)["MetricAlarms"][0]["AlarmActions"]
    wanted = required(sandbox.environment.cache).replication_group
    groups = sandbox.aws("elasticache").describe_replication_groups(ReplicationGroupId=wanted)
    names = []
    with ExitStack() as silent:
        for node in groups["ReplicationGroups"][0]["MemberClusters"]:
            names.append(f"{alarms.prefix}lag-{node}")
            cloudwatch.put_metric_alarm(
                AlarmName=names[-1],
                Namespace="AWS/ElastiCache",
                MetricName="ReplicationLag",
                Dimensions=[{"Name": "CacheClusterId", "Value": node}],
                Statistic="Maximum",
                Period=60,
                EvaluationPeriods=5,
                Threshold=5.0,
                ComparisonOperator="GreaterThanThreshold",
                AlarmActions=topics,
            )
            state = {"state": "INSUFFICIENT_DATA", "since_s": 86_400.0}
            silent.enter_context(overlaid(sandbox, "alarm", region=region(sandbox), name=names[-1], **state))
        yield
    cloudwatch.delete_alarms(AlarmNames=names)


@variant(
    "busy-afternoon",
    tries=[
        "db-cpu-and-io",
        "db-memory",
        "db-storage-free",
        "ecs-cpu-mem-headroom",
        "metric-5xx-rate",
        "metric-p95-latency",
        "metric-traffic-volume",
    ],
)
def busy_afternoon(sandbox: Sandbox) -> Iterator[None]:
    """Three times as many users as usual, for hours: a few errors, slower answers, and a lot of CPU and memory."""
    name, place = required(sandbox.environment.load_balancer).name, where(sandbox)
    arn = sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    group = {
        "LoadBalancer": arn.partition(":loadbalancer/")[2],
        "TargetGroup": target_group(sandbox).rpartition(":")[2],
    }
    tasks = {"ClusterName": place.cluster, "ServiceName": place.service}
    database = {"DBInstanceIdentifier": required(sandbox.environment.database).instance}
    wanted = required(sandbox.environment.cache).replication_group
    groups = sandbox.aws("elasticache").describe_replication_groups(ReplicationGroupId=wanted)["ReplicationGroups"]
    node = {"CacheClusterId": groups[0]["MemberClusters"][0]}
    measured = {
        "AWS/ApplicationELB": (
            group,
            {"RequestCount": 9000.0, "HTTPCode_Target_5XX_Count": 18.0, "TargetResponseTime": 0.15},
        ),
        "AWS/ECS": (tasks, {"CPUUtilization": 65.0, "MemoryUtilization": 74.0}),
        "AWS/RDS": (
            database,
            {"CPUUtilization": 70.0, "WriteLatency": 0.012, "FreeableMemory": 4e8, "FreeStorageSpace": 2e10},
        ),
        "AWS/ElastiCache": (node, {"EngineCPUUtilization": 55.0}),
    }
    with ExitStack() as played:
        for namespace, (dimensions, values) in measured.items():
            about = {"region": region(sandbox), "namespace": namespace, "dimensions": dimensions, "for_s": 4 * 3600}
            for metric, value in values.items():
                played.enter_context(overlaid(sandbox, "metric-data", **about, metric=metric, value=value))
        yield


@variant("logs-kept-for-a-year", tries=["logs-retention"])
def logs_kept_for_a_year(sandbox: Sandbox) -> Iterator[None]:
    """The log groups keep their events for a year, as an auditor wants."""
    logs, before = sandbox.aws("logs"), {}
    for name in required(sandbox.environment.logs).groups:
        before[name] = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]["retentionInDays"]
        logs.put_retention_policy(logGroupName=name, retentionInDays=365)
    yield
    for name, days in before.items():
        logs.put_retention_policy(logGroupName=name, retentionInDays=days)
