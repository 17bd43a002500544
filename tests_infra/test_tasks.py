"""Tasks and deploys: did the new build stay, is it what the registry has, what died, who works with old secrets."""

import re
from collections.abc import Sequence

from gli.common.clock import rfc3339
from gli.common.sentences import listed, saw
from gli.config.environments import Environment, Service
from gli.observe.aws.cloudwatch import Utilisation
from gli.observe.aws.ecr import RegistryImage
from gli.observe.aws.ecs_services import EcsService
from gli.observe.aws.ecs_tasks import SecretUse, ServiceDeployment, ServiceTasks, Task
from gli.observe.engine.observation import unknown

_TROUBLE = re.compile(r"\b(unable|failed|unhealthy|rolling back|throttled|unavailable)\b", re.IGNORECASE)
_NOT_UNDONE = (None, "PENDING", "IN_PROGRESS", "SUCCESSFUL")


def test_ecs_no_rollback(service_deployment: ServiceDeployment) -> None:
    """The newest deploy was not undone or stopped, by the circuit breaker, an alarm or a person."""
    assert service_deployment.status in _NOT_UNDONE, saw(
        f"{service_deployment.status}: {service_deployment.reason or 'no reason given'}",
        expected=f"the newest deploy of {service_deployment.service} to stay",
    )


def test_ecs_task_digest(service_tasks: ServiceTasks, registry_image: RegistryImage, target: Service) -> None:
    """Every running task runs the very image that the registry has under the commit: a tag can be pushed again."""
    assert target.ecs is not None
    digests = {t.id: t.digests.get(target.ecs.container) for t in service_tasks.running}
    strange = [f"{task[:8]} with {digest}" for task, digest in digests.items() if digest not in registry_image.digests]
    expected = (
        f"all tasks of {service_tasks.service} to run {registry_image.digest}, which is {registry_image.tag[:12]}"
    )
    assert digests, saw("no running task", expected=expected)
    assert not strange, saw(listed(strange), expected=expected)


def test_ecs_stopped_task_reasons(dead_tasks: Sequence[Task], target: Service) -> None:
    """No task died since the newest deploy began; exit code 137 is memory, CannotPull an image or the network."""
    assert target.ecs is not None
    assert not dead_tasks, saw(listed(dead_tasks), expected=f"no task of {target.ecs.service} to die")


def test_ecs_placement_events(ecs_service: EcsService) -> None:
    """ECS finds a place for the service's tasks and keeps them: no trouble since the newest deploy, or for an hour."""
    trouble = [e.message for e in ecs_service.events if _TROUBLE.search(e.message)]
    assert not trouble, saw(
        listed(dict.fromkeys(trouble), most=2), expected=f"events of {ecs_service.name} without trouble"
    )


def test_ecs_task_health(service_tasks: ServiceTasks) -> None:
    """No running task fails its containers' own health checks; a task without any is not judged."""
    sick = [f"{t.id[:8]} {t.health}" for t in service_tasks.running if t.health == "UNHEALTHY"]
    assert not sick, saw(listed(sick), expected=f"no task of {service_tasks.service} to fail its own health check")


def test_ecs_az_spread(service_tasks: ServiceTasks) -> None:
    """Two tasks or more stand in two zones at least: one zone may go. A single task is another check's."""
    zones = {t.zone for t in service_tasks.running}
    if None in zones:
        raise unknown("too-little-data", f"ECS names no zone for a task of {service_tasks.service}")
    assert len(service_tasks.running) < 2 or len(zones) >= 2, saw(
        f"{len(service_tasks.running)} in {listed(sorted(z for z in zones if z))}",
        expected=f"tasks of {service_tasks.service} in two zones",
    )


def test_ecs_cpu_mem_headroom(utilisation: Utilisation, environment: Environment) -> None:
    """The service's tasks are not saturated: room is left for the next wave, and for a deploy."""
    assert environment.metrics is not None
    most_cpu, most_memory = environment.metrics.most_cpu_percent, environment.metrics.most_memory_percent
    assert utilisation.cpu <= most_cpu and utilisation.memory <= most_memory, saw(
        f"{utilisation.cpu:.0f} % CPU and {utilisation.memory:.0f} % memory",
        expected=f"{utilisation.service} to take at most {most_cpu:.0f} % CPU and {most_memory:.0f} % memory",
    )


def test_secret_rotation_state(secret_use: SecretUse) -> None:
    """A secret that rotates did so in time, and no task still works with the value from before."""
    due = rfc3339(secret_use.rotates_next) if secret_use.rotates_next else "never"
    assert not secret_use.overdue, saw(f"a rotation due {due}", expected=f"{secret_use.id} to rotate when it is due")
    outdated = [f"tasks of {service} from {rfc3339(started)}" for service, started in secret_use.outdated.items()]
    since = f", which is from {rfc3339(secret_use.current_since)}" if secret_use.current_since else ""
    assert not outdated, saw(
        listed(outdated), expected=f"no task older than the current value of {secret_use.id}{since}"
    )
