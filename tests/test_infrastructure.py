"""The templates of infrastructure/, without AWS: they lint, they are safe, and they declare what the suite expects."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from declared import Declared, declared, differences, ingress
from ministack import PYTHON

from gli.config import catalogue, environments
from gli.config.iam_policy import policy
from gli.provision.template import Resource, Template
from sandbox.aws.filter_patterns import matches
from sandbox.aws.seed_watching import ERRORS

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = sorted((ROOT / "infrastructure").glob("*.yaml"))
ENVIRONMENTS = ("stg", "prod")
NO_RESOURCES = {
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "ecr:GetAuthorizationToken",
    "ecs:DescribeTaskDefinition",
}
"""The actions outside of the suite's role that may name every resource: AWS lets nobody name fewer."""
MOST_BYTES = 51_200
"""CloudFormation takes no longer template without a bucket to read it from."""


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def stack(request: pytest.FixtureRequest) -> Declared:
    return declared(ROOT, request.param)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_templates_and_environments_agree(environment: str) -> None:
    assert differences(ROOT, environment) == []


CHANGES = {
    "DNS zone": ('zone = "glibiz.com"', 'zone = "glibiz.kr"'),
    "hosts": ("https://stg-api.", "https://stage-api."),
    "load balancer": ('name = "stg-gli-alb"', 'name = "stg-alb"'),
    "clusters": ('"gli-api-cluster"', '"gli-cluster"'),
    "ECS services": ('service = "stg-gli-websocket"', 'service = "stg-gli-ws"'),
    "images": ('image = "gli-api"', 'image = "gli-server"'),
    "buckets": ('"stg-gli-user-frontend"', '"stg-gli-frontend"'),
    "bucket behind stg.glibiz.com": ('"stg-gli-user-frontend"', '"stg-gli-admin-frontend"'),
    "database": ('instance = "stg-gli-database"', 'instance = "stg-gli-db"'),
    "cache": ('replication_group = "stg-gli-redis"', 'replication_group = "stg-gli-cache"'),
    "broker": ('amazon_mq = "stg-gli-mq"', 'amazon_mq = "stg-gli-rabbitmq"'),
    "secrets": ('"stg/gli/verify-redis"', '"stg/gli/redis-verify"'),
    "log groups": ('"/gli/user-frontend/staging"]', '"/gli/frontend/staging"]'),
    "retention of logs": ("minimum_retention_days = 7", "minimum_retention_days = 400"),
    "days of backups": ("minimum_backup_days = 1 ", "minimum_backup_days = 35 "),
    "topics": ('topics = ["stg-gli-alerts"]', 'topics = ["stg-gli-alarms"]'),
    "alarms without the prefix": ('prefix = "stg-gli-"', 'prefix = "stage-"'),
    "metrics without an alarm": ('"FreeStorageSpace"', '"FreeableMemory"'),
    "who reaches stg-gli-database": ('"stg-gli-rotation"', '"stg-gli-rotator"'),
    "who reaches stg-gli-redis": ('"stg-gli-websocket-tasks", "stg-gli-verify"]', '"stg-gli-verify"]'),
    "who reaches stg-gli-api-tasks": ("port = 8000", "port = 8001"),
    "ports of stg-gli-alb open to the world": ("world = [80, 443]", "world = [443]"),
    "other ports of stg-gli-alb": ("test_port = 8443", "test_port = 9443"),
    "listeners": ("test_port = 8443", "test_port = 9443"),
    "service api, container": ('container = "api"', 'container = "django"'),
    "service api, port": ("port = 8000", "port = 8001"),
    "service api, health path": ('health_path = "/health/"', 'health_path = "/healthz/"'),
    "service api, log group": ('log_group = "/gli/api-server/staging"', 'log_group = "/gli/api/staging"'),
    "service api, least tasks": ("minimum_tasks = 1", "minimum_tasks = 3"),
    "service api, host of its rules": ("https://stg-api.", "https://stage-api."),
    "service websocket, idle timeout": ("heartbeat_s = 30", "heartbeat_s = 300"),
}
"""What would be told of each change of [stg] in environments.toml."""


