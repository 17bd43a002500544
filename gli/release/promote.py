"""Promotion: one branch of all repositories into the next, gated on the way to production; and what a crash left.

dev to stg and the two back-merges are merges that one person confirms. stg to main asks the gate, and moves exactly the
commits of the verdict's manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from gli.common.clock import now
from gli.common.errors import UsageError
from gli.common.manifest import manifest_id
from gli.git.branches import DEVELOPED, LIVE, STAGED
from gli.release import journal as journals
from gli.release import plan
from gli.release.engine import Operation
from gli.release.journal import Event, Journal
from gli.release.mirror import Mirror, Refs
from gli.release.plan import PATHS, Move, Moves, Refused
from gli.release.session import Approval, Approve, Request, Session, answers, collected, half_finished, on_each

_NORMAL = ((DEVELOPED, STAGED), (STAGED, LIVE))


@dataclass(frozen=True)
class Evidence:
    """A gate's yes: the manifest that a verdict was earned on, {repository: {commit, tree}}, and which verdict."""

    manifest: Mapping[str, Mapping[str, str]]
    verdict: Mapping[str, str]
    expires: datetime | None = None


Heads = Callable[[str], Mapping[str, str]]
"""{repository: commit} of a branch, in the repositories that have it."""
Gate = Callable[[Heads], Evidence]
"""Asks the gate, which is told what the remotes have now; raises `Refused` with its reason and exit code."""


@dataclass(frozen=True)
class Choices:
    """What the person who starts a promotion may decide."""

    dry_run: bool = False
    reinstate: bool = False
    """Bring back a release that was rolled back."""
    override_freeze: str | None = None
    """Why it may go ahead in a freeze window."""


def promote(
    session: Session,
    source: str,
    target: str,
    *,
    approve: Approve,
    gate: Gate,
    frozen: Callable[[], str | None],
    choices: Choices = Choices(),
) -> Operation:
    """Merge `source` into `target` in every repository, or in none.

    `frozen` tells the freeze window that is open when it is asked. Raises `UsageError` for branches between which
    nothing is promoted, `Refused` with every reason against it.
    """
    if (source, target) not in PATHS:
        ways = ", ".join(f"{s} {t}" for s, t in PATHS)
        raise UsageError(f"nothing is promoted from {source!r} to {target!r}; there is: {ways}")
    kind = "deploy" if target == LIVE else "merge"
    with session.operation(kind=kind, source=source, branch=target, dry_run=choices.dry_run) as operation:
        found = session.fetch_and(operation, lambda m, refs: _planned(m, refs, source, target, operation.id))
        refs = {name: fetched for name, (fetched, _) in found.items()}
        against = [planned for _, planned in found.values() if isinstance(planned, Refused)]
        evidence, window = None, None
        if target == LIVE:
            evidence = _answer(gate, refs, against)
            window = frozen()
            against += _freeze(window, choices)
        if (source, target) in _NORMAL:
            against += [Refused(debt) for debt in plan.open_debts(operation.mirrors, refs)]
        moves = {name: move for name, (_, move) in found.items() if isinstance(move, Move)}
        manifest, trees = _identity(refs, source)
        if target == LIVE:
            against += _hold(refs, trees, choices)
        if against:
            raise collected(against)
        if not any(move.moves for move in moves.values()):
            raise Refused(f"{target} has all of {source} in every repository; there is nothing to promote")
        planned: dict[str, Any] = {"manifest": manifest, "trees": trees}
        if evidence is not None:
            planned["verdict"] = dict(evidence.verdict)
        if window and choices.override_freeze:
            planned["override_freeze"] = {"window": window, "reason": choices.override_freeze}
        request = Request(
            plan.approval_id(moves), f"{source} to {target}", summary(operation, moves), target == LIVE, session.actor
        )
        tag = session.tag_name("deploy", operation, refs) if target == LIVE else None
        still = _while_it_counts(approve, evidence, lambda: _freeze(frozen(), choices) if target == LIVE else [])

        def tell() -> None:
            if target == LIVE:
                session.tell_github(moves, f"verified on {source}, manifest {manifest}")

        session.carry_out(
            operation, refs, moves, planned, still, request, tag=tag, before_moving=tell, dry_run=choices.dry_run
        )
        return operation


def recover(session: Session, how: Literal["resume", "undo"]) -> Operation | None:
    """Finish or undo what a crash left; None where nothing was. Raises `Refused` where it ends with nothing moved.

    A promotion of which no branch may have moved yet is closed in either case: its gate and its approval are old.
    """
    path = half_finished(session.settings.state)
    if path is None:
        return None
    journal = Journal.reopen(path, session.actor)
    try:
        operation = reopened(session, journal)
        with session.logged(operation):
            held = not operation.lock
            if operation.lock:
                home = operation.mirrors[operation.home]
                refs = answers(on_each([home], Mirror.fetch))[home.name]
                operation.log.saw(refs)
                session.lock_of_another(operation, refs)
                held = refs.lock == operation.lock
            _recovered(operation, how, session.actor, held)
        return operation
    finally:
        journal.close()


