"""`gli diagnose` finds the root of a symptom, names the way to it, and says what changed since the last GO."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_groups import NEED_A_BROWSER, REFUSALS, STAGING, TOGETHER

from conftest import IN_A_BROWSER, ROOT, Sandbox, gli_forked, in_turn
from gli.config import catalogue
from gli.report import diagnosis

ARTEFACTS = Path(__file__).parent / "artefacts"


def diagnosed(*arguments: str, sandbox: Sandbox | None = None, env: dict[str, str] | None = None) -> tuple[int, str]:
    """The exit code and the output of `gli diagnose ARGUMENTS`."""
    env = ({"GLI_SANDBOX": sandbox.name} if sandbox else {}) | (env or {})
    done = gli_forked("diagnose", *arguments, root=ROOT, env=env)
    return done.returncode, done.stdout + done.stderr


def test_a_symptom_asks_its_layers_and_everything_that_explains_them() -> None:
    checks = catalogue.load(ROOT).checks
    asked = {check.id for check in diagnosis.asked(checks, "api")}
    assert {"api-health", "db-credentials-valid", "sg-db-ingress", "redis-writable-by-app"} <= asked
    assert asked.isdisjoint({"cdn-spa-deep-link", "git-deploy-tag"})
    assert {check.id for check in diagnosis.asked(checks, "all")} == checks.keys() - {"ws-idle-survives", "page-boots"}
    assert "page-boots" in {check.id for check in diagnosis.asked(checks, "static")}
    assert [line.partition(";")[0] for line in diagnosis.not_asked(checks, asked, "all", "stg")] == [
        "not asked, as it takes longer: ws-idle-survives",
        "not asked, as it takes longer: page-boots",
    ]
    assert {check.id for check in diagnosis.asked(checks, "all", recorded=True)} == checks.keys()


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


def test_what_takes_longer_is_left_to_a_command_and_is_a_root_in_a_record(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.ask("break", "websocket-idle-cut")
    try:
        live = diagnosed("websocket", "--env=sandbox", sandbox=sandbox)
        ran = sandbox.verify_often(reports=tmp_path)
    finally:
        sandbox.ask("heal")
    command = "not asked, as it takes longer: ws-idle-survives; pytest --env=sandbox -k ws_idle_survives"
    assert (live[0], command in live[1].splitlines()) == (0, True), live[1]
    assert ran.folder is not None
    code, said = diagnosed("websocket", "--env=sandbox", f"--replay={ran.folder / 'facts.jsonl'}")
    assert (code, said.splitlines()[0]) == (1, "root: ws-idle-survives[websocket]"), said


def test_credentials_of_another_account_are_the_root(sandbox: Sandbox) -> None:
    sandbox.ask("break", "aws-foreign-role")
    try:
        code, said = diagnosed("api", "--env=sandbox", sandbox=sandbox)
    finally:
        sandbox.ask("heal")
    assert (code, said.splitlines()[0]) == (1, "root: aws-caller-identity[ap-northeast-2]"), said


def test_an_unknown_environment_is_refused() -> None:
    assert diagnosed("api", "--env=nowhere") == (2, "gli: environments.toml has no environment 'nowhere'\n")


RIGHT = 0.95
"""At least this share of the faults must have a root that names them."""


@pytest.mark.exhaustive
def test_nearly_every_fault_is_named_as_a_root_and_no_symptom_is(sandbox: Sandbox) -> None:
    """Another third of the groups each day. Writes `tests/artefacts/roots.md`: each fault's roots that were named."""
    table: dict[str, set[str]] = {}
    strange: dict[str, set[str]] = {}
    for faults in in_turn([*TOGETHER, *([id] for id in sorted(REFUSALS))], 3):
        opens_pages = bool(NEED_A_BROWSER.intersection(faults))
        symptom, browser = ("static", IN_A_BROWSER) if opens_pages else ("all", {})
        sandbox.ask("break", *faults)
        try:
            code, said = diagnosed(symptom, "--env=sandbox", sandbox=sandbox, env=browser)
        finally:
            sandbox.ask("heal")
        assert code in (1, 3), said
        lines = [line.removeprefix("root: ") for line in said.splitlines() if line.startswith("root: ")]
        roots = {line.partition("[")[0] for line in lines}
        table |= {fault: roots.intersection(STAGING[fault].turns_red) for fault in faults}
        if symptoms := roots - set().union(*(STAGING[fault].turns_red for fault in faults)):
            strange[", ".join(faults)] = symptoms
    rows = "".join(f"| {fault} | {', '.join(sorted(roots)) or '(none)'} |\n" for fault, roots in sorted(table.items()))
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / "roots.md").write_text(f"| fault | root named |\n|---|---|\n{rows}")
    assert strange == {}
    missed = [fault for fault, roots in table.items() if not roots]
    assert len(missed) <= (1 - RIGHT) * len(table), missed
