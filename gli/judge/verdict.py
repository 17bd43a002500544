"""The verdict: a pure function of what should have reported and what did.

Green has to be earned: every case of the catalogue for this environment and phase must have reported, every
blocking one as passed (or waived, or not applicable). What did not report is `missing`, and nothing missing is
green. The shape is the contract that other programs read: `schema` grows when it changes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from gli.common import clock
from gli.common.clock import rfc3339
from gli.config.catalogue import Case, Phase
from gli.config.waivers import Waiver
from gli.judge.outcome import Outcome, Result, Words, worst
from gli.judge.triage import Root, triage
from gli.judge.waiver import accepted, no_longer_needed

VALID_FOR_HOURS = 2
GO: Literal["GO"] = "GO"
NO_GO: Literal["NO-GO"] = "NO-GO"


def _is_moment(text: str) -> str:
    clock.moment(text)
    return text


def _is_commit(part: dict[str, str]) -> dict[str, str]:
    lacking = sorted({"branch", "commit", "tree"} - part.keys())
    if lacking:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    return part


def _hidden(reason: str, info: ValidationInfo) -> str:
    """Its first word may say what kind it is: that is no text."""
    kind, colon, rest = reason.partition(": ")
    if not info.context:
        return reason
    return f"{kind}{colon}{info.context(rest)}" if kind in ("incomplete", "partial") else str(info.context(reason))


Reason = Annotated[str, AfterValidator(_hidden)]
Moment = Annotated[str, AfterValidator(_is_moment)]
"""RFC 3339, with its zone."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Suite(Part):
    """Which suite judged."""

    version: str
    revision: str | None
    catalogue_sha256: str


class Accepted(Part):
    """The waiver that a red check carries: it stays red, and does not hold the verdict until it expires."""

    reason: Words
    owner: Words
    expires: Moment


class CheckLine(Part):
    """One case in the verdict."""

    id: str
    target: str
    outcome: Outcome
    severity: Literal["block", "warn"]
    phase: str
    blocked_by: str | None = None
    message: Words = ""
    hint: Words = ""
    attempts: int = 1
    duration_s: float = 0.0
    facts: tuple[str, ...] = ()
    waiver: Accepted | None = None
    before_deploy: bool = False
    """Post-deploy: it was red in the pre-deploy run of the same environment already."""


class RootCause(Part):
    """A red that no other red explains."""

    check: str
    target: str
    message: Words
    hint: Words
    explains: tuple[str, ...] = ()


class SinceLast(Part):
    """Labels of reds compared with the run before."""

    new: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


class SignOff(Part):
    """How far an item that people confirm has come."""

    needed: int
    """How many distinct people have to sign."""
    by: tuple[Words, ...] = ()
    """Who did, for these commits and not too long ago: `Name <e-mail>`."""


class ItemLine(Part):
    """One item of the checklist."""

    item: str
    heading: Words
    text: Words
    outcome: Literal["missing", "failed", "unknown", "blocked", "pending", "waived", "not-applicable", "passed"]
    """The worst of its checks; `pending` where only a sign-off is lacking."""
    checks: tuple[str, ...] = ()
    """The labels of the cases that prove it, `api-health[api]`."""
    sign_off: SignOff | None = None
    """None where machines prove it alone."""


