"""The gate's rules one by one, on verdicts and sign-offs that are written by hand: no run is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from judge_rig import HEADS, LINE, NOW, WAIVER, case, decided, verdict

from conftest import ENVIRONMENT, Project
from gli.common.clock import rfc3339
from gli.common.verdict_file import digest
from gli.config import catalogue, environments
from gli.config.checklists import Item, Text
from gli.config.environments import Environment
from gli.config.parts import Gate
from gli.gate import gate as gates
from gli.gate import newest as newest_verdict
from gli.gate.gate import CANNOT_TELL, REFUSED, YES, Decision, Evidence, signed
from gli.gate.newest import Found, newest
from gli.gate.sign_offs import Record, Signed
from gli.judge.coverage import Coverage, PartLine
from gli.judge.verdict import Joined

EIGHT = datetime(2026, 1, 31, 8, tzinfo=UTC)


def test_a_signed_verdict_is_taken_where_signatures_are_required() -> None:
    assert decided(verdict(), must_be_signed=True, signer="ci@glibiz.com").code == YES


def test_a_run_may_be_under_way_up_to_its_last_moment() -> None:
    ends = EIGHT + timedelta(seconds=90)
    of = verdict(verdict="NO-GO", reasons=("x",), ends_by=rfc3339(ends))
    assert decided(of, now=ends).code == CANNOT_TELL
    assert decided(of, now=ends + timedelta(milliseconds=1)).code == REFUSED


@pytest.mark.parametrize(("after", "code"), [(-1, YES), (0, REFUSED), (1, REFUSED)])
def test_a_waiver_counts_until_its_end(after: int, code: int) -> None:
    line = LINE | {"outcome": "waived", "waiver": WAIVER | {"expires": rfc3339(NOW)}}
    assert decided(verdict(checks=[line]), cases=[case("one")], now=NOW + timedelta(milliseconds=after)).code == code
    unsaid = decided(verdict(checks=[LINE | {"outcome": "waived"}]), cases=[case("one")])
    assert unsaid.code == REFUSED, "a waived case without its waiver"


def part(cell: str | None, run: str = "r", finished: datetime = EIGHT) -> Joined:
    """A run of a cell that a merged verdict rests on."""
    unsaid: dict[str, Any] = dict.fromkeys(("account", "region", "signer"))
    said = {"cell": cell, "run": run, "digest": f"of {run}", "verdict": "GO", "vantage": "vpc", "machine": ""}
    return Joined.model_validate(said | unsaid | {"started": rfc3339(finished), "finished": rfc3339(finished)})


@pytest.mark.parametrize(
    ("of", "cells", "says"),
    [
        ({"cell": "seoul"}, ("seoul", "world"), "of the cell seoul alone, and stg declares the cells seoul and world"),
        ({}, ("world", "seoul"), "of one run, and stg declares the cells seoul and world"),
        ({"merged": [part("world")]}, ("seoul", "world"), "of the cells world, and stg declares the cells seoul"),
        ({"merged": [part("world")]}, (), "of the cells world, and stg declares no cells"),
    ],
)
def test_a_verdict_of_other_cells_is_refused(of: dict[str, Any], cells: tuple[str, ...], says: str) -> None:
    decision = decided(verdict(**of), cells=cells)
    assert (decision.code, says in decision.reason) == (REFUSED, True), decision.reason


def test_a_merged_verdict_of_all_cells_is_taken_and_is_as_old_as_its_first_run() -> None:
    of = verdict(merged=[part("world"), part("seoul", finished=EIGHT + timedelta(minutes=5))])
    assert decided(of, cells=("seoul", "world")).code == YES
    assert decided(of, cells=("seoul", "world"), now=EIGHT + timedelta(hours=2, seconds=1)).code == CANNOT_TELL


def covering(judged: int, **states: Any) -> Coverage:
    lines = tuple(PartLine(part=name, state=state) for name, state in states.items())
    return Coverage(judged=judged, checks=4, parts=lines)


@pytest.mark.parametrize(
    ("coverage", "demands", "code"),
    [
        (covering(3), {"least_coverage_percent": 75}, YES),
        (covering(3), {"least_coverage_percent": 76}, REFUSED),
        (None, {"least_coverage_percent": 0}, YES),
        (None, {"least_coverage_percent": 1}, REFUSED),
        (covering(3, database="verified"), {"verified_parts": ("database",)}, YES),
        (covering(3, database="absent"), {"verified_parts": ("database",)}, REFUSED),
        (covering(3, database="verified"), {"verified_parts": ("database", "cache")}, REFUSED),
        (None, {"verified_parts": ("database",)}, REFUSED),
    ],
)
def test_the_gate_demands_what_the_verdict_covers(coverage: Any, demands: dict[str, Any], code: int) -> None:
    assert decided(verdict(coverage=coverage), demands=Gate.model_validate(demands)).code == code


def item(id_: str, people: int) -> Item:
    return Item(id=id_, heading="all", text=Text(en="It works.", ko="동작한다."), people=people)


def record(item: str, by: str, result: str = "ok") -> Signed:
    said = {"item": item, "environment": "stg", "result": result, "by": f"{by} <{by}@glibiz.com>", "note": "seen"}
    return Signed(Record.model_validate(said | {"at": "now", "expires": "later", "commits": HEADS}), None)


def test_every_item_needs_its_people() -> None:
    items = [item("PRE-1", 2), item("PRE-2", 1), item("PRE-3", 0)]
    given = [record("PRE-1", "ada"), record("PRE-1", "bob"), record("PRE-2", "ada")]
    assert signed(items, given, "stg").code == YES
    waiting = signed(items, given[:1], "stg")
    assert waiting.code == CANNOT_TELL
    assert "PRE-1 (1 of 2), PRE-2 (0 of 1); gli sign PRE-1 --env stg" in waiting.reason
    refused = signed(items, [*given, record("PRE-2", "eve", "rejected")], "stg")
    assert (refused.code, refused.reason) == (REFUSED, "PRE-2 was rejected by eve <eve@glibiz.com>: seen")


def written(reports: Path, environment: str, run: str, **changes: Any) -> None:
    """A run's verdict on disk, sealed as a run seals it."""
    document = verdict(run=run, environment=environment, **changes).document()
    document["digest"] = changes.get("digest") or digest(document)
    folder = reports / environment / run
    folder.mkdir(parents=True)
    (folder / "verdict.json").write_text(json.dumps(document))


