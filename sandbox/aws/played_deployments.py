"""Deployments of ECS that take time, and single tasks: both wait for the sandbox, which has the real processes.

A service whose deployment pauses at a hook (`lifecycleHooks`, target type PAUSE) gets its new tasks beside the old
ones; then ECS waits for ContinueServiceDeployment, or for the hook's timeout. `work` tells what ECS would do next,
`done` that it was done. Source of truth: ecs DescribeServiceDeployments, ContinueServiceDeployment, RunTask.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ecs.exceptions import InvalidParameterException
from moto.ecs.models import ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse as Responses

from sandbox.aws import played_variants

_HOOKED = "POST_TEST_TRAFFIC_SHIFT"
_TIMEOUT_MINUTES = 1440  # AWS's default
TASKS: dict[str, dict[str, Any]] = {}
"""Tasks that RunTask started, by ARN, as DescribeTasks shows them."""


def apply() -> None:
    """Patch moto in this process, once."""
    Responses.describe_service_deployments = _describe
    Responses.continue_service_deployment = _continue
    Responses.run_task = _run_task


def pauses(service: Any) -> dict[str, Any] | None:
    """The hook at which a deployment of the service pauses; None if it has none."""
    hooks = (getattr(service, "deployment_configuration", None) or {}).get("lifecycleHooks") or []
    return next((h for h in hooks if h.get("targetType") == "PAUSE" and _HOOKED in h["lifecycleStages"]), None)


def begin(service: Any, before: str) -> None:
    """Begin the deployment of the service's new task definition; the one `before` serves until it ends."""
    arn = service.arn.replace(":service/", ":service-deployment/") + f"/{uuid4().hex[:20]}"
    revision = service.arn.replace(":service/", ":service-revision/")
    deployment = {
        "serviceDeploymentArn": arn,
        "serviceArn": service.arn,
        "clusterArn": service.cluster_arn,
        "createdAt": utcnow(),
        "startedAt": utcnow(),
        "status": "IN_PROGRESS",
        "lifecycleStage": "SCALE_UP",
        "targetServiceRevision": {"arn": f"{revision}/{uuid4().int % 10**19}"},
        "deploymentConfiguration": service.deployment_configuration,
    }
    played_variants.REVISIONS[deployment["targetServiceRevision"]["arn"]] = {
        "serviceRevisionArn": deployment["targetServiceRevision"]["arn"],
        "serviceArn": service.arn,
        "clusterArn": service.cluster_arn,
        "taskDefinition": service.task_definition,
        "createdAt": utcnow(),
    }
    service.played_before = before
    service.played_deployments = [deployment, *all_of(service)]
    service.deployments[0] |= {"rolloutState": "IN_PROGRESS", "rolloutStateReason": "ECS deployment in progress."}


def all_of(service: Any) -> list[dict[str, Any]]:
    """The service's deployments that took time, newest first."""
    found: list[dict[str, Any]] = getattr(service, "played_deployments", [])
    return found


def rolled(service: Any) -> dict[str, Any]:
    """The deployment of the service's task definition, which took no time. A fault may set how it ended."""
    primary = service.deployments[0]
    status, reason = getattr(service, "played_deployment", ("SUCCESSFUL", None))
    revision = service.task_definition.rpartition(":")[2]
    return {
        "serviceDeploymentArn": service.arn.replace(":service/", ":service-deployment/") + f"/{revision}",
        "serviceArn": service.arn,
        "clusterArn": service.cluster_arn,
        "createdAt": primary["createdAt"],
        "startedAt": primary["createdAt"],
        "status": status,
        "statusReason": reason,
    }


def _every() -> Iterator[tuple[Any, dict[str, Any]]]:
    for region in ecs_backends[DEFAULT_ACCOUNT_ID].values():
        for service in region.services.values():
            for deployment in all_of(service)[:1]:
                yield service, deployment


def _describe(self: Any) -> ActionResult:
    wanted = self._get_param("serviceDeploymentArns", [])
    services = [s for region in ecs_backends[DEFAULT_ACCOUNT_ID].values() for s in region.services.values()]
    known = [d for s in services if s.deployments for d in (*all_of(s), rolled(s))]
    found = {d["serviceDeploymentArn"]: d for d in known}
    missing = [{"arn": arn, "reason": "MISSING"} for arn in wanted if arn not in found]
    return ActionResult({"serviceDeployments": [found[a] for a in wanted if a in found], "failures": missing})


def _continue(self: Any) -> ActionResult:
    arn, hook = self._get_param("serviceDeploymentArn"), self._get_param("hookId")
    for _, deployment in _every():
        awaiting = [h for h in deployment.get("lifecycleHookDetails", []) if h["status"] == "AWAITING_ACTION"]
        if deployment["serviceDeploymentArn"] == arn and any(h["hookId"] == hook for h in awaiting):
            _answered(deployment, self._get_param("action") or "CONTINUE", "SUCCEEDED")
            return ActionResult({"serviceDeploymentArn": arn})
    raise InvalidParameterException("The service deployment is not paused at this hook.")


