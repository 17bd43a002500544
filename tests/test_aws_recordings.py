"""Answers of AWS as recordings of accounts show them: other spellings, places and forms of the same fact."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_answers import ACCOUNT, REGION, Answer, answering, observed, staging
from aws_rig import Account, observing
from aws_rig import staging as staging_with_its_counterpart
from test_aws_answers import ALARM, listed, secret, summary
from test_aws_compute import api, definition, described, only_the_api, read, services
from test_aws_data import instance

from conftest import ROOT
from gli.config import environments
from gli.config.environments import Environment
from gli.observe.aws import cloudfront, ecr, ecr_policies, kms, rds
from gli.observe.aws.cloudwatch_alarms import read_alarm
from gli.observe.aws.s3 import BucketPolicy, Grant, closed_key
from gli.observe.data import secrets
from gli.observe.engine.aws_session import AwsSession
from gli.observe.engine.observation import Unobserved
from tests_infra import test_compute as compute
from tests_infra import test_storage as storage

IDENTITY: dict[tuple[str, str], Answer] = {
    ("sts", "GetCallerIdentity"): {"Account": ACCOUNT, "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/gli-verify/x"}
}
REGISTRIES = [
    f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com",
    f"{ACCOUNT}.dkr.ecr-fips.us-east-1.amazonaws.com",
    f"{ACCOUNT}.dkr-ecr.{REGION}.on.aws",
    f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn",
]


@pytest.mark.parametrize(
    ("rule", "watched"),
    [
        ('AT_LEAST(2, ALARM, ("a", "b", c))', ("a", "b", "c")),
        ('ALARM("x") OR (AT_LEAST("50%", NOT OK, (a, b)) AND NOT OK(y))', ("a", "b", "x", "y")),
        ("AT_LEAST(1,ALARM,(arn:aws:cloudwatch:eu-west-1:1:alarm:a))", ("arn:aws:cloudwatch:eu-west-1:1:alarm:a",)),
    ],
)
def test_a_composite_alarm_may_count_alarms(rule: str, watched: tuple[str, ...]) -> None:
    assert read_alarm(ALARM | {"AlarmName": "both", "AlarmRule": rule}).watched == watched


@pytest.mark.parametrize("registry", REGISTRIES)
def test_an_image_is_looked_up_under_every_address_of_its_registry(registry: str) -> None:
    environment = only_the_api()
    assert environment.git is not None
    nowhere = environment.git.model_copy(update={"remote": "file:///nowhere/{repository}"})
    environment = environment.model_copy(update={"git": nowhere})
    denies = {"Effect": "Deny", "Principal": "*", "Action": "ecr:BatchGetImage"}
    answers: dict[tuple[str, str], Answer] = {
        **services(described()),
        **definition(container={"image": f"{registry}/gli-api:1"}),
        **IDENTITY,
        ("ecr", "BatchGetImage"): {"images": [], "failures": []},
        ("ecr", "GetRepositoryPolicy"): {"policyText": json.dumps({"Statement": [denies]})},
    }
    with answering(answers):
        pulled = observed(environment, ecr.pulled_image, api(environment))
        denials = observed(environment, ecr_policies.pull_denials, api(environment))
    assert (pulled.found, len(denials)) == (False, 1)


def test_a_database_has_its_name_in_lower_case() -> None:
    wanted = environments.load(ROOT, "stg", overlay={"database": {"instance": "STG-Gli-Database"}})
    assert wanted.database is not None
    known: dict[tuple[str, str], Answer] = {
        ("rds", "DescribeDBInstances"): {"DBInstances": [instance()]},
        ("rds", "DescribeDBClusters"): {"DBClusters": []},
    }
    with answering({**IDENTITY, **known}):
        assert observed(in_the_account(wanted), rds.database_instance, wanted.database).status == "available"


def test_tasks_may_run_on_instances_that_ecs_manages() -> None:
    ecs = {"launch_type": "MANAGED_INSTANCES"}
    wanted = in_the_account(environments.load(ROOT, "stg", overlay={"services": {"api": {"ecs": ecs}}}))
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "/gli/api-server/staging"}}
    seen = read(container={"logConfiguration": logs}, requiresCompatibilities=["MANAGED_INSTANCES"])
    compute.test_ecs_taskdef_contract(seen, {}, api(wanted), wanted)
    with pytest.raises(AssertionError, match="saw MANAGED_INSTANCES with awsvpc"):
        compute.test_ecs_taskdef_contract(seen, {}, api(only_the_api()), wanted)


def in_the_account(environment: Environment) -> Environment:
    assert environment.aws is not None
    return environment.model_copy(update={"aws": environment.aws.model_copy(update={"account_id": ACCOUNT})})


@pytest.mark.parametrize("named", ["stg/gli/api", secret("stg/gli/api")["ARN"]])
def test_an_error_may_name_a_secret_by_its_arn(named: str) -> None:
    refused = {"SecretId": named, "ErrorCode": "AccessDeniedException", "Message": "Access to KMS is not allowed"}
    answers: dict[tuple[str, str], Answer] = {
        **IDENTITY,
        ("secretsmanager", "BatchGetSecretValue"): {"SecretValues": [], "Errors": [refused]},
    }
    with answering(answers), pytest.raises(Unobserved, match="Access to KMS") as raised:
        observed(staging(), secrets.secret, "stg/gli/api")
    assert raised.value.unknown.action == "kms:Decrypt"


OF_A_BUCKET = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd"


@pytest.mark.parametrize("named", [OF_A_BUCKET, "1234abcd"])
def test_a_key_is_asked_for_in_the_region_of_its_bucket(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 tells the key of a bucket as it was given: by its ARN, its id or an alias."""
    client, regions = AwsSession._client, dict[str, str]()

    def noted(self: AwsSession, service: str, region: str, role: str | None = None) -> Any:
        regions[service] = region
        return client(self, service, region, role)

    monkeypatch.setattr(AwsSession, "_client", noted)
    rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": named}}]
    environment = staging()
    page = {"user": environment.frontends["user"]}
    alone = {"frontends": page, "services": {}, **dict.fromkeys(("alarms", "logs", "database", "cache", "broker"))}
    answers: dict[tuple[str, str], Answer] = {
        **IDENTITY,
        ("secretsmanager", "ListSecrets"): {"SecretList": []},
        ("s3", "HeadBucket"): {"BucketRegion": "us-east-1"},
        ("s3", "GetBucketVersioning"): {"Status": "Enabled"},
        ("s3", "GetBucketEncryption"): {"ServerSideEncryptionConfiguration": {"Rules": rules}},
        ("kms", "DescribeKey"): {"KeyMetadata": {"KeyId": "1234abcd", "KeyState": "Enabled"}},
        ("kms", "GetKeyPolicy"): {"Policy": '{"Statement": []}'},
    }
    with answering(answers):
        assert [key.arn for key in observed(environment.model_copy(update=alone), kms.keys)] == [OF_A_BUCKET]
        assert (regions.pop("kms"), regions["s3"]) == ("us-east-1", REGION)
        assert observed(environment, closed_key, page["user"]) is not None
    assert regions["kms"] == "us-east-1"


