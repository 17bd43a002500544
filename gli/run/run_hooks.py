"""The hooks that begin a run and end it with its verdict.

`gli.run.plugin` registers them in the process that runs. `gli.run.check_hooks` runs the checks, `gli.run.controller`
gathers their reports, and `gli.run.run` judges them.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gli.common import clock, standard_streams
from gli.common.errors import UsageError
from gli.common.sentences import listed, of, phrase
from gli.common.verdict_file import NO_GO, VERDICT, last_line
from gli.config import catalogue, environments, toml_tables, waivers
from gli.config.catalogue import Catalogue
from gli.config.environments import Environment
from gli.config.phases import PAUSED
from gli.config.targets import GROUPS
from gli.judge.verdict import Verdict
from gli.observe.engine.observation import Record
from gli.observe.engine.observatory import END_S, RUN_DEADLINE_S, Observatory
from gli.report import files, logs, sinks, terminal, texts
from gli.report.korean import said
from gli.report.progress import Progress
from gli.report.redact import Redactor, carried
from gli.run import participants, provider
from gli.run.check_hooks import CASE, CONTEXT, NO_ASSERTIONS, CheckContext, Checking
from gli.run.controller import EXIT_STATUS, Controlling
from gli.run.options import CHILD, OPTIONS, is_worker, looks_only
from gli.run.run import Run
from gli.run.supervisor import Began

RUN = pytest.StashKey[Run]()
PROVIDER = pytest.StashKey[provider.Provider | None]()
LOGS = pytest.StashKey[Callable[[], None]]()
_M_ARENA_MAX = -8  # glibc, malloc.h
_LONGEST_ROLLOUT_S = 24 * 60 * 60
_INTERRUPTED = {
    2: phrase("interrupted"),
    3: phrase("the suite itself failed (INTERNALERROR above)"),
    4: phrase("pytest was called in a way it does not know"),
}


def ended(config: pytest.Config, code: int, error: BaseException | None) -> int:
    """Ends the run with its verdict. Returns the exit code, or raises the error that pytest itself ended with.

    `code` is pytest's own. An output without room for the result is one sentence, and exit code 3.
    """
    try:
        return _ended(config, code, error)
    except OSError as e:
        if not standard_streams.has_no_room(e):
            raise
        standard_streams.leave_output()
        print(f"ERROR: the output can't be written: {e.strerror}", file=sys.stderr)
        return int(pytest.ExitCode.INTERNAL_ERROR)


def _ended(config: pytest.Config, code: int, error: BaseException | None) -> int:
    if isinstance(error, KeyboardInterrupt):  # pytest handles the first one only, and none while it ends
        code, error = int(pytest.ExitCode.INTERRUPTED), None
        config.stash[EXIT_STATUS] = code
    verdict = _closed(config)
    if error is None:
        return _told(config, config.stash.get(RUN, None), verdict, code if code % 256 else int(code != 0))  # wait(2)
    if isinstance(error, pytest.UsageError) and config.stash.get(CHILD, None) is not None:
        hide = Redactor(carried()).text  # a file may hold a password, or signs that act on a terminal
        print(*(f"ERROR: {hide(str(said))}\n" for said in error.args), sep="", file=sys.stderr)  # as pytest says it
        return code
    raise error


def _closed(config: pytest.Config) -> Verdict | None:
    """Ends the run and the environment that was started for it. Returns the verdict, if there is one."""
    run, started = config.stash.get(RUN, None), config.stash.get(PROVIDER, None)
    try:
        return _finished(run, config) if run is not None else None
    finally:
        if started is not None:
            started.stop()
        config.stash.get(LOGS, lambda: None)()


def _told(config: pytest.Config, run: Run | None, verdict: Verdict | None, code: int) -> int:
    """Prints how the run ended; a parent process prints the last line. Returns the exit code."""
    if run is None:
        print("ERROR: nothing was verified: this call of pytest made no run", file=sys.stderr)
        return code or 1
    paint = terminal.paint_of(config.option.color)
    terminal.say(_said(run, verdict, config.option.verbose, paint))
    word, coloured = verdict.verdict if verdict else NO_GO, paint is terminal.coloured
    child = config.stash.get(CHILD, None)
    if child is None:
        terminal.say([last_line(run.environment.name, word, coloured=coloured)])
    else:
        child.judged(word, coloured=coloured)
    return _exit_code(code, verdict, run) if verdict else code or 1


def _said(run: Run, verdict: Verdict | None, verbosity: int, paint: terminal.Paint) -> Iterable[str]:
    """The lines that the run prints before its last line."""
    page = run.folder.path / sinks.PAGE
    report = _relative(page if page.exists() else run.folder.path / VERDICT)
    if verdict is None:
        return [f"ERROR: the report could not be written to {run.folder.path}: {run.unwritten}"]
    warnings = [f"WARNING: {problem}" for problem in run.problems]
    if run.refused is not None:
        why = said(of(run.refused.message).without(run.redact), run.language)
        return [*terminal.refusal(why, report, language=run.language), *warnings]
    lines = terminal.summary(run.shown(verdict), report, language=run.language, verbosity=verbosity, paint=paint)
    return [*lines, *warnings]


def _finished(run: Run, config: pytest.Config) -> Verdict | None:
    """Writes the verdict and returns it; None if it could not be written, and then the run is not GO."""
    code = config.stash.get(EXIT_STATUS, 3)
    run.participants.add(participants.seen(config))
    try:
        try:
            verdict = run.finish(interrupted=None if run.refused else _uncollected(run) or _INTERRUPTED.get(code))
            _interrupt_no_more()
        except KeyboardInterrupt:
            _interrupt_no_more()
            return run.cut_short(interrupted=_INTERRUPTED[2])
        return verdict
    except (OSError, UsageError) as e:
        run.unwritten = e
        return None


def _uncollected(run: Run) -> str:
    """A sentence: which modules could not be collected, and why. Empty if all were collected."""
    found = sorted(run.uncollected.items())
    return listed(phrase("{} could not be collected: {}", m, w) for m, w in found) if found else ""


def _exit_code(code: int, verdict: Verdict, run: Run) -> int:
    """0 for GO only. An on-call run, which no gate accepts, keeps the code of the tests that it ran."""
    if run.refused is not None:
        return 4 if run.refused.cause in ("wrong-account", "no-credentials") else 1
    if run.phase == "on-call":
        return code
    if verdict.go:
        return 0 if code in (0, 1) else code  # 1: only checks of severity warn failed
    return 1 if code in (0, 5) else code  # 5: no check was selected: partial, like any selection


def _share_one_heap() -> None:
    """Makes all threads use one heap: glibc gives each of a run's twenty threads its own and never frees them."""
    with suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.env or looks_only(config):
        return
    _share_one_heap()
    atexit.register(gc.freeze)  # otherwise the interpreter collects garbage once more at exit
    try:
        if is_worker(config):
            _configure_worker(config)
        else:
            _configure(config)
    except UsageError as e:
        raise pytest.UsageError(str(e)) from None


