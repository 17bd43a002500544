"""ECS and ECR: what should run, what runs, and which build it is.

A service that is stable may be stable on the OLD revision, after the circuit breaker rolled back: `deployments` and
the image of the PRIMARY one tell, `runningCount` does not. Source of truth: ecs DescribeClusters, DescribeServices,
DescribeTaskDefinition; ecr BatchGetImage.
"""

from __future__ import annotations

from typing import Any

from gli.environments import Service
from gli.observe.git import release
from gli.observe.observation import Observation, unknown
from gli.observe.probe import Observer, probe

_PER_CALL = 10  # DescribeServices takes no more
_POLL_S = 15.0


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

    @property
    def primary(self) -> Deployment:
        """The PRIMARY deployment; raises `Unobserved` where there is none."""
        for deployment in self.deployments:
            if deployment.status == "PRIMARY":
                return deployment
        raise unknown("not-found", f"{self.name} has no PRIMARY deployment")


class Cluster(Observation):
    name: str
    status: str


class RunningImage(Observation):
    """The image that the PRIMARY deployment's task definition names."""

    image: str
    expected_tag: str
    """The commit at the head of the environment's branch."""

    @property
    def tag(self) -> str:
        return self.image.rpartition(":")[2] if ":" in self.image.rpartition("/")[2] else ""


class RegistryImage(Observation):
    """Whether the registry has an image for a tag."""

    repository: str
    tag: str
    digest: str | None
    failure: str | None = None


@probe()
async def clusters(observer: Observer) -> tuple[Cluster, ...]:
    """Every cluster that the environment's services name."""
    wanted = sorted({s.ecs.cluster for s in observer.environment.services.values() if s.ecs})
    answer = await observer.aws.call(observer, "ecs", "describe_clusters", clusters=wanted)
    found = {c["clusterName"]: str(c["status"]) for c in answer["clusters"]}
    return tuple(Cluster(name=name, status=found.get(name, "MISSING")) for name in wanted)


@probe()
async def ecs_services(observer: Observer) -> dict[str, EcsService]:
    """Every ECS service of the environment by the name it has there; waits for rollouts as long as the run may."""
    waited = 0.0
    while True:
        described = await _described(observer)
        rolling = any(d.rollout == "IN_PROGRESS" for s in described.values() for d in s.deployments)
        pause = min(_POLL_S, observer.patience_s - waited)
        if not rolling or pause <= 0:
            return described
        await observer.pause(pause)
        waited += pause
        observer.attempts += 1


async def _described(observer: Observer) -> dict[str, EcsService]:
    """Every service as it is now, one call a cluster."""
    wanted: dict[str, list[Service]] = {}
    for service in observer.environment.services.values():
        if service.ecs:
            wanted.setdefault(service.ecs.cluster, []).append(service)
    described: dict[str, EcsService] = {}
    for cluster, services in sorted(wanted.items()):
        assert len(services) <= _PER_CALL
        names = [s.ecs.service for s in services if s.ecs]
        try:
            answer = await observer.aws.call(observer, "ecs", "describe_services", cluster=cluster, services=names)
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


@probe(deadline=15)
async def running_image(observer: Observer, service: Service) -> RunningImage:
    """The image that the PRIMARY deployment runs, beside the commit that it should be built from."""
    primary = (await observer.see(ecs_service, service)).primary
    answer = await observer.aws.call(
        observer, "ecs", "describe_task_definition", taskDefinition=primary.task_definition
    )
    containers = {c["name"]: c["image"] for c in answer["taskDefinition"]["containerDefinitions"]}
    name = service.ecs.container if service.ecs else ""
    if name not in containers:
        raise unknown("not-found", f"{primary.task_definition} has no container {name}; it has {', '.join(containers)}")
    heads = await observer.see(release)
    return RunningImage(image=containers[name], expected_tag=heads.commit_of(service.repository))


@probe(deadline=15)
async def registry_image(observer: Observer, service: Service) -> RegistryImage:
    """The image for the head of the environment's branch, in the service's ECR repository."""
    tag = (await observer.see(release)).commit_of(service.repository)
    answer = await observer.aws.call(
        observer, "ecr", "batch_get_image", repositoryName=str(service.image), imageIds=[{"imageTag": tag}]
    )
    images: list[dict[str, Any]] = answer.get("images") or []
    if images:
        return RegistryImage(repository=str(service.image), tag=tag, digest=images[0]["imageId"].get("imageDigest"))
    failures: list[dict[str, Any]] = answer.get("failures") or [{}]
    return RegistryImage(
        repository=str(service.image), tag=tag, digest=None, failure=failures[0].get("failureCode", "no image")
    )


def _service(cluster: str, name: str, found: dict[str, dict[str, Any]]) -> EcsService:
    service = found.get(name)
    if service is None:
        return EcsService(name=name, cluster=cluster, status="MISSING")
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
            )
            for d in service.get("deployments", [])
        ),
        target_groups=tuple(
            sorted(lb["targetGroupArn"] for lb in service.get("loadBalancers", []) if "targetGroupArn" in lb)
        ),
    )
