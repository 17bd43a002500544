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
    """The digest of the source that Python compiled."""


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
    """The sentence that `reasons` holds too, here with the template and the values that it is made of."""


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
    """In a post-deploy run: whether the case was red in the pre-deploy run of the environment."""
    cells: tuple[str, ...] = ()
    """In a merged verdict: the cells that reported this outcome, which is the worst outcome that any cell reported."""

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
    """The people whose signatures for these commits are recent enough: `Name <e-mail>`."""


class ItemLine(Part):
    """One item of the checklist."""

    item: str
    heading: Redactable
    text: Redactable
    outcome: Literal["missing", "failed", "unknown", "blocked", "pending", "waived", "not-applicable", "passed"]
    """The worst outcome of its checks; `pending` if only a sign-off is missing."""
    checks: tuple[str, ...] = ()
    """The labels of the cases that prove it, `api-health[api]`."""
    sign_off: SignOff | None = None
    """None if checks alone prove the item."""


class Joined(Part):
    """One run that a merged verdict rests on."""

    cell: str | None
    run: str
    digest: str
    """The digest of the run's own verdict."""
    verdict: Literal["GO", "NO-GO"]
    vantage: str
    account: str | None
    region: str | None
    started: Moment
    finished: Moment
    machine: str
    signer: str | None
    """The allowed signer who signed the verdict; None if there is no valid signature of one."""


class Verdict(Part):
    """What `verdict.json` holds."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    schema_: Literal[1] = 1
    run: str = ""
    """The name of the run's folder. A verdict in a folder of another name is a copy. Empty in old verdicts."""
    verdict: Literal["GO", "NO-GO"]
    reasons: tuple[Redactable, ...]
    """Sentences, worst first; empty for GO."""
    held_by: tuple[Reason, ...] = ()
    """The same reasons, each with its kind and its cases. Empty in old verdicts."""
    environment: str
    phase: Phase | None
    vantage: str
    cell: str | None = None
    """The cell that made the run; None for a run that sees the whole environment, and for a merged verdict."""
    merged: tuple[Joined, ...] = ()
    """The runs of cells that a merged verdict rests on."""
    replayed: bool = False
    """Whether a recorded run was judged: no gate accepts such a verdict."""
    started: Moment
    finished: Moment
    expires: Moment
    ends_by: Moment | None = None
    """The latest end of a run that has not ended yet; None if the run has ended."""
    machine: str = ""
    """An id of the machine since its last start: if two verdicts have the same id, their `machine_s` has an order."""
    machine_s: float | None = None
    """Seconds from the machine's start to the end of the run. They order runs of one machine, whatever its clock."""
    clock_behind_s: float | None = None
    """How far the machine's clock is behind the clocks of the hosts that answered; None if no host sent its time."""
    variables: Variables = Variables()
    suite: Suite
    account: str | None = None
    region: str | None = None
    """The AWS region of the run's calls."""
    manifest: dict[str, Annotated[dict[str, str], AfterValidator(_is_commit)]] = {}
    served: dict[str, Redactable | None] = {}
    counts: dict[Outcome, int] = {}
    requests: dict[str, int] = {}
    coverage: Coverage | None = None
    """What was judged of the catalogue; None in old verdicts."""
    checks: tuple[CheckLine, ...] = ()
    reported: tuple[Result, ...] = ()
    """In the run of a cell: the results of all cases before the judgement; `gli merge` judges them."""
    root_causes: tuple[RootCause, ...] = ()
    checklist: tuple[ItemLine, ...] = ()
    since_last: SinceLast = SinceLast()
    since_pre_deploy: SinceLast | None = None
    """In a post-deploy run: the comparison with the pre-deploy run of the environment."""
    facts_sha256: str = ""
    """The digest of `facts.jsonl` in the same folder; empty in old verdicts, and if there is no such file."""
    digest: str = ""
    """The digest of the document without this field."""

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
        """The time that orders verdicts. For a merged GO, this is the end of the run that ended first; for a merged
        NO-GO, the end of the run that ended last.
        """
        first_or_last = min if self.go else max
        return first_or_last((part.finished for part in self.merged), key=clock.moment, default=self.finished)

    def document(self) -> dict[str, Any]:
        """The document that `verdict.json` holds."""
        whole = self.model_dump(mode="json")
        return {"schema": whole.pop("schema_"), **whole}

    def without(self, hide: Callable[[str], str]) -> Verdict:
        """A copy of the verdict in which `hide` has hidden the secrets of every text for people."""
        return Verdict.model_validate(self.model_dump(), context=hide)

    @classmethod
    def of(cls, document: Any) -> Verdict:
        """The verdict in a document. Raises `ValueError` if the document is not a verdict, or has another schema."""
        if not isinstance(document, dict) or type(document.get("schema")) is not int:  # `true` is equal to 1
            raise ValueError("it has no schema")
        return cls.model_validate({**document, "schema_": document["schema"]})
