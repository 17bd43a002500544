"""Helpers of the variants: the API's service, its task definition, and undoing AWS calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from gli.config.environments import Environment
from gli.config.services import Ecs, Frontend, Service
from sandbox.aws.account import EDGE_REGION
from sandbox.aws.seed_edge import invalidate
from sandbox.handle import Sandbox
from sandbox.site import required

_KEPT = (  # fields that DescribeTaskDefinition returns and RegisterTaskDefinition accepts
    *("family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn"),
    "containerDefinitions",
)


def api(sandbox: Sandbox) -> Service:
    """The service that most variants change."""
    return sandbox.environment.services["api"]


def where(sandbox: Sandbox) -> Ecs:
    """The API's cluster and service names in ECS."""
    return required(api(sandbox).ecs)


def region(sandbox: Sandbox) -> str:
    """The region of the environment."""
    return required(sandbox.environment.aws).region


def both(sandbox: Sandbox) -> tuple[Environment, Environment]:
    """The environment and its counterpart: checks compare them."""
    return sandbox.environment, sandbox.site.other


def service(sandbox: Sandbox) -> dict[str, Any]:
    """The API's service, from ecs:DescribeServices."""
    place = where(sandbox)
    found = sandbox.aws("ecs").describe_services(cluster=place.cluster, services=[place.service])["services"]
    described: dict[str, Any] = found[0]
    return described


def target_group(sandbox: Sandbox) -> str:
    """The ARN of the target group that the API registers in."""
    return str(service(sandbox)["loadBalancers"][0]["targetGroupArn"])


def listener(sandbox: Sandbox) -> dict[str, Any]:
    """The load balancer's listener on 443."""
    elbv2, name = sandbox.aws("elbv2"), required(sandbox.environment.load_balancer).name
    arn = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    found: list[dict[str, Any]] = elbv2.describe_listeners(LoadBalancerArn=arn)["Listeners"]
    return next(x for x in found if x["Port"] == 443)


def rule(sandbox: Sandbox, host: str = "") -> dict[str, Any]:
    """The rule of a host; default: of the API's."""
    on, host = listener(sandbox)["ListenerArn"], host or api(sandbox).host
    rules: list[dict[str, Any]] = sandbox.aws("elbv2").describe_rules(ListenerArn=on)["Rules"]
    hosts = [[h for c in r["Conditions"] for h in c.get("HostHeaderConfig", {}).get("Values", [])] for r in rules]
    return next(rule for rule, named in zip(rules, hosts, strict=True) if host in named)


def alias_zone(sandbox: Sandbox) -> str:
    """The id of the environment's public zone in Route 53."""
    name = required(sandbox.environment.dns.zone)
    zones = sandbox.aws("route53").list_hosted_zones()["HostedZones"]
    return str(next(z["Id"] for z in zones if z["Name"] == f"{name}." and not z["Config"].get("PrivateZone")))


def change_records(sandbox: Sandbox, zone: str, changes: list[tuple[str, dict[str, Any]]]) -> None:
    """Make these changes, such as (`CREATE`, record), at once."""
    batch = {"Changes": [{"Action": action, "ResourceRecordSet": record} for action, record in changes]}
    sandbox.aws("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)


def invalidated(sandbox: Sandbox, frontend: Frontend) -> None:
    """Tell CloudFront to forget the frontend's page, as its deploy does."""
    cloudfront = sandbox.aws("cloudfront", EDGE_REGION)
    items = cloudfront.list_distributions()["DistributionList"]["Items"]
    invalidate(sandbox.account, next(d["Id"] for d in items if frontend.host in d["Aliases"].get("Items", [])))


@contextmanager
def overlaid(sandbox: Sandbox, action: str, **parameters: Any) -> Iterator[None]:
    """Set a state that the AWS API can't set."""
    undo = sandbox.aws_overlay(action, **parameters)
    try:
        yield
    finally:
        sandbox.aws_overlay(action, **undo)


@contextmanager
def reconfigured(sandbox: Sandbox, **tables: Any) -> Iterator[None]:
    """Change tables in the overlay of environments.toml."""
    undo = sandbox.reconfigure(tables)
    try:
        yield
    finally:
        sandbox.reconfigure(undo)


@contextmanager
def answering(sandbox: Sandbox, how: str) -> Iterator[None]:
    """Let the API answer in this way (`sandbox.api.breakage`)."""
    file = sandbox.state_dir / "api-breakage"
    before = file.read_text(encoding="utf-8").split() if file.exists() else []
    file.write_text("\n".join([*before, how]), encoding="utf-8")
    try:
        yield
    finally:
        left = [name for name in file.read_text(encoding="utf-8").split() if name != how]
        file.write_text("\n".join(left), encoding="utf-8")


@contextmanager
def redefined(
    sandbox: Sandbox, change: Callable[[dict[str, Any]], None], environment: Environment | None = None
) -> Iterator[None]:
    """Run the API on a changed revision of its task definition, here or in the named environment."""
    ecs, place = sandbox.aws("ecs"), required((environment or sandbox.environment).services["api"].ecs)
    found = ecs.describe_services(cluster=place.cluster, services=[place.service])["services"][0]
    before = found["taskDefinition"]
    described = ecs.describe_task_definition(taskDefinition=before)["taskDefinition"]
    definition = {key: described[key] for key in _KEPT}
    change(definition)
    arn = ecs.register_task_definition(**definition)["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster=place.cluster, service=place.service, taskDefinition=arn)
    try:
        yield
    finally:
        ecs.update_service(cluster=place.cluster, service=place.service, taskDefinition=before)
        ecs.deregister_task_definition(taskDefinition=arn)


@contextmanager
def allowed(sandbox: Sandbox, *statements: dict[str, Any]) -> Iterator[None]:
    """Add statements to the API's execution role."""
    arn = sandbox.aws("ecs").describe_task_definition(taskDefinition=service(sandbox)["taskDefinition"])
    role = arn["taskDefinition"]["executionRoleArn"].rpartition("/")[2]
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    name = f"variant-{crc32(document.encode())}"
    sandbox.aws("iam").put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=document)
    try:
        yield
    finally:
        sandbox.aws("iam").delete_role_policy(RoleName=role, PolicyName=name)