def _configure(config: pytest.Config) -> None:
    if sys.flags.optimize:
        raise UsageError(NO_ASSERTIONS)
    if config.option.debug or os.environ.get("PYTEST_DEBUG"):
        raise UsageError("--debug and PYTEST_DEBUG write what targets answered, with its secrets; leave them out")
    _refuse_options_from_elsewhere(config)
    patience_s = _patience_s(config)
    root, name = config.rootpath, config.option.env
    file = toml_tables.read_tables(root)
    tables = toml_tables.extended(file, name)
    known = catalogue.load(root)
    _ = known.docstrings  # refuses a name that is taken twice
    replayed, overlay = _replayed(config, name) if config.option.replay else (None, None)
    if replayed is None:
        config.stash[PROVIDER] = provider.start_if_down(root, name, tables, say=lambda text: print(text, flush=True))
        overlay = toml_tables.read_overlay(root, tables) or {}
    assert overlay is not None
    environment = _environment(config, name, overlay, file)
    known.refuse_unmatched(environment)
    if replayed is None:
        environment.refuse_missing_files()
    environment.signers(root)  # stop now, not at the end of the run, when sign-offs are read
    _refuse_other_settings(config, known)
    run = Run(
        root,
        environment,
        known,
        phase=config.option.phase,
        language=texts.chosen(config.option.lang),
        reports=config.option.report_dir or root / "reports",
        overlay=overlay,
        waivers=waivers.load(root, known, environment, toml_tables.environment_names(file), clock.now()),
        replayed=replayed,
        patience_s=patience_s,
    )
    run.begin()
    config.stash[RUN] = run
    config.stash[LOGS] = logs.redacted_by(run.redact)
    config.stash[CONTEXT] = CheckContext(environment, known, config.option.phase, run.observatory)
    _tell_parent(config, run, patience_s)
    signal.signal(signal.SIGTERM, _interrupt)
    config.pluginmanager.register(Controlling(config, run), "gli-controlling")
    if config.option.verbose >= 0 and isinstance(run.observatory, Observatory):
        progress = Progress(config, run.observatory.awaited, run.language)
        config.pluginmanager.register(progress, "gli-progress")
    config.pluginmanager.register(Checking(config.stash[CONTEXT]), "gli-checking")


def _patience_s(config: pytest.Config) -> float:
    """The seconds of `--await-rollout`. Raises `UsageError` for a number that is not a time to wait."""
    patience_s: float = config.option.await_rollout
    if not 0 <= patience_s <= _LONGEST_ROLLOUT_S:  # `not`: NaN fails the comparison too
        raise UsageError(
            f"--await-rollout={patience_s:g} is not a time to wait; give 0 to {_LONGEST_ROLLOUT_S} seconds"
        )
    return patience_s


