"""ECS tasks: the image that each runs, why tasks died, the newest deploy, and tasks that use an old secret value.

ECS forgets a stopped task after about an hour. Source of truth: ecs ListTasks, DescribeTasks and
ListServiceDeployments.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gli.common.clock import now
from gli.common.sentences import listed, phrase
from gli.config.services import Service
from gli.observe.aws.codedeploy import deployment_group
from gli.observe.aws.ecs_services import EcsService, ecs_service
from gli.observe.aws.task_definitions import reads, task_definition
from gli.observe.data.secrets import secret, secret_state
from gli.observe.engine.observation import Observation, one_of, told, unknown
from gli.observe.engine.probe import Observer, probe

_PER_CALL = 100  # the most that DescribeTasks accepts
_PER_PAGE = 100  # the most that ListServiceDeployments accepts
_CODEDEPLOY_GOES_ON = frozenset({"Created", "Queued", "InProgress", "Baking", "Ready"})
_DIED = frozenset({"TaskFailedToStart", "EssentialContainerExited"})
_WAS_STOPPED = frozenset(
    {"UserInitiated", "ServiceSchedulerInitiated", "SpotInterruption", "TerminationNotice", "InfrastructureHealth"}
)
_SICK = re.compile(r"failed (?:(?!failed ).)*health check", re.IGNORECASE)
"""ECS replaces a task that fails health checks with the code ServiceSchedulerInitiated, as it does in a deploy."""


class Ended(Observation):
    """A container that ended, with its exit code and reason."""

    name: str
    exit_code: int | None = None
    reason: str | None = None


class Task(Observation):
    """One task of a service, running or stopped."""

    id: str
    status: str = "RUNNING"
    """The last status, as ECS names it: PROVISIONING, PENDING, ACTIVATING, RUNNING, DEACTIVATING, ..."""
    started: datetime | None = None
    zone: str | None = None
    """The availability zone that the task runs in."""
    health: str | None = None
    """HEALTHY or UNHEALTHY by its containers' health checks; UNKNOWN if they have none, or no result yet."""
    digests: Mapping[str, str | None] = {}
    """Container name to the digest of its image."""
    architecture: str | None = None
    """The CPU that the task runs on: `x86_64` or `arm64`."""
    addresses: tuple[str, ...] = ()
    """The private addresses of its network interface."""
    agents: Mapping[str, str | None] = {}
    """Container name to the status of its agent for ECS Exec; None: the container has no such agent."""
    stopped: datetime | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    ended: tuple[Ended, ...] = ()

    @property
    def starting(self) -> bool:
        """Whether the task has not started yet. Its image and its health are not known so early."""
        return self.status in ("PROVISIONING", "PENDING", "ACTIVATING")

    @property
    def died(self) -> bool:
        """Whether the task stopped because of a failure, and not because a deploy or scaling replaced it."""
        return self.stop_code in _DIED or _SICK.search(self.stopped_reason or "") is not None

    def __str__(self) -> str:
        exits = [phrase("{} exited with {}", c.name, c.exit_code) for c in self.ended if c.exit_code is not None]
        reasons = [c.reason for c in self.ended if c.reason]
        said = [self.stopped_reason or phrase("no reason given"), *exits, *reasons]
        return phrase("{} {}: {}", self.id[:8], self.stop_code, listed(said, most=len(said)))


class ServiceTasks(Observation):
    """The tasks of one service."""

    service: str
    running: tuple[Task, ...]
    stopped: tuple[Task, ...]


class ServiceDeployment(Observation):
    """The newest deploy of a service. `status` is None if ECS knows of none in the last 90 days."""

    service: str
    status: str | None = None
    """PENDING, IN_PROGRESS, SUCCESSFUL, STOPPED, ROLLBACK_SUCCESSFUL, ...; from CodeDeploy also Failed and Stopped."""
    reason: str | None = None
    created: datetime | None = None


