"""Answers of AWS with a missing member, an empty list or a new value: a clear unknown, and never a wrong verdict.

The answers are those of a healthy sandbox. Each operation's members are tried one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import aws_shapes
import pytest
from aws_absent import MAY_BE_ABSENT
from aws_replay import Change, Outcome, Path, Recorded, edit, fill, record, shape, typical
from test_variants import TOGETHER

from conftest import ROOT, Sandbox, exhaustive, in_turn, sampled
from gli.config import environments
from gli.observe.engine.aws_answer import Answer
from gli.observe.engine.aws_session import AwsError

CRASH = re.compile(r"the probe \S+ failed")
JOINED = re.compile(r"\.(Marker|Quantity|MaxItems|IsTruncated) is required")
"""Members of a page, which botocore drops when it joins pages."""
NEW = "A_VALUE_OF_NEXT_YEAR"


@pytest.fixture(scope="module")
def recorded(sandbox: Sandbox) -> Recorded:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GLI_SANDBOX", sandbox.name)
        found = record(environments.load(ROOT, "sandbox"))
    assert {o.kind for o in found.judged(lambda _, answer: answer).values()} == {"passed"}
    return found


Tried = dict[str, list[Path]]
"""Operation to the members that are changed in it."""
WORLDS = 25


def together(recorded: Recorded, wanted: Callable[[Any], bool]) -> Iterator[Tried]:
    """Some members of every operation at once. Without the identity nothing would be observed."""
    members = {o: _wanted(recorded, o, wanted) for o in recorded.operations() if o != "sts.get_caller_identity"}
    for n in range(WORLDS):
        yield {operation: paths[n::WORLDS] for operation, paths in members.items() if paths[n::WORLDS]}


def alone(recorded: Recorded, wanted: Callable[[Any], bool]) -> Iterator[Tried]:
    """Each member of each operation by itself, another third of them each day."""
    members = [
        (operation, path) for operation in recorded.operations() for path in _wanted(recorded, operation, wanted)
    ]
    for operation, path in in_turn(members, 3):
        yield {operation: [path]}


def _wanted(recorded: Recorded, operation: str, wanted: Callable[[Any], bool]) -> list[Path]:
    return [path for path, member in recorded.members(operation).items() if wanted(member)]


def changing(tried: Tried, change: Callable[[Any, str], None]) -> Change:
    def changed(operation: str, answer: Any) -> Any:
        for path in tried.get(operation, ()):
            edit(answer, path, change)
        return answer

    return changed


def drop(structure: dict[str, Any], member: str) -> None:
    del structure[member]


def empty(structure: dict[str, Any], member: str) -> None:
    structure[member] = []


def rename(structure: dict[str, Any], member: str) -> None:
    structure[member] = NEW


def crashed(outcomes: dict[str, Outcome]) -> set[str]:
    return crashed_in(outcomes.values())


def crashed_in(outcomes: Iterable[Outcome]) -> set[str]:
    return {o.message for o in outcomes if o.kind == "broken" or CRASH.search(o.message)}


def is_list(member: Any) -> bool:
    return bool(member.type_name == "list")


def is_enum(member: Any) -> bool:
    return bool(member.metadata.get("enum"))


def anything(_: Any) -> bool:
    return True


WAYS = [
    pytest.param(together, id="together"),
    pytest.param(alone, id="alone", marks=exhaustive),
]


def test_the_answers_of_the_sandbox_match_botocores_models(recorded: Recorded) -> None:
    wrong = {
        objection
        for operation in recorded.operations()
        for answer in recorded.samples(operation)
        for objection in aws_shapes.objections(shape(operation), answer, operation)
    }
    assert {objection for objection in wrong if not JOINED.search(objection)} == set()


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_member_is_a_clear_unknown_at_worst(recorded: Recorded, way: Any) -> None:
    for tried in way(recorded, anything):
        assert crashed(recorded.judged(changing(tried, drop))) == set(), tried


@pytest.mark.parametrize("part", sampled(range(8), 8))
def test_a_member_that_moto_leaves_out_breaks_nothing(recorded: Recorded, part: int) -> None:
    """Every member that AWS may send beside those of the sandbox, one operation after the other."""
    for tried in recorded.operations()[part::8]:

        def filled(operation: str, answer: Any, tried: str = tried) -> Any:
            for path, member in recorded.left_out(tried).items() if operation == tried else ():
                fill(answer, path, typical(member))
            return answer

        assert crashed(recorded.judged(filled)) == set(), tried


@pytest.mark.parametrize("way", WAYS)
def test_an_empty_list_breaks_nothing(recorded: Recorded, way: Any) -> None:
    for tried in way(recorded, is_list):
        assert crashed(recorded.judged(changing(tried, empty))) == set(), tried


@pytest.mark.parametrize("way", WAYS)
def test_a_new_value_fails_no_check(recorded: Recorded, way: Any) -> None:
    assert failing(recorded, way(recorded, is_enum)) == []


@exhaustive
@pytest.mark.parametrize("group", TOGETHER)
def test_a_new_value_fails_no_check_in_a_variant(group: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of the sandbox's healthy variants have members that those of the usual set-up lack."""
    monkeypatch.setenv("GLI_SANDBOX", sandbox.name)
    sandbox.ask("vary", *TOGETHER[group])
    try:
        varied = record(environments.load(ROOT, "sandbox"))
        wrong = failing(varied, together(varied, is_enum))
    finally:
        sandbox.ask("restore", *TOGETHER[group])
    assert wrong == []


