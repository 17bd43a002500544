"""Values of AWS: enumerations whose every value is known, and new ones unknown; times; lists that AWS leaves out."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from aws_answers import ACCOUNT, REGION, Answer, AwsRefusal, answering, observed
from aws_replay import shape
from aws_rig import Refused, staging
from test_aws_answers import alarm, listed, see, summary, user
from test_aws_compute import api, definition, described, only_the_api, services

from gli.observe.aws import (
    acm,
    cloudfront,
    cloudwatch_alarms,
    ecr,
    ecs_services,
    ecs_tasks,
    elasticache,
    kms,
    load_balancer,
    quotas,
    vpc,
)
from gli.observe.aws.rds import DatabaseInstance
from gli.observe.engine.observation import Unobserved
from tests_infra import test_compute, test_data, test_edge, test_registry, test_roles, test_storage, test_tasks

ROLLOUTS = {"COMPLETED", "IN_PROGRESS", "FAILED"}
BEHAVIOR = "Distribution.DistributionConfig.DefaultCacheBehavior"
ENCRYPTION = "ServerSideEncryptionConfiguration.Rules.[].ApplyServerSideEncryptionByDefault.SSEAlgorithm"
KNOWN: list[tuple[str, str, Iterable[str | None]]] = [
    ("acm.describe_certificate", "Certificate.Status", acm._STATUSES),
    ("acm.describe_certificate", "Certificate.RenewalSummary.RenewalStatus", test_edge._RENEWAL),
    ("cloudfront.get_distribution", f"{BEHAVIOR}.FunctionAssociations.Items.[].EventType", cloudfront._EVENTS),
    ("cloudfront.get_distribution", f"{BEHAVIOR}.LambdaFunctionAssociations.Items.[].EventType", cloudfront._EVENTS),
    ("cloudfront.get_distribution", f"{BEHAVIOR}.ViewerProtocolPolicy", test_edge._VIEWERS),
    ("cloudwatch.describe_alarms", "MetricAlarms.[].StateValue", cloudwatch_alarms._STATES),
    ("cloudwatch.describe_alarms", "CompositeAlarms.[].StateValue", cloudwatch_alarms._STATES),
    ("cloudwatch.describe_alarms", "LogAlarms.[].StateValue", cloudwatch_alarms._STATES),
    ("ecr.batch_get_repository_scanning_configuration", "scanningConfigurations.[].scanFrequency", ecr._FREQUENCIES),
    ("ecr.describe_repositories", "repositories.[].imageTagMutability", test_registry._MUTABILITY),
    (
        "ecr.describe_image_scan_findings",
        "imageScanStatus.status",
        {*ecr._SCANNED, *test_registry._NOT_SCANNED, "IN_PROGRESS", "PENDING"},
    ),
    ("ecs.describe_services", "services.[].deploymentController.type", ecs_services._CONTROLLERS),
    (
        "ecs.describe_services",
        "services.[].networkConfiguration.awsvpcConfiguration.assignPublicIp",
        ecs_services._SWITCH,
    ),
    (
        "ecs.describe_services",
        "services.[].deploymentConfiguration.lifecycleHooks.[].timeoutConfiguration.action",
        ecs_services._TIMEOUTS,
    ),
    ("ecs.describe_services", "services.[].deployments.[].rolloutState", ROLLOUTS),
    ("ecs.describe_services", "services.[].taskSets.[].stabilityStatus", ecs_services._ROLLOUTS),
    ("ecs.describe_task_definition", "taskDefinition.status", test_compute._DEFINITION),
    ("ecs.describe_tasks", "tasks.[].healthStatus", test_tasks._HEALTH),
    ("ecs.describe_tasks", "tasks.[].stopCode", ecs_tasks._DIED | ecs_tasks._WAS_STOPPED),
    (
        "ecs.list_service_deployments",
        "serviceDeployments.[].status",
        {*test_tasks._NOT_UNDONE, *test_tasks._UNDONE},
    ),
    ("elasticache.describe_replication_groups", "ReplicationGroups.[].AutomaticFailover", test_data._FAILOVER),
    ("elasticache.describe_replication_groups", "ReplicationGroups.[].MultiAZ", elasticache._MULTI_AZ),
    ("elbv2.describe_listeners", "Listeners.[].DefaultActions.[].Type", load_balancer.ACTIONS),
    ("elbv2.describe_listeners", "Listeners.[].Protocol", load_balancer._PROTOCOLS),
    ("elbv2.describe_load_balancers", "LoadBalancers.[].State.Code", test_compute._BALANCER),
    ("elbv2.describe_load_balancers", "LoadBalancers.[].Type", test_compute._BALANCER_TYPE),
    ("elbv2.describe_target_health", "TargetHealthDescriptions.[].TargetHealth.State", load_balancer.TARGET_STATES),
    ("ec2.describe_nat_gateways", "NatGateways.[].State", vpc._NAT_STATES),
    ("kms.describe_key", "KeyMetadata.KeyState", kms._STATES),
    (
        "logs.describe_log_groups",
        "logGroups.[].logGroupClass",
        {"STANDARD", "ESSENTIALS", *cloudwatch_alarms._UNSEARCHABLE},
    ),
    ("mq.list_brokers", "BrokerSummaries.[].BrokerState", test_data._BROKER),
    ("s3.get_bucket_encryption", ENCRYPTION, test_storage._ENCRYPTION),
    ("s3.get_bucket_versioning", "Status", test_storage._VERSIONING),
]
"""Operation, member, and the values that the code knows."""


@pytest.mark.parametrize(("operation", "member", "known"), KNOWN, ids=[f"{o} {m}" for o, m, _ in KNOWN])
def test_every_value_that_botocore_lists_is_known(operation: str, member: str, known: Iterable[str | None]) -> None:
    """When AWS adds one, this test names it, before a run calls it unknown."""
    there = shape(operation)
    for name in member.split("."):
        there = there.member if name == "[]" else there.members[name]
    values = set(there.metadata["enum"])
    assert values and values - {*known} == set()


KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd"


def keys(state: str) -> None:
    """Run kms-keys-usable for a secret under a customer's key in this state."""
    secret = {
        "Name": "stg/gli/api",
        "ARN": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:stg/gli/api-AbCdEf",
        "KmsKeyId": KEY,
        "SecretVersionsToStages": {"v" * 32: ["AWSCURRENT"]},
    }
    answers: dict[tuple[str, str], Answer] = {
        **services(described()),
        **definition(),
        ("secretsmanager", "ListSecrets"): {"SecretList": [secret]},
        ("kms", "DescribeKey"): {"KeyMetadata": {"KeyId": "1234abcd", "KeyState": state}},
        ("logs", "DescribeLogGroups"): {"logGroups": []},
        ("ecr", "DescribeRepositories"): {"repositories": []},
        ("sts", "GetCallerIdentity"): {"Account": ACCOUNT, "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/gli-verify/x"},
    }
    alone = {"frontends": {}, **dict.fromkeys(("alarms", "database", "cache", "broker"))}
    environment = only_the_api().model_copy(update=alone)
    with answering(answers):
        test_roles.test_kms_keys_usable(observed(environment, kms.keys))


