"""Monitoring of one environment: log groups with fresh events, alarms on live resources, and their topics."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from gli.config.environments import Environment
from gli.config.parts import MetricFilter
from sandbox.aws.account import Account
from sandbox.aws.seed_compute import Balancer
from sandbox.aws.seed_data import Data
from sandbox.site import required

RETENTION_DAYS = 30
ERRORS = "?ERROR ?CRITICAL ?Traceback"
"""The pattern of infrastructure/monitoring.yaml for lines that are errors."""
_WIDGET = {"type": "metric", "properties": {"metrics": [["AWS/ApplicationELB", "RequestCount"]], "stat": "Sum"}}


def seed_logs(account: Account, environment: Environment) -> None:
    """Make every log group."""
    for group in required(environment.logs).groups:
        seed_log_group(account, group)


def seed_log_group(account: Account, name: str) -> None:
    """Make a log group with one stream."""
    logs = account("logs")
    logs.create_log_group(logGroupName=name)
    logs.put_retention_policy(logGroupName=name, retentionInDays=RETENTION_DAYS)
    seed_log_stream(account, name, "task/1")


def seed_log_stream(account: Account, group: str, name: str, *, age_ms: int = 0) -> None:
    """Make a stream with one line, `age_ms` old."""
    logs = account("logs")
    logs.create_log_stream(logGroupName=group, logStreamName=name)
    event = {"timestamp": int(time.time() * 1000) - age_ms, "message": "INFO started"}
    logs.put_log_events(logGroupName=group, logStreamName=name, logEvents=[event])


def put_metric_filter(
    account: Account,
    environment: Environment,
    wanted: MetricFilter,
    pattern: str = ERRORS,
    value: str = "1",
    name: str | None = None,
) -> None:
    """Put the filter that counts a log group's lines for a metric, as infrastructure/monitoring.yaml declares it."""
    transformation = {"metricNamespace": f"GLI/{environment.branch}", "metricName": wanted.metric, "metricValue": value}
    account("logs").put_metric_filter(
        logGroupName=wanted.group,
        filterName=name or wanted.metric,
        filterPattern=pattern,
        metricTransformations=[transformation],
    )


def seed_alarms(account: Account, environment: Environment, balancer: Balancer, data: Data) -> None:
    """Make the topics, the dashboards, and an alarm for each metric of each resource."""
    alarms = required(environment.alarms)
    topics = [_topic(account, name) for name in alarms.topics]
    cloudwatch = account("cloudwatch")
    for name in alarms.dashboards:
        cloudwatch.put_dashboard(DashboardName=name, DashboardBody=json.dumps({"widgets": [_WIDGET]}))
    for wanted in alarms.metric_filters:
        put_metric_filter(account, environment, wanted)
    resources = _resources(environment, balancer, data)
    for metric in alarms.metrics:
        for (namespace, short), dimensions in resources.items():
            if metric not in _METRICS[namespace]:
                continue
            cloudwatch.put_metric_alarm(
                AlarmName=f"{alarms.prefix}{short}-{metric}",
                Namespace=namespace,
                MetricName=metric,
                Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
                Statistic="Average",
                Period=60,
                EvaluationPeriods=3,
                Threshold=_METRICS[namespace][metric],
                ComparisonOperator=_FALLING if metric.startswith("Free") else _RISING,
                TreatMissingData="notBreaching",
                ActionsEnabled=True,
                AlarmActions=topics,
                OKActions=topics,
            )


_RISING, _FALLING = "GreaterThanOrEqualToThreshold", "LessThanOrEqualToThreshold"
_METRICS = {
    "AWS/ApplicationELB": {"HTTPCode_Target_5XX_Count": 5.0, "UnHealthyHostCount": 1.0},
    "AWS/ECS": {"CPUUtilization": 80.0, "MemoryUtilization": 85.0},
    "AWS/RDS": {"CPUUtilization": 80.0, "FreeStorageSpace": 10.0 * 2**30, "DatabaseConnections": 80.0},
    "AWS/ElastiCache": {"DatabaseMemoryUsagePercentage": 80.0},
}
"""The metrics that can be watched, by namespace, and the threshold of each."""