@pytest.mark.parametrize("what", CHANGES)
def test_a_difference_is_reported(what: str, tmp_path: Path) -> None:
    head, table, rest = (ROOT / "environments.toml").read_text().partition("\n[stg]\n")
    old, new = CHANGES[what]
    assert old in rest.partition("\n[prod]\n")[0]
    (tmp_path / "environments.toml").write_text(head + table + rest.replace(old, new, 1))
    shutil.copytree(ROOT / "infrastructure", tmp_path / "infrastructure")
    told = differences(tmp_path, "stg")
    assert any(sentence.startswith(f"{what}: ") for sentence in told), told


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_verifying_role_has_exactly_the_printed_policy(environment: str) -> None:
    """A check with a new AWS call changes `gli iam-policy`; the role in infrastructure/access.yaml must match it."""
    (role,) = [r for r in declared(ROOT, environment).of("AWS::IAM::Role") if "verify" in r.properties["RoleName"]]
    named = environments.load(ROOT, environment)
    account = named.aws.account_id if named.aws else None
    document = json.dumps(role.properties["Policies"][0]["PolicyDocument"])
    document = document.replace("${AWS::AccountId}", account or "*")
    printed = policy(catalogue.load(ROOT), named)
    has, wants = _allowed(json.loads(document)), _allowed(printed)
    assert not wants - has, f"add to Verifier in infrastructure/access.yaml: {sorted(wants - has)}"
    assert not has - wants, f"take out of Verifier in infrastructure/access.yaml: {sorted(has - wants)}"


def _allowed(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(s["Effect"], a, r) for s in document["Statement"] for a in s["Action"] for r in s["Resource"]}


def test_no_policy_allows_by_wildcard(stack: Declared) -> None:
    for role, statement in _statements(stack):
        actions = _listed(statement["Action"])
        assert not [a for a in actions if "*" in a], role.name
        if "*" in _listed(statement["Resource"]) and role.name != "Verifier":
            assert set(actions) <= NO_RESOURCES, f"{role.name} allows {actions} on everything"


def test_nobody_becomes_an_administrator_by_a_managed_policy(stack: Declared) -> None:
    attached = [arn for role in stack.of("AWS::IAM::Role") for arn in role.properties.get("ManagedPolicyArns", [])]
    attached += [
        arn for x in stack.of("AWS::Chatbot::SlackChannelConfiguration") for arn in x.properties["GuardrailPolicies"]
    ]
    names = {arn.partition("policy/")[2] for arn in attached}
    assert names <= {
        "AmazonECSInfrastructureRolePolicyForLoadBalancers",
        "CloudWatchReadOnlyAccess",
    }


