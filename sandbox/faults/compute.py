"""Faults of what runs the code: ECS, ECR, and the load balancer in front."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gli.config.environments import Service
from sandbox.faults import Sandbox, fault
from sandbox.site import required


def _api(sandbox: Sandbox) -> Service:
    return sandbox.environment.services["api"]


def _region(sandbox: Sandbox) -> str:
    return required(sandbox.environment.aws).region


@contextmanager
def _overlaid(sandbox: Sandbox, action: str, **parameters: Any) -> Iterator[None]:
    """AWS in a state that its API can't be asked for."""
    undo = sandbox.aws_overlay(action, region=_region(sandbox), **parameters)
    try:
        yield
    finally:
        sandbox.aws_overlay(action, **undo)


@contextmanager
def _api_deployment(sandbox: Sandbox, **changes: object) -> Iterator[None]:
    """The API's PRIMARY deployment with these fields."""
    where = required(_api(sandbox).ecs)
    with _overlaid(sandbox, "ecs-deployment", cluster=where.cluster, service=where.service, changes=changes):
        yield


@fault("cluster-inactive", turns_red=["ecs-cluster-active"])
def cluster_inactive(sandbox: Sandbox) -> Iterator[None]:
    """The API's ECS cluster is inactive."""
    with _overlaid(sandbox, "ecs-cluster", cluster=required(_api(sandbox).ecs).cluster, status="INACTIVE"):
        yield


@fault("service-scaled-to-zero", turns_red=["ecs-service-active"])
def service_scaled_to_zero(sandbox: Sandbox) -> Iterator[None]:
    """The API's ECS service wants no task."""
    where, ecs = required(_api(sandbox).ecs), sandbox.aws("ecs")
    before = ecs.describe_services(cluster=where.cluster, services=[where.service])["services"][0]["desiredCount"]
    ecs.update_service(cluster=where.cluster, service=where.service, desiredCount=0)
    yield
    ecs.update_service(cluster=where.cluster, service=where.service, desiredCount=before)


@fault("task-missing", turns_red=["ecs-running-count"])
def task_missing(sandbox: Sandbox) -> Iterator[None]:
    """One of the API's tasks does not come up."""
    where = required(_api(sandbox).ecs)
    with _overlaid(sandbox, "ecs-counts", cluster=where.cluster, service=where.service, running=1, pending=1):
        yield


@fault("rollout-failed", turns_red=["ecs-rollout-completed"])
def rollout_failed(sandbox: Sandbox) -> Iterator[None]:
    """The circuit breaker stopped the API's deployment."""
    reason = "ECS deployment circuit breaker: tasks failed to start."
    with _api_deployment(sandbox, rolloutState="FAILED", rolloutStateReason=reason):
        yield


@fault("rollout-in-progress", turns_red=["ecs-rollout-completed"])
def rollout_in_progress(sandbox: Sandbox) -> Iterator[None]:
    """The API's deployment has not finished, though as many tasks run as are wanted."""
    with _api_deployment(sandbox, rolloutState="IN_PROGRESS", rolloutStateReason="ECS deployment in progress."):
        yield


@fault("old-tasks-linger", turns_red=["ecs-single-deployment"])
def old_tasks_linger(sandbox: Sandbox) -> Iterator[None]:
    """The API's deployment is complete, and the one before it still carries traffic."""
    where = required(_api(sandbox).ecs)
    with _overlaid(sandbox, "ecs-old-deployment", cluster=where.cluster, service=where.service, there=True):
        yield


@fault("rolled-back", turns_red=["ecs-expected-image"])
def rolled_back(sandbox: Sandbox) -> Iterator[None]:
    """The API's service is stable again, on the task definition of the release before."""
    where, ecs = required(_api(sandbox).ecs), sandbox.aws("ecs")
    current = ecs.describe_services(cluster=where.cluster, services=[where.service])["services"][0]["taskDefinition"]
    family, _, revision = current.rpartition(":")
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=f"{family}:{int(revision) - 1}")
    yield
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=current)


