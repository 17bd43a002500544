"""ECS, load balancers and ECR with answers of real accounts: healthy states pass, unknown states are unknown."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aws_answers import ACCOUNT, REGION, Answer, answering, observed, staging

from conftest import ROOT
from gli.config import catalogue
from gli.config.environments import Environment
from gli.config.services import LoadBalancer, Service
from gli.judge.triage import related
from gli.observe.aws.balancer_routes import reached_rules
from gli.observe.aws.codedeploy import deployment_group
from gli.observe.aws.ec2_security_groups import SecurityGroups
from gli.observe.aws.ecr import (
    RegistryImage,
    image_scan,
    pulled_image,
    registry_image,
    registry_repositories,
    running_image,
)
from gli.observe.aws.ecs_services import EcsService, ecs_service, ecs_services
from gli.observe.aws.ecs_tasks import ServiceTasks, service_deployment, service_tasks
from gli.observe.aws.load_balancer import balancer, health_checks, routes, target_health
from gli.observe.aws.plain_secrets import is_secret
from gli.observe.aws.task_definitions import dangling_references, task_definition
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Observatory
from tests_infra import test_compute as compute
from tests_infra import test_network as network
from tests_infra import test_registry as registry
from tests_infra import test_tasks as tasks

NOW = datetime.now(UTC)
CLUSTER = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/gli-api-cluster"
SERVICE = f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/gli-api-cluster/stg-gli-api"
DEFINITION = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/stg-gli-api:7"
GROUP = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup"
BLUE, GREEN = f"{GROUP}/api-blue/1111111111111111", f"{GROUP}/api-green/2222222222222222"
RULE = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:listener-rule/app/stg-gli-alb/1/2/3"


def api(environment: Environment) -> Service:
    return environment.services["api"]


def only_the_api() -> Environment:
    environment = staging()
    return environment.model_copy(update={"services": {"api": environment.services["api"]}})


def described(**changes: Any) -> dict[str, Any]:
    """A healthy service as DescribeServices shows it."""
    deployment = {
        "id": "ecs-svc/4980306466373577095",
        "status": "PRIMARY",
        "taskDefinition": DEFINITION,
        "desiredCount": 2,
        "pendingCount": 0,
        "runningCount": 2,
        "createdAt": NOW - timedelta(hours=1),
        "rolloutState": "COMPLETED",
        "rolloutStateReason": "ECS deployment ecs-svc/4980306466373577095 completed.",
    }
    return {
        "serviceArn": SERVICE,
        "serviceName": "stg-gli-api",
        "clusterArn": CLUSTER,
        "status": "ACTIVE",
        "desiredCount": 2,
        "runningCount": 2,
        "pendingCount": 0,
        "taskDefinition": DEFINITION,
        "deploymentController": {"type": "ECS"},
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            "minimumHealthyPercent": 100,
        },
        "deployments": [deployment],
        "loadBalancers": [{"targetGroupArn": BLUE, "containerName": "api", "containerPort": 8000}],
        "healthCheckGracePeriodSeconds": 60,
        **changes,
    }


def services(*shown: dict[str, Any]) -> dict[tuple[str, str], Answer]:
    return {("ecs", "DescribeServices"): {"services": list(shown), "failures": []}}


def seen(answers: dict[tuple[str, str], Answer]) -> EcsService:
    environment = only_the_api()
    with answering(answers):
        found: EcsService = observed(environment, ecs_service, api(environment))
    return found


# Deployments


def paired(strategy: str = "BLUE_GREEN") -> dict[str, Any]:
    balancer = {
        "targetGroupArn": BLUE,
        "containerName": "api",
        "containerPort": 8000,
        "advancedConfiguration": {"alternateTargetGroupArn": GREEN, "productionListenerRule": RULE},
    }
    return described(
        loadBalancers=[balancer],
        deploymentConfiguration={"strategy": strategy, "deploymentCircuitBreaker": {"enable": True, "rollback": True}},
        currentServiceRevisions=[{"arn": f"{SERVICE}/1", "requestedTaskCount": 2, "runningTaskCount": 2}],
    )


def revision(group: str) -> dict[tuple[str, str], Answer]:
    resolved = {"loadBalancers": [{"targetGroupArn": group, "productionListenerRule": RULE}]}
    shown = [{"serviceRevisionArn": f"{SERVICE}/1", "resolvedConfiguration": resolved}]
    return {("ecs", "DescribeServiceRevisions"): {"serviceRevisions": shown, "failures": []}}


@pytest.mark.parametrize("strategy", ["BLUE_GREEN", "LINEAR", "CANARY"])
def test_the_serving_group_is_that_of_the_current_revision(strategy: str) -> None:
    found = seen(services(paired(strategy)) | revision(GREEN))
    assert found.serving_groups == (GREEN,)
    assert found.every_group == (BLUE, GREEN)


def test_a_pair_without_a_known_serving_group_is_unknown() -> None:
    missing: Answer = {"serviceRevisions": [], "failures": [{"arn": f"{SERVICE}/1", "reason": "MISSING"}]}
    found = seen(services(paired()) | {("ecs", "DescribeServiceRevisions"): missing})
    with pytest.raises(Unobserved, match="which target group serves"):
        _ = found.serving_groups


def task_set(status: str, age_h: float, group: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"ecs-svc/{status}",
        "externalId": "d-ABCDEF123",
        "status": status,
        "taskDefinition": DEFINITION,
        "computedDesiredCount": 2,
        "pendingCount": 0,
        "runningCount": 2,
        "createdAt": NOW - timedelta(hours=age_h),
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}},
        "loadBalancers": [{"targetGroupArn": group, "containerName": "api", "containerPort": 8000}],
        "stabilityStatus": "STEADY_STATE",
        **changes,
    }


def controlled(controller: str, *sets: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return described(
        deploymentController={"type": controller}, deployments=[], taskSets=list(sets), runningCount=4, **changes
    )


def judged(service: EcsService) -> None:
    compute.test_ecs_rollout_completed(service)
    compute.test_ecs_running_count(service)
    compute.test_ecs_single_deployment(service)


@pytest.mark.parametrize("controller", ["CODE_DEPLOY", "EXTERNAL"])
def test_task_sets_count_as_deployments(controller: str) -> None:
    """The older set waits to be stopped, and its tasks still run: the service's own counts include both sets."""
    found = seen(services(controlled(controller, task_set("PRIMARY", 1, GREEN), task_set("ACTIVE", 30, BLUE))))
    judged(found)
    assert found.serving_groups == (GREEN,)
    assert (found.subnets, found.security_groups) == (("subnet-1",), ("sg-1",))
    assert not found.rolling


