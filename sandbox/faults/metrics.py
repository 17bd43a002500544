"""Faults of the load balancer's metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import api_service
from sandbox.site import required

_TWO_HOURS_S = 7200


@contextmanager
def _traffic(sandbox: Sandbox, metric: str, value: float, for_s: int = 0) -> Iterator[None]:
    """Set a load balancer metric of the API to a value, from `for_s` seconds ago on."""
    where, elbv2 = required(api_service(sandbox).ecs), sandbox.aws("elbv2")
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
    """The API answers in half a second, much slower than before the deploy."""
    with _traffic(sandbox, "TargetResponseTime", 0.5):
        yield


@fault("users-stay-away", turns_red=["metric-traffic-volume"])
def users_stay_away(sandbox: Sandbox) -> Iterator[None]:
    """For two hours the API has had only a third of its usual requests."""
    with _traffic(sandbox, "RequestCount", 1000.0, for_s=_TWO_HOURS_S):
        yield
