"""Healthy set-ups that AWS documents and users run stay GO, and no check warns about them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conftest import IN_A_BROWSER, ROOT, SANDBOX, Sandbox, clean_environment, in_turn
from sandbox.variants import known

TOGETHER = {
    "stack": (
        *("native-blue-green", "health-check-takes-any-2xx", "listener-for-tests", "registry-scans-on-push"),
        *("sidecars", "secrets-in-parameters", "migrations-by-another-role", "numbers-made-by-the-application"),
        *(
            "suite-role-read-only",
            "replica-reads-its-slot",
            "cache-user-with-few-rights",
            "account-blocks-public-access",
        ),
        *(
            "strict-content-security-policy",
            "some-countries-kept-out",
            "network-load-balancer-for-sockets",
            "submodule",
        ),
    ),
    "clusters": (
        *(
            "secrets-read-by-the-application",
            "native-linear",
            "aurora-postgresql",
            "elasticache-serverless",
            "weighted-records",
            "failover-records",
        ),
        *(
            "page-writes-as-it-starts",
            "page-with-analytics",
            "enhanced-scanning",
            "old-versions-expire",
            "sni-certificate",
        ),
    ),
    "logins": (
        *("rds-proxy", "valkey", "cache-in-cluster-mode", "cache-with-a-token", "infrequent-access-logs"),
        *(
            "nothing-to-release",
            "deploys-within-capacity",
            "host-rule-with-a-wildcard",
            "origin-access-identity",
            "rows-that-nobody-changes",
        ),
    ),
    "managed": (
        *("native-canary", "secret-managed-by-rds", "secrets-under-a-customer-key", "sticky-sessions"),
        *("spa-error-mapping", "private-zone-of-the-same-name", "schema-of-the-next-release"),
        *("variables-that-hide-nothing", "firelens", "alarm-on-a-quiet-balancer", "two-filters-for-a-metric"),
        *("alarm-on-the-whole-balancer", "images-kept-by-rules", "alarms-by-a-filter", "lines-of-json"),
    ),
    "code deploy": (
        *(
            "constraints-made-by-hand",
            "codedeploy-blue-green",
            "database-behind-a-cname",
            "secret-rotated",
            "second-origin",
        ),
        *("leftovers-that-harm-nothing", "https-records", "collation-that-no-index-uses"),
        *("table-with-partitions", "second-provider-of-dns", "network-without-hostnames"),
        "cache-in-another-network",
    ),
    "task sets": ("external-controller", "bucket-policy-with-more", "distribution-with-a-wildcard"),
    "paused": ("native-blue-green-paused", "scripts-as-x-javascript"),
    "rules": (
        *("host-served-by-the-default-rule", "rules-for-single-paths", "sidecar-from-the-registry"),
        *("tasks-in-public-subnets", "endpoint-with-private-dns", "image-index-with-provenance"),
        *("records-by-country", "container-that-checks-itself", "balancer-answers-pings"),
        *(
            "quota-that-suffices",
            "shell-in-the-tasks",
            "containers-that-wait",
            "limits-of-the-target-group",
            "nights-off",
        ),
        *("column-of-a-wider-type", "cache-closes-idle-sessions", "bucket-under-an-own-key"),
        "page-with-a-service-worker",
    ),
}
"""Each variant, in groups that can all be true at once: their members change different parts of the stack."""
CANNOT_TELL = {
    "external-controller": {"ecs-circuit-breaker"},
    "infrequent-access-logs": {"logs-error-scan", "logs-new-errors"},
}
"""Checks, none of which blocks, that no API of AWS can answer in a variant: they are unknown."""


def stays_go(sandbox: Sandbox, tmp_path: Path, *variants: str) -> None:
    sandbox.ask("vary", *variants)
    try:
        of_pages = any(variant.startswith(("page-", "strict-")) for variant in variants)
        ran = sandbox.verify_often(reports=tmp_path, env=IN_A_BROWSER if of_pages else None)
    finally:
        sandbox.ask("restore", *variants)
    unknown = set().union(*(CANNOT_TELL.get(v, set()) for v in variants))
    assert (ran.red, ran.last_line) == (unknown, "VERDICT sandbox: GO"), ran.output
    assert ran.outcomes("unknown") == unknown


@pytest.mark.parametrize("variants", TOGETHER.values(), ids=TOGETHER.keys())
def test_several_variants_together_stay_go(sandbox: Sandbox, tmp_path: Path, variants: tuple[str, ...]) -> None:
    stays_go(sandbox, tmp_path, *variants)


def test_every_variant_is_in_one_group() -> None:
    assert sorted(variant for variants in TOGETHER.values() for variant in variants) == list(known())


@pytest.mark.exhaustive
@pytest.mark.parametrize("variant", in_turn(known(), 2))
def test_a_variant_stays_go(sandbox: Sandbox, tmp_path: Path, variant: str) -> None:
    stays_go(sandbox, tmp_path, variant)


@pytest.mark.exhaustive
def test_variants_leave_nothing_behind(sandbox: Sandbox, tmp_path: Path) -> None:
    """A leftover of a variant would change this run."""
    ran = sandbox.verify_often(reports=tmp_path)
    assert (ran.red, ran.last_line) == (set(), "VERDICT sandbox: GO"), ran.output


def test_an_unknown_variant_is_refused_and_similar_ones_are_named() -> None:
    ended = subprocess.run(
        [*SANDBOX, "up", "--detach", "--variant", "native-blue-gren"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("there is no variant 'native-blue-gren'; did you mean native-blue-green")
