"""The effect of a role's policies: which permissions are more than read-only, and which allow everything."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from aws_rig import ACCOUNT, Account, observing, staging

from conftest import ROOT
from gli.config import catalogue, environments
from gli.config.iam_policy import policy
from gli.observe.aws.iam import TASKS, Federation, Role, Roles, iam_roles, read_role
from gli.observe.aws.iam_statements import Statement
from gli.observe.engine.aws_session import iam_action
from gli.observe.engine.guard import AWS_READS
from gli.observe.release.workflow import Target, Workflow
from tests_infra.test_roles import test_iam_deploy_role as judge_deploys

ASKED = {iam_action(service, operation) for service, operations in AWS_READS.items() for operation in operations}


def allow(*actions: str, on: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": on, **more}


def deny(*actions: str, on: str = "*") -> dict[str, Any]:
    return {**allow(*actions, on=on), "Effect": "Deny"}


PLAIN: dict[str, Any] = {"RolePolicyList": [], "AttachedManagedPolicies": [], "AssumeRolePolicyDocument": {}}
"""A role without policies."""


def role(*statements: dict[str, Any]) -> Role:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return read_role("arn:aws:iam::1:role/x", PLAIN | {"RolePolicyList": [{"PolicyDocument": document}]}, {})


def test_the_policy_of_a_run_is_read_only() -> None:
    printed = policy(catalogue.load(ROOT), environments.load(ROOT, "stg"))
    assert role(*printed["Statement"]).beyond(ASKED) == ()


@pytest.mark.parametrize(
    "statements",
    [
        [allow("ec2:Describe*", "s3:Get*", "s3:ListBucket", "iam:GetRole", "S3:HEADObject")],
        [allow("logs:FilterLogEvents", "ecr:BatchGetImage")],
        [allow("ecs:UpdateService"), deny("ecs:UpdateService")],
        [allow("ecs:UpdateService"), deny("ecs:Update*")],
    ],
)
def test_read_actions_are_harmless(statements: list[dict[str, Any]]) -> None:
    assert role(*statements).beyond(ASKED) == ()


@pytest.mark.parametrize(
    ("statements", "beyond"),
    [
        ([allow("*")], ["*"]),
        ([allow("kms:Decrypt")], ["kms:Decrypt"]),
        ([allow("lambda:InvokeFunction", "sts:AssumeRole")], ["lambda:InvokeFunction", "sts:AssumeRole"]),
        ([allow("iam:PassRole", on="arn:aws:iam::1:role/tasks")], ["iam:PassRole"]),
        ([allow("s3:*"), deny("s3:Put*", "s3:Delete*")], ["s3:*"]),
        ([allow("s3:G*")], ["s3:G*"]),
        ([allow("ecs:RunTask"), deny("ecs:RunTask", on="arn:aws:ecs:*:*:task-definition/x:*")], ["ecs:RunTask"]),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], ["all but iam:*"]),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, deny("iam:*")], ["all but iam:*"]),
        ([allow("ecs:RunTask", Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}})], ["ecs:RunTask"]),
    ],
)  # fmt: skip
def test_other_actions_are_more_than_read_only(statements: list[dict[str, Any]], beyond: list[str]) -> None:
    assert list(role(*statements).beyond(ASKED)) == beyond


def test_an_attached_policy_may_be_unknown() -> None:
    attached = {"AttachedManagedPolicies": [{"PolicyName": "Shared", "PolicyArn": "arn:aws:iam::2:policy/Shared"}]}
    assert read_role("arn:aws:iam::1:role/x", PLAIN | attached, {}).unread == ("Shared",)


@pytest.mark.parametrize(
    ("action", "resource", "wide"),
    [
        ("*", "*", True),
        ("*", "arn:aws:*:*:*:*", True),
        ("*", "arn:aws:*", True),
        ("*", "arn:*:*:*:*:*", True),
        ("s3:*", "arn:aws:s3:::*", True),
        ("s3:**", "**", True),
        ("s3:*", "arn:aws:s3:::stg-gli-uploads/*", False),
        ("logs:*", "arn:aws:logs:*:*:log-group:/gli/api-server/staging:*", False),
        ("s3:GetObject", "*", False),
    ],
)
def test_only_wildcards_mean_everything(action: str, resource: str, wide: bool) -> None:
    statement = Statement(allows=True, actions=(action,), resources=(resource,))
    assert statement.wide == ((action,) if wide else ())


KEY = "arn:aws:kms:ap-northeast-2:1:key/k"
VIA = {"StringEquals": {"kms:ViaService": "secretsmanager.ap-northeast-2.amazonaws.com"}}


@pytest.mark.parametrize(
    ("statement", "harmless"),
    [
        (allow("kms:Decrypt", Condition=VIA), True),
        (allow("kms:Decrypt", on=KEY), True),
        (allow("kms:Decrypt"), False),
        (allow("kms:Decrypt", "kms:Encrypt", on=KEY), False),
        (allow("kms:Decrypt", Condition={"StringEquals": {"kms:ViaService": "s3.amazonaws.com"}}), False),
    ],
)
def test_a_kms_key_may_be_used_for_secrets_only(statement: dict[str, Any], harmless: bool) -> None:
    assert (role(statement).beyond(ASKED) == ()) is harmless


def test_the_printed_policy_allows_secrets_under_a_customer_managed_key() -> None:
    printed = policy(catalogue.load(ROOT), environments.load(ROOT, "stg"))
    statement = next(s for s in printed["Statement"] if s["Action"] == ["kms:Decrypt"])
    assert statement["Condition"]["StringEquals"] == {"kms:ViaService": "secretsmanager.ap-northeast-2.amazonaws.com"}
    assert all(
        arn.endswith("-??????") for arn in statement["Condition"]["StringLike"]["kms:EncryptionContext:SecretARN"]
    )


def managed(name: str, *statements: dict[str, Any], **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A role with an attached managed policy, and the account's policies."""
    arn = f"arn:aws:iam::aws:policy/{name}"
    version = {"IsDefaultVersion": True, "Document": {"Statement": list(statements)}}
    attached = {"AttachedManagedPolicies": [{"PolicyName": name.rpartition("/")[2], "PolicyArn": arn}]}
    return PLAIN | attached | more, {arn: {"Arn": arn, "PolicyVersionList": [version]}}


