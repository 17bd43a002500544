"""Faults of compute: ECS services, their tasks and deployments, and the load balancer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.aws import images
from sandbox.aws.seed_watching import FARGATE_USAGE
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import api_ecs, api_ecs_service, api_service, aws_region, refusing, user_bucket
from sandbox.site import required

_KEPT = (  # fields that DescribeTaskDefinition returns and RegisterTaskDefinition accepts
    "family",
    "networkMode",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "executionRoleArn",
    "taskRoleArn",
    "containerDefinitions",
)


@fault("aws-denies-ecs", turns_red=["ecs-cluster-active", "secret-rotation-state"])
def aws_denies_ecs(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may not call ECS: results about ECS are unknown, not failed."""
    with refusing(sandbox, "ecs", "AccessDeniedException"):
        yield


@fault("aws-denies-metrics", turns_red=["ecs-cpu-mem-headroom", "alarms-exist", "dashboards-exist"])
def aws_denies_metrics(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may read neither metrics nor alarms of CloudWatch."""
    with refusing(sandbox, "cloudwatch", "AccessDenied"):
        yield


@contextmanager
def _overlaid(sandbox: Sandbox, action: str, **parameters: Any) -> Iterator[None]:
    """Set a state that the AWS API can't set."""
    undo = sandbox.aws_overlay(action, region=aws_region(sandbox), **parameters)
    try:
        yield
    finally:
        sandbox.aws_overlay(action, **undo)


@contextmanager
def _api_deployment(sandbox: Sandbox, **changes: object) -> Iterator[None]:
    """Change fields of the API's PRIMARY deployment."""
    where = required(api_service(sandbox).ecs)
    with _overlaid(sandbox, "ecs-deployment", cluster=where.cluster, service=where.service, changes=changes):
        yield


@fault("cluster-inactive", turns_red=["ecs-cluster-active"])
def cluster_inactive(sandbox: Sandbox) -> Iterator[None]:
    """The API's ECS cluster is inactive."""
    with _overlaid(sandbox, "ecs-cluster", cluster=required(api_service(sandbox).ecs).cluster, status="INACTIVE"):
        yield


@fault("service-scaled-to-zero", turns_red=["ecs-service-active"])
def service_scaled_to_zero(sandbox: Sandbox) -> Iterator[None]:
    """The desired count of the API's ECS service is 0."""
    where, ecs = required(api_service(sandbox).ecs), sandbox.aws("ecs")
    before = ecs.describe_services(cluster=where.cluster, services=[where.service])["services"][0]["desiredCount"]
    ecs.update_service(cluster=where.cluster, service=where.service, desiredCount=0)
    yield
    ecs.update_service(cluster=where.cluster, service=where.service, desiredCount=before)


@fault("task-missing", turns_red=["ecs-running-count"])
def task_missing(sandbox: Sandbox) -> Iterator[None]:
    """One of the API's tasks does not start."""
    where = required(api_service(sandbox).ecs)
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
    """The API's deployment has not finished, although the desired number of tasks runs."""
    with _api_deployment(sandbox, rolloutState="IN_PROGRESS", rolloutStateReason="ECS deployment in progress."):
        yield


@fault("old-tasks-linger", turns_red=["ecs-single-deployment"])
def old_tasks_linger(sandbox: Sandbox) -> Iterator[None]:
    """The API's deployment is complete, but the tasks of the previous one still get traffic."""
    where = required(api_service(sandbox).ecs)
    with _overlaid(sandbox, "ecs-old-deployment", cluster=where.cluster, service=where.service, there=True):
        yield


@fault("rolled-back", turns_red=["ecs-expected-image"])
def rolled_back(sandbox: Sandbox) -> Iterator[None]:
    """The API's service is stable again, on the task definition of the previous release."""
    where, ecs = required(api_service(sandbox).ecs), sandbox.aws("ecs")
    current = ecs.describe_services(cluster=where.cluster, services=[where.service])["services"][0]["taskDefinition"]
    family, _, revision = current.rpartition(":")
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=f"{family}:{int(revision) - 1}")
    yield
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=current)


@fault("balancer-failed", turns_red=["alb-active"])
def balancer_failed(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer is not active."""
    with _overlaid(sandbox, "load-balancer", name=required(sandbox.environment.load_balancer).name, state="failed"):
        yield


@fault("target-unhealthy", turns_red=["alb-targets-healthy"])
def target_unhealthy(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer's health checks of the API get an error."""
    name = _target_groups(sandbox)[api_service(sandbox).name].split("/")[1]
    why = {"reason": "Target.ResponseCodeMismatch", "description": "Health checks failed with these codes: [500]"}
    with _overlaid(sandbox, "target-health", target_group=name, state="unhealthy", **why):
        yield


@fault("https-listener-elsewhere", turns_red=["alb-https-listener"])
def https_listener_elsewhere(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer listens for HTTPS on another port than 443."""
    listener = _listener(sandbox, "HTTPS")
    change = {"ListenerArn": listener["ListenerArn"], "DefaultActions": listener["DefaultActions"]}
    sandbox.aws("elbv2").modify_listener(**change, Port=8443)
    yield
    sandbox.aws("elbv2").modify_listener(**change, Port=listener["Port"])


@fault("http-listener-answers", turns_red=["alb-http-redirect"])
def http_listener_answers(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer answers plain HTTP itself instead of redirecting to HTTPS."""
    listener = _listener(sandbox, "HTTP")
    answer = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "ContentType": "text/plain"}}
    sandbox.aws("elbv2").modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=[answer])
    yield
    sandbox.aws("elbv2").modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=listener["DefaultActions"])


