"""Faults of what a service is made of: its task definition, its tasks and deploys, its images and its secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from gli.config.environments import Ecs, Service
from sandbox.faults import Sandbox, fault
from sandbox.site import required

_KEPT = (  # what DescribeTaskDefinition returns and RegisterTaskDefinition takes
    "family",
    "networkMode",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "executionRoleArn",
    "taskRoleArn",
    "containerDefinitions",
)


def _api(sandbox: Sandbox) -> Service:
    return sandbox.environment.services["api"]


def _where(sandbox: Sandbox) -> Ecs:
    return required(_api(sandbox).ecs)


def _region(sandbox: Sandbox) -> str:
    return required(sandbox.environment.aws).region


def _described(sandbox: Sandbox) -> dict[str, Any]:
    where = _where(sandbox)
    answer = sandbox.aws("ecs").describe_services(cluster=where.cluster, services=[where.service])
    service: dict[str, Any] = answer["services"][0]
    return service


def _definition(sandbox: Sandbox) -> dict[str, Any]:
    arn = _described(sandbox)["taskDefinition"]
    definition: dict[str, Any] = sandbox.aws("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
    return definition


@contextmanager
def _overlaid(sandbox: Sandbox, action: str, **parameters: Any) -> Iterator[None]:
    """The API's ECS service in a state that nobody can ask AWS for."""
    where = _where(sandbox)
    place = {"region": _region(sandbox), "cluster": where.cluster, "service": where.service}
    undo = sandbox.aws_overlay(action, **place, **parameters)
    try:
        yield
    finally:
        sandbox.aws_overlay(action, **undo)


@contextmanager
def _updated(sandbox: Sandbox, **changes: Any) -> Iterator[None]:
    """The API's ECS service with other settings."""
    where, ecs, before = _where(sandbox), sandbox.aws("ecs"), _described(sandbox)
    ecs.update_service(cluster=where.cluster, service=where.service, **changes)
    try:
        yield
    finally:
        ecs.update_service(cluster=where.cluster, service=where.service, **{key: before[key] for key in changes})