@pytest.mark.parametrize("name", ["ReadOnlyAccess", "job-function/ViewOnlyAccess", "SecurityAudit"])
def test_read_only_policies_of_aws_are_read_only(name: str) -> None:
    attached, policies = managed(name, allow("athena:StartSomethingThatOnlyReads", "ecs:DescribeServices"))
    assert read_role("arn:aws:iam::1:role/x", attached, policies).beyond(ASKED) == ()
    assert read_role("arn:aws:iam::1:role/x", attached, {}).unread == ()
    attached, policies = managed("PowerUserAccess", allow("ecs:UpdateService"))
    assert read_role("arn:aws:iam::1:role/x", attached, policies).beyond(ASKED) == ("ecs:UpdateService",)


def test_a_permissions_boundary_limits_the_policies() -> None:
    edge = "arn:aws:iam::1:policy/edge"
    version = {"IsDefaultVersion": True, "Document": {"Statement": [allow("ecr:*", "logs:*")]}}
    bounded = {"PermissionsBoundary": {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": edge}}
    inline = PLAIN | {"RolePolicyList": [{"PolicyDocument": {"Statement": [allow("*")]}}]}
    found = read_role("arn:aws:iam::1:role/x", inline | bounded, {edge: {"PolicyVersionList": [version]}})
    assert found.may("ecr:BatchGetImage", "x")
    assert not found.may("secretsmanager:GetSecretValue", "x")
    unread = read_role("arn:aws:iam::1:role/x", inline | bounded, {})
    assert unread.unread == ("edge",)
    assert not unread.may("ecr:BatchGetImage", "x"), "what a boundary allows that is not known is not taken as allowed"


ISSUER = "token.actions.githubusercontent.com"


def github_role(name: str, subject: str, *statements: dict[str, Any]) -> dict[str, Any]:
    """A role that GitHub workflows with this subject may assume, in IAM's format."""
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com"},
            "StringLike": {f"{ISSUER}:sub": subject},
        },
    }
    return {
        "RoleName": name,
        "Arn": f"arn:aws:iam::{ACCOUNT}:role/{name}",
        "AssumeRolePolicyDocument": json.dumps({"Statement": [trust]}),
        "RolePolicyList": [{"PolicyName": "p", "PolicyDocument": json.dumps({"Statement": list(statements)})}],
        "AttachedManagedPolicies": [],
    }


DEPLOYS = allow("ecs:UpdateService", "s3:PutObject")
READS = allow("secretsmanager:GetSecretValue", "ecs:Describe*")


