"""Ways to deploy a service other than rolling: ECS's blue/green, linear and canary, CodeDeploy, other controllers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox import repositories
from sandbox.aws.seed_watching import FARGATE_USAGE
from sandbox.faults.common import pushed, released, staged
from sandbox.site import required
from sandbox.submodules import linked
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import overlaid, region, rule, service, target_group, where

_MEASURED = {"RequestCount": 3000.0, "HTTPCode_Target_5XX_Count": 2.0, "TargetResponseTime": 0.06}


@contextmanager
def _pair(sandbox: Sandbox) -> Iterator[str]:
    """Add a second target group for the API, with the same targets, which serves now; yields its ARN."""
    elbv2, blue, own = sandbox.aws("elbv2"), target_group(sandbox), rule(sandbox)
    like = elbv2.describe_target_groups(TargetGroupArns=[blue])["TargetGroups"][0]
    same = ("Protocol", "Port", "VpcId", "TargetType", "HealthCheckPath", "HealthCheckIntervalSeconds", "Matcher")
    made = elbv2.create_target_group(
        Name=f"{like['TargetGroupName']}-2",
        HealthyThresholdCount=like["HealthyThresholdCount"],
        **{key: like[key] for key in same},
    )
    green = made["TargetGroups"][0]["TargetGroupArn"]
    targets = [t["Target"] for t in elbv2.describe_target_health(TargetGroupArn=blue)["TargetHealthDescriptions"]]
    targets = [{"Id": t["Id"], "Port": t["Port"]} for t in targets]
    elbv2.register_targets(TargetGroupArn=green, Targets=targets)
    elbv2.deregister_targets(TargetGroupArn=blue, Targets=targets)
    weights = [{"TargetGroupArn": blue, "Weight": 0}, {"TargetGroupArn": green, "Weight": 100}]
    elbv2.modify_rule(RuleArn=own["RuleArn"], Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": weights}}])
    _measure(sandbox, green)
    try:
        yield green
    finally:
        elbv2.modify_rule(RuleArn=own["RuleArn"], Actions=own["Actions"])
        elbv2.register_targets(TargetGroupArn=blue, Targets=targets)
        elbv2.delete_target_group(TargetGroupArn=green)


def _measure(sandbox: Sandbox, group: str) -> None:
    """Give the group the same traffic metrics as the first group has."""
    name = required(sandbox.environment.load_balancer).name
    arn = sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    dimensions = {"LoadBalancer": arn.partition(":loadbalancer/")[2], "TargetGroup": group.rpartition(":")[2]}
    named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    began = datetime.now(UTC) - timedelta(days=8)
    sandbox.aws("cloudwatch").put_metric_data(
        Namespace="AWS/ApplicationELB",
        MetricData=[
            {"MetricName": metric, "Dimensions": named, "Timestamp": began, "Value": value}
            for metric, value in _MEASURED.items()
        ],
    )


@contextmanager
def by_ecs(sandbox: Sandbox, strategy: str, **how: Any) -> Iterator[None]:
    """Let ECS shift the API's traffic between two target groups; the newest revision serves from the second."""
    described, place = service(sandbox), where(sandbox)
    revision = described["serviceArn"].replace(":service/", ":service-revision/") + "/4980306466373577095"
    with _pair(sandbox) as green, ExitStack() as played:
        balancer = described["loadBalancers"][0]
        paired = {
            "alternateTargetGroupArn": green,
            "productionListenerRule": rule(sandbox)["RuleArn"],
            "roleArn": f"arn:aws:iam::{described['serviceArn'].split(':')[4]}:role/ecsInfrastructureRole",
        }
        serving = {"targetGroupArn": green, "productionListenerRule": paired["productionListenerRule"]}
        shown = {
            "serviceArn": described["serviceArn"],
            "clusterArn": described["clusterArn"],
            "taskDefinition": described["taskDefinition"],
            "loadBalancers": [{**balancer, "advancedConfiguration": paired}],
            "createdAt": {"$ago": 3600},
            "resolvedConfiguration": {"loadBalancers": [serving]},
        }
        played.enter_context(_shown(sandbox, revision, shown))
        count = described["desiredCount"]
        current = {"arn": revision, "requestedTaskCount": count, "runningTaskCount": count, "pendingTaskCount": 0}
        changes = {
            "load_balancers": [{**balancer, "advancedConfiguration": paired}],
            "deployment_configuration": {
                **described["deploymentConfiguration"],
                "strategy": strategy,
                "bakeTimeInMinutes": 5,
                **how,
            },
            "current_service_revisions": [current],
        }
        played.enter_context(
            overlaid(
                sandbox,
                "ecs-service",
                region=region(sandbox),
                cluster=place.cluster,
                service=place.service,
                changes=changes,
            )
        )
        yield


