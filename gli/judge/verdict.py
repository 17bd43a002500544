"""The verdict: a pure function of what should have reported and what did.

GO needs a report from every case of the catalogue for this environment and phase, and from every blocking one `passed`,
`waived` or `not-applicable`. A case without a report is `missing`, which is not green. Other programs read this shape:
`schema` grows when a field changes its meaning.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from gli.common import clock
from gli.common.case_key import CaseKey
from gli.common.clock import rfc3339
from gli.common.sentences import Said, listed, phrase
from gli.config.catalogue import Case, Phase
from gli.config.waivers import Waiver
from gli.judge.coverage import Coverage
from gli.judge.outcome import Outcome, Redactable, Result, worst
from gli.judge.triage import Root, triage
from gli.judge.waiver import accepted, no_longer_needed

VALID_FOR_HOURS = 2
GO: Literal["GO"] = "GO"
NO_GO: Literal["NO-GO"] = "NO-GO"
_RED: tuple[tuple[Outcome, Literal["failed", "unknown"], str], ...] = (
    (Outcome.FAILED, "failed", "{} failed: {}"),
    (Outcome.UNKNOWN, "unknown", "{} unknown: {}"),
)


def _is_moment(text: str) -> str:
    clock.moment(text)
    return text


def _is_commit(part: dict[str, str]) -> dict[str, str]:
    lacking = sorted({"branch", "commit", "tree"} - part.keys())
    if lacking:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    return part


Moment = Annotated[str, AfterValidator(_is_moment)]
"""RFC 3339, with its zone."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class JudgingFile(Part):
    """One file that took part in judging."""

    module: str
    path: str
    """From the project's root, or from the folder that the package `gli` is in; absolute for a file of neither."""
    sha256: str
    """Of what was compiled."""


class Plugin(Part):
    """One plugin of pytest that took part, other than pytest's own."""

    name: str
    version: str | None
    tried: bool
    """Whether it is known to leave results alone (see `gli.run.participants.TRIED`)."""


class Suite(Part):
    """Which suite judged."""

    version: str
    revision: str | None
    catalogue_sha256: str
    files: tuple[JudgingFile, ...] = ()
    plugins: tuple[Plugin, ...] = ()


class Variables(Part):
    """Names of environment variables of the run that may change where a run looks, whom it trusts, or what runs."""

    ignored: tuple[str, ...] = ()
    """Removed from the run before it observed."""
    in_force: tuple[str, ...] = ()


class Reason(Part):
    """One thing that holds the verdict."""

    kind: Literal[
        "incomplete",  # the run did not come to its end
        "partial",  # the run did not select every case
        "missing",  # cases did not report
        "failed",
        "unknown",
        "blocked",
        "waiver",  # a waived case is green without its waiver
        "nothing",  # there was no case to judge
        "manifest",  # a repository's commit could not be read
        "clock",  # the machine's clock is behind those of the hosts that answered
        "suite",  # a file took part in judging that is not what the digest covers
        "cell",  # the run of a cell is lost, or can't count for it
    ]
    labels: tuple[str, ...] = ()
    """The cases that it is about, `api-health[api]`; for `manifest`, the repositories; for `cell`, the cells."""
    message: Said
    """The sentence of it that `reasons` holds, and what that was made from."""


class Accepted(Part):
    """The waiver that a red check carries: it stays red, and does not hold the verdict until it expires."""

    reason: Redactable
    owner: Redactable
    expires: Moment


class CheckLine(Part):
    """One case in the verdict."""

    id: str
    target: str
    outcome: Outcome
    severity: Literal["block", "warn"]
    phase: str
    blocked_by: str | None = None
    message: Redactable = ""
    """What was expected and seen, as one sentence."""
    expected: Said | None = None
    seen: Said = ""
    hint: Redactable = ""
    attempts: int = 1
    duration_s: float = 0.0
    facts: tuple[str, ...] = ()
    waiver: Accepted | None = None
    before_deploy: bool = False
    """Post-deploy: it was red in the pre-deploy run of the same environment already."""
    cells: tuple[str, ...] = ()
    """Of a merged verdict: the cells that reported this, the worst of what was reported."""

    @property
    def key(self) -> CaseKey:
        return CaseKey(self.id, self.target)


class RootCause(Part):
    """A red that no other red explains."""

    check: str
    target: str
    message: Redactable
    hint: Redactable
    explains: tuple[str, ...] = ()

    @property
    def key(self) -> CaseKey:
        return CaseKey(self.check, self.target)


class SinceLast(Part):
    """Labels of reds compared with the run before."""

    new: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


