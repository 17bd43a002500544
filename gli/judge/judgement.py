"""The judgement: a pure function of what should have reported and what did.

GO needs a report from every case of the catalogue for this environment and phase, and from every blocking one `passed`,
`waived` or `not-applicable`. A case without a report is `missing`, which is not green.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from gli.common.case_key import CaseKey
from gli.common.clock import rfc3339
from gli.common.sentences import listed, phrase
from gli.common.verdict_file import GO, NO_GO
from gli.config.check import Case
from gli.config.waivers import Waiver
from gli.judge.outcome import Outcome, Result, worst
from gli.judge.triage import Root, triage
from gli.judge.verdict import Accepted, CheckLine, Part, Reason, RootCause, SinceLast
from gli.judge.waiver import accepted, no_longer_needed

_RED: tuple[tuple[Outcome, Literal["failed", "unknown"], str], ...] = (
    (Outcome.FAILED, "failed", "{} failed: {}"),
    (Outcome.UNKNOWN, "unknown", "{} unknown: {}"),
)

_OF_THE_RUN: Mapping[str, str] = MappingProxyType(
    {
        "access-denied": phrase("Grant this run the right that the message names, and run it again."),
        "no-connection": phrase(
            "Let the connection through: look at the host, its security group, network ACL and routes. If users reach "
            "the host, this runner is cut off: look at the runner's own way out."
        ),
        "slow-runner": phrase("Run it again on a runner with less to do."),
        "unsupported": phrase('Say in environments.toml why the part is not verified: [ENV.PART] absent = "why".'),
        "throttled": phrase("Wait a few minutes, and run it again."),
    }
)
"""Cause of an `unknown` to its remedy. The remedy of the check would be wrong here: the target was not observed."""


class Judgement(Part):
    """The part of a verdict that follows from the outcomes alone."""

    verdict: Literal["GO", "NO-GO"]
    reasons: tuple[Reason, ...]
    counts: dict[Outcome, int]
    checks: tuple[CheckLine, ...]
    root_causes: tuple[RootCause, ...]


def judge(
    cases: Sequence[Case],
    reports: Iterable[Result],
    *,
    interrupted: str | None = None,
    partial: str | None = None,
    waivers: Mapping[CaseKey, Waiver] = MappingProxyType({}),
) -> Judgement:
    """GO or NO-GO for the cases that should have reported, with the reasons, worst first.

    `interrupted` says why the run did not end, `partial` which cases were left out; each of them makes a NO-GO.
    """
    results = reconciled(cases, reports)
    marked, roots = triage(cases, results)
    marked = accepted(marked, waivers)
    roots = [r for r in roots if r.explains or marked[r.result.key].outcome is not Outcome.WAIVED]
    by_key = {c.key: c for c in cases}
    lines = tuple(_line(c, marked[c.key], waivers.get(c.key)) for c in cases)
    reasons: list[Reason] = []
    if interrupted:
        reasons.append(Reason(kind="incomplete", message=phrase("incomplete: {}", interrupted)))
    if partial:
        reasons.append(Reason(kind="partial", message=phrase("partial: {}", partial)))
    reasons += _reasons(cases, marked, roots)
    for key, outcome in no_longer_needed(marked, waivers).items():
        said = phrase("the waiver of {} is no longer needed: it is {}; take it out", key, phrase(outcome))
        reasons.append(Reason(kind="waiver", labels=(str(key),), message=said))
    if not cases:
        nothing = phrase("nothing to judge: the environment has no target for any check of this phase")
        reasons.append(Reason(kind="nothing", message=nothing))
    elif all(r.outcome is Outcome.NOT_APPLICABLE for r in marked.values()):
        nothing = phrase("nothing to judge: every case of this phase is declared not applicable")
        reasons.append(Reason(kind="nothing", message=nothing))
    counts = Counter(r.outcome for r in marked.values())
    return Judgement(
        verdict=NO_GO if reasons else GO,
        reasons=tuple(reasons),
        counts={o: counts[o] for o in Outcome if counts[o]},
        checks=tuple(sorted(lines, key=lambda line: line.outcome.rank)),
        root_causes=tuple(_root(by_key[r.result.key], marked[r.result.key], r) for r in roots),
    )


def compared(before: Iterable[CheckLine], now: Sequence[CheckLine]) -> SinceLast:
    """The red cases of this run compared with the red cases of an earlier run."""
    was_red = {str(c.key) for c in before if not _clean(c.outcome)}
    red = [str(c.key) for c in now if not _clean(c.outcome)]
    green = {str(c.key) for c in now if _clean(c.outcome)}
    return SinceLast(
        new=tuple(label for label in red if label not in was_red),
        still=tuple(label for label in red if label in was_red),
        fixed=tuple(sorted(was_red & green)),
    )


def marked(checks: Sequence[CheckLine], before: SinceLast | None) -> tuple[CheckLine, ...]:
    """The lines, with a mark on each check that was red before the deployment already."""
    still = before.still if before is not None else ()
    return tuple(c.model_copy(update={"before_deploy": str(c.key) in still}) for c in checks)


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sums of the numbers by their names, sorted."""
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))


