"""The next task: running tasks hide what a new one lacks, until the next deploy, crash or scaling."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.aws.iam import TASKS, ExecutionRole, Role
from gli.observe.engine.observation import told, unknown

if TYPE_CHECKING:
    from gli.observe.aws.ecr import PulledImage
    from gli.observe.aws.ecs_services import EcsService
    from gli.observe.aws.ecs_tasks import ServiceTasks
    from gli.observe.aws.quotas import FargateQuota
    from gli.observe.aws.task_definitions import TaskDefinition

LEAST_STOP_S = 5
_RETIRED = re.compile(r"1\.[0-3]\.\d+")
"""AWS ended 1.3.0 in June 2026, and all before."""
_KILLED = 137
_ARCHITECTURES = {"X86_64": "amd64", "ARM64": "arm64"}


def test_ecs_env_not_crossed(task_definition: TaskDefinition) -> None:
    """No variable, secret, role or log of the task definition names a part of the other environment."""
    assert not task_definition.foreign, saw(
        listed(task_definition.foreign),
        expected=phrase("{} to name parts of this environment alone", task_definition.name),
    )


def test_ecs_image_platform(
    pulled_image: PulledImage | None, task_definition: TaskDefinition, service_tasks: ServiceTasks
) -> None:
    """An image index holds an image for the CPU of the tasks, and the registry still has it.

    A single image names no platform in its manifest: the tasks that run it prove the platform.
    """
    if pulled_image is None:
        return
    wanted = _ARCHITECTURES.get(task_definition.architecture)
    if wanted is None:
        raise unknown("error", phrase("{} is a CPU that is not known here", task_definition.architecture))
    if not pulled_image.platforms:
        same = [t for t in service_tasks.running if t.architecture and pulled_image.digest in t.digests.values()]
        if not same:
            raise unknown("too-little-data", phrase("ECS names the CPU of no task that runs {}", pulled_image.image))
        others = sorted({str(t.architecture) for t in same} - {task_definition.architecture.lower()})
        assert not others, saw(
            phrase("tasks that run it on {}", listed(others)),
            expected=phrase("an image for linux/{} in {}", wanted, pulled_image.image),
        )
        return
    fitting = [p for p in pulled_image.platforms if (p.system, p.architecture) == ("linux", wanted)]
    expected = phrase("an image for linux/{} in {}", wanted, pulled_image.image)
    assert fitting, saw(listed(f"{p.system}/{p.architecture}" for p in pulled_image.platforms), expected=expected)
    lost = [p.digest for p in fitting if p.digest in pulled_image.expired]
    assert not lost, saw(phrase("{}, which the registry no longer has", listed(lost)), expected=expected)


def test_ecs_deploy_has_room(ecs_service: EcsService, deployment_alarms: Mapping[str, str]) -> None:
    """A deploy can begin: a rolling one may start one task more than is wanted, or stop one first; no alarm that rolls
    deployments back rings already, or is gone.
    """
    loud = [phrase("{} {}", name, state) for name, state in deployment_alarms.items() if state in ("ALARM", "missing")]
    assert not loud, saw(
        listed(loud), expected=phrase("alarms of the deployments of {} that are there and quiet", ecs_service.name)
    )
    if ecs_service.controller != "ECS" or ecs_service.strategy != "ROLLING":
        return
    wanted, name = ecs_service.desired, ecs_service.name
    most = wanted * told(ecs_service.maximum_percent, phrase("the maximumPercent of {}", name)) // 100
    kept = told(ecs_service.minimum_healthy_percent, phrase("the minimumHealthyPercent of {}", name))
    least = math.ceil(wanted * kept / 100)
    assert most > wanted or least < wanted, saw(
        phrase("at least {} and at most {} tasks at any time", least, most),
        expected=phrase("room for a deploy of the {} tasks of {}", wanted, ecs_service.name),
    )


def test_ecs_graceful_stop(task_definition: TaskDefinition, service_tasks: ServiceTasks) -> None:
    """A task that ECS stops may end its work: time between SIGTERM and SIGKILL, and none had to be killed lately."""
    short = [
        phrase("{} s for {}", c.stop_s, c.name)
        for c in task_definition.containers
        if c.essential and c.stop_s is not None and c.stop_s < LEAST_STOP_S
    ]
    assert not short, saw(
        listed(short), expected=phrase("at least {} s to stop for {}", LEAST_STOP_S, task_definition.name)
    )
    essential = {c.name for c in task_definition.containers if c.essential}
    killed = [
        task.id[:8]
        for task in service_tasks.stopped
        if not task.died and any(c.exit_code == _KILLED and c.name in essential for c in task.ended)
    ]
    assert not killed, saw(
        phrase("{} killed", listed(killed)), expected=phrase("tasks of {} to end by SIGTERM", service_tasks.service)
    )


def test_ecs_sidecar_images(sidecar_images: Mapping[str, PulledImage], task_definition: TaskDefinition) -> None:
    """The registry has the images of the sidecars that a task can live without, too."""
    lost = [
        i.image for name, i in sidecar_images.items() if not i.found and not task_definition.container(name).essential
    ]
    assert not lost, saw(
        listed(phrase("no image {}", image) for image in lost),
        expected=phrase("an image for each sidecar of {}", task_definition.name),
    )


def test_ecs_next_task_can_start(
    task_definition: TaskDefinition,
    pulled_image: PulledImage | None,
    sidecar_images: Mapping[str, PulledImage],
    dangling_references: Mapping[str, str],
    missing_fields: Mapping[str, str],
    missing_files: Sequence[str],
    pull_denials: Sequence[str],
    execution_role: ExecutionRole,
    task_role: Role | None,
    ecs_service: EcsService,
) -> None:
    """A new task of the task definition would start: the image of each essential container, each secret with its JSON
    key, each environment file, both roles and rights, on a platform version that Fargate still runs.
    """
    essential = [i for name, i in sidecar_images.items() if task_definition.container(name).essential]
    images = [i for i in (pulled_image, *essential) if i is not None]
    obstacles = [phrase("no image {}", i.image) for i in images if not i.found]
    obstacles += [phrase("{}, which {}", v, why) for v, why in {**dangling_references, **missing_fields}.items()]
    obstacles += [phrase("no {}", missing) for missing in execution_role.missing]
    obstacles += [phrase("no environment file {}", file) for file in missing_files]
    obstacles += pull_denials
    if task_role is not None and TASKS not in task_role.trusted:
        obstacles.append(phrase("{}, which does not trust {}", task_role.name, TASKS))
    obstacles += task_definition.stuck
    ports = {container.name: container.ports for container in task_definition.containers}
    obstacles += [
        phrase("no port {} of {}, which the service registers", port, name)
        for name, port in ecs_service.registers
        if name not in ports or (ports[name] and port not in ports[name])
    ]
    if _RETIRED.fullmatch(ecs_service.platform or ""):
        obstacles.append(phrase("platform version {}, which Fargate no longer runs", ecs_service.platform))
    assert not obstacles, saw(listed(obstacles), expected=phrase("a new task of {} to start", task_definition.name))


def test_ecs_quota_headroom(fargate_quota: FargateQuota | None) -> None:
    """A deploy can go on: the account's quota of vCPUs for Fargate has room for what must start before a task stops.

    Services that run on something else than Fargate are not judged.
    """
    if fargate_quota is None:
        return
    quota = fargate_quota
    assert quota.used + quota.needed <= quota.quota, saw(
        phrase("{:g} of {:g} vCPUs used", quota.used, quota.quota),
        expected=phrase("room for {:g} more vCPUs of Fargate, for a deploy", quota.needed),
    )
