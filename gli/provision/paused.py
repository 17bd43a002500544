"""Deployments of ECS that wait at a hook for CONTINUE or ROLLBACK: what waits, until when, and the answer.

Source of truth: ecs ListServiceDeployments, DescribeServiceDeployments (`lifecycleHookDetails`),
DescribeServiceRevisions, ContinueServiceDeployment. AWS takes an answer without an action for CONTINUE: every answer
here names its action.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from gli.provision.account import Account, ProvisionError

Action = Literal["CONTINUE", "ROLLBACK"]
_UNDER_WAY = ["PENDING", "IN_PROGRESS"]
_POLL_S = 5.0
LONGEST_WAIT_S = 1800.0
"""How long new tasks may take until the deployment pauses."""


@dataclass(frozen=True)
class Paused:
    """One deployment that waits at a hook."""

    service: str
    deployment: str
    """Its ARN."""
    hook: str
    """The id that the answer must name."""
    expires: datetime
    """When ECS stops waiting."""
    at_the_end: str
    """What ECS does then: ROLLBACK or CONTINUE."""
    revision: str
    """The ARN of the service revision that waits."""


def under_way(account: Account) -> dict[str, str]:
    """The ARN of each deployment under way that will pause or has paused, to the service's name in ECS."""
    found: dict[str, str] = {}
    for service in account.environment.services.values():
        if service.ecs is None:
            continue
        cluster, name = service.ecs.cluster, service.ecs.service
        listed = account.call("ecs", "list_service_deployments", cluster=cluster, service=name, status=_UNDER_WAY)
        arns = [str(d["serviceDeploymentArn"]) for d in listed["serviceDeployments"]]
        found |= {arn: name for arn in arns if _pauses(_described(account, arn))}
    return found


def await_pause(account: Account, service: str, arn: str) -> Paused:
    """The deployment, once it has paused. Raises `ProvisionError` if it ends before, or does not pause in time."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while True:
        described = _described(account, arn)
        if found := _paused(service, described):
            return found
        if described["status"] not in _UNDER_WAY:
            reason = described.get("statusReason") or "no reason given"
            went_on = described["status"] == "SUCCESSFUL"
            raise ProvisionError(
                f"the deployment of {service} ended before a verdict: {described['status']}, {reason}",
                known=not went_on,
            )
        if time.monotonic() > deadline:
            raise ProvisionError(f"the deployment of {service} has not paused in {LONGEST_WAIT_S:.0f} s", known=False)
        time.sleep(_POLL_S)


def still(account: Account, paused: Paused) -> bool:
    """Whether the deployment waits at the same hook, with the same revision."""
    return _paused(paused.service, _described(account, paused.deployment)) == paused


def tags(account: Account, paused: Paused) -> set[str]:
    """The image tags of the revision that waits, of the container that the service is."""
    asked = account.call("ecs", "describe_service_revisions", serviceRevisionArns=[paused.revision])
    names = {
        s.ecs.container for s in account.environment.services.values() if s.ecs and s.ecs.service == paused.service
    }
    found = set()
    for revision in asked["serviceRevisions"]:
        answer = account.call("ecs", "describe_task_definition", taskDefinition=revision["taskDefinition"])
        images = [c["image"] for c in answer["taskDefinition"]["containerDefinitions"] if c["name"] in names]
        found |= {image.partition("@")[0].rpartition("/")[2].rpartition(":")[2] for image in images}
    return found


def answer(account: Account, waiting: Sequence[Paused], action: Action) -> list[str]:
    """Answer each deployment; returns a sentence for each that could not be answered."""
    problems = []
    for paused in waiting:
        try:
            account.call(
                "ecs",
                "continue_service_deployment",
                serviceDeploymentArn=paused.deployment,
                hookId=paused.hook,
                action=action,
            )
        except ProvisionError as e:
            problems.append(f"{paused.service} did not get its {action}: {e}")
    return problems


def _described(account: Account, arn: str) -> dict[str, Any]:
    found = account.call("ecs", "describe_service_deployments", serviceDeploymentArns=[arn])["serviceDeployments"]
    if not found:
        raise ProvisionError(f"ECS does not know the deployment {arn}", known=False)
    described: dict[str, Any] = found[0]
    return described


def _pauses(described: dict[str, Any]) -> bool:
    hooks = (described.get("deploymentConfiguration") or {}).get("lifecycleHooks") or []
    return any(hook.get("targetType") == "PAUSE" for hook in hooks)


def _paused(service: str, described: dict[str, Any]) -> Paused | None:
    for hook in described.get("lifecycleHookDetails") or []:
        if hook.get("targetType") == "PAUSE" and hook["status"] == "AWAITING_ACTION":
            revision = (described.get("targetServiceRevision") or {}).get("arn", "")
            arn = described["serviceDeploymentArn"]
            return Paused(service, arn, hook["hookId"], hook["expiresAt"], hook["timeoutAction"], revision)
    return None
