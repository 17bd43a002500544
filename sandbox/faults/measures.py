"""Faults that show in what is measured and logged, and where the two environments are not alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gli.config.environments import Service
from sandbox.aws.seed_watching import seed_log_stream
from sandbox.faults import Sandbox, fault
from sandbox.site import required

_ERROR_LINES = 40
_TWO_HOURS_S = 7200
_AN_HOUR_MS = 3_600_000


def _api(sandbox: Sandbox) -> Service:
    return sandbox.environment.services["api"]


@contextmanager
def _traffic(sandbox: Sandbox, metric: str, value: float, for_s: int = 0) -> Iterator[None]:
    """The load balancer measures another value of the API from now on, and for so long already."""
    where, elbv2 = required(_api(sandbox).ecs), sandbox.aws("elbv2")
    service = sandbox.aws("ecs").describe_services(cluster=where.cluster, services=[where.service])["services"][0]
    name = required(sandbox.environment.load_balancer).name
    balancer = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    undo = sandbox.aws_overlay(
        "metric-data",
        region=required(sandbox.environment.aws).region,
        namespace="AWS/ApplicationELB",
        metric=metric,
        dimensions={
            "LoadBalancer": balancer.partition(":loadbalancer/")[2],
            "TargetGroup": service["loadBalancers"][0]["targetGroupArn"].rpartition(":")[2],
        },
        value=value,
        for_s=for_s,
    )
    try:
        yield
    finally:
        sandbox.aws_overlay("metric-data", **undo)


@fault("errors-since-the-deploy", turns_red=["metric-5xx-rate"])
def errors_since_the_deploy(sandbox: Sandbox) -> Iterator[None]:
    """Most of the API's requests end in a server error."""
    with _traffic(sandbox, "HTTPCode_Target_5XX_Count", 2500.0):
        yield


@fault("slow-since-the-deploy", turns_red=["metric-p95-latency"])
def slow_since_the_deploy(sandbox: Sandbox) -> Iterator[None]:
    """The API takes seconds to answer."""
    with _traffic(sandbox, "TargetResponseTime", 4.2):
        yield


@fault("slower-than-before", turns_red=["metric-p95-latency"])
def slower_than_before(sandbox: Sandbox) -> Iterator[None]:
    """The API answers in half a second, many times what it took before the deploy."""
    with _traffic(sandbox, "TargetResponseTime", 0.5):
        yield


@fault("users-stay-away", turns_red=["metric-traffic-volume"])
def users_stay_away(sandbox: Sandbox) -> Iterator[None]:
    """The API has had a third of its usual requests for two hours."""
    with _traffic(sandbox, "RequestCount", 1000.0, for_s=_TWO_HOURS_S):
        yield


@fault("log-group-silent", turns_red=["logs-recent-ingestion"])
def log_group_silent(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks have not written a line for an hour."""
    logs, group = sandbox.aws("logs"), required(_api(sandbox).log_group)
    names = [s["logStreamName"] for s in logs.describe_log_streams(logGroupName=group)["logStreams"]]
    for name in names:
        logs.delete_log_stream(logGroupName=group, logStreamName=name)
    seed_log_stream(sandbox.account, group, "task/0", age_ms=_AN_HOUR_MS)
    undo = sandbox.aws_overlay("log-group", region=required(sandbox.environment.aws).region, name=group, silent=True)
    yield
    sandbox.aws_overlay("log-group", **undo)
    logs.delete_log_stream(logGroupName=group, logStreamName="task/0")
    for name in names:
        seed_log_stream(sandbox.account, group, name)


@fault("errors-in-the-log", turns_red=["logs-error-scan"])
def errors_in_the_log(sandbox: Sandbox) -> Iterator[None]:
    """The API logs an error that it did not log before the deploy."""
    logs, group, stream = sandbox.aws("logs"), required(_api(sandbox).log_group), "task/errors"
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(time.time() * 1000)
    lines = [f"ERROR order {n} could not be paid: KeyError 'currency'" for n in range(_ERROR_LINES)]
    events = [{"timestamp": now, "message": line} for line in lines]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    yield
    logs.delete_log_stream(logGroupName=group, logStreamName=stream)


@fault("variable-missing-in-production", turns_red=["parity-config"])
def variable_missing_in_production(sandbox: Sandbox) -> Iterator[None]:
    """Production's API was deployed without a variable that staging's has."""
    ecs, where = sandbox.aws("ecs"), required(sandbox.site.other.services["api"].ecs)
    service = ecs.describe_services(cluster=where.cluster, services=[where.service])["services"][0]
    before = service["taskDefinition"]
    definition = ecs.describe_task_definition(taskDefinition=before)["taskDefinition"]
    containers: list[dict[str, Any]] = [{**c, "environment": []} for c in definition["containerDefinitions"]]
    kept = ("family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn")
    changed = ecs.register_task_definition(**{key: definition[key] for key in kept}, containerDefinitions=containers)[
        "taskDefinition"
    ]["taskDefinitionArn"]
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=changed)
    yield
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=before)
    ecs.deregister_task_definition(taskDefinition=changed)


@fault("production-behind", turns_red=["parity-engines"])
def production_behind(sandbox: Sandbox) -> Iterator[None]:
    """Production's database is a major version behind."""
    rds, instance = sandbox.aws("rds"), required(sandbox.site.other.database).instance
    described = rds.describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"][0]

    def run(version: str) -> None:
        rds.modify_db_instance(
            DBInstanceIdentifier=instance,
            EngineVersion=version,
            AllowMajorVersionUpgrade=True,
            ApplyImmediately=True,
        )

    run("17.7")
    yield
    run(described["EngineVersion"])
