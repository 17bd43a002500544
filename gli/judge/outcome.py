"""Defines the outcomes, and which of them are green.

There are seven. A case that reports has one of six; a case that does not report is `missing`. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from gli.common.case_key import CaseKey
from gli.common.sentences import Phrase, Said, of, saw


def _hidden(text: str, info: ValidationInfo) -> str:
    return str(info.context(text)) if info.context else text


Redactable = Annotated[str, AfterValidator(_hidden)]
"""Text for people. The function that hides secrets is the context of a validation, and reaches only fields of this
type and of `Said`: a secret that is spelt like an outcome, an id or a field's name leaves those as they are.
"""


class Outcome(StrEnum):
    """The state of one case after a run, worst first."""

    MISSING = "missing"  # it should have reported and did not
    FAILED = "failed"  # it was observed, and is not as it should be
    UNKNOWN = "unknown"  # it could not be observed
    BLOCKED = "blocked"  # it failed or could not be observed, and another failure explains why
    WAIVED = "waived"  # it failed, and somebody accepted that until a date
    NOT_APPLICABLE = "not-applicable"  # the environment declares that it has no such part
    PASSED = "passed"

    @property
    def green(self) -> bool:
        """Whether a required case with this outcome lets a verdict be GO."""
        return self in (Outcome.PASSED, Outcome.WAIVED, Outcome.NOT_APPLICABLE)

    @property
    def red(self) -> bool:
        """Whether this outcome needs an explanation."""
        return not self.green

    @property
    def rank(self) -> int:
        """The place of the outcome in the order of outcomes: 0 is the worst."""
        return list(Outcome).index(self)


class Result(BaseModel):
    """The report of one case."""

    model_config = ConfigDict(frozen=True)

    check: str
    target: str
    outcome: Outcome
    expected: Said | None = None
    seen: Said = ""
    """What was seen, or the reason why nothing was seen."""
    cause: str | None = None
    """The cause of an `unknown` (see `gli.observe.engine.observation.Cause`)."""
    attempts: int = 1
    duration_s: float = 0.0
    facts: tuple[str, ...] = ()
    blocked_by: CaseKey | None = None

    @property
    def key(self) -> CaseKey:
        return CaseKey(self.check, self.target)

    @property
    def sentence(self) -> Phrase:
        """What was expected and seen, as one sentence."""
        return of(self.seen) if self.expected is None else saw(self.seen, expected=self.expected)

    def but(self, **changes: Any) -> Result:
        """A copy in which these fields have other values."""
        return self.model_copy(update=changes)


def worst(results: Iterable[Result]) -> Result:
    """The worst of several reports on one case: a pass never hides a failure."""
    return min(results, key=lambda r: r.outcome.rank)