def test_a_task_set_newer_than_the_primary_is_a_deployment_in_progress() -> None:
    found = seen(services(controlled("CODE_DEPLOY", task_set("PRIMARY", 30, BLUE), task_set("ACTIVE", 0.1, GREEN))))
    assert found.rolling
    with pytest.raises(AssertionError, match="IN_PROGRESS"):
        compute.test_ecs_rollout_completed(found)


def test_an_unstable_primary_task_set_is_in_progress() -> None:
    starting = task_set("PRIMARY", 0.1, BLUE, stabilityStatus="STABILIZING", runningCount=1, pendingCount=1)
    assert seen(services(controlled("EXTERNAL", starting))).rolling


@pytest.mark.parametrize(("running", "rollout"), [(2, "COMPLETED"), (1, "IN_PROGRESS")])
def test_a_deployment_without_a_rollout_state_is_done_when_all_tasks_run(running: int, rollout: str) -> None:
    """As behind a Classic Load Balancer."""
    plain = described(loadBalancers=[{"loadBalancerName": "classic", "containerName": "api", "containerPort": 8000}])
    plain["deployments"] = [
        {k: v for k, v in plain["deployments"][0].items() if not k.startswith("rollout")} | {"runningCount": running}
    ]
    assert seen(services(plain)).primary.rollout == rollout


def test_an_unknown_rollout_state_is_unknown() -> None:
    strange = described()
    strange["deployments"][0]["rolloutState"] = "PAUSED"
    with pytest.raises(Unobserved, match="PAUSED, a state not known here"):
        compute.test_ecs_rollout_completed(seen(services(strange)))


@pytest.mark.parametrize(
    "change",
    [
        {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "LATER"}}},
        {"deploymentConfiguration": {"lifecycleHooks": [{"timeoutConfiguration": {"action": "LATER"}}]}},
    ],
    ids=["addresses", "timeout"],
)
def test_a_new_setting_of_a_service_is_unknown(change: dict[str, Any]) -> None:
    with pytest.raises(Unobserved, match="stg-gli-api is 'LATER', a value that this suite does not know"):
        seen(services(described(**change)))


def test_services_are_requested_in_batches_of_ten() -> None:
    environment = staging()
    one = api(environment)
    assert one.ecs is not None
    many = {
        f"api{n}": one.model_copy(
            update={"name": f"api{n}", "ecs": one.ecs.model_copy(update={"service": f"stg-gli-api-{n}"})}
        )
        for n in range(23)
    }

    def found(asked: dict[str, Any]) -> Any:
        assert len(asked["services"]) <= 10
        return {"services": [described(serviceName=name) for name in asked["services"]], "failures": []}

    environment = environment.model_copy(update={"services": many})
    with answering({("ecs", "DescribeServices"): found}) as asked:
        everything = observed(environment, ecs_services)
    assert len(asked) == 3
    assert {s.status for s in everything.values()} == {"ACTIVE"}


# CodeDeploy

CODEDEPLOY: dict[tuple[str, str], Answer] = {
    ("codedeploy", "GetDeployment"): {
        "deploymentInfo": {"applicationName": "gli", "deploymentGroupName": "gli-api", "deploymentId": "d-ABCDEF123"}
    }
}


def group(status: str = "Succeeded", **rollback: Any) -> dict[tuple[str, str], Answer]:
    automatic = {"enabled": True, "events": ["DEPLOYMENT_FAILURE"], **rollback}
    newest = {"deploymentId": "d-ABCDEF124", "status": status, "createTime": NOW}
    info = {
        "applicationName": "gli",
        "deploymentGroupName": "gli-api",
        "autoRollbackConfiguration": automatic,
        "lastAttemptedDeployment": newest,
    }
    return CODEDEPLOY | {("codedeploy", "GetDeploymentGroup"): {"deploymentGroupInfo": info}}


def by_codedeploy(answers: dict[tuple[str, str], Answer], probe: Any) -> Any:
    environment = only_the_api()
    with answering(services(controlled("CODE_DEPLOY", task_set("PRIMARY", 1, GREEN))) | answers):
        return observed(environment, probe, api(environment))


def test_codedeploy_rollback_replaces_the_circuit_breaker() -> None:
    service = seen(services(controlled("CODE_DEPLOY", task_set("PRIMARY", 1, GREEN))))
    compute.test_ecs_circuit_breaker(service, by_codedeploy(group(), deployment_group), staging())
    off = by_codedeploy(group(enabled=False), deployment_group)
    with pytest.raises(AssertionError, match="automatic rollback"):
        compute.test_ecs_circuit_breaker(service, off, staging())


