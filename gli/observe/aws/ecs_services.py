"""ECS services: the tasks that should run, the tasks that run, and the state of each deployment.

After a rollback by the circuit breaker, a service is stable on the OLD revision. `deployments` show this,
`runningCount` does not. A service whose controller is CODE_DEPLOY or EXTERNAL has task sets instead of deployments.
Source of truth: ecs DescribeClusters, DescribeServices, DescribeServiceRevisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.common.sentences import phrase
from gli.config.environments import Environment
from gli.config.services import Service
from gli.observe.engine.aws_session import AwsError, Part
from gli.observe.engine.observation import Observation, one_of, unknown
from gli.observe.engine.probe import Observer, probe

_PER_CALL = 10  # the most that DescribeServices accepts
_REVISIONS_PER_CALL = 20  # the most that DescribeServiceRevisions accepts
_CONTROLLERS = frozenset({"ECS", "CODE_DEPLOY", "EXTERNAL"})
_ROLLOUTS = {"STEADY_STATE": "COMPLETED", "STABILIZING": "IN_PROGRESS"}
"""From the stability of a PRIMARY task set."""
_SPOT = "FARGATE_SPOT"
_SWITCH = frozenset({"ENABLED", "DISABLED"})
_TIMEOUTS = frozenset({"ROLLBACK", "CONTINUE"})
_POLL_S = 5.0
_REMEMBERED = timedelta(hours=1)  # ECS keeps the last 100 events; some may be a month old


class Deployment(Observation):
    """One deployment of a service."""

    status: str
    """PRIMARY, ACTIVE (being replaced) or INACTIVE."""
    rollout: str | None
    """IN_PROGRESS, COMPLETED or FAILED; derived from counts if ECS gives none, as behind a Classic Load Balancer."""
    reason: str | None
    task_definition: str
    running: int
    desired: int
    pending: int = 0
    created: datetime | None = None
    """The time of the deploy: when the deployment was requested."""
    external_id: str | None = None
    """The id of the deployment in CodeDeploy, if CodeDeploy created it."""
    serves: bool = True
    """Whether users' requests may reach it. A task set that is not PRIMARY waits, or is being removed."""


class Event(Observation):
    """One event that ECS reports of a service."""

    created: datetime
    message: str


class EcsService(Observation):
    """A service as ECS describes it. `status` is MISSING if ECS does not know the service."""

    name: str
    cluster: str
    status: str
    desired: int = 0
    running: int = 0
    pending: int = 0
    deployments: tuple[Deployment, ...] = ()
    controller: str = "ECS"
    """The deployment controller: ECS, CODE_DEPLOY or EXTERNAL."""
    target_groups: tuple[str, ...] = ()
    """The ARNs of the target groups that serve now. Of a blue/green pair, the group with the current revision."""
    every_group: tuple[str, ...] = ()
    """The ARNs of all target groups, including the idle ones of a blue/green pair or of an old task set."""
    registers: tuple[tuple[str, int], ...] = ()
    """(container, port) of what it registers in target groups."""
    undecided: bool = False
    """ECS does not tell which target group of a blue/green pair serves."""
    security_groups: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    grace_s: int = 0
    """Seconds after a task's start during which failed health checks of the load balancer don't count."""
    circuit_breaker: bool = False
    rolls_back: bool = False
    """Whether the circuit breaker rolls back a failed deployment."""
    hooks_going_on: tuple[str, ...] = ()
    """The stages of a deployment whose hook, without an answer, lets the deployment go on (`timeoutConfiguration`)."""
    minimum_healthy_percent: int | None = None
    """None: ECS does not tell."""
    maximum_percent: int | None = None
    """None: ECS does not tell."""
    strategy: str = "ROLLING"
    """How ECS's own controller deploys: ROLLING, BLUE_GREEN, LINEAR or CANARY."""
    lets_people_in: bool | None = None
    """ECS Exec is on: people with the right may open a shell in a task. None: ECS does not tell."""
    public_address: bool = False
    """Whether its tasks get a public address."""
    rolled_back_by: tuple[str, ...] = ()
    """The alarms that roll a deployment back."""
    platform: str | None = None
    """The platform version of Fargate for Linux (`1.4.0`, `LATEST`); None: its tasks run on something else."""
    spot: bool = False
    """All of its tasks run on Fargate Spot, which has a quota of its own."""
    events: tuple[Event, ...] | None = ()
    """The events since the newest deploy began, of the last hour at most; newest first. None: ECS tells none at all."""

    @property
    def primary(self) -> Deployment:
        """The PRIMARY deployment. Raises `Unobserved` if there is none."""
        for deployment in self.deployments:
            if deployment.status == "PRIMARY":
                return deployment
        raise unknown("not-found", phrase("{} has no PRIMARY deployment", self.name))

    @property
    def serving_groups(self) -> tuple[str, ...]:
        """The ARNs of the target groups that serve now. Raises `Unobserved` if ECS does not tell which of a pair."""
        if self.undecided:
            raise unknown(
                "too-little-data", phrase("ECS does not say which target group serves the current {}", self.name)
            )
        return self.target_groups

    @property
    def rolling(self) -> bool:
        """Whether a deployment is in progress."""
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
    """Service name (in environments.toml) to its ECS service. Waits for rollouts to end, if the run may wait."""
    if observer.is_patient:
        from gli.observe.release.github_runs import workflows_ended  # with all that reads workflows: few runs wait

        await workflows_ended(observer)  # before they end, ECS shows the previous release's rollout
    while True:
        described = await described_services(observer, observer.environment)
        if not any(s.rolling for s in described.values()) or not await observer.try_again(_POLL_S):
            return described