@fault("hosts-swapped", turns_red=["alb-host-routing"])
def hosts_swapped(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer sends the API's host to the WebSocket server's targets."""
    api, elbv2 = api_service(sandbox), sandbox.aws("elbv2")
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
    """The ARN of each service's target group, by the service's name."""
    groups = {}
    for service in sandbox.environment.services.values():
        where = required(service.ecs)
        answer = sandbox.aws("ecs").describe_services(cluster=where.cluster, services=[where.service])
        groups[service.name] = answer["services"][0]["loadBalancers"][0]["targetGroupArn"]
    return groups


def _definition(sandbox: Sandbox) -> dict[str, Any]:
    arn = api_ecs_service(sandbox)["taskDefinition"]
    definition: dict[str, Any] = sandbox.aws("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
    return definition


@contextmanager
def _overlaid_service(sandbox: Sandbox, action: str, **parameters: Any) -> Iterator[None]:
    """Put the API's ECS service into a state that the AWS API can't set."""
    where = api_ecs(sandbox)
    place = {"region": aws_region(sandbox), "cluster": where.cluster, "service": where.service}
    undo = sandbox.aws_overlay(action, **place, **parameters)
    try:
        yield
    finally:
        sandbox.aws_overlay(action, **undo)


@contextmanager
def _updated(sandbox: Sandbox, **changes: Any) -> Iterator[None]:
    """Change settings of the API's ECS service."""
    where, ecs, before = api_ecs(sandbox), sandbox.aws("ecs"), api_ecs_service(sandbox)
    ecs.update_service(cluster=where.cluster, service=where.service, **changes)
    try:
        yield
    finally:
        ecs.update_service(cluster=where.cluster, service=where.service, **{key: before[key] for key in changes})


@contextmanager
def _redefined(sandbox: Sandbox, change: Callable[[dict[str, Any]], None], **more: Any) -> Iterator[None]:
    """Run the API on a new revision of its task definition, with a changed container, and more fields."""
    before = _definition(sandbox)
    definition = {key: before[key] for key in _KEPT} | more
    change(definition["containerDefinitions"][0])
    with _running(sandbox, definition):
        yield


@contextmanager
def _running(sandbox: Sandbox, definition: dict[str, Any]) -> Iterator[None]:
    """Run the API on this task definition."""
    ecs = sandbox.aws("ecs")
    arn = ecs.register_task_definition(**definition)["taskDefinition"]["taskDefinitionArn"]
    try:
        with _updated(sandbox, taskDefinition=arn):
            yield
    finally:
        ecs.deregister_task_definition(taskDefinition=arn)


@fault("taskdef-plain-secret", turns_red=["ecs-taskdef-contract"])
def taskdef_plain_secret(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition holds the database's password in plain text instead of a reference to the secret."""

    def spell_out(container: dict[str, Any]) -> None:
        name = container["secrets"].pop()["name"]
        container["environment"].append({"name": name, "value": "postgres://gli_app:not-the-real-one@db.internal/gli"})

    with _redefined(sandbox, spell_out):
        yield


@fault("taskdef-on-another-port", turns_red=["ecs-taskdef-contract"])
def taskdef_on_another_port(sandbox: Sandbox) -> Iterator[None]:
    """The container of the API's task definition listens on another port than the load balancer asks."""
    elsewhere = [{"containerPort": 9999, "protocol": "tcp"}]
    with _redefined(sandbox, lambda container: container.update(portMappings=elsewhere)):
        yield


@fault("taskdef-outlives-the-api", turns_red=["ecs-taskdef-contract"])
def taskdef_outlives_the_api(sandbox: Sandbox) -> Iterator[None]:
    """The API's container is not essential: when it ends, the task and its sidecar run on, and serve nobody."""
    before = _definition(sandbox)
    (api,) = before["containerDefinitions"]
    sidecar = {"name": "agent", "image": "public.ecr.aws/aws-observability/aws-otel-collector:v0.41.1", "memory": 64}
    containers = [{**api, "essential": False}, {**sidecar, "essential": True}]
    with _running(sandbox, {key: before[key] for key in _KEPT} | {"containerDefinitions": containers}):
        yield


@fault("taskdef-logs-in-another-region", turns_red=["ecs-taskdef-contract"])
def taskdef_logs_in_another_region(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition was copied from another region, and logs there."""
    region = {"awslogs-region": "us-west-2"}
    with _redefined(sandbox, lambda container: container["logConfiguration"]["options"].update(region)):
        yield


@fault("taskdef-deregistered", turns_red=["ecs-taskdef-contract"])
def taskdef_deregistered(sandbox: Sandbox) -> Iterator[None]:
    """A clean-up deregistered the revision that the API runs: no new deployment can use it."""
    with _redefined(sandbox, lambda container: None):
        sandbox.aws("ecs").deregister_task_definition(taskDefinition=api_ecs_service(sandbox)["taskDefinition"])
        yield


@fault("taskdef-unknown-secret", turns_red=["ecs-taskdef-contract", "iam-execution-role"])
def taskdef_unknown_secret(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition refers to a secret that does not exist."""
    account = _definition(sandbox)["taskDefinitionArn"].split(":")[4]
    arn = f"arn:aws:secretsmanager:{aws_region(sandbox)}:{account}:secret:stg/gli/payments-a1B2c3"
    with _redefined(sandbox, lambda container: container["secrets"][0].update(valueFrom=f"{arn}:key::")):
        yield


@fault("taskdef-logs-of-production", turns_red=["ecs-env-not-crossed", "ecs-taskdef-contract"])
def taskdef_logs_of_production(sandbox: Sandbox) -> Iterator[None]:
    """The API writes to production's log group."""
    group = {"awslogs-group": required(sandbox.site.other.logs).groups[0]}
    with _redefined(sandbox, lambda container: container["logConfiguration"]["options"].update(group)):
        yield


@fault("circuit-breaker-off", turns_red=["ecs-circuit-breaker"])
def circuit_breaker_off(sandbox: Sandbox) -> Iterator[None]:
    """The circuit breaker of the API's deployments is off."""
    off = api_ecs_service(sandbox)["deploymentConfiguration"] | {
        "deploymentCircuitBreaker": {"enable": False, "rollback": False}
    }
    with _updated(sandbox, deploymentConfiguration=off):
        yield


@fault("hook-goes-on", turns_red=["ecs-hook-safe"])
def hook_goes_on(sandbox: Sandbox) -> Iterator[None]:
    """A deployment of the API pauses for a verdict, and goes on by itself if none comes."""
    waits = {"timeoutInMinutes": 30, "action": "CONTINUE"}
    hook = {"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"], "timeoutConfiguration": waits}
    with _updated(
        sandbox,
        deploymentConfiguration={**api_ecs_service(sandbox)["deploymentConfiguration"]} | {"lifecycleHooks": [hook]},
    ):
        yield


@fault("deploys-take-tasks-away", turns_red=["ecs-circuit-breaker"], production=True)
def deploys_take_tasks_away(sandbox: Sandbox) -> Iterator[None]:
    """A deployment of the API may stop half of the tasks before the new ones serve."""
    half = api_ecs_service(sandbox)["deploymentConfiguration"] | {"minimumHealthyPercent": 50}
    with _updated(sandbox, deploymentConfiguration=half):
        yield


@fault("grace-period-too-short", turns_red=["alb-health-check-config"])
def grace_period_too_short(sandbox: Sandbox) -> Iterator[None]:
    """ECS stops a new task of the API before the load balancer can find the task healthy."""
    with _updated(sandbox, healthCheckGracePeriodSeconds=5):
        yield


@fault("health-check-too-deep", turns_red=["alb-health-check-config"])
def health_check_too_deep(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer checks the deep health path: a short database failure would replace every task."""
    arn, elbv2 = api_ecs_service(sandbox)["loadBalancers"][0]["targetGroupArn"], sandbox.aws("elbv2")
    before = elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]["HealthCheckPath"]
    elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckPath=api_service(sandbox).deep_health_path)
    yield
    elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckPath=before)


@fault("health-check-by-another-protocol", turns_red=["alb-health-check-config"])
def health_check_by_another_protocol(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer checks the API's tasks over TLS, and passes requests on without it."""
    arn, elbv2 = api_ecs_service(sandbox)["loadBalancers"][0]["targetGroupArn"], sandbox.aws("elbv2")
    before = elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]["HealthCheckProtocol"]
    elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckProtocol="HTTPS")
    yield
    elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckProtocol=before)