def _clean(outcome: Outcome) -> bool:
    """Whether there is nothing to mend: a waived failure does not hold the verdict, but still waits to be mended."""
    return outcome.green and outcome is not Outcome.WAIVED


def reconciled(cases: Sequence[Case], reports: Iterable[Result]) -> dict[CaseKey, Result]:
    """One result for each case: the worst that it reported, or `missing`. Reports on no case are not counted."""
    by_key: dict[CaseKey, list[Result]] = {c.key: [] for c in cases}
    for report in reports:
        if report.key in by_key:
            by_key[report.key].append(report)
    silent = phrase("it did not report: it was not run, or its report was lost")
    return {
        key: worst(found) if found else Result(check=key.check, target=key.target, outcome=Outcome.MISSING, seen=silent)
        for key, found in by_key.items()
    }


def _reasons(cases: Sequence[Case], marked: Mapping[CaseKey, Result], roots: Sequence[Root]) -> Iterable[Reason]:
    missing = [str(c.key) for c in cases if marked[c.key].outcome is Outcome.MISSING]
    if missing:
        said = phrase("{} of {} cases did not report: {}", len(missing), len(cases), listed(missing))
        yield Reason(kind="missing", labels=tuple(missing), message=said)
    holding = [c for c in cases if c.severity == "block" and marked[c.key].outcome.red]
    named = {r.result.key for r in roots}
    for outcome, kind, template in _RED:
        found = [c for c in holding if marked[c.key].outcome is outcome]
        for case in sorted(found, key=lambda c: c.key not in named):
            said = phrase(template, case.key, marked[case.key].sentence)
            yield Reason(kind=kind, labels=(str(case.key),), message=said)
    blocked = [str(c.key) for c in holding if marked[c.key].outcome is Outcome.BLOCKED]
    if blocked:
        said = phrase("{} blocked by root causes: {}", len(blocked), listed(blocked))
        yield Reason(kind="blocked", labels=tuple(blocked), message=said)


def _line(case: Case, result: Result, waiver: Waiver | None) -> CheckLine:
    waived = waiver if result.outcome is Outcome.WAIVED else None
    return CheckLine(
        id=case.check.id,
        target=case.target,
        outcome=result.outcome,
        severity=case.severity,
        phase=case.check.phase,
        blocked_by=str(result.blocked_by) if result.blocked_by else None,
        message=str(result.sentence),
        expected=result.expected,
        seen=result.seen,
        hint=_remedy(case, result) if result.outcome.red or waived else "",
        attempts=result.attempts,
        duration_s=result.duration_s,
        facts=result.facts,
        waiver=Accepted(reason=waived.reason, owner=waived.owner, expires=rfc3339(waived.ends)) if waived else None,
    )


def _root(case: Case, result: Result, root: Root) -> RootCause:
    return RootCause(
        check=case.check.id,
        target=case.target,
        message=str(result.sentence),
        hint=_remedy(case, result),
        explains=tuple(root.explains),
    )


def _remedy(case: Case, result: Result) -> str:
    return _OF_THE_RUN.get(result.cause or "", case.check.remedy.en)