async def described_services(observer: Observer, environment: Environment) -> dict[str, EcsService]:
    """Every service of an environment as it is now. One call for ten services of a cluster."""
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
        s.name: service_of(s.ecs.cluster, s.ecs.service, found.get((s.ecs.cluster, s.ecs.service)), revisions)
        for each in wanted.values()
        for s in each
        if s.ecs
    }


async def _asked(
    observer: Observer, part: Part | None, cluster: str, batch: list[Service]
) -> dict[tuple[str, str], dict[str, Any]]:
    """(cluster, service name) to what ECS knows of some services of a cluster."""
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
    """Service revision to its target groups. Only for services with a blue/green pair of groups."""
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
    """One service, from the calls made for all services."""
    return (await observer.see(ecs_services))[service.name]


def service_of(
    cluster: str, name: str, service: dict[str, Any] | None, revisions: Mapping[str, tuple[str, ...]]
) -> EcsService:
    """A service from the answer of DescribeServices; None: ECS does not know it.

    `revisions` maps service revisions to their target groups, for services with a blue/green pair.
    """
    if service is None:
        return EcsService(name=name, cluster=cluster, status="MISSING")
    controller = (service.get("deploymentController") or {}).get("type") or "ECS"
    one_of(_CONTROLLERS, controller, phrase("the deployment controller of {}", name))
    sets = service.get("taskSets") or [] if controller != "ECS" else []
    primary: dict[str, Any] = next((s for s in sets if s["status"] == "PRIMARY"), {})
    network = primary.get("networkConfiguration") or service.get("networkConfiguration") or {}
    vpc = network.get("awsvpcConfiguration") or {}
    configuration = service.get("deploymentConfiguration") or {}
    breaker = configuration.get("deploymentCircuitBreaker") or {}
    balancers = primary.get("loadBalancers") or service.get("loadBalancers") or []
    strategy = configuration.get("strategy") or "ROLLING"
    serving = _serving(service, balancers, strategy, revisions)
    return EcsService(
        name=name,
        cluster=cluster,
        status=service["status"],
        # The service's own counts include the tasks of an old task set until it is removed.
        desired=primary["computedDesiredCount"] if primary else service["desiredCount"],
        running=(primary or service)["runningCount"],
        pending=(primary or service)["pendingCount"],
        deployments=_of_task_sets(sets) if controller != "ECS" else _deployments(service.get("deployments") or []),
        controller=controller,
        target_groups=serving or (),
        every_group=_every_group([service, *sets]),
        registers=tuple(
            sorted({(lb["containerName"], lb["containerPort"]) for lb in balancers if lb.get("containerPort")})
        ),
        undecided=serving is None,
        security_groups=tuple(sorted(vpc.get("securityGroups") or [])),
        subnets=tuple(sorted(vpc.get("subnets") or [])),
        grace_s=service.get("healthCheckGracePeriodSeconds") or 0,
        circuit_breaker=bool(breaker.get("enable")),
        rolls_back=bool(breaker.get("rollback")),
        hooks_going_on=_going_on(name, configuration.get("lifecycleHooks") or []),
        minimum_healthy_percent=configuration.get("minimumHealthyPercent"),
        maximum_percent=configuration.get("maximumPercent"),
        strategy=strategy,
        lets_people_in=service.get("enableExecuteCommand"),
        public_address=_switched(vpc.get("assignPublicIp"), phrase("the public addresses of {}", name)),
        rolled_back_by=_watching(configuration.get("alarms") or {}),
        platform=_platform(primary or service),
        spot={p["capacityProvider"] for p in (primary or service).get("capacityProviderStrategy") or []} == {_SPOT},
        events=_events(service),
    )


def _watching(alarms: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(alarms["alarmNames"])) if alarms.get("enable") else ()


def _platform(service: dict[str, Any]) -> str | None:
    of_windows = str(service.get("platformFamily") or "").lower().startswith("windows")
    return None if of_windows else service.get("platformVersion")


