"""`gli diagnose` finds the root of a symptom, names the way to it, and says what changed since the last GO."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_groups import STAGING

from conftest import ROOT, Sandbox, gli_forked
from gli.config import catalogue
from gli.report import diagnosis


def diagnosed(*arguments: str, sandbox: Sandbox | None = None) -> tuple[int, str]:
    """The exit code and the output of `gli diagnose ARGUMENTS`."""
    done = gli_forked("diagnose", *arguments, root=ROOT, env={"GLI_SANDBOX": sandbox.name} if sandbox else {})
    return done.returncode, done.stdout + done.stderr


def test_a_symptom_asks_its_layers_and_everything_that_explains_them() -> None:
    checks = catalogue.load(ROOT).checks
    asked = {check.id for check in diagnosis.asked(checks, "api")}
    assert {"api-health", "db-credentials-valid", "sg-db-ingress", "redis-writable-by-app"} <= asked
    assert asked.isdisjoint({"cdn-spa-deep-link", "git-deploy-tag"})
    assert {check.id for check in diagnosis.asked(checks, "all")} == checks.keys() - {"ws-idle-survives"}


def test_a_changed_fact_is_named_with_both_values_and_a_measurement_is_not() -> None:
    before = {"task_definition[api]": {"cpu": "256", "images": ["a", "b"], "taken": 1}, "metrics": {"x": 1}}
    now = {"task_definition[api]": {"cpu": "512", "images": ["b", "c"], "taken": 2}, "metrics": {"x": 2}}
    assert list(diagnosis.changes(before, now)) == [
        "task_definition[api] cpu: 256 -> 512",
        "task_definition[api] images: a -> c",
    ]


def test_the_root_of_a_symptom_is_named_live_and_from_the_record(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.ask("break", "redis-unreachable")
    try:
        code, said = diagnosed("api", "--env=sandbox", sandbox=sandbox)
        ran = sandbox.verify_often(reports=tmp_path)
    finally:
        sandbox.ask("heal")
    assert code == 1, said
    assert "root: redis-ping[stg-gli-redis]" in said
    assert "api-deep-health[api] <- redis-ping[stg-gli-redis]" in said
    assert ran.folder is not None
    replayed = diagnosed("api", "--env=sandbox", f"--replay={ran.folder / 'facts.jsonl'}")
    assert replayed[0] == 1
    assert "root: redis-ping[stg-gli-redis]" in replayed[1]


def test_an_unknown_environment_is_refused() -> None:
    assert diagnosed("api", "--env=nowhere") == (2, "gli: environments.toml has no environment 'nowhere'\n")


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", STAGING)
def test_the_root_of_each_fault_is_named(sandbox: Sandbox, fault: str) -> None:
    sandbox.ask("break", fault)
    try:
        code, said = diagnosed("--env=sandbox", sandbox=sandbox)
    finally:
        sandbox.ask("heal")
    roots = {line.removeprefix("root: ").partition("[")[0] for line in said.splitlines() if line.startswith("root: ")}
    assert code in (1, 3), said
    assert roots & set(STAGING[fault].turns_red), said
