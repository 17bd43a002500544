"""A large account takes a run little more time than a small one, and no observation times out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from aws_rig import ACCOUNT, REGION, Account, Answer, observing, staging
from test_aws_answers import GROUPS, NOW, alarm, listed, pages, services, summary

from gli.config.environments import Environment
from gli.observe.aws import cloudfront, cloudwatch, cloudwatch_alarms, ecs_tasks, iam, logs

ROLES, DISTRIBUTIONS, ALARMS, SERVICES, TASKS = 300, 60, 2_000, 40, 250
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


def observe(account: Account, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Run the probes that read lists of a whole account. Raises `Unobserved` if one of them is unknown."""
    environment: Environment = staging(load_balancer=None, database=None, cache=None)
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
    return environment


def test_a_large_account_is_read_completely_in_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    account = large()
    environment = observe(account, monkeypatch)
    assert account.calls["cloudfront.GetDistribution"] == len(environment.frontends)
    assert account.calls["iam.GetAccountAuthorizationDetails"] == 2
    assert account.calls["cloudwatch.DescribeAlarms"] == ALARMS / 100
    assert account.calls["logs.DescribeLogGroups"] == 3
    assert account.calls["ecs.DescribeServices"] <= 2 + SERVICES / 10
    assert sum(account.calls.values()) - ALARMS / 100 <= 40


def test_every_task_of_a_large_service_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """ListTasks names 100 tasks in a page, and DescribeTasks accepts 100."""
    cluster = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/gli-api-cluster"
    arns = [f"{cluster}/{n:032}" for n in range(TASKS)]

    def describe(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"tasks": [{"taskArn": arn, "desiredStatus": "RUNNING"} for arn in parameters["tasks"]]}

    def page(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        found = arns if parameters["desiredStatus"] == "RUNNING" else []
        document: Mapping[str, Any] = paged(
            found, 100, "nextToken", lambda some, following: {"taskArns": some, "nextToken": following or ""}
        )(parameters)  # type: ignore[operator]
        return document

    account = Account({"ecs.ListTasks": page, "ecs.DescribeTasks": describe})
    environment = staging()
    with observing(account, environment, monkeypatch) as observatory:
        seen = observatory.wait(ecs_tasks.service_tasks, environment.services["api"])
    assert {task.id for task in seen.running} == {arn.rpartition("/")[2] for arn in arns}
    assert (account.calls["ecs.ListTasks"], account.calls["ecs.DescribeTasks"]) == (4, 3)


def test_every_deploy_of_a_service_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS does not say in which order it lists deploys: the newest may be on the last page."""
    deploys = [{"createdAt": NOW - timedelta(hours=n), "status": "SUCCESSFUL"} for n in range(1, 250)]
    deploys.append({"createdAt": NOW, "status": "ROLLBACK_SUCCESSFUL"})
    listed = paged(
        deploys,
        100,
        "nextToken",
        lambda some, following: {"serviceDeployments": some, **({"nextToken": following} if following else {})},
    )
    account = Account({"ecs.DescribeServices": services, "ecs.ListServiceDeployments": listed})
    environment = staging()
    with observing(account, environment, monkeypatch) as observatory:
        seen = observatory.wait(ecs_tasks.service_deployment, environment.services["api"])
    assert (seen.status, account.calls["ecs.ListServiceDeployments"]) == ("ROLLBACK_SUCCESSFUL", 3)


def test_more_metrics_than_one_call_accepts_are_fetched_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [
        cloudwatch.Query(subject=str(n), namespace="X", metric="Y", statistic="Sum", dimensions=()) for n in range(1100)
    ]

    async def queries(_: Any) -> list[cloudwatch.Query]:
        return many

    def data(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        results = [
            {"Id": q["Id"], "Timestamps": [NOW], "Values": [1.0], "StatusCode": "Complete"}
            for q in parameters["MetricDataQueries"]
        ]
        return {"MetricDataResults": results}

    account = Account({"cloudwatch.GetMetricData": data})
    monkeypatch.setattr(cloudwatch, "_queries", queries)
    with observing(account, staging(), monkeypatch) as observatory:
        seen = observatory.wait(cloudwatch.metrics)
    assert all(seen.latest(str(n), "Y") == 1.0 for n in range(1100))
    assert account.calls["cloudwatch.GetMetricData"] == 3
