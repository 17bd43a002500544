"""Faults of the run itself: its credentials, its configuration, and its network."""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import relay_mode, rewritten_overlay
from sandbox.overlay import PROFILE


@fault("aws-foreign-role", turns_red=["aws-caller-identity"])
def aws_foreign_role(sandbox: Sandbox) -> Iterator[None]:
    """The profile has the credentials of the deploy role instead of the read-only role."""
    iam, role = sandbox.aws("iam"), "gli-deploy"
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    keys = sandbox.aws("sts").assume_role(RoleArn=arn, RoleSessionName="sandbox")["Credentials"]
    file = sandbox.state_dir / "aws-credentials"
    before = file.read_text(encoding="utf-8")
    credentials = configparser.ConfigParser()
    credentials[PROFILE] = {
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": keys["SecretAccessKey"],
        "aws_session_token": keys["SessionToken"],
    }
    with file.open("w", encoding="utf-8") as out:
        credentials.write(out)
    yield
    file.write_text(before, encoding="utf-8")
    iam.delete_role(RoleName=role)


@fault("production-in-the-overlay", turns_red=["env-config-valid"])
def production_in_the_overlay(sandbox: Sandbox) -> Iterator[None]:
    """The sandbox's overlay names a host of production."""
    section = "[connect_to]\n"
    line = f'"{sandbox.site.other.services["api"].host}:443" = "127.0.0.1:9"\n'
    with rewritten_overlay(sandbox, section, section + line):
        yield


@fault(
    "runner-outside-the-vpc",
    turns_red=["vantage-vpc-reachable", "db-tcp-reachable", "db-credentials-valid", "redis-ping", "mq-amqp-login"],
)
def runner_outside_the_vpc(sandbox: Sandbox) -> Iterator[None]:
    """The runner can't connect to the data tier, but the API can."""
    with relay_mode(sandbox, "refuse", *({"database", "cache", "broker"} & sandbox.relays.keys())):
        yield


@fault("aws-unreachable", turns_red=["aws-caller-identity"])
def aws_unreachable(sandbox: Sandbox) -> Iterator[None]:
    """The AWS API resets every connection; only the sandbox's own direct connections to moto work."""
    with relay_mode(sandbox, "reset", "aws"):
        yield