def test_a_deployment_that_codedeploy_rolled_back_is_seen() -> None:
    """ECS is not asked, because it lists no deployments of other controllers."""
    tasks.test_ecs_no_rollback(by_codedeploy(group("Succeeded"), service_deployment))
    tasks.test_ecs_no_rollback(by_codedeploy(group("InProgress"), service_deployment))
    with pytest.raises(AssertionError, match="Failed"):
        tasks.test_ecs_no_rollback(by_codedeploy(group("Failed"), service_deployment))
    with pytest.raises(Unobserved, match="Paused, a status not known here"):
        tasks.test_ecs_no_rollback(by_codedeploy(group("Paused"), service_deployment))


# Rules and targets

BALANCER = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/stg-gli-alb/50dc6c495c0c9188"
LISTENER = BALANCER.replace(":loadbalancer/", ":listener/") + "/f2f7dc8efc522ab2"


def rule(priority: str, *conditions: dict[str, Any], to: str = BLUE, **changes: Any) -> dict[str, Any]:
    return {
        "RuleArn": f"{RULE}{priority}",
        "Priority": priority,
        "Conditions": list(conditions),
        "Actions": [{"Type": "forward", "TargetGroupArn": to, "Order": 1}],
        "IsDefault": priority == "default",
        **changes,
    }


def host(*names: str, **config: Any) -> dict[str, Any]:
    return {"Field": "host-header", "Values": list(names), "HostHeaderConfig": {"Values": list(names), **config}}


def path(*patterns: str) -> dict[str, Any]:
    return {"Field": "path-pattern", "Values": list(patterns), "PathPatternConfig": {"Values": list(patterns)}}


def weighted(**weights: int) -> list[dict[str, Any]]:
    groups = [{"TargetGroupArn": {"blue": BLUE, "green": GREEN}[name], "Weight": w} for name, w in weights.items()]
    return [{"Type": "forward", "Order": 1, "ForwardConfig": {"TargetGroups": groups}}]


def balanced(*rules: dict[str, Any], **changes: Any) -> dict[tuple[str, str], Answer]:
    balancer = {
        "LoadBalancerArn": BALANCER,
        "LoadBalancerName": "stg-gli-alb",
        "DNSName": "stg-gli-alb-1.ap-northeast-2.elb.amazonaws.com",
        "State": {"Code": "active"},
        "AvailabilityZones": [{"ZoneName": f"{REGION}a"}, {"ZoneName": f"{REGION}c"}],
        **changes,
    }
    listener = {"ListenerArn": LISTENER, "Port": 443, "Protocol": "HTTPS", "Certificates": [], "DefaultActions": []}
    return {
        ("elbv2", "DescribeLoadBalancers"): {"LoadBalancers": [balancer]},
        ("elbv2", "DescribeListeners"): {"Listeners": [listener]},
        ("elbv2", "DescribeRules"): {"Rules": list(rules)},
    }


def routed(service: dict[str, Any], *rules: dict[str, Any], more: dict[tuple[str, str], Answer] | None = None) -> None:
    """Run alb-host-routing on these rules."""
    environment = only_the_api()
    with answering(services(service) | balanced(*rules) | (more or {})):
        found = observed(environment, routes)
        ecs = observed(environment, ecs_service, api(environment))
    compute.test_alb_host_routing(found, ecs, api(environment))


API = "stg-api.glibiz.com"
OTHER = rule("default", to=GREEN)


@pytest.mark.parametrize(
    "conditions",
    [
        [host(API)],
        [host("stg-api*.glibiz.com")],
        [host("*.glibiz.com")],
        [host("STG-API.glibiz.com")],
        [host("stg-???.glibiz.com")],
        [host(RegexValues=[r"^stg-(api|ws)\.glibiz\.com$"])],
        [host("www.glibiz.com", API), path("/health*", "/api/*")],
        [],
    ],
    ids=str,
)  # fmt: skip
def test_a_rule_matches_hosts_as_the_balancer_does(conditions: list[dict[str, Any]]) -> None:
    routed(described(), rule("5", *conditions), OTHER)


def test_the_default_rule_serves_a_host_without_its_own_rule() -> None:
    routed(described(), rule("1", host("other.glibiz.com"), to=GREEN), rule("default"))


def test_services_that_share_a_host_are_told_apart_by_their_paths() -> None:
    environment = only_the_api()
    below = api(environment).model_copy(update={"url": f"https://{API}/orders", "health_path": "/healthz"})
    environment = environment.model_copy(update={"services": {"api": below}})
    rules = (rule("1", path("/catalog/*"), to=GREEN), rule("2", path("/orders/*")), OTHER)
    with answering(services(described()) | balanced(*rules)):
        found = observed(environment, routes)
        compute.test_alb_host_routing(found, observed(environment, ecs_service, below), below)
        reached = observed(environment, reached_rules, below)
    assert {r.path for r in reached if r.rule == found["api"]} >= {"/orders/healthz", "/orders/version"}


def behind_a_network_balancer(**changes: Any) -> Environment:
    own = LoadBalancer(name="stg-gli-nlb", type="network", ports_open_to_the_world=(443,))
    service = staging().services["api"].model_copy(update={"load_balancer": own})
    return staging(load_balancer=None, services={"api": service}, **changes)