@fault("health-check-on-another-port", turns_red=["alb-health-check-config"])
def health_check_on_another_port(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer asks the port of a helper process, which answers while the API does not."""
    arn, elbv2 = api_ecs_service(sandbox)["loadBalancers"][0]["targetGroupArn"], sandbox.aws("elbv2")
    before = elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]["HealthCheckPort"]
    elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckPort="9000")
    yield
    elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckPort=before)


@contextmanager
def _balancer_attribute(sandbox: Sandbox, key: str, value: str) -> Iterator[None]:
    """Change one attribute of the load balancer."""
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
    """The circuit breaker rolled the API's newest deployment back, and the service is stable again."""
    reason = "Service deployment rolled back because the circuit breaker threshold was exceeded."
    with _overlaid_service(sandbox, "ecs-service-deployment", status="ROLLBACK_SUCCESSFUL", reason=reason):
        yield


@fault("tag-pushed-again", turns_red=["ecs-task-digest"])
def tag_pushed_again(sandbox: Sandbox) -> Iterator[None]:
    """One of the API's tasks started before its image's tag was pushed again."""
    with _overlaid_service(sandbox, "ecs-task-digest", digest=f"sha256:{'0' * 64}"):
        yield


@fault("task-out-of-memory", turns_red=["ecs-stopped-task-reasons"])
def task_out_of_memory(sandbox: Sandbox) -> Iterator[None]:
    """One of the API's tasks was killed because it used too much memory."""
    end = {
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "container": {"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"},
    }
    with _overlaid_service(sandbox, "ecs-task-stopped", ends=[end]):
        yield


@fault("task-without-image", turns_red=["ecs-stopped-task-reasons"])
def task_without_image(sandbox: Sandbox) -> Iterator[None]:
    """A new task of the API could not pull its image; another task stopped normally, replaced by a deployment."""
    failed = {
        "stopCode": "TaskFailedToStart",
        "stoppedReason": "CannotPullContainerError: pull image manifest has been retried 5 time(s): i/o timeout",
    }
    replaced = {"stopCode": "ServiceSchedulerInitiated", "stoppedReason": "Scaling activity initiated by deployment"}
    with _overlaid_service(sandbox, "ecs-task-stopped", ends=[failed, replaced]):
        yield


@fault("task-not-placed", turns_red=["ecs-placement-events"])
def task_not_placed(sandbox: Sandbox) -> Iterator[None]:
    """ECS finds no capacity for another task of the API, and keeps trying."""
    name = api_ecs(sandbox).service
    trouble = f"(service {name}) was unable to place a task. Reason: Capacity is unavailable at this time."
    with _overlaid_service(sandbox, "ecs-events", messages=[f"(service {name}) has started 1 tasks.", trouble]):
        yield


@fault("container-check-fails", turns_red=["ecs-task-health"])
def container_check_fails(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks fail the health check of their container, and ECS replaces them, again and again."""
    end = {
        "stopCode": "ServiceSchedulerInitiated",
        "stoppedReason": "Task failed container health checks",
        "container": {"exitCode": 0},
    }
    said = f"(service {api_ecs(sandbox).service}) (task 0) failed container health checks."
    with (
        _overlaid_service(sandbox, "ecs-task-fields", changes=[{"healthStatus": "UNHEALTHY"}]),
        _overlaid_service(sandbox, "ecs-task-stopped", ends=[end, {**end, "container": {"exitCode": 0}}]),
        _overlaid_service(sandbox, "ecs-events", messages=[said]),
    ):
        yield


@fault("tasks-without-a-way-in", turns_red=["ecs-exec-ready"])
def tasks_without_a_way_in(sandbox: Sandbox) -> Iterator[None]:
    """Somebody switched ECS Exec on, and neither gave the task role its rights nor started new tasks."""
    with _overlaid_service(sandbox, "ecs-service", changes={"enable_execute_command": True}):
        yield


@fault("task-unhealthy", turns_red=["ecs-task-health"])
def task_unhealthy(sandbox: Sandbox) -> Iterator[None]:
    """One of the API's tasks fails its own health check."""
    with _overlaid_service(sandbox, "ecs-task-fields", changes=[{"healthStatus": "UNHEALTHY"}]):
        yield


@fault("tasks-in-one-zone", turns_red=["ecs-az-spread"])
def tasks_in_one_zone(sandbox: Sandbox) -> Iterator[None]:
    """All of the API's tasks run in one zone."""
    with _overlaid_service(sandbox, "ecs-task-fields", changes=[{"availabilityZone": f"{aws_region(sandbox)}a"}] * 2):
        yield


@contextmanager
def _taken(sandbox: Sandbox, metric: str, percent: float) -> Iterator[None]:
    """Give the API's tasks this utilisation for half an hour."""
    where, region = api_ecs(sandbox), aws_region(sandbox)
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
    """The CPU of the API's tasks is saturated."""
    with _taken(sandbox, "CPUUtilization", 97.0):
        yield


@fault("tasks-full", turns_red=["ecs-cpu-mem-headroom"])
def tasks_full(sandbox: Sandbox) -> Iterator[None]:
    """The memory of the API's tasks is nearly full."""
    with _taken(sandbox, "MemoryUtilization", 93.0):
        yield


@contextmanager
def _first_rule(sandbox: Sandbox, conditions: list[dict[str, Any]], *actions: dict[str, Any]) -> Iterator[None]:
    """Add a rule for the API's host before all other rules."""
    elbv2 = sandbox.aws("elbv2")
    host = {"Field": "host-header", "HostHeaderConfig": {"Values": [api_service(sandbox).host]}}
    made = elbv2.create_rule(
        ListenerArn=_listener(sandbox, "HTTPS")["ListenerArn"],
        Priority=1,
        Conditions=[host, *conditions],
        Actions=list(actions),
    )["Rules"][0]["RuleArn"]
    try:
        yield
    finally:
        elbv2.delete_rule(RuleArn=made)


@fault("maintenance-rule-left", turns_red=["alb-rules-reach-service"])
def maintenance_rule_left(sandbox: Sandbox) -> Iterator[None]:
    """A rule of the last maintenance still answers every write to the API with 503; reads go through."""
    writes = {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["POST", "PUT", "PATCH", "DELETE"]}}
    page = {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": "maintenance"}
    with _first_rule(sandbox, [writes], {"Type": "fixed-response", "FixedResponseConfig": page}):
        yield


@fault("browsers-turned-away", turns_red=["alb-host-routing", "alb-rules-reach-service"])
def browsers_turned_away(sandbox: Sandbox) -> Iterator[None]:
    """A rule against robots matches every browser, whatever its address."""
    browser = {"HttpHeaderName": "User-Agent", "Values": ["*Mozilla*"]}
    everybody = {"Field": "source-ip", "SourceIpConfig": {"Values": ["0.0.0.0/1", "128.0.0.0/1"]}}
    page = {"StatusCode": "403", "ContentType": "text/plain", "MessageBody": "no robots"}
    conditions = [{"Field": "http-header", "HttpHeaderConfig": browser}, everybody]
    with _first_rule(sandbox, conditions, {"Type": "fixed-response", "FixedResponseConfig": page}):
        yield


@fault("path-redirected", turns_red=["alb-rules-reach-service"])
def path_redirected(sandbox: Sandbox) -> Iterator[None]:
    """A rule redirects one path of the API's contract to another host."""
    path = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/api/v1/status*"]}}
    away = {"Protocol": "HTTPS", "Host": "status.example.com", "StatusCode": "HTTP_301"}
    with _first_rule(sandbox, [path], {"Type": "redirect", "RedirectConfig": away}):
        yield


@fault("stranger-among-targets", turns_red=["alb-targets-are-ours"])
def stranger_among_targets(sandbox: Sandbox) -> Iterator[None]:
    """An address that ECS gave to somebody else is still registered in the WebSocket server's target group."""
    elbv2 = sandbox.aws("elbv2")
    group = next(arn for name, arn in _target_groups(sandbox).items() if name != api_service(sandbox).name)
    strangers = [{"Id": "10.0.10.199", "Port": 8080}]
    elbv2.register_targets(TargetGroupArn=group, Targets=strangers)
    yield
    elbv2.deregister_targets(TargetGroupArn=group, Targets=strangers)


@fault("weight-without-targets", turns_red=["alb-weights-serve"])
def weight_without_targets(sandbox: Sandbox) -> Iterator[None]:
    """The API's rule gives a tenth of the requests to a second target group of the service, which has no targets."""
    api, elbv2 = api_service(sandbox), sandbox.aws("elbv2")
    own = _target_groups(sandbox)[api.name]
    like = elbv2.describe_target_groups(TargetGroupArns=[own])["TargetGroups"][0]
    kept = ("Protocol", "Port", "VpcId", "TargetType", "HealthCheckPath", "HealthCheckIntervalSeconds", "Matcher")
    same = {key: like[key] for key in kept}
    made = elbv2.create_target_group(Name="stg-gli-api-canary", HealthyThresholdCount=2, **same)["TargetGroups"][0]
    empty = made["TargetGroupArn"]
    rules = elbv2.describe_rules(ListenerArn=_listener(sandbox, "HTTPS")["ListenerArn"])["Rules"]
    rule = next(r for r in rules if any(api.host in c["HostHeaderConfig"]["Values"] for c in r["Conditions"]))
    shares = [{"TargetGroupArn": own, "Weight": 90}, {"TargetGroupArn": empty, "Weight": 10}]
    elbv2.modify_rule(RuleArn=rule["RuleArn"], Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": shares}}])
    registered = api_ecs_service(sandbox)["loadBalancers"]
    both = [*registered, {**registered[0], "targetGroupArn": empty}]
    with _overlaid_service(sandbox, "ecs-service", changes={"load_balancers": both}):
        yield
    elbv2.modify_rule(RuleArn=rule["RuleArn"], Actions=rule["Actions"])
    elbv2.delete_target_group(TargetGroupArn=empty)


@fault("tasks-fail-health-checks", turns_red=["ecs-stopped-task-reasons", "ecs-crash-loop"])
def tasks_fail_health_checks(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer finds the API's tasks unhealthy, and ECS replaces them, again and again."""
    group = _target_groups(sandbox)[api_service(sandbox).name]
    end = {
        "stopCode": "ServiceSchedulerInitiated",
        "stoppedReason": f"Task failed ELB health checks in (target-group {group})",
        "container": {"exitCode": 0},
    }
    with _overlaid_service(sandbox, "ecs-task-stopped", ends=[end, {**end, "container": {"exitCode": 0}}]):
        yield


@fault("taskdef-secret-of-production", turns_red=["ecs-env-not-crossed"])
def taskdef_secret_of_production(sandbox: Sandbox) -> Iterator[None]:
    """The API of staging gets production's database login, and its execution role may read any secret."""
    arn = sandbox.aws("secretsmanager").describe_secret(SecretId=required(sandbox.site.other.database).secret)["ARN"]
    iam, role = sandbox.aws("iam"), _definition(sandbox)["executionRoleArn"].rpartition("/")[2]
    every = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [every]})
    iam.put_role_policy(RoleName=role, PolicyName="every-secret", PolicyDocument=document)

    def swap(container: dict[str, Any]) -> None:
        next(s for s in container["secrets"] if s["name"] == "DATABASE")["valueFrom"] = arn

    with _redefined(sandbox, swap):
        yield
    iam.delete_role_policy(RoleName=role, PolicyName="every-secret")


@fault("taskdef-calls-production", turns_red=["ecs-env-not-crossed"])
def taskdef_calls_production(sandbox: Sandbox) -> Iterator[None]:
    """A plain variable of staging's API names production's API."""
    url = f"https://{sandbox.site.other.services['api'].host}/api/v1/hook/"
    with _redefined(sandbox, lambda container: container["environment"][0].update(value=url)):
        yield


@fault("taskdef-command-of-production", turns_red=["ecs-env-not-crossed"])
def taskdef_command_of_production(sandbox: Sandbox) -> Iterator[None]:
    """The command of staging's API names production's database, in capitals."""
    name = required(sandbox.site.other.database).instance.upper()
    command = ["gunicorn", "--env", f"DATABASE_HOST={name}.abc123.rds.amazonaws.com", "gli.wsgi"]
    with _redefined(sandbox, lambda container: container.update(command=command)):
        yield


@fault("taskdef-waits-for-ever", turns_red=["ecs-next-task-can-start"])
def taskdef_waits_for_ever(sandbox: Sandbox) -> Iterator[None]:
    """The API's container waits for a sidecar to be healthy, and the sidecar has no health check."""

    before = _definition(sandbox)
    sidecar = {"name": "xray", "image": "public.ecr.aws/xray/aws-xray-daemon:3.x", "essential": False}
    own, *others = before["containerDefinitions"]
    waiting = {**own, "dependsOn": [{"containerName": "xray", "condition": "HEALTHY"}]}
    containers = [waiting, *others, {**sidecar, "environment": []}]
    with _running(sandbox, {key: before[key] for key in _KEPT} | {"containerDefinitions": containers}):
        yield


@fault("deployment-alarm-gone", turns_red=["ecs-deploy-has-room"])
def deployment_alarm_gone(sandbox: Sandbox) -> Iterator[None]:
    """An alarm that rolls deployments of the API back was deleted: ECS can't ask for its state."""
    ecs, where, before = sandbox.aws("ecs"), api_ecs(sandbox), api_ecs_service(sandbox)["deploymentConfiguration"]
    watched = {"alarmNames": ["errors-of-last-year"], "enable": True, "rollback": True}
    place = {"cluster": where.cluster, "service": where.service}
    ecs.update_service(**place, deploymentConfiguration={**before, "alarms": watched})
    yield
    ecs.update_service(**place, deploymentConfiguration=before)


@fault("platform-version-retired", turns_red=["ecs-next-task-can-start"])
def platform_version_retired(sandbox: Sandbox) -> Iterator[None]:
    """The API is pinned to a platform version of Fargate that AWS has retired: its tasks run on until they end."""
    with _overlaid_service(sandbox, "ecs-service", changes={"platform_version": "1.3.0"}):
        yield


@fault("task-role-not-trusting", turns_red=["ecs-next-task-can-start"])
def task_role_not_trusting(sandbox: Sandbox) -> Iterator[None]:
    """The role of the tasks trusts EC2, and no longer ECS: no new task starts."""
    iam, name = sandbox.aws("iam"), _definition(sandbox)["taskRoleArn"].rpartition("/")[2]
    before = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    after = json.dumps(before).replace("ecs-tasks.", "ec2.")
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=after)
    yield
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before))


