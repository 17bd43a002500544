"""Whether the resources that alarms watch exist: an alarm on a resource that is gone gets no data.

Source of truth: the listings of the service that each dimension belongs to (elbv2, rds, elasticache, ecs).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from gli.config.data_tier import Database
from gli.observe.aws.cloudwatch_alarms import alarms
from gli.observe.aws.ecs_services import clusters, ecs_services
from gli.observe.aws.elasticache import replication_group
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.rds import database_instance
from gli.observe.engine.probe import Observer, probe

_SERVICES_PER_CALL = 10


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
