"""Tasks and deploys: was the deploy rolled back, which images run, which tasks died, which use old secrets?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gli.common.clock import rfc3339
from gli.common.sentences import listed, phrase, saw
from gli.observe.engine.observation import one_of, told, unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.services import Service
    from gli.observe.aws.ecr import RegistryImage
    from gli.observe.aws.ecs_services import EcsService
    from gli.observe.aws.ecs_tasks import SecretUse, ServiceDeployment, ServiceTasks, Task
    from gli.observe.aws.iam import Role
    from gli.observe.aws.secret_readers import SecretReaders
    from gli.observe.aws.service_measures import Utilisation

_TROUBLE = re.compile(r"\b(unable|failed|unhealthy|rolling back|throttled|unavailable)\b", re.IGNORECASE)
_NAMED = re.compile(r"\((?:service|cluster|target-group|task set|taskSet|deployment) [^()]*\)")
"""The names in an event of ECS: they may hold such words."""
_HEALTH = frozenset({"HEALTHY", "UNHEALTHY", "UNKNOWN"})
_CHANNELS = tuple(f"ssmmessages:{verb}{kind}Channel" for verb in ("Create", "Open") for kind in ("Control", "Data"))
_LOOP = 2
"""So many dead tasks since a deploy are no accident."""
_NOT_UNDONE = (None, "PENDING", "IN_PROGRESS", "SUCCESSFUL")
_UNDONE = (
    *("STOPPED", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL"),
    *("ROLLBACK_FAILED", "Failed", "Stopped"),  # the last two are CodeDeploy's
)


def test_ecs_no_rollback(service_deployment: ServiceDeployment) -> None:
    """The newest deploy was not rolled back or stopped by the circuit breaker, an alarm or a person."""
    status = service_deployment.status
    if status not in (*_NOT_UNDONE, *_UNDONE):
        raise unknown(
            "error",
            phrase("the newest deploy of {} is {}, a status not known here", service_deployment.service, status),
        )
    assert status in _NOT_UNDONE, saw(
        phrase("{}: {}", status, service_deployment.reason or phrase("no reason given")),
        expected=phrase("the newest deploy of {} to stay", service_deployment.service),
    )


def test_ecs_task_digest(service_tasks: ServiceTasks, registry_image: RegistryImage, target: Service) -> None:
    """Every started task runs exactly the image that the registry has under the commit: a tag may move."""
    assert target.ecs is not None
    if registry_image.digest is None:
        raise unknown("not-found", phrase("ECR has no image {}:{}", registry_image.repository, registry_image.tag[:12]))
    started = [t for t in service_tasks.running if not t.starting]
    expected = phrase(
        "all tasks of {} to run {}, which is {}", service_tasks.service, registry_image.digest, registry_image.tag[:12]
    )
    assert service_tasks.running, saw(phrase("no running task"), expected=expected)
    digests = {t.id: t.digests.get(target.ecs.container) for t in started}
    strange = [
        phrase("{} with {}", task[:8], d) for task, d in digests.items() if d and d not in registry_image.digests
    ]
    assert not strange, saw(listed(strange), expected=expected)
    untold = [task[:8] for task, digest in digests.items() if digest is None]
    if untold or not started:
        which = phrase("tasks {}", listed(untold)) if untold else phrase("any task, for none has started yet")
        raise unknown(
            "too-little-data", phrase("ECS does not say which image runs in {} of {}", which, service_tasks.service)
        )


def test_ecs_stopped_task_reasons(dead_tasks: Sequence[Task], target: Service) -> None:
    """No task died since the newest deploy began; exit code 137 is memory, CannotPull an image or the network."""
    assert target.ecs is not None
    assert not dead_tasks, saw(listed(dead_tasks), expected=phrase("no task of {} to die", target.ecs.service))


def test_ecs_crash_loop(dead_tasks: Sequence[Task], ecs_service: EcsService) -> None:
    """Not several tasks have died since the newest deploy began, by themselves or by failed health checks."""
    assert len(dead_tasks) < _LOOP, saw(
        phrase("{} dead tasks, the newest {}", len(dead_tasks), dead_tasks[0] if dead_tasks else ""),
        expected=phrase("at most {} dead task of {}", _LOOP - 1, ecs_service.name),
    )


def test_ecs_placement_events(ecs_service: EcsService) -> None:
    """ECS can place the service's tasks and keeps them: no trouble since the newest deploy, or for an hour."""
    events = told(ecs_service.events, phrase("the events of {}", ecs_service.name))
    trouble = [e.message for e in events if _TROUBLE.search(_NAMED.sub("", e.message))]
    assert not trouble, saw(
        listed(dict.fromkeys(trouble), most=2), expected=phrase("events of {} without trouble", ecs_service.name)
    )


