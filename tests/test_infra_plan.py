"""`gli infra` before it calls AWS: mistakes in the files; and AWS's change sets described in words."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from declared import load_stacks

from gli.cli.infra import infra
from gli.provision.changes import of_change_set
from gli.provision.drift import differences
from gli.provision.plan import Step, lines
from gli.provision.template import Template

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "infrastructure", tmp_path / "infrastructure")
    shutil.copy(ROOT / "environments.toml", tmp_path)
    stacks = tmp_path / "infrastructure" / "stacks.toml"
    stacks.write_text(stacks.read_text().replace("# Slack", "Slack"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRONG = {
    "no such parameters": ("stacks.toml", "[parameters.stg]", "[parameters.qa]", "[parameters.stg] is missing"),
    "a number": (
        "stacks.toml",
        'FargateOnly = "true"',
        "FargateOnly = true",
        "FargateOnly = True should be a text",
    ),
    "a parameter of nothing": ("stacks.toml", "FargateOnly", "Fargate", "Fargate is a parameter of no template"),
    "a missing one": ("stacks.toml", "SlackChannelId", "# ", "SlackChannelId is missing: alerts.yaml needs it"),
    "an output that is gone": (
        "network.yaml",
        "  DataSubnets:\n    Value",
        "  Other:\n    Value",
        "DataSubnets is missing",
    ),
    "no TOML": ("stacks.toml", "[[stacks]]", "[[stacks]", "stacks.toml is not valid TOML"),
    "a key too many": ("stacks.toml", 'template = "shared.yaml"', "file = 1", "[[stacks]] takes name, template and"),
    "no such template": ("stacks.toml", '"shared.yaml"', '"common.yaml"', "common.yaml is missing"),
    "no YAML": ("shared.yaml", "Resources:", "Resources: [", "shared.yaml is not valid YAML"),
    "no resources": ("shared.yaml", "Resources:", "Things:", "shared.yaml is no CloudFormation template"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_in_a_file_is_one_sentence_before_any_aws_call(what: str, project: Path) -> None:
    file, old, new, sentence = WRONG[what]
    path = project / "infrastructure" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    ran = CliRunner().invoke(infra, ["plan", "--env", "stg"])
    assert ran.exit_code == 2
    assert sentence in ran.output
    assert ran.output.startswith("gli: ")
    assert "Traceback" not in ran.output


def test_the_account_must_be_named(project: Path) -> None:
    ran = CliRunner().invoke(infra, ["plan", "--env", "stg"])
    assert (ran.exit_code, ran.output.count("\n")) == (2, 1)
    assert "[stg.aws] account_id is missing; write its 12 digits" in ran.output


@pytest.mark.parametrize("name", ["dev", "sandbox", "qa"])
def test_only_stg_and_prod_are_on_aws(name: str, project: Path) -> None:
    ran = CliRunner().invoke(infra, ["plan", "--env", name])
    assert ran.exit_code == 2
    assert f"[parameters.{name}] is missing; only prod and stg stand on AWS" in ran.output


def change(name: str, type_: str, action: str = "Modify", **more: Any) -> dict[str, Any]:
    """One change, as DescribeChangeSet answers with IncludePropertyValues."""
    return {
        "Type": "Resource",
        "ResourceChange": {"Action": action, "LogicalResourceId": name, "ResourceType": type_, **more},
    }


def detail(path: str, before: str, after: str, recreation: str = "Never") -> dict[str, Any]:
    values = {"Path": path, "BeforeValue": before, "AfterValue": after, "AttributeChangeType": "Modify"}
    target = {"Attribute": "Properties", "Name": path.split("/")[2], "RequiresRecreation": recreation, **values}
    return {"Target": target, "Evaluation": "Static", "ChangeSource": "DirectModification"}


ANSWER = [
    change("Added", "AWS::SNS::Topic", "Add"),
    change("ApiLogs", "AWS::Logs::LogGroup", PhysicalResourceId="/gli/api-server/staging", Replacement="False",
           Details=[detail("/Properties/RetentionInDays", "30", "60")]),
    change("Balancer", "AWS::ElasticLoadBalancingV2::LoadBalancer", PhysicalResourceId="arn:x", Replacement="True",
           PolicyAction="ReplaceAndDelete", Details=[detail("/Properties/Scheme", "x", "internal", "Always")]),
    change("Cache", "AWS::ElastiCache::ReplicationGroup", PhysicalResourceId="stg-gli-redis", Replacement="True",
           PolicyAction="ReplaceAndSnapshot", Details=[detail("/Properties/Port", "6379", "6380", "Always")]),
    change("Old", "AWS::SecretsManager::Secret", "Remove", PhysicalResourceId="old", PolicyAction="Delete"),
    change("Alarm", "AWS::CloudWatch::Alarm", "Remove", PhysicalResourceId="stg-gli-x", PolicyAction="Delete"),
]  # fmt: skip


@pytest.fixture
def told() -> list[tuple[str, str | None]]:
    stack = load_stacks(ROOT, "stg").stacks[3]
    step = Step(stack, True, of_change_set(ANSWER, {}))
    return [(line.text, line.colour) for line in lines([step])]


def test_changes_that_delete_data_are_listed_first_and_in_red(told: list[tuple[str, str | None]]) -> None:
    assert told[0] == ("Takes data away:", "red")
    assert [text.split("(")[0].strip() for text, _ in told[1:3]] == ["-/+ replace Cache", "- remove    Old"]
    assert "a last snapshot of the old one is kept; the new one is empty" in told[1][0]
    assert "it is deleted, with no copy" in told[2][0]
    assert {colour for _, colour in told[1:3]} == {"red"}


def test_other_changes_are_listed_by_impact_with_old_and_new_values(told: list[tuple[str, str | None]]) -> None:
    names = [text.split("(")[0].strip() for text, _ in told[4:] if "(AWS" in text]
    assert names == [
        "-/+ replace Cache",
        "- remove    Old",
        "-/+ replace Balancer",
        "- remove    Alarm",
        "~ change    ApiLogs",
        "+ add       Added",
    ]
    texts = [text.strip() for text, _ in told]
    assert "RetentionInDays: 30 → 60" in texts
    assert "Port: 6379 → 6380  (this replaces it)" in texts
    assert texts[-1] == "2 to replace, 2 to remove, 1 to change, 1 to add."


def test_a_later_step_that_exceeds_the_shown_plan_is_reported() -> None:
    stack = load_stacks(ROOT, "stg").stacks[3]
    shown, more = Step(stack, True, of_change_set(ANSWER[:2], {})), Step(stack, True, of_change_set(ANSWER[:3], {}))
    assert more.beyond(shown)
    assert not shown.beyond(more)
    assert not shown.beyond(shown)


def test_a_template_resolves_known_values_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "Parameters: {E: {Type: String}, D: {Type: String, Default: d}}\n"
        "Mappings: {M: {stg: {Size: 2}}}\n"
        "Conditions: {Big: !Equals [!Ref E, prod], Small: !Not [!Condition Big]}\n"
        "Resources:\n"
        "  A: {Type: T, Condition: Big}\n"
        "  B:\n    Type: T\n    Condition: Small\n    Properties:\n"
        "      Name: !Sub '${E}-${D}-${C}-${!Literal}'\n      Size: !FindInMap [M, !Ref E, Size]\n"
        "      Maybe: !If [Big, 1, !Ref AWS::NoValue]\n      List: [!If [Big, 1, !Ref AWS::NoValue], 2]\n"
        "      Other: !GetAtt C.Arn.Of.It\n"
    )
    (made,) = Template(path).resources({"E": "stg"}).values()
    assert made.properties == {
        "Name": "stg-d-${C}-${!Literal}",
        "Size": 2,
        "List": [2],
        "Other": {"Fn::GetAtt": ["C", "Arn.Of.It"]},
    }


def test_changes_by_design_are_separated_from_manual_changes() -> None:
    """ministack does not compare listener rules, so this answer follows AWS's documentation."""
    values = {"Environment": "stg"}
    resources = Template(ROOT / "infrastructure" / "services.yaml").resources(values)
    found = {
        "LogicalResourceId": "ApiRule",
        "ResourceType": "AWS::ElasticLoadBalancingV2::ListenerRule",
        "PhysicalResourceId": "arn:rule",
        "StackResourceDriftStatus": "MODIFIED",
        "PropertyDifferences": [
            {
                "PropertyPath": f"/{path}",
                "ExpectedValue": "1",
                "ActualValue": actual,
                "DifferenceType": "NOT_EQUAL",
            }
            for path, actual in (("Actions/0/ForwardConfig/TargetGroups/0/Weight", "0"), ("Priority", "7"))
        ],
    }
    by_hand, by_design = differences(found, resources)
    which = "ApiRule (AWS::ElasticLoadBalancingV2::ListenerRule arn:rule)"
    assert by_hand == [f"{which}: Priority is 7, and the template says 1"]
    assert len(by_design) == 1
    assert by_design[0].endswith(": ECS turns the traffic between blue and green")


@pytest.mark.parametrize(
    ("typed", "arguments"), [([], "--env stg"), (["prod"], "--env prod"), (["stg", "--yes"], "--env stg --yes")]
)
def test_the_overviews_script_applies_an_environment_from_any_folder(
    typed: list[str], arguments: str, tmp_path: Path
) -> None:
    script, gli = tmp_path / "scripts" / "setup-aws-infrastructure.sh", tmp_path / ".venv" / "bin" / "gli"
    for folder in (script.parent, gli.parent):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / script.name, script)
    gli.write_text('#!/bin/sh\necho "$PWD $*"\n')
    gli.chmod(0o755)
    ran = subprocess.run([script, *typed], cwd="/", capture_output=True, text=True, check=True)
    assert ran.stdout == f"{tmp_path} infra apply {arguments}\n"