class SecretUse(Observation):
    """A secret's rotation, and the tasks that still use an older value of the secret."""

    id: str
    rotates: bool
    rotates_next: datetime | None
    overdue: bool
    """The secret should have rotated before now."""
    current_since: datetime | None
    outdated: dict[str, datetime]
    """Service to the start of its oldest task, if that task started before the current value was created."""
    pending: str | None = None
    """The version that an unfinished rotation made: the next rotation fails while its label AWSPENDING stays."""


@probe(deadline=15)
async def service_tasks(observer: Observer, service: Service) -> ServiceTasks:
    """The service's running tasks, and those that stopped in the last hour. Two calls, and one per hundred tasks."""
    assert service.ecs is not None, "asked only of services that run on ECS"
    where: dict[str, Any] = {"cluster": service.ecs.cluster, "serviceName": service.ecs.service}
    running, stopped = await asyncio.gather(
        *[
            observer.aws.call(observer, "ecs", "list_tasks", **where, desiredStatus=status)
            for status in ("RUNNING", "STOPPED")
        ]
    )
    wanted = [*running["taskArns"], *stopped["taskArns"]]
    batches = [wanted[n : n + _PER_CALL] for n in range(0, len(wanted), _PER_CALL)]
    answers = await asyncio.gather(
        *[
            observer.aws.call(observer, "ecs", "describe_tasks", cluster=service.ecs.cluster, tasks=batch)
            for batch in batches
        ]
    )
    described = [task for answer in answers for task in answer["tasks"]]
    return ServiceTasks(
        service=service.ecs.service,
        running=tuple(_task(t) for t in described if t["desiredStatus"] != "STOPPED"),
        stopped=tuple(_task(t) for t in described if t["desiredStatus"] == "STOPPED"),
    )


@probe()
async def service_deployment(observer: Observer, service: Service) -> ServiceDeployment:
    """The newest deploy. ECS lists a deploy even after its rollback, when the service itself looks as before.

    ECS lists only deploys of its own controller. For another controller, CodeDeploy or else the task sets tell.
    """
    assert service.ecs is not None, "asked only of services that run on ECS"
    described = await observer.see(ecs_service, service)
    if described.controller != "ECS":
        return await _of_another_controller(observer, service, described)
    known = await _deployments(observer, cluster=service.ecs.cluster, service=service.ecs.service)
    if not known:
        return ServiceDeployment(service=service.ecs.service)
    newest = max(known, key=lambda d: d["createdAt"])
    return ServiceDeployment(
        service=service.ecs.service,
        status=newest["status"],
        reason=newest.get("statusReason"),
        created=newest["createdAt"],
    )


async def _deployments(observer: Observer, **where: str) -> list[dict[str, Any]]:
    """All deploys of a service that ECS lists. AWS does not document their order, and botocore does not join pages."""
    found: list[dict[str, Any]] = []
    asked: dict[str, Any] = {**where, "maxResults": _PER_PAGE}
    while True:
        page = await observer.aws.page(observer, "ecs", "list_service_deployments", **asked)
        found += page["serviceDeployments"]
        if not page.get("nextToken"):
            return found
        asked["nextToken"] = page["nextToken"]


async def _of_another_controller(observer: Observer, service: Service, described: EcsService) -> ServiceDeployment:
    group = await observer.see(deployment_group, service)
    if group is None:
        status = "IN_PROGRESS" if described.rolling else "SUCCESSFUL"
        return ServiceDeployment(service=described.name, status=status, created=described.primary.created)
    shown = {"Succeeded": "SUCCESSFUL"} | dict.fromkeys(_CODEDEPLOY_GOES_ON, "IN_PROGRESS")
    return ServiceDeployment(
        service=described.name,
        status=shown.get(group.status or "", group.status),
        reason=f"the newest deployment of {group.name} in CodeDeploy",
        created=group.created,
    )