def _answered(deployment: dict[str, Any], action: str, status: str) -> None:
    """Go on after a hook, by an answer or by its timeout."""
    deployment["lifecycleHookDetails"][0]["status"] = status
    if action == "CONTINUE":
        deployment["lifecycleStage"] = "PRODUCTION_TRAFFIC_SHIFT"
    else:
        deployment |= {"status": "ROLLBACK_IN_PROGRESS", "statusReason": f"A lifecycle hook asked for {action}."}


def _run_task(self: Any) -> ActionResult:
    definition = self.ecs_backend.describe_task_definition(self._get_param("taskDefinition"))
    cluster = self.ecs_backend._get_cluster(self._get_param("cluster", "default"))
    overrides = self._get_param("overrides", {}).get("containerOverrides", [])
    commands = {o["name"]: o.get("command") for o in overrides}
    arn = f"{cluster.arn.replace(':cluster/', ':task/')}/{uuid4().hex}"
    TASKS[arn] = {
        "taskArn": arn,
        "clusterArn": cluster.arn,
        "taskDefinitionArn": definition.arn,
        "desiredStatus": "RUNNING",
        "lastStatus": "PROVISIONING",
        "containers": [
            {"name": c["name"], "image": c["image"], "lastStatus": "PENDING"} for c in definition.container_definitions
        ],
        "overrides": {"containerOverrides": [{"name": n, "command": c} for n, c in commands.items() if c]},
    }
    return ActionResult({"tasks": [TASKS[arn]], "failures": []})


# Actions of the overlay (sandbox.aws.surgery).


def work() -> dict[str, Any]:
    """What ECS would do next, one entry for each task and deployment. A hook's timeout acts by itself."""
    found: list[dict[str, Any]] = []
    for arn, task in TASKS.items():
        if task["lastStatus"] == "PROVISIONING":
            task["lastStatus"] = "RUNNING"
            overrides = task["overrides"]["containerOverrides"]
            command = overrides[0]["command"] if overrides else []
            found.append({"do": "run", "arn": arn, "image": task["containers"][0]["image"], "command": command})
    for service, deployment in _every():
        for hook in deployment.get("lifecycleHookDetails", []):
            if hook["status"] == "AWAITING_ACTION" and utcnow() >= hook["expiresAt"]:
                _answered(deployment, hook["timeoutAction"], "TIMED_OUT")
        do = {("IN_PROGRESS", "SCALE_UP"): "start", ("IN_PROGRESS", "PRODUCTION_TRAFFIC_SHIFT"): "turn"}.get(
            (deployment["status"], deployment["lifecycleStage"]),
            "drop" if deployment["status"] == "ROLLBACK_IN_PROGRESS" else None,
        )
        if do:
            definition = service._backend.describe_task_definition(service.task_definition)
            image = definition.container_definitions[0]["image"]
            found.append({"do": do, "arn": deployment["serviceDeploymentArn"], "image": image})
    return {"work": found}


def done(arn: str, problem: str = "") -> dict[str, Any]:
    """What `work` asked for was done; `problem` says why it failed."""
    if arn in TASKS:
        _stop(TASKS[arn], problem)
    for service, deployment in _every():
        if deployment["serviceDeploymentArn"] != arn:
            continue
        if deployment["status"] == "ROLLBACK_IN_PROGRESS":
            service.task_definition = service.played_before
            _end(service, deployment, "ROLLBACK_SUCCESSFUL")
        elif problem:
            deployment |= {"status": "ROLLBACK_IN_PROGRESS", "statusReason": problem}
        elif deployment["lifecycleStage"] == "SCALE_UP":
            _pause(service, deployment)
        else:
            _end(service, deployment, "SUCCESSFUL")
    return {}


def _stop(task: dict[str, Any], problem: str) -> None:
    task |= {
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "stoppedReason": problem or "Essential container exited",
    }
    task["containers"][0] |= {"lastStatus": "STOPPED", "exitCode": 1 if problem else 0}


def _pause(service: Any, deployment: dict[str, Any]) -> None:
    timeout = (pauses(service) or {}).get("timeoutConfiguration") or {}
    hook = {
        "hookId": uuid4().hex,
        "targetType": "PAUSE",
        "status": "AWAITING_ACTION",
        "expiresAt": utcnow() + timedelta(minutes=timeout.get("timeoutInMinutes", _TIMEOUT_MINUTES)),
        "timeoutAction": timeout.get("action", "ROLLBACK"),
    }
    deployment |= {"lifecycleStage": _HOOKED, "lifecycleHookDetails": [hook]}


def _end(service: Any, deployment: dict[str, Any], status: str) -> None:
    from sandbox.aws.patches import converge

    deployment |= {"status": status, "finishedAt": utcnow(), "lifecycleStage": "CLEAN_UP"}
    converge(service)
