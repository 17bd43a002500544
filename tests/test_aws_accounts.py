"""An environment whose counterpart, DNS and images are in other accounts: moto keeps accounts apart, as AWS does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_rig import ACCOUNT, REGION

from gli.config import environments
from gli.config.environments import Environment
from gli.observe.aws import data_tier, ecr, parity, route53
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Observatory

PROD, DNS, IMAGES = "222222222222", "333333333333", "444444444444"
ACCOUNTS = {"counterpart": PROD, "dns": DNS, "images": IMAGES}


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """moto's server, with staging, production, the zone and the images, each in an account of its own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for account, name in ((ACCOUNT, "stg"), (PROD, "prod")):
        made = clients(url, account)
        _service(made("ecs"), f"{name}-gli-api", variables=["A", "B"] if name == "stg" else ["A", "C"])
        _edge(made, f"{name}-gli-alb", f"{'stg.' if name == 'stg' else ''}glibiz.com")
        made("rds").create_db_instance(
            DBInstanceIdentifier=f"{name}-gli-database",
            Engine="postgres",
            EngineVersion="18.1" if name == "stg" else "17.4",
            DBInstanceClass="db.t4g.medium",
            MasterUsername="gli",
            MasterUserPassword="password",
            PubliclyAccessible=False,
        )
    clients(url, DNS)("route53").create_hosted_zone(Name="glibiz.com", CallerReference="x")
    clients(url, IMAGES)("ecr").create_repository(repositoryName="gli-api", imageTagMutability="IMMUTABLE")
    yield url
    server.stop()


def assumed(url: str, account: str) -> Any:
    """The keys of a role in this account."""
    sts = boto3.client("sts", endpoint_url=url, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    return sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/admin", RoleSessionName="test")["Credentials"]


def clients(url: str, account: str) -> Any:
    """Makes clients with the keys of a role in this account."""
    keys = assumed(url, account)
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)
    return lambda service: session.client(service, endpoint_url=url)


def _service(ecs: Any, name: str, variables: list[str]) -> None:
    container = {"name": "api", "image": f"{IMAGES}.dkr.ecr.{REGION}.amazonaws.com/gli-api:1", "memory": 256}
    container["environment"] = [{"name": variable, "value": "x"} for variable in variables]
    ecs.create_cluster(clusterName="gli-api-cluster")
    definition = ecs.register_task_definition(family=name, containerDefinitions=[container])["taskDefinition"]
    ecs.create_service(
        cluster="gli-api-cluster", serviceName=name, taskDefinition=definition["taskDefinitionArn"], desiredCount=1
    )


def _edge(made: Any, name: str, host: str) -> None:
    ec2, elbv2 = made("ec2"), made("elbv2")
    subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"][:2]]
    arn = elbv2.create_load_balancer(Name=name, Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    redirect = {"Protocol": "HTTPS", "StatusCode": "HTTP_301" if name.startswith("stg") else "HTTP_302"}
    action = {"Type": "redirect", "RedirectConfig": redirect}
    elbv2.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[action])
    origin = {"Id": "b", "DomainName": "b.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}
    config = {
        "CallerReference": "x",
        "Comment": "",
        "Enabled": True,
        "Aliases": {"Quantity": 1, "Items": [host]},
        "Origins": {"Quantity": 1, "Items": [origin]},
        "DefaultCacheBehavior": {"TargetOriginId": "b", "ViewerProtocolPolicy": "https-only", "MinTTL": 0},
    }
    made("cloudfront").create_distribution(DistributionConfig=config)


FILE = """
[[repositories]]
name = "gli_api-server"
[[repositories]]
name = "gli_user-frontend"
[stg]
branch = "stg"
counterpart = "prod"
[stg.dns]
zone = "glibiz.com"
[stg.aws]
region = "{region}"
account_id = "{account}"
endpoint_url = "{url}"
{roles}
[stg.load_balancer]
name = "stg-gli-alb"
[stg.services.api]
url = "https://stg-api.glibiz.com"
repository = "gli_api-server"
image = "gli-api"
ecs = {{ cluster = "gli-api-cluster", service = "stg-gli-api", container = "api", port = 8000 }}
[stg.frontends.user]
url = "https://stg.glibiz.com"
repository = "gli_user-frontend"
bucket = "stg-gli-user-frontend"
[stg.database]
instance = "stg-gli-database"
secret = "stg/gli/database"
verify_secret = "stg/gli/verify-database"
migrations = "gli_api-server"
ingress_from = ["stg-gli-api-tasks"]
[prod]
extends = "stg"
branch = "main"
load_balancer.name = "prod-gli-alb"
services.api.ecs.service = "prod-gli-api"
frontends.user.url = "https://glibiz.com"
database.instance = "prod-gli-database"
"""
Load = Callable[..., Environment]


@pytest.fixture
def load(aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads [stg] with the roles of these parts; the credentials of the run are those of a role in its own account."""
    keys = assumed(aws, ACCOUNT)
    for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"):
        monkeypatch.setenv(f"AWS_{re.sub('(?<=[a-z])(?=[A-Z])', '_', name).upper()}", keys[name])

    def loaded(*parts: str) -> Environment:
        named = [f'roles.{part} = "arn:aws:iam::{ACCOUNTS[part]}:role/gli-verify"' for part in parts]
        text = FILE.format(region=REGION, account=ACCOUNT, url=aws, roles="\n".join(named))
        (tmp_path / "environments.toml").write_text(text)
        return environments.load(tmp_path, "stg")

    return loaded


def seen(environment: Environment, probe: Any, target: Any = None) -> Any:
    observatory = Observatory(environment)
    try:
        return observatory.wait(probe, target)
    finally:
        observatory.close()


def test_the_counterpart_is_compared_from_its_own_account(load: Load) -> None:
    environment = load("counterpart")
    (compared,) = seen(environment, parity.configurations)
    assert (compared.own, compared.other) == (("A", "B"), ("A", "C"))
    edges = seen(environment, parity.edges)
    assert edges.own[parity.LOAD_BALANCER] != edges.other[parity.LOAD_BALANCER]
    assert edges.own["user"] == edges.other["user"]
    engines = seen(environment, data_tier.engines)
    assert (engines.own, engines.other) == ({"database": "postgres 18.1"}, {"database": "postgres 17.4"})


@pytest.mark.parametrize("probe", [parity.configurations, parity.edges, data_tier.engines])
def test_without_a_role_for_the_counterpart_the_message_names_the_missing_key(load: Load, probe: Any) -> None:
    with pytest.raises(Unobserved, match=r"as counterpart in \[stg\.aws\.roles\]"):
        seen(load(), probe)


def test_the_zone_is_read_from_its_own_account(load: Load) -> None:
    assert seen(load("dns"), route53.zone).name == "glibiz.com"
    with pytest.raises(Unobserved, match=r"as dns in \[stg\.aws\.roles\]"):
        seen(load(), route53.zone)


def test_the_images_are_read_from_the_registry_that_the_running_image_names(load: Load) -> None:
    (repository,) = seen(load("images"), ecr.registry_repositories).values()
    assert (repository.exists, repository.mutability) == (True, "IMMUTABLE")
    with pytest.raises(Unobserved, match=rf"registry of account {IMAGES} .* as images in \[stg\.aws\.roles\]"):
        seen(load(), ecr.registry_repositories)
