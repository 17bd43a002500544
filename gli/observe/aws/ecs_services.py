"""ECS: what should run, what runs, and how a deploy of it goes.

A service that is stable may be stable on the OLD revision, after the circuit breaker rolled back: `deployments` tell,
`runningCount` does not. Source of truth: ecs DescribeClusters, DescribeServices.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.common.sentences import phrase
from gli.config.environments import Environment, Service
from gli.observe.engine.aws_session import Part
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.github_runs import workflows_ended

_PER_CALL = 10  # DescribeServices takes no more
_POLL_S = 5.0
_REMEMBERED = timedelta(hours=1)  # ECS keeps the last 100 events, which may be of last month


class Deployment(Observation):
    """One deployment of a service."""

    status: str
    """PRIMARY, ACTIVE (being replaced) or INACTIVE."""
    rollout: str | None
    """IN_PROGRESS, COMPLETED or FAILED."""
    reason: str | None
    task_definition: str
    running: int
    desired: int
    created: datetime | None = None
    """When it was asked for: the time of the deploy."""


class Event(Observation):
    """Something that ECS has to say about a service."""

    created: datetime
    message: str


class EcsService(Observation):
    """A service as ECS describes it; `status` is MISSING where it knows none."""

    name: str
    cluster: str
    status: str
    desired: int = 0
    running: int = 0
    pending: int = 0
    deployments: tuple[Deployment, ...] = ()
    target_groups: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    grace_s: int = 0
    """How long after its start a task is left alone by the load balancer's health checks."""
    circuit_breaker: bool = False
    rolls_back: bool = False
    """Whether the circuit breaker goes back to what ran before."""
    minimum_healthy_percent: int = 100
    events: tuple[Event, ...] = ()
    """What ECS said of it since its newest deploy began, in the last hour at most; newest first."""

    @property
    def primary(self) -> Deployment:
        """The PRIMARY deployment; raises `Unobserved` where there is none."""
        for deployment in self.deployments:
            if deployment.status == "PRIMARY":
                return deployment
        raise unknown("not-found", phrase("{} has no PRIMARY deployment", self.name))


class Cluster(Observation):
    name: str
    status: str


@probe()
async def clusters(observer: Observer) -> tuple[Cluster, ...]:
    """Every cluster that the environment's services name."""
    wanted = sorted({s.ecs.cluster for s in observer.environment.services.values() if s.ecs})
    answer = await observer.aws.call(observer, "ecs", "describe_clusters", clusters=wanted)
    found = {c["clusterName"]: str(c["status"]) for c in answer["clusters"]}
    return tuple(Cluster(name=name, status=found.get(name, "MISSING")) for name in wanted)


@probe(early=True)
async def ecs_services(observer: Observer) -> dict[str, EcsService]:
    """Every ECS service of the environment by the name it has there; waits for rollouts as long as the run may."""
    if observer.is_patient:
        await workflows_ended(observer)  # before that ECS shows the rollout of the release before
    while True:
        described = await described_services(observer, observer.environment)
        rolling = any(d.rollout == "IN_PROGRESS" for s in described.values() for d in s.deployments)
        if not rolling or not await observer.try_again(_POLL_S):
            return described


async def described_services(observer: Observer, environment: Environment) -> dict[str, EcsService]:
    """Every service of an environment as it is now, one call a cluster."""
    wanted: dict[str, list[Service]] = {}
    for service in environment.services.values():
        if service.ecs:
            wanted.setdefault(service.ecs.cluster, []).append(service)
    part: Part | None = None if environment is observer.environment else "counterpart"
    described: dict[str, EcsService] = {}
    for cluster, services in sorted(wanted.items()):
        assert len(services) <= _PER_CALL
        names = [s.ecs.service for s in services if s.ecs]
        try:
            answer = await observer.aws.call(
                observer, "ecs", "describe_services", part=part, cluster=cluster, services=names
            )
            found = {s["serviceName"]: s for s in answer["services"]}
        except Exception as e:
            if getattr(e, "code", "") != "ClusterNotFoundException":
                raise
            found = {}
        described |= {s.name: _service(cluster, s.ecs.service, found) for s in services if s.ecs}
    return described


@probe()
async def ecs_service(observer: Observer, service: Service) -> EcsService:
    """One service, out of the calls made for all."""
    return (await observer.see(ecs_services))[service.name]


def _service(cluster: str, name: str, found: dict[str, dict[str, Any]]) -> EcsService:
    service = found.get(name)
    if service is None:
        return EcsService(name=name, cluster=cluster, status="MISSING")
    network = (service.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    configuration = service.get("deploymentConfiguration") or {}
    breaker = configuration.get("deploymentCircuitBreaker") or {}
    return EcsService(
        name=name,
        cluster=cluster,
        status=service["status"],
        desired=service["desiredCount"],
        running=service["runningCount"],
        pending=service["pendingCount"],
        deployments=tuple(
            Deployment(
                status=d["status"],
                rollout=d.get("rolloutState"),
                reason=d.get("rolloutStateReason"),
                task_definition=d["taskDefinition"],
                running=d.get("runningCount", 0),
                desired=d.get("desiredCount", 0),
                created=d.get("createdAt"),
            )
            for d in service.get("deployments", [])
        ),
        target_groups=tuple(
            sorted(lb["targetGroupArn"] for lb in service.get("loadBalancers", []) if "targetGroupArn" in lb)
        ),
        security_groups=tuple(sorted(network.get("securityGroups") or [])),
        subnets=tuple(sorted(network.get("subnets") or [])),
        grace_s=service.get("healthCheckGracePeriodSeconds") or 0,
        circuit_breaker=bool(breaker.get("enable")),
        rolls_back=bool(breaker.get("rollback")),
        minimum_healthy_percent=int(configuration.get("minimumHealthyPercent", 100)),
        events=_events(service),
    )


def _events(service: dict[str, Any]) -> tuple[Event, ...]:
    deployed = [d["createdAt"] for d in service.get("deployments", []) if d["status"] == "PRIMARY" and "createdAt" in d]
    since = max([now() - _REMEMBERED, *deployed])
    events = [Event(created=e["createdAt"], message=e["message"]) for e in service.get("events") or []]
    return tuple(sorted((e for e in events if e.created >= since), key=lambda e: e.created, reverse=True))