@pytest.mark.parametrize("state", ["Enabled", "Updating"])
def test_a_key_decrypts_while_another_region_becomes_the_primary_one(state: str) -> None:
    keys(state)


def test_a_key_in_a_state_of_next_year_is_unknown() -> None:
    with pytest.raises(AssertionError, match=f"{KEY} Creating, which opens stg/gli/api"):
        keys("Creating")
    with pytest.raises(Unobserved, match="is 'Resting', a value that this suite does not know"):
        keys("Resting")


@pytest.mark.parametrize("code", [None, "ValidationError", "Other"])
def test_an_alarm_on_a_query_of_logs_may_be_active(code: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(asked: Any) -> dict[str, Any]:
        rings = {"AlarmName": "stg-gli-logs", "StateValue": "ALARM", "ActionsEnabled": True, "AlarmActions": []}
        if "LogAlarm" not in asked["AlarmTypes"]:
            return {"MetricAlarms": [alarm("stg-gli-x")], "CompositeAlarms": []}
        if code:  # a region that does not have this kind yet
            raise Refused(code)
        return {"MetricAlarms": [alarm("stg-gli-x")], "CompositeAlarms": [], "LogAlarms": [rings]}

    with nullcontext() if code != "Other" else pytest.raises(Unobserved, match="answered Other"):
        found = see(cloudwatch_alarms.alarms, None, {"cloudwatch.DescribeAlarms": answered}, monkeypatch)
        logs = [("stg-gli-logs", "ALARM", ())] if code is None else []
        assert [(a.name, a.state, a.metrics) for a in found] == [*logs, ("stg-gli-x", "OK", ("CPUUtilization",))]


@pytest.mark.parametrize(
    ("code", "default", "quota"), [(None, 4.0, 100.0), ("NoSuchResourceException", 4.0, 4.0), ("Other", 4.0, None)]
)
def test_without_a_quota_of_its_own_an_account_has_awss_default(
    code: str | None, default: float, quota: float | None
) -> None:
    def applied(_: Any) -> dict[str, Any]:
        if code:
            raise AwsRefusal(code, "no such quota")
        return {"Quota": {"Value": 100.0}}

    def used(asked: Any) -> dict[str, Any]:
        lately = datetime.now(UTC) - timedelta(minutes=7)
        of = {"Timestamps": [lately], "Values": [2.0], "StatusCode": "Complete"}
        return {"MetricDataResults": [{"Id": q["Id"], **of} for q in asked["MetricDataQueries"]]}

    answers: dict[tuple[str, str], Answer] = {
        **services(described(platformVersion="LATEST")),
        **definition(cpu="256"),
        ("service-quotas", "GetServiceQuota"): applied,
        ("service-quotas", "GetAWSDefaultServiceQuota"): {"Quota": {"Value": default}},
        ("cloudwatch", "GetMetricData"): used,
        ("elbv2", "DescribeLoadBalancers"): {"LoadBalancers": []},
    }
    alone = only_the_api().model_copy(update=dict.fromkeys(("alarms", "database", "cache", "broker")))
    with answering(answers), nullcontext() if quota else pytest.raises(Unobserved, match="answered Other"):
        found = observed(alone, quotas.fargate_quota)
        assert (found.quota, found.used) == (quota, 2.0)


def test_tasks_on_fargate_spot_take_nothing_of_the_quota() -> None:
    spot = {
        "platformVersion": "LATEST",
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
    }
    with answering(services(described(**spot)) | definition(cpu="256")):
        assert observed(only_the_api(), quotas.fargate_quota) is None


def test_a_database_that_bursts_without_limit_needs_no_credits() -> None:
    """T3 and T4g always burst in RDS, and are billed for it; T2 is slow without credits."""
    for kind, needs in (
        ("db.t4g.medium", False),
        ("db.t3.small", False),
        ("db.t2.small", True),
        ("db.m7g.large", False),
    ):
        assert DatabaseInstance(id="a", status="available", instance_class=kind).slow_without_credits is needs


def test_a_definition_without_a_network_mode_has_that_of_docker() -> None:
    from gli.observe.aws.task_definitions import task_definition

    for platform, mode in (({}, "bridge"), ({"operatingSystemFamily": "WINDOWS_SERVER_2025_CORE"}, "default")):
        environment = only_the_api()
        found: Any = definition(runtimePlatform=platform)
        del found["ecs", "DescribeTaskDefinition"]["taskDefinition"]["networkMode"]
        with answering(services(described()) | found):
            assert observed(environment, task_definition, api(environment)).network_mode == mode


def test_every_time_is_in_utc_wherever_the_runner_stands() -> None:
    """botocore gives times of JSON in the time zone of the machine, and sentences say UTC."""
    seoul = timezone(timedelta(hours=9))
    asked = datetime(2026, 11, 20, 9, 30, 15, 250_000, tzinfo=seoul)
    environment = only_the_api()
    deployment = described()["deployments"][0] | {"createdAt": asked}
    with answering(services(described(deployments=[deployment]))):
        created = observed(environment, ecs_services.ecs_service, api(environment)).primary.created
    assert (created, created.isoformat()) == (asked, "2026-11-20T00:30:15.250000+00:00")


NOTHING = {"Marker": "", "MaxItems": 100, "IsTruncated": False, "Quantity": 0}


def test_a_list_that_aws_leaves_out_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudFront sends no Items where there are none, and botocore's pages lose the structure around them."""
    answers = listed(summary(1, "stg.glibiz.com")) | {"cloudfront.ListInvalidations": {"InvalidationList": NOTHING}}
    seen = see(cloudfront.invalidations, user(), answers, monkeypatch)
    assert (seen.newest, seen.running) == (None, ())
    answers = {"cloudfront.ListDistributions": {"DistributionList": NOTHING}}
    assert see(cloudfront.distributions, None, answers, monkeypatch) == ()
    with pytest.raises(Unobserved, match="answered without DistributionList"):
        see(cloudfront.distributions, None, {"cloudfront.ListDistributions": {}}, monkeypatch)


SPARE = "stg-gli-user-frontend-away"


@pytest.mark.parametrize(
    ("spare", "takes"),
    [
        (f"{SPARE}.s3.us-west-2.amazonaws.com", True),
        (f"{SPARE}.s3.amazonaws.com", True),
        (f"{SPARE}.s3-website-us-west-2.amazonaws.com", False),
        ("spare.example.com", False),
    ],
)
@pytest.mark.parametrize("signs", [True, False])
def test_a_page_may_fall_back_on_another_private_bucket(
    spare: str, takes: bool, signs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"stg-gli-user-frontend.s3.{REGION}.amazonaws.com"
    origins = [
        {"Id": "spare", "DomainName": spare, "OriginAccessControlId": "E2" if signs else ""},
        {"Id": "own", "DomainName": own, "OriginAccessControlId": "E1"},
    ]
    failover = {"StatusCodes": {"Quantity": 1, "Items": [503]}}
    members = {"Quantity": 2, "Items": [{"OriginId": "own"}, {"OriginId": "spare"}]}
    pair = {"Id": "pair", "FailoverCriteria": failover, "Members": members}
    served = summary(
        1,
        "stg.glibiz.com",
        Origins={"Quantity": 2, "Items": origins},
        OriginGroups={"Quantity": 1, "Items": [pair]},
        DefaultCacheBehavior={
            "TargetOriginId": "pair",
            "ViewerProtocolPolicy": "redirect-to-https",
            "Compress": True,
        },
    )
    seen = see(cloudfront.distribution, user(), listed(served), monkeypatch)
    with nullcontext() if takes and signs else pytest.raises(AssertionError, match=r"spare|origin access|away"):
        test_edge.test_cdn_origin_oac(seen, staging(), user())