def failing(recorded: Recorded, ways: Iterable[Tried]) -> list[Any]:
    """The members whose new value makes a check fail, or ends it with an exception. A check may demand one value: then
    any other value is red, also a new one.
    """
    wrong = []
    for tried in ways:
        outcomes = recorded.judged(changing(tried, rename))
        failed = {case.partition("[")[0]: o.message for case, o in outcomes.items() if o.kind == "failed"}
        if crashed(outcomes) or not failed.keys() <= DEMANDS:
            wrong.append((tried, crashed(outcomes), failed))
    return wrong


DEMANDS = {"ecs-taskdef-contract", "alb-http-redirect", "alb-health-check-config", "dns-alias-target"}
"""Checks of a setting that must have one certain value: a network mode, a redirect, the protocol of the requests, a
type of record.
"""


JUDGED = [
    (
        "application-autoscaling.describe_scalable_targets",
        "ScalableTargets.[].SuspendedState",
        "scaling-registered",
    ),
    ("application-autoscaling.describe_scaling_policies", "ScalingPolicies.[].Alarms", "scaling-policies"),
    ("cloudfront.get_distribution", "Distribution.DistributionConfig.CustomErrorResponses", "cdn-error-mapping"),
    ("cloudfront.get_distribution", "Distribution.DistributionConfig.CacheBehaviors", "cdn-viewer-https"),
    ("cloudfront.get_distribution", "Distribution.DistributionConfig.Restrictions", "cdn-lets-users-in"),
    ("cloudwatch.describe_alarms", "CompositeAlarms", "alarms-quiet"),
    ("cloudwatch.describe_alarms", "MetricAlarms", "alarms-quiet"),
    ("cloudwatch.describe_alarms", "MetricAlarms.[].ActionsEnabled", "alarms-actions"),
    ("ec2.describe_network_acls", "NetworkAcls.[].Associations", "net-acl-open"),
    ("ec2.describe_network_acls", "NetworkAcls.[].Entries.[].CidrBlock", "net-acl-open"),
    ("ec2.describe_route_tables", "RouteTables.[].Associations.[].Main", "net-private-subnets"),
    ("ec2.describe_route_tables", "RouteTables.[].Routes", "net-private-subnets"),
    ("ec2.describe_route_tables", "RouteTables.[].Routes.[].DestinationCidrBlock", "net-private-subnets"),
    ("ec2.describe_route_tables", "RouteTables.[].Routes.[].GatewayId", "net-private-subnets"),
    ("ec2.describe_security_groups", "SecurityGroups.[].IpPermissions.[].IpRanges", "sg-no-world-ports"),
    ("ec2.describe_security_groups", "SecurityGroups.[].IpPermissions.[].Ipv6Ranges", "sg-db-ingress"),
    ("ec2.describe_subnets", "Subnets", "net-private-subnets"),
    ("ecr.batch_get_image", "images.[].imageManifest", "ecs-image-platform"),
    ("ecr.describe_image_scan_findings", "imageScanFindings", "ecr-scan"),
    ("ecr.describe_image_scan_findings", "imageScanFindings.findingSeverityCounts", "ecr-scan"),
    ("ecs.describe_services", "services.[].deploymentConfiguration.maximumPercent", "ecs-deploy-has-room"),
    ("ecs.describe_services", "services.[].events", "ecs-placement-events"),
    ("ecs.describe_services", "services.[].networkConfiguration", "net-acl-open"),
    ("ecs.describe_task_definition", "taskDefinition.containerDefinitions.[].environment", "ecs-taskdef-contract"),
    ("ecs.describe_tasks", "tasks.[].attributes", "ecs-image-platform"),
    ("ecs.describe_tasks", "tasks.[].containers", "ecs-graceful-stop"),
    ("elasticache.describe_cache_clusters", "CacheClusters.[].CacheSubnetGroupName", "net-acl-open"),
    ("elasticache.describe_cache_clusters", "CacheClusters.[].SecurityGroups", "sg-redis-ingress"),
    ("elasticache.describe_replication_groups", "ReplicationGroups.[].MemberClusters", "redis-failover"),
    ("elbv2.describe_listener_certificates", "Certificates", "acm-certificate-valid"),
    ("elbv2.describe_rules", "Rules.[].Conditions", "alb-host-routing"),
    ("elbv2.describe_rules", "Rules.[].Priority", "alb-host-routing"),
    ("elbv2.describe_target_groups", "TargetGroups.[].HealthCheckPort", "alb-health-check-config"),
    ("iam.get_account_authorization_details", "RoleDetailList", "iam-github-oidc"),
    ("iam.get_account_authorization_details", "RoleDetailList.[].AssumeRolePolicyDocument", "iam-github-oidc"),
    ("iam.get_account_authorization_details", "RoleDetailList.[].AttachedManagedPolicies", "suite-role-readonly"),
    ("iam.get_account_authorization_details", "RoleDetailList.[].RolePolicyList", "iam-task-role-least"),
    ("logs.filter_log_events", "events", "logs-error-scan"),
    ("mq.describe_broker", "SubnetIds", "net-acl-open"),
    ("ecs.describe_tasks", "tasks.[].healthStatus", "ecs-task-health"),
    ("ecs.describe_tasks", "tasks.[].startedAt", "secret-rotation-state"),
    ("elbv2.describe_target_groups", "TargetGroups.[].HealthCheckIntervalSeconds", "alb-health-check-config"),
    ("elbv2.describe_target_groups", "TargetGroups.[].HealthyThresholdCount", "alb-health-check-config"),
    ("elbv2.describe_target_groups", "TargetGroups.[].UnhealthyThresholdCount", "alb-health-check-config"),
    ("rds.describe_db_instances", "DBInstances.[].DBInstanceClass", "db-cpu-and-io"),
    ("rds.describe_db_instances", "DBInstances.[].DBParameterGroups", "db-pending-changes"),
    ("rds.describe_db_instances", "DBInstances.[].DeletionProtection", "db-protection"),
    ("rds.describe_db_instances", "DBInstances.[].PubliclyAccessible", "db-protection"),
    ("rds.describe_db_instances", "DBInstances.[].ReadReplicaDBInstanceIdentifiers", "db-replication-lag"),
    ("rds.describe_db_instances", "DBInstances.[].AllocatedStorage", "db-storage-free"),
    ("rds.describe_db_instances", "DBInstances.[].DBParameterGroups.[].ParameterApplyStatus", "db-pending-changes"),
    ("rds.describe_db_instances", "DBInstances.[].Endpoint", "secret-fields"),
    ("route53.list_resource_record_sets", "ResourceRecordSets.[].ResourceRecords", "dns-delegated"),
    ("secretsmanager.batch_get_secret_value", "SecretValues.[].CreatedDate", "secret-rotation-state"),
]
"""Operation, member, and a check that would pass if it took an absent member for a healthy one."""


