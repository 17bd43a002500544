"""Cells: a run as one of them sees the environment, the merge of their runs, and the gate."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_rig import gli

from conftest import ENVIRONMENT, ROOT, Project, Ran, clean_environment, latest
from gli.common.verdict_file import digest

CELLS = """
[own.cells.world]
vantage = "internet"
[own.cells.seoul]
vantage = "vpc"
"""


def with_cells(project: Project, cells: str = CELLS) -> Project:
    """The second check is one of the vantage `vpc`."""
    project.write("environments.toml", ENVIRONMENT + cells)
    rows = (project.root / "checklists/checks.toml").read_text()
    first, second = rows.split("[second-check]")
    project.write("checklists/checks.toml", f"{first}[second-check]{second.replace('internet', 'vpc')}")
    return project


def seen(ran: Ran) -> dict[str, str]:
    assert ran.verdict is not None, ran.output
    return {c["id"]: c["outcome"] for c in ran.verdict["checks"]}


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_run_of_a_cell_judges_what_the_cell_sees(project: Project, workers: Iterable[str]) -> None:
    ran = with_cells(project).run("--cell=world", *workers)
    assert (ran.code, seen(ran)) == (1, {"first-check": "passed", "second-check": "unknown"})
    assert ran.verdict is not None and ran.folder is not None
    assert (ran.verdict["cell"], ran.verdict["vantage"]) == ("world", "internet")
    assert [r["check"] for r in ran.verdict["reported"]] == ["first-check", "second-check"]
    assert "second-check[api] unknown: the cell world does not see it" in ran.verdict["reasons"][0]
    again = project.run(f"--replay={ran.folder / 'facts.jsonl'}", *workers)
    assert again.verdict is not None
    assert (again.verdict["cell"], seen(again)) == ("world", seen(ran))


def test_a_cell_of_the_vpc_sees_the_targets_that_it_names(project: Project) -> None:
    assert seen(with_cells(project).run("--cell=seoul")) == {"first-check": "passed", "second-check": "passed"}
    with_cells(project, CELLS + 'sees = ["db-*"]\n')
    assert seen(project.run("--cell=seoul")) == {"first-check": "passed", "second-check": "unknown"}


BAD = {
    "a cell that is not there": ("", ("--cell=x",), "own has no cell 'x'; there are: world, seoul"),
    "a vantage beside it": ("", ("--cell=world", "--vantage=vpc"), "--cell=world says where this runner stands"),
    "a vantage that is none": ('[own.cells.x]\nvantage = "moon"\n', (), "[own.cells.x] vantage = 'moon'"),
    "no vantage": ("[own.cells.x]\n", (), "[own.cells.x] vantage is missing"),
    "a name with a slash": ('[own.cells."a/b"]\nvantage = "vpc"\n', (), "[own.cells.a/b] name = 'a/b'"),
    "private targets from the internet": (
        '[own.cells.x]\nvantage = "internet"\nsees = ["db"]\n',
        (),
        "[own.cells.x] has sees, which is about private addresses",
    ),
    "ECS without its table": (
        '[own.cells.x]\nvantage = "vpc"\nrun = "ecs"\n',
        (),
        '[own.cells.x] needs run = "ecs" and a table ecs',
    ),
    "a region without AWS": (
        '[own.cells.x]\nvantage = "vpc"\nregion = "eu-west-1"\n',
        (),
        "[own] cells.x names a region or an account, and the environment has no aws",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_cell_that_cannot_be_is_one_sentence(project: Project, case: str) -> None:
    more, arguments, said = BAD[case]
    ran = with_cells(project, CELLS + more).run(*arguments)
    assert ran.code == 4
    assert said in ran.output
    assert "Traceback" not in ran.output


def folder(ran: Ran) -> Path:
    assert ran.folder is not None, ran.output
    return ran.folder


def both(project: Project) -> list[str]:
    """A run of each cell."""
    return [f"own/{folder(project.run(f'--cell={cell}')).name}" for cell in ("world", "seoul")]


def gate(project: Project) -> tuple[int, str]:
    done = gli("gate", "--env", "own", cwd=project.root)
    return done.exit_code, done.output


def test_two_cells_are_merged_into_a_go_that_the_gate_takes(project: Project) -> None:
    runs = both(with_cells(project))
    assert "is of the cell seoul alone, and own declares the cells seoul and world: run every cell" in gate(project)[1]
    done = gli("merge", *runs, cwd=project.root)
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "VERDICT own: GO")
    assert "WARNING" not in done.output
    verdict, where = latest(project.root / "reports")
    assert verdict is not None and where is not None
    assert {c["id"]: c["outcome"] for c in verdict["checks"]} == {"first-check": "passed", "second-check": "passed"}
    assert [f"own/{part['run']}" for part in verdict["merged"]] == runs
    assert {p.name for p in where.iterdir()} == {"verdict.json", "junit.xml", "report.html", "report.md"}
    assert (where.parent / "latest").resolve() == where.resolve()
    assert gate(project)[0] == 0


def test_the_report_says_which_cells_saw_a_failure_and_which_runs_were_merged(project: Project) -> None:
    with_cells(project).checks(
        "def test_first_check(target): assert False, 'it is down'\ndef test_second_check(target): assert False\n"
    )
    runs = both(project)
    done = gli("merge", *runs, cwd=project.root)
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "seen: it is down seen from: world, seoul to do: Mend first-check." in said
    assert "seen from: seoul to do: Mend second-check." in said
    _, where = latest(project.root / "reports")
    assert where is not None
    names = [run.removeprefix("own/") for run in runs]
    assert f"merged of world {names[0]} and seoul {names[1]}" in (where / "report.md").read_text()
    page = (where / "report.html").read_text()
    assert "world, seoul" in page


def test_the_gate_refuses_one_run_of_an_environment_with_cells(project: Project) -> None:
    assert with_cells(project).run("--vantage=vpc").code == 0
    code, said = gate(project)
    assert (code, "is of one run, and own declares the cells seoul and world" in said) == (1, True)


def test_a_go_of_a_cell_that_is_no_longer_declared_is_refused(project: Project) -> None:
    assert with_cells(project).run("--cell=seoul").code == 0
    project.write("environments.toml", ENVIRONMENT)
    assert "is of the cell seoul alone, and own declares no cells" in gate(project)[1]


def test_a_later_run_of_a_cell_revokes_the_merged_go(project: Project) -> None:
    gli("merge", *both(with_cells(project)), cwd=project.root)
    assert gate(project)[0] == 0
    project.run("--cell=world")
    assert gate(project)[0] == 1


def test_a_merge_that_lacked_a_cell_gives_way_to_the_one_that_has_it(project: Project) -> None:
    runs = both(with_cells(project))
    done = gli("merge", runs[0], cwd=project.root)
    assert (done.exit_code, "the cell seoul is lost: there is no run of it" in done.output) == (1, True)
    assert gate(project)[0] == 1
    assert gli("merge", *runs, cwd=project.root).exit_code == 0
    assert gate(project)[0] == 0
    assert gli("merge", runs[1], cwd=project.root).exit_code == 1
    assert gate(project)[0] == 0, "the run that is left tells nothing new"


def edited(path: Path, **changes: Any) -> None:
    """Changes the verdict of a run, and its digest with it."""
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(document | {"digest": digest(document)}))


TAMPERED: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "edited": (lambda p: p.write_text(p.read_text().replace('"GO"', '"NO-GO"')), 1, "the file was edited after"),
    "a merged one": (lambda p: edited(p, cell=None), 1, "is of no cell: it was made without --cell"),
    "not JSON": (lambda p: p.write_text("{"), 2, "is no verdict of schema 1"),
    "gone": (lambda p: p.unlink(), 2, "is no run: give its folder"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_run_that_was_tampered_with_is_no_go_or_one_sentence(project: Project, case: str) -> None:
    how, code, said = TAMPERED[case]
    runs = both(with_cells(project))
    how(project.root / "reports" / runs[1] / "verdict.json")
    done = gli("merge", *runs, cwd=project.root)
    assert done.exit_code == code
    assert said in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_a_copy_of_a_run_beside_it_does_not_count_twice(project: Project) -> None:
    """CI unpacks `latest` as a copy: the gate knows it by its digest."""
    runs = both(with_cells(project))
    assert gli("merge", *runs, cwd=project.root).exit_code == 0
    link = project.root / "reports/own/latest"
    link.unlink()
    shutil.copytree(project.root / "reports" / runs[0], link)
    assert gate(project)[0] == 0


def test_every_run_and_the_merged_verdict_need_a_signature_where_they_are_required(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "ci"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with_cells(project, CELLS + '[own.signatures]\nallowed_signers = "allowed"\nrequired = true\n')
    project.write("allowed", f'ci@glibiz.com namespaces="gli-verdict" {key.with_suffix(".pub").read_text()}')
    world, seoul = (folder(project.run(f"--cell={c}", env={"GLI_SIGNING_KEY": str(key)})) for c in ("world", "seoul"))
    unsigned = folder(project.run("--cell=seoul"))

    def merged(name: str, *runs: Path) -> tuple[str, str]:
        """What the merge of these runs says, and what the gate says of it."""
        reports = ("--report-dir", str(tmp_path / name))
        done = gli("merge", *map(str, runs), *reports, cwd=project.root)
        return " ".join(done.output.split()), gli("gate", "--env", "own", *reports, cwd=project.root).output

    assert "the cell seoul: no allowed signer has signed it" in merged("one", world, unsigned)[0]
    said, decided = merged("two", world, seoul)
    assert said.endswith("VERDICT own: GO") and "carries no good signature of an allowed signer" in decided
    monkeypatch.setenv("GLI_SIGNING_KEY", str(key))
    said, decided = merged("three", world, seoul)
    assert said.endswith("VERDICT own: GO") and decided.startswith("yes: ")
    verdict, _ = latest(tmp_path / "three")
    assert verdict is not None and [part["signer"] for part in verdict["merged"]] == ["ci@glibiz.com"] * 2


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed; GitHub's runners have it")
def test_the_gate_job_of_the_workflow_joins_what_the_matrix_left(project: Project) -> None:
    """The step's own script, on reports as the artifacts bring them; a cell that is lost leaves the gate closed."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/verify.yml").read_text())
    (script,) = [s["run"] for s in workflow["jobs"]["gate"]["steps"] if s.get("name") == "Join the cells"]
    cells = [{"environment": "own", "cell": cell} for cell in ("world", "seoul")] + [{"environment": "other"}]
    both(with_cells(project))
    (project.root / ".venv").symlink_to(ROOT / ".venv")
    env = clean_environment() | {"CELLS": json.dumps(cells), "RUNNER_TEMP": str(project.root), "SIGNING_KEY": ""}

    def join() -> int:
        command = ["bash", "-e", "-o", "pipefail", "-c", script]
        return subprocess.run(command, cwd=project.root, env=env, capture_output=True, check=False).returncode

    assert (join(), gate(project)[0]) == (0, 0)
    for path in (project.root / "reports/own").glob("*"):
        if path.is_dir() and not path.is_symlink() and '"cell": "world"' not in (path / "verdict.json").read_text():
            shutil.rmtree(path)
    assert join() == 0
    assert "the cell seoul is lost" in gate(project)[1]


def test_an_environment_without_cells_is_not_merged(project: Project) -> None:
    project.run()
    done = gli("merge", "own/latest", cwd=project.root)
    assert (done.exit_code, "own declares no cells; write [own.cells.CELL]" in done.output) == (2, True)
