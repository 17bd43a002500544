"""Cells: a run as one of them sees the environment, the merge of their runs, and the gate."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from conftest import ENVIRONMENT, Project, Ran

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
