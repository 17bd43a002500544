"""An answer of AWS as probes read it: if a member that a probe needs is missing, one sentence says so.

botocore leaves out every member that the service did not send.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gli.common.sentences import phrase
from gli.observe.engine.observation import unknown


class Answer(dict[str, Any]):
    """A structure of an answer. `answer["Member"]` raises `Unobserved` if the member is missing."""

    __slots__ = ("_call", "_path")

    def __init__(self, members: dict[str, Any], call: str, path: str) -> None:
        super().__init__(members)
        self._call, self._path = call, path

    def __missing__(self, member: str) -> Any:
        raise unknown("too-little-data", phrase("{} answered without {}", self._call, f"{self._path}{member}"))


def read(answer: Mapping[str, Any], call: str, path: str = "") -> Answer:
    """The same answer, with each structure as an `Answer` and each time in UTC. `call` names the operation in messages:
    `ecs:describe_services`.
    """
    return Answer({name: _read(value, call, f"{path}{name}.") for name, value in answer.items()}, call, path)


def _read(value: Any, call: str, path: str) -> Any:
    if isinstance(value, dict):
        return read(value, call, path)
    if isinstance(value, datetime):  # botocore reads numbers in the time zone of this machine
        return value.astimezone(UTC)
    return [_read(each, call, path) for each in value] if isinstance(value, list) else value
