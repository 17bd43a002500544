"""One verdict from the runs of an environment's cells: a pure function of their verdicts.

Each case is judged by what the cells that can see it reported, the worst of them if they differ, and all cases together
as those of one run: a cause that one cell saw explains the symptom of another. A run that is lost, that came twice, or
that can't count for its cell makes the merged verdict NO-GO, with a reason that names the cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TypeVar

import gli
from gli.common import clock
from gli.common.case_key import CaseKey
from gli.common.clock import CLOCKS_DIFFER, rfc3339
from gli.common.sentences import Phrase, listed, of, phrase
from gli.common.verdict_file import GO, NO_GO
from gli.config.catalogue import Catalogue
from gli.config.check import Case
from gli.config.environments import Environment
from gli.config.phases import Phase
from gli.config.waivers import Waiver
from gli.judge.checklist import Signatures, item_lines
from gli.judge.coverage import coverage
from gli.judge.judgement import Judgement, compared, judge, marked, reconciled, summed
from gli.judge.outcome import Outcome, Result
from gli.judge.verdict import VALID_FOR_HOURS, Joined, Reason, SinceLast, Suite, Variables, Verdict

ROUND = timedelta(minutes=30)
"""How long after the first run of a round the last one may begin."""
_OF_THE_CASES = ("missing", "failed", "unknown", "blocked", "waiver", "nothing")
"""The kinds of reasons that follow from the outcomes: they are worked out again for the merged verdict."""
T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """The verdict of one of the merged runs, and the state of its file."""

    verdict: Verdict
    unchanged: bool
    """Whether the file is unchanged since the run wrote it."""
    signer: str | None = None
    """The allowed signer who signed the file; None if there is no valid signature of one."""


@dataclass(frozen=True)
class Round:
    """What the cells of an environment reported for one phase."""

    catalogue: Catalogue
    environment: Environment
    phase: Phase | None
    given: Sequence[Given]
    must_be_signed: bool
    now: datetime

    @cached_property
    def sides(self) -> Mapping[str, Environment]:
        """The environment as each of its cells sees it."""
        return {name: self.environment.as_cell(name) for name in self.environment.cells}

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Every case that the cells must report together."""
        return self.catalogue.cases_of_cells(self.environment, self.phase)

    @cached_property
    def manifest(self) -> dict[str, dict[str, str]]:
        """The commits that every cell verified; empty if they differ."""
        return (_common(g.verdict.manifest for g in self.given) or {}) if self.given else {}

    def of(self, cell: str) -> list[Given]:
        """The runs of a cell."""
        return [g for g in self.given if g.verdict.cell == cell]

    def verdict(
        self,
        run: str,
        *,
        waivers: Mapping[CaseKey, Waiver],
        signed: Signatures,
        last: Verdict | None = None,
        before: Verdict | None = None,
    ) -> Verdict:
        """The merged verdict, for the run folder `run`. `last` is the last whole verdict of the phase; `before` is that
        of the pre-deploy phase, where this is the post-deploy phase.
        """
        results = list(self._results())
        judgement = judge(self.cases, [result for _, result in results], waivers=waivers)
        reporters = _reporters(results)
        held_by = (*self.losses(), *judgement.reasons)
        since_pre_deploy = _since(before, judgement)
        parts = [g.verdict for g in self.given]
        finished = max((p.finished for p in parts), key=clock.moment, default=rfc3339(self.now))
        machine = _common(p.machine for p in parts) or ""
        seconds = [p.machine_s for p in parts if p.machine_s is not None]
        behind = [p.clock_behind_s for p in parts if p.clock_behind_s is not None]
        return Verdict(
            run=run,
            verdict=NO_GO if held_by else GO,
            reasons=tuple(str(r.message) for r in held_by),
            held_by=held_by,
            environment=self.environment.name,
            phase=self.phase,
            vantage=" + ".join(sorted({cell.vantage for cell in self.environment.cells.values()})),
            merged=tuple(map(_joined, self.given)),
            started=min((p.started for p in parts), key=clock.moment, default=rfc3339(self.now)),
            finished=finished,
            expires=min((p.expires for p in parts), key=clock.moment, default=finished),
            machine=machine,
            machine_s=(max if held_by else min)(seconds) if machine and len(seconds) == len(parts) else None,
            clock_behind_s=max(behind, default=None),
            variables=Variables(
                ignored=_all(p.variables.ignored for p in parts), in_force=_all(p.variables.in_force for p in parts)
            ),
            suite=Suite(
                version=gli.__version__,
                revision=_common(p.suite.revision for p in parts),
                catalogue_sha256=self.catalogue.sha256,
                files=tuple(dict.fromkeys(f for p in parts for f in p.suite.files)),
                plugins=tuple(dict.fromkeys(plugin for p in parts for plugin in p.suite.plugins)),
            ),
            account=_common(p.account for p in parts),
            region=_common(p.region for p in parts),
            manifest=self.manifest,
            served=_served(parts),
            counts=judgement.counts,
            requests=summed(p.requests for p in parts),
            coverage=coverage(
                self.catalogue, self.environment, self.phase, ((c.key, c.outcome) for c in judgement.checks)
            ),
            checks=tuple(
                c.model_copy(update={"cells": reporters.get(c.key, ())})
                for c in marked(judgement.checks, since_pre_deploy)
            ),
            root_causes=judgement.root_causes,
            checklist=item_lines(self.catalogue, self.environment, self.phase, judgement.checks, signed),
            since_last=_since(last, judgement) or SinceLast(),
            since_pre_deploy=since_pre_deploy,
        )

    def _results(self) -> Iterator[tuple[str, Result]]:
        """Each cell with what it reported on the cases that it can see, `missing` if it reported nothing; no cell with
        `unknown` for each case that none can see.
        """
        seen: set[CaseKey] = set()
        for name, side in self.sides.items():
            cell = self.environment.cells[name]
            cases = self.catalogue.cases(side, self.phase)
            own = [c for c in cases if c.not_applicable is not None or c.seen_by(cell)]
            seen |= {c.key for c in own}
            for given in self.of(name):  # no run accepts a failure before it is judged
                found = (r for r in given.verdict.reported if r.outcome is not Outcome.WAIVED)
                yield from ((name, r) for r in reconciled(own, found).values())
        said = phrase("no cell of {} can see it: name it in the sees of one", self.environment.name)
        for case in self.cases:
            if case.key not in seen:
                key = case.key
                unseen = Result(check=key.check, target=key.target, outcome=Outcome.UNKNOWN, seen=said, cause="vantage")
                yield "", unseen

    def losses(self) -> list[Reason]:
        """A reason for each cell without a run, for each run of no cell, and for each run that can't count."""
        found = []
        for name in self.environment.cells:
            runs = self.of(name)
            if not runs:
                found.append(_reason(name, phrase("the cell {} is lost: there is no run of it", name)))
            elif len(runs) > 1:
                named = listed(g.verdict.run for g in runs)
                found.append(_reason(name, phrase("the cell {} came {} times, in {}", name, len(runs), named)))
        for given in self.given:
            cell, run = given.verdict.cell, given.verdict.run
            if cell is None:
                found.append(_reason("", phrase("the run {} is of no cell: it was made without --cell", run)))
            elif cell not in self.sides:
                said = phrase("the run {} is of {}, which is no cell of {}", run, cell, self.environment.name)
                found.append(_reason(cell, said))
            else:
                for why in self._against(given, self.sides[cell]):
                    found.append(_reason(cell, phrase("the run {} of the cell {}: {}", run, cell, why)))
        return found

    def _against(self, given: Given, side: Environment) -> Iterator[Phrase]:
        """The reasons why a run can't count for its cell."""
        verdict = given.verdict
        if not given.unchanged:
            yield phrase("the file was edited after the run wrote it")
        if self.must_be_signed and given.signer is None:
            yield phrase("no allowed signer has signed it")
        if verdict.replayed:
            yield phrase("it is a replay")
        yield from (said for said, wrong in self._elsewhere(verdict, side) if wrong)
        yield from self._untimely(verdict)
        if not verdict.go and not verdict.held_by:
            yield phrase("it is NO-GO, and does not say of what kind its reasons are")
        own = [r for r in verdict.held_by if r.kind not in _OF_THE_CASES]
        yield from (of(reason.message) for reason in own)
        if not verdict.is_held_by("incomplete", "partial", "manifest"):
            yield from self._other_commits(verdict)

    def _elsewhere(self, verdict: Verdict, side: Environment) -> Iterator[tuple[Phrase, bool]]:
        name, aws = self.environment.name, side.aws
        yield phrase("it verified {}, not {}", verdict.environment, name), verdict.environment != name
        every, none = phrase("all phases"), phrase("none")
        yield phrase("it is of {}, not of {}", verdict.phase or every, self.phase or every), verdict.phase != self.phase
        other = verdict.suite.catalogue_sha256 != self.catalogue.sha256
        yield phrase("another catalogue judged it: the files of its suite are not those here"), other
        yield phrase("it was made from {}, not from {}", verdict.vantage, side.vantage), verdict.vantage != side.vantage
        if aws is not None:
            account, own = verdict.account or none, aws.account_id or none
            yield phrase("it is of the account {}, not of {}", account, own), verdict.account != aws.account_id
            said = phrase("it asked AWS in the region {}, not in {}", verdict.region or none, aws.region)
            yield said, verdict.region != aws.region

    def _untimely(self, verdict: Verdict) -> Iterator[Phrase]:
        finished = clock.moment(verdict.finished)
        expires = min(clock.moment(verdict.expires), finished + timedelta(hours=VALID_FOR_HOURS))
        first = min(clock.moment(g.verdict.started) for g in self.given)
        if verdict.ends_by is not None and self.now <= clock.moment(verdict.ends_by):
            yield phrase("it may be under way until {}", verdict.ends_by)
        if self.now > expires:
            yield phrase("it expired at {}", rfc3339(expires))
        if finished > self.now + CLOCKS_DIFFER:
            yield phrase("it is from the future: set the clocks right")
        if clock.moment(verdict.started) > first + ROUND:
            minutes = round(ROUND.total_seconds() / 60)
            yield phrase("it began at {}, more than {} minutes after the first run", verdict.started, minutes)

    def _other_commits(self, verdict: Verdict) -> Iterator[Phrase]:
        wanted = [r.name for r in self.environment.repositories] if self.environment.git else []
        unread = [name for name in wanted if name not in verdict.manifest]
        if unread:
            yield phrase("it could not read the commits of {}", listed(unread))
            return
        first = next(g.verdict for g in self.given if g.verdict.cell in self.sides)
        known = {*wanted, *first.manifest, *verdict.manifest}
        moved = sorted(name for name in known if first.manifest.get(name) != verdict.manifest.get(name))
        if moved and first.manifest:
            yield phrase("it is of other commits than the cell {}, of {}", first.cell or "", listed(moved))


def _reason(cell: str, said: Phrase) -> Reason:
    return Reason(kind="cell", labels=(cell,) if cell else (), message=said)


def _reporters(results: Iterable[tuple[str, Result]]) -> dict[CaseKey, tuple[str, ...]]:
    """Each case with the cells that reported the worst of it."""
    found: dict[CaseKey, dict[int, list[str]]] = {}
    for cell, result in results:
        named = found.setdefault(result.key, {}).setdefault(result.outcome.rank, [])
        if cell and cell not in named:
            named.append(cell)
    return {key: tuple(by_rank[min(by_rank)]) for key, by_rank in found.items()}


def _joined(given: Given) -> Joined:
    part = given.verdict
    return Joined(
        cell=part.cell,
        run=part.run,
        digest=part.digest,
        verdict=part.verdict,
        vantage=part.vantage,
        account=part.account,
        region=part.region,
        started=part.started,
        finished=part.finished,
        machine=part.machine,
        signer=given.signer,
    )


def _since(last: Verdict | None, judgement: Judgement) -> SinceLast | None:
    return compared(last.checks, judgement.checks) if last is not None else None


def _common(values: Iterable[T]) -> T | None:
    """The common value; None if the values differ."""
    found = [*values]
    return found[0] if found and all(other == found[0] for other in found) else None


def _all(values: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in values for name in names}))


def _served(parts: Sequence[Verdict]) -> dict[str, str | None]:
    """Service or frontend to the revision that every cell saw; None if they saw different ones."""
    names = sorted({name for part in parts for name in part.served})
    return {name: _common(part.served[name] for part in parts if name in part.served) for name in names}
