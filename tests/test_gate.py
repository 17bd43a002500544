"""The gate: yes only for a recent GO of this environment, phase, catalogue and commits; otherwise no, with a reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from judge_rig import HEADS, LINE, NOW, WAIVER, case, decided, verdict
from report_rig import gli

from conftest import ROOT, Project, Sandbox, gli_forked
from gli.common.verdict_file import digest
from gli.gate.newest import newest
from gli.judge.verdict import Plugin, Suite, Verdict

CASE = case("one")
UNTRIED = Plugin(name="pytest-kind", version="1.0", tried=False)


def test_a_fresh_go_of_these_commits_is_yes() -> None:
    assert decided(verdict()).code == 0


@pytest.mark.parametrize("outcome", ["passed", "not-applicable"])
def test_a_green_case_and_a_red_warning_are_no_obstacle(outcome: str) -> None:
    checks = [LINE | {"outcome": outcome}, LINE | {"id": "two", "severity": "warn"}]
    assert decided(verdict(checks=checks), cases=[CASE]).code == 0


def test_a_no_go_gives_its_only_reason() -> None:
    decision = decided(verdict(verdict="NO-GO", reasons=("api-health[api] failed: no",)))
    assert decision.reason.endswith("is NO-GO: api-health[api] failed: no")


@pytest.mark.parametrize(("later", "code"), [(timedelta(minutes=2), 0), (timedelta(minutes=2, milliseconds=1), 3)])
def test_a_verdict_may_be_two_minutes_ahead(later: timedelta, code: int) -> None:
    finished = datetime(2026, 1, 31, 8, 0, 3, tzinfo=UTC)
    assert decided(verdict(), now=finished - later).code == code


@pytest.mark.parametrize(("after", "code"), [(timedelta(hours=2), 0), (timedelta(hours=2, milliseconds=1), 3)])
def test_a_verdict_counts_for_two_hours(after: timedelta, code: int) -> None:
    finished = datetime(2026, 1, 31, 8, 0, 3, tzinfo=UTC)
    assert decided(verdict(), now=finished + after).code == code


@pytest.mark.parametrize(("age_s", "code"), [(None, 0), (7200.0, 0), (7201.0, 3)])
def test_a_clock_that_was_set_back_makes_no_verdict_fresh(age_s: float | None, code: int) -> None:
    """By the time since the machine's start, which nobody can set."""
    decision = decided(verdict(), age_s=age_s)
    assert (decision.code, "clock was set back" in decision.reason) == (code, code == 3)


