"""The one place that says what an outcome is, and which of them are green.

Seven outcomes; the first six come from a case, `missing` from its silence. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo


def _hidden(text: str, info: ValidationInfo) -> str:
    return str(info.context(text)) if info.context else text


Words = Annotated[str, AfterValidator(_hidden)]
"""Text for people. What hides secrets is given as the context of a validation and reaches these fields alone: a
secret that is spelt like an outcome, an id or a field's name leaves those as they are.
"""


class Outcome(StrEnum):
    """What is known of one case after a run, worst first."""

    MISSING = "missing"  # it should have reported and did not
    FAILED = "failed"  # it was observed, and is not as it should be
    UNKNOWN = "unknown"  # it could not be observed
    BLOCKED = "blocked"  # it failed or could not be observed, and another failure explains why
    WAIVED = "waived"  # it failed, and somebody accepted that until a date
    NOT_APPLICABLE = "not-applicable"  # the environment declares that there is none
    PASSED = "passed"

    @property
    def green(self) -> bool:
        """Whether a required case with this outcome lets a verdict be GO."""
        return self in (Outcome.PASSED, Outcome.WAIVED, Outcome.NOT_APPLICABLE)

    @property
    def red(self) -> bool:
        """Whether this outcome wants an explanation."""
        return not self.green

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Outcome).index(self)


class Result(BaseModel):
    """What one case reported."""

    model_config = ConfigDict(frozen=True)

    check: str
    target: str
    outcome: Outcome
    message: Words = ""
    cause: str | None = None
    """For `unknown`: why (see `gli.observe.engine.observation.Cause`)."""
    attempts: int = 1
    duration_s: float = 0.0
    facts: tuple[str, ...] = ()
    blocked_by: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.check, self.target

    @property
    def label(self) -> str:
        return f"{self.check}[{self.target}]"

    def but(self, **changes: Any) -> Result:
        """A copy with other values."""
        return self.model_copy(update=changes)


def worst(results: Iterable[Result]) -> Result:
    """Of several reports on one case the worst counts: a pass never hides a failure."""
    return min(results, key=lambda r: r.outcome.rank)
