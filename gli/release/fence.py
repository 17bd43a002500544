"""The fence: a ref in every repository that says which operation touched the repository last, and how far it came.

`refs/gli/fence` points to a commit without files, whose message is a small JSON document. Each push of an operation
(that parks, moves, takes back or withdraws) also moves the fence, from exactly the commit that the operation left there
to one on top of it, in the same atomic push; the server compares the two. So when another machine has taken an
operation over, the first machine can push nothing more of it, however long it was suspended and whatever its clock
says: its next push is refused in every repository. A host that forbids to rewind refs accepts these pushes.

The document also holds what the operation does to the repository; a take-over needs no journal of the other machine.
Source of truth: git-push (--force-with-lease, --atomic), gitprotocol-pack (each command carries the old object).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from gli.common.clock import now, rfc3339
from gli.git.command import GitFailed
from gli.git.refs import FENCE

if TYPE_CHECKING:
    from gli.release.mirror import Mirror
    from gli.release.plan import Move

PARKED, LANDED, UNDONE = STATES = ("parked", "landed", "undone")


class Fence(NamedTuple):
    """The three objects that an operation may leave at the fence of one repository."""

    parked: str
    """The object while the commit is parked and the branch has not moved."""
    landed: str
    """The object when the branch has moved, or when there is nothing to move."""
    undone: str
    """The object when the repository holds nothing of the operation any more."""


@dataclass(frozen=True)
class Mark:
    """The content of a repository's fence."""

    id: str
    """The id of the operation."""
    state: str
    """One of `STATES`."""
    actor: str
    host: str
    since: str
    """RFC 3339: when the operation began to push, or was taken over."""
    opened: Mapping[str, Any]
    """The request: kind, source, branch, reason."""
    move: Mapping[str, Any]
    """See `gli.release.plan.Move`; empty where the operation does nothing in the repository."""
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.id} (by {self.actor} on {self.host}, since {self.since})"

    @property
    def has_moved(self) -> bool:
        """Whether the branch stands where the operation has moved it."""
        return self.state == LANDED and self.move.get("old") != self.move.get("new")

    @classmethod
    def parsed(cls, text: str) -> Mark | None:
        """The mark in a text; None if no operation wrote the text."""
        try:
            mark = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return None
        texts = (mark.id, mark.actor, mark.host, mark.since, mark.tag)
        whole = all(isinstance(text, str) for text in texts) and mark.state in STATES
        return mark if whole and isinstance(mark.move, dict) and isinstance(mark.opened, dict) else None

    @classmethod
    def of(cls, mirror: Mirror, object_: str) -> Mark | None:
        """The mark in a fetched object. Raises `GitFailed` if the object is missing."""
        return cls.parsed(mirror.message(object_))


def make(
    mirror: Mirror, id_: str, actor: str, opened: Mapping[str, Any], move: Move | None, tag: str, after: str
) -> Fence:
    """The objects of an operation's fence in one repository, made in its mirror on top of the fence that is there."""
    moment, does = rfc3339(now()), asdict(move) if move is not None else {}
    marks = [Mark(id_, state, actor, os.uname().nodename, moment, dict(opened), does, tag) for state in STATES]
    return Fence(*mirror.make_chain([_text(mark) for mark in marks], after))


def following(mirror: Mirror, mark: Mark, at: str) -> list[str]:
    """The objects of the states that come after that of `mark`, which the object `at` holds; made in the mirror."""
    later = STATES[STATES.index(mark.state) + 1 :]
    return mirror.make_chain([_text(replace(mark, state=state)) for state in later], at) if later else []


def _text(mark: Mark) -> str:
    return json.dumps(asdict(mark), ensure_ascii=False, indent=1) + "\n"


def took(error: GitFailed) -> bool:
    """Whether a push was refused because another operation holds the fence."""
    return f"-> {FENCE} (stale info)" in error.stderr


def hidden() -> GitFailed:
    """The error for a repository whose host shows its fence to nobody who fetches."""
    return GitFailed(("push",), 1, f" ! [remote rejected] HEAD -> {FENCE} (a hidden ref)")


def taken(command: str = "push") -> GitFailed:
    """The error for a repository whose fence another operation holds."""
    return GitFailed((command,), 1, f" ! [rejected] -> {FENCE} (stale info)")


def under_way(marks: Mapping[str, Mark | None], home: str) -> Mark | None:
    """An operation that has not ended, by the fences of all repositories; None if all have ended.

    An operation has ended in a repository if the log repository, which moves last, says that it landed, or if it was
    undone there.
    """
    last = marks.get(home)
    for mark in marks.values():
        if mark is None or mark.state == UNDONE:
            continue
        if last is None or last.id != mark.id or last.state == PARKED:
            return mark
        if last.state == UNDONE and mark.has_moved:
            return mark
    return None