@contextmanager
def _shown(sandbox: Sandbox, arn: str, shown: dict[str, Any]) -> Iterator[None]:
    undo = sandbox.aws_overlay("service-revision", arn=arn, shown=shown)
    try:
        yield
    finally:
        sandbox.aws_overlay("service-revision", **undo)


@variant("deploys-within-capacity", tries=["ecs-deploy-has-room"])
def deploys_within_capacity(sandbox: Sandbox) -> Iterator[None]:
    """A deploy of the API first stops one of the two tasks, and never runs more than two."""
    ecs, place, before = sandbox.aws("ecs"), where(sandbox), service(sandbox)["deploymentConfiguration"]
    small = {**before, "minimumHealthyPercent": 50, "maximumPercent": 100}
    ecs.update_service(cluster=place.cluster, service=place.service, deploymentConfiguration=small)
    yield
    ecs.update_service(cluster=place.cluster, service=place.service, deploymentConfiguration=before)


@variant("native-blue-green", tries=["alb-host-routing", "alb-rules-reach-service"])
def native_blue_green(sandbox: Sandbox) -> Iterator[None]:
    """ECS deploys the API blue/green: the rule has weights for two target groups, and the second one serves."""
    with by_ecs(sandbox, "BLUE_GREEN"):
        yield


@variant("native-linear")
def native_linear(sandbox: Sandbox) -> Iterator[None]:
    """ECS deploys the API in steps of 10% of the traffic."""
    with by_ecs(sandbox, "LINEAR", linearConfiguration={"stepPercent": 10.0, "stepBakeTimeInMinutes": 6}):
        yield


