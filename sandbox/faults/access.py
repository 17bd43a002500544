"""Faults of what a run itself needs before it can judge anything: its identity, and the repositories."""

from __future__ import annotations

import configparser
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.faults import Sandbox, fault
from sandbox.overlay import PROFILE
from sandbox.repositories import path


@fault("aws-foreign-role", turns_red=["aws-caller-identity"])
def aws_foreign_role(sandbox: Sandbox) -> Iterator[None]:
    """The profile's credentials are those of a role that may deploy, not of the one that only looks."""
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


@fault("git-branch-missing", turns_red=["git-remote-branches"])
def git_branch_missing(sandbox: Sandbox) -> Iterator[None]:
    """One repository has lost its dev branch."""
    git = ["git", "--git-dir", str(path(sandbox.repositories, sandbox.environment.repositories[-1].name))]
    branch = "refs/heads/dev"
    commit = subprocess.run([*git, "rev-parse", branch], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([*git, "update-ref", "-d", branch], check=True)
    yield
    subprocess.run([*git, "update-ref", branch, commit], check=True)


@contextmanager
def _refusing(sandbox: Sandbox, service: str, code: str) -> Iterator[None]:
    """AWS answers the suite's requests of a service with an error code."""
    undo = sandbox.aws_overlay("refuse", service=service, code=code)
    try:
        yield
    finally:
        sandbox.aws_overlay("refuse", **undo)


@fault("aws-denies-ecs", turns_red=["ecs-cluster-active", "secret-rotation-state"])
def aws_denies_ecs(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may not ask ECS anything: what it would have seen is unknown, not failed."""
    with _refusing(sandbox, "ecs", "AccessDeniedException"):
        yield


@fault("aws-throttles-rds", turns_red=["db-instance-available"])
def aws_throttles_rds(sandbox: Sandbox) -> Iterator[None]:
    """RDS has enough of requests."""
    with _refusing(sandbox, "rds", "Throttling"):
        yield


@fault("aws-denies-secrets", turns_red=["secret-exists", "secret-fields", "ecs-taskdef-contract"])
def aws_denies_secrets(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may not look at secrets; whoever logs in with them can't be judged."""
    with _refusing(sandbox, "secretsmanager", "AccessDeniedException"):
        yield


@fault("aws-denies-metrics", turns_red=["ecs-cpu-mem-headroom", "alarms-exist"])
def aws_denies_metrics(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may ask CloudWatch neither for metrics nor for alarms."""
    with _refusing(sandbox, "cloudwatch", "AccessDenied"):
        yield


@fault("aws-denies-buckets", turns_red=["s3-bucket-exists", "s3-encryption"])
def aws_denies_buckets(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may look at no bucket; what S3 refuses to a HEAD request has no body to say why."""
    with _refusing(sandbox, "s3", "AccessDenied"):
        yield


@fault("aws-throttles-dns", turns_red=["dns-alias-target"])
def aws_throttles_dns(sandbox: Sandbox) -> Iterator[None]:
    """Somebody else uses up the five requests a second that Route 53 gives to an account."""
    with _refusing(sandbox, "route53", "Throttling"):
        yield
