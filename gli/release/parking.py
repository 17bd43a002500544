"""The first step of an operation: every new commit at a ref of its own, before a branch moves; and its way back.

Parking also leaves the operation's first mark at the fence of each repository, and takes the lock.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from gli.git.command import GitFailed
from gli.git.connections import is_dropped, is_silent
from gli.git.refs import FENCE, LOCK
from gli.release import fence
from gli.release.fence import Fence
from gli.release.mirror import Specs
from gli.release.plan import Refused
from gli.release.refusals import exit_code, failures, hidden_refs, is_lasting, sentences, short
from gli.release.remade import is_remade

if TYPE_CHECKING:
    from gli.release.engine import Operation

_OTHER_BEGAN = "{name}: another operation began while this was being prepared; try again when it has ended"
_UNMOVED = "nothing has moved"
_PARKED_AGAIN = 3
"""How often a refusal to park is tried again."""


def park(operation: Operation, taken_over: str | None) -> None:
    """Park the new commits of every repository and take the lock. Raises `Refused` if a commit
    could not be parked; then nothing is parked.

    `taken_over` is the object of a lock ref that may be replaced.
    """
    _make_fences(operation)
    operation.journal.append(
        "parking",
        tag=operation.tag,
        tagged=sorted(operation.tagged),
        lock=operation.lock,
        fences=dict(operation.fences),
    )
    waiting = set(operation.moves)
    try:
        for number, pause in enumerate((0.0, *operation.patience)):
            time.sleep(operation.connections.pause_s(pause))
            failed = failures(operation.each(waiting, lambda name: _park_one(operation, name, taken_over)))
            waiting = {name for name, e in failed.items() if _may_park(e, number)}
            if not waiting or waiting != failed.keys():
                break
    except KeyboardInterrupt:
        failed = {"": GitFailed(("push",), 130, "interrupted")}
    if failed:
        unpark(operation)
        raise Refused(*(_why_not_parked(n, e) for n, e in failed.items()), code=exit_code(failed.values()))
    operation.journal.append("parked", tags=operation.tags)


def _may_park(error: GitFailed, tried: int) -> bool:
    """Whether another attempt to park may help: two that make the lock at once may both be turned away, and a host
    may be too busy for longer.
    """
    if is_lasting(error) or is_silent(error):
        return False
    return is_dropped(error) or tried < _PARKED_AGAIN


def _make_fences(operation: Operation) -> None:
    opened = operation.journal.events[0].detail

    def one(name: str) -> Fence:
        tag = str(operation.tag) if name in operation.tagged else ""
        move, before = operation.moves[name], operation.before.get(name, "")
        return fence.make(operation.mirrors[name], operation.id, operation.journal.actor, opened, move, tag, before)

    made = operation.each(operation.moves, one)
    if failed := failures(made):
        raise Refused(*sentences(failed), code=3)
    operation.fences = {name: result for name, result in made.items() if isinstance(result, Fence)}


def _park_one(operation: Operation, name: str, taken_over: str | None) -> None:
    held: Specs = {LOCK: (operation.lock, taken_over or "")} if name == operation.home else {}
    part = operation.part(name)
    try:
        operation.mirrors[name].push({**part.parking(), **held})
    except GitFailed as e:
        is_remade(operation, name, e)  # so that the next command finds a whole mirror; this one has lost its commit
        if hidden_refs(e):
            part.unpark()
        if fence.took(e) and part.hides_fence():
            raise fence.hidden() from None
        raise
    if part.hides_fence():
        raise fence.hidden()
    if name in operation.tagged:
        operation.tags[name] = operation.mirrors[name].make_tag(
            str(operation.tag), operation.moves[name].new, operation.message
        )


def _why_not_parked(name: str, error: GitFailed) -> str:
    if not name:
        return f"interrupted; {_UNMOVED}"
    text = error.stderr
    if hides := hidden_refs(error):
        how = "take them out of transfer.hideRefs, uploadpack.hideRefs and receive.hideRefs there"
        return f"{name}: its host hides {hides} from clients, and a release needs these refs; {how}; {_UNMOVED}"
    if f"cannot lock ref '{FENCE}'" in text:  # both pushed at the same moment
        return _OTHER_BEGAN.format(name=name)
    if "(stale info)" not in text:
        return f"{name}: {short(error)}; {_UNMOVED}"
    if f"-> {LOCK} (stale info)" in text:
        return f"another operation holds {LOCK} of {name}; try again when it has ended"
    if fence.took(error):
        return _OTHER_BEGAN.format(name=name)
    return f"{name}: a branch moved while this was being prepared; start again"


def unpark(operation: Operation) -> None:
    """Remove the parked refs and the lock. A repository that can't be reached keeps them; they move nothing."""
    operation.each(operation.moves, partial(_withdraw, operation))
    operation.unlock()


def _withdraw(operation: Operation, name: str) -> None:
    try:
        operation.part(name).withdraw()
    except GitFailed as e:
        if not is_remade(operation, name, e):
            raise
        operation.part(name).withdraw()
