"""The coverage of a verdict: which parts were verified, are absent or left out, and what the gate demands of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import ENVIRONMENT, Project
from gli.cli.group import main

CACHE = '[own.cache]\nabsent = "the shop keeps its sessions in the database"\n'


def four_checks(project: Project) -> None:
    """Two checks of services, one of the cache and one of the logs."""
    rows = (project.root / "checklists/checks.toml").read_text()
    third = rows[: rows.index("[second-check]")]
    for id_, group in (("third-check", "cache"), ("fourth-check", "log-groups")):
        rows += third.replace("first-check", id_).replace('"apis"', f'"{group}"')
    project.write("checklists/checks.toml", rows)
    for phase in ("pre-deploy", "post-deploy"):
        text = (project.root / f"checklists/{phase}.toml").read_text()
        project.write(
            f"checklists/{phase}.toml", text.replace('"second-check"', '"second-check", "third-check", "fourth-check"')
        )
    project.checks("".join(f"def test_{n}_check(target): pass\n" for n in ("first", "second", "third", "fourth")))


def test_the_verdict_says_which_parts_were_verified_and_which_were_not(project: Project) -> None:
    four_checks(project)
    project.write("environments.toml", ENVIRONMENT + CACHE)
    ran = project.run()
    assert ran.verdict is not None and ran.folder is not None, ran.output
    coverage = ran.verdict["coverage"]
    assert (coverage["judged"], coverage["checks"]) == (2, 3)
    assert {p["part"]: (p["state"], p["why"], p["judged"], p["checks"]) for p in coverage["parts"]} == {
        "services": ("verified", "", 2, 2),
        "cache": ("absent", "the shop keeps its sessions in the database", 0, 1),
        "logs": ("left-out", "[own.logs] groups", 0, 1),
    }
    said = "2 of 3 checks (66 %), 1 of 2 parts; absent: cache; left out: logs"
    assert f"coverage: {said}" in " ".join(ran.output.split())
    assert said in (ran.folder / "junit.xml").read_text()
    assert "| logs | left out | 0/1 |" in (ran.folder / "report.md").read_text()
    assert "<td>logs</td><td>left out</td><td>0/1</td>" in (ran.folder / "report.html").read_text()


def test_a_part_whose_checks_all_fail_is_not_verified(project: Project) -> None:
    project.checks("def test_first_check(target): assert False\ndef test_second_check(target): assert False\n")
    ran = project.run()
    assert ran.verdict is not None
    assert [(p["part"], p["state"], p["judged"]) for p in ran.verdict["coverage"]["parts"]] == [
        ("services", "not-verified", 2)
    ]


@pytest.mark.parametrize(
    ("demand", "code", "sentence"),
    [
        ("least_coverage_percent = 66", 0, "yes: "),
        (
            "least_coverage_percent = 67",
            1,
            "judged 66 % of the checks, and [own.gate] demands 67 %; gli checks --env own says what is left out",
        ),
        ('verified_parts = ["services"]', 0, "yes: "),
        (
            'verified_parts = ["services", "cache", "logs", "database"]',
            1,
            "does not verify cache (absent), logs (left-out) and database (left-out), which [own.gate] demands",
        ),
        ('verified_parts = ["servces"]', 2, "verified_parts] 0 = 'servces' should be one of environment, aws"),
    ],
)
def test_the_gate_demands_a_least_coverage(
    project: Project, monkeypatch: pytest.MonkeyPatch, demand: str, code: int, sentence: str
) -> None:
    four_checks(project)
    project.write("environments.toml", ENVIRONMENT + CACHE + f"[own.gate]\n{demand}\n")
    if code < 2:
        assert project.run("--phase=pre-deploy").code == 0
    monkeypatch.chdir(project.root)
    said = CliRunner().invoke(main, ["gate", "--env", "own"])
    assert sentence in said.output, said.output
    assert said.exit_code == code


def test_the_gate_refuses_an_old_verdict_that_says_nothing_of_its_coverage(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gli.common.verdict_file import digest

    project.write("environments.toml", ENVIRONMENT + "[own.gate]\nleast_coverage_percent = 1\n")
    ran = project.run("--phase=pre-deploy")
    assert ran.folder is not None and ran.verdict is not None
    path: Path = ran.folder / "verdict.json"
    old = ran.verdict | {"coverage": None}
    path.chmod(0o600)
    path.write_text(json.dumps(old | {"digest": digest(old)}))
    monkeypatch.chdir(project.root)
    said = CliRunner().invoke(main, ["gate", "--env", "own"])
    assert (said.exit_code, "judged 0 % of the checks" in said.output) == (1, True)