@pytest.mark.parametrize(
    ("subject", "statement", "accepted"),
    [
        ("repo:gli/gli_root:environment:verify-stg", READS, True),
        ("repo:gli/gli_*:environment:staging", DEPLOYS, True),
        ("repo:gli/gli_api-server:ref:refs/heads/stg", DEPLOYS, True),
        ("repo:others/shop:ref:refs/heads/main", allow("s3:PutObject", on="arn:aws:s3:::shop/*"), True),
        ("repo:gli/other-team:*", allow("lambda:UpdateFunctionCode"), True),
        ("repo:others/shop:ref:refs/heads/main", DEPLOYS, False),
        ("repo:others/shop:ref:refs/heads/main", READS, False),
        ("repo:gli/gli_root:*", READS, False),
        ("repo:gli/gli_api-server:pull_request", allow("ecs:Describe*"), False),
        ("repo:*", allow("lambda:UpdateFunctionCode"), False),
        ("*", allow("lambda:UpdateFunctionCode"), False),
    ],
)
def test_github_may_assume_roles_to_deploy_and_verify(
    monkeypatch: pytest.MonkeyPatch, subject: str, statement: dict[str, Any], accepted: bool
) -> None:
    from tests_infra.test_roles import test_iam_github_oidc as check

    environment = staging()
    described = {"RoleDetailList": [github_role("x", subject, statement)], "Policies": [], "IsTruncated": False}
    with observing(
        Account({"iam.GetAccountAuthorizationDetails": described, "ecs.DescribeServices": {"services": []}}),
        environment,
        monkeypatch,
    ) as observatory:
        roles = observatory.wait(iam_roles)
    if accepted:
        check(roles, environment)
        return
    with pytest.raises(AssertionError, match="to name repositories of this project"):
        check(roles, environment)


@pytest.mark.parametrize(
    ("condition", "trusted"),
    [
        ({}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:ap-northeast-2:123456789012:*"}}, True),
        ({"ArnLike": {"aws:SourceArn": ["arn:aws:ecs:*:999999999999:*", "arn:aws:ecs:*:123456789012:*"]}}, True),
        ({"StringLike": {"AWS:SourceArn": "arn:aws:ecs:*"}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:ap-northeast-2:999999999999:*"}}, False),
        ({"StringEquals": {"aws:SourceAccount": "999999999999"}}, False),
    ],
)
def test_a_role_for_the_tasks_of_another_account_trusts_none_of_this_one(
    condition: dict[str, Any], trusted: bool
) -> None:
    statement = {"Effect": "Allow", "Principal": {"Service": TASKS}, "Action": "sts:AssumeRole", "Condition": condition}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    described = read_role("arn:aws:iam::123456789012:role/x", PLAIN | {"AssumeRolePolicyDocument": document}, {})
    assert described.trusted == ((TASKS,) if trusted else ())


DEPLOYS, READS = ("ecr:PutImage", "ecs:UpdateService"), ("secretsmanager:GetSecretValue",)
OURS = "repo:gli/gli_api-server"


@pytest.mark.parametrize(
    ("subjects", "reaches", "saw"),
    [
        ([f"{OURS}:environment:staging"], DEPLOYS, None),
        (["repo:gli/*:environment:staging"], DEPLOYS, None),
        ([f"{OURS}:ref:refs/heads/main", f"{OURS}:environment:*"], DEPLOYS, None),
        ([f"{OURS}:ref:refs/heads/stg"], DEPLOYS, "roles for ref:refs/heads/stg alone"),
        ([f"{OURS}:environment:stage"], DEPLOYS, "roles for environment:stage alone"),
        ([f"{OURS}:environment:stage"], (), None),
        ([f"{OURS}:environment:verify-stg"], READS, None),
        (["repo:other/team:environment:prod"], DEPLOYS, None),
        ([f"{OURS}:job_workflow_ref:gli/gli_root/deploy.yml@main"], DEPLOYS, None),
        (["repo:*:environment:staging"], DEPLOYS, "any repository of GitHub for deploy"),
        (["*"], READS, "any repository of GitHub for deploy"),
        ([], DEPLOYS, "any repository of GitHub for deploy"),
        ([], (), None),
    ],
)
def test_the_next_push_gets_its_role_and_no_stranger_does(
    subjects: list[str], reaches: tuple[str, ...], saw: str | None
) -> None:
    """A role that may change nothing here, and one that names none of our repositories, are left alone."""
    environment = environments.load(ROOT, "stg")
    repository = next(r for r in environment.repositories if r.name == "gli_api-server")
    goes = [Target(branch=branch, environments=(), foreign=(), tokens=(token,)) for branch, token in TOKENS.items()]
    trust = Federation(role="deploy", audiences=("sts.amazonaws.com",), subjects=tuple(subjects), reaches=reaches)
    known = Roles(of_tasks={}, own=None, federations=(trust,))
    workflow = Workflow(path="deploy.yml", targets=tuple(goes))
    with pytest.raises(AssertionError, match=saw) if saw else nullcontext():
        judge_deploys(workflow, known, environment, repository)


TOKENS = {"stg": "environment:staging", "main": "environment:production"}