class Verdict(Part):
    """What `verdict.json` holds."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    schema_: Literal[1] = 1
    run: str = ""
    """The name of the folder that the run wrote it to: a copy under another name is told by it. Empty in verdicts of
    old."""
    verdict: Literal["GO", "NO-GO"]
    reasons: tuple[Reason, ...]
    environment: str
    phase: Phase | None
    vantage: str
    replayed: bool = False
    """Judged from a recorded run: no gate takes it."""
    started: Moment
    finished: Moment
    expires: Moment
    suite: Suite
    account: str | None = None
    manifest: dict[str, Annotated[dict[str, str], AfterValidator(_is_commit)]] = {}
    served: dict[str, Words | None] = {}
    counts: dict[Outcome, int] = {}
    requests: dict[str, int] = {}
    checks: tuple[CheckLine, ...] = ()
    root_causes: tuple[RootCause, ...] = ()
    checklist: tuple[ItemLine, ...] = ()
    since_last: SinceLast = SinceLast()
    since_pre_deploy: SinceLast | None = None
    """Post-deploy: compared with the pre-deploy run of the same environment."""
    digest: str = ""
    """Of the rest of the document, as it was written."""

    @property
    def go(self) -> bool:
        return self.verdict == GO

    def document(self) -> dict[str, Any]:
        """As `verdict.json` has it."""
        whole = self.model_dump(mode="json")
        return {"schema": whole.pop("schema_"), **whole}

    def without(self, hide: Callable[[str], str]) -> Verdict:
        """The same with everything that is text for people passed through `hide`."""
        return Verdict.model_validate(self.model_dump(), context=hide)

    @classmethod
    def of(cls, document: Any) -> Verdict:
        """The verdict that a document holds; raises `ValueError` for one that is none, or of another schema."""
        if not isinstance(document, dict) or "schema" not in document:
            raise ValueError("it has no schema")
        return cls.model_validate({**document, "schema_": document["schema"]})


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a verdict's document without its own `digest`: what tells an edited file from the one a run wrote."""
    rest = {k: v for k, v in document.items() if k != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Judgement(Part):
    """The part of a verdict that follows from the outcomes alone."""

    verdict: Literal["GO", "NO-GO"]
    reasons: tuple[str, ...]
    counts: dict[Outcome, int]
    checks: tuple[CheckLine, ...]
    root_causes: tuple[RootCause, ...]


def judge(
    cases: Sequence[Case],
    reports: Iterable[Result],
    *,
    language: str = "en",
    interrupted: str | None = None,
    partial: str | None = None,
    waivers: Mapping[tuple[str, str], Waiver] = MappingProxyType({}),
) -> Judgement:
    """GO or NO-GO for the cases that should have reported, with the reasons, worst first.

    `interrupted` says why the run did not come to its end, `partial` how it was narrowed; either is NO-GO.
    """
    results = reconciled(cases, reports)
    marked, roots = triage(cases, results)
    marked = accepted(marked, waivers)
    roots = [r for r in roots if r.explains or marked[r.result.key].outcome is not Outcome.WAIVED]
    by_label = {c.label: c for c in cases}
    lines = tuple(_line(c, marked[c.key], waivers.get(c.key), language) for c in cases)
    reasons = [*([f"incomplete: {interrupted}"] if interrupted else []), *([f"partial: {partial}"] if partial else [])]
    reasons += _reasons(cases, marked, roots)
    reasons += no_longer_needed(marked, waivers)
    if not cases:
        reasons.append("nothing to judge: the environment has no target for any check of this phase")
    counts = Counter(r.outcome for r in marked.values())
    return Judgement(
        verdict=NO_GO if reasons else GO,
        reasons=tuple(reasons),
        counts={o: counts[o] for o in Outcome if counts[o]},
        checks=tuple(sorted(lines, key=lambda line: line.outcome.rank)),
        root_causes=tuple(_root(by_label[r.result.label], marked[r.result.key], r, language) for r in roots),
    )


def compared(before: Iterable[Mapping[str, Any]], now: Sequence[CheckLine]) -> SinceLast:
    """The reds of this run beside those of an earlier one (the `checks` of its `verdict.json`)."""
    was_red = {_label(c["id"], c["target"]) for c in before if not _clean(Outcome(c["outcome"]))}
    red = [_label(c.id, c.target) for c in now if not _clean(c.outcome)]
    green = {_label(c.id, c.target) for c in now if _clean(c.outcome)}
    return SinceLast(
        new=tuple(label for label in red if label not in was_red),
        still=tuple(label for label in red if label in was_red),
        fixed=tuple(sorted(was_red & green)),
    )


def _clean(outcome: Outcome) -> bool:
    """Whether there is nothing to mend: a waived failure holds no verdict, and is there all the same."""
    return outcome.green and outcome is not Outcome.WAIVED


def _label(check: str, target: str) -> str:
    return f"{check}[{target}]"


def reconciled(cases: Sequence[Case], reports: Iterable[Result]) -> dict[tuple[str, str], Result]:
    """One result for each case: the worst that it reported, or `missing`. Reports on no case are not counted."""
    by_key: dict[tuple[str, str], list[Result]] = {c.key: [] for c in cases}
    for report in reports:
        if report.key in by_key:
            by_key[report.key].append(report)
    silent = "it did not report: it was not run, or its report was lost"
    return {
        (check, target): worst(found)
        if found
        else Result(check=check, target=target, outcome=Outcome.MISSING, message=silent)
        for (check, target), found in by_key.items()
    }


def _reasons(cases: Sequence[Case], marked: Mapping[tuple[str, str], Result], roots: Sequence[Root]) -> Iterable[str]:
    missing = [c.label for c in cases if marked[c.key].outcome is Outcome.MISSING]
    if missing:
        yield f"{len(missing)} of {len(cases)} cases did not report: {some(missing)}"
    holding = [c for c in cases if c.severity == "block" and marked[c.key].outcome.red]
    named = {r.result.key for r in roots}
    for outcome in (Outcome.FAILED, Outcome.UNKNOWN):
        found = [c for c in holding if marked[c.key].outcome is outcome]
        for case in sorted(found, key=lambda c: c.key not in named):
            yield f"{case.label} {outcome.value}: {marked[case.key].message}"
    blocked = [c.label for c in holding if marked[c.key].outcome is Outcome.BLOCKED]
    if blocked:
        yield f"{len(blocked)} blocked by root causes: {some(blocked)}"


def some(labels: Sequence[str], most: int = 5) -> str:
    """The first few labels, and how many more there are."""
    return ", ".join(labels[:most]) + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _line(case: Case, result: Result, waiver: Waiver | None, language: str) -> CheckLine:
    waived = waiver if result.outcome is Outcome.WAIVED else None
    return CheckLine(
        id=case.check.id,
        target=case.target,
        outcome=result.outcome,
        severity=case.severity,
        phase=case.check.phase,
        blocked_by=result.blocked_by,
        message=result.message,
        hint=case.check.remedy.of(language) if result.outcome.red or waived else "",
        attempts=result.attempts,
        duration_s=result.duration_s,
        facts=result.facts,
        waiver=Accepted(reason=waived.reason, owner=waived.owner, expires=rfc3339(waived.ends)) if waived else None,
    )


def _root(case: Case, result: Result, root: Root, language: str) -> RootCause:
    return RootCause(
        check=case.check.id,
        target=case.target,
        message=result.message,
        hint=case.check.remedy.of(language),
        explains=tuple(root.explains),
    )