@fault("secret-key-missing", turns_red=["ecs-next-task-can-start"])
def secret_key_missing(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition asks for a JSON key that the secret does not have; running tasks do not notice."""

    def ask(container: dict[str, Any]) -> None:
        reference = next(s for s in container["secrets"] if s["name"] == "API")
        reference["valueFrom"] += ":signing_key::"

    with _redefined(sandbox, ask):
        yield


@fault("deploy-without-room", turns_red=["ecs-deploy-has-room"])
def deploy_without_room(sandbox: Sandbox) -> Iterator[None]:
    """A deploy of the API may neither start a third task nor stop one of the two: it waits for ever."""
    breaker = {"enable": True, "rollback": True}
    full = {"deploymentCircuitBreaker": breaker, "minimumHealthyPercent": 100, "maximumPercent": 100}
    with _updated(sandbox, deploymentConfiguration=full):
        yield


@fault("taskdef-for-another-cpu", turns_red=["ecs-image-platform"])
def taskdef_for_another_cpu(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition asks for ARM processors, and its image is built for x86."""
    arm = {"runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}}
    with _redefined(sandbox, lambda container: None, **arm):
        yield


@fault("platform-image-expired", turns_red=["ecs-image-platform"])
def platform_image_expired(sandbox: Sandbox) -> Iterator[None]:
    """A lifecycle policy deleted the image for the tasks' CPU; the index that names it is still there."""
    with images.as_an_index(sandbox, api_service(sandbox)) as platforms:
        mine = [{"imageDigest": p["digest"]} for p in platforms if p["platform"]["architecture"] == "amd64"]
        sandbox.aws("ecr").batch_delete_image(repositoryName=required(api_service(sandbox).image), imageIds=mine)
        yield


@fault("deregistration-at-once", turns_red=["alb-draining"])
def deregistration_at_once(sandbox: Sandbox) -> Iterator[None]:
    """The API's target group forgets a task at once when a deploy replaces it: requests under way end in 502."""
    elbv2, key = sandbox.aws("elbv2"), "deregistration_delay.timeout_seconds"
    group = _target_groups(sandbox)[api_service(sandbox).name]
    elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": key, "Value": "0"}])
    yield
    elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": key, "Value": "300"}])


@fault("tasks-killed-in-deploys", turns_red=["ecs-graceful-stop"])
def tasks_killed_in_deploys(sandbox: Sandbox) -> Iterator[None]:
    """The API ignores SIGTERM: ECS had to kill a task that a deploy replaced."""
    end = {
        "stopCode": "ServiceSchedulerInitiated",
        "stoppedReason": "Scaling activity initiated by deployment",
        "container": {"exitCode": 137},
    }
    with _overlaid_service(sandbox, "ecs-task-stopped", ends=[end]):
        yield


@fault("taskdef-password-by-another-name", turns_red=["ecs-taskdef-contract"])
def taskdef_password_by_another_name(sandbox: Sandbox) -> Iterator[None]:
    """A webhook that anybody may post to stands in plain text, in a variable whose name hides it."""
    hook = "https://hooks.slack.com/services/T0000/B0000/XXXXXXXXXXXX"
    with _redefined(sandbox, lambda container: container["environment"][0].update(value=hook)):
        yield


@contextmanager
def _with_sidecar(sandbox: Sandbox, *, essential: bool) -> Iterator[None]:
    """Run the API with a sidecar whose image the registry does not have."""
    before = _definition(sandbox)
    registry = before["containerDefinitions"][0]["image"].partition("/")[0]
    sidecar = {"name": "router", "image": f"{registry}/gli-router:stable", "essential": essential}
    containers = [*before["containerDefinitions"], sidecar]
    with _running(sandbox, {key: before[key] for key in _KEPT} | {"containerDefinitions": containers}):
        yield


@fault("sidecar-image-gone", turns_red=["ecs-next-task-can-start"])
def sidecar_image_gone(sandbox: Sandbox) -> Iterator[None]:
    """The image of the log router, without which no task runs, is gone from the registry."""
    with _with_sidecar(sandbox, essential=True):
        yield


@fault("spare-sidecar-image-gone", turns_red=["ecs-sidecar-images"])
def spare_sidecar_image_gone(sandbox: Sandbox) -> Iterator[None]:
    """The image of a sidecar that a task can live without is gone from the registry."""
    with _with_sidecar(sandbox, essential=False):
        yield


@fault("taskdef-version-without-value", turns_red=["ecs-taskdef-contract", "ecs-next-task-can-start"])
def taskdef_version_without_value(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition asks for the version AWSPENDING of a secret, and no rotation is under way."""

    def ask(container: dict[str, Any]) -> None:
        next(s for s in container["secrets"] if s["name"] == "API")["valueFrom"] += "::AWSPENDING:"

    with _redefined(sandbox, ask):
        yield


@fault("balancer-hides-users", turns_red=["alb-forwards-clients"])
def balancer_hides_users(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer takes X-Forwarded-For out of each request: all users have the balancer's address."""
    elbv2, key = sandbox.aws("elbv2"), "routing.http.xff_header_processing.mode"
    names = [required(sandbox.environment.load_balancer).name]
    arn = elbv2.describe_load_balancers(Names=names)["LoadBalancers"][0]["LoadBalancerArn"]
    elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": "remove"}])
    yield
    elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": "append"}])


@fault("sick-tasks-get-requests", turns_red=["alb-spares-sick-tasks"])
def sick_tasks_get_requests(sandbox: Sandbox) -> Iterator[None]:
    """The API's target group demands more healthy tasks than there are, and so sends requests to sick ones too."""
    elbv2, group = sandbox.aws("elbv2"), _target_groups(sandbox)[api_service(sandbox).name]
    key = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count"
    elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": key, "Value": "10"}])
    yield
    elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": key, "Value": "1"}])


@fault("repository-denies-the-pull", turns_red=["ecs-next-task-can-start"])
def repository_denies_the_pull(sandbox: Sandbox) -> Iterator[None]:
    """The policy of the API's repository denies its execution role to pull: running tasks have their image already."""
    ecr, name = sandbox.aws("ecr"), required(api_service(sandbox).image)
    who = {"AWS": _definition(sandbox)["executionRoleArn"]}
    statement = {"Effect": "Deny", "Principal": who, "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    ecr.set_repository_policy(repositoryName=name, policyText=policy)
    yield
    ecr.delete_repository_policy(repositoryName=name)


@fault("taskdef-names-a-lost-file", turns_red=["ecs-next-task-can-start"])
def taskdef_names_a_lost_file(sandbox: Sandbox) -> Iterator[None]:
    """The API reads an environment file that is no longer in S3; its execution role may read it."""
    bucket = f"arn:aws:s3:::{user_bucket(sandbox)}"
    role = _definition(sandbox)["executionRoleArn"].rpartition("/")[2]
    rights = [("s3:GetObject", f"{bucket}/api.env"), ("s3:GetBucketLocation", bucket)]
    statements = [{"Effect": "Allow", "Action": action, "Resource": on} for action, on in rights]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    sandbox.aws("iam").put_role_policy(RoleName=role, PolicyName="environment", PolicyDocument=policy)
    file = {"value": f"{bucket}/api.env", "type": "s3"}
    with _redefined(sandbox, lambda container: container.update(environmentFiles=[file])):
        yield
    sandbox.aws("iam").delete_role_policy(RoleName=role, PolicyName="environment")


@fault("quota-of-fargate-used-up", turns_red=["ecs-quota-headroom"])
def quota_of_fargate_used_up(sandbox: Sandbox) -> Iterator[None]:
    """Other tasks of the account use nearly all vCPUs of its quota for Fargate: a deploy can't start a single task."""
    usage = {"namespace": "AWS/Usage", "metric": "ResourceCount", "dimensions": FARGATE_USAGE, "value": 99.8}
    with _overlaid(sandbox, "metric-data", **usage):
        yield


@fault("taskdef-check-that-always-fails", turns_red=["ecs-next-task-can-start"])
def taskdef_check_that_always_fails(sandbox: Sandbox) -> Iterator[None]:
    """The health check of the API's container was put to `exit 1` for a trial: ECS would end each new task."""
    check = {"command": ["CMD-SHELL", "exit 1"], "interval": 5, "retries": 2}
    with _redefined(sandbox, lambda container: container.update(healthCheck=check)):
        yield


@fault("taskdef-with-few-files", turns_red=["ecs-next-task-can-start"])
def taskdef_with_few_files(sandbox: Sandbox) -> Iterator[None]:
    """The API's container may open 64 files: a new task takes no more connections after a few."""
    few = [{"name": "nofile", "softLimit": 64, "hardLimit": 64}]
    with _redefined(sandbox, lambda container: container.update(ulimits=few)):
        yield


@fault("taskdef-debug-mode", turns_red=["ecs-taskdef-contract", "parity-config"])
def taskdef_debug_mode(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition switches Django's debug mode on: an error shows settings to strangers."""
    on = {"name": "DJANGO_DEBUG", "value": "True"}
    with _redefined(sandbox, lambda container: container["environment"].append(on)):
        yield


@fault("health-check-too-patient", turns_red=["alb-health-check-config"])
def health_check_too_patient(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer sends requests to a task for ten minutes after the task began to fail."""
    arn, elbv2 = api_ecs_service(sandbox)["loadBalancers"][0]["targetGroupArn"], sandbox.aws("elbv2")
    group = elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]
    kept = {key: group[key] for key in ("HealthCheckIntervalSeconds", "UnhealthyThresholdCount")}
    elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckIntervalSeconds=60, UnhealthyThresholdCount=10)
    with _updated(sandbox, healthCheckGracePeriodSeconds=600):
        yield
    elbv2.modify_target_group(TargetGroupArn=arn, **kept)


@fault("taskdef-of-a-developers-machine", turns_red=["ecs-taskdef-contract", "parity-config"])
def taskdef_of_a_developers_machine(sandbox: Sandbox) -> Iterator[None]:
    """A variable of the API still holds the cache's address on a developer's machine."""
    there = {"name": "CELERY_BROKER_URL", "value": "redis://localhost:6379/1"}
    with _redefined(sandbox, lambda container: container["environment"].append(there)):
        yield


@fault("taskdef-of-another-region", turns_red=["ecs-taskdef-contract", "parity-config"])
def taskdef_of_another_region(sandbox: Sandbox) -> Iterator[None]:
    """A variable of the API sends AWS's libraries to another region, where none of its resources is."""
    elsewhere = {"name": "AWS_DEFAULT_REGION", "value": "us-west-2"}
    with _redefined(sandbox, lambda container: container["environment"].append(elsewhere)):
        yield


@fault("taskdef-left-asleep", turns_red=["ecs-next-task-can-start"])
def taskdef_left_asleep(sandbox: Sandbox) -> Iterator[None]:
    """After a debugging session the API's task definition still runs `sleep infinity` in place of the server."""
    with _redefined(sandbox, lambda container: container.update(command=["sleep", "infinity"])):
        yield


@fault("role-for-another-account", turns_red=["ecs-next-task-can-start"])
def role_for_another_account(sandbox: Sandbox) -> Iterator[None]:
    """The trust policy of the API's task role was copied from another account, and names tasks of that one alone."""
    iam, name = sandbox.aws("iam"), _definition(sandbox)["taskRoleArn"].rpartition("/")[2]
    before = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    statement = statements[0] if isinstance(statements := before["Statement"], list) else statements
    of_another = {"ArnLike": {"aws:SourceArn": "arn:aws:ecs:*:999999999999:*"}}
    after = {**before, "Statement": [{**statement, "Condition": of_another}]}
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(after))
    yield
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before))


@fault("service-of-another-port", turns_red=["ecs-next-task-can-start"])
def service_of_another_port(sandbox: Sandbox) -> Iterator[None]:
    """The service registers a port that its container no longer has: the next task fails at the load balancer."""
    ecs, where = sandbox.aws("ecs"), api_ecs(sandbox)
    before = api_ecs_service(sandbox)["loadBalancers"]
    ecs.update_service(
        cluster=where.cluster, service=where.service, loadBalancers=[lb | {"containerPort": 9000} for lb in before]
    )
    yield
    ecs.update_service(cluster=where.cluster, service=where.service, loadBalancers=before)