@variant("native-canary")
def native_canary(sandbox: Sandbox) -> Iterator[None]:
    """ECS deploys the API to 5% of the traffic first."""
    with by_ecs(sandbox, "CANARY", canaryConfiguration={"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10}):
        yield


@contextmanager
def _by_another(sandbox: Sandbox, controller: str, **more: Any) -> Iterator[None]:
    """Another controller deploys the API: ECS shows task sets instead of deployments; an older task set still waits."""
    described, place = service(sandbox), where(sandbox)

    def task_set(number: int, status: str, age_s: int, groups: list[dict[str, Any]]) -> dict[str, Any]:
        id_ = f"ecs-svc/{number:019d}"
        return {
            "id": id_,
            "taskSetArn": described["serviceArn"].replace(":service/", ":task-set/") + f"/{id_}",
            "status": status,
            "taskDefinition": described["taskDefinition"],
            "computedDesiredCount": described["desiredCount"],
            "pendingCount": 0,
            "runningCount": described["desiredCount"],
            "createdAt": {"$ago": age_s},
            "updatedAt": {"$ago": age_s},
            "launchType": "FARGATE",
            "platformVersion": "1.4.0",
            "networkConfiguration": described["networkConfiguration"],
            "loadBalancers": groups,
            "scale": {"value": 100.0, "unit": "PERCENT"},
            "stabilityStatus": "STEADY_STATE",
            "stabilityStatusAt": {"$ago": age_s},
            **more,
        }

    blue = described["loadBalancers"][0]
    with _pair(sandbox) as green:
        sets = [task_set(2, "PRIMARY", 600, [{**blue, "targetGroupArn": green}]), task_set(1, "ACTIVE", 86_400, [blue])]
        changes = {
            "deployment_controller": {"type": controller},
            "deployments": [],
            "task_sets": sets,
            "running_count": 2 * described["desiredCount"],
            "network_configuration": {} if controller == "EXTERNAL" else described["networkConfiguration"],
            "load_balancers": [] if controller == "EXTERNAL" else [{**blue, "targetGroupArn": green}],
        }
        with overlaid(
            sandbox,
            "ecs-service",
            region=region(sandbox),
            cluster=place.cluster,
            service=place.service,
            changes=changes,
        ):
            yield


@variant("codedeploy-blue-green", tries=["alb-draining", "ecs-circuit-breaker"])
def codedeploy_blue_green(sandbox: Sandbox) -> Iterator[None]:
    """CodeDeploy deploys the API blue/green; the previous release's tasks get no traffic and will be stopped later."""
    codedeploy, name = sandbox.aws("codedeploy"), "gli-api"
    codedeploy.create_application(applicationName=name, computePlatform="ECS")
    codedeploy.create_deployment_group(
        applicationName=name,
        deploymentGroupName=name,
        serviceRoleArn="arn:aws:iam::123456789012:role/codedeploy",
        autoRollbackConfiguration={"enabled": True, "events": ["DEPLOYMENT_FAILURE"]},
        deploymentStyle={"deploymentType": "BLUE_GREEN", "deploymentOption": "WITH_TRAFFIC_CONTROL"},
    )
    made = codedeploy.create_deployment(
        applicationName=name,
        deploymentGroupName=name,
        revision={"revisionType": "AppSpecContent", "appSpecContent": {"content": "{}", "sha256": "0" * 64}},
    )
    with _by_another(sandbox, "CODE_DEPLOY", startedBy="CODE_DEPLOY", externalId=made["deploymentId"]):
        yield
    sandbox.aws_overlay("codedeploy-forget", region=region(sandbox), application=name)


@variant("external-controller", tries=["ecs-single-deployment"])
def external_controller(sandbox: Sandbox) -> Iterator[None]:
    """An external program deploys the API with its own task sets."""
    with _by_another(sandbox, "EXTERNAL", externalId="argo-42"):
        yield


@variant("submodule", tries=["git-submodules-published"])
def submodule(sandbox: Sandbox) -> Iterator[None]:
    """The root repository has a submodule, by an address beside its own."""
    with linked(sandbox):
        yield


@variant("quota-that-suffices", tries=["ecs-quota-headroom"])
def quota_that_suffices(sandbox: Sandbox) -> Iterator[None]:
    """The account uses its quota of vCPUs for Fargate but for one task: ECS replaces the tasks one after the other."""
    usage = {"namespace": "AWS/Usage", "metric": "ResourceCount", "dimensions": FARGATE_USAGE, "value": 99.4}
    with overlaid(sandbox, "metric-data", region=region(sandbox), **usage):
        yield


@variant("nothing-to-release", tries=["git-release-diff"])
def nothing_to_release(sandbox: Sandbox) -> Iterator[None]:
    """Staging was released, with its tag, and nobody has made anything since."""
    with released(sandbox) as heads:
        tags = {path: max(repositories.refs(path, "refs/tags")) for path in heads}
        before = {path: repositories.refs(path, "refs/tags")[tag] for path, tag in tags.items()}
        for path, head in heads.items():
            repositories.set_ref(path, f"refs/tags/{tags[path]}", head)
        yield
        for path, target in before.items():
            repositories.set_ref(path, f"refs/tags/{tags[path]}", target)


@variant("hotfix-made-twice", tries=["git-deploy-tag", "git-rollback-target"])
def hotfix_made_twice(sandbox: Sandbox) -> Iterator[None]:
    """A hotfix went to production, with its tag; the same change was made again on stg and dev, not merged."""
    name, tree = "gli_redis", {"redis.conf": "maxmemory-policy volatile-lru\n"}
    path = repositories.path(sandbox.repositories, name)
    tag, live = max(repositories.refs(path, "refs/tags")), sandbox.site.production.branch
    before = repositories.refs(path, "refs/tags")[tag]
    with ExitStack() as made:
        commits = {b: made.enter_context(pushed(sandbox, name, b, tree)) for b in (live, staged(sandbox), "dev")}
        repositories.set_ref(path, f"refs/tags/{tag}", commits[live])
        yield
        repositories.set_ref(path, f"refs/tags/{tag}", before)