def test_ecs_task_health(service_tasks: ServiceTasks) -> None:
    """No running task fails its containers' own health checks; a task without any is not judged."""
    for task in service_tasks.running:
        what = phrase("the health of the task {}", task.id[:8])
        one_of(_HEALTH, told(task.health, what), what)
    sick = [phrase("{} {}", t.id[:8], t.health) for t in service_tasks.running if t.health == "UNHEALTHY"]
    assert not sick, saw(
        listed(sick), expected=phrase("no task of {} to fail its own health check", service_tasks.service)
    )


def test_ecs_exec_ready(
    ecs_service: EcsService, service_tasks: ServiceTasks, task_role: Role | None, target: Service
) -> None:
    """Where ECS Exec is on, a shell opens in every task: its agent runs, and the task role may open the channels to AWS
    Systems Manager. A service without ECS Exec is not judged.
    """
    assert target.ecs is not None
    if not told(ecs_service.lets_people_in, phrase("whether {} has ECS Exec", ecs_service.name)):
        return
    role = task_role.name if task_role else phrase("no role")
    missing = [action for action in _CHANNELS if task_role is None or not task_role.may(action, "*")]
    assert not missing, saw(
        phrase("{} without {}", role, listed(missing)), expected=phrase("a shell in the tasks of {}", ecs_service.name)
    )
    started = [t for t in service_tasks.running if not t.starting]
    shut = [
        phrase("{} {}", t.id[:8], agent or phrase("no agent"))
        for t in started
        if (agent := t.agents.get(target.ecs.container)) != "RUNNING"
    ]
    assert not shut, saw(listed(shut), expected=phrase("a shell in the tasks of {}", ecs_service.name))


def test_ecs_az_spread(service_tasks: ServiceTasks) -> None:
    """Two or more tasks stand in at least two zones: one zone may fail. Another check covers a single task."""
    started = [t for t in service_tasks.running if not t.starting]
    zones = {t.zone for t in started}
    if None in zones:
        raise unknown("too-little-data", phrase("ECS names no zone for a task of {}", service_tasks.service))
    assert len(started) < 2 or len(zones) >= 2, saw(
        phrase("{} in {}", len(started), listed(sorted(z for z in zones if z))),
        expected=phrase("tasks of {} in two zones", service_tasks.service),
    )


def test_ecs_cpu_mem_headroom(utilisation: Utilisation, environment: Environment) -> None:
    """The service's tasks are not saturated: they have room for more load, and for a deploy."""
    assert environment.metrics is not None
    most_cpu, most_memory = environment.metrics.most_cpu_percent, environment.metrics.most_memory_percent
    assert utilisation.cpu <= most_cpu and utilisation.memory <= most_memory, saw(
        phrase("{:.0f} % CPU and {:.0f} % memory", utilisation.cpu, utilisation.memory),
        expected=phrase(
            "{} to take at most {:.0f} % CPU and {:.0f} % memory", utilisation.service, most_cpu, most_memory
        ),
    )


def test_secret_reaches_tasks(secret_readers: SecretReaders | None) -> None:
    """The services that may reach a part of the data tier get its login: their task definition refers to the secret, or
    their role may read it. Of several services in one security group, one is enough.

    The suite's own logins are not judged, nor are services that ECS does not run.
    """
    if secret_readers is None:
        return
    assert not secret_readers.without, saw(
        phrase("{} without it", listed(secret_readers.without)),
        expected=phrase("the clients to get {}", secret_readers.id),
    )


def test_secret_rotation_state(secret_use: SecretUse) -> None:
    """A rotating secret rotated in time and to the end, and no task still works with the old value."""
    due = rfc3339(secret_use.rotates_next) if secret_use.rotates_next else phrase("never")
    assert not secret_use.overdue, saw(
        phrase("a rotation due {}", due), expected=phrase("{} to rotate when it is due", secret_use.id)
    )
    assert secret_use.pending is None, saw(
        phrase("the version {} still AWSPENDING", secret_use.pending),
        expected=phrase("the last rotation of {} to have ended", secret_use.id),
    )
    outdated = [
        phrase("tasks of {} from {}", service, rfc3339(started)) for service, started in secret_use.outdated.items()
    ]
    current: object = secret_use.id
    if secret_use.current_since:
        current = phrase("{}, which is from {}", secret_use.id, rfc3339(secret_use.current_since))
    assert not outdated, saw(listed(outdated), expected=phrase("no task older than the current value of {}", current))
