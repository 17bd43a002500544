"""The controlling process: it confirms the identity, serves observations to the workers and gathers the reports."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from _pytest.compat import ascii_escaped

from gli.common.case_key import CaseKey
from gli.judge.outcome import Outcome, Result
from gli.report import sinks, terminal
from gli.run.check_hooks import RESULT
from gli.run.run import Run

EXIT_STATUS = pytest.StashKey[int]()


class Controlling:
    """Hooks of the controlling process: it observes, gathers the reports and judges."""

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self.config, self.run = config, run
        self._share: Any = None
        self._selected: set[CaseKey] = set()
        self._checks = {c.function: c.id for c in run.catalogue.checks.values()}
        self._targets = {ascii_escaped(c.target): c.target for c in run.cases}  # as pytest writes them into its ids

    def pytest_report_header(self) -> list[str]:
        environment, cases = self.run.environment, len(self.run.cases)
        phase = self.run.phase or "all phases"
        where = environment.vantage + (f", the cell {environment.cell.name}" if environment.cell else "")
        return [f"environment: {environment.name}, {phase}, {cases} cases, seen from {where}"]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: tells a worker, before the worker starts, where to ask for observations."""
        from gli.observe.engine.worker_sharing import Share

        if self._share is None:
            self._share = Share(self.run.observatory, self.run.record, self.run.target)
        node.workerinput["gli"] = {"ticket": self._share.ticket, "overlay": dict(self.run.overlay)}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """xdist: takes from a worker that ends the files and plugins that the worker loaded."""
        told = getattr(node, "workeroutput", {}).get("gli")
        if told is None:
            self.run.participants.silent = True
        else:
            self.run.participants.add(told)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        self._select(ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not self.config.getoption("dist", "no") or self.config.getoption("dist", "no") == "no":
            self._select([item.nodeid for item in session.items])

    def _cases_of(self, ids: Sequence[str]) -> Iterator[CaseKey]:
        """The cases of pytest's ids."""
        for id_ in ids:
            place, bracket, target = id_.partition("[")
            function, target = place.rpartition("::")[2], target.removesuffix("]")
            if bracket and function in self._checks:
                yield CaseKey(self._checks[function], self._targets.get(target, target))

    def _select(self, ids: Sequence[str]) -> None:
        self._selected.update(self._cases_of(ids))
        self.run.collected = self._selected
        self.run.begin_manifest()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool | None:
        """Confirms the identity first. Without a confirmed identity no check runs and nothing else is observed."""
        confirmed = self.run.confirm_identity()
        if confirmed:
            self.run.observatory.await_timed()  # the page's imports would be counted as the target's time
        sinks.prepare()
        return None if confirmed else True

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keeps the reason why a module could not be collected: with --tb=no pytest does not print the reason."""
        if report.failed:
            report.longrepr = self.run.redact(report.longreprtext)
            lines = [line.removeprefix("E ").strip() for line in report.longreprtext.splitlines() if line.strip()]
            self.run.uncollected[report.nodeid] = self.run.redact(lines[-1] if lines else "")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Redacts the report before any other sink prints it, and keeps the result of the case."""
        if isinstance(report.longrepr, tuple):
            report.longrepr = (*report.longrepr[:2], self.run.redact(str(report.longrepr[2])))
        elif report.longrepr is not None:
            report.longrepr = self.run.redact(str(report.longrepr))
        report.sections = [(title, self.run.redact(text)) for title, text in report.sections]
        properties = []
        for key, value in report.user_properties:
            if key == RESULT:
                result = Result.model_validate_json(str(value), context=self.run.redact)
                if result.key in self._cases_of([report.nodeid]):  # `record_property` could name another case
                    self.run.report(result)
                    self._show_waived(report, result)
                value = f"{result.model_dump_json()}"
            properties.append((key, value if key == RESULT else self.run.redact(str(value))))
        report.user_properties = properties

    def _show_waived(self, report: pytest.TestReport, result: Result) -> None:
        """Makes pytest show an accepted failure as an expected one. pytest's own exit code counts it all the same."""
        waiver = self.run.waivers.get(result.key)
        if waiver is not None and result.outcome is Outcome.FAILED:
            report.outcome, report.wasxfail = "skipped", f"waived: {waiver.reason}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Redacts a warning before pytest prints it: a library may quote what a server sent."""
        lines = self.run.redact(str(warning_message.message)).splitlines()
        warning_message.message = "\n".join(map(terminal.no_command, lines))

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr: Any) -> None:
        """Redacts the traceback of pytest's own failure."""
        for traceback, *_ in getattr(excrepr, "chain", [(excrepr.reprtraceback,)]):
            for entry in traceback.reprentries:
                entry.lines = [self.run.redact(line) for line in entry.lines]

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Redacts the reason of `pytest.exit`."""
        excinfo.value.args = tuple(self.run.redact(str(part)) for part in excinfo.value.args)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.config.stash[EXIT_STATUS] = int(exitstatus)

    def pytest_unconfigure(self) -> None:
        if self._share is not None:
            self._share.close()
