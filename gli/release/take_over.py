"""Take over an operation that another machine began and can't finish: its engineer or its disk is gone.

A person confirms it, with the state that was found. The remotes, not a clock, tell whether the other machine is at
work: two looks must see the same state. The fence and the lock of the log repository are taken first, so the other
machine can never finish; then every other fence. From then on each push of the other machine is refused, and this
machine takes back what had moved.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from gli.common.errors import UsageError
from gli.git.command import GitFailed
from gli.git.refs import FENCE, LOCK
from gli.release import fence, journal, lock, plan
from gli.release.engine import Operation
from gli.release.fence import STATES, Fence, Mark
from gli.release.journal import Journal
from gli.release.mirror import Mirror, Refs
from gli.release.plan import Refused
from gli.release.refusals import failures, is_lasting, sentences
from gli.release.repositories import ls_remote
from gli.release.session import Approve, Request, Session
from gli.release.side_by_side import answers, on_each

BETWEEN_LOOKS_S = 5.0
_ATTEMPTS = 5


def take_over(session: Session, id_: str, *, approve: Approve, between_s: float = BETWEEN_LOOKS_S) -> Operation:
    """Take the operation `id_` over and take back what it has moved. Raises `Refused` at its end, as `--undo` does.

    Raises `Refused` if the remotes do not know the operation, or if it has ended or is at work.
    """
    path = journal.of(session.settings.state, id_)
    if not journal.is_id(id_):
        raise UsageError(f"{id_!r} is no operation's id; gli doctor says which one has not ended")
    if path.exists() and not journal.is_overtaken(journal.read(path)):
        raise Refused(f"this machine began {id_}; if it has not ended: gli promote --resume, or gli promote --undo")
    session.nothing_half_finished()
    mirrors, home = session.settings.mirrors(session.running), session.settings.log_repository
    refs = answers(on_each(mirrors.values(), Mirror.fetch, say=session.say))
    marks = {name: session.mark(mirrors[name], found) for name, found in refs.items()}
    theirs = {name: mark for name, mark in marks.items() if mark is not None and mark.id == id_}
    held = refs[home].lock
    holder = lock.Holder.of(mirrors[home], held) if held else None
    if not theirs and (holder is None or holder.id != id_):
        raise Refused(f"no repository knows of an operation {id_}; gli doctor says which one has not ended")
    if theirs and fence.under_way(marks, home) is None:
        raise Refused(f"{id_} has ended; there is nothing to take over")
    time.sleep(between_s)
    _refuse_if_at_work(id_, mirrors, refs)
    moved = [name for name, mark in theirs.items() if mark.has_moved]
    lines = (
        f"begun by {holder or next(iter(theirs.values()))}; nothing of it changed within {between_s:g} s",
        *(f"{name}: {_state(marks[name], id_)}" for name in mirrors),
        f"{len(moved)} of {len(mirrors)} have moved and will be taken back",
    )
    approve(Request(id_, f"take over {id_}", lines, True, session.actor))
    return _adopted(session, id_, theirs, held, refs[home].fence)


def go_on_adopting(operation: Operation) -> None:
    """Take the fences of an operation that this machine has begun to take over; does nothing for any other operation.

    Raises `Refused` if a repository can't be reached: the next `gli promote --undo` goes on.
    """
    events = journal.since_overtaken(operation.journal.events)
    adopting = (journal.last(events, "parking") or {}).get("adopting")
    if not adopting or journal.last(events, "adopted") is not None:
        return
    others = [name for name in operation.mirrors if name != operation.home]
    tags: dict[str, str] = {}
    for names in ([operation.home], others):
        found = on_each((operation.mirrors[name] for name in names), lambda mirror: _take(operation, mirror))
        if failed := failures(found):
            raise Refused(*sentences(failed), "mend that, then go on with: gli promote --undo", code=3)
        tags |= {name: tag for name, tag in found.items() if isinstance(tag, str) and tag}
    operation.tags = tags
    operation.journal.append("adopted")
    operation.journal.append("parked", tags=tags)


def _refuse_if_at_work(id_: str, mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs]) -> None:
    seen = answers(on_each(mirrors.values(), lambda m: ls_remote(m.repository, [FENCE])))
    changed = [name for name, found in seen.items() if found.get(FENCE, "") != refs[name].fence]
    if changed:
        raise Refused(f"{id_} is at work: {', '.join(changed)} changed just now; wait until it has ended")


def _state(mark: Mark | None, id_: str) -> str:
    if mark is None or mark.id != id_:
        return "not touched by it"
    if mark.state == fence.LANDED:
        return "moved" if mark.has_moved else "as it is"
    return "not moved" if mark.state == fence.PARKED else "taken back"


def _adopted(session: Session, id_: str, theirs: Mapping[str, Mark], held: str | None, found: str) -> Operation:
    """Make the operation this machine's own, and take back what had moved. Always raises `Refused`. `found` is the
    fence of the log repository.
    """
    unnamed = {"kind": "operation", "branch": session.settings.branches.live}
    opened = next((dict(mark.opened) for mark in theirs.values()), unnamed)
    tag = next((mark.tag for mark in theirs.values() if mark.tag), None)
    path = journal.of(session.settings.state, id_)
    again = path.exists()  # this machine began it, and takes it back from the machine that took it over
    made = Journal.reopen(path, session.actor) if again else Journal.create(path.parent, id_, session.actor)
    try:
        if not again:
            made.append("opened", **opened)
        operation = session.around(made)
        operation.moves = plan.parsed({name: mark.move for name, mark in theirs.items() if mark.move})
        operation.tag, operation.tagged = tag, [name for name, mark in theirs.items() if mark.tag]
        made.append("planned", moves=plan.document(operation.moves), tag=tag)
        holder = lock.Holder.this_process(id_, session.actor)
        operation.lock = holder.made(operation.mirrors[operation.home], held)
        reason = f"taken over by {session.actor}"
        made.append(
            "parking",
            tag=tag,
            tagged=sorted(operation.tagged),
            lock=operation.lock,
            fences={},
            adopting=True,
            found=found,
        )
        made.append("pushing")
        made.append("decided", decision="abort", reason=reason)
        with session.logged(operation):
            go_on_adopting(operation)
            operation.restore(reason)
        return operation
    finally:
        made.close()


def _take(operation: Operation, mirror: Mirror) -> str:
    """Take the fence of one repository, in the state that the operation had reached there. Returns the object of the
    operation's tag.
    """
    tag = f"refs/tags/{operation.tag}"
    for attempt in range(_ATTEMPTS):
        remote = ls_remote(mirror.repository, [FENCE, LOCK, tag])
        at = remote.get(FENCE, "")
        if at in operation.fences.get(mirror.name, ()):
            break
        if mirror.name == operation.home and _is_ended_elsewhere(operation, mirror, at):
            operation.overtaken()
        specs = {FENCE: (_follows(operation, mirror, at), at)}
        if mirror.name == operation.home:
            specs[LOCK] = (operation.lock, remote.get(LOCK, ""))
        try:
            mirror.push(specs)
        except GitFailed as e:  # the other machine was faster in this repository: look again
            if not is_lasting(e) or attempt == _ATTEMPTS - 1:
                raise
        else:
            break
    return remote.get(tag, "")


def _is_ended_elsewhere(operation: Operation, mirror: Mirror, at: str) -> bool:
    """Whether somebody has ended the operation, or has taken it over again, since this machine began to take it over:
    the fence of the log repository is not the one that was found, nor a later one of the machine that began it.
    """
    events = journal.since_overtaken(operation.journal.events)
    if at == (journal.last(events, "parking") or {}).get("found", at):
        return False
    mirror.bring(f"+{FENCE}:{FENCE}")
    mark = Mark.of(mirror, at) if at else None
    ours = [e.detail["fence"] for e in events if e.event == "taking" and e.detail["repository"] == mirror.name]
    known = [objects[0] for objects in ours if mirror.has(objects)]
    return mark is None or mark.id != operation.id or any(mirror.contains(at, object_) for object_ in known)


def _follows(operation: Operation, mirror: Mirror, at: str) -> str:
    """Our object on top of the present fence, with the same state. If the operation never reached the repository, the
    object says that nothing of it is there: then its parking is refused too."""
    if at:
        mirror.bring(f"+{FENCE}:{FENCE}")
    ours = _fence(operation, mirror, at)
    operation.fences[mirror.name] = ours
    operation.journal.append("taking", repository=mirror.name, fence=ours)
    mark = Mark.of(mirror, at) if at else None
    return ours[STATES.index(mark.state)] if mark is not None and mark.id == operation.id else ours.undone


def _fence(operation: Operation, mirror: Mirror, after: str) -> Fence:
    opened, move = operation.journal.events[0].detail, operation.moves.get(mirror.name)
    tag = str(operation.tag) if mirror.name in operation.tagged else ""
    return fence.make(mirror, operation.id, operation.journal.actor, opened, move, tag, after)
