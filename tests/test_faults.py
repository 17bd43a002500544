"""Every check can fail: each fault of the sandbox turns its checks red, no unrelated check, and heals to GO."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_groups import NEED_A_BROWSER, STAGING, TOGETHER

from conftest import IN_A_BROWSER, ROOT, Ran, Sandbox, gli_forked, in_turn
from gli.config import catalogue
from sandbox.faults import known

# Checks of things that the sandbox lacks, and the tests that play their faults instead.
ELSEWHERE = {"sqlite-integrity": "tests/test_dev.py", "sqlite-migrations-applied": "tests/test_dev.py"}


def test_every_check_has_a_fault() -> None:
    checks = set(catalogue.load(ROOT).checks)
    turned = {check for fault in known().values() for check in fault.turns_red}
    assert checks - turned - set(ELSEWHERE) == set(), "these checks have no fault that turns them red"
    assert turned - checks == set(), "these faults name checks that there are not"


def test_a_fault_is_in_the_module_of_its_first_checks_layer() -> None:
    layers = {id: check.layer for id, check in catalogue.load(ROOT).checks.items()}
    stands = {id: fault.make.__module__.rpartition(".")[2] for id, fault in known().items()}
    assert stands == {id: layers[fault.turns_red[0]] for id, fault in known().items()}


def healthy(sandbox: Sandbox, reports: Path) -> None:
    ran = sandbox.verify_often(reports=reports)
    assert (ran.red, ran.last_line) == (set(), "VERDICT sandbox: GO"), ran.output


@pytest.mark.exhaustive
def test_a_healthy_sandbox_is_go_every_time(sandbox: Sandbox, tmp_path: Path) -> None:
    """`make test` sees it once, in tests/test_run.py."""
    for _ in range(10):
        healthy(sandbox, tmp_path)


@pytest.fixture(scope="module")
def healed(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Heal every active fault after the block."""
    yield
    healthy(sandbox, tmp_path_factory.mktemp("healed"))


def broken(sandbox: Sandbox, reports: Path, faults: list[str]) -> Ran:
    """A run while these faults are active."""
    try:
        sandbox.ask("break", *faults)
        return sandbox.verify_often(reports=reports, env=None if NEED_A_BROWSER.isdisjoint(faults) else IN_A_BROWSER)
    finally:
        sandbox.ask("heal")


@pytest.mark.usefixtures("healed")
@pytest.mark.parametrize("faults", TOGETHER, ids=lambda faults: f"{faults[0]}-and-{len(faults) - 1}-more")
def test_each_of_several_active_faults_is_a_separate_root(sandbox: Sandbox, tmp_path: Path, faults: list[str]) -> None:
    """These faults must explain every other red check. A root that no fault names, or that an earlier fault left,
    makes this test fail.
    """
    ran = broken(sandbox, tmp_path, faults)
    named = {fault: set(STAGING[fault].turns_red) for fault in faults}
    assert {fault: checks - ran.red for fault, checks in named.items() if not checks <= ran.red} == {}, ran.output
    assert [fault for fault, checks in named.items() if checks.isdisjoint(ran.roots)] == [], ran.output
    assert ran.roots <= set().union(*named.values()), ran.output


@pytest.mark.exhaustive
@pytest.mark.usefixtures("healed")
@pytest.mark.parametrize("fault", in_turn(STAGING, 5))
def test_a_fault_turns_its_checks_red_and_nothing_else(sandbox: Sandbox, tmp_path: Path, fault: str) -> None:
    """`gli diagnose` names one of them as a root in the record of this run."""
    ran = broken(sandbox, tmp_path, [fault])
    named = set(STAGING[fault].turns_red)
    assert named <= ran.red, ran.output
    assert ran.roots <= named, ran.output
    assert ran.folder is not None
    told = gli_forked("diagnose", "--env=sandbox", f"--replay={ran.folder / 'facts.jsonl'}", root=ROOT).stdout
    assert any(f"root: {check}[" in told for check in named), told
