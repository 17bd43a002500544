"""Answers of AWS with a missing member, an empty list or a new value: a clear unknown, and never a wrong verdict.

The answers are those of a healthy sandbox. Each operation's members are tried one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import aws_shapes
import pytest
from aws_replay import Change, Outcome, Path, Recorded, edit, record, shape

from conftest import ROOT, Sandbox, exhaustive
from gli.config import environments

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
    """Each member of each operation by itself."""
    for operation in recorded.operations():
        for path in _wanted(recorded, operation, wanted):
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
    return {o.message for o in outcomes.values() if o.kind == "broken" or CRASH.search(o.message)}


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


@pytest.mark.parametrize("way", WAYS)
def test_an_empty_list_breaks_nothing(recorded: Recorded, way: Any) -> None:
    for tried in way(recorded, is_list):
        assert crashed(recorded.judged(changing(tried, empty))) == set(), tried


@pytest.mark.parametrize("way", WAYS)
def test_a_new_value_fails_no_check(recorded: Recorded, way: Any) -> None:
    """A check may demand one value: then any other value is red, also a new one."""
    for tried in way(recorded, is_enum):
        outcomes = recorded.judged(changing(tried, rename))
        failed = {case.partition("[")[0]: o.message for case, o in outcomes.items() if o.kind == "failed"}
        assert crashed(outcomes) == set(), tried
        assert failed.keys() <= DEMANDS, (tried, failed)


DEMANDS = {"ecs-taskdef-contract", "alb-http-redirect", "dns-alias-target"}
"""Checks of a setting that must have one certain value: a network mode, a redirect, a type of record."""


@pytest.mark.parametrize(
    ("operation", "member", "check"),
    [
        ("cloudwatch.describe_alarms", "MetricAlarms.[].ActionsEnabled", "alarms-actions"),
        ("ecs.describe_tasks", "tasks.[].healthStatus", "ecs-task-health"),
        ("ecs.describe_tasks", "tasks.[].startedAt", "secret-rotation-state"),
        ("elbv2.describe_target_groups", "TargetGroups.[].HealthCheckIntervalSeconds", "alb-health-check-config"),
        ("elbv2.describe_target_groups", "TargetGroups.[].HealthyThresholdCount", "alb-health-check-config"),
        ("rds.describe_db_instances", "DBInstances.[].PubliclyAccessible", "db-protection"),
        ("rds.describe_db_instances", "DBInstances.[].AllocatedStorage", "db-storage-free"),
        ("rds.describe_db_instances", "DBInstances.[].DBParameterGroups.[].ParameterApplyStatus", "db-pending-changes"),
        ("rds.describe_db_instances", "DBInstances.[].Endpoint", "secret-fields"),
        ("secretsmanager.batch_get_secret_value", "SecretValues.[].CreatedDate", "secret-rotation-state"),
    ],
)
def test_a_check_does_not_pass_without_the_member_that_it_judges(
    recorded: Recorded, operation: str, member: str, check: str
) -> None:
    outcomes = recorded.judged(changing({operation: [tuple(member.split("."))]}, drop))
    assert "unknown" in {o.kind for case, o in outcomes.items() if case.startswith(f"{check}[")}


def test_members_that_the_suite_does_not_know_change_nothing(recorded: Recorded) -> None:
    def more(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: more(each) for name, each in value.items()} | {"AMemberOfNextYear": "x"}
        return [more(each) for each in value] if isinstance(value, list) else value

    known = {"ecr.describe_image_scan_findings", "rds.describe_db_instances"}  # a new severity, a new pending change
    outcomes = recorded.judged(lambda operation, answer: answer if operation in known else more(answer))
    assert {case: o for case, o in outcomes.items() if o.kind != "passed"} == {}
