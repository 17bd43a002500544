"""What the execution role needs to start a task: parameters, secrets under a customer's key, and the key's policy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_answers import ACCOUNT, REGION, Answer, AwsRefusal, answering, observed, staging
from test_aws_compute import api, definition, described, only_the_api, services

from gli.observe.aws.iam import execution_role
from tests_infra import test_roles as roles

ROLE = f"arn:aws:iam::{ACCOUNT}:role/execution"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:stg/gli/api-AbCdEf"
PARAMETER = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/stg/gli/key"
ROOT = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}


def allow(action: str, on: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": on, **more}


READS = allow("secretsmanager:GetSecretValue", SECRET)
DECRYPTS = allow("kms:Decrypt", KEY)


def judge(
    value_from: str, *statements: dict[str, Any], key: list[dict[str, Any]] | None = None, named: str = KEY
) -> None:
    """Run iam-execution-role for a task with one reference and a role with these statements."""

    def policy(asked: dict[str, Any]) -> Any:
        if asked["KeyId"] != KEY:  # as AWS answers for an alias
            raise AwsRefusal("NotFoundException", "Invalid arn")
        return {"Policy": json.dumps({"Statement": key or []})}

    listed = {"Name": "stg/gli/api", "ARN": SECRET, "SecretVersionsToStages": {"v" * 32: ["AWSCURRENT"]}}
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]}
    role = {
        "RoleName": "execution",
        "Arn": ROLE,
        "AssumeRolePolicyDocument": json.dumps(trust),
        "RolePolicyList": [{"PolicyName": "p", "PolicyDocument": json.dumps({"Statement": list(statements)})}],
        "AttachedManagedPolicies": [],
    }
    answers: dict[tuple[str, str], Answer] = {
        **services(described()),
        **definition(container={"secrets": [{"name": "KEY", "valueFrom": value_from}]}),
        ("iam", "GetAccountAuthorizationDetails"): {"RoleDetailList": [role], "Policies": [], "IsTruncated": False},
        ("sts", "GetCallerIdentity"): {"Account": ACCOUNT, "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/gli-verify/x"},
        ("secretsmanager", "ListSecrets"): {"SecretList": [listed | ({"KmsKeyId": named} if key is not None else {})]},
        ("kms", "DescribeKey"): {"KeyMetadata": {"KeyId": "1234abcd", "Arn": KEY}},
        ("kms", "GetKeyPolicy"): policy,
    }
    environment = only_the_api()
    with answering(answers):
        roles.test_iam_execution_role(observed(environment, execution_role, api(environment)))


@pytest.mark.parametrize(
    ("statements", "key"),
    [
        ([READS], None),
        ([READS, DECRYPTS], [allow("kms:*", Principal=ROOT)]),
        ([READS, DECRYPTS], [allow("kms:Decrypt", Principal={"AWS": ACCOUNT})]),
        ([READS], [allow("kms:*", Principal=ROOT), allow("kms:Decrypt", Principal={"AWS": [ROLE]})]),
        ([READS], [allow("kms:Decrypt", Principal="*", Condition={"StringEquals": {"kms:CallerAccount": ACCOUNT}})]),
    ],
)
def test_a_secret_under_a_key_needs_the_key(statements: list[dict[str, Any]], key: list[dict[str, Any]] | None) -> None:
    judge(SECRET, *statements, key=key)


@pytest.mark.parametrize("named", ["alias/gli", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/gli"])
def test_a_secret_may_name_its_key_by_an_alias(named: str) -> None:
    """Policies name the key itself, and GetKeyPolicy accepts no alias."""
    judge(SECRET, READS, DECRYPTS, key=[allow("kms:*", Principal=ROOT)], named=named)
    with pytest.raises(AssertionError, match=f"kms:Decrypt on {KEY}"):
        judge(SECRET, READS, key=[allow("kms:*", Principal=ROOT)], named=named)


DENIED = {"Effect": "Deny", "Action": "kms:Decrypt", "Principal": "*", "Resource": "*"}


@pytest.mark.parametrize(
    ("statements", "key"),
    [
        ([READS], [allow("kms:*", Principal=ROOT)]),
        ([READS, DECRYPTS], []),
        ([READS, DECRYPTS], [allow("kms:*", Principal={"AWS": "arn:aws:iam::999999999999:root"})]),
        ([READS, DECRYPTS], [allow("kms:Encrypt", Principal=ROOT)]),
        ([READS, DECRYPTS], [allow("kms:*", Principal=ROOT), DENIED]),
    ],
    ids=["iam-does-not-allow", "an-empty-key-policy", "another-account", "another-action", "denied-by-the-key"],
)
def test_a_key_that_the_role_may_not_use_is_red(statements: list[dict[str, Any]], key: list[dict[str, Any]]) -> None:
    with pytest.raises(AssertionError, match=f"no kms:Decrypt on {KEY}"):
        judge(SECRET, *statements, key=key)


@pytest.mark.parametrize("value_from", [PARAMETER, "/stg/gli/key"])
def test_a_parameter_needs_a_permission_of_its_own(value_from: str) -> None:
    judge(value_from, allow("ssm:GetParameters", PARAMETER))
    with pytest.raises(AssertionError, match=f"no ssm:GetParameters on {PARAMETER}"):
        judge(value_from, READS)


def test_staging_names_the_secret_of_these_tests() -> None:
    assert "stg/gli/api" in staging().secrets
