"""The steps of the deploy workflows that are more than a command of the AWS CLI.

Each command prints its results as `name=value`, for GITHUB_OUTPUT. Exit code 1: the step failed, with one sentence.
It writes to AWS with the credentials of the job. Source of truth: ecs RegisterTaskDefinition, RunTask, UpdateService,
DescribeServiceDeployments; ecr DescribeImages.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import boto3

MIGRATION_S, DEPLOYMENT_S, APPEARS_S = 900.0, 3600.0, 60.0
_POLL_S = 3.0
_GIVEN_BY_ECS = (
    "taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities", "registeredAt", "registeredBy",
    "deregisteredAt", "tags",
)  # fmt: skip
_UNDER_WAY = frozenset({"PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS"})


class Failed(Exception):
    """The step failed. Holds one sentence."""


def image(name: str) -> None:
    """Print the digest of REGISTRY/REPOSITORY:TAG. Fails if the registry has no such image."""
    repository, _, tag = name.partition("/")[2].rpartition(":")
    ecr = boto3.client("ecr")
    try:
        found = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
    except ecr.exceptions.ImageNotFoundException:
        raise Failed(f"{repository} has no image {tag}") from None
    print(found["imageDetails"][0]["imageDigest"])


def register_tasks(cluster: str, service: str, image: str) -> None:
    """Register the service's task definition with this image. Only the first container changes: it is the service's."""
    ecs = boto3.client("ecs")
    running = _service(ecs, cluster, service)["taskDefinition"]
    asked = ecs.describe_task_definition(taskDefinition=running, include=["TAGS"])
    definition = {k: v for k, v in asked["taskDefinition"].items() if k not in _GIVEN_BY_ECS}
    first, *others = definition["containerDefinitions"]
    definition["containerDefinitions"] = [first | {"image": image}, *others]
    tags = {"tags": asked["tags"]} if asked.get("tags") else {}
    made = ecs.register_task_definition(**definition, **tags)
    print(f"definition={made['taskDefinition']['taskDefinitionArn']}")


def run_task(cluster: str, service: str, definition: str, command: str) -> None:
    """Run a command in one task, in the service's network, and wait for its end. Fails unless it ends with code 0."""
    ecs = boto3.client("ecs")
    container = ecs.describe_task_definition(taskDefinition=definition)["taskDefinition"]["containerDefinitions"][0]
    answer = ecs.run_task(
        cluster=cluster,
        taskDefinition=definition,
        launchType="FARGATE",
        networkConfiguration=_service(ecs, cluster, service)["networkConfiguration"],
        overrides={"containerOverrides": [{"name": container["name"], "command": shlex.split(command)}]},
    )
    if not answer["tasks"]:
        raise Failed(f"ECS starts no task: {answer['failures']}")
    arn = answer["tasks"][0]["taskArn"]

    def ended() -> dict[str, Any] | None:
        task: dict[str, Any] = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"][0]
        return task if task["lastStatus"] == "STOPPED" else None

    task = _awaited(ended, MIGRATION_S, f"{command} has not ended")
    code = next((c.get("exitCode") for c in task["containers"] if c["name"] == container["name"]), None)
    if code != 0:
        raise Failed(f"{command} ended with {'no code' if code is None else code}: {task.get('stoppedReason', '')}")


def update_service(cluster: str, service: str, definition: str) -> None:
    """Deploy a task definition. Prints the deployment's ARN, and whether a hook will pause it."""
    ecs = boto3.client("ecs")
    known = {d["serviceDeploymentArn"] for d in _deployments(ecs, cluster, service)}
    updated = ecs.update_service(cluster=cluster, service=service, taskDefinition=definition)["service"]

    def new() -> str | None:
        arns = [d["serviceDeploymentArn"] for d in _deployments(ecs, cluster, service)]
        return next((arn for arn in arns if arn not in known), None)

    print(f"deployment={_awaited(new, APPEARS_S, f'ECS shows no deployment of {service}')}")
    hooks = updated.get("deploymentConfiguration", {}).get("lifecycleHooks", [])
    print(f"pauses={'true' if any(h.get('targetType') == 'PAUSE' for h in hooks) else 'false'}")


def wait_service_deployment(arn: str) -> None:
    """Wait for the end of a deployment. Fails unless it is SUCCESSFUL: a rolled back service is stable too."""
    ecs = boto3.client("ecs")

    def ended() -> dict[str, Any] | None:
        found = ecs.describe_service_deployments(serviceDeploymentArns=[arn])
        if not found["serviceDeployments"]:
            raise Failed(f"ECS does not know {arn}: {found['failures']}")
        deployment: dict[str, Any] = found["serviceDeployments"][0]
        return None if deployment["status"] in _UNDER_WAY else deployment

    deployment = _awaited(ended, DEPLOYMENT_S, f"{arn} has not ended")
    if deployment["status"] != "SUCCESSFUL":
        raise Failed(f"the deployment is {deployment['status']}: {deployment.get('statusReason') or 'no reason given'}")


def connect(url: str, origin: str = "") -> None:
    """Open a WebSocket connection, as a page of `origin` does, and close it. Fails if the server does not accept it, or
    does not answer a ping.
    """
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect as opened
    from websockets.typing import Origin

    try:
        with opened(url, open_timeout=10, origin=Origin(origin) if origin else None) as connection:
            answered = connection.ping().wait(10)
    except (OSError, WebSocketException) as e:  # a timeout is an OSError
        raise Failed(f"{url} takes no connection: {type(e).__name__}: {e}") from None
    if not answered:
        raise Failed(f"{url} answers no ping")


def _service(ecs: Any, cluster: str, service: str) -> dict[str, Any]:
    found = ecs.describe_services(cluster=cluster, services=[service])["services"]
    if not found:
        raise Failed(f"{cluster} has no service {service}")
    described: dict[str, Any] = found[0]
    return described


def _deployments(ecs: Any, cluster: str, service: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = ecs.list_service_deployments(cluster=cluster, service=service)["serviceDeployments"]
    return listed


def _awaited(look: Callable[[], Any], seconds: float, late: str) -> Any:
    """What `look` finds. Fails with a sentence after this many seconds."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise Failed(f"{late} within {seconds:.0f} s")
        time.sleep(_POLL_S)
    return found


COMMANDS: Mapping[str, Callable[..., None]] = {
    "image": image,
    "register-tasks": register_tasks,
    "run-task": run_task,
    "update-service": update_service,
    "wait-service-deployment": wait_service_deployment,
    "connect": connect,
}

if __name__ == "__main__":
    try:
        COMMANDS[sys.argv[1]](*sys.argv[2:])
    except Failed as e:
        sys.exit(str(e))