def reopened(session: Session, journal: Journal) -> Operation:
    """The operation of a journal, with all that is known of it."""
    operation = session.around(journal)
    planned, parking = journals.last(journal.events, "planned"), journals.last(journal.events, "parking")
    if planned is not None and parking is not None:
        operation.moves = plan.parsed(planned["moves"])
        operation.tag, operation.tagged, operation.lock = parking["tag"], parking["tagged"], parking["lock"]
        operation.tags = dict((journals.last(journal.events, "parked") or {"tags": {}})["tags"])
    operation.landed = _known(journal.events)
    return operation


def _recovered(operation: Operation, how: Literal["resume", "undo"], who: str, held: bool) -> None:
    """`held` says whether the lock is still the operation's own. Where it is not, nothing more of it lands."""
    journal = operation.journal
    if journals.last(journal.events, "pushing") is None:
        operation.close_unmoved("left before anything moved")
        raise Refused(f"{journal.id}: nothing had moved, and it is closed now; start it again")
    decided = journals.last(journal.events, "decided") or {"decision": ""}
    if decided["decision"] == "commit" or (not decided["decision"] and operation.has_landed(operation.home)):
        operation.finish()
        if how == "undo":
            raise Refused(f"{journal.id} had landed in every repository, and is done; gli rollback takes it back")
        return
    if not held:
        operation.refuse_if_moved()
    if decided["decision"] == "abort":
        operation.restore(decided["reason"])
    elif how == "resume" and held:
        operation.push(first=False)
    else:
        operation.abort(f"undone by {who}" if held else "its lock was taken over")


def _known(events: Sequence[Event]) -> dict[str, bool]:
    """Which pushes certainly landed, and which certainly did not."""
    landed: dict[str, bool] = {}
    for event in events:
        if event.event == "pushing":
            landed = {name: True for name, it_did in landed.items() if it_did}
        elif event.event == "pushed":
            landed[event.detail["repository"]] = True
        elif event.event == "failed" and event.detail["sure"]:
            landed[event.detail["repository"]] = False
    return landed


def summary(operation: Operation, moves: Moves) -> tuple[str, ...]:
    """One line a repository: what would happen to it."""
    width = max(len(name) for name in moves)
    return tuple(
        f"{name:{width}}  {move.action:9}  {move.old[:8]} -> {move.new[:8]}"
        if move.moves
        else f"{name:{width}}  {'as it is':9}  {move.old[:8]}"
        for name, move in moves.items()
    )


def _answer(gate: Gate, refs: Mapping[str, Refs], against: list[Refused]) -> Evidence | None:
    """The gate's yes, held against what the remotes have now."""
    try:
        evidence = gate(lambda branch: {n: r.branches[branch].id for n, r in refs.items() if branch in r.branches})
    except Refused as e:
        against.append(e)
        return None
    for name, found in refs.items():
        tip = found.branches.get(STAGED)
        proven = evidence.manifest.get(name, {})
        if tip is None or (proven.get("commit"), proven.get("tree")) != (tip.id, tip.tree):
            against.append(Refused(f"{name}: {STAGED} is not at the commit that was verified; verify again"))
    return evidence


def _while_it_counts(approve: Approve, evidence: Evidence | None, freeze: Callable[[], list[Refused]]) -> Approve:
    """The approval, which may have waited for so long that the verdict has expired, or that a freeze has begun."""

    def still(request: Request) -> Approval:
        approval = approve(request)
        if evidence is not None and evidence.expires is not None and now() > evidence.expires:
            raise Refused("the verdict expired before this was approved; verify again")
        if frozen := freeze():
            raise collected(frozen)
        return approval

    return still


def _freeze(frozen: str | None, choices: Choices) -> list[Refused]:
    if frozen is None or choices.override_freeze:
        return []
    return [Refused(f"{frozen}; wait, or say why it can't: --override-freeze REASON")]


def _hold(refs: Mapping[str, Refs], trees: str, choices: Choices) -> list[Refused]:
    hold = plan.on_hold(plan.said_by_tags(refs), trees)
    if hold is None or choices.reinstate:
        return []
    return [Refused(f"this release was taken off {LIVE} by {hold}; to bring it back: --reinstate")]


def _planned(mirror: Mirror, refs: Refs, source: str, target: str, id_: str) -> Move | Refused:
    try:
        return plan.promotion(mirror, refs, source, target, id_)
    except Refused as e:
        return e


def _identity(refs: Mapping[str, Refs], source: str) -> tuple[str, str]:
    """What names the commits, and what names their content."""
    tips = {name: found.branches[source] for name, found in refs.items() if source in found.branches}
    commits, trees = {n: tip.id for n, tip in tips.items()}, {n: tip.tree for n, tip in tips.items()}
    return manifest_id(commits), manifest_id(trees)