def test_an_action_in_a_policy_has_no_certain_case() -> None:
    arn = f"arn:aws:cloudfront::{ACCOUNT}:distribution/E1"
    grant = Grant(principals=("cloudfront.amazonaws.com",), actions=("s3:getObject",), source_arns=(arn,))
    served_by = cloudfront.Distribution(
        id="E1",
        arn=arn,
        domain_name="d1.cloudfront.net",
        status="Deployed",
        enabled=True,
        aliases=(),
        behaviors=(cloudfront.Behavior(path="*", viewers="https-only", compresses=True),),
    )
    policy, page = BucketPolicy(exists=True, grants=(grant,)), staging().frontends["user"]
    storage.test_s3_policy_oac_only(policy, None, served_by, page)


def test_the_distributions_of_both_environments_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account(listed(summary(1, "stg.glibiz.com"), summary(2, "glibiz.com"), summary(3, "shop.example.com")))
    with observing(account, staging_with_its_counterpart(), monkeypatch) as observatory:
        assert [d.id for d in observatory.wait(cloudfront.distributions)] == ["E1"]
        assert [d.id for d in observatory.wait(cloudfront.other_distributions)] == ["E2"]
    assert (account.calls["cloudfront.ListDistributions"], account.calls["cloudfront.GetDistribution"]) == (1, 2)
