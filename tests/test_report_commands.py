"""`gli report` and `gli reports prune`."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from report_rig import gli
from sample_verdicts import FOLDER, SAMPLES, golden

from conftest import ENVIRONMENT, ROOT, Project


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reports with one sample run."""
    reports = tmp_path_factory.mktemp("kept")
    run = reports / "stg" / "20260131T090000.000-4711"
    run.mkdir(parents=True)
    shutil.copy(FOLDER / "no-go.json", run / "verdict.json")
    (run.parent / "latest").symlink_to(run.name)
    return reports


@pytest.mark.parametrize(("kind", "file"), [("md", "md"), ("line", "line"), ("prometheus", "prom")])
def test_a_run_is_shown_again_as_it_was(kind: str, file: str, kept: Path) -> None:
    shown = gli("report", "stg/latest", "--format", kind, "--report-dir", str(kept), cwd=ROOT)
    assert (shown.exit_code, shown.stdout) == (0, golden("no-go", file).read_text(encoding="utf-8")), shown.stderr


def test_report_prints_json_writes_html_and_accepts_a_folder(kept: Path) -> None:
    run = kept / "stg/20260131T090000.000-4711"
    as_json = gli("report", str(run), "--format", "json", cwd=ROOT)
    assert as_json.stdout == (run / "verdict.json").read_text(encoding="utf-8")
    page = gli("report", str(run / "verdict.json"), "--format", "html", "--lang", "ko", cwd=ROOT)
    assert page.stdout.startswith("<!doctype html>"), page.stderr
    assert "sg-db-ingress" in page.stdout
    assert '<html lang="ko"' in page.stdout


def test_an_old_run_is_shown_in_the_requested_language(project: Project) -> None:
    project.checks("def test_first_check(target): assert 0, 'no'\ndef test_second_check(target): pass\n")
    assert project.run().code == 1
    shown = gli("report", "own/latest", "--lang", "ko", cwd=project.root)
    assert "- 할 일: first-check을 고치세요." in shown.stdout
    assert "- to do: Mend first-check." in gli("report", "own/latest", cwd=project.root).stdout
    metrics = gli("report", "own/latest", "--format", "prometheus", cwd=project.root).stdout
    families = {f.name: f for f in text_string_to_metric_families(metrics)}
    assert families["gli_verdict_go"].samples[0].labels == {"environment": "own", "phase": "all", "vantage": "internet"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "stg/x is no run: give its folder, or ENV/latest below reports"), ("{", "is no verdict of schema 1")],
)
def test_a_folder_that_is_not_a_run_is_one_sentence(content: str | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "stg/x").mkdir(parents=True)
        (tmp_path / "stg/x/verdict.json").write_text(content)
    shown = gli("report", "stg/x", cwd=tmp_path)
    assert shown.exit_code == 2
    assert sentence in shown.stderr or content is not None
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("header", ["[]", '{"schema": 1, "environment": "stg", "overlay": 5}', "{" * 200_000])
def test_invalid_facts_are_one_sentence(header: str, kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "stg", tmp_path / "stg", symlinks=True)
    (tmp_path / "stg/latest/facts.jsonl").write_text(header + "\n")
    shown = gli("report", "stg/latest", "--format", "html", "--report-dir", str(tmp_path), cwd=ROOT)
    assert (shown.exit_code, shown.stderr.count("\n"), "facts.jsonl" in shown.stderr) == (2, 1, True)


NOW = datetime.now(UTC)


def made(reports: Path, environment: str, days: float, sample: str, phase: str | None = "pre-deploy") -> str:
    """Make a run that began this many days ago; returns its name."""
    name = f"{NOW - timedelta(days=days):%Y%m%dT%H%M%S}.000-{os.getpid()}"
    folder = reports / environment / name
    folder.mkdir(parents=True)
    document = SAMPLES[sample][1].document() | {"phase": phase}
    (folder / "verdict.json").write_text(json.dumps(document))
    return name


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "environments.toml").write_text(
        f"{ENVIRONMENT}\n[own.reports]\nkeep_days = 10\nkeep_failures_days = 20\nkeep_runs = 1\n"
    )
    return tmp_path