def found(reports: Path, now: datetime = NOW) -> str:
    one = newest(reports, "stg", "pre-deploy", now)
    assert one is not None
    return one.verdict.run


def test_a_run_that_a_merged_verdict_rests_on_does_not_count_beside_it(tmp_path: Path) -> None:
    later = rfc3339(EIGHT + timedelta(minutes=10))
    written(tmp_path, "stg", "part", verdict="NO-GO", cell="seoul", finished=later)
    sealed = json.loads((tmp_path / "stg/part/verdict.json").read_text())["digest"]
    rests = part("seoul", "part").model_copy(update={"digest": sealed})
    written(tmp_path, "stg", "merged", merged=[rests, part("world", "other")])
    assert found(tmp_path) == "merged"
    written(tmp_path, "stg", "before", verdict="NO-GO", merged=[rests], finished=later)
    assert found(tmp_path) == "merged", "a merge of fewer of the same runs was an attempt"
    written(tmp_path, "stg", "again", verdict="NO-GO", merged=[rests, part("world", "other")], finished=later)
    assert found(tmp_path) == "again", "of two merges of the same runs the later one counts"
    written(tmp_path, "stg", "part-2", verdict="NO-GO", cell="seoul", finished=rfc3339(EIGHT + timedelta(minutes=20)))
    assert found(tmp_path) == "part-2", "no merged verdict rests on it"