def seed_metrics(account: Account, environment: Environment, balancer: Balancer, data: Data) -> None:
    """Write a datapoint of eight days ago for each metric; `measuring.py` repeats it for every later step."""
    began = datetime.now(UTC) - timedelta(days=8)
    resources = _resources(environment, balancer, data)
    for namespace, measured in _MEASURED.items():
        points = [
            {
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
                "Timestamp": began,
                "Value": value,
            }
            for (space, _), dimensions in resources.items()
            if space == namespace
            for metric, value in measured.items()
        ]
        account("cloudwatch").put_metric_data(Namespace=namespace, MetricData=points)
    usage = [{"Name": name, "Value": value} for name, value in sorted(FARGATE_USAGE.items())]
    point = {"MetricName": "ResourceCount", "Dimensions": usage, "Timestamp": began, "Value": 12.0}
    account("cloudwatch").put_metric_data(Namespace="AWS/Usage", MetricData=[point])
    front = [{"Name": "LoadBalancer", "Value": balancer.arn.partition(":loadbalancer/")[2]}]
    point = {"MetricName": "ConsumedLCUs", "Dimensions": front, "Timestamp": began, "Value": 0.3}
    account("cloudwatch").put_metric_data(Namespace="AWS/ApplicationELB", MetricData=[point])
    name = required(environment.broker).amazon_mq
    points = [
        {"MetricName": metric, "Dimensions": [{"Name": "Broker", "Value": name}], "Timestamp": began, "Value": value}
        for metric, value in OF_A_BROKER.items()
    ]
    account("cloudwatch").put_metric_data(Namespace="AWS/AmazonMQ", MetricData=points)


FARGATE_USAGE = {"Service": "Fargate", "Type": "Resource", "Resource": "vCPU", "Class": "Standard/OnDemand"}
"""The dimensions of the metric that counts the account's vCPUs in use."""
OF_A_BROKER = {
    "RabbitMQMemUsed": 0.2 * 2**30,
    "RabbitMQMemLimit": 1.6 * 2**30,
    "RabbitMQDiskFree": 150.0 * 2**30,
    "RabbitMQDiskFreeLimit": 1.0 * 2**30,
    "MessageUnacknowledgedCount": 0.0,
}
"""What is measured until the broker of this sandbox has started; from then on it is measured itself."""


_MEASURED = {
    "AWS/ApplicationELB": {
        "RequestCount": 3000.0,
        "HTTPCode_Target_5XX_Count": 2.0,
        "TargetResponseTime": 0.06,
        "HealthyHostCount": 2.0,
    },
    "AWS/ECS": {"CPUUtilization": 22.0, "MemoryUtilization": 41.0},
    "AWS/RDS": {
        "FreeStorageSpace": 64.0 * 2**30,
        "FreeableMemory": 1.5 * 2**30,
        "CPUUtilization": 18.0,
        "ReadLatency": 0.0008,
        "WriteLatency": 0.0021,
        "CPUCreditBalance": 570.0,
        "DatabaseConnections": 12.0,
    },
    "AWS/ElastiCache": {"Evictions": 0.0, "EngineCPUUtilization": 3.0, "DatabaseMemoryUsagePercentage": 21.0},
}
"""What is measured in any five minutes, by namespace."""


def _resources(environment: Environment, balancer: Balancer, data: Data) -> dict[tuple[str, str], dict[str, str]]:
    """The resources to watch: {(namespace, short name): CloudWatch dimensions}."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for service in environment.services.values():
        where = required(service.ecs)
        found["AWS/ECS", service.name] = {"ClusterName": where.cluster, "ServiceName": where.service}
        found["AWS/ApplicationELB", service.name] = {
            "LoadBalancer": balancer.arn.partition(":loadbalancer/")[2],
            "TargetGroup": balancer.target_groups[service.name].rpartition(":")[2],
        }
    found["AWS/RDS", "database"] = {"DBInstanceIdentifier": required(environment.database).instance}
    for node in data.cache_nodes:
        found["AWS/ElastiCache", node.removeprefix(required(environment.alarms).prefix)] = {"CacheClusterId": node}
    return found


def _topic(account: Account, name: str) -> Any:
    """Make a topic that notifies the people on call by mail and in their chat."""
    sns = account("sns")
    arn = sns.create_topic(Name=name)["TopicArn"]
    sns.subscribe(TopicArn=arn, Protocol="email", Endpoint="on-call@glibiz.com")
    sns.subscribe(TopicArn=arn, Protocol="https", Endpoint="https://global.sns-api.chatbot.amazonaws.com")
    return arn