@probe(deadline=15)
async def dead_tasks(observer: Observer, service: Service) -> tuple[Task, ...]:
    """The tasks that died since the newest deploy began, newest first. Without a known deploy: all that ECS lists."""
    seen, deployment = await asyncio.gather(
        observer.see(service_tasks, service), observer.see(service_deployment, service)
    )
    since = deployment.created
    lately = [t for t in seen.stopped if since is None or t.stopped is None or t.stopped >= since]
    for task in lately:
        what = phrase("why the task {} stopped", task.id[:8])
        one_of(_DIED | _WAS_STOPPED, told(task.stop_code, what), what)
    died = [t for t in lately if t.died]
    return tuple(sorted(died, key=lambda t: t.stopped or now(), reverse=True))


@probe(deadline=15)
async def secret_use(observer: Observer, secret_id: str) -> SecretUse:
    """The services whose tasks use an old value of the secret: ECS sets environment variables only at a task's start.

    Uses the time at which the current version was created: LastChangedDate changes with every tag and description.
    """
    state = await observer.see(secret_state, secret_id)
    if state.rotates and state.rotates_next is None:
        raise unknown("too-little-data", phrase("AWS does not say when {} rotates next", secret_id))
    since = (await observer.see(secret, secret_id)).current_since
    if since is None:
        raise unknown("too-little-data", phrase("AWS does not say when the current value of {} is from", secret_id))
    outdated: dict[str, datetime] = {}
    for service in observer.environment.services.values():
        if service.ecs is None or not reads(await observer.see(task_definition, service), state):
            continue
        tasks = (await observer.see(service_tasks, service)).running
        if any(t.started is None and not t.starting for t in tasks):
            raise unknown("too-little-data", phrase("ECS does not say when a task of {} started", service.ecs.service))
        started = [t.started for t in tasks if t.started]
        if started and min(started) < since:
            outdated[service.ecs.service] = min(started)
    return SecretUse(
        id=secret_id,
        rotates=state.rotates,
        rotates_next=state.rotates_next,
        overdue=state.rotates and state.rotates_next is not None and state.rotates_next < now(),
        current_since=since,
        outdated=outdated,
        pending=state.pending if state.rotates else None,
    )


def _agent(container: Mapping[str, Any]) -> str | None:
    agents = {a.get("name"): a.get("lastStatus") for a in container.get("managedAgents") or []}
    return agents.get("ExecuteCommandAgent")


def _addresses(described: Mapping[str, Any]) -> tuple[str, ...]:
    details = [d for a in described.get("attachments") or [] for d in a.get("details") or []]
    found = {d["value"] for d in details if d.get("name") == "privateIPv4Address"}
    interfaces = [i for c in described.get("containers") or [] for i in c.get("networkInterfaces") or []]
    return tuple(sorted(found | {i["privateIpv4Address"] for i in interfaces if i.get("privateIpv4Address")}))


def _task(described: Mapping[str, Any]) -> Task:
    containers = described["containers"]
    return Task(
        id=described["taskArn"].rpartition("/")[2],
        status=described.get("lastStatus") or "RUNNING",
        started=described.get("startedAt"),
        zone=described.get("availabilityZone"),
        health=described.get("healthStatus"),
        digests={c["name"]: c.get("imageDigest") for c in containers},
        architecture=next(
            (a.get("value") for a in described.get("attributes") or [] if a["name"] == "ecs.cpu-architecture"), None
        ),
        addresses=_addresses(described),
        agents={c["name"]: _agent(c) for c in containers},
        stopped=described.get("stoppedAt"),
        stop_code=described.get("stopCode"),
        stopped_reason=described.get("stoppedReason"),
        ended=tuple(
            Ended(name=c["name"], exit_code=c.get("exitCode"), reason=c.get("reason"))
            for c in containers
            if c.get("exitCode") is not None or c.get("reason")
        ),
    )