def _tell_parent(config: pytest.Config, run: Run, patience_s: float) -> None:
    """Tells the process that watches this one, if there is one, that the run observes from now on."""
    child = config.stash.get(CHILD, None)
    if child is not None:
        child.began(
            Began(
                folder=str(run.folder.path.absolute()),
                name=run.environment.name,
                language=run.language,
                cases=len(run.cases),
                longest_s=RUN_DEADLINE_S + patience_s,
                end_s=END_S,
                overlay=dict(run.overlay),
            )
        )


def _refuse_options_from_elsewhere(config: pytest.Config) -> None:
    """Refuses options of a run in PYTEST_ADDOPTS, and in settings those with which less is asked, or a recording:
    nobody who reads the command would know that.
    """
    added = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    files = [given for given in (*added, *config.invocation_params.args) if str(given).startswith("@")]
    if files:  # argparse reads its arguments from there
        raise UsageError(f"{files[0]} names a file with options of pytest; give them on the command line")
    usual, found = (vars(config._parser.parse_known_args(given)) for given in ([], added))
    if any(setting.startswith("addopts") for setting in found["override_ini"] or ()):  # options again
        raise UsageError("PYTEST_ADDOPTS holds -o addopts; give it on the command line")
    for option in OPTIONS:
        name = option.removeprefix("--").replace("-", "_")
        if found[name] != usual[name]:
            raise UsageError(f"PYTEST_ADDOPTS holds {option}; give it on the command line")
    given = config._parser.parse_known_args(list(config.invocation_params.args))
    for name in ("phase", "replay"):
        if getattr(config.option, name) != getattr(given, name):
            raise UsageError(f"addopts of pytest's settings holds --{name}; give it on the command line")


def _refuse_other_settings(config: pytest.Config, catalogue: Catalogue) -> None:
    """Refuses settings that the digest does not cover: they decide which functions are checks, and what runs them."""
    elsewhere = [spec for spec in getattr(config.option, "tx", None) or () if spec.rpartition("*")[2] != "popen"]
    if elsewhere:
        raise UsageError(f"--tx={elsewhere[0]} runs checks with another Python than this one; leave --tx out")
    used = config.inipath
    if used is not None and not catalogue.files.get(os.path.realpath(used)):
        raise UsageError(f"{used} holds the settings of this run, and no digest covers it; leave -c and --rootdir out")


def _configure_worker(config: pytest.Config) -> None:
    from gli.observe.engine.worker_sharing import Remote

    told = config.workerinput["gli"]  # type: ignore[attr-defined]
    environment = _environment(config, config.option.env, told["overlay"])
    known = catalogue.load(config.rootpath)
    seen = Remote(told["ticket"], group_of=lambda target: _group_of(environment, target))
    config.stash[CONTEXT] = CheckContext(environment, known, config.option.phase, seen)
    config.pluginmanager.register(Checking(config.stash[CONTEXT]), "gli-checking")
    logs.redacted_by(Redactor(carried()).text)  # a worker never gets the values of fetched secrets


def _environment(config: pytest.Config, name: str, overlay: Any, tables: Any = None) -> Environment:
    environment = environments.load(config.rootpath, name, overlay=overlay, tables=tables)
    vantage, cell = config.option.vantage, config.option.cell
    if cell and vantage:
        raise UsageError(f"--cell={cell} says where this runner stands; leave --vantage out")
    if cell:
        environment = environment.as_cell(cell)
    if config.option.phase == PAUSED:
        environment = environment.through_test_listener()
    return environment.model_copy(update={"vantage": vantage}) if vantage else environment


def _replayed(config: pytest.Config, name: str) -> tuple[list[Record], dict[str, Any]]:
    """The records and the overlay of a recorded run."""
    path: Path = config.option.replay
    header, records = files.read_facts(path)
    if header["environment"] != name:
        raise UsageError(f"--replay {path}: it was recorded on {header['environment']}, not on {name}; mend --env")
    if not config.option.vantage:
        config.option.cell = config.option.cell or header.get("cell")
    if not config.option.cell:
        config.option.vantage = config.option.vantage or header.get("vantage")
    return records, header.get("overlay", {})


def _group_of(environment: Environment, target: Any) -> str:
    """The name of a group that holds the target: another process finds the target by group and name."""
    if target is None:
        return ""
    return next(name for name, group in GROUPS.items() if target in group.of(environment).values())


def _interrupt(*_: Any) -> None:
    """Makes SIGTERM (a cancelled CI job sends it) end the run like Ctrl-C: with a verdict."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    raise KeyboardInterrupt("SIGTERM")


def _interrupt_no_more() -> None:
    """Ignores further signals: the verdict is written and must still be printed, which takes a moment only."""
    for sent in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sent, lambda *_: None)


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@pytest.fixture
def environment(pytestconfig: pytest.Config) -> Environment:
    """The environment that --env names."""
    return pytestconfig.stash[CONTEXT].environment


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Any:
    """The table of the check's target: a service, a frontend, a host name, ..."""
    context, case = request.config.stash[CONTEXT], request.node.stash[CASE]
    return context.targets(case.check)[case.target]
