"""A fact that could not be observed is unknown, with its cause: never passed, and never falsely failed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import ROOT, Sandbox, exhaustive
from gli.config import catalogue
from sandbox.faults import known

REFUSED = {
    "aws-denies-ecs": ("ecs", "ecs:DescribeClusters is denied to this role"),
    "aws-throttles-rds": ("rds", "rds:DescribeDBInstances was throttled"),
    "aws-denies-secrets": ("secretsmanager", "secretsmanager:ListSecrets is denied to this role"),
    "aws-denies-metrics": ("cloudwatch", "cloudwatch:GetMetricData is denied to this role"),
    "aws-denies-buckets": ("s3", "s3:ListBucket is denied on stg-gli-user-frontend, or it is another account's"),
    "aws-throttles-dns": ("route53", "route53:ListHostedZonesByName was throttled"),
}


def test_every_refusal_fault_is_tried() -> None:
    assert set(REFUSED) == {id for id in known() if id.startswith(("aws-denies-", "aws-throttles-"))}


NEED_NOTHING_HERE = {
    "cloudwatch": {"ecs-deploy-has-room"},
    "ecs": {
        *("secret-reaches-tasks[stg/gli/verify-database]", "secret-reaches-tasks[stg/gli/verify-redis]"),
        "alarms-actions",
    },
    "s3": {"ecs-next-task-can-start"},
}
"""By service, the checks or cases that pass without it: in the sandbox no deployment is rolled back by an alarm, no
task reads an environment file, no task gets the logins of the suite itself, and each alarm notifies somebody, so that
nobody asks which ones roll a deployment back.
"""
ALONE = "aws-denies-metrics"  # what the other refusals turn red would hide its root
TOGETHER = [tuple(id for id in REFUSED if id != ALONE), (ALONE,)]


@pytest.mark.parametrize("faults", [*TOGETHER, *(pytest.param((id,), marks=exhaustive) for id in TOGETHER[0])])
def test_a_refusal_by_aws_is_unknown_and_names_the_action(
    sandbox: Sandbox, tmp_path: Path, faults: tuple[str, ...]
) -> None:
    sandbox.ask("break", *faults)
    try:
        ran = sandbox.verify_often(reports=tmp_path)
    finally:
        sandbox.ask("heal", *faults)
    assert ran.verdict is not None
    assert ran.roots <= set().union(*(known()[fault].turns_red for fault in faults)) <= ran.red
    assert ran.verdict["verdict"] == "NO-GO"
    assert ran.outcomes("failed") == set(), "nothing was seen to be wrong"
    said = " ".join(ran.output.split())
    for service, sentence in (REFUSED[fault] for fault in faults):
        assert sentence in said
        actions = {check.id: check.iam for check in catalogue.load(ROOT).checks.values()}
        needing = {id for id, iam in actions.items() if any(action.startswith(f"{service}:") for action in iam)}
        allowed = NEED_NOTHING_HERE.get(service, set())
        passed = [c for c in ran.verdict["checks"] if c["outcome"] == "passed" and c["id"] in needing - allowed]
        assert {f"{c['id']}[{c['target']}]" for c in passed} <= allowed, "a check passed without what it needs to see"


def test_the_report_counts_the_requests_that_the_sandbox_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    aws, web = sandbox.aws_requests(), sandbox.web_requests()
    ran = sandbox.verify_often(reports=tmp_path)
    aws_after, web_after = sandbox.aws_requests(), sandbox.web_requests()
    assert ran.verdict is not None
    reported = ran.verdict["requests"]
    sent = {service: n - aws.get(service, 0) for service, n in aws_after.items() if n != aws.get(service, 0)}
    assert sent == {service: n for service, n in reported.items() if service in sent}
    told = re.findall(r"^\| ([a-z0-9-]+) \| (\d+) \|", (ROOT / "docs" / "aws.md").read_text(), re.MULTILINE)
    most = {service: int(n) for service, n in told}
    assert {service: n for service, n in sent.items() if n > most[service]} == {}, "more than docs/aws.md says"
    assert sum(most.values()) <= 108, "AWS calls of one environment"
    assert web_after - web == reported["http"] + reported["websocket"]