class SignOff(Part):
    """How far an item that people confirm has come."""

    needed: int
    """How many distinct people have to sign."""
    by: tuple[Redactable, ...] = ()
    """Who did, for these commits and not too long ago: `Name <e-mail>`."""


class ItemLine(Part):
    """One item of the checklist."""

    item: str
    heading: Redactable
    text: Redactable
    outcome: Literal["missing", "failed", "unknown", "blocked", "pending", "waived", "not-applicable", "passed"]
    """The worst of its checks; `pending` where only a sign-off is lacking."""
    checks: tuple[str, ...] = ()
    """The labels of the cases that prove it, `api-health[api]`."""
    sign_off: SignOff | None = None
    """None where machines prove it alone."""


class Joined(Part):
    """One run that a merged verdict rests on."""

    cell: str | None
    run: str
    digest: str
    """Of the run's own verdict."""
    verdict: Literal["GO", "NO-GO"]
    vantage: str
    account: str | None
    region: str | None
    started: Moment
    finished: Moment
    machine: str
    signer: str | None
    """The allowed signer whose valid signature it had; None if it had none."""


class Verdict(Part):
    """What `verdict.json` holds."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    schema_: Literal[1] = 1
    run: str = ""
    """The name of the folder that the run wrote it to: it tells a copy under another name. Empty in old verdicts."""
    verdict: Literal["GO", "NO-GO"]
    reasons: tuple[Redactable, ...]
    """Sentences, worst first; empty for GO."""
    held_by: tuple[Reason, ...] = ()
    """The same reasons, each with its kind and its cases. Empty in old verdicts."""
    environment: str
    phase: Phase | None
    vantage: str
    cell: str | None = None
    """The cell that the run was made from; None for a run that was to see everything, and for a merged verdict."""
    merged: tuple[Joined, ...] = ()
    """The runs of cells that a merged verdict rests on."""
    replayed: bool = False
    """Judged from a recorded run: no gate takes it."""
    started: Moment
    finished: Moment
    expires: Moment
    ends_by: Moment | None = None
    """Of a run that has not ended: until when it may be under way."""
    machine: str = ""
    """What tells the clock of one machine from that of another; nothing else is known of it."""
    machine_s: float | None = None
    """Seconds from the machine's start to the end of the run. They order runs of one machine, whatever its clock."""
    clock_behind_s: float | None = None
    """By how much the machine's clock is behind those of the hosts that answered; None where none said its time."""
    variables: Variables = Variables()
    suite: Suite
    account: str | None = None
    region: str | None = None
    """The region that AWS was asked in."""
    manifest: dict[str, Annotated[dict[str, str], AfterValidator(_is_commit)]] = {}
    served: dict[str, Redactable | None] = {}
    counts: dict[Outcome, int] = {}
    requests: dict[str, int] = {}
    coverage: Coverage | None = None
    """What was judged of the catalogue; None in old verdicts."""
    checks: tuple[CheckLine, ...] = ()
    reported: tuple[Result, ...] = ()
    """Of the run of a cell: what each case came to before it was judged, for the merge."""
    root_causes: tuple[RootCause, ...] = ()
    checklist: tuple[ItemLine, ...] = ()
    since_last: SinceLast = SinceLast()
    since_pre_deploy: SinceLast | None = None
    """Post-deploy: compared with the pre-deploy run of the same environment."""
    digest: str = ""
    """Of the rest of the document, as it was written."""

    @model_validator(mode="after")
    def _reasons_agree(self) -> Verdict:
        if self.held_by and tuple(map(str, (r.message for r in self.held_by))) != self.reasons:
            raise ValueError("reasons and held_by do not say the same")
        return self

    @property
    def go(self) -> bool:
        return self.verdict == GO

    def is_held_by(self, *kinds: str) -> bool:
        """Whether one of its reasons is of these kinds."""
        return any(reason.kind in kinds for reason in self.held_by)

    @property
    def whole(self) -> bool:
        """Whether the run came to its end with every case; False where the verdict does not say."""
        return (self.go or bool(self.held_by)) and not self.is_held_by("incomplete", "partial", "cell")

    @property
    def as_of(self) -> str:
        """When it was observed, for the order of verdicts: a merged GO is as old as the first of its runs to end, and a
        merged NO-GO as new as the last.
        """
        first_or_last = min if self.go else max
        return first_or_last((part.finished for part in self.merged), key=clock.moment, default=self.finished)

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

    `interrupted` says why the run did not come to its end, `partial` how it was narrowed; either is NO-GO.
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
    """The reds of this run beside those of an earlier one."""
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
        hint=case.check.remedy.en if result.outcome.red or waived else "",
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
        hint=case.check.remedy.en,
        explains=tuple(root.explains),
    )
