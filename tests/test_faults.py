"""Every check can fail: each fault of the sandbox turns what it names red, nothing unrelated, and heals green."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ROOT, Sandbox
from gli.config import catalogue
from sandbox.faults import known

FAULTS = known()


# Checks of what the sandbox does not have, and where their faults are played instead.
ELSEWHERE = {"sqlite-integrity": "tests/test_dev.py", "sqlite-migrations-applied": "tests/test_dev.py"}


def test_every_check_has_a_fault() -> None:
    checks = set(catalogue.load(ROOT).checks)
    turned = {check for fault in FAULTS.values() for check in fault.turns_red}
    assert checks - turned - set(ELSEWHERE) == set(), "these checks have no fault that turns them red"
    assert turned - checks == set(), "these faults name checks that there are not"


def test_a_fault_stands_in_the_module_of_its_first_checks_layer() -> None:
    layers = {id: check.layer for id, check in catalogue.load(ROOT).checks.items()}
    stands = {id: fault.make.__module__.rpartition(".")[2] for id, fault in FAULTS.items()}
    assert stands == {id: layers[fault.turns_red[0]] for id, fault in FAULTS.items()}


@pytest.mark.exhaustive
def test_a_healthy_sandbox_is_go_ten_times_in_a_row(sandbox: Sandbox, tmp_path: Path) -> None:
    for _ in range(10):
        ran = sandbox.verify_often(reports=tmp_path)
        assert (ran.red, ran.last_line) == (set(), "VERDICT sandbox: GO"), ran.output


@pytest.mark.parametrize("fault", sorted(f for f in FAULTS if not FAULTS[f].production))
def test_a_fault_turns_its_checks_red_and_nothing_else(sandbox: Sandbox, tmp_path: Path, fault: str) -> None:
    """What else is red must be explained by it: a root that it does not name, or one that an earlier fault left
    behind, fails here.
    """
    sandbox.ask("break", fault)
    try:
        ran = sandbox.verify_often(reports=tmp_path)
    finally:
        sandbox.ask("heal", fault)
    named = set(FAULTS[fault].turns_red)
    assert named <= ran.red, ran.output
    assert ran.roots <= named, ran.output


def test_everything_is_healed(sandbox: Sandbox, tmp_path: Path) -> None:
    assert sandbox.verify(reports=tmp_path).last_line == "VERDICT sandbox: GO"
