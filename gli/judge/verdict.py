"""The shape of `verdict.json`. Other programs read this shape: `schema` grows when a field changes its meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from gli.common import clock
from gli.common.case_key import CaseKey
from gli.common.sentences import Said
from gli.common.verdict_file import GO
from gli.config.phases import Phase
from gli.judge.coverage import Coverage
from gli.judge.outcome import Outcome, Redactable, Result

VALID_FOR_HOURS = 2


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
    facts_sha256: str = ""
    """Of the `facts.jsonl` beside it, as the run wrote it; empty in old verdicts, and without such a file."""
    digest: str = ""
    """Of the rest of the document, as it was written."""

    @model_validator(mode="after")
    def _reasons_agree(self) -> Verdict:
        if self.held_by and tuple(map(str, (r.message for r in self.held_by))) != self.reasons:
            raise ValueError("reasons and held_by do not say the same")
        if self.go and (self.reasons or self.held_by):
            raise ValueError("it is a GO with reasons against it")
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
        if not isinstance(document, dict) or type(document.get("schema")) is not int:  # `true` is equal to 1
            raise ValueError("it has no schema")
        return cls.model_validate({**document, "schema_": document["schema"]})