@pytest.mark.parametrize(
    ("change", "red"),
    [
        ({}, None),
        ({"DefaultActions": weighted(blue=1, green=0)}, None),
        ({"DefaultActions": weighted(blue=1, green=1)}, "alb-host-routing"),
        ({"Protocol": "TCP", "Certificates": []}, None),
        ({"Certificates": []}, "alb-https-listener"),
        ({"Protocol": "UDP"}, "alb-https-listener"),
        ({"Type": "application"}, "alb-active"),
        ({"Port": 80}, "sg-alb-ingress"),
    ],
    ids=str,
)
def test_a_network_load_balancer_is_judged_by_its_listener(change: dict[str, Any], red: str | None) -> None:
    environment = behind_a_network_balancer()
    answers = services(described()) | balanced(LoadBalancerName="stg-gli-nlb", Type=change.pop("Type", "network"))
    listener: dict[str, Any] = {
        "ListenerArn": LISTENER,
        "Port": 443,
        "Protocol": "TLS",
        "DefaultActions": rule("1")["Actions"],
    }
    answers[("elbv2", "DescribeListeners")] = {
        "Listeners": [{**listener, "Certificates": [{"CertificateArn": "arn:aws:acm:1"}], **change}]
    }
    own = environment.balancers["stg-gli-nlb"]
    with answering(answers):
        found, rules = observed(environment, balancer, own), observed(environment, routes)
        ecs = observed(environment, ecs_service, api(environment))
    judged: dict[str, Callable[[], None]] = {
        "alb-active": lambda: compute.test_alb_active(found, own),
        "alb-https-listener": lambda: compute.test_alb_https_listener(found, own),
        "alb-host-routing": lambda: compute.test_alb_host_routing(rules, ecs, api(environment)),
        "sg-alb-ingress": lambda: network.test_sg_alb_ingress(SecurityGroups(vpc="vpc-1", groups=()), found, own, {}),
    }
    if red is None:
        for judge in judged.values():
            judge()
    else:
        with pytest.raises(AssertionError):
            judged[red]()


def test_each_of_two_load_balancers_explains_its_own_services_only() -> None:
    shared = staging().load_balancer
    websocket = staging().services["websocket"].model_copy(update={"load_balancer": shared})
    environment = behind_a_network_balancer().model_copy(update={"load_balancer": shared})
    environment = environment.model_copy(update={"services": {**environment.services, "websocket": websocket}})
    cases = catalogue.load(ROOT).cases(environment, None)
    of = {(c.check.id, c.target): c for c in cases}
    down = of["alb-active", "stg-gli-nlb"]
    assert related(of["alb-host-routing", "api"], down) and related(of["tls-handshake", "stg-api.glibiz.com"], down)
    assert not related(of["alb-host-routing", "websocket"], down)
    assert not related(of["tls-handshake", "stg-ws.glibiz.com"], down)
    redirects = [t for c, t in of if c == "alb-http-redirect"]
    assert shared is not None and redirects == [shared.name]
    assert ("sg-alb-egress", "api") not in of and ("sg-alb-egress", "websocket") in of
    assert environment.redirected_hosts == tuple(h for h in environment.secure_hosts if h != "stg-api.glibiz.com")


def test_rules_for_other_paths_methods_and_headers_are_ignored() -> None:
    header = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Canary", "Values": ["1"]}}
    method = {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["PUT"]}}
    docs = [{"Type": "redirect", "Order": 1, "RedirectConfig": {"StatusCode": "HTTP_302", "Host": "docs.x"}}]
    routed(
        described(),
        rule("1", host(API), path("/docs"), Actions=docs),
        rule("2", host(API), header, to=GREEN),
        rule("3", host(API), method, to=GREEN),
        rule("10", host(API)),
        OTHER,
    )


def test_an_earlier_rule_for_the_host_wins() -> None:
    """A forgotten maintenance page has a higher priority than the service's own rule."""
    sorry = [{"Type": "fixed-response", "Order": 1, "FixedResponseConfig": {"StatusCode": "503"}}]
    with pytest.raises(AssertionError, match="a fixed-response"):
        routed(described(), rule("10", host(API)), rule("2", host("*.glibiz.com"), Actions=sorry), OTHER)


def test_a_group_with_weight_0_gets_no_traffic() -> None:
    routed(described(), rule("1", host(API), Actions=weighted(blue=100, green=0)), OTHER)
    with pytest.raises(AssertionError, match="api-green"):
        routed(described(), rule("1", host(API), Actions=weighted(blue=0, green=100)), OTHER)


def test_native_deployments_serve_from_the_alternate_group_too() -> None:
    shifted = rule("1", host(API), Actions=weighted(blue=0, green=100))
    routed(paired(), shifted, OTHER, more=revision(GREEN))
    with pytest.raises(AssertionError, match="api-green"):
        routed(paired(), shifted, OTHER, more=revision(BLUE))


def healthy(states: list[str]) -> None:
    environment = only_the_api()
    targets = [
        {"Target": {"Id": f"10.0.0.{n}", "Port": 8000}, "TargetHealth": {"State": s}} for n, s in enumerate(states)
    ]
    answers = services(described()) | {("elbv2", "DescribeTargetHealth"): {"TargetHealthDescriptions": targets}}
    with answering(answers):
        found = observed(environment, target_health, api(environment))
        compute.test_alb_targets_healthy(found, observed(environment, ecs_service, api(environment)))


def test_draining_targets_are_not_unhealthy() -> None:
    healthy(["healthy", "healthy", "draining", "unhealthy.draining"])


def test_an_unknown_target_state_is_unknown() -> None:
    with pytest.raises(Unobserved, match="is paused, a state not known here"):
        healthy(["healthy", "healthy", "paused"])


@pytest.mark.parametrize(
    ("codes", "fits"),
    [("200", True), ("200-299", True), ("200,204", True), ("200-399", False), ("301", False), ("200,404", False)],
)
def test_a_health_check_accepts_only_success(codes: str, fits: bool) -> None:
    environment = only_the_api()
    shown = {
        "TargetGroupArn": BLUE,
        "TargetGroupName": "api-blue",
        "HealthCheckPath": "/health/",
        "HealthCheckPort": "traffic-port",
        "HealthCheckProtocol": "HTTP",
        "Protocol": "HTTP",
        "HealthCheckIntervalSeconds": 15,
        "HealthyThresholdCount": 2,
        "UnhealthyThresholdCount": 2,
        "Matcher": {"HttpCode": codes},
    }
    answers = services(described()) | {("elbv2", "DescribeTargetGroups"): {"TargetGroups": [shown]}}
    with answering(answers):
        assert observed(environment, health_checks)[BLUE].wants_success is fits


