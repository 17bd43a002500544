"""What a role's policies come to: what is beyond looking, and what stands for everything."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import ROOT
from gli.config import catalogue, environments
from gli.config.iam_policy import policy
from gli.observe.aws.iam import Role, Statement, read_role
from gli.observe.engine.aws_session import iam_action
from gli.observe.engine.guard import AWS_READS

ASKED = {iam_action(service, operation) for service, operations in AWS_READS.items() for operation in operations}


def allow(*actions: str, on: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": on, **more}


def deny(*actions: str, on: str = "*") -> dict[str, Any]:
    return {**allow(*actions, on=on), "Effect": "Deny"}


def role(*statements: dict[str, Any]) -> Role:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return read_role("arn:aws:iam::1:role/x", {"RolePolicyList": [{"PolicyDocument": document}]}, {})


def test_what_the_policy_of_a_run_allows_is_not_beyond_looking() -> None:
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
def test_looking_is_no_harm(statements: list[dict[str, Any]]) -> None:
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
def test_whatever_else_is_beyond_it(statements: list[dict[str, Any]], beyond: list[str]) -> None:
    assert list(role(*statements).beyond(ASKED)) == beyond


def test_what_an_attached_policy_holds_may_not_be_known() -> None:
    attached = {"AttachedManagedPolicies": [{"PolicyName": "Shared", "PolicyArn": "arn:aws:iam::2:policy/Shared"}]}
    assert read_role("arn:aws:iam::1:role/x", attached, {}).unread == ("Shared",)


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
def test_only_stars_are_everything(action: str, resource: str, wide: bool) -> None:
    statement = Statement(allows=True, actions=(action,), resources=(resource,))
    assert statement.wide == ((action,) if wide else ())