@contextmanager
def _redefined(sandbox: Sandbox, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """The API on a new revision of its task definition, whose container differs."""
    ecs, before = sandbox.aws("ecs"), _definition(sandbox)
    definition = {key: before[key] for key in _KEPT}
    change(definition["containerDefinitions"][0])
    arn = ecs.register_task_definition(**definition)["taskDefinition"]["taskDefinitionArn"]
    try:
        with _updated(sandbox, taskDefinition=arn):
            yield
    finally:
        ecs.deregister_task_definition(taskDefinition=arn)


@fault("taskdef-plain-secret", turns_red=["ecs-taskdef-contract"])
def taskdef_plain_secret(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition holds the password of the database in plain text, where it referred to its secret."""

    def spell_out(container: dict[str, Any]) -> None:
        name = container["secrets"].pop()["name"]
        container["environment"].append({"name": name, "value": "postgres://gli_app:not-the-real-one@db.internal/gli"})

    with _redefined(sandbox, spell_out):
        yield


@fault("taskdef-unknown-secret", turns_red=["ecs-taskdef-contract", "iam-execution-role"])
def taskdef_unknown_secret(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition refers to a secret that nobody made."""
    account = _definition(sandbox)["taskDefinitionArn"].split(":")[4]
    arn = f"arn:aws:secretsmanager:{_region(sandbox)}:{account}:secret:stg/gli/payments-a1B2c3"
    with _redefined(sandbox, lambda container: container["secrets"][0].update(valueFrom=f"{arn}:key::")):
        yield


@fault("taskdef-logs-of-production", turns_red=["ecs-taskdef-contract"])
def taskdef_logs_of_production(sandbox: Sandbox) -> Iterator[None]:
    """The API writes to production's log group."""
    group = {"awslogs-group": required(sandbox.site.other.logs).groups[0]}
    with _redefined(sandbox, lambda container: container["logConfiguration"]["options"].update(group)):
        yield


@fault("circuit-breaker-off", turns_red=["ecs-circuit-breaker"])
def circuit_breaker_off(sandbox: Sandbox) -> Iterator[None]:
    """The API's deploys no longer stop by themselves."""
    off = {"deploymentCircuitBreaker": {"enable": False, "rollback": False}, "minimumHealthyPercent": 100}
    with _updated(sandbox, deploymentConfiguration=off):
        yield


@fault("deploys-take-tasks-away", turns_red=["ecs-circuit-breaker"], production=True)
def deploys_take_tasks_away(sandbox: Sandbox) -> Iterator[None]:
    """A deploy of the API may stop half of its tasks before the new ones serve."""
    breaker = _described(sandbox)["deploymentConfiguration"]["deploymentCircuitBreaker"]
    half = {"deploymentCircuitBreaker": breaker, "minimumHealthyPercent": 50}
    with _updated(sandbox, deploymentConfiguration=half):
        yield


@fault("grace-period-too-short", turns_red=["alb-health-check-config"])
def grace_period_too_short(sandbox: Sandbox) -> Iterator[None]:
    """ECS gives up on a new task of the API before the load balancer can find it healthy."""
    with _updated(sandbox, healthCheckGracePeriodSeconds=5):
        yield


@fault("health-check-too-deep", turns_red=["alb-health-check-config"])
def health_check_too_deep(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer asks the deep health path: when the database stumbles, every task is replaced."""
    arn, elbv2 = _described(sandbox)["loadBalancers"][0]["targetGroupArn"], sandbox.aws("elbv2")
    before = elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]["HealthCheckPath"]
    elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckPath=_api(sandbox).deep_health_path)
    yield
    elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckPath=before)


@contextmanager
def _balancer_attribute(sandbox: Sandbox, key: str, value: str) -> Iterator[None]:
    """The load balancer with another value of one attribute."""
    elbv2, name = sandbox.aws("elbv2"), required(sandbox.environment.load_balancer).name
    arn = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    attributes = elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    before = [a for a in attributes if a["Key"] == key]
    elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value}])
    try:
        yield
    finally:
        elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=before)


@fault("idle-timeout-short", turns_red=["alb-idle-timeout"])
def idle_timeout_short(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer cuts WebSocket connections that are silent for half a minute."""
    with _balancer_attribute(sandbox, "idle_timeout.timeout_seconds", "30"):
        yield


@fault("balancer-unprotected", turns_red=["alb-idle-timeout"], production=True)
def balancer_unprotected(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer can be deleted by mistake."""
    with _balancer_attribute(sandbox, "deletion_protection.enabled", "false"):
        yield


@fault("deploy-rolled-back", turns_red=["ecs-no-rollback"])
def deploy_rolled_back(sandbox: Sandbox) -> Iterator[None]:
    """The circuit breaker undid the API's newest deploy, and all is quiet again."""
    reason = "Service deployment rolled back because the circuit breaker threshold was exceeded."
    with _overlaid(sandbox, "ecs-service-deployment", status="ROLLBACK_SUCCESSFUL", reason=reason):
        yield


@fault("tag-pushed-again", turns_red=["ecs-task-digest"])
def tag_pushed_again(sandbox: Sandbox) -> Iterator[None]:
    """One of the API's tasks started before its image's tag was pushed again."""
    with _overlaid(sandbox, "ecs-task-digest", digest=f"sha256:{'0' * 64}"):
        yield


@fault("task-out-of-memory", turns_red=["ecs-stopped-task-reasons"])
def task_out_of_memory(sandbox: Sandbox) -> Iterator[None]:
    """One of the API's tasks was killed because it took too much memory."""
    end = {
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "container": {"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"},
    }
    with _overlaid(sandbox, "ecs-task-stopped", ends=[end]):
        yield


@fault("task-without-image", turns_red=["ecs-stopped-task-reasons"])
def task_without_image(sandbox: Sandbox) -> Iterator[None]:
    """A new task of the API could not pull its image; a task that a deploy replaced stopped too, as it should."""
    failed = {
        "stopCode": "TaskFailedToStart",
        "stoppedReason": "CannotPullContainerError: pull image manifest has been retried 5 time(s): i/o timeout",
    }
    replaced = {"stopCode": "ServiceSchedulerInitiated", "stoppedReason": "Scaling activity initiated by deployment"}
    with _overlaid(sandbox, "ecs-task-stopped", ends=[failed, replaced]):
        yield


@fault("task-not-placed", turns_red=["ecs-placement-events"])
def task_not_placed(sandbox: Sandbox) -> Iterator[None]:
    """ECS finds no capacity for one more task of the API, and goes on trying."""
    name = _where(sandbox).service
    trouble = f"(service {name}) was unable to place a task. Reason: Capacity is unavailable at this time."
    with _overlaid(sandbox, "ecs-events", messages=[f"(service {name}) has started 1 tasks.", trouble]):
        yield


@fault("task-unhealthy", turns_red=["ecs-task-health"])
def task_unhealthy(sandbox: Sandbox) -> Iterator[None]:
    """One of the API's tasks fails its own health check."""
    with _overlaid(sandbox, "ecs-task-fields", changes=[{"healthStatus": "UNHEALTHY"}]):
        yield


@fault("tasks-in-one-zone", turns_red=["ecs-az-spread"])
def tasks_in_one_zone(sandbox: Sandbox) -> Iterator[None]:
    """All of the API's tasks run in one zone."""
    with _overlaid(sandbox, "ecs-task-fields", changes=[{"availabilityZone": f"{_region(sandbox)}a"}] * 2):
        yield


@fault("secret-changed-under-tasks", turns_red=["secret-rotation-state"])
def secret_changed_under_tasks(sandbox: Sandbox) -> Iterator[None]:
    """The broker's secret got a new version, and no task was started since."""
    client, name = sandbox.aws("secretsmanager"), required(sandbox.environment.broker).secret
    before = client.get_secret_value(SecretId=name)
    after = client.put_secret_value(SecretId=name, SecretString=before["SecretString"])
    yield
    client.update_secret_version_stage(
        SecretId=name,
        VersionStage="AWSCURRENT",
        RemoveFromVersionId=after["VersionId"],
        MoveToVersionId=before["VersionId"],
    )


@fault("rotation-overdue", turns_red=["secret-rotation-state"])
def rotation_overdue(sandbox: Sandbox) -> Iterator[None]:
    """The database's secret should have rotated yesterday, and did not."""
    due = int((datetime.now(UTC) - timedelta(days=1)).timestamp())
    name = required(sandbox.environment.database).secret
    undo = sandbox.aws_overlay("secret-rotation", region=_region(sandbox), name=name, rotates=True, due=due)
    yield
    sandbox.aws_overlay("secret-rotation", **undo)


@contextmanager
def _taken(sandbox: Sandbox, metric: str, percent: float) -> Iterator[None]:
    """The API's tasks have taken that much for half an hour."""
    where, region = _where(sandbox), _region(sandbox)
    undo = sandbox.aws_overlay(
        "metric-data",
        region=region,
        namespace="AWS/ECS",
        metric=metric,
        dimensions={"ClusterName": where.cluster, "ServiceName": where.service},
        value=percent,
        for_s=1800,
    )
    try:
        yield
    finally:
        sandbox.aws_overlay("metric-data", **undo)


@fault("tasks-saturated", turns_red=["ecs-cpu-mem-headroom"])
def tasks_saturated(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks compute without a pause."""
    with _taken(sandbox, "CPUUtilization", 97.0):
        yield


@fault("tasks-full", turns_red=["ecs-cpu-mem-headroom"])
def tasks_full(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks have nearly filled their memory."""
    with _taken(sandbox, "MemoryUtilization", 93.0):
        yield


@fault("registry-tags-mutable", turns_red=["ecr-repo-settings"])
def registry_tags_mutable(sandbox: Sandbox) -> Iterator[None]:
    """A tag of the API's image can be pushed again."""
    ecr, name = sandbox.aws("ecr"), required(_api(sandbox).image)
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="MUTABLE")
    yield
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="IMMUTABLE")


@fault("rollback-image-gone", turns_red=["ecr-repo-settings"])
def rollback_image_gone(sandbox: Sandbox) -> Iterator[None]:
    """A lifecycle policy expired the image of the release that production runs."""
    api, ecr = _api(sandbox), sandbox.aws("ecr")
    tag = sandbox.site.revision(sandbox.site.production, api.repository)
    wanted = {"repositoryName": required(api.image), "imageIds": [{"imageTag": tag}]}
    image = ecr.batch_get_image(**wanted)["images"][0]
    ecr.batch_delete_image(**wanted)
    yield
    ecr.put_image(repositoryName=required(api.image), imageManifest=image["imageManifest"], imageTag=tag)


@fault("image-with-holes", turns_red=["ecr-scan"])
def image_with_holes(sandbox: Sandbox) -> Iterator[None]:
    """The scan of the API's image found critical holes."""
    counts = {"CRITICAL": 2, "HIGH": 3}
    place = {"region": _region(sandbox), "repository": required(_api(sandbox).image)}
    undo = sandbox.aws_overlay("scan-findings", **place, counts=counts)
    yield
    sandbox.aws_overlay("scan-findings", **undo)