# Tasks


def task(status: str, digest: str | None) -> dict[str, Any]:
    container = {"name": "api", "image": "gli-api:1", **({"imageDigest": digest} if digest else {})}
    arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/gli-api-cluster/{status.lower():0<32}"
    return {"taskArn": arn, "lastStatus": status, "desiredStatus": "RUNNING", "containers": [container]}


def running(*shown: dict[str, Any]) -> ServiceTasks:
    environment = only_the_api()
    arns = [t["taskArn"] for t in shown]

    def listed(asked: dict[str, Any]) -> Any:
        return {"taskArns": arns if asked["desiredStatus"] == "RUNNING" else []}

    answers = {("ecs", "ListTasks"): listed, ("ecs", "DescribeTasks"): {"tasks": list(shown), "failures": []}}
    with answering(answers):
        found: ServiceTasks = observed(environment, service_tasks, api(environment))
    return found


IMAGE = RegistryImage(repository="gli-api", tag="1" * 40, digest="sha256:abc")


def test_a_starting_task_has_no_digest_yet() -> None:
    environment = only_the_api()
    found = running(task("RUNNING", "sha256:abc"), task("PENDING", None), task("PROVISIONING", None))
    tasks.test_ecs_task_digest(found, IMAGE, api(environment))
    with pytest.raises(Unobserved, match="none has started yet"):
        tasks.test_ecs_task_digest(running(task("ACTIVATING", None)), IMAGE, api(environment))
    with pytest.raises(Unobserved, match="does not say which image"):
        tasks.test_ecs_task_digest(running(task("RUNNING", None)), IMAGE, api(environment))
    with pytest.raises(AssertionError, match="sha256:other"):
        tasks.test_ecs_task_digest(running(task("RUNNING", "sha256:other")), IMAGE, api(environment))


# Images

INDEX = """{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
{"digest": "sha256:amd", "size": 1, "platform": {"architecture": "amd64", "os": "linux"}},
{"digest": "sha256:arm", "size": 1, "platform": {"architecture": "arm64", "os": "linux"}},
{"digest": "sha256:how", "size": 1, "platform": {"architecture": "unknown", "os": "unknown"},
 "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}]}"""


def image(manifest: str) -> dict[tuple[str, str], Answer]:
    def found(asked: dict[str, Any]) -> Any:
        tags = [i["imageTag"] for i in asked["imageIds"]]
        return {
            "images": [
                {"imageId": {"imageTag": t, "imageDigest": "sha256:index"}, "imageManifest": manifest} for t in tags
            ]
        }

    return {("ecr", "BatchGetImage"): found}


