"""The metrics of CloudWatch that an environment needs: of its services, load balancers, database, cache and broker.

Source of truth: the lists of metrics in the documentation of ECS, ELB, RDS, ElastiCache and Amazon MQ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from gli.config.services import LoadBalancer
from gli.observe.aws.cloudwatch_alarms import Alarm, alarms, always_sent
from gli.observe.aws.ecs_services import EcsService, ecs_services
from gli.observe.aws.elasticache import replication_group
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.rds import database_instance
from gli.observe.engine.observation import Observation, Unobserved
from gli.observe.engine.probe import Observer


class Query(Observation):
    """One metric to fetch."""

    subject: str
    namespace: str
    metric: str
    statistic: str
    """`Sum`, `Average`, `Maximum`, or a percentile such as `p95`."""
    dimensions: tuple[tuple[str, str], ...]
    region: str | None = None
    """Where it is measured; None: in the environment's region."""

    @property
    def name(self) -> str:
        return f"{self.subject} {self.metric}"


async def queries_of(observer: Observer) -> list[Query]:
    """The metrics to fetch. If a resource could not be observed, its metrics are left out."""
    parts = await asyncio.gather(
        service_queries(observer), _of_the_database(observer), _of_the_cache(observer), _of_alarms(observer)
    )
    return [*(query for part in parts for query in part), *_of_the_broker(observer), *_of_fargate(observer)]


FARGATE, USED = "Fargate", "ResourceCount"
"""The subject and the metric of the vCPUs that all tasks of the account use, as GetServiceQuota names it."""


def _of_fargate(observer: Observer) -> list[Query]:
    own = [("Class", "Standard/OnDemand"), ("Resource", "vCPU"), ("Service", FARGATE), ("Type", "Resource")]
    return [_query(FARGATE, "AWS/Usage", USED, "Maximum", own)] if observer.environment.ecs else []


async def _of_alarms(observer: Observer) -> list[Query]:
    """For each alarm that should always get data, the metric that shows whether it does."""
    if observer.environment.alarms is None:
        return []
    try:
        found = await observer.see(alarms)
    except Unobserved:
        return []
    wanted = [(a, told_by(a)) for a in found if {*a.metrics} & {*observer.environment.alarms.metrics}]
    return [_query(a.name, a.namespace, metric, "Average", a.dimensions[0]) for a, metric in wanted if metric]


_OF_BALANCERS = frozenset({"AWS/ApplicationELB", "AWS/NetworkELB"})


def told_by(alarm: Alarm) -> str | None:
    """The metric that has data whenever the resource of an alarm's dimensions is there; None: there is none.

    CloudWatch keeps a metric for each set of dimensions that AWS sends, and knows no other.
    """
    if not alarm.dimensions:
        return None
    if always_sent(alarm.namespace, alarm.metrics[0]):
        return alarm.metrics[0]
    if alarm.namespace in _OF_BALANCERS:
        return "HealthyHostCount" if "TargetGroup" in dict(alarm.dimensions[0]) else "ConsumedLCUs"
    return None


def _of_the_broker(observer: Observer) -> list[Query]:
    broker = observer.environment.broker
    if broker is None or broker.amazon_mq is None:
        return []
    own, namespace = [("Broker", broker.amazon_mq)], "AWS/AmazonMQ"
    return [_query(broker.amazon_mq, namespace, m, statistic, own) for m, statistic in _OF_A_BROKER.items()]


_OF_A_BROKER = {
    "RabbitMQMemUsed": "Maximum",
    "RabbitMQMemLimit": "Minimum",
    "RabbitMQDiskFree": "Minimum",
    "RabbitMQDiskFreeLimit": "Maximum",
    "MessageUnacknowledgedCount": "Maximum",
}


async def service_queries(observer: Observer) -> list[Query]:
    try:
        described = await observer.see(ecs_services)
    except Unobserved:
        return []
    queries = [query for name, service in described.items() for query in _of_tasks(name, service)]
    for load_balancer in observer.environment.balancers.values():
        if load_balancer.application:  # a network load balancer counts no requests
            queries += await _of_traffic(observer, load_balancer, described)
    return queries