REFUSALS: dict[str, tuple[Verdict | None, dict[str, Any], int, str]] = {
    "nothing to read": (None, {}, 3, "there is no readable verdict for stg: run pytest --env=stg --phase=pre-deploy"),
    "another environment": (verdict(environment="dev"), {}, 1, "was earned on dev"),
    "a failed check": (
        verdict(verdict="NO-GO", reasons=("api-health[api] failed: no", "x")),
        {},
        1,
        "is NO-GO: api-health[api] failed: no (and 1 more reasons)",
    ),
    "a partial run": (verdict(verdict="NO-GO", reasons=("partial: 1 of 2",)), {}, 1, "is NO-GO: partial: 1 of 2"),
    "a killed run": (
        verdict(verdict="NO-GO", reasons=("killed",), held_by=({"kind": "incomplete", "message": "killed"},)),
        {},
        3,
        "did not come to its end",
    ),
    "an old one": (verdict(), {"now": NOW + timedelta(hours=2)}, 3, "expired at 2026-01-31T10:00:03.000Z"),
    "another catalogue": (verdict(), {"catalogue_sha256": "other"}, 1, "was judged by another catalogue"),
    "an edited file": (verdict(), {"whole": False}, 1, "was edited after the run wrote it"),
    "no signature": (verdict(), {"must_be_signed": True}, 1, "carries no good signature of an allowed signer"),
    "a plugin that was not tried": (
        verdict(suite=Suite(version="1", revision=None, catalogue_sha256="same", plugins=(UNTRIED,))),
        {"must_be_signed": True, "signer": "ci@glibiz.com"},
        1,
        "with plugins of pytest that are not known to leave results alone: pytest-kind 1.0",
    ),
    "a run that may be under way": (
        verdict(verdict="NO-GO", ends_by="2026-01-31T08:01:30.000Z"),
        {"now": NOW.replace(hour=8, minute=1)},
        3,
        "is of a run that may be under way until 2026-01-31T08:01:30.000Z: wait for it",
    ),
    "one from the future": (verdict(), {"now": NOW - timedelta(hours=2)}, 3, "is from the future"),
    "an expiry put off": (
        verdict(expires="2026-02-28T10:00:03.000Z"),
        {"now": NOW + timedelta(hours=2)},
        3,
        "expired at 2026-02-28",
    ),
    "a case without proof": (verdict(), {"cases": [CASE]}, 1, "says GO without the proof of one[api]"),
    "a case that is red": (verdict(checks=[LINE]), {"cases": [CASE]}, 1, "says GO without the proof of one[api]"),
    "a case that is red and green": (
        verdict(checks=[LINE, {**LINE, "outcome": "passed"}]),
        {"cases": [CASE]},
        1,
        "says GO without the proof of one[api]",
    ),
    "a red that only the verdict calls a warning": (
        verdict(checks=[{**LINE, "severity": "warn"}]),
        {"cases": [CASE]},
        1,
        "says GO without the proof of one[api]",
    ),
    "a waiver that ended": (
        verdict(checks=[LINE | {"outcome": "waived", "waiver": WAIVER}]),
        {"cases": [CASE]},
        1,
        "rests on a waiver that has expired, of one",
    ),
    "a branch that moved": (
        verdict(),
        {"commits": HEADS | {"web": "c" * 40}},
        1,
        "other commits than the heads now of web",
    ),
    "a repository more": (
        verdict(),
        {"commits": HEADS | {"new": "c" * 40}},
        1,
        "other commits than the heads now of new",
    ),
    "remotes that are down": (verdict(), {"commits": None}, 3, "the heads of stg's repositories can't be read now"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_everything_else_is_refused_with_its_own_sentence(case: str) -> None:
    of, asked, code, sentence = REFUSALS[case]
    decision = decided(of, **asked)
    assert decision.code == code
    assert sentence in decision.reason


def gate(root: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return gli_forked("gate", *arguments, root=root, env=env)


def test_the_newest_run_counts_and_a_later_no_go_revokes(project: Project) -> None:
    assert gate(project.root, "--env", "own").returncode == 3
    project.run()
    assert gate(project.root, "--env", "own").returncode == 0
    project.run("-k", "second")
    done = gate(project.root, "--env", "own")
    assert (done.returncode, "partial" in done.stdout) == (1, True)
    project.run()
    assert gate(project.root, "--env", "own").returncode == 0


def test_a_run_of_another_phase_does_not_count(project: Project) -> None:
    project.run("--phase=post-deploy")
    assert gate(project.root, "--env", "own").returncode == 3
    assert gate(project.root, "--env", "own", "--phase", "post-deploy").returncode == 0


def test_a_run_of_all_phases_speaks_for_each(project: Project) -> None:
    project.run()
    assert gate(project.root, "--env", "own").returncode == 0
    assert gate(project.root, "--env", "own", "--phase", "post-deploy").returncode == 0


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 2}'])
def test_an_older_verdict_does_not_replace_a_damaged_newest_one(project: Project, text: str) -> None:
    project.run()
    second = project.run()
    assert second.folder is not None
    (second.folder / "verdict.json").write_text(text)
    done = gate(project.root, "--env", "own")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def renamed(go: Path, red: Path) -> None:
    red.rename(red.with_name("20200101T000000.000-1"))


def renamed_out_of_sight(go: Path, red: Path) -> None:
    red.rename(red.with_name("old"))


def copied(go: Path, red: Path) -> None:
    shutil.copytree(go, go.with_name("99990101T000000.000-1"))


def linked(go: Path, red: Path) -> None:
    go.with_name("99990101T000000.000-1").symlink_to(go.name)


def a_replay_by_its_name(go: Path, red: Path) -> None:
    red.rename(red.with_name(f"replay-{red.name}"))


def without_its_verdict(go: Path, red: Path) -> None:
    (red / "verdict.json").unlink()


def edited_to_be_older(go: Path, red: Path) -> None:
    edited(red, started="2026-01-31T08:00:00Z")


def edited_to_be_a_replay(go: Path, red: Path) -> None:
    edited(red, replayed=True)


def edited(run: Path, **changes: Any) -> None:
    path = run / "verdict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


MISPLACED: dict[Callable[[Path, Path], None], tuple[int, str]] = {
    renamed: (
        3,
        "nobody knows which verdict for own is the newest: reports/own/20200101T000000.000-1 holds the verdict",
    ),
    renamed_out_of_sight: (3, "reports/own/old holds the verdict of the run 2"),
    copied: (3, "reports/own/99990101T000000.000-1 holds the verdict of the run 2"),
    linked: (3, "reports/own/99990101T000000.000-1 is a link; remove it"),
    a_replay_by_its_name: (3, "holds the verdict of the run 2"),
    without_its_verdict: (3, "holds no verdict; remove it"),
    edited_to_be_older: (1, "was edited after the run wrote it"),
    edited_to_be_a_replay: (1, "was edited after the run wrote it"),
}


@pytest.mark.parametrize("change", MISPLACED, ids=lambda change: change.__name__)
def test_a_folder_name_never_hides_a_later_no_go(project: Project, change: Callable[[Path, Path], None]) -> None:
    go, red = project.run(), project.run("-k", "second")
    assert go.folder is not None and red.folder is not None
    assert gate(project.root, "--env", "own").returncode == 1
    change(go.folder, red.folder)
    done = gate(project.root, "--env", "own")
    code, sentence = MISPLACED[change]
    assert (done.returncode, sentence in done.stdout) == (code, True), done.stdout


def test_a_copy_named_latest_is_its_original_run(project: Project) -> None:
    go, red = project.run(), project.run("-k", "second")
    assert go.folder is not None and red.folder is not None
    latest = go.folder.with_name("latest")
    latest.unlink()
    shutil.copytree(go.folder, latest)
    assert gate(project.root, "--env", "own").returncode == 1
    shutil.rmtree(latest)
    red.folder.rename(latest)
    assert gate(project.root, "--env", "own").returncode == 1


def ended(at: str, go: bool, machine: str = "one", machine_s: float | None = None, **more: Any) -> dict[str, Any]:
    """A run that ended at this time of 2026-01-31 by its machine's clock, `machine_s` after the machine's start."""
    when = {"started": f"2026-01-31T{at}Z", "finished": f"2026-01-31T{at}Z"}
    return when | {"verdict": "GO" if go else "NO-GO", "machine": machine, "machine_s": machine_s} | more


EARLY = {"started": "2026-01-31T07:58:00Z"}
NEWEST: dict[str, tuple[list[dict[str, Any]], int]] = {
    "the later one, by its end": ([ended("08:00:00", go=False), ended("08:10:00", go=True)], 1),
    "one that started earlier and ended last": ([ended("08:00:00", go=True), ended("08:05:00", go=False, **EARLY)], 1),
    "a GO 90 s after the NO-GO of another machine": (
        [ended("08:00:00", go=False, machine="two"), ended("08:01:30", go=True)],
        0,
    ),
    "a GO exactly two minutes after the NO-GO of another machine": (
        [ended("08:00:00", go=False, machine="two"), ended("08:02:00", go=True)],
        0,
    ),
    "a NO-GO and a GO of the same moment": ([ended("08:00:00", go=True), ended("08:00:00", go=False)], 1),
    "a GO 3 minutes after the NO-GO of another machine": (
        [ended("08:00:00", go=False, machine="two"), ended("08:03:00", go=True)],
        1,
    ),
    "a quick second try on one machine": (
        [ended("08:00:00", go=False, machine_s=100), ended("08:00:30", go=True, machine_s=130)],
        1,
    ),
    "a NO-GO after the clock was set back": (
        [ended("08:10:00", go=True, machine_s=100), ended("08:02:00", go=False, machine_s=200)],
        1,
    ),
    "a NO-GO at a time that nobody can order": ([ended("08:00:00", go=False), ended("08:01:00", go=True)], 0),
    "a run that may be under way": (
        [ended("08:00:00", go=False, ends_by="2026-01-31T08:20:00Z"), ended("08:10:00", go=True)],
        0,
    ),
    "a run of which nobody says any more that it is under way": (
        [ended("08:00:00", go=False, ends_by="2026-01-31T08:01:34Z"), ended("08:10:00", go=True)],
        1,
    ),
    "a replay": ([ended("08:00:00", go=False), ended("08:10:00", go=True, replayed=True)], 0),
    "a run of another phase": ([ended("08:00:00", go=False), ended("08:10:00", go=True, phase="post-deploy")], 0),
}


@pytest.mark.parametrize("case", NEWEST)
def test_the_newest_run_is_found_whatever_the_clocks_say(tmp_path: Path, case: str) -> None:
    runs, expected = NEWEST[case]
    for n, changes in enumerate(runs):
        document = verdict(run=f"run-{n}", **changes).document()
        document["digest"] = digest(document)
        (tmp_path / "stg" / f"run-{n}").mkdir(parents=True)
        (tmp_path / "stg" / f"run-{n}" / "verdict.json").write_text(json.dumps(document))
    found = newest(tmp_path, "stg", "pre-deploy", datetime(2026, 1, 31, 8, 15, tzinfo=UTC))
    assert found is not None
    assert found.verdict.run == f"run-{expected}"


def test_without_runs_there_is_no_newest(tmp_path: Path) -> None:
    assert newest(tmp_path, "stg", "pre-deploy", NOW) is None


def test_an_edited_verdict_counts_as_the_newest(tmp_path: Path) -> None:
    for n, changes in enumerate([ended("08:00:00", go=True), ended("08:30:00", go=True)]):
        document = verdict(run=f"run-{n}", **changes).document()
        document["digest"] = digest(document) if n else ""
        (tmp_path / "stg" / f"run-{n}").mkdir(parents=True)
        (tmp_path / "stg" / f"run-{n}" / "verdict.json").write_text(json.dumps(document))
    found = newest(tmp_path, "stg", "pre-deploy", NOW)
    assert found is not None and (found.verdict.run, found.whole) == ("run-0", False)


DAMAGED = {
    "a time without a zone": {"finished": "2026-01-31T08:00:03"},
    "a bare date": {"expires": "2026-01-31"},
    "an invalid end of a waiver": {"checks": [LINE | {"outcome": "waived", "waiver": WAIVER | {"expires": "soon"}}]},
    "a repository without a commit": {"manifest": {"gli_root": {}}},
    "an invalid phase": {"phase": "xx"},
    "an invalid outcome": {"counts": {"x": 1}},
    "half a pair": {"account": "\ud800"},
    "half a pair where nobody looks": {"other": "\ud800"},
    "something deep": {"other": json.loads("[" * 150 + "]" * 150)},
}


@pytest.mark.parametrize("case", [*DAMAGED, "nothing but brackets"])
def test_a_sealed_verdict_with_invalid_content_is_refused(project: Project, case: str) -> None:
    ran = project.run()
    assert ran.folder is not None
    document = (ran.verdict or {}) | DAMAGED.get(case, {})
    sealed = document | {"digest": digest(document) if "pair" not in case else ""}
    (ran.folder / "verdict.json").write_text(json.dumps(sealed) if case in DAMAGED else "[" * 200_000)
    done = gate(project.root, "--env", "own")
    assert (done.returncode, done.stderr) == (3, "")
    shown = gli("report", "own/latest", cwd=project.root)
    assert (shown.exit_code, shown.stderr.count("\n"), "no verdict of schema 1" in shown.stderr) == (2, 1, True)
    assert gli("reports", "prune", cwd=project.root).exit_code == 0


def test_one_more_commit_on_a_real_remote_closes_the_gate(sandbox: Sandbox, tmp_path: Path) -> None:
    asked = ("--env", "sandbox", "--phase", "post-deploy", "--report-dir", str(tmp_path))
    env = {"GLI_SANDBOX": sandbox.name}
    assert sandbox.verify_often("--phase=post-deploy", reports=tmp_path).code == 0
    assert gate(ROOT, *asked, env=env).returncode == 0
    git = ["git", "--git-dir", sandbox.status["git_remotes"]["gli_redis"]]
    heads = subprocess.run([*git, "rev-parse", "stg", "dev"], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run([*git, "update-ref", "refs/heads/stg", heads[1]], check=True)
    try:
        done = gate(ROOT, *asked, env=env)
    finally:
        subprocess.run([*git, "update-ref", "refs/heads/stg", heads[0]], check=True)
    assert done.returncode == 1
    assert "other commits than the heads now of gli_redis" in done.stdout


def test_wrong_usage_is_one_sentence(project: Project) -> None:
    done = gate(project.root, "--env", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("gli: environments.toml has no environment 'nowhere'")
    assert json.dumps(done.stdout) == '""'
