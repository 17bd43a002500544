"""The types of observing: an observation is a fact, or an `Unknown` that says why there is no fact.

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
    "access-denied",  # the credentials do not allow it; `action` names the missing permission
    "no-credentials",  # there are no credentials
    "wrong-account",  # the credentials belong to another account
    "unreachable",  # there is no network path from this vantage
    "throttled",
    "no-connection",  # nothing came back in two tries, not even a refusal: no host, or a closed path
    "timed-out",
    "slow-runner",  # this runner was too late to tell whether the target was late
    "too-little-data",
    "not-found",  # the resource to ask about does not exist
    "dependency",  # another observation that this one builds on is unknown
    "unsupported",  # the part is of a product that this suite does not ask
    "vantage",  # this runner stands where it can't see the target
    "not-applicable",  # the environment declares that this fact is not judged
    "not-recorded",  # the replayed file does not hold the fact
    "error",  # the target, or the suite itself, answered in an unexpected way
]


class Observation(BaseModel):
    """A frozen fact that a probe saw."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Unknown(Observation):
    """The reason why a fact could not be had. It is never a pass, and never a failed assertion."""

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
    """Raised if nothing came back to a connection, not even a refusal. The observatory then tries a second time."""

    def __init__(self, message: str) -> None:
        super().__init__(Unknown(cause="no-connection", message=message))


def unknown(cause: Cause, message: str, *, action: str | None = None) -> Unobserved:
    """The exception that a probe raises for a fact that can't be had."""
    return Unobserved(Unknown(cause=cause, message=message, action=action))


def told(value: Value | None, what: str) -> Value:
    """The value of a member that AWS always sends. Raises `Unobserved` if it is None: the answer lacks the member."""
    if value is None:
        raise unknown("too-little-data", phrase("AWS does not tell {}", what))
    return value


class Counts(Protocol):
    """Counts the requests of an observation, and stops the clock of its deadline while it waits for its turn."""

    def count(self, kind: str, n: int = 1) -> None: ...

    def waiting(self) -> AbstractContextManager[None]: ...


def one_of(known: frozenset[str], value: str, what: str) -> str:
    """The value, if this suite knows it. Otherwise raises `Unobserved`: AWS adds values as it grows."""
    if value not in known:
        raise unknown("error", phrase("{} is {!r}, a value that this suite does not know", what, value))
    return value


class Record(BaseModel):
    """One observation as `facts.jsonl` keeps it: the question, the time, the duration and the answer."""

    model_config = ConfigDict(frozen=True)

    probe: str
    target: str = ""
    """The name of the observed target; empty for the environment as a whole."""
    started: datetime
    duration_s: float
    attempts: int = 1
    requests: dict[str, int] = Field(default_factory=dict)
    """How many requests were sent, by protocol or AWS service."""
    phases_s: dict[str, float] = Field(default_factory=dict)
    """Seconds by phase, where the protocol has any: resolve, connect, tls, handshake, first_byte, query, body."""
    late_s: float = 0.0
    """For how many of the seconds this runner's event loop was late: the target is not to blame for these."""
    observation: Any = None
    unknown: Unknown | None = None

    @property
    def fact(self) -> str:
        """How a verdict refers to this record: `probe[target]`."""
        return fact_name(self.probe, self.target)


def fact_name(probe: str, target: str) -> str:
    """`probe[target]`, or `probe` for a probe of the whole environment."""
    return f"{probe}[{target}]" if target else probe