def definition(**changes: Any) -> dict[tuple[str, str], Answer]:
    container = {"name": "api", "image": "gli-api:1", "environment": [], **changes.pop("container", {})}
    container = {"portMappings": [{"containerPort": 8000, "protocol": "tcp"}], **container}
    shown = {
        "status": "ACTIVE",
        "taskDefinitionArn": DEFINITION,
        "family": "stg-gli-api",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        "taskRoleArn": "arn:aws:iam::123456789012:role/task",
        "containerDefinitions": [container, *changes.pop("beside", [])],
        **changes,
    }
    return {("ecs", "DescribeTaskDefinition"): {"taskDefinition": shown}}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Only the API, with a repository whose head is the deployed commit."""
    folder = tmp_path_factory.mktemp("remotes")
    for command in (["init", "-q", "-b", "stg", "gli_api-server"], ["-C", "gli_api-server", *COMMIT]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    environment = only_the_api()
    assert environment.git is not None
    remote = environment.git.model_copy(update={"remote": f"file://{folder}/{{repository}}"})
    return environment.model_copy(update={"git": remote})


COMMIT = ("commit", "-q", "--allow-empty", "-m", "one")


def scanned(environment: Environment, status: str, manifest: str, platform: str | None, **counts: int) -> str:
    """Run ecr-scan on this answer; returns the digest that was asked about, or `tag`."""
    wanted: list[dict[str, str]] = []

    def findings(asked: dict[str, Any]) -> Any:
        wanted.append(asked["imageId"])
        return {"imageScanStatus": {"status": status}, "imageScanFindings": {"findingSeverityCounts": counts}}

    more = {"runtimePlatform": {"cpuArchitecture": platform}} if platform else {}
    answers = services(described()) | definition(**more) | image(manifest)
    with answering(answers | {("ecr", "DescribeImageScanFindings"): findings}):
        registry.test_ecr_scan(observed(environment, image_scan, api(environment)), environment)
    return wanted[0].get("imageDigest", "tag")


@pytest.mark.parametrize(
    ("manifest", "platform", "asked"),
    [('{"schemaVersion": 2}', None, "tag"), (INDEX, None, "sha256:amd"), (INDEX, "ARM64", "sha256:arm")],
)
def test_in_an_index_the_running_image_is_scanned(
    built: Environment, manifest: str, platform: str | None, asked: str
) -> None:
    assert scanned(built, "COMPLETE", manifest, platform, MEDIUM=3) == asked
    assert scanned(built, "ACTIVE", manifest, platform) == asked
    with pytest.raises(AssertionError, match="2 CRITICAL"):
        scanned(built, "COMPLETE", manifest, platform, CRITICAL=2)


@pytest.mark.parametrize("status", ["IN_PROGRESS", "PENDING", "NEW_STATUS"])
def test_an_unfinished_scan_is_unknown(built: Environment, status: str) -> None:
    with pytest.raises(Unobserved, match=f"is {status}: what it finds is not known yet"):
        scanned(built, status, INDEX, None)


@pytest.mark.parametrize("status", ["FAILED", "UNSUPPORTED_IMAGE", "SCAN_ELIGIBILITY_EXPIRED"])
def test_an_image_that_was_not_scanned_is_red(built: Environment, status: str) -> None:
    with pytest.raises(AssertionError, match=status):
        scanned(built, status, INDEX, None)


def test_an_image_that_was_built_once_is_that_of_any_commit_with_the_same_tree(
    built: Environment, tmp_path: Path
) -> None:
    """The registry has both images; the tasks are compared with the one that runs."""
    assert built.git is not None
    source, folder = built.git.of("gli_api-server"), tmp_path / "gli_api-server"
    subprocess.run(["git", "clone", "-q", source, folder], check=True)
    first = subprocess.check_output(["git", "-C", folder, "rev-parse", "HEAD"], text=True).strip()
    subprocess.run(["git", "-C", folder, *COMMIT], check=True)
    git = built.git.model_copy(update={"remote": f"file://{tmp_path}/{{repository}}"})
    promoted = built.model_copy(update={"git": git, "built_once": True})
    with answering(services(described()) | definition(container={"image": f"gli-api:{first}"}) | image(INDEX)):
        assert observed(promoted, running_image, api(promoted)).as_expected
        assert observed(promoted, registry_image, api(promoted)).tag == first
        elsewhere = promoted.model_copy(update={"built_once": False})
        assert not observed(elsewhere, running_image, api(elsewhere)).as_expected


@pytest.mark.parametrize(
    ("changed", "environment", "service", "gone"),
    [
        ({}, {"built_once": True}, {}, ()),
        ({"docs/a.md": "1"}, {}, {"paths": ("web/**",)}, ()),
        ({}, {}, {}, ("deploy-20261127-120000",)),
        ({"web/a.py": "2"}, {}, {"paths": ("web/**",)}, ("deploy-20261127-120000",)),
        ({"web/a.py": "2"}, {"built_once": True}, {}, ("deploy-20261127-120000",)),
    ],
)
def test_a_rollback_may_use_the_image_of_an_earlier_commit_with_the_same_files(
    built: Environment,
    tmp_path: Path,
    changed: dict[str, str],
    environment: dict[str, Any],
    service: dict[str, Any],
    gone: tuple[str, ...],
) -> None:
    """Only the image of the first commit is in the registry; the deploy tag is on the second commit."""
    folder = tmp_path / "gli_api-server"

    def commit(files: dict[str, str]) -> str:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        for command in (["add", "."], COMMIT):
            subprocess.run(["git", "-C", folder, *command], check=True)
        return subprocess.check_output(["git", "-C", folder, "rev-parse", "HEAD"], text=True).strip()

    subprocess.run(["git", "init", "-q", "-b", "stg", folder], check=True)
    first = commit({"web/a.py": "1"})
    commit(changed)
    subprocess.run(["git", "-C", folder, "tag", "deploy-20261127-120000"], check=True)
    commit({"web/a.py": "3"})

    def found(asked: dict[str, Any]) -> Any:
        there = [i for i in asked["imageIds"] if i["imageTag"] == first]
        images = [{"imageId": {**i, "imageDigest": "sha256:one"}, "imageManifest": "{}"} for i in there]
        failures = [{"imageId": i, "failureCode": "ImageNotFound"} for i in asked["imageIds"] if i not in there]
        return {"images": images, "failures": failures}

    assert built.git is not None
    git = built.git.model_copy(update={"remote": f"file://{tmp_path}/{{repository}}"})
    services_of = {"api": api(built).model_copy(update=service)}
    ours = built.model_copy(update={"git": git, "services": services_of, **environment})
    answers = services(described()) | definition(container={"image": f"gli-api:{first}"})
    with answering({**answers, ("ecr", "BatchGetImage"): found}):
        assert observed(ours, registry_image, api(ours)).without_way_back == gone


def test_tasks_may_run_any_image_of_an_index(built: Environment) -> None:
    with answering(services(described()) | image(INDEX)):
        found = observed(built, registry_image, api(built))
    assert found.digests == ("sha256:index", "sha256:amd", "sha256:arm")


@pytest.mark.parametrize(
    "address",
    [
        "444444444444.dkr.ecr.eu-west-1.amazonaws.com/gli-api:1",
        "444444444444.dkr.ecr-fips.eu-west-1.amazonaws.com/gli-api:1",
        "444444444444.dkr-ecr.eu-west-1.on.aws/gli-api:1",
        "444444444444.dkr.ecr.eu-west-1.amazonaws.com.cn/gli-api:1",
    ],
)
def test_the_registry_is_the_one_that_the_running_image_names(built: Environment, address: str) -> None:
    answers = services(described()) | definition(container={"image": address}) | image(INDEX)
    findings: Answer = {"imageScanStatus": {"status": "COMPLETE"}, "imageScanFindings": {"findingSeverityCounts": {}}}
    with answering(answers | {("ecr", "DescribeImageScanFindings"): findings}) as asked:
        observed(built, image_scan, api(built))
    assert {p["registryId"] for service, _, p in asked if service == "ecr"} == {"444444444444"}


def test_the_image_of_the_build_and_that_of_the_tasks_take_one_call(built: Environment) -> None:
    address = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/gli-api:1"
    answers = services(described()) | definition(container={"image": address}) | image('{"schemaVersion": 2}')
    with answering(answers) as asked, closing(Observatory(built)) as observatory:
        assert observatory.wait(registry_image, api(built)).tag != "1"
        assert observatory.wait(pulled_image, api(built)).digest == "sha256:index"
    assert [operation for service, operation, _ in asked if service == "ecr"] == ["BatchGetImage"]


def test_an_image_outside_ecr_names_no_registry(built: Environment) -> None:
    with answering(services(described()) | definition(container={"image": "gli/api:1"}) | image(INDEX)) as asked:
        observed(built, registry_image, api(built))
    assert not any("registryId" in parameters for _, _, parameters in asked)


@pytest.mark.parametrize(
    ("frequency", "on_push", "scans"),
    [
        ("SCAN_ON_PUSH", False, True),
        ("CONTINUOUS_SCAN", False, True),
        ("SCAN_ON_PUSH", True, True),
        ("MANUAL", False, False),
    ],
)
def test_a_repository_follows_the_scan_setting_of_the_registry(frequency: str, on_push: bool, scans: bool) -> None:
    environment = only_the_api()
    repository = {"repositoryName": "gli-api", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}
    configuration = {"repositoryName": "gli-api", "scanOnPush": on_push, "scanFrequency": frequency}
    answers: dict[tuple[str, str], Answer] = {
        ("ecr", "DescribeRepositories"): {
            "repositories": [repository | {"imageScanningConfiguration": {"scanOnPush": False}}]
        },
        ("ecr", "BatchGetRepositoryScanningConfiguration"): {
            "scanningConfigurations": [configuration],
            "failures": [],
        },
    }
    with answering(answers):
        assert observed(environment, registry_repositories)["gli-api"].scans is scans


# Task definitions


def read(**changes: Any) -> Any:
    environment = only_the_api()
    with answering(services(described()) | definition(**changes)):
        return observed(environment, task_definition, api(environment))


ROUTER = {
    "name": "log_router",
    "image": "fluent-bit",
    "environment": [],
    "firelensConfiguration": {"type": "fluentbit"},
}


def contract(**changes: Any) -> None:
    environment = only_the_api()
    compute.test_ecs_taskdef_contract(read(**changes), {}, api(environment), environment)


@pytest.mark.parametrize(
    ("ecs", "fits"),
    [({}, False), ({"launch_type": "EC2"}, False), ({"launch_type": "EC2", "network": "bridge"}, True)],
)
def test_tasks_on_instances_may_use_their_interfaces(ecs: dict[str, str], fits: bool) -> None:
    environment = only_the_api()
    own = api(environment)
    assert own.ecs is not None
    target = own.model_copy(update={"ecs": own.ecs.model_copy(update=ecs)})
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "/gli/api-server/staging"}}
    seen = read(
        container={"logConfiguration": logs},
        networkMode="bridge",
        compatibilities=["EC2"],
        requiresCompatibilities=["EC2"],
    )
    with nullcontext() if fits else pytest.raises(AssertionError, match="saw EC2 with bridge"):
        compute.test_ecs_taskdef_contract(seen, {}, target, environment)
    known = catalogue.load(ROOT).checks
    asked = {id_ for id_, check in known.items() if check.each == "services" and not check.lacks(target, environment)}
    of_interfaces = {"sg-tasks-ingress-alb-only", "sg-alb-egress", "net-acl-open", "sg-task-egress"}
    assert of_interfaces.isdisjoint(asked) is fits


def test_sidecars_may_log_anywhere() -> None:
    own = {"logDriver": "awslogs", "options": {"awslogs-group": "/gli/api-server/staging"}}
    agent = {"name": "agent", "image": "agent:7", "environment": []}
    contract(container={"logConfiguration": own}, beside=[agent])
    contract(container={"logConfiguration": {"logDriver": "awsfirelens"}}, beside=[ROUTER])
    with pytest.raises(AssertionError, match="logging to awsfirelens"):
        contract(container={"logConfiguration": {"logDriver": "awsfirelens"}}, beside=[agent])
    with pytest.raises(AssertionError, match="logging to awslogs /elsewhere"):
        contract(container={"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/elsewhere"}}})


SSM = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret"


@pytest.mark.parametrize(
    ("value_from", "parameter"),
    [
        (f"{SSM}/stg/gli/key", "/stg/gli/key"),
        (f"{SSM}/key", "key"),
        ("/stg/gli/key", "/stg/gli/key"),
        ("key", "key"),
        (f"{SECRET}:stg/gli/key-a1B2c3:field::", None),
    ],
)
def test_a_value_may_come_from_a_parameter(value_from: str, parameter: str | None) -> None:
    found = read(container={"secrets": [{"name": "KEY", "valueFrom": value_from}]})
    assert [r.parameter for r in found.references] == [parameter]


def test_secrets_of_the_log_driver_and_the_registry_are_found() -> None:
    options = {"logDriver": "splunk", "secretOptions": [{"name": "splunk-token", "valueFrom": f"{SSM}/splunk"}]}
    login = {"credentialsParameter": f"{SECRET}:registry-a1B2c3"}
    found = read(container={"logConfiguration": options, "repositoryCredentials": login})
    assert [r.value_from for r in found.references] == [f"{SSM}/splunk", f"{SECRET}:registry-a1B2c3"]


def test_missing_parameters_and_secrets_are_named() -> None:
    environment = only_the_api()
    secrets = [{"name": f"P{n}", "valueFrom": f"{SSM}/gli/p{n}"} for n in range(60)]
    secrets += [{"name": f"S{n}", "valueFrom": f"{SECRET}:other/s{n}-a1B2c3"} for n in range(11)]
    secrets.append({"name": "ELSEWHERE", "valueFrom": f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/x"})

    def parameters(asked: dict[str, Any]) -> Any:
        names = asked["ParameterFilters"][0]["Values"]
        assert len(names) <= 50
        return {"Parameters": [{"Name": n} for n in names if n != "/gli/p7"]}

    def listed(asked: dict[str, Any]) -> Any:
        names = asked["Filters"][0]["Values"]
        assert len(names) <= 10
        kept = [n for n in names if n.startswith("other/") and n != "other/s3"]
        current = {"v" * 32: ["AWSCURRENT"]}
        return {
            "SecretList": [{"Name": n, "ARN": f"{SECRET}:{n}-a1B2c3", "SecretVersionsToStages": current} for n in kept]
        }

    answers = services(described()) | definition(container={"secrets": secrets})
    answers |= {("ssm", "DescribeParameters"): parameters, ("secretsmanager", "ListSecrets"): listed}
    with answering(answers):
        dangling = observed(environment, dangling_references, api(environment))
    assert sorted(dangling) == ["P7", "S3"]


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("CACHE_KEY", "gli_api_v20260101", False),
        ("CSRF_TOKEN", "X-CSRF-Token-Header-Name", False),
        ("PARTITION_KEY", "tenantIdAndCreatedAt", False),
        ("S3_KEY", "exports/2026/report-final-v2.csv", False),
        ("USE_TOKEN", "true", False),
        ("STRIPE_PUBLISHABLE_KEY", "pk_live_4f9a1c2b7d8e4f9a1c2b7d8e", False),
        ("SENTRY_PUBLIC_KEY", "4f9a1c2b7d8e4f9a1c2b7d8e4f9a1c2b", False),
        ("DB_SECRET", f"{SECRET}:x", False),
        ("API_KEY", "4f9a1c2b7d8e4f9a1c2b7d8e4f9a1c2b", True),
        ("API_TOKEN", "Zx8Qm2Lr5Tb1Vn7Kc4Wp9Yd3", True),
        ("LICENSE_KEY", "123e4567-e89b-12d3-a456-426614174000", True),
        ("DB_SECRET", "stg/gli/database", False),
        ("API_AUTH", "oauth2-pkce", False),
        ("PROXY_PASS", "http://backend.internal:8000", False),
        ("DB_PASSWORD", "summer", True),
        ("DB_PASS", "correct-horse-battery", True),
        ("REDIS_AUTH", "s3cr3t-s3cr3t", True),
        ("JWT_SIGNING_SECRET_V2", "hunter2hunter2", True),
        ("SLACK_WEBHOOK", "https://hooks.slack.com/services/T0000/B0000/XXXXXXXXXXXX", True),
        ("SECRET_KEY", "django-insecure", True),
        ("DATABASE_URL", "postgres://gli:word@db.internal/gli", True),
        ("ANYTHING", "-----BEGIN RSA PRIVATE KEY-----", True),
        ("ANYTHING", "sk_live_4f9a1c2b7d8e4f9a1c2b", True),
        ("ANYTHING", "AKIAIOSFODNN7EXAMPLE", True),
        ("PGPASSWORD", "correct-horse-battery", True),
        ("dbPassword", "correct-horse-battery", True),
        ("DBPASS", "correct-horse-battery", True),
        ("ADMIN_PASSWORD_OLD", "hunter2hunter2", True),
        ("ApiToken", "q7Xw9Zr2Lm4Tn8Vb1Kc5Hd3Jf6Gs0Pa", True),
        ("APIKEY", "q7Xw9Zr2Lm4Tn8Vb1Kc5Hd3Jf6Gs0Pa", True),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", True),
        ("JWT_SALT", "q7Xw9Zr2Lm4Tn8Vb", True),
        ("SESSION", "q7Xw9Zr2Lm4Tn8Vb1Kc5Hd3Jf6Gs0PaW", True),
        ("DSN", "host=db port=5432 user=app password=hunter2hunter2", True),
        ("CONNECTION", "Server=db;User Id=app;Password=hunter2hunter2;", True),
        ("SETTINGS", '{"db": {"password": "hunter2hunter2"}}', True),
        ("HEADERS", "Authorization: Bearer q7Xw9Zr2Lm4Tn8Vb1Kc5Hd3Jf6Gs0Pa", True),
        ("UPLOADS", "https://x.blob.core.windows.net/c?sv=2020&sig=q7Xw9Zr2Lm4Tn8Vb1Kc5Hd3Jf6Gs0Pa%3D", True),
        ("RECAPTCHA_SITE_KEY", "6LeIxAcTAAAAAJcZVRqyHh71UMIEGNQ_MXjiZKhI", False),
        ("GIT_COMMIT", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", False),
        ("TENANT_ID", "q7Xw9Zr2Lm4Tn8Vb1Kc5Hd3Jf6Gs0PaW", False),
        ("SETTINGS", '{"reset_password": true, "secret": "stg/gli/database"}', False),
        ("PASSWORD_RESET_URL", "https://stg.glibiz.com/password/reset", False),
        ("BYPASS", "staging-only", False),
        ("S3_KMS_KEY", "1234abcd-12ab-34cd-56ef-1234567890ab", False),
        ("KMS_KEY", "mrk-1234abcd12ab34cd56ef1234567890ab", False),
        ("API_KEY", "1234abcd-12ab-34cd-56ef-1234567890ab", True),
        ("KMS_KEY", "q7Xw9Zr2Lm4Tn8Vb1Kc5Hd3Jf6Gs0Pa", True),
        ("SENTRY_DSN", "https://9f86d081884c7d659a2feaa0c55ad015@o12.ingest.sentry.io/1", False),
    ],
)
def test_a_secret_without_a_secret_name_is_found_by_its_value(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret
