"""One run, from `--env` to its verdict, without pytest: the plugin's hooks call it.

A run writes a NO-GO to disk first, and replaces it at its end. So a run that is killed never leaves a GO.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import gli
from gli.common import clock
from gli.common.case_key import CaseKey
from gli.common.clock import CLOCKS_DIFFER
from gli.common.errors import UsageError
from gli.common.sentences import listed, of, phrase
from gli.common.verdict_file import VERDICT
from gli.config.catalogue import Catalogue, proved
from gli.config.check import Case
from gli.config.environments import Environment
from gli.config.phases import Phase
from gli.config.targets import GROUPS
from gli.config.toml_tables import overlay_variables
from gli.config.waivers import Waiver
from gli.gate import sign_offs, signing
from gli.git.command import GitFailed, git
from gli.judge.checklist import item_lines
from gli.judge.coverage import coverage
from gli.judge.judgement import Judgement, compared, judge, marked, summed
from gli.judge.outcome import Outcome, Result
from gli.judge.verdict import VALID_FOR_HOURS, Reason, SinceLast, Suite, Variables, Verdict
from gli.observe.engine.observation import Record, Unknown, Unobserved, fact_name
from gli.observe.engine.observatory import END_S, RUN_DEADLINE_S, Observatory, Replay
from gli.observe.engine.probe import Probe
from gli.report import notify, sinks
from gli.report.files import RunFolder
from gli.report.korean import translated
from gli.report.redact import Redactor, carried
from gli.run import variables
from gli.run.participants import Participants

RECORD_SCHEMA = 1
IDENTITY = "aws-caller-identity"


class Run:
    """The state of one run in the controlling process."""

    def __init__(
        self,
        root: Path,
        environment: Environment,
        catalogue: Catalogue,
        *,
        phase: Phase | None,
        language: str,
        reports: Path,
        overlay: Mapping[str, Any],
        waivers: Mapping[CaseKey, Waiver],
        replayed: Sequence[Record] | None = None,
        patience_s: float = 0.0,
    ) -> None:
        """Only stores its arguments; `begin` removes ignored variables, writes the first verdict, starts to observe."""
        self.root, self.environment, self.catalogue = root, environment, catalogue
        self.phase, self.language, self.overlay = phase, language, overlay
        self.waivers = waivers
        self.started = clock.now()
        self.cases = catalogue.cases(environment, phase)
        self.redactor = Redactor([*carried(), *notify.secrets(environment.notify)])
        self.results: list[Result] = []
        self.collected: set[CaseKey] | None = None
        self.refused: Unknown | None = None
        self.unwritten: Exception | None = None
        self.uncollected: dict[str, str] = {}
        """Module that could not be imported to the reason."""
        self.problems: list[str] = []  # failures that don't change the verdict: a report, a signature, a message
        self.participants = Participants()
        self.variables = Variables()
        self.replayed = replayed is not None
        self.folder = RunFolder.of(reports, environment.name, self.started, replay=self.replayed)
        self.observatory: Observatory | Replay = Replay(())
        self._recorded, self._patience_s = replayed, patience_s

    def begin(self) -> None:
        """Writes a NO-GO to disk, then starts to observe. Raises `UsageError` if the folder can't be written."""
        moving = overlay_variables(self.environment.overlay)
        self.variables = Variables(ignored=variables.ignore(), in_force=variables.in_force(moving))
        self.folder.make()
        first = self._judged(interrupted=phrase("the run has not ended"))
        ends_by = self.started + timedelta(seconds=RUN_DEADLINE_S + self._patience_s + END_S)
        self._write(first.model_copy(update={"ends_by": clock.rfc3339(ends_by)}))
        if not self.replayed:
            self.folder.point_latest_here()
        self.observatory = self._observing() if self._recorded is None else Replay(self._recorded)

    def _observing(self) -> Observatory:
        first: Probe[Any] | None = None
        rollout: Probe[Any] | None = None
        if self.environment.aws is not None:
            from gli.observe.aws.identity import confirmed_identity

            first = confirmed_identity
        if self._patience_s > 0:
            from gli.observe.release.rollout import rolled_out

            rollout = rolled_out
        return Observatory(self.environment, first=first, rolled_out=rollout, patience_s=self._patience_s)

    def target(self, group: str, name: str) -> Any:
        """The table of a target by its group and name; None for the environment as a whole."""
        return GROUPS[group].of(self.environment)[name] if group else None

    def record(self, name: str) -> Record | None:
        """The newest record with the name `probe[target]`."""
        return next((r for r in reversed(self.observatory.records) if r.fact == name), None)

    def report(self, result: Result) -> None:
        """Adds one result of a case."""
        self.results.append(result)

    def redact(self, text: str) -> str:
        """Returns the text with every secret that the run has seen so far hidden."""
        if isinstance(self.observatory, Observatory):
            self.redactor.learn(self.observatory.vault.values)
        return self.redactor.text(text)

    def begin_manifest(self) -> None:
        """Starts to observe commit and tree of each repository. Only a run of all cases has a manifest of them."""
        if self.environment.git is not None and self.partial is None:
            from gli.observe.release.git_history import revision

            for repository in self.environment.repositories:
                self.observatory.begin(revision, repository.name)

    def confirm_identity(self) -> bool:
        """Whether the credentials belong to the environment. If not, the run observes nothing else."""
        if self.environment.aws is None:
            return True
        from gli.observe.aws.identity import confirmed_identity

        try:
            self.observatory.wait(confirmed_identity)
        except Unobserved as e:
            self.refused = e.unknown
            self.results = [_not_asked(case, e.unknown, self.environment.aws.region) for case in self.cases]
            return False
        return True

    @property
    def partial(self) -> str | None:
        """How many cases were left out, as a sentence; None if all were selected or the selection is not known yet."""
        if self.collected is None:
            return None
        selected = sum(c.key in self.collected for c in self.cases)
        if selected == len(self.cases):
            return None
        return phrase("{} of {} cases were selected", selected, len(self.cases))

    def finish(self, *, interrupted: str | None) -> Verdict:
        """Waits for the manifest, judges, writes the verdict and the reports. Returns the verdict, without secrets."""
        if interrupted is None:
            self._await_manifest()
        self.observatory.close()
        newest = {r.fact: r for r in self.observatory.records}
        self.results = [_with_attempts(r, newest) for r in self.results]
        verdict = self._judged(interrupted=interrupted)
        lines = list(self._lines())
        facts_sha256 = self.folder.write_facts(self._header(), lines)
        clean = self._write(verdict.model_copy(update={"facts_sha256": facts_sha256}))
        self._sign()
        self._report(clean, lines)
        return clean

    def cut_short(self, *, interrupted: str) -> Verdict:
        """Writes and returns the NO-GO of a run that was interrupted in `finish`. It replaces a verdict on disk."""
        clean = self._write(self._judged(interrupted=interrupted))
        with suppress(Exception):  # the observatory may be closed already, or partly
            self.observatory.close()
        return clean

    def _report(self, verdict: Verdict, lines: Sequence[Mapping[str, Any]]) -> None:
        """Writes the other reports and sends messages. A failure is added to `problems`; the verdict stays."""
        environment, folder = self.environment, self.folder.path
        shown = self.shown(verdict)
        proves = proved(self.catalogue, self.language)
        self.problems += sinks.write(
            folder, shown, lines, environment, self.cases, proves=proves, language=self.language
        )
        if not self.replayed and self.environment.cell is None:  # nobody needs a message about a replay or a part
            self.problems += sinks.tell(folder, shown, environment.notify, language=self.language)
        self.problems = [self.redact(problem) for problem in self.problems]

    def shown(self, verdict: Verdict) -> Verdict:
        """The verdict in the language of the run, for reports."""
        return translated(verdict, self.language, self.catalogue)

    def _sign(self) -> None:
        """Signs the verdict if the run has a key. Without a key, the verdict has no signature."""
        if not self.replayed:  # a signature vouches for the present; a replay is of the past
            self.problems += filter(None, [signing.sign_verdict(self.folder.path / VERDICT)])

    def _await_manifest(self) -> None:
        if self.environment.git is None or self.partial is not None or self.refused is not None:
            return
        from gli.observe.release.git_history import revision

        for repository in self.environment.repositories:
            try:
                self.observatory.wait(revision, repository.name)
            except Unobserved:
                continue  # the record holds the reason; the manifest lacks this repository

    def _judged(self, *, interrupted: str | None) -> Verdict:
        partial = None if interrupted or self.refused else self.partial
        judgement = judge(
            self.cases,
            self.results,
            interrupted=interrupted,
            partial=partial,
            waivers=self.waivers,
        )
        return self._verdict(judgement, compare=not interrupted and not self.replayed)

    def _verdict(self, judgement: Judgement, *, compare: bool) -> Verdict:
        finished = clock.now()
        records = self.observatory.records
        manifest, unread = self._manifest(records)
        behind_s = self.observatory.clocks.behind_s if isinstance(self.observatory, Observatory) else None
        held_by = (*judgement.reasons, *self._against_go(judgement, unread, behind_s))
        before = self._since("pre-deploy", judgement) if compare and self.phase == "post-deploy" else None
        identity = next((r.observation for r in records if r.probe == "caller_identity" and r.observation), None)
        cell = self.environment.cell
        return Verdict(
            run=self.folder.path.name,
            verdict="NO-GO" if held_by else "GO",
            reasons=tuple(str(r.message) for r in held_by),
            held_by=held_by,
            environment=self.environment.name,
            phase=self.phase,
            vantage=self.environment.vantage,
            cell=cell.name if cell else None,
            replayed=self.replayed,
            started=clock.rfc3339(self.started),
            finished=clock.rfc3339(finished),
            expires=clock.rfc3339(finished + timedelta(hours=VALID_FOR_HOURS)),
            machine=clock.machine(),
            machine_s=round(clock.since_start(), 3),
            clock_behind_s=behind_s,
            variables=self.variables,
            suite=self._suite(),
            account=identity["account"] if identity else None,
            region=identity["region"] if identity else None,
            manifest=manifest,
            served=_served(records),
            counts=judgement.counts,
            requests=summed(r.requests for r in records),
            coverage=coverage(
                self.catalogue, self.environment, self.phase, ((c.key, c.outcome) for c in judgement.checks)
            ),
            checks=marked(judgement.checks, before),
            reported=tuple(self.results) if cell else (),
            root_causes=judgement.root_causes,
            checklist=item_lines(
                self.catalogue,
                self.environment,
                self.phase,
                judgement.checks,
                sign_offs.people_by_item(self.root, self.environment, manifest),
            ),
            since_last=(self._since(self.phase, judgement) if compare else None) or SinceLast(),
            since_pre_deploy=before,
        )

    def _against_go(self, judgement: Judgement, unread: Sequence[str], behind_s: float | None) -> Iterator[Reason]:
        """The reasons that do not follow from the outcomes. `unread` are the repositories that the manifest lacks."""
        if judgement.verdict == "GO" and unread:
            said = phrase("the manifest is incomplete: {} could not be read", listed(unread))
            yield Reason(kind="manifest", labels=tuple(unread), message=said)
        if behind_s is not None and behind_s > CLOCKS_DIFFER.total_seconds():
            said = phrase(
                "this machine's clock is {} s behind those of the hosts that answered: set it", round(behind_s)
            )
            yield Reason(kind="clock", message=said)
        for said in self.participants.strangers(self.catalogue.files):
            yield Reason(kind="suite", message=said)

    def _suite(self) -> Suite:
        return Suite(
            version=gli.__version__,
            revision=_revision(self.root),
            catalogue_sha256=self.catalogue.sha256,
            files=self.participants.judging_files(self.root),
            plugins=self.participants.judging_plugins(),
        )

    def _since(self, phase: str | None, judgement: Judgement) -> SinceLast | None:
        """The comparison with the last complete run of a phase; None if there is no such run."""
        cell = self.environment.cell
        last = self.folder.last_whole(phase, cell.name if cell else None)
        return compared(last.checks, judgement.checks) if last is not None else None

    def _manifest(self, records: Iterable[Record]) -> tuple[dict[str, dict[str, str]], list[str]]:
        seen = {r.target: dict(r.observation) for r in records if r.probe == "revision" and r.observation}
        wanted = [r.name for r in self.environment.repositories] if self.environment.git else []
        return {n: seen[n] for n in wanted if n in seen}, [n for n in wanted if n not in seen]

    def _header(self) -> dict[str, Any]:
        return {
            "schema": RECORD_SCHEMA,
            "environment": self.environment.name,
            "phase": self.phase,
            "vantage": self.environment.vantage,
            "cell": self.environment.cell.name if self.environment.cell else None,
            "started": clock.rfc3339(self.started),
            "overlay": self.redactor.document(dict(self.overlay)),
        }

    def _lines(self) -> Iterable[dict[str, Any]]:
        """The records without secrets, in the format that a replay reads."""
        self.redact("")
        for record in self.observatory.records:
            line = record.model_dump(mode="json", exclude_none=True)
            if record.observation is not None:
                line["observation"] = self.redactor.document(line["observation"])
            if record.unknown is not None:
                line["unknown"]["message"] = of(record.unknown.message).without(self.redactor.text).document()
            yield line

    def _write(self, verdict: Verdict) -> Verdict:
        """Writes the verdict without secrets, and returns it as written. Raises `UsageError` if it can't be written."""
        self.redact("")
        return self.folder.write_clean(verdict, self.redactor.text)


def _with_attempts(result: Result, newest: Mapping[str, Record]) -> Result:
    attempts = max((newest[name].attempts for name in result.facts if name in newest), default=1)
    if result.outcome is Outcome.PASSED and attempts > 1:
        return result.but(attempts=attempts, seen=phrase("passed on attempt {}", attempts))
    return result.but(attempts=attempts)


def _not_asked(case: Case, why: Unknown, region: str) -> Result:
    """The result of a case if the identity is not confirmed: the identity check says why and blocks all others."""
    if case.check.id == IDENTITY:
        outcome = Outcome.FAILED if why.cause in ("wrong-account", "no-credentials") else Outcome.UNKNOWN
        return Result(check=case.check.id, target=case.target, outcome=outcome, seen=why.message, cause=why.cause)
    seen = phrase("not asked: the identity of the run is not confirmed")
    blocker = CaseKey(IDENTITY, region)
    return Result(check=case.check.id, target=case.target, outcome=Outcome.BLOCKED, seen=seen, blocked_by=blocker)


def _served(records: Iterable[Record]) -> dict[str, str | None]:
    """Service or frontend to the revision that it reported; None if its answers differ."""
    served: dict[str, str | None] = {}
    for record in records:
        if record.probe == "served_revisions" and record.observation:
            counts = record.observation["counts"]
            served[record.target] = next(iter(counts)) if len(counts) == 1 else None
        elif record.probe == "index" and record.observation:
            served[record.target] = record.observation["build"]
    return dict(sorted(served.items()))


def _revision(root: Path) -> str | None:
    """The commit of this project; None outside a git checkout."""
    try:
        return git("rev-parse", "HEAD", cwd=root, silence_s=5).strip() or None
    except (GitFailed, OSError, UsageError):
        return None


def fact_names(probes: Iterable[Any], target: str) -> tuple[str, ...]:
    """The names of the records behind a case's fixtures."""
    return tuple(fact_name(p.name, target if p.per_target else "") for p in probes)