@pytest.mark.parametrize(("operation", "member", "check"), sampled(JUDGED, 4))
def test_a_check_does_not_pass_without_the_member_that_it_judges(
    recorded: Recorded, operation: str, member: str, check: str
) -> None:
    outcomes = recorded.judged(changing({operation: [tuple(member.split("."))]}, drop))
    assert "unknown" in {o.kind for case, o in outcomes.items() if case.startswith(f"{check}[")}


def read_with_a_default(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """Operation and path of every member that a probe reads without demanding it."""
    found = set()
    get, contains = Answer.get, Answer.__contains__

    def noted(answer: Answer, member: str) -> None:
        found.add((answer._call.replace(":", "."), answer._path + member))

    with monkeypatch.context() as patched:
        patched.setattr(Answer, "get", lambda a, m, *default: (noted(a, m), get(a, m, *default))[1])
        patched.setattr(Answer, "__contains__", lambda a, m: (noted(a, m), contains(a, m))[1])
        recorded.judged(lambda _, answer: answer)
    return {(o, p) for o, p in found if "PolicyDocument." not in p}  # a document of IAM, which no model describes


@pytest.mark.parametrize("part", sampled(range(6), 6))
def test_an_absent_member_is_unknown_where_it_has_no_meaning(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    members = {
        (operation, ".".join(name for name in path if name not in ("[]", "*"))): path
        for operation in recorded.operations()
        for path in recorded.members(operation)
    }
    read = sorted(read_with_a_default(recorded, monkeypatch))
    known = {operation: names.split() for operation, names in MAY_BE_ABSENT.items()}
    unlisted = [one for one in read if one[1].rpartition(".")[2] not in known.get(one[0], ())]
    assert [one for one in unlisted if one not in members] == [], "nothing shows what their absence does"
    healthy = recorded.judged(lambda _, answer: answer)
    for one in unlisted[part::6]:
        outcomes = recorded.judged(changing({one[0]: [members[one]]}, drop))
        assert {o.kind for case, o in outcomes.items() if o != healthy[case]} == {"unknown"}, one


def test_members_that_the_suite_does_not_know_change_nothing(recorded: Recorded) -> None:
    def more(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: more(each) for name, each in value.items()} | {"AMemberOfNextYear": "x"}
        return [more(each) for each in value] if isinstance(value, list) else value

    known = {"ecr.describe_image_scan_findings", "rds.describe_db_instances"}  # a new severity, a new pending change
    outcomes = recorded.judged(lambda operation, answer: answer if operation in known else more(answer))
    assert {case: o for case, o in outcomes.items() if o.kind != "passed"} == {}


@pytest.mark.parametrize("part", sampled(range(8), 8))
def test_an_error_that_nobody_knows_is_unknown_in_every_check_that_asked(recorded: Recorded, part: int) -> None:
    asked = [o for o in recorded.operations() if o != "sts.get_caller_identity" and recorded.samples(o)]
    healthy = recorded.judged(lambda _, answer: answer)
    for tried in asked[part::8]:

        def refused(operation: str, answer: Any, tried: str = tried) -> Any:
            if operation == tried:
                raise AwsError(*tried.split("."), "OfNextYear", "This is new")
            return answer

        changed = {o for case, o in recorded.judged(refused).items() if o != healthy[case]}
        assert {o.kind for o in changed} == {"unknown"}, tried
        assert any("answered OfNextYear: This is new" in o.message for o in changed) and not crashed_in(changed), tried
