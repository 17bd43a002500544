"""The entry of pytest: the fork, and the exit code of a run.

The plugin is registered as an entry point, so --noconftest can't remove the verdict. Without --env the plugin does
nothing. pytest's own exit code can't be a gate: it is 0 even if the report of a failed test was lost. Here every case
of the catalogue has to report, and the exit code is 0 for GO only.

The process that watches the run keeps the memory of all that it had imported before the fork. So this module imports
little, and `gli.run.run_hooks` comes with everything else after the fork.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from _pytest.config import ConftestImportFailure

from gli.common import sources, standard_streams
from gli.common.bound_process import hear_children
from gli.observe.engine import probe_places
from gli.run import options, rewriting, supervisor
from gli.run.options import CHILD, is_worker

if TYPE_CHECKING:
    from gli.observe.engine.probe import Probe

_SUPERVISES = pytest.StashKey[bool]()
_GARBAGE = 50_000  # a run is short: collecting garbage every 700 objects would take a tenth of its time
_CANNOT_TELL = 3
_PROGRAMS = ("__main__.py", "pytest", "py.test")


@pytest.hookimpl(trylast=True)
def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Forks before any conftest file is read: no code of the project runs in the process that watches the run."""
    option = early_config.known_args_namespace
    if option.env is None:
        return (yield)
    for name, path in sources.hidden_modules():
        where = "rename it, or call `pytest`: `python -m pytest` looks for modules in the current folder first"
        raise pytest.UsageError(f"{path} takes the place of Python's own module {name}; {where}")
    rewriting.rewrite_from_source()
    if option.env and Path(sys.argv[0]).name in _PROGRAMS:
        watch = _forked(early_config, option)
        if watch is not None:
            _end(watch())
    try:
        return (yield)
    except (ConftestImportFailure, SystemExit, pytest.exit.Exception) as e:
        from gli.run.conftest_failures import told

        raise pytest.UsageError(told(e)) from None


@pytest.hookimpl(specname="pytest_cmdline_main", tryfirst=True)
def pytest_gli_supervise(config: pytest.Config) -> int | None:
    """Prepares the process that makes the run. Forks here for a program that calls pytest, and goes on after that."""
    if not config.option.env:
        return None
    if CHILD not in config.stash and not is_worker(config):
        watch = _forked(config, config.option)
        if watch is not None:
            config.stash[_SUPERVISES] = True
            return watch()
    hear_children()
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm that a conftest file set
    sources.look_in_installed_places_first()
    gc.set_threshold(_GARBAGE)
    from gli.run import run_hooks

    config.pluginmanager.register(run_hooks, "gli-run")
    return None


def _forked(config: pytest.Config, option: argparse.Namespace) -> Callable[[], int] | None:
    """Makes the run in a child process. Returns, in the process that watches, what waits for the child's exit code;
    None in the child, and if one process does everything.
    """
    hear_children()
    if not standard_streams.output_is_open():
        print(f"ERROR: {standard_streams.CLOSED}", file=sys.stderr)
        sys.exit(pytest.ExitCode.USAGE_ERROR)  # with another error, pytest would write to the closed stream
    forked: supervisor.Child | Callable[[], int] | None = None
    # A debugger that somebody uses has no deadline.
    if not (getattr(option, "usepdb", False) and sys.stdin.isatty()):
        forked = supervisor.fork(needs_go=option.phase != "on-call", reporting=_reporting(config.rootpath))
    if not (isinstance(forked, supervisor.Child) or forked is None):
        return forked
    config.stash[CHILD] = forked
    return None


def _reporting(root: Path) -> supervisor.Reporting:
    def report(began: supervisor.Began) -> Callable[[], None]:
        sources.look_in_installed_places_first()
        from gli.run.last_words import LastWords

        return LastWords(root, began).say

    return report


def _end(code: int) -> NoReturn:
    """Ends this process at once: what plugins left here (`atexit`, hooks, threads) could end it with another code, and
    so could PYTHONINSPECT.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        code = code or _CANNOT_TELL
    os._exit(code)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(
    config: pytest.Config,
) -> Generator[None, int | pytest.ExitCode | None, int | pytest.ExitCode | None]:
    named = (config.option.env, config.known_args_namespace.env)  # --help ends pytest's reading of the arguments
    if named == (None, None) or is_worker(config):
        return (yield)
    error: BaseException | None = None
    try:
        code = int((yield) or 0)
    except BaseException as e:  # noqa: BLE001 - `run_hooks.ended` raises it again, once the verdict is written
        code, error = int(pytest.ExitCode.USAGE_ERROR), e
    if config.stash.get(_SUPERVISES, False):
        return code if error is None else pytest.ExitCode.INTERRUPTED
    child = config.stash.get(CHILD, None)
    if child is not None and child.forked:
        os._exit(_CANNOT_TELL)
    from gli.run import run_hooks

    code = run_hooks.ended(config, code, error)
    if child is not None:
        child.end(code)
    return code


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --env, stops with one sentence instead of an error for each check."""
    if config.option.env or not items:
        return
    from gli.config import catalogue, environments

    if any(item.path.parent.name in catalogue.FOLDERS for item in items):
        named = ", ".join(environments.names(config.rootpath))
        raise pytest.UsageError(f"say which environment to verify: pytest --env=NAME, one of {named}")


def fixture_for(probe: Probe[Any] | str) -> Any:
    """A fixture of the probe's name that waits for its observation of the check's target.

    A text names the probe with its module, `gli.observe.edge.dns:addresses`: a run imports the module only if it needs
    the observation.
    """
    name = probe_places.noted(probe) if isinstance(probe, str) else probe.name

    def wait(request: pytest.FixtureRequest) -> Any:
        from gli.observe.engine.observation import Unobserved
        from gli.observe.engine.probe import probe_of
        from gli.run.check_hooks import CONTEXT, UNOBSERVED

        found = probe_of(name)
        assert found is not None
        target = request.getfixturevalue("target") if found.per_target else None
        try:
            return request.config.stash[CONTEXT].seen.wait(found, target)
        except Unobserved as e:
            request.node.stash.setdefault(UNOBSERVED, []).append(e)
            raise

    wait.__doc__ = f"Observed by {probe}." if isinstance(probe, str) else probe.run.__doc__
    return pytest.fixture(name=name)(wait)
