"""ECS: what should run, what runs, and how a deploy of it goes.

A service that is stable may be stable on the OLD revision, after the circuit breaker rolled back: `deployments` tell,
`runningCount` does not. A service whose controller is CODE_DEPLOY or EXTERNAL has task sets in place of deployments.
Source of truth: ecs DescribeClusters, DescribeServices, DescribeServiceRevisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.common.sentences import phrase
from gli.config.environments import Environment, Service
from gli.observe.engine.aws_session import AwsError, Part
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.github_runs import workflows_ended

_PER_CALL = 10  # DescribeServices takes no more
_REVISIONS_PER_CALL = 20  # nor does DescribeServiceRevisions
_POLL_S = 5.0
_REMEMBERED = timedelta(hours=1)  # ECS keeps the last 100 events, which may be of last month


class Deployment(Observation):
    """One deployment of a service."""

    status: str
    """PRIMARY, ACTIVE (being replaced) or INACTIVE."""
    rollout: str | None
    """IN_PROGRESS, COMPLETED or FAILED; worked out where ECS says none, as behind a Classic Load Balancer."""
    reason: str | None
    task_definition: str
    running: int
    desired: int
    pending: int = 0
    created: datetime | None = None
    """When it was asked for: the time of the deploy."""
    external_id: str | None = None
    """The id of the deployment in CodeDeploy, where CodeDeploy made it."""
    serves: bool = True
    """Whether users' requests may reach it: a task set that is not PRIMARY waits, or is taken away."""


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
    controller: str = "ECS"
    """Who deploys: ECS, CODE_DEPLOY or EXTERNAL."""
    target_groups: tuple[str, ...] = ()
    """The ARNs of the groups that serve now: of a pair for blue and green, the one with the current revision."""
    every_group: tuple[str, ...] = ()
    """The same with those that are idle: of a pair, or of a task set that waits for its end."""
    undecided: bool = False
    """ECS does not say which group of a pair serves."""
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

    @property
    def serving_groups(self) -> tuple[str, ...]:
        """The ARNs of the groups that serve now; raises `Unobserved` where ECS does not say which of a pair does."""
        if self.undecided:
            raise unknown(
                "too-little-data", phrase("ECS does not say which target group serves the current {}", self.name)
            )
        return self.target_groups

    @property
    def rolling(self) -> bool:
        """Whether a deployment goes on."""
        return any(d.rollout == "IN_PROGRESS" for d in self.deployments)


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
        if not any(s.rolling for s in described.values()) or not await observer.try_again(_POLL_S):
            return described


async def described_services(observer: Observer, environment: Environment) -> dict[str, EcsService]:
    """Every service of an environment as it is now, one call for ten services of a cluster."""
    wanted: dict[str, list[Service]] = {}
    for service in environment.services.values():
        if service.ecs:
            wanted.setdefault(service.ecs.cluster, []).append(service)
    part: Part | None = None if environment is observer.environment else "counterpart"
    batches = [
        (c, each[n : n + _PER_CALL]) for c, each in sorted(wanted.items()) for n in range(0, len(each), _PER_CALL)
    ]
    answers = await asyncio.gather(*[_asked(observer, part, cluster, batch) for cluster, batch in batches])
    found = {key: service for answer in answers for key, service in answer.items()}
    revisions = await _revisions(observer, part, found.values())
    return {
        s.name: _service(s.ecs.cluster, s.ecs.service, found.get((s.ecs.cluster, s.ecs.service)), revisions)
        for each in wanted.values()
        for s in each
        if s.ecs
    }


async def _asked(
    observer: Observer, part: Part | None, cluster: str, batch: list[Service]
) -> dict[tuple[str, str], dict[str, Any]]:
    """What ECS knows of some services of a cluster, by cluster and name."""
    names = [s.ecs.service for s in batch if s.ecs]
    try:
        answer = await observer.aws.call(
            observer, "ecs", "describe_services", part=part, cluster=cluster, services=names
        )
    except AwsError as e:
        if e.code != "ClusterNotFoundException":
            raise
        return {}
    return {(cluster, s["serviceName"]): s for s in answer["services"]}


async def _revisions(
    observer: Observer, part: Part | None, described: Iterable[dict[str, Any]]
) -> dict[str, tuple[str, ...]]:
    """Service revision to the target groups that it serves from; asked for services with a pair of groups only."""
    paired = [s for s in described if any(_alternate(lb) for lb in s.get("loadBalancers") or [])]
    wanted = sorted({r["arn"] for s in paired for r in s.get("currentServiceRevisions") or [] if r.get("arn")})
    found: dict[str, tuple[str, ...]] = {}
    for n in range(0, len(wanted), _REVISIONS_PER_CALL):
        batch = wanted[n : n + _REVISIONS_PER_CALL]
        answer = await observer.aws.call(
            observer, "ecs", "describe_service_revisions", part=part, serviceRevisionArns=batch
        )
        for revision in answer.get("serviceRevisions") or []:
            resolved = (revision.get("resolvedConfiguration") or {}).get("loadBalancers") or []
            found[revision["serviceRevisionArn"]] = _groups(resolved)
    return found


@probe()
async def ecs_service(observer: Observer, service: Service) -> EcsService:
    """One service, out of the calls made for all."""
    return (await observer.see(ecs_services))[service.name]


