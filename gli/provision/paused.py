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

from gli.common import clock
from gli.common.sentences import listed
from gli.config.services import Ecs, Service
from gli.provision.account import Account, ProvisionError

Action = Literal["CONTINUE", "ROLLBACK"]
_UNDER_WAY = ["PENDING", "IN_PROGRESS"]
_SHOWN = (
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
)
"""The stages in which the test listener leads to the new tasks: before, a verification would see the old ones."""
_POLL_S = 5.0
LONGEST_WAIT_S = 1800.0
"""How long new tasks may take until the deployment pauses."""


@dataclass(frozen=True)
class Paused:
    """One deployment that waits at a hook."""

    ecs: Ecs
    """The service and its cluster, as environments.toml names them."""
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
    stage: str
    """The stage of the deployment, `POST_TEST_TRAFFIC_SHIFT`."""

    @property
    def service(self) -> str:
        """The service's name in ECS."""
        return self.ecs.service

    def is_of(self, service: Service) -> bool:
        """Whether it deploys this service. Two clusters may have a service of the same name."""
        return service.ecs is not None and _place(service.ecs) == _place(self.ecs)


def under_way(account: Account) -> dict[str, Ecs]:
    """The ARN of each deployment under way that will pause or has paused, to its service in ECS."""
    found: dict[str, Ecs] = {}
    for ecs in {_place(s.ecs): s.ecs for s in account.environment.services.values() if s.ecs}.values():
        listed = account.call(
            "ecs", "list_service_deployments", cluster=ecs.cluster, service=ecs.service, status=_UNDER_WAY
        )
        arns = [str(d["serviceDeploymentArn"]) for d in listed["serviceDeployments"]]
        found |= {arn: ecs for arn in arns if _pauses(_described(account, arn))}
    return found


def await_pause(account: Account, ecs: Ecs, arn: str) -> Paused:
    """The deployment, once it has paused. Raises `ProvisionError` if it ends before, or does not pause in time."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while True:
        described = _described(account, arn)
        if found := _paused(ecs, described):
            return found
        if described["status"] not in _UNDER_WAY:
            reason = described.get("statusReason") or "no reason given"
            went_on = described["status"] == "SUCCESSFUL"
            raise ProvisionError(
                f"the deployment of {ecs.service} ended before a verdict: {described['status']}, {reason}",
                known=not went_on,
            )
        if time.monotonic() > deadline:
            raise ProvisionError(
                f"the deployment of {ecs.service} has not paused in {LONGEST_WAIT_S:.0f} s", known=False
            )
        time.sleep(_POLL_S)


def unseen(account: Account, paused: Paused) -> str:
    """Why nobody can look at the new tasks; empty if the test listener shows them."""
    services = [s for s in account.environment.services.values() if paused.is_of(s)]
    if not any(s.load_balancer and s.load_balancer.test_port for s in services):
        return f"{paused.service} has no test_port: only its old tasks could be verified"
    if paused.stage not in _SHOWN:
        where = paused.stage or "a stage that ECS does not name"
        return f"{paused.service} waits at {where}: the test listener shows new tasks from {_SHOWN[0]} on"
    return ""


def still(account: Account, paused: Paused) -> bool:
    """Whether the deployment waits at the same hook, with the same revision, and for some time yet."""
    return _paused(paused.ecs, _described(account, paused.deployment)) == paused and clock.now() < paused.expires


def tags(account: Account, paused: Paused) -> set[str]:
    """The image tags of the revision that waits, of the container that the service is."""
    asked = account.call("ecs", "describe_service_revisions", serviceRevisionArns=[paused.revision])
    names = {s.ecs.container for s in account.environment.services.values() if s.ecs and paused.is_of(s)}
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


def _place(ecs: Ecs) -> tuple[str, str]:
    return ecs.cluster, ecs.service


def _described(account: Account, arn: str) -> dict[str, Any]:
    answer = account.call("ecs", "describe_service_deployments", serviceDeploymentArns=[arn])
    found: list[dict[str, Any]] = answer["serviceDeployments"]
    if [d["serviceDeploymentArn"] for d in found] != [arn]:
        named = listed(d["serviceDeploymentArn"] for d in found)
        said = f"it answers for {named}" if named else "ECS does not know it"
        raise ProvisionError(f"the deployment {arn} can't be described: {said}", known=False)
    return found[0]


def _pauses(described: dict[str, Any]) -> bool:
    hooks = (described.get("deploymentConfiguration") or {}).get("lifecycleHooks") or []
    return any(hook.get("targetType") == "PAUSE" for hook in hooks)


def _paused(ecs: Ecs, described: dict[str, Any]) -> Paused | None:
    if described["status"] not in _UNDER_WAY:
        return None  # a rollback may have begun, and the hook still says that it waits
    for hook in described.get("lifecycleHookDetails") or []:
        if hook.get("targetType") == "PAUSE" and hook["status"] == "AWAITING_ACTION":
            revision = (described.get("targetServiceRevision") or {}).get("arn", "")
            return Paused(
                ecs,
                described["serviceDeploymentArn"],
                hook["hookId"],
                hook["expiresAt"],
                hook["timeoutAction"],
                revision,
                described.get("lifecycleStage", ""),
            )
    return None
