"""From many red checks to few roots, on a real sandbox: one deep fault gives one root, three faults give three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import Sandbox


@contextmanager
def broken(sandbox: Sandbox, *faults: str) -> Iterator[None]:
    sandbox.ask("break", *faults)
    try:
        yield
    finally:
        sandbox.ask("heal", *reversed(faults))


def test_a_closed_security_group_is_one_root_and_blocks_everything_above(sandbox: Sandbox, tmp_path: Path) -> None:
    """As in AWS, the missing rule and the dropped packets occur together."""
    with broken(sandbox, "database-closed-to-the-api", "database-unreachable"):
        ran = sandbox.verify_often(reports=tmp_path)
    assert ran.roots == {"sg-db-ingress"}, ran.output
    assert ran.outcomes("failed", "unknown") == {"sg-db-ingress"}
    blocked = ran.outcomes("blocked")
    assert {"db-tcp-reachable", "db-credentials-valid", "db-migrations-applied", "api-deep-health"} <= blocked
    assert ran.verdict is not None
    causes = {c["blocked_by"].partition("[")[0] for c in ran.verdict["checks"] if c["outcome"] == "blocked"}
    assert causes == {"sg-db-ingress"}
    assert len(ran.verdict["root_causes"][0]["explains"]) == len(
        [c for c in ran.verdict["checks"] if c["outcome"] == "blocked"]
    )


def test_three_independent_faults_are_three_roots(sandbox: Sandbox, tmp_path: Path) -> None:
    roots = ("sg-db-ingress", "db-storage-free", "sg-redis-ingress")
    with broken(sandbox, "database-open-to-an-address", "database-disk-full", "cache-open-to-an-address"):
        ran = sandbox.verify_some(*roots, "db-tcp-reachable", "redis-ping", reports=tmp_path)
    assert ran.roots == set(roots), ran.output
    assert ran.outcomes("blocked") == set()
    places = [ran.output.index(f"ROOT CAUSE {root}") for root in ran.roots]
    assert max(places) < ran.output.index("report: ")


def test_a_secret_explains_no_part_that_has_another_one(sandbox: Sandbox, tmp_path: Path) -> None:
    with broken(sandbox, "secret-scheduled-for-deletion", "cache-user-off"):
        ran = sandbox.verify_some("secret-exists", "redis-ping", reports=tmp_path)
    assert ran.roots == {"secret-exists", "redis-ping"}, ran.output