def test_an_edited_merged_verdict_takes_no_run_with_it(tmp_path: Path) -> None:
    written(tmp_path, "stg", "part", verdict="NO-GO", cell="seoul")
    sealed = json.loads((tmp_path / "stg/part/verdict.json").read_text())["digest"]
    rests = part("seoul", "part").model_copy(update={"digest": sealed})
    written(tmp_path, "stg", "merged", merged=[rests], digest="edited")
    one = newest(tmp_path, "stg", "pre-deploy", NOW)
    assert one is not None and not one.whole
    assert not newest_verdict._joined_elsewhere(_of(tmp_path, "part"), [_of(tmp_path, "merged")])


def _of(reports: Path, run: str) -> Found:
    one = newest_verdict._read(reports / "stg" / run)
    assert one is not None
    return one


def test_a_run_is_under_way_up_to_its_last_moment_and_the_newest_meanwhile(tmp_path: Path) -> None:
    ends = EIGHT + timedelta(minutes=20)
    written(tmp_path, "stg", "begun", verdict="NO-GO", ends_by=rfc3339(ends))
    written(tmp_path, "stg", "done", finished=rfc3339(EIGHT + timedelta(minutes=10)))
    assert found(tmp_path, ends) == "begun"
    assert found(tmp_path, ends + timedelta(milliseconds=1)) == "done"


def test_of_two_verdicts_of_one_moment_the_no_go_counts(tmp_path: Path) -> None:
    same = {"machine": "one", "machine_s": 100.0}
    written(tmp_path, "stg", "a-no-go", verdict="NO-GO", **same)
    written(tmp_path, "stg", "go", **same)
    assert found(tmp_path) == "a-no-go"


def test_a_no_go_that_may_be_later_counts_and_the_last_one_of_several(tmp_path: Path) -> None:
    def at(seconds: int, machine: str, machine_s: float) -> dict[str, Any]:
        ended = rfc3339(EIGHT + timedelta(seconds=seconds))
        return {"finished": ended, "machine": machine, "machine_s": machine_s}

    written(tmp_path, "stg", "go", **at(100, "one", 500))
    written(tmp_path, "stg", "earlier", verdict="NO-GO", **at(90, "one", 499.9))
    assert found(tmp_path) == "go"
    written(tmp_path, "stg", "same", verdict="NO-GO", **at(80, "one", 500))
    assert found(tmp_path) == "same", "nobody knows which of them ended first"
    written(tmp_path, "stg", "other", verdict="NO-GO", **at(95, "two", 1))
    assert found(tmp_path) == "other"


def test_a_folder_that_no_run_made_is_ignored(tmp_path: Path) -> None:
    written(tmp_path, "stg", "run", verdict="NO-GO")
    (tmp_path / "stg/notes").mkdir()
    (tmp_path / "stg/README").write_text("")
    assert found(tmp_path) == "run"
    (tmp_path / "stg/20260131T080000.000-1").mkdir()
    with pytest.raises(ValueError, match="holds no verdict; remove it"):
        found(tmp_path)


def test_a_copy_named_latest_keeps_the_name_of_its_run(tmp_path: Path) -> None:
    written(tmp_path, "stg", "run", verdict="NO-GO")
    (tmp_path / "stg/run").rename(tmp_path / "stg/latest")
    assert found(tmp_path) == "run"
    (tmp_path / "stg/latest").rename(tmp_path / "stg/another")
    with pytest.raises(ValueError, match="holds the verdict of the run run"):
        found(tmp_path)


STAGES = """
[[repositories]]
name = "app"
[[repositories]]
name = "web"
[stg]
branch = "stg"
counterpart = "prod"
[stg.services.api]
url = "http://127.0.0.1:9"
repository = "app"
[prod]
branch = "main"
production = true
counterpart = "stg"
[prod.services.api]
url = "http://127.0.0.1:9"
repository = "app"
"""


@pytest.fixture
def stages(project: Project) -> Path:
    """A project with staging and production, and a verdict of each; one check of it is a warning."""
    project.write("environments.toml", STAGES)
    project.rows("first-check", "second-check")
    rows = (project.root / "checklists/checks.toml").read_text()
    project.write("checklists/checks.toml", rows[::-1].replace('"kcolb"', '"nraw"', 1)[::-1])
    return project.root