async def _of_traffic(
    observer: Observer, load_balancer: LoadBalancer, described: Mapping[str, EcsService]
) -> list[Query]:
    try:
        arn = (await observer.see(balancer, load_balancer)).arn or ""
    except Unobserved:
        return []
    front = ("LoadBalancer", arn.partition("loadbalancer/")[2])
    if not front[1]:
        return []
    queries = [_query(load_balancer.name, "AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "Sum", [front])]
    for name, service in described.items():
        behind = observer.environment.services[name].load_balancer == load_balancer
        groups = [("TargetGroup", g.split(":")[-1]) for g in service.target_groups[:1]]
        queries += [
            _query(name, "AWS/ApplicationELB", metric, statistic, [front, *groups])
            for metric, statistic in _OF_TRAFFIC.items()
            if groups and behind
        ]
    return queries


_OF_TRAFFIC = {"RequestCount": "Sum", "HTTPCode_Target_5XX_Count": "Sum", "TargetResponseTime": "p95"}


OF_TASKS = ("CPUUtilization", "MemoryUtilization")


def _of_tasks(name: str, service: EcsService) -> list[Query]:
    where = [("ClusterName", service.cluster), ("ServiceName", service.name)]
    return [_query(name, "AWS/ECS", metric, "Average", where) for metric in OF_TASKS]


async def _of_the_database(observer: Observer) -> list[Query]:
    database = observer.environment.database
    if database is None or not database.instance:
        return []
    try:
        instance = await observer.see(database_instance, database)
    except Unobserved:
        return []
    own = [("DBInstanceIdentifier", instance.id)]
    storage = "FreeLocalStorage" if instance.aurora else "FreeStorageSpace"
    load = {
        storage: "Minimum",
        **_OF_A_DATABASE,
        **({"CPUCreditBalance": "Minimum"} if instance.slow_without_credits else {}),
    }
    load |= {"BurstBalance": "Minimum"} if instance.disk_lives_on_credits else {}
    queries = [_query(instance.id, "AWS/RDS", metric, statistic, own) for metric, statistic in load.items()]
    return [*queries, *map(_of_replica, instance.replicas)]


def _of_replica(replica: str) -> Query:
    """How far a replica is behind. One in another region has an ARN here, and is measured there."""
    region, id_ = replica.split(":")[3::3] if replica.startswith("arn:") else (None, replica)
    lag = _query(replica, "AWS/RDS", "ReplicaLag", "Average", [("DBInstanceIdentifier", str(id_))])
    return lag.model_copy(update={"region": region})


_OF_A_DATABASE = {
    "FreeableMemory": "Minimum",
    "CPUUtilization": "Average",
    "ReadLatency": "Average",
    "WriteLatency": "Average",
}


async def _of_the_cache(observer: Observer) -> list[Query]:
    cache = observer.environment.cache
    if cache is None or not cache.replication_group:
        return []
    try:
        group = await observer.see(replication_group, cache)
    except Unobserved:
        return []
    if group.serverless:
        return [
            _query(group.id, "AWS/ElastiCache", metric, statistic, [("clusterId", group.id)])
            for metric, statistic in _OF_A_SERVERLESS_CACHE.items()
        ]
    return [
        _query(node, "AWS/ElastiCache", metric, statistic, [("CacheClusterId", node)])
        for node in group.members
        for metric, statistic in _OF_A_NODE.items()
    ]


_OF_A_SERVERLESS_CACHE = {"BytesUsedForCache": "Maximum", "Evictions": "Sum", "ThrottledCmds": "Sum"}


_OF_A_NODE = {"Evictions": "Sum", "EngineCPUUtilization": "Average"}


def _query(subject: str, namespace: str, metric: str, statistic: str, dimensions: Iterable[tuple[str, str]]) -> Query:
    return Query(subject=subject, namespace=namespace, metric=metric, statistic=statistic, dimensions=tuple(dimensions))