def _service(
    cluster: str, name: str, service: dict[str, Any] | None, revisions: Mapping[str, tuple[str, ...]]
) -> EcsService:
    if service is None:
        return EcsService(name=name, cluster=cluster, status="MISSING")
    controller = (service.get("deploymentController") or {}).get("type") or "ECS"
    sets = service.get("taskSets") or [] if controller != "ECS" else []
    primary: dict[str, Any] = next((s for s in sets if s["status"] == "PRIMARY"), {})
    network = primary.get("networkConfiguration") or service.get("networkConfiguration") or {}
    vpc = network.get("awsvpcConfiguration") or {}
    configuration = service.get("deploymentConfiguration") or {}
    breaker = configuration.get("deploymentCircuitBreaker") or {}
    balancers = primary.get("loadBalancers") or service.get("loadBalancers") or []
    serving = _serving(service, balancers, revisions)
    return EcsService(
        name=name,
        cluster=cluster,
        status=service["status"],
        # While an old task set waits for its end, the service's own counts hold its tasks too.
        desired=primary.get("computedDesiredCount", service["desiredCount"]),
        running=primary.get("runningCount", service["runningCount"]),
        pending=primary.get("pendingCount", service["pendingCount"]),
        deployments=_of_task_sets(sets) if controller != "ECS" else _deployments(service.get("deployments") or []),
        controller=controller,
        target_groups=serving or (),
        every_group=_every_group([service, *sets]),
        undecided=serving is None,
        security_groups=tuple(sorted(vpc.get("securityGroups") or [])),
        subnets=tuple(sorted(vpc.get("subnets") or [])),
        grace_s=service.get("healthCheckGracePeriodSeconds") or 0,
        circuit_breaker=bool(breaker.get("enable")),
        rolls_back=bool(breaker.get("rollback")),
        minimum_healthy_percent=int(configuration.get("minimumHealthyPercent", 100)),
        events=_events(service),
    )


def _deployments(described: list[dict[str, Any]]) -> tuple[Deployment, ...]:
    alone = len(described) == 1
    return tuple(
        Deployment(
            status=d["status"],
            rollout=d.get("rolloutState") or _worked_out(d, alone),
            reason=d.get("rolloutStateReason"),
            task_definition=d["taskDefinition"],
            running=d.get("runningCount", 0),
            desired=d.get("desiredCount", 0),
            pending=d.get("pendingCount", 0),
            created=d.get("createdAt"),
        )
        for d in described
    )


def _worked_out(deployment: dict[str, Any], alone: bool) -> str:
    """The rollout of a deployment of which ECS does not say it: done when all that is wanted runs, and nothing else."""
    counts = [deployment.get(key, 0) for key in ("runningCount", "desiredCount", "pendingCount")]
    return "COMPLETED" if alone and counts[0] == counts[1] and not counts[2] else "IN_PROGRESS"


def _of_task_sets(sets: list[dict[str, Any]]) -> tuple[Deployment, ...]:
    """Task sets as deployments. One that is newer than the PRIMARY is the deployment that goes on.

    An older one waits for its end, in case of a rollback; ACTIVE means that users' requests do not reach it.
    """
    primary = next((s for s in sets if s["status"] == "PRIMARY"), None)

    def rollout(one: dict[str, Any]) -> str:
        newer = primary is not None and one is not primary and one["createdAt"] > primary["createdAt"]
        steady = one.get("stabilityStatus") == "STEADY_STATE"
        return "IN_PROGRESS" if newer or (one is primary and not steady) else "COMPLETED"

    return tuple(
        Deployment(
            status=s["status"],
            rollout=rollout(s),
            reason=f"its task set is {s.get('stabilityStatus') or 'of unknown stability'}",
            task_definition=s["taskDefinition"],
            running=s.get("runningCount", 0),
            desired=s.get("computedDesiredCount", 0),
            pending=s.get("pendingCount", 0),
            created=s.get("createdAt"),
            external_id=s.get("externalId") or None,
            serves=s["status"] == "PRIMARY",
        )
        for s in sets
    )


def _serving(
    service: dict[str, Any], balancers: list[dict[str, Any]], revisions: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...] | None:
    """The groups that serve the current revisions; None where ECS does not say which of a pair does."""
    if not any(map(_alternate, balancers)):
        return _groups(balancers)
    current = [r.get("arn", "") for r in service.get("currentServiceRevisions") or []]
    if not current or not all(revisions.get(arn) for arn in current):
        return None
    return tuple(sorted({group for arn in current for group in revisions[arn]}))


def _every_group(described: list[dict[str, Any]]) -> tuple[str, ...]:
    """The groups of a service and of all its task sets, the idle ones of pairs too."""
    balancers = [lb for each in described for lb in each.get("loadBalancers") or []]
    return tuple(sorted({*_groups(balancers), *filter(None, map(_alternate, balancers))}))


def _alternate(balancer: dict[str, Any]) -> str | None:
    """The other target group of a pair for blue and green."""
    return (balancer.get("advancedConfiguration") or {}).get("alternateTargetGroupArn")


def _groups(balancers: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted({lb["targetGroupArn"] for lb in balancers if lb.get("targetGroupArn")}))


def _events(service: dict[str, Any]) -> tuple[Event, ...]:
    asked_for = [*(service.get("deployments") or []), *(service.get("taskSets") or [])]
    deployed = [d["createdAt"] for d in asked_for if d["status"] == "PRIMARY" and "createdAt" in d]
    since = max([now() - _REMEMBERED, *deployed])
    events = [Event(created=e["createdAt"], message=e["message"]) for e in service.get("events") or []]
    return tuple(sorted((e for e in events if e.created >= since), key=lambda e: e.created, reverse=True))