def decide(root: Path, env: str, phase: str = "pre-deploy", heads: Mapping[str, str] | None = HEADS) -> Decision:
    known = catalogue.load(root)
    environment = environments.load(root, env)

    def read(_: Environment) -> Mapping[str, str] | None:
        return heads

    return gates.decision(root, known, environment, phase, root / "reports", NOW, read)


def whole(root: Path, env: str, run: str = "run", outcome: str = "passed", **changes: Any) -> None:
    suite = verdict().suite.model_copy(update={"catalogue_sha256": catalogue.load(root).sha256})
    waived = {"waiver": WAIVER | {"expires": rfc3339(NOW + timedelta(days=1))}} if outcome == "waived" else {}
    first = LINE | {"id": "first-check", "outcome": outcome} | waived
    written(root / "reports", env, run, suite=suite, checks=[first], **changes)


def test_the_gate_to_production_needs_both_verdicts_and_names_what_they_rest_on(stages: Path) -> None:
    whole(stages, "stg", outcome="waived")
    assert decide(stages, "stg").code == CANNOT_TELL, "production has no verdict"
    whole(stages, "prod")
    decision = decide(stages, "stg")
    assert decision.code == YES, decision
    assert decision.verdict is not None and decision.verdict.environment == "stg"
    assert decision.notes == (
        "stg: not signed",
        "prod: not signed",
        "waived: first-check[api] (Ada: known)",
    )


def test_after_a_deployment_one_verdict_is_enough(stages: Path) -> None:
    whole(stages, "stg", phase="post-deploy")
    assert decide(stages, "stg", "post-deploy").code == YES
    whole(stages, "prod", phase="post-deploy")
    assert decide(stages, "prod", "post-deploy").code == YES


def test_a_refusal_comes_before_a_missing_verdict_which_is_a_note(stages: Path) -> None:
    whole(stages, "prod", verdict="NO-GO", reasons=("api-health[api] failed: no",))
    decision = decide(stages, "stg")
    assert decision.code == REFUSED
    assert "api-health[api] failed: no" in decision.reason
    assert len(decision.notes) == 1 and "there is no readable verdict for stg" in decision.notes[0]
    assert decision.verdict is None


def test_without_the_time_of_a_folder_the_newest_verdict_is_unknown(stages: Path) -> None:
    whole(stages, "prod")
    (stages / "reports/stg/20260131T080000.000-1").mkdir(parents=True)
    decision = decide(stages, "stg")
    assert (decision.code, "nobody knows which verdict for stg is the newest" in decision.reason) == (CANNOT_TELL, True)


def test_an_edited_verdict_is_refused_and_unknown_heads_are_no_answer(stages: Path) -> None:
    whole(stages, "prod", digest="edited")
    whole(stages, "stg")
    assert "was edited after the run wrote it" in decide(stages, "stg").reason
    assert decide(stages, "stg", "post-deploy", heads=None).code == CANNOT_TELL
    assert decide(stages, "stg", "post-deploy", heads=HEADS | {"web": "c" * 40}).code == REFUSED


def test_only_blocking_cases_have_to_be_proven(stages: Path) -> None:
    whole(stages, "stg", outcome="failed")
    decision = decide(stages, "stg", "post-deploy")
    assert (decision.code, "without the proof of first-check[api]" in decision.reason) == (REFUSED, True)


def test_an_environment_without_git_has_no_heads() -> None:
    environment = environments.load(Path("/nowhere"), "own", tables=_tables())
    assert gates.heads(environment) == {}


def _tables() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(ENVIRONMENT)


def test_decisions_and_evidence_never_change() -> None:
    one = Decision(YES, "yes")
    with pytest.raises(FrozenInstanceError):
        one.code = REFUSED  # type: ignore[misc]
    evidence = Evidence("stg", "pre-deploy", None)
    with pytest.raises(FrozenInstanceError):
        evidence.whole = False  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Found(Path(), b"", verdict(), True).whole = False  # type: ignore[misc]
