"""The hooks that collect and run checks, in the only process or in each xdist worker.

A check is an ordinary pytest function. These hooks give the check its target, start its observations, and turn the
result of the test function into an outcome of its case.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal

import pytest
from _pytest.outcomes import Skipped  # pytest.skip.Exception, under the name that type checkers know

from gli.common import sources
from gli.common.case_key import CaseKey
from gli.common.sentences import Phrase, expected_and_seen, phrase
from gli.config.catalogue import FILE, FOLDERS, Catalogue
from gli.config.check import Case, Check
from gli.config.environments import Environment
from gli.judge.outcome import Outcome, Result
from gli.observe.engine.observation import Unobserved, unknown
from gli.observe.engine.observatory import Observations
from gli.observe.engine.probe import Probe, is_probe, probe_of
from gli.run import participants
from gli.run.run import fact_names

RESULT = "gli-result"
CASE = pytest.StashKey[Case]()
CHECK = pytest.StashKey[Callable[..., Any]]()
"""The function of an item when it was collected and compared with the digest."""
CONTEXT = pytest.StashKey["CheckContext"]()
UNOBSERVED = pytest.StashKey[list[Unobserved]]()
"""What the observatory raised for the fixtures of an item."""
ENDINGS = pytest.StashKey[list[BaseException | None]]()
"""How each call of a check ended; None if the call passed. A plugin may call a check again and report the last call."""
_OF_THE_RUN = ("target", "environment", "pytestconfig")
_FIXTURES = ("gli.run.run_hooks", "gli.run.plugin", "_pytest.fixtures")
"""The modules of the fixtures that no other fixture may replace."""
_SHOWN: Mapping[Outcome, Literal["passed", "skipped"]] = MappingProxyType(
    {Outcome.PASSED: "passed", Outcome.NOT_APPLICABLE: "skipped"}
)
NO_ASSERTIONS = "python -O takes assertions out: no check could fail; run without -O and PYTHONOPTIMIZE"


class NotApplicable(Skipped):
    """The environment declares that there is nothing to check."""


class CheckContext:
    """The environment and its observations. The controlling process has one, and so has each xdist worker."""

    def __init__(self, environment: Environment, catalogue: Catalogue, phase: str | None, seen: Observations) -> None:
        self.environment, self.catalogue, self.seen = environment, catalogue, seen
        self.by_function = {c.function: c for c in catalogue.checks.values()}
        self.cases = {c.key: c for c in catalogue.cases(environment, phase)}
        self._targets: dict[str, dict[str, Any]] = {}

    def targets(self, check: Check) -> dict[str, Any]:
        """The targets of a check by name, found once: to find them for every case takes the square of their number."""
        if check.id not in self._targets:
            self._targets[check.id] = self.catalogue.targets(check, self.environment)
        return self._targets[check.id]


class Checking:
    """The hooks that run where checks run: in the only process, or in each xdist worker."""

    def __init__(self, context: CheckContext) -> None:
        self.context = context

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        check = self.context.by_function.get(metafunc.function.__name__)
        if check is not None:
            names = list(self.context.targets(check))
            metafunc.fixturenames.append("gli_target")
            metafunc.parametrize("gli_target", names, ids=names)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        found = {_function(item) for item in items}
        strangers = sorted(found - set(self.context.by_function))
        if strangers:
            id_ = _id(strangers[0])
            raise pytest.UsageError(
                f"{strangers[0]} has no row in {FILE}; write [{id_}] there, and add {id_} to the item of a checklist "
                "that it proves"
            )
        for item in items:
            self._refuse_unhashed(item)
        silent = sorted(c.id for f, c in self.context.by_function.items() if f not in found)
        broken = session.testsfailed  # pytest reports a module that can't be imported; its tests exist
        if silent and not broken and config.args_source is not pytest.Config.ArgsSource.ARGS:
            raise pytest.UsageError(f"{FILE}: [{silent[0]}] has no test; write def test_{silent[0].replace('-', '_')}")
        kept: list[pytest.Item] = []
        dropped: list[pytest.Item] = []
        names: dict[CaseKey, str] = {}
        for item in items:
            case = self._case(item)
            if case is not None and names.setdefault(case.key, item.nodeid) != item.nodeid:
                both = f"{names[case.key]} and {item.nodeid}"
                raise pytest.UsageError(f"{both} are the same case; a check has one function, without parametrize")
            if case is not None and isinstance(item, pytest.Function):
                item.stash[CASE], item.stash[CHECK] = case, item.obj
            (kept if case is not None else dropped).append(item)
        items[:] = kept
        if dropped:
            config.hook.pytest_deselected(items=dropped)

    @pytest.hookimpl(specname="pytest_collection_modifyitems", trylast=True)
    def pytest_gli_slow_last(self, items: list[pytest.Item]) -> None:
        """Puts the slow checks last, once -k and -m have selected: only the probes that are needed are imported."""
        items.sort(key=lambda item: any(probe.slow for probe in _probes(item)))

    def _refuse_unhashed(self, item: pytest.Item) -> None:
        """Refuses a check from a file that the digest does not cover: a stranger could take the name of a check."""
        if not isinstance(item, pytest.Function):
            raise pytest.UsageError(f"{item.nodeid} is a {type(item).__name__} and no check; leave it out")
        _refuse_other_fixtures(item)
        code = getattr(inspect.unwrap(item.function), "__code__", None)
        for path in (item.path, code.co_filename if code is not None else "no file"):
            if not self.context.catalogue.files.get(sources.real(path)):
                raise pytest.UsageError(
                    f"{path} holds {item.name}, and no digest covers it: checks stand in {', '.join(FOLDERS)}"
                )

    def _case(self, item: pytest.Item) -> Case | None:
        """The case of an item; None if the check is of another phase or has no target in this environment."""
        check = self.context.by_function[_function(item)]
        target = item.callspec.params["gli_target"] if hasattr(item, "callspec") else None
        return self.context.cases.get(CaseKey(check.id, target)) if isinstance(target, str) else None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Starts every observation that the selected checks need."""
        if session.config.option.collectonly:
            return
        wanted: list[tuple[Probe[Any], Any]] = []
        for item in session.items:
            case = item.stash.get(CASE, None)
            if case is None or self._unjudgeable(case) is not None:
                continue
            target = self.context.targets(case.check)[case.target]
            wanted += [(probe, target if probe.per_target else None) for probe in _probes(item)]
        first = [(early, None) for probe, _ in wanted for early in probe.after]
        for probe, target in sorted((*first, *wanted), key=lambda one: not one[0].timed):
            self.context.seen.begin(probe, target)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """Calls the check. Refuses a check that returns a value (`return ok`, a coroutine): it asserts nothing."""
        arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
        endings = pyfuncitem.stash.setdefault(ENDINGS, [])
        endings.append(RuntimeError("it did not come to its end"))
        try:
            if pyfuncitem.obj is not pyfuncitem.stash[CHECK]:  # `pytest --trace` passes at the end of stdin
                raise RuntimeError("another function took its place; leave out --trace and plugins that replace checks")
            with _exceptions_of_threads():
                returned = pyfuncitem.obj(**arguments)
            if returned is not None:
                raise TypeError(f"a check asserts and returns nothing; this one returned {type(returned).__name__}")
        except BaseException as e:
            endings[-1] = e
            raise
        endings[-1] = None
        return True

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """An xdist worker tells the controlling process which files and plugins the worker loaded."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["gli"] = participants.seen(session.config)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        unjudgeable = self._unjudgeable(item.stash[CASE])
        if unjudgeable is not None:
            raise unjudgeable

    def _unjudgeable(self, case: Case) -> BaseException | None:
        if sys.flags.optimize:  # checked here: xdist would restart a worker that refuses to start
            return unknown("error", phrase(NO_ASSERTIONS))
        if case.not_applicable is not None:
            return NotApplicable(case.not_applicable)
        cell = self.context.environment.cell
        if cell is not None and not case.seen_by(cell):
            said = phrase("the cell {} does not see it: a run of another cell has to", cell.name)
            return unknown("vantage", said)
        if case.check.vantage == "vpc" and self.context.environment.vantage != "vpc":
            why = phrase("only a runner inside the VPC sees it: run with --vantage=vpc from there")
            return unknown("vantage", why)
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
            _show(report, result, item)
        return report


def _refuse_other_fixtures(item: pytest.Function) -> None:
    """Refuses a fixture of a conftest, a module or a plugin that takes the place of a target or of an observation: the
    check would judge something else than the verdict says.
    """
    for name, found in item._fixtureinfo.name2fixturedefs.items():
        own = name in _OF_THE_RUN or is_probe(name)
        if own and found and found[-1].func.__module__ not in _FIXTURES:
            where = inspect.getsourcefile(found[-1].func)
            raise pytest.UsageError(
                f"{where} has a fixture {name}, which takes the place of this suite's; give it another name"
            )


def _function(item: pytest.Item) -> str:
    return str(getattr(item, "originalname", item.name))


def _id(function: str) -> str:
    return function.removeprefix("test_").replace("_", "-")


def _probes(item: pytest.Item) -> list[Probe[Any]]:
    found = map(probe_of, getattr(item, "fixturenames", ()))
    return [probe for probe in found if probe is not None]


def _result(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Result | None:
    """The result of the case after this step of the test; None if this step does not decide it."""
    case, error = item.stash[CASE], call.excinfo.value if call.excinfo else None
    if error is None and call.when == "call":
        error = _hidden_error(item)
    if error is None and (call.when != "call" or report.outcome != "passed" or hasattr(report, "wasxfail")):
        return None
    outcome, said, cause = _judged(error, at=str(call.when), item=item)
    expected, seen = expected_and_seen(said)
    return Result(
        check=case.check.id,
        target=case.target,
        outcome=outcome,
        expected=expected,
        seen=seen,
        cause=cause,
        duration_s=round(call.duration, 4),
        facts=fact_names(_probes(item), case.target),
    )


def _show(report: pytest.TestReport, result: Result, item: pytest.Item) -> None:
    """Makes pytest show a case as it was judged: passed, skipped if it is not applicable, failed otherwise."""
    traceback = report.longrepr if report.outcome == "failed" and result.cause == "error" else None
    vars(report).pop("wasxfail", None)  # pytest shows such a failure as expected
    report.outcome = _SHOWN.get(result.outcome, "failed")
    if report.outcome == "skipped":
        report.longrepr = (str(item.path), (item.location[1] or 0) + 1, str(result.sentence))
    elif report.outcome == "failed":
        report.longrepr = traceback or str(result.sentence)


def _hidden_error(item: pytest.Item) -> BaseException | None:
    """The error that a passing report hides: the check was never called, or an earlier call of it failed."""
    endings = item.stash.get(ENDINGS, [])
    if not endings:
        return RuntimeError("it was not called")
    return next((error for error in endings if error is not None), None)


@contextmanager
def _exceptions_of_threads() -> Iterator[None]:
    """Raises an exception of another thread in this thread: Python would only print it."""
    raised: list[threading.ExceptHookArgs] = []
    own = raised.append
    before, threading.excepthook = threading.excepthook, own
    try:
        yield
        if threading.excepthook is not own:
            raise RuntimeError("the check replaced threading.excepthook: nobody would see an exception in a thread")
    finally:
        threading.excepthook = before
    for one in raised:
        name, kind = one.thread.name if one.thread else "a thread", one.exc_type.__name__
        raise RuntimeError(f"{kind} in the thread {name}: {one.exc_value}")


def _judged(error: BaseException | None, *, at: str, item: pytest.Item) -> tuple[Outcome, str, str | None]:
    """(outcome, sentence, cause) for the error that one step of a test ended with, if any."""
    if error is None:
        return Outcome.PASSED, "", None
    check = item.stash[CASE].check
    if isinstance(error, Unobserved):
        if error.unknown.cause != "not-applicable":
            return Outcome.UNKNOWN, error.unknown.message, error.unknown.cause
        if any(error is one for one in item.stash.get(UNOBSERVED, ())) or (check.may_not_apply and at == "call"):
            return Outcome.NOT_APPLICABLE, error.unknown.message, None
        own = phrase("it says that it does not apply ({}), and its row has no may_not_apply", error.unknown.message)
        return Outcome.UNKNOWN, own, "error"
    if isinstance(error, NotApplicable) and at == "setup" and item.stash[CASE].not_applicable is not None:
        return Outcome.NOT_APPLICABLE, str(error.msg), None
    if isinstance(error, AssertionError) and at == "call":
        said = error.args[0] if error.args else ""
        if isinstance(said, Phrase):  # what `saw` returned
            return Outcome.FAILED, said, None
        # The first line is the check's own sentence; pytest adds the compared values below it.
        return Outcome.FAILED, next(iter(str(error).splitlines()), phrase("the check failed without a word")), None
    if isinstance(error, Skipped):
        return Outcome.MISSING, phrase("skipped: {}; a check may not skip itself", error.msg), None
    failed = phrase("the check itself failed: {}: {}", type(error).__name__, error)
    return Outcome.UNKNOWN, failed, "error"
