"""Faults of what a run itself needs before it can judge anything: its identity, and the repositories."""

from __future__ import annotations

import configparser
import json
import subprocess
from collections.abc import Iterator

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


@fault("aws-denies-ecs", turns_red=["ecs-cluster-active", "secret-rotation-state"])
def aws_denies_ecs(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may not ask ECS anything: what it would have seen is unknown, not failed."""
    undo = sandbox.aws_overlay("refuse", service="ecs", code="AccessDeniedException")
    yield
    sandbox.aws_overlay("refuse", **undo)


@fault("aws-throttles-rds", turns_red=["db-instance-available"])
def aws_throttles_rds(sandbox: Sandbox) -> Iterator[None]:
    """RDS has enough of requests."""
    undo = sandbox.aws_overlay("refuse", service="rds", code="Throttling")
    yield
    sandbox.aws_overlay("refuse", **undo)


@fault("aws-denies-secrets", turns_red=["secret-exists", "secret-fields", "ecs-taskdef-contract"])
def aws_denies_secrets(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may not look at secrets; whoever logs in with them can't be judged."""
    undo = sandbox.aws_overlay("refuse", service="secretsmanager", code="AccessDeniedException")
    yield
    sandbox.aws_overlay("refuse", **undo)
