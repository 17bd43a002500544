"""Helpers for the faults of several layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gli.config.environments import Environment
from gli.config.services import Ecs, Frontend, Service
from sandbox import repositories
from sandbox.aws.account import EDGE_REGION
from sandbox.faults import Sandbox
from sandbox.relay import Mode
from sandbox.site import required

CDN_SETTLED = 0.5
"""Seconds after which the CDN has seen a change of what AWS holds."""


@contextmanager
def refusing(sandbox: Sandbox, service: str, code: str) -> Iterator[None]:
    """Let AWS answer the suite's requests to a service with an error code."""
    undo = sandbox.aws_overlay("refuse", service=service, code=code)
    try:
        yield
    finally:
        sandbox.aws_overlay("refuse", **undo)


def user_bucket(sandbox: Sandbox) -> str:
    """The name of the user frontend's bucket."""
    return required(sandbox.environment.frontends["user"].bucket)


@contextmanager
def rewritten_overlay(sandbox: Sandbox, text: str, by: str) -> Iterator[None]:
    """Replace one text in the overlay, for the runs that start from now on."""
    overlay = sandbox.state_dir / "environment.toml"
    before = overlay.read_text(encoding="utf-8")
    if text not in before:
        raise LookupError(f"the overlay has no {text.strip()}")
    overlay.write_text(before.replace(text, by), encoding="utf-8")
    try:
        yield
    finally:
        overlay.write_text(before, encoding="utf-8")


KEY_FOR_CLOUDFRONT = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "kms:Decrypt",
            "Resource": "*",
        },
    ],
}


@contextmanager
def encrypted_bucket(sandbox: Sandbox, **by: str) -> Iterator[None]:
    """Let the user frontend's bucket encrypt what is uploaded with a key of KMS."""
    s3, bucket = sandbox.aws("s3"), user_bucket(sandbox)

    def encrypt(**by: str) -> None:
        rules = [{"ApplyServerSideEncryptionByDefault": by}]
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})

    encrypt(SSEAlgorithm="aws:kms", **by)
    try:
        yield
    finally:
        encrypt(SSEAlgorithm="AES256")


def user_frontend(sandbox: Sandbox) -> Frontend:
    """The frontend that the frontend faults break."""
    return sandbox.environment.frontends["user"]


def distribution_id(sandbox: Sandbox) -> str:
    """The id of the user frontend's distribution."""
    items = sandbox.aws("cloudfront", EDGE_REGION).list_distributions()["DistributionList"]["Items"]
    host = user_frontend(sandbox).host
    return next(str(item["Id"]) for item in items if host in item["Aliases"].get("Items", []))