@fault("image-missing", turns_red=["ecr-image-exists"])
def image_missing(sandbox: Sandbox) -> Iterator[None]:
    """The registry lost the image that the API should run."""
    api, ecr = _api(sandbox), sandbox.aws("ecr")
    tag = sandbox.site.revision(sandbox.environment, api.repository)
    wanted = {"repositoryName": required(api.image), "imageIds": [{"imageTag": tag}]}
    image = ecr.batch_get_image(**wanted)["images"][0]
    ecr.batch_delete_image(**wanted)
    yield
    ecr.put_image(repositoryName=required(api.image), imageManifest=image["imageManifest"], imageTag=tag)


@fault("balancer-failed", turns_red=["alb-active"])
def balancer_failed(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer is not active."""
    with _overlaid(sandbox, "load-balancer", name=required(sandbox.environment.load_balancer).name, state="failed"):
        yield


@fault("target-unhealthy", turns_red=["alb-targets-healthy"])
def target_unhealthy(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer's health checks of the API get an error."""
    name = _target_groups(sandbox)[_api(sandbox).name].split("/")[1]
    why = {"reason": "Target.ResponseCodeMismatch", "description": "Health checks failed with these codes: [500]"}
    with _overlaid(sandbox, "target-health", target_group=name, state="unhealthy", **why):
        yield


@fault("https-listener-elsewhere", turns_red=["alb-https-listener"])
def https_listener_elsewhere(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer takes HTTPS on another port than 443."""
    listener = _listener(sandbox, "HTTPS")
    change = {"ListenerArn": listener["ListenerArn"], "DefaultActions": listener["DefaultActions"]}
    sandbox.aws("elbv2").modify_listener(**change, Port=8443)
    yield
    sandbox.aws("elbv2").modify_listener(**change, Port=listener["Port"])


@fault("http-listener-answers", turns_red=["alb-http-redirect"])
def http_listener_answers(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer answers plain HTTP itself, and redirects nobody."""
    listener = _listener(sandbox, "HTTP")
    answer = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "ContentType": "text/plain"}}
    sandbox.aws("elbv2").modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=[answer])
    yield
    sandbox.aws("elbv2").modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=listener["DefaultActions"])


@fault("hosts-swapped", turns_red=["alb-host-routing"])
def hosts_swapped(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer sends the API's host to the WebSocket server's targets."""
    api, elbv2 = _api(sandbox), sandbox.aws("elbv2")
    rules = elbv2.describe_rules(ListenerArn=_listener(sandbox, "HTTPS")["ListenerArn"])["Rules"]
    rule = next(r for r in rules if any(api.host in c["HostHeaderConfig"]["Values"] for c in r["Conditions"]))
    other = next(arn for name, arn in _target_groups(sandbox).items() if name != api.name)
    elbv2.modify_rule(RuleArn=rule["RuleArn"], Actions=[{"Type": "forward", "TargetGroupArn": other}])
    yield
    elbv2.modify_rule(RuleArn=rule["RuleArn"], Actions=rule["Actions"])


def _listener(sandbox: Sandbox, protocol: str) -> dict[str, Any]:
    elbv2 = sandbox.aws("elbv2")
    name = required(sandbox.environment.load_balancer).name
    arn = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    listeners: list[dict[str, Any]] = elbv2.describe_listeners(LoadBalancerArn=arn)["Listeners"]
    return next(listener for listener in listeners if listener["Protocol"] == protocol)


def _target_groups(sandbox: Sandbox) -> dict[str, str]:
    """The target group that each service registers in, by the service's name."""
    groups = {}
    for service in sandbox.environment.services.values():
        where = required(service.ecs)
        answer = sandbox.aws("ecs").describe_services(cluster=where.cluster, services=[where.service])
        groups[service.name] = answer["services"][0]["loadBalancers"][0]["targetGroupArn"]
    return groups
