"""The `gli` command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, gli_forked, row
from gli.config import catalogue, environments
from gli.config.iam_policy import policy
from gli.observe.engine.aws_session import iam_action
from gli.observe.engine.guard import AWS_READS


def gli(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return gli_forked(*arguments, root=cwd)


def test_help_explains_and_names_every_command() -> None:
    said = " ".join(gli("--help").stdout.split())
    assert "pytest --env=stg" in said
    for command in ("sandbox", "checks", "iam-policy"):
        assert command in said


def test_checks_lists_the_catalogue() -> None:
    lines = gli("checks").stdout.splitlines()
    assert len(lines) == len(catalogue.load(ROOT).checks)
    assert max(map(len, lines)) <= 110


def test_checks_as_json() -> None:
    listed = json.loads(gli("checks", "--json").stdout)
    assert {c["id"] for c in listed} == set(catalogue.load(ROOT).checks)
    assert all(c["proves"] and c["remedy"]["en"] and c["remedy"]["ko"] for c in listed)


def test_one_check_is_explained_in_full() -> None:
    said = gli("checks", "sg-db-ingress").stdout
    for word in ("proves:", "explained by:", "to do:", "할 일:", "IAM: ", "ec2:DescribeSecurityGroups"):
        assert word in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["checks", "nope"], "gli: no check is called 'nope'; `gli checks` lists them"),
        (["iam-policy", "--env", "nowhere"], "gli: environments.toml has no environment 'nowhere'"),
        (["iam-policy", "--env", "dev"], "gli: environments.toml: [dev] has no aws table: it needs no policy"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(arguments: list[str], sentence: str) -> None:
    done = gli(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(sentence)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x", "checklists/checks.toml is not valid TOML"),
        (row("one", severity="fatal"), "checklists/checks.toml: [one] severity = 'fatal' should be "),
        (row("one", each="nobody"), "checklists/checks.toml: [one] each = 'nobody' is no group of targets"),
        (row("one", causes='["two"]'), "checklists/checks.toml: [one] causes names 'two', which is not a check"),
        (
            row("one", causes='["two"]') + row("two", causes='["one"]'),
            "checklists/checks.toml: causes go in a circle: one -> two -> one",
        ),
    ],
)
def test_a_broken_catalogue_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "checklists").mkdir()
    (tmp_path / "checklists/checks.toml").write_text(text)
    done = gli("checks", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"gli: {sentence}")


def test_the_policy_allows_exactly_the_reads_of_the_guard() -> None:
    statements = json.loads(gli("iam-policy", "--env", "stg").stdout)["Statement"]
    allowed = {action for s in statements for action in s["Action"]}
    asked = {iam_action(service, operation) for service, operations in AWS_READS.items() for operation in operations}
    # GetCallerIdentity needs no permission. BatchGetSecretValue also needs the permission of each value, and where a
    # customer's key encrypts the secret, Secrets Manager decrypts it for the caller.
    # Parameters are read only where an environment keeps credentials in them (the next test).
    asked -= {"ssm:GetParameters", "ssm:GetParametersByPath"}
    assert allowed == (asked - {"sts:GetCallerIdentity"}) | {"secretsmanager:GetSecretValue", "kms:Decrypt"}
    (decrypts,) = (s for s in statements if "kms:Decrypt" in s["Action"])
    assert decrypts["Condition"]["StringEquals"]["kms:ViaService"].startswith("secretsmanager.")
    scoped = {a for s in statements if s["Resource"] != ["*"] for a in s["Action"]}
    assert {"s3:GetObject", "secretsmanager:GetSecretValue"} & allowed <= scoped


def test_the_policy_allows_the_parameters_that_hold_credentials_and_no_others() -> None:
    overlay = {"database": {"secret": "ssm:/shop/database-url", "verify_secret": "ssm:/shop/verify/"}}
    document = policy(catalogue.load(ROOT), environments.load(ROOT, "stg", overlay=overlay))
    (statement,) = (s for s in document["Statement"] if "ssm:GetParameters" in s["Action"])
    arn = "arn:aws:ssm:ap-northeast-2:*:parameter/shop"
    assert statement["Resource"] == [f"{arn}/database-url", f"{arn}/verify/*"]
