"""Healthy set-ups that AWS documents and users run stay GO, and no check warns about them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from judged import judged

from conftest import IN_A_BROWSER, ROOT, SANDBOX, Ran, Sandbox, clean_environment, in_turn
from gli.config import catalogue
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
    "further": (
        *("alarm-that-only-rolls-back", "graviton", "acls-of-ones-own", "way-out-by-a-transit-gateway"),
        *("hotfix-made-twice", "replica-in-another-region", "pure-cache", "authorities-by-an-alias"),
        *("busy-afternoon", "dual-stack", "lag-of-each-node", "answers-in-another-spelling"),
    ),
    "night": (
        *("nightly-backup", "only-the-newest-tls", "tags-that-may-move", "three-tasks"),
        *("report-that-takes-a-moment", "workers-at-work", "certificate-of-45-days", "logs-kept-for-a-year"),
        "names-beside-the-hosts",
        "scaled-by-requests-too",
    ),
    "larger": ("more-than-the-least",),
    "spot": ("on-spot", "containers-that-aws-adds", "endpoints-in-place-of-a-way-out", "page-of-other-sites-too"),
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


OF_ONE_VALUE = {
    *("env-config-valid", "aws-caller-identity", "dns-no-dangling", "tls-handshake", "acm-certificate-valid"),
    *("api-health", "api-deep-health", "api-version", "api-auth-enforced", "http-debug-off", "http-no-5xx-burst"),
    *("http-redirects-to-https", "cors-answer-readable", "cdn-index-fresh", "cdn-assets-resolve", "cdn-deployed"),
    *("cdn-invalidation-complete", "s3-versioning", "s3-bucket-exists", "s3-direct-access-denied"),
    *("ws-handshake", "ws-app-echo", "ws-subprotocol", "ws-idle-survives", "ws-own-origins", "ws-origin-policy"),
    *("ecs-cluster-active", "ecs-rollout-completed", "ecs-expected-image", "ecs-no-rollback", "ecs-hook-safe"),
    *("alb-forwards-clients", "sg-tasks-ingress-alb-only", "db-tcp-reachable", "db-credentials-valid", "db-tls-in-use"),
    *("db-not-public", "db-writable", "redis-ping", "redis-role-writable", "redis-encryption-auth", "redis-failover"),
    *("mq-broker-running", "mq-amqp-login", "mq-queue-depth", "mq-dlq-empty", "secret-exists", "logs-groups-exist"),
    *("logs-recent-ingestion", "dashboards-exist", "git-remote-branches", "git-tested-sha", "git-deployment-log"),
    *("wf-run-success", "sqlite-integrity"),
}
"""Checks that want one value (an answer, a state, a commit), or a number below a limit: in each healthy state they read
the same."""
MEASURED = {"db-connection-headroom", "mq-not-blocked", "redis-clients", "ws-ping-pong"}
"""Checks that read something else in each run: every healthy run tries them."""
JUDGED_BEFORE = {
    "cdn-chunks-complete": "strict-content-security-policy",
    "page-boots": "page-writes-as-it-starts",
    "cdn-no-secrets": "scripts-as-x-javascript",
    "cdn-keeps-no-user": "second-origin",
    "s3-public-access-block": "account-blocks-public-access",
    "ecs-stopped-task-reasons": "on-spot",
    "ecs-crash-loop": "on-spot",
    "ecs-az-spread": "three-tasks",
    "ecs-env-not-crossed": "variables-that-hide-nothing",
    "db-collation-current": "collation-that-no-index-uses",
    "db-invalid-indexes": "constraints-made-by-hand",
    "redis-app-rights": "cache-user-with-few-rights",
    "redis-writable-by-app": "leftovers-that-harm-nothing",
    "iam-execution-role": "secrets-in-parameters",
    "secret-reaches-tasks": "secrets-read-by-the-application",
    "logs-error-scan": "lines-of-json",
    "logs-new-errors": "lines-of-json",
    "sns-takes-alarms": "alarms-by-a-filter",
    "git-main-in-stg": "hotfix-made-twice",
    "git-stg-in-dev": "hotfix-made-twice",
    "git-merge-clean": "hotfix-made-twice",
    "git-hotfix-backmerge": "hotfix-made-twice",
    "git-no-merge-reverted": "hotfix-made-twice",
}
"""Checks whose probe keeps what is wrong alone, with a variant that changes what the probe judges."""
ELSEWHERE = {
    "db-migrations-applied": "test_connections.py",
    "db-migration-review": "test_review.py",
    "sqlite-migrations-applied": "test_connections.py",
    "suite-role-readonly": "test_roles.py",
    "iam-github-oidc": "test_roles.py",
    "iam-deploy-role": "test_roles.py",
    "wf-contract": "test_workflow.py",
    "wf-can-fail": "test_workflow.py",
    "wf-builds-what-was-pushed": "test_workflow.py",
    "wf-can-run": "test_workflow.py",
    "wf-guards": "test_workflow.py",
    "wf-migration-order": "test_workflow.py",
    "wf-env-mapping": "test_workflow.py",
}
"""Checks of texts and policies, with the tests that try healthy ones."""
Read = dict[str, set[str]]


def what_checks_read(ran: Ran) -> Read:
    assert ran.folder is not None
    return judged(ran.folder / "facts.jsonl")


@pytest.fixture(scope="module")
def usual(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """What the checks read without a variant."""
    return what_checks_read(sandbox.verify_often(reports=tmp_path_factory.mktemp("usual"), env=IN_A_BROWSER))


def stays_go(sandbox: Sandbox, tmp_path: Path, usual: Read, *variants: str) -> None:
    """Asserts that a run with these variants is GO, and that each of them tries the checks that it is about."""
    sandbox.ask("vary", *variants)
    try:
        of_pages = any(variant.startswith(("page-", "strict-")) for variant in variants)
        ran = sandbox.verify_often(reports=tmp_path, env=IN_A_BROWSER if of_pages else None)
    finally:
        sandbox.ask("restore", *variants)
    unknown = set().union(*(CANNOT_TELL.get(v, set()) for v in variants))
    assert (ran.red, ran.last_line) == (unknown, "VERDICT sandbox: GO"), ran.output
    assert ran.outcomes("unknown") == unknown
    read = what_checks_read(ran)
    untouched = [(v, check) for v in variants for check in known()[v].tries if read[check] <= usual[check]]
    assert untouched == [], "these checks read what they always read"


@pytest.mark.parametrize("variants", TOGETHER.values(), ids=TOGETHER.keys())
def test_several_variants_together_stay_go(
    sandbox: Sandbox, tmp_path: Path, usual: Read, variants: tuple[str, ...]
) -> None:
    stays_go(sandbox, tmp_path, usual, *variants)


def test_every_check_is_tried_by_a_variant_or_it_is_said_why_not() -> None:
    tried = {check for variant in known().values() for check in variant.tries}
    for others in (OF_ONE_VALUE, MEASURED, JUDGED_BEFORE.keys(), ELSEWHERE.keys()):
        assert tried.isdisjoint(others)
        tried |= others
    assert tried == catalogue.load(ROOT).checks.keys()
    assert {*JUDGED_BEFORE.values()} <= known().keys()
    assert [file for file in ELSEWHERE.values() if not (ROOT / "tests" / file).exists()] == []


def test_every_variant_is_in_one_group() -> None:
    assert sorted(variant for variants in TOGETHER.values() for variant in variants) == list(known())


@pytest.mark.exhaustive
@pytest.mark.parametrize("variant", in_turn(known(), 2))
def test_a_variant_stays_go(sandbox: Sandbox, tmp_path: Path, usual: Read, variant: str) -> None:
    stays_go(sandbox, tmp_path, usual, variant)


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
