"""A large account takes a run little more time than a small one, and no observation times out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from aws_rig import ACCOUNT, REGION, Account, Answer, observing, staging
from test_aws_answers import GROUPS, alarm, listed, pages, services, summary

from gli.config.environments import Environment
from gli.observe.aws import cloudfront, cloudwatch_alarms, iam, logs

ROLES, DISTRIBUTIONS, ALARMS, SERVICES = 300, 60, 2_000, 40
FILLING = "arn:aws:s3:::" + "x" * 500
"""With it a role's policies are 10 kB, and the answer 3 MB."""


def role(number: int) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": [FILLING] * 20}
    return {
        "RoleName": f"role-{number}",
        "Arn": f"arn:aws:iam::{ACCOUNT}:role/role-{number}",
        "AssumeRolePolicyDocument": json.dumps({"Statement": []}),
        "RolePolicyList": [{"PolicyName": "p", "PolicyDocument": json.dumps({"Statement": [statement]})}],
        "AttachedManagedPolicies": [],
    }


def paged(items: list[Any], size: int, token: str, page: Any) -> Answer:
    """An operation that answers `size` items at a time; `page` makes the document from the items and the next token."""

    def answer(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        at = int(parameters.get(token) or 0)
        following = str(at + size) if at + size < len(items) else None
        document: Mapping[str, Any] = page(items[at : at + size], following)
        return document

    return answer


def large() -> Account:
    watched = [
        alarm(f"stg-gli-{n}", ClusterName="shared", ServiceName=f"service-{n % SERVICES}") for n in range(ALARMS)
    ]
    own = [summary(DISTRIBUTIONS, "stg.glibiz.com"), summary(DISTRIBUTIONS + 1, "stg-admin.glibiz.com")]
    shops = [summary(n, f"shop-{n}.example.com") for n in range(DISTRIBUTIONS)]
    account = Account(
        {
            **listed(*shops, *own),
            "iam.GetAccountAuthorizationDetails": paged(
                [role(n) for n in range(ROLES)],
                200,
                "Marker",
                lambda some, following: {
                    "RoleDetailList": some,
                    "Policies": [],
                    "IsTruncated": following is not None,
                    **({"Marker": following} if following else {}),
                },
            ),
            "cloudwatch.DescribeAlarms": paged(
                watched,
                100,
                "NextToken",
                lambda some, following: {"MetricAlarms": some, **({"NextToken": following} if following else {})},
            ),
            "ecs.DescribeServices": services,
            "ecs.DescribeClusters": lambda p: {
                "clusters": [{"clusterName": c, "status": "ACTIVE"} for c in p["clusters"]]
            },
            "ecs.DescribeTaskDefinition": {
                "taskDefinition": {
                    "taskDefinitionArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/stg-gli-api:7",
                    "containerDefinitions": [],
                }
            },
            "logs.DescribeLogGroups": GROUPS,
            "logs.DescribeLogStreams": {"logStreams": []},
            "logs.FilterLogEvents": pages([], [], ["INFO started"]),
        }
    )
    account.takes_s = {"iam.GetAccountAuthorizationDetails": 1.0, "logs.FilterLogEvents": 0.4}
    return account


def test_a_large_account_is_read_completely_in_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: Environment = staging(load_balancer=None, database=None, cache=None)
    account = large()
    probes = [
        *[(cloudfront.distribution, frontend) for frontend in environment.frontends.values()],
        (iam.iam_roles, None),
        (cloudwatch_alarms.alarms, None),
        (cloudwatch_alarms.dead_dimensions, None),
        (cloudwatch_alarms.log_groups, None),
        *[(probe, service) for service in environment.services.values() for probe in (logs.log_tail, logs.log_errors)],
    ]
    with observing(account, environment, monkeypatch) as observatory:
        for probe, target in probes:
            observatory.begin(probe, target)
        seen = [observatory.wait(probe, target) for probe, target in probes]
    assert len(seen) == len(probes)
    assert account.calls["cloudfront.GetDistribution"] == len(environment.frontends)
    assert account.calls["iam.GetAccountAuthorizationDetails"] == 2
    assert account.calls["cloudwatch.DescribeAlarms"] == ALARMS / 100
    assert account.calls["logs.DescribeLogGroups"] == 3
    assert account.calls["ecs.DescribeServices"] <= 2 + SERVICES / 10
    assert sum(account.calls.values()) - ALARMS / 100 <= 40
