"""The whole pytest integration: options, targets as parameters, observations as fixtures, a verdict as the exit code.

Registered as an entry point, so that --noconftest can't take the verdict away. Without --env it stays out of the
way. pytest's own exit code is no gate: it says 0 for a run whose failing report was lost. Here every case of the
catalogue has to report, and the code is 0 for GO alone.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.outcomes import Skipped  # pytest.skip.Exception, under the name that type checkers know

from gli import catalogue as catalogues
from gli import environments, provider
from gli.catalogue import GROUPS, PHASES, Case, Catalogue
from gli.environments import Environment
from gli.errors import UsageError
from gli.judge.outcome import Outcome, Result
from gli.judge.verdict import Verdict
from gli.observe.observation import Record, Unobserved, unknown
from gli.observe.observatory import Observations
from gli.observe.probe import PROBES, Probe
from gli.report import files, terminal
from gli.run import Run, fact_names

ExitStatus = int | pytest.ExitCode | None
RESULT = "gli-result"
RUN = pytest.StashKey[Run]()
SIDE = pytest.StashKey["Side"]()
PROVIDER = pytest.StashKey[provider.Provider | None]()
CASE = pytest.StashKey[Case]()
_CODES = {
    2: "interrupted, or a check could not be collected",
    3: "the suite itself failed (INTERNALERROR above)",
    4: "pytest was called in a way it does not know",
}
_LOOK_ONLY = ("help", "version", "collectonly", "showfixtures", "show_fixtures_per_test", "markers", "cacheshow")


class NotApplicable(Skipped):
    """The environment declares that there is nothing to check."""


class Side:
    """What both sides have, the controlling process and each xdist worker: the environment and its observations."""

    def __init__(self, environment: Environment, catalogue: Catalogue, phase: str | None, seen: Observations) -> None:
        self.environment, self.catalogue, self.phase, self.seen = environment, catalogue, phase, seen
        self.by_function = {c.function: c for c in catalogue.checks.values()}
        self.cases = {c.key: c for c in catalogue.cases(environment, phase)}


# ── options and start ────────────────────────────────────────────────────────────────────────────────────────────────


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gli", "deployment verification")
    group.addoption("--env", metavar="NAME", help="verify this environment of environments.toml: dev, stg, prod, ...")
    group.addoption("--phase", choices=PHASES, help="run the checks of one phase (default: all of them)")
    group.addoption("--replay", metavar="FILE", type=Path, help="judge a recorded run (its facts.jsonl), offline")
    group.addoption("--vantage", choices=("internet", "vpc"), help="where this runner stands (default: as configured)")
    group.addoption(
        "--await-rollout", metavar="SECONDS", type=float, default=0.0, help="wait this long for rollouts to end"
    )
    group.addoption("--lang", choices=("en", "ko"), default="en", help="language of the hints (default: en)")
    group.addoption("--report-dir", metavar="DIR", type=Path, help="where reports go (default: reports)")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(
    config: pytest.Config,
) -> Generator[None, int | pytest.ExitCode | None, int | pytest.ExitCode | None]:
    if not config.option.env or hasattr(config, "workerinput"):
        return (yield)
    try:
        code = int((yield) or 0)
    finally:
        started = config.stash.get(PROVIDER, None)
        run = config.stash.get(RUN, None)
        verdict = _finished(run, config) if run is not None else None
        if started is not None:
            started.stop()
    if run is None or verdict is None:
        return code if any(getattr(config.option, o, False) for o in ("help", "version")) else code or 1
    print("\n".join(terminal.summary(verdict, _relative(run.folder.path / files.VERDICT))))
    print(terminal.last_line(verdict), flush=True)
    return _exit_code(code, verdict, run)


def _finished(run: Run, config: pytest.Config) -> Verdict | None:
    """The verdict, written; None where it could not be, and then nothing is GO."""
    code = config.stash.get(_CODE, 3)
    try:
        return run.finish(interrupted=None if run.refused else _CODES.get(code))
    except (OSError, UsageError) as e:
        print(f"ERROR: the report could not be written to {run.folder.path}: {e}", file=sys.stderr, flush=True)
        return None


_CODE = pytest.StashKey[int]()


def _exit_code(code: int, verdict: Verdict, run: Run) -> int:
    """0 for GO alone. The on-call run, which no gate takes, keeps the code of the tests that it ran."""
    if run.refused is not None:
        return 4 if run.refused.cause in ("wrong-account", "no-credentials") else 1
    if run.phase == "on-call":
        return code
    if verdict.go:
        return 0 if code in (0, 1) else code  # 1: only warnings failed, and they do not hold a verdict
    return code or 1


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.env or any(getattr(config.option, o, False) for o in _LOOK_ONLY):
        return
    try:
        if hasattr(config, "workerinput"):
            _configure_worker(config)
        else:
            _configure(config)
    except UsageError as e:
        raise pytest.UsageError(str(e)) from None


def _configure(config: pytest.Config) -> None:
    if sys.flags.optimize:
        raise UsageError("python -O takes assertions out: no check could fail; run without -O and PYTHONOPTIMIZE")
    root, name = config.rootpath, config.option.env
    catalogue = catalogues.load(root)
    catalogues.docstrings(root)
    replayed, overlay = _replayed(config, name) if config.option.replay else (None, None)
    if replayed is None:
        tables = environments.tables_of(root, name)
        config.stash[PROVIDER] = provider.ensure(root, tables, say=lambda text: print(text, flush=True))
        overlay = environments.read_overlay(root, tables) or {}
    assert overlay is not None
    environment = _environment(config, name, overlay)
    run = config.stash[RUN] = Run(
        root,
        environment,
        catalogue,
        phase=config.option.phase,
        language=config.option.lang,
        reports=config.option.report_dir or root / "reports",
        overlay=overlay,
        replayed=replayed,
        patience_s=config.option.await_rollout,
    )
    config.stash[SIDE] = Side(environment, catalogue, config.option.phase, run.observatory)
    signal.signal(signal.SIGTERM, _interrupt)
    config.pluginmanager.register(Controlling(config, run), "gli-controlling")
    config.pluginmanager.register(Checking(config.stash[SIDE]), "gli-checking")


def _configure_worker(config: pytest.Config) -> None:
    from gli.observe.shared import Remote

    told = config.workerinput["gli"]  # type: ignore[attr-defined]
    environment = _environment(config, config.option.env, told["overlay"])
    catalogue = catalogues.load(config.rootpath)
    seen = Remote(told["ticket"], group_of=lambda target: _group_of(environment, target))
    config.stash[SIDE] = Side(environment, catalogue, config.option.phase, seen)
    config.pluginmanager.register(Checking(config.stash[SIDE]), "gli-checking")


def _environment(config: pytest.Config, name: str, overlay: Any) -> Environment:
    environment = environments.load(config.rootpath, name, overlay=overlay)
    vantage = config.option.vantage
    return environment.model_copy(update={"vantage": vantage}) if vantage else environment


def _replayed(config: pytest.Config, name: str) -> tuple[list[Record], dict[str, Any]]:
    """The records and the overlay of a recorded run."""
    path: Path = config.option.replay
    header, *lines = files.read_facts(path)
    if header.get("schema") != 1 or "environment" not in header:
        raise UsageError(f"--replay {path}: the first line is no header of a recorded run; give its facts.jsonl")
    if header["environment"] != name:
        raise UsageError(f"--replay {path}: it was recorded on {header['environment']}, not on {name}; mend --env")
    config.option.vantage = config.option.vantage or header.get("vantage")
    try:
        return [Record.model_validate(line) for line in lines], header.get("overlay", {})
    except ValueError as e:
        raise UsageError(f"--replay {path}: a line is no record ({str(e).splitlines()[0]})") from None


def _group_of(environment: Environment, target: Any) -> str:
    """A group that holds the target, so that another process can find it by name."""
    if target is None:
        return ""
    return next(
        g for g, members in GROUPS.items() if any(m is target or m == target for m in members(environment).values())
    )


def _interrupt(*_: Any) -> None:
    """SIGTERM, as a cancelled CI job sends it, ends the run like Ctrl-C: with a verdict."""
    raise KeyboardInterrupt("SIGTERM")


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


# ── fixtures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def fixture_for(probe: Probe[Any]) -> Any:
    """A fixture of the probe's name that waits for its observation of the check's target."""

    def wait(request: pytest.FixtureRequest) -> Any:
        target = request.getfixturevalue("target") if probe.per_target else None
        return request.config.stash[SIDE].seen.wait(probe, target)

    wait.__doc__ = probe.run.__doc__
    return pytest.fixture(name=probe.name)(wait)


@pytest.fixture
def environment(pytestconfig: pytest.Config) -> Environment:
    """The environment that --env names."""
    return pytestconfig.stash[SIDE].environment


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Any:
    """The table of what the check is asked of: a service, a frontend, a host name, ..."""
    side, case = request.config.stash[SIDE], request.node.stash[CASE]
    return side.catalogue.targets(case.check, side.environment)[case.target]


# ── both sides: collecting and running checks ────────────────────────────────────────────────────────────────────────


class Checking:
    """Hooks that run wherever checks run: in the one process, or in each xdist worker."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        check = self.side.by_function.get(metafunc.function.__name__)
        if check is not None:
            names = list(self.side.catalogue.targets(check, self.side.environment))
            metafunc.fixturenames.append("gli_target")
            metafunc.parametrize("gli_target", names, ids=names)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        found = {_function(item) for item in items}
        strangers = sorted(found - set(self.side.by_function))
        if strangers:
            raise pytest.UsageError(
                f"{strangers[0]} has no row in {catalogues.FILE}; write [{_id(strangers[0])}] there"
            )
        silent = sorted(c.id for f, c in self.side.by_function.items() if f not in found)
        if silent and config.args_source is not pytest.Config.ArgsSource.ARGS:
            raise pytest.UsageError(
                f"{catalogues.FILE}: [{silent[0]}] has no test; write def test_{silent[0].replace('-', '_')}"
            )
        kept: list[pytest.Item] = []
        dropped: list[pytest.Item] = []
        for item in items:
            case = self._case(item)
            if case is not None:
                item.stash[CASE] = case
            (kept if case is not None else dropped).append(item)
        items[:] = kept
        if dropped:
            config.hook.pytest_deselected(items=dropped)

    def _case(self, item: pytest.Item) -> Case | None:
        """The case of an item; None for another phase's, and for a check without a target in this environment."""
        check = self.side.by_function[_function(item)]
        target = item.callspec.params["gli_target"] if hasattr(item, "callspec") else None
        return self.side.cases.get((check.id, target)) if isinstance(target, str) else None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Starts every observation that the selected checks need."""
        if session.config.option.collectonly:
            return
        wanted: list[tuple[Probe[Any], Any]] = []
        for item in session.items:
            case = item.stash.get(CASE, None)
            if case is None or self._unjudgeable(case) is not None:
                continue
            target = self.side.catalogue.targets(case.check, self.side.environment)[case.target]
            wanted += [(probe, target if probe.per_target else None) for probe in _probes(item)]
        first = [(early, None) for probe, _ in wanted for early in probe.after]
        for probe, target in (*first, *wanted):
            self.side.seen.begin(probe, target)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """Calls the check; one that returns something (`return ok`, or a coroutine) asserts nothing."""
        arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
        returned = pyfuncitem.obj(**arguments)
        if returned is not None:
            raise TypeError(f"a check asserts and returns nothing; this one returned {type(returned).__name__}")
        return True

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        unjudgeable = self._unjudgeable(item.stash[CASE])
        if unjudgeable is not None:
            raise unjudgeable

    def _unjudgeable(self, case: Case) -> BaseException | None:
        if case.not_applicable is not None:
            return NotApplicable(case.not_applicable)
        if case.check.vantage == "vpc" and self.side.environment.vantage != "vpc":
            return unknown("vantage", "only a runner inside the VPC sees it: run with --vantage=vpc from there")
        return None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        result = _result(item, call, report)
        if result is not None:
            # Exact text: anything else in user_properties can be lost on its way out of an xdist worker.
            report.user_properties.append((RESULT, f"{result.model_dump_json()}"))
            if report.outcome != "passed" and result.cause != "error":
                report.longrepr = result.message
        return report


def _function(item: pytest.Item) -> str:
    return str(getattr(item, "originalname", item.name))


def _id(function: str) -> str:
    return function.removeprefix("test_").replace("_", "-")


def _probes(item: pytest.Item) -> list[Probe[Any]]:
    return [PROBES[name] for name in getattr(item, "fixturenames", ()) if name in PROBES]


def _result(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Result | None:
    """What this step of the test says of its case; None where it says nothing yet."""
    case, error = item.stash[CASE], call.excinfo.value if call.excinfo else None
    if error is None and (call.when != "call" or report.outcome != "passed" or hasattr(report, "wasxfail")):
        return None
    outcome, message, cause = _judged(error, at=str(call.when))
    return Result(
        check=case.check.id,
        target=case.target,
        outcome=outcome,
        message=message,
        cause=cause,
        duration_s=round(call.duration, 4),
        facts=fact_names(_probes(item), case.target),
    )


def _judged(error: BaseException | None, *, at: str) -> tuple[Outcome, str, str | None]:
    """Outcome, message and cause for how one step of a test ended."""
    if error is None:
        return Outcome.PASSED, "", None
    if isinstance(error, Unobserved):
        return Outcome.UNKNOWN, str(error), error.unknown.cause
    if isinstance(error, NotApplicable):
        return Outcome.NOT_APPLICABLE, str(error.msg), None
    if isinstance(error, AssertionError) and at == "call":
        # The first line is the check's own sentence; pytest adds the compared values below it.
        return Outcome.FAILED, (str(error).splitlines() or ["the check failed without a word"])[0], None
    if isinstance(error, Skipped):
        return Outcome.MISSING, f"skipped: {error.msg}; a check may not skip itself", None
    return Outcome.UNKNOWN, f"the check itself failed: {type(error).__name__}: {error}", "error"


# ── the controlling side: confirming, collecting reports ─────────────────────────────────────────────────────────────


class Controlling:
    """Hooks of the controlling process: it observes, gathers the reports and judges."""

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self.config, self.run = config, run
        self._share: Any = None
        self._selected: set[tuple[str, str]] = set()

    def pytest_report_header(self) -> list[str]:
        environment, cases = self.run.environment, len(self.run.cases)
        phase = self.run.phase or "all phases"
        return [f"environment: {environment.name}, {phase}, {cases} cases, seen from {environment.vantage}"]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: before a worker starts, it is told where to ask for observations."""
        from gli.observe.shared import Share

        if self._share is None:
            self._share = Share(self.run.observatory, self.run.record, self.run.target)
        node.workerinput["gli"] = {"ticket": self._share.ticket, "overlay": dict(self.run.overlay)}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        self._select(ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not self.config.getoption("dist", "no") or self.config.getoption("dist", "no") == "no":
            self._select([item.nodeid for item in session.items])

    def _select(self, ids: Sequence[str]) -> None:
        by_function = {c.function: c.id for c in self.run.catalogue.checks.values()}
        for id_ in ids:
            function, bracket, target = id_.rpartition("::")[2].partition("[")
            if bracket and function in by_function:
                self._selected.add((by_function[function], target.removesuffix("]")))
        self.run.collected = self._selected
        self.run.begin_manifest()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool | None:
        """Identity first: where it is not confirmed nothing is asked, and no check is run."""
        return None if self.run.confirm_identity() else True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Redacts what every later sink would print, and keeps what the case reported."""
        if isinstance(report.longrepr, tuple):
            report.longrepr = (*report.longrepr[:2], self.run.redact(str(report.longrepr[2])))
        elif report.longrepr is not None:
            report.longrepr = self.run.redact(str(report.longrepr))
        report.sections = [(title, self.run.redact(text)) for title, text in report.sections]
        properties = []
        for key, value in report.user_properties:
            if key == RESULT:
                result = Result.model_validate(self.run.redacted(json.loads(str(value))))
                self.run.report(result)
                value = f"{result.model_dump_json()}"
            properties.append((key, value if key == RESULT else self.run.redact(str(value))))
        report.user_properties = properties

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.config.stash[_CODE] = int(exitstatus)

    def pytest_unconfigure(self) -> None:
        if self._share is not None:
            self._share.close()
