"""What could not be observed is unknown, with its cause: never passed, and never a wrong failure."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Sandbox
from gli.config import catalogue

REFUSED = {
    "aws-denies-ecs": ("ecs", "ecs:DescribeClusters is denied to this role"),
    "aws-throttles-rds": ("rds", "rds:DescribeDBInstances was throttled"),
    "aws-denies-secrets": ("secretsmanager", "secretsmanager:ListSecrets is denied to this role"),
    "aws-denies-metrics": ("cloudwatch", "cloudwatch:GetMetricData is denied to this role"),
    "aws-denies-buckets": ("s3", "s3:ListBucket is denied on stg-gli-user-frontend, or it is another account's"),
    "aws-throttles-dns": ("route53", "route53:ListHostedZonesByName was throttled"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_aws_refuses_to_tell_is_unknown_and_names_the_action(sandbox: Sandbox, tmp_path: Path, fault: str) -> None:
    service, sentence = REFUSED[fault]
    sandbox.call("break", fault)
    try:
        ran = sandbox.verify_often(reports=tmp_path)
    finally:
        sandbox.call("heal", fault)
    assert ran.verdict is not None
    assert ran.verdict["verdict"] == "NO-GO"
    assert ran.outcomes("failed") == set(), "nothing was seen to be wrong"
    assert sentence in " ".join(ran.output.split())
    needing = {c.id for c in catalogue.load(ROOT).checks.values() if any(a.startswith(f"{service}:") for a in c.iam)}
    assert needing & ran.outcomes("passed") == set(), "a check passed without what it needs to see"


def test_the_report_counts_the_requests_that_the_sandbox_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    aws, web = counted(sandbox), web_requests(sandbox)
    ran = sandbox.verify_often(reports=tmp_path)
    aws_after, web_after = counted(sandbox), web_requests(sandbox)
    assert ran.verdict is not None
    reported = ran.verdict["requests"]
    sent = {service: n - aws.get(service, 0) for service, n in aws_after.items() if n != aws.get(service, 0)}
    assert sent == {service: n for service, n in reported.items() if service in sent}
    assert sum(sent.values()) <= 100, "AWS calls of one environment"
    assert web_after - web == reported["http"] + reported["websocket"]


def web_requests(sandbox: Sandbox) -> int:
    """HTTP requests and WebSocket handshakes of the suite, as the sandbox counted them."""
    return int(json.loads(sandbox.call("status", "--json"))["requests"])


def counted(sandbox: Sandbox) -> dict[str, Any]:
    """Requests of the suite by service, as the AWS of the sandbox counted them."""
    url = f"{sandbox.status['aws_endpoint_url']}/_sandbox/requests"
    with urllib.request.urlopen(urllib.request.Request(url, data=b"{}"), timeout=10) as answer:
        found: dict[str, Any] = json.loads(answer.read())["requests"]
    return found