def test_github_assumes_a_role_only_from_one_repository_and_environment(stack: Declared) -> None:
    github = environments.load(ROOT, stack.environment).github
    assert github is not None
    repositories = {
        f"{stack.prefix}deploy-api": "gli_api-server",
        f"{stack.prefix}deploy-websocket": "gli_websocket",
        f"{stack.prefix}deploy-user-frontend": "gli_user-frontend",
        f"{stack.prefix}deploy-admin-frontend": "gli_admin-frontend",
    }
    subjects = {name: f"repo:{github.owner}/{r}:environment:{github.environment}" for name, r in repositories.items()}
    subjects[f"gli-verify-{stack.environment}"] = f"repo:{github.owner}/gli_root:environment:verify-{stack.environment}"
    found = {}
    for role in stack.of("AWS::IAM::Role"):
        trust = role.properties["AssumeRolePolicyDocument"]["Statement"][0]
        if "Federated" in trust["Principal"]:
            equals = trust["Condition"]["StringEquals"]
            assert equals["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
            found[role.properties["RoleName"]] = equals["token.actions.githubusercontent.com:sub"]
    assert found == subjects


def test_only_the_load_balancer_is_open_to_the_world(stack: Declared) -> None:
    for name in stack.names("AWS::EC2::SecurityGroup") - {f"{stack.prefix}alb"}:
        assert not [s for _, s in ingress(stack, name) if "/" in s], name
    for resource in stack.resources.values():
        assert resource.properties.get("PubliclyAccessible", False) is False, resource.name


def test_every_security_group_has_egress_rules(stack: Declared) -> None:
    """A group without egress rules gets AWS's default: all traffic to everywhere."""
    for group in stack.of("AWS::EC2::SecurityGroup"):
        rules = group.properties["SecurityGroupEgress"]
        assert rules, group.name
        assert all(r["IpProtocol"] == "tcp" and r["FromPort"] == r["ToPort"] for r in rules), group.name


def test_no_template_contains_a_password(stack: Declared) -> None:
    for resource in stack.resources.values():
        for key, value in _pairs(resource.properties):
            if re.fullmatch("Password|Passwords|MasterUserPassword|AuthToken|SecretString", key):
                assert all("{{resolve:secretsmanager:" in t for t in _texts(value)), f"{resource.name}: {key}"
    assert stack.of("AWS::RDS::DBInstance")[0].properties["ManageMasterUserPassword"] is True


def test_data_is_encrypted_retained_and_redundant_in_production(stack: Declared) -> None:
    production = stack.environment == "prod"
    (database,), (cache,) = stack.of("AWS::RDS::DBInstance"), stack.of("AWS::ElastiCache::ReplicationGroup")
    assert database.properties["StorageEncrypted"] and database.properties["DeletionProtection"]
    assert database.properties["MultiAZ"] is production
    assert cache.properties["TransitEncryptionEnabled"] and cache.properties["AtRestEncryptionEnabled"]
    assert cache.properties["UserGroupIds"]
    assert cache.properties["MultiAZEnabled"] is production
    assert {database.deletion, cache.deletion} == {"Snapshot"}
    for bucket in stack.of("AWS::S3::Bucket"):
        assert set(bucket.properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket.properties["VersioningConfiguration"]["Status"] == "Enabled"
        assert bucket.deletion == "RetainExceptOnCreate"


def test_a_deployment_without_a_decision_is_rolled_back(stack: Declared) -> None:
    values = {"Environment": stack.environment, "ApiRevision": "a" * 40, "WebsocketRevision": "b" * 40}
    made = Template(ROOT / "infrastructure" / "services.yaml").resources(values)
    services = [r for r in made.values() if r.type == "AWS::ECS::Service"]
    assert len(services) == 2
    for service in services:
        deployment = service.properties["DeploymentConfiguration"]
        (hook,) = deployment["LifecycleHooks"]
        assert deployment["Strategy"] == "BLUE_GREEN"
        assert (hook["TargetType"], hook["LifecycleStages"]) == ("PAUSE", ["POST_TEST_TRAFFIC_SHIFT"])
        assert hook["TimeoutConfiguration"]["Action"] == "ROLLBACK"
        assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
        assert deployment["Alarms"]["Rollback"] and len(deployment["Alarms"]["AlarmNames"]) == 2
        assert "DesiredCount" not in service.properties


def test_a_service_without_an_image_has_no_desired_tasks(stack: Declared) -> None:
    assert [s.properties["DesiredCount"] for s in stack.of("AWS::ECS::Service")] == [0, 0]


def test_rolling_deployments_need_no_second_listener(stack: Declared) -> None:
    values = {"Environment": stack.environment, "Deployment": "ROLLING", "ApiRevision": "a" * 40}
    made = Template(ROOT / "infrastructure" / "services.yaml").resources(values)
    assert not {"TestHttps", "ApiTestRule", "WebsocketTestRule"} & made.keys()
    assert "AdvancedConfiguration" not in made["ApiService"].properties["LoadBalancers"][0]
    assert "LifecycleHooks" not in made["ApiService"].properties["DeploymentConfiguration"]


def test_servers_exist_only_where_requested(stack: Declared) -> None:
    assert not stack.of("AWS::ECS::CapacityProvider")
    values = {"Environment": stack.environment, "FargateOnly": "false"}
    made = Template(ROOT / "infrastructure" / "services.yaml").resources(values)
    assert [r.name for r in made.values() if r.type == "AWS::ECS::CapacityProvider"] == ["ServersProvider"]


def test_a_missing_script_is_not_answered_with_a_page(stack: Declared) -> None:
    """A function handles the SPA's routes; an error page is never the application, and never a 200."""
    for distribution in stack.of("AWS::CloudFront::Distribution"):
        config = distribution.properties["DistributionConfig"]
        shown = {(e["ErrorCode"], e["ResponseCode"], e["ResponsePagePath"]) for e in config["CustomErrorResponses"]}
        assert shown == {(403, 404, "/404.html"), (404, 404, "/404.html")}
        (function,) = config["DefaultCacheBehavior"]["FunctionAssociations"]
        assert function["EventType"] == "viewer-request"


def test_every_alarm_notifies_when_it_starts_and_when_it_ends(stack: Declared) -> None:
    for alarm in stack.of("AWS::CloudWatch::Alarm"):
        assert alarm.properties["AlarmActions"] == alarm.properties["OKActions"] == [f"{stack.prefix}alerts"], (
            alarm.name
        )
    assert {s.properties["Protocol"] for s in stack.of("AWS::SNS::Subscription")} == {"email"}
    (slack,) = stack.of("AWS::Chatbot::SlackChannelConfiguration")
    assert slack.properties["SnsTopicArns"] == [f"{stack.prefix}alerts"]


def test_a_service_that_is_down_is_reported_within_a_minute(stack: Declared) -> None:
    down = [a.properties for a in stack.of("AWS::CloudWatch::Alarm") if a.properties["AlarmName"].endswith("-down")]
    assert len(down) == 2
    for alarm in down:
        assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "breaching")
        assert {m["MetricStat"]["Period"] for m in alarm["Metrics"] if "MetricStat" in m} == {60}


def test_dashboards_show_the_overviews_three_groups(stack: Declared) -> None:
    boards = {
        d.properties["DashboardName"]: json.loads(d.properties["DashboardBody"])
        for d in stack.of("AWS::CloudWatch::Dashboard")
    }
    wanted = {
        f"{stack.prefix}application": {"TargetResponseTime", "HTTPCode_Target_5XX_Count", "RequestCount"},
        f"{stack.prefix}infrastructure": {"CPUUtilization", "MemoryUtilization", "NetworkRxBytes", "NetworkTxBytes"},
        f"{stack.prefix}users": {"Connections", "PageViews", "RequestCount"},
    }
    assert boards.keys() == wanted.keys()
    for name, metrics in wanted.items():
        shown = {row[1] for w in boards[name]["widgets"] for row in w["properties"]["metrics"]}
        assert metrics <= shown, name


def test_every_metric_that_a_filter_makes_is_watched_or_shown(stack: Declared) -> None:
    made = {f.properties["MetricTransformations"][0]["MetricName"] for f in stack.of("AWS::Logs::MetricFilter")}
    watched = {str(a.properties.get("MetricName")) for a in stack.of("AWS::CloudWatch::Alarm")}
    shown = " ".join(d.properties["DashboardBody"] for d in stack.of("AWS::CloudWatch::Dashboard"))
    assert {m for m in made if m not in watched and f'"{m}"' not in shown} == set()
    groups = {str(f.properties["LogGroupName"]) for f in stack.of("AWS::Logs::MetricFilter")}
    assert groups == stack.names("AWS::Logs::LogGroup")


def test_the_declared_metric_filters_are_those_of_the_templates(stack: Declared) -> None:
    """What environments.toml names: metric, log group, and lines that the template's pattern counts or not."""
    alarms = environments.load(ROOT, stack.environment).alarms
    assert alarms is not None
    made = {f.properties["MetricTransformations"][0]["MetricName"]: f for f in stack.of("AWS::Logs::MetricFilter")}
    for wanted in alarms.metric_filters:
        template = made[wanted.metric].properties
        assert template["LogGroupName"] == wanted.group
        assert template["FilterPattern"] == ERRORS
        assert [matches(ERRORS, line) for line in wanted.counts] == [True] * len(wanted.counts)
        assert [matches(ERRORS, line) for line in wanted.ignores] == [False] * len(wanted.ignores)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_cloudformation_accepts_the_file_unchanged(path: Path) -> None:
    text = path.read_text()
    assert len(text.encode()) <= MOST_BYTES
    assert not re.search(r"(^|\s)[&*][a-z-]+\s*$", text, re.MULTILINE), "CloudFormation reads no YAML anchors"


@pytest.mark.parametrize("page", ["overview.md", "infrastructure.md", "infrastructure.ko.md"])
def test_a_page_names_files_resources_and_stacks_that_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    paths = set(re.findall(r"`((?:infrastructure|pipelines|\.github|scripts|gli|tests|checklists)/[^`* ]*)`", text))
    assert paths
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    known = {n.partition("/")[2] for n in declared(ROOT, "prod").resources}
    assert set(re.findall(r"`([A-Z][a-z]+Dashboard)`", text)) <= known


def test_cfn_lint_reports_only_a_broken_template(tmp_path: Path) -> None:
    """One run of the linter, which takes seconds. It must find the unknown property in a broken template."""
    broken = tmp_path / "broken.yaml"
    text = (ROOT / "infrastructure" / "shared.yaml").read_text()
    broken.write_text(text.replace("ImageTagMutability", "ImageTags", 1))
    command = [PYTHON.parent / "cfn-lint", "--regions", "ap-northeast-2", "--format", "parseable", "--template"]
    ran = subprocess.run([*command, *TEMPLATES, broken], capture_output=True, text=True, check=False)
    found = ran.stdout.splitlines()
    assert [line for line in found if not line.startswith(str(broken))] == [], ran.stderr
    assert any("ImageTags" in line for line in found), ran.stderr


@pytest.mark.exhaustive
def test_every_exception_from_checkov_is_still_needed() -> None:
    """The checks that fail without exceptions are exactly those that infrastructure/checkov.yml lists."""
    checkov, configuration = ROOT / ".venv" / "checkov" / "bin" / "checkov", ROOT / "infrastructure" / "checkov.yml"
    command = [checkov, "--directory", configuration.parent, "--framework", "cloudformation", "--skip-download"]
    ran = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, check=False)
    failed = {check["check_id"] for check in json.loads(ran.stdout)["results"]["failed_checks"]}
    assert failed == set(yaml.safe_load(configuration.read_text())["skip-check"])


def _statements(stack: Declared) -> Iterator[tuple[Resource, dict[str, Any]]]:
    for role in stack.of("AWS::IAM::Role"):
        for each in role.properties.get("Policies", []):
            for statement in each["PolicyDocument"]["Statement"]:
                yield role, statement


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [t for v in inner for t in _texts(v)]