def _switched(value: str | None, what: str) -> bool:
    """Whether a setting is on; ECS leaves it out where it has none."""
    return one_of(_SWITCH, value or "DISABLED", what) == "ENABLED"


def _going_on(name: str, hooks: list[dict[str, Any]]) -> tuple[str, ...]:
    """The stages of the hooks whose timeout means CONTINUE. AWS's default is ROLLBACK."""
    what = phrase("the timeout of a hook of {}", name)
    actions = [(h, (h.get("timeoutConfiguration") or {}).get("action", "ROLLBACK")) for h in hooks]
    late = [h for h, action in actions if one_of(_TIMEOUTS, action, what) == "CONTINUE"]
    return tuple(sorted({stage for h in late for stage in h.get("lifecycleStages") or ["any stage"]}))


def _deployments(described: list[dict[str, Any]]) -> tuple[Deployment, ...]:
    alone = len(described) == 1
    return tuple(
        Deployment(
            status=d["status"],
            rollout=d.get("rolloutState") or _worked_out(d, alone),
            reason=d.get("rolloutStateReason"),
            task_definition=d["taskDefinition"],
            running=d["runningCount"],
            desired=d["desiredCount"],
            pending=d["pendingCount"],
            created=d["createdAt"],
        )
        for d in described
    )


def _worked_out(deployment: dict[str, Any], alone: bool) -> str:
    """The rollout state if ECS gives none. COMPLETED if this is the only deployment and all wanted tasks run."""
    counts = [deployment[key] for key in ("runningCount", "desiredCount", "pendingCount")]
    return "COMPLETED" if alone and counts[0] == counts[1] and not counts[2] else "IN_PROGRESS"


def _of_task_sets(sets: list[dict[str, Any]]) -> tuple[Deployment, ...]:
    """Task sets as deployments. A task set newer than the PRIMARY one is a deployment in progress.

    An older task set stays for a while, in case of a rollback. ACTIVE means that users' requests do not reach it.
    """
    primary = next((s for s in sets if s["status"] == "PRIMARY"), None)

    def rollout(one: dict[str, Any]) -> str:
        if one is primary:
            stability = str(one.get("stabilityStatus") or "of unknown stability")
            return _ROLLOUTS.get(stability, stability)
        return "IN_PROGRESS" if primary is not None and one["createdAt"] > primary["createdAt"] else "COMPLETED"

    return tuple(
        Deployment(
            status=s["status"],
            rollout=rollout(s),
            reason=f"its task set is {s.get('stabilityStatus') or 'of unknown stability'}",
            task_definition=s["taskDefinition"],
            running=s["runningCount"],
            desired=s["computedDesiredCount"],
            pending=s["pendingCount"],
            created=s["createdAt"],
            external_id=s.get("externalId") or None,
            serves=s["status"] == "PRIMARY",
        )
        for s in sets
    )


def _serving(
    service: dict[str, Any],
    balancers: list[dict[str, Any]],
    strategy: str,
    revisions: Mapping[str, tuple[str, ...]],
) -> tuple[str, ...] | None:
    """The target groups of the current revisions; None if ECS does not tell which group of a pair serves.

    Every strategy but ROLLING needs a pair.
    """
    if not any(map(_alternate, balancers)):
        return _groups(balancers) if strategy == "ROLLING" or not balancers else None
    current = [r.get("arn", "") for r in service.get("currentServiceRevisions") or []]
    if not current or not all(revisions.get(arn) for arn in current):
        return None
    return tuple(sorted({group for arn in current for group in revisions[arn]}))


def _every_group(described: list[dict[str, Any]]) -> tuple[str, ...]:
    """The target groups of a service and of all its task sets, including the idle ones of pairs."""
    balancers = [lb for each in described for lb in each.get("loadBalancers") or []]
    return tuple(sorted({*_groups(balancers), *filter(None, map(_alternate, balancers))}))


def _alternate(balancer: dict[str, Any]) -> str | None:
    """The other target group of a blue/green pair; None if there is no pair."""
    return (balancer.get("advancedConfiguration") or {}).get("alternateTargetGroupArn")


def _groups(balancers: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted({lb["targetGroupArn"] for lb in balancers if lb.get("targetGroupArn")}))


def _events(service: dict[str, Any]) -> tuple[Event, ...] | None:
    if "events" not in service:
        return None
    asked_for = [*(service.get("deployments") or []), *(service.get("taskSets") or [])]
    deployed = [d["createdAt"] for d in asked_for if d["status"] == "PRIMARY" and "createdAt" in d]
    since = max([now() - _REMEMBERED, *deployed])
    events = [Event(created=e["createdAt"], message=e["message"]) for e in service["events"]]
    return tuple(sorted((e for e in events if e.created >= since), key=lambda e: e.created, reverse=True))
