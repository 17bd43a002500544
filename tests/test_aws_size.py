"""A large account takes a run little more time than a small one, and no observation times out."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from aws_rig import ACCOUNT, REGION, Account, Answer, Refused, observing, staging
from botocore import xform_name
from botocore.exceptions import UnknownServiceError
from test_aws_answers import GROUPS, NOW, alarm, listed, pages, services, summary

from gli.config.environments import Environment
from gli.observe.aws import (
    alarm_dimensions,
    cloudfront,
    cloudwatch,
    cloudwatch_alarms,
    ecs_tasks,
    iam,
    logs,
    metric_queries,
)
from gli.observe.engine.aws_models import loader
from gli.observe.engine.guard import AWS_READS
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.probe import Observer, probe

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
    """An operation that answers 100 items at a time, or as many as it is asked for, up to `size`; `page` makes the
    document from the items and the next token.
    """

    def answer(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        at, several = int(parameters.get(token) or 0), min(size, int(parameters.get("MaxItems", 100)))
        following = str(at + several) if at + several < len(items) else None
        document: Mapping[str, Any] = page(items[at : at + several], following)
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
                lambda some, following: {
                    "MetricAlarms": some,
                    "CompositeAlarms": [],
                    **({"NextToken": following} if following else {}),
                },
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
        (alarm_dimensions.dead_dimensions, None),
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
        return {
            "tasks": [{"taskArn": arn, "desiredStatus": "RUNNING", "containers": []} for arn in parameters["tasks"]]
        }

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
        metric_queries.Query(subject=str(n), namespace="X", metric="Y", statistic="Sum", dimensions=())
        for n in range(1100)
    ]

    async def queries(_: Any) -> list[metric_queries.Query]:
        return many

    lately = datetime.now(UTC) - timedelta(minutes=1)

    def data(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        results = [
            {"Id": q["Id"], "Timestamps": [lately], "Values": [1.0], "StatusCode": "Complete"}
            for q in parameters["MetricDataQueries"]
        ]
        return {"MetricDataResults": results}

    account = Account({"cloudwatch.GetMetricData": data})
    monkeypatch.setattr(cloudwatch, "queries_of", queries)
    with observing(account, staging(), monkeypatch) as observatory:
        seen = observatory.wait(cloudwatch.metrics)
    assert all(seen.latest(str(n), "Y") == 1.0 for n in range(1100))
    assert account.calls["cloudwatch.GetMetricData"] == 3


def test_a_region_that_does_not_answer_takes_no_metric_of_another_one_away(monkeypatch: pytest.MonkeyPatch) -> None:
    near = metric_queries.Query(subject="near", namespace="X", metric="Y", statistic="Sum", dimensions=())
    wanted = [near, near.model_copy(update={"subject": "far", "metric": "Z", "region": "us-west-2"})]

    async def queries(_: Any) -> list[metric_queries.Query]:
        return wanted

    def data(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        (asked,) = parameters["MetricDataQueries"]
        if asked["MetricStat"]["Metric"]["MetricName"] == "Z":
            raise Refused("AccessDenied", "User is not authorized to perform: cloudwatch:GetMetricData", 403)
        at = datetime.now(UTC) - timedelta(minutes=1)
        return {
            "MetricDataResults": [{"Id": asked["Id"], "Timestamps": [at], "Values": [1.0], "StatusCode": "Complete"}]
        }

    monkeypatch.setattr(cloudwatch, "queries_of", queries)
    with observing(Account({"cloudwatch.GetMetricData": data}), staging(), monkeypatch) as observatory:
        seen = observatory.wait(cloudwatch.metrics)
    assert seen.latest("near", "Y") == 1.0
    with pytest.raises(Unobserved, match="Z of far could not be asked for"):
        seen.latest("far", "Z")


def paged_operations() -> dict[str, tuple[Any, Any]]:
    """`service.Operation` to its model and botocore's way through its pages, for every read that botocore joins."""
    core = botocore.session.Session()
    core.register_component("data_loader", loader())
    found = {}
    for service, names in AWS_READS.items():
        with suppress(UnknownServiceError):  # no operation of the service has pages
            ways = core.get_component("data_loader").load_service_model(service, "paginators-1")["pagination"]
            model = core.get_service_model(service)
            found |= {f"{service}.{n}": (model.operation_model(n), ways[n]) for n in sorted(names & ways.keys())}
    return found


def several(one: Any) -> list[str]:
    return [one] if isinstance(one, str) else list(one)


def made(shape: Any, lists: set[str], path: str = "") -> Any:
    """A value of a shape: its required members, and the lists at the paths `lists` with one element."""
    kind = shape.type_name
    if kind == "structure":
        wanted = {n for n in shape.members if any(f"{each}.".startswith(f"{path}{n}.") for each in lists)}
        wanted |= set(shape.required_members)
        return {name: made(shape.members[name], lists, f"{path}{name}.") for name in sorted(wanted)}
    if kind == "list":
        return [made(shape.member, set())] if path.removesuffix(".") in lists or not path else []
    plain = {"map": {}, "integer": 1, "long": 1, "float": 1.0, "double": 1.0, "boolean": False, "timestamp": NOW}
    return plain.get(kind, (shape.metadata.get("enum") or ["x" * max(1, shape.metadata.get("min", 1))])[0])


def put(document: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.partition(" ")[0].split(".")  # route53: `NextMarker || ...`
    functools.reduce(lambda part, name: part.setdefault(name, {}), way, document)[last] = value


def three_pages(model: Any, way: Any) -> Answer:
    """Each page has one element in each list that is joined."""
    asked = itertools.count(1)

    def page(_: Mapping[str, Any]) -> Mapping[str, Any]:
        n = next(asked)
        document: dict[str, Any] = made(model.output_shape, {*several(way["result_key"])})
        for token in several(way["output_token"])[:1] if n < 3 else ():
            put(document, token, f"page-{n}")
        if "more_results" in way:
            put(document, way["more_results"], n < 3)
        return document

    return page


@probe(deadline=60)
async def every_page(observer: Observer) -> dict[str, int]:
    """`service.Operation list` to the number of elements, of every operation with pages."""
    found = {}
    for name, (model, way) in paged_operations().items():
        service, _, operation = name.partition(".")
        asked = made(model.input_shape, set())
        answer = await observer.aws.call(observer, service, xform_name(operation), **asked)
        for path in several(way["result_key"]):
            found[f"{name} {path}"] = len(functools.reduce(lambda part, member: part[member], path.split("."), answer))
    return found


def test_every_page_of_every_operation_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account({name: three_pages(model, way) for name, (model, way) in paged_operations().items()})
    with observing(account, staging(), monkeypatch) as observatory:
        found = observatory.wait(every_page)
    assert len(found) > 40
    assert {name: n for name, n in found.items() if n != 3} == {}
