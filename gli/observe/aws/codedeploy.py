"""CodeDeploy, for services that CodeDeploy deploys instead of ECS itself (blue/green with task sets).

Source of truth: codedeploy GetDeployment and GetDeploymentGroup. A task set names the deployment that created it.
"""

from __future__ import annotations

from datetime import datetime

from gli.common.sentences import phrase
from gli.config.services import Service
from gli.observe.aws.ecs_services import ecs_service
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

_FAILURE = "DEPLOYMENT_FAILURE"


class DeploymentGroup(Observation):
    """How CodeDeploy deploys one service, and how its newest deployment went."""

    name: str
    rolls_back: bool
    """Whether CodeDeploy rolls back a failed deployment automatically."""
    status: str | None = None
    """The newest deployment's status: Created, Queued, InProgress, Baking, Succeeded, Failed, Stopped, Ready."""
    created: datetime | None = None


@probe(deadline=15)
async def deployment_group(observer: Observer, service: Service) -> DeploymentGroup | None:
    """The deployment group of the service; None if CodeDeploy does not deploy the service."""
    described = await observer.see(ecs_service, service)
    if described.controller != "CODE_DEPLOY":
        return None
    id_ = described.primary.external_id
    if not id_:
        raise unknown(
            "not-found", phrase("the PRIMARY task set of {} names no deployment of CodeDeploy", described.name)
        )
    answer = await observer.aws.call(observer, "codedeploy", "get_deployment", deploymentId=id_)
    made_by = answer["deploymentInfo"]
    answer = await observer.aws.call(
        observer,
        "codedeploy",
        "get_deployment_group",
        applicationName=made_by["applicationName"],
        deploymentGroupName=made_by["deploymentGroupName"],
    )
    group = answer["deploymentGroupInfo"]
    rollback = group.get("autoRollbackConfiguration") or {}
    newest = group["lastAttemptedDeployment"]  # the task set names a deployment, so there was one
    return DeploymentGroup(
        name=group["deploymentGroupName"],
        rolls_back=bool(rollback.get("enabled")) and _FAILURE in (rollback.get("events") or []),
        status=newest["status"],
        created=newest["createTime"],
    )