@contextmanager
def changed_distribution(sandbox: Sandbox, change: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """Change the configuration of the user frontend's distribution."""
    cloudfront, identifier = sandbox.aws("cloudfront", EDGE_REGION), distribution_id(sandbox)

    def configure(change: Callable[[dict[str, Any]], object]) -> None:
        now = cloudfront.get_distribution_config(Id=identifier)
        change(now["DistributionConfig"])
        cloudfront.update_distribution(Id=identifier, IfMatch=now["ETag"], DistributionConfig=now["DistributionConfig"])
        time.sleep(CDN_SETTLED)

    before = cloudfront.get_distribution_config(Id=identifier)["DistributionConfig"]
    configure(change)
    try:
        yield
    finally:
        configure(lambda config: config.update(before))


@contextmanager
def changed_listener(sandbox: Sandbox, of: Environment, **changes: Any) -> Iterator[None]:
    """Change settings of the HTTPS listener of an environment's load balancer."""
    elbv2, name = sandbox.aws("elbv2"), required(of.load_balancer).name
    balancer = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    listeners = elbv2.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    listener = next(each for each in listeners if each["Protocol"] == "HTTPS")
    kept = {"ListenerArn": listener["ListenerArn"], "DefaultActions": listener["DefaultActions"]}
    elbv2.modify_listener(**kept, **changes)
    try:
        yield
    finally:
        elbv2.modify_listener(**kept, **{key: listener[key] for key in changes})


@contextmanager
def relay_mode(sandbox: Sandbox, mode: Mode, *names: str) -> Iterator[None]:
    """Put these relays into a mode until the fault is healed."""
    relays = [sandbox.relay(name) for name in names]
    before = [relay.mode for relay in relays]
    for relay in relays:
        sandbox.run(relay.set_mode(mode))
    yield
    for relay, old in zip(relays, before, strict=True):
        sandbox.run(relay.set_mode(old))


@contextmanager
def pushed(
    sandbox: Sandbox,
    name: str,
    branch: str,
    tree: Mapping[str, str],
    ago: timedelta = timedelta(hours=1),
    merged: str | None = None,
) -> Iterator[str]:
    """Add a commit to a branch; yields its hash."""
    repository = repositories.path(sandbox.repositories, name)
    before = repositories.refs(repository, f"refs/heads/{branch}")[branch]
    at = datetime.now(UTC) - ago
    yield repositories.push(repository, branch, "Pushed by a fault", tree, at, merged)
    repositories.set_ref(repository, f"refs/heads/{branch}", before)


@contextmanager
def developed(sandbox: Sandbox, name: str, branch: str, tree: Mapping[str, str]) -> Iterator[str]:
    """Add a commit to a branch, and to dev too if the branch is staging's; yields its hash."""
    with ExitStack() as stack:
        commit = stack.enter_context(pushed(sandbox, name, branch, tree))
        if branch == staged(sandbox):
            stack.enter_context(pushed(sandbox, name, "dev", tree, merged=commit))
        yield commit


def staged(sandbox: Sandbox) -> str:
    """The branch that staging runs."""
    return sandbox.site.staging.branch


@contextmanager
def released(sandbox: Sandbox) -> Iterator[dict[Path, str]]:
    """Move production's branch to staging's head in every repository; yields these heads."""
    branch, before, heads = f"refs/heads/{sandbox.site.production.branch}", {}, {}
    for repository in sandbox.environment.repositories:
        path = repositories.path(sandbox.repositories, repository.name)
        known = repositories.refs(path, "refs/heads")
        before[path], heads[path] = known[sandbox.site.production.branch], known[staged(sandbox)]
        repositories.set_ref(path, branch, heads[path])
    yield heads
    for path, commit in before.items():
        repositories.set_ref(path, branch, commit)


def api_service(sandbox: Sandbox) -> Service:
    """The API's settings in environments.toml."""
    return sandbox.environment.services["api"]


@contextmanager
def logged(sandbox: Sandbox, stream: str, lines: list[str]) -> Iterator[None]:
    """Write these lines of the API now, in a stream of their own."""
    logs, group = sandbox.aws("logs"), required(api_service(sandbox).log_group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in lines]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    yield
    logs.delete_log_stream(logGroupName=group, logStreamName=stream)


def api_ecs(sandbox: Sandbox) -> Ecs:
    """The API's cluster and service names in ECS."""
    return required(api_service(sandbox).ecs)


def aws_region(sandbox: Sandbox) -> str:
    """The region of the environment."""
    return required(sandbox.environment.aws).region


def api_ecs_service(sandbox: Sandbox) -> dict[str, Any]:
    """The API's ECS service, from `ecs:DescribeServices`."""
    where = api_ecs(sandbox)
    answer = sandbox.aws("ecs").describe_services(cluster=where.cluster, services=[where.service])
    service: dict[str, Any] = answer["services"][0]
    return service


@contextmanager
def peered_cache(sandbox: Sandbox, *more: dict[str, Any]) -> Iterator[None]:
    """Move the cache to a VPC of its own, behind a group that takes what the usual one takes, and more."""
    ec2, elasticache = sandbox.aws("ec2"), sandbox.aws("elasticache")
    cache = required(sandbox.environment.cache)
    named = [{"Name": "group-name", "Values": [cache.security_group]}]
    usual = ec2.describe_security_groups(Filters=named)["SecurityGroups"][0]
    vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.99.1.0/24")["Subnet"]["SubnetId"]
    stands = f"in-{subnet}"  # moto can't delete it
    elasticache.create_cache_subnet_group(
        CacheSubnetGroupName=stands, CacheSubnetGroupDescription="peered", SubnetIds=[subnet]
    )
    group = ec2.create_security_group(GroupName=cache.security_group, Description="cache", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[*usual["IpPermissions"], *more])
    undo = sandbox.aws_overlay(
        "replication-group",
        region=aws_region(sandbox),
        name=cache.replication_group,
        security_group_ids=[group],
        cache_subnet_group_name=stands,
    )
    try:
        yield
    finally:
        sandbox.aws_overlay("replication-group", **undo)
        ec2.delete_security_group(GroupId=group)
        ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_vpc(VpcId=vpc)
