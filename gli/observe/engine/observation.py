"""The words of observing: an observation is a fact, or an `Unknown` that says why there is none.

Both are frozen and JSON-serialisable, so that a run can be recorded and judged again.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from gli.common.sentences import Said, phrase

Value = TypeVar("Value")
Cause = Literal[
    "access-denied",  # the credentials may not ask; `action` names the missing permission
    "no-credentials",  # there is nothing to ask with
    "wrong-account",  # the credentials belong elsewhere
    "unreachable",  # no path from this vantage
    "throttled",
    "no-connection",  # nothing came back, not even a refusal, in two tries: the host is gone, or a way is closed
    "timed-out",
    "slow-runner",  # this runner was too late to tell whether the target was
    "too-little-data",
    "not-found",  # what should be asked about is not there
    "dependency",  # another observation that this one builds on is unknown
    "unsupported",  # the part is of a product that this suite does not ask
    "vantage",  # this runner stands where it can't see it
    "not-applicable",  # the environment declares that what was seen is not judged
    "not-recorded",  # a replayed file does not hold it
    "error",  # the target, or the suite itself, answered in a way that nobody foresaw
]


class Observation(BaseModel):
    """What a probe saw: a frozen fact."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Unknown(Observation):
    """A fact that could not be had, and why. Never a pass, never a failed assertion."""

    cause: Cause
    message: Said
    action: str | None = None
    """The IAM action that was denied, as in `ecs:DescribeServices`."""

    def __str__(self) -> str:
        return self.message


class Unobserved(Exception):
    """Raised where an observation is wanted and there is only an `Unknown`."""

    def __init__(self, unknown: Unknown) -> None:
        super().__init__(unknown.message)
        self.unknown = unknown


class NoConnection(Unobserved):
    """Raised where nothing came back to a connection, not even a refusal. The observatory then tries a second time."""

    def __init__(self, message: str) -> None:
        super().__init__(Unknown(cause="no-connection", message=message))


def unknown(cause: Cause, message: str, *, action: str | None = None) -> Unobserved:
    """The exception to raise in a probe for a fact that can't be had."""
    return Unobserved(Unknown(cause=cause, message=message, action=action))


def told(value: Value | None, what: str) -> Value:
    """The value of a member that AWS always sends. Raises `Unobserved` if it is None: the answer lacks the member."""
    if value is None:
        raise unknown("too-little-data", phrase("AWS does not tell {}", what))
    return value


class Counts(Protocol):
    """Counts the requests that an observation takes, and stops the clock of its deadline while it waits its turn."""

    def count(self, kind: str, n: int = 1) -> None: ...

    def waiting(self) -> AbstractContextManager[None]: ...


def one_of(known: frozenset[str], value: str, what: str) -> str:
    """The value, where it is one that this suite knows; else raises `Unobserved`: AWS adds values as it grows."""
    if value not in known:
        raise unknown("error", phrase("{} is {!r}, a value that this suite does not know", what, value))
    return value


class Record(BaseModel):
    """One observation as `facts.jsonl` keeps it: what was asked, when, how long it took, what came back."""

    model_config = ConfigDict(frozen=True)

    probe: str
    target: str = ""
    """The name of what was observed; empty for the environment as a whole."""
    started: datetime
    duration_s: float
    attempts: int = 1
    requests: dict[str, int] = Field(default_factory=dict)
    """How many requests were sent, by protocol or AWS service."""
    phases_s: dict[str, float] = Field(default_factory=dict)
    """Seconds by phase, where the protocol has any: resolve, connect, tls, handshake, first_byte, query, body."""
    late_s: float = 0.0
    """For how many of the seconds this runner's event loop was late: the target is not to blame for them."""
    observation: Any = None
    unknown: Unknown | None = None

    @property
    def fact(self) -> str:
        """How a verdict refers to this record: `probe[target]`."""
        return fact_name(self.probe, self.target)


def fact_name(probe: str, target: str) -> str:
    """`probe[target]`, or `probe` for one of the whole environment."""
    return f"{probe}[{target}]" if target else probe
