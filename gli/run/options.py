"""The options of a run, and what the process of a call of pytest is there for.

This module imports little: see `gli.run.plugin`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gli.config.phases import PHASES
from gli.report import texts
from gli.run import supervisor

OPTIONS = ("--env", "--phase", "--replay", "--vantage", "--cell", "--await-rollout", "--lang", "--report-dir")
CHILD = pytest.StashKey[supervisor.Child | None]()
"""The child's side of the process that makes the run."""
_LOOK_ONLY = ("help", "version", "collectonly", "showfixtures", "show_fixtures_per_test", "markers", "cacheshow")


def add(parser: pytest.Parser) -> None:
    """Adds the options. Ends pytest with one sentence if another plugin has an option of the same name."""
    _refuse_neighbours(parser)
    group = parser.getgroup("gli", "deployment verification")
    group.addoption("--env", metavar="NAME", help="verify this environment of environments.toml: dev, stg, prod, ...")
    group.addoption("--phase", choices=PHASES, help="run the checks of one phase (default: all of them)")
    group.addoption("--replay", metavar="FILE", type=Path, help="judge a recorded run (its facts.jsonl), offline")
    group.addoption("--vantage", choices=("internet", "vpc"), help="where this runner stands (default: as configured)")
    group.addoption("--cell", metavar="CELL", help="run as this cell of the environment sees it ([ENV.cells])")
    group.addoption(
        "--await-rollout", metavar="SECONDS", type=float, default=0.0, help="wait this long for rollouts to end"
    )
    group.addoption("--lang", choices=texts.LANGUAGES, help="language of the reports (default: from LANG)")
    group.addoption("--report-dir", metavar="DIR", type=Path, help="where reports go (default: reports)")
    _guard(parser)


def _refuse_neighbours(parser: pytest.Parser) -> None:
    """Ends pytest with one sentence if a plugin before this one has an option of the same name.

    pytest itself would end with a traceback.
    """
    there = {n for group in (parser._anonymous, *parser._groups) for option in group.options for n in option.names()}
    for name in OPTIONS:
        if name in there:
            _end_of(name)


def _guard(parser: pytest.Parser) -> None:
    """The same for a plugin that comes after this one."""
    add, group_of = parser.addoption, parser.getgroup

    def guarded(add: Callable[..., None]) -> Callable[..., None]:
        def added(*names: str, **how: Any) -> None:
            try:
                add(*names, **how)
            except ValueError:
                _end_of(next((name for name in names if name in OPTIONS), ""))
                raise

        return added

    def getgroup(*arguments: Any, **how: Any) -> pytest.OptionGroup:
        group = group_of(*arguments, **how)
        group.addoption = guarded(type(group).addoption.__get__(group))  # type: ignore[method-assign]
        return group

    parser.addoption, parser.getgroup = guarded(add), getgroup  # type: ignore[method-assign]


def _end_of(option: str) -> None:
    if option:
        where = "leave that plugin out with -p no:NAME (`pip list` names the installed ones)"
        print(f"ERROR: another plugin of pytest has the option {option} too; {where}", file=sys.stderr)
        sys.exit(pytest.ExitCode.USAGE_ERROR)


def looks_only(config: pytest.Config) -> bool:
    """Whether pytest only shows something, and runs no check."""
    return any(getattr(config.option, o, False) for o in _LOOK_ONLY)


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of xdist."""
    return hasattr(config, "workerinput")
