"""The checklists: loading them compares items and checks in both directions; a run reports each item's state."""

from __future__ import annotations

import json

import pytest

from conftest import ENVIRONMENT, Project, checklist

HEAD = '[headings.all]\nen = "All"\nko = "전체"\n'
ITEM = '[ITEM-1]\nheading = "all"\ntext.en = "It works"\ntext.ko = "동작한다"\n'
BOTH = 'checks = ["first-check", "second-check"]\n'

BROKEN = {
    "a check in no item": (HEAD + ITEM + 'checks = ["first-check"]', "the check second-check stands in no item"),
    "an unknown check": (HEAD + ITEM + 'checks = ["first-chek"]', "[ITEM-1] checks names 'first-chek', which is no"),
    "an item without proof": (HEAD + ITEM, "[ITEM-1] is proven by nothing; give it checks, or people who sign it"),
    "an unknown heading": (ITEM + BOTH, "[ITEM-1] heading = 'all' is none of: none"),
    "a wrong type": (HEAD + ITEM + BOTH + 'people = "two"', "[ITEM-1] people = 'two' should be a valid integer"),
    "an unknown key": (HEAD + ITEM + BOTH + "signed = 2", "[ITEM-1] signed is not a known key; mend its spelling"),
    "an unknown place": (HEAD + ITEM + BOTH + 'on = "dev"', "[ITEM-1] on = 'dev' should be 'staging' or 'production'"),
    "another language": (HEAD + ITEM.replace("text.ko", "text.kr") + BOTH, "[ITEM-1.text] kr is not a known key"),
    "no English": (
        HEAD + ITEM.replace('text.en = "It works"\n', "") + BOTH,
        "[ITEM-1.text] en is missing; write it",
    ),
    "no table": ("ITEM = 1", "ITEM must be a table, as in [ITEM]"),
    "no TOML": ("[", "is not valid TOML"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_checklist_stops_the_run_with_one_sentence(project: Project, case: str) -> None:
    text, sentence = BROKEN[case]
    project.write("checklists/pre-deploy.toml", text)
    ran = project.run()
    assert ran.code == 4
    assert f"checklists/pre-deploy.toml: {sentence}" in ran.output or f"pre-deploy.toml {sentence}" in ran.output
    assert "Traceback" not in ran.output


def test_a_new_row_gets_a_message_with_every_missing_step(project: Project) -> None:
    rows = (project.root / "checklists/checks.toml").read_text(encoding="utf-8")
    row = rows[rows.index("[second-check]") :].replace("second-check", "third-check")
    project.write("checklists/checks.toml", f"{rows}\n{row}")
    ran = project.run()
    assert ran.code == 4
    for phase in ("pre-deploy", "post-deploy"):
        assert f"checklists/{phase}.toml: the check third-check stands in no item" in ran.output
    assert "checklists/checks.toml: [third-check] has no test; write def test_third_check" in ran.output


def test_a_checklist_that_is_missing_stops_the_run(project: Project) -> None:
    (project.root / "checklists/post-deploy.toml").unlink()
    ran = project.run()
    assert ran.code == 4
    assert "checklists/post-deploy.toml is missing; it says what proves a deployment" in ran.output


PROMOTED = """
[[repositories]]
name = "app"
[own]
branch = "stg"
counterpart = "live"
[own.services.api]
url = "http://127.0.0.1:9"
repository = "app"
[live]
extends = "own"
branch = "main"
counterpart = "own"
production = true
"""


def test_the_state_of_an_item_follows_its_checks_and_sign_offs(project: Project) -> None:
    project.write("environments.toml", PROMOTED)
    items = {
        "PROVEN": 'checks = ["first-check"]',
        "BROKEN": 'checks = ["second-check"]',
        "PEOPLE": "people = 2",
        "BOTH": 'checks = ["first-check"]\npeople = 1',
        "ELSEWHERE": 'checks = ["first-check"]\non = "production"',
    }
    text = HEAD + "".join(ITEM.replace("ITEM-1", name) + keys + "\n" for name, keys in items.items())
    project.write("checklists/pre-deploy.toml", text)
    project.checks("def test_first_check(target): pass\ndef test_second_check(target): assert False, 'no'\n")
    ran = project.run("--phase=pre-deploy", "--lang=ko")
    assert ran.verdict is not None
    lines = {line.pop("item"): line for line in ran.verdict["checklist"]}
    assert {name: line["outcome"] for name, line in lines.items()} == {
        "PROVEN": "passed",
        "BROKEN": "failed",
        "PEOPLE": "pending",
        "BOTH": "pending",
    }
    assert lines["BOTH"]["checks"] == ["first-check[api]"]
    assert lines["PEOPLE"]["sign_off"] == {"needed": 2, "by": []}
    assert (lines["PROVEN"]["heading"], lines["PROVEN"]["text"]) == ("All", "It works")
    (report,) = project.root.glob("reports/own/latest/report.md")
    assert "**전체**\n- [x] PROVEN: 동작한다\n" in report.read_text(encoding="utf-8")


def test_a_check_of_an_item_runs_there_in_every_phase(project: Project) -> None:
    project.write("environments.toml", PROMOTED)
    project.rows("first-check", "second-check", phase="post-deploy")
    needed = HEAD + ITEM + 'checks = ["second-check"]\non = "staging"\n'
    project.write("checklists/pre-deploy.toml", needed)
    ran = project.run("--phase=pre-deploy")
    assert ran.code == 0, ran.output
    assert ran.verdict is not None
    assert [c["id"] for c in ran.verdict["checks"]] == ["second-check"]


def test_a_run_after_the_deployment_names_checks_that_were_red_before(project: Project) -> None:
    project.checks("def test_first_check(target): assert False, 'old'\ndef test_second_check(target): pass\n")
    project.run("--phase=pre-deploy")
    project.checks(
        "def test_first_check(target): assert False, 'old'\ndef test_second_check(target): assert 0, 'new'\n"
    )
    ran = project.run("--phase=post-deploy")
    assert ran.verdict is not None
    compared = {"new": ["second-check[api]"], "still": ["first-check[api]"], "fixed": []}
    assert ran.verdict["since_pre_deploy"] == compared
    assert {c["id"]: c["before_deploy"] for c in ran.verdict["checks"]} == {"first-check": True, "second-check": False}


def test_the_digest_covers_every_file_with_requirements(project: Project) -> None:
    digests = set()
    (project.root / "trust").mkdir()
    project.write("trust/ca.pem", "# an authority\n")
    for change in (
        lambda: None,
        lambda: project.write("trust/rds-global-bundle.pem", "# the authorities of RDS\n"),
        lambda: project.write("environments.toml", ENVIRONMENT + '[own.tls]\nca_file = "trust/ca.pem"\n'),
        lambda: project.write("trust/ca.pem", "# another authority\n"),
        lambda: project.rows("first-check", "second-check", severity="warn"),
        lambda: project.write("checklists/post-deploy.toml", checklist("second-check", "first-check")),
        lambda: project.write("checklists/waivers.toml", "# none\n"),
        lambda: project.write("environments.toml", ENVIRONMENT + "# longer\n"),
        lambda: project.write("conftest.py", "# a fixture\n"),
        lambda: project.checks("def test_first_check(target): 1\ndef test_second_check(target): 2\n"),
        lambda: project.write("tests_infra/helper.py", ""),
    ):
        change()
        ran = project.run()
        assert ran.verdict is not None, json.dumps(ran.output)
        digests.add(ran.verdict["suite"]["catalogue_sha256"])
    assert len(digests) == 11