def names(reports: Path, environment: str = "own") -> set[str]:
    return {p.name for p in (reports / environment).iterdir() if not p.is_symlink()}


def test_old_runs_are_deleted_failures_later_and_the_newest_never(old: Path) -> None:
    reports = old / "reports"
    kept = {
        made(reports, "own", 100, "go"): "newest of its phase",
        made(reports, "own", 9, "go", "post-deploy"): "young",
        made(reports, "own", 40, "no-go", None): "newest of all phases",
        made(reports, "own", 110, "go", "post-deploy"): "where latest points",
        made(reports, "own", 200, "go", "on-call"): "newest of its phase too",
    }
    (reports / "own/latest").symlink_to(list(kept)[3])
    gone = {
        made(reports, "own", 120, "no-go"): "old",
        made(reports, "own", 111, "go", "post-deploy"): "old",
        made(reports, "own", 21, "no-go", "post-deploy"): "an old failure",
        made(reports, "own", 11, "go", "post-deploy"): "an old success",
    }
    kept[made(reports, "own", 19, "no-go", "post-deploy")] = "a failure that is young enough"
    (reports / "own/notes").mkdir()
    before = names(reports)
    dry = gli("reports", "prune", "--dry-run", cwd=old)
    assert dry.exit_code == 0
    assert names(reports) == before
    done = gli("reports", "prune", "--env", "own", cwd=old)
    assert done.exit_code == 0, done.stderr
    assert names(reports) == set(kept) | {"notes"}
    assert [line.replace("would remove", "removed") for line in dry.stdout.splitlines()[:-1]] == (
        done.stdout.splitlines()[:-1]
    )
    assert done.stdout.splitlines()[-1] == f"{len(gone)} runs removed"
    assert (reports / "own/latest").resolve().is_dir()


def test_the_configured_number_of_newest_runs_stays(old: Path) -> None:
    (old / "environments.toml").write_text(f"{ENVIRONMENT}\n[own.reports]\nkeep_runs = 3\n")
    made_runs = [made(old / "reports", "own", days, "go") for days in (400, 500, 600, 700)]
    assert gli("reports", "prune", cwd=old).exit_code == 0
    assert names(old / "reports") == set(made_runs[:3])


def test_a_damaged_run_is_kept_like_a_failure_and_a_link_is_never_followed(old: Path) -> None:
    reports, outside = old / "reports", old / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    newest = made(reports, "own", 1, "go")
    damaged = [reports / "own" / f"{NOW - timedelta(days=days):%Y%m%dT%H%M%S}.000-1" for days in (14, 15, 30)]
    for folder in damaged:
        folder.mkdir()
        (folder / "verdict.json").write_text("{")
    link = reports / "own" / "20200101T000000.000-1"
    link.symlink_to(outside)
    assert gli("reports", "prune", cwd=old).exit_code == 0
    assert names(reports) == {newest, damaged[0].name, damaged[1].name}
    assert (link.is_symlink(), (outside / "precious").exists()) == (True, True)


@pytest.mark.parametrize("key", ["keep_days = 0", 'keep_runs = "many"', "keep_hours = 3"])
def test_a_wrong_setting_is_one_sentence(key: str, old: Path) -> None:
    (old / "environments.toml").write_text(f"{ENVIRONMENT}\n[own.reports]\n{key}\n")
    (old / "reports/own").mkdir(parents=True)
    done = gli("reports", "prune", cwd=old)
    assert done.exit_code == 2
    assert f"environments.toml: [own.reports] {key.split()[0]}" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_environment_is_one_sentence(old: Path) -> None:
    done = gli("reports", "prune", "--env", "nowhere", cwd=old)
    assert (done.exit_code, done.stderr) == (2, "gli: environments.toml has no environment 'nowhere'; it has: own\n")
