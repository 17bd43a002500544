"""Promotion: a branch of all repositories moves into the next one, through the gate on the way to production; and
recovery after a crash.

Most promotions and all back-merges are merges that one person confirms. That into the live branch asks the gate, and
moves exactly the commits of the verdict's manifest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from gli.common.clock import now
from gli.common.errors import UsageError
from gli.common.manifest import manifest_id
from gli.git.branches import Branches
from gli.git.command import GitFailed, shown
from gli.observe.release.migrations import in_paths
from gli.release import fence, landed, lock, plan, take_over
from gli.release import journal as journals
from gli.release.engine import Operation
from gli.release.fence import Fence
from gli.release.journal import Event, Journal
from gli.release.mirror import Mirror, Refs
from gli.release.plan import Move, Moves, Refused
from gli.release.session import Approval, Approve, Planned, Request, Session, half_finished
from gli.release.side_by_side import answers, collected, on_each

_SHOWN = 10
"""How many commits of a repository the summary shows."""


@dataclass(frozen=True)
class Evidence:
    """The gate's yes: the manifest of the verdict, {repository: {commit, tree}}, and the verdict's name."""

    manifest: Mapping[str, Mapping[str, str]]
    verdict: Mapping[str, str]
    expires: datetime | None = None
    notes: tuple[str, ...] = ()
    """What a person has to know before the approval: who signed the verdict, or that nobody did; waivers; sign-offs."""


Heads = Callable[[str], Mapping[str, str]]
"""{repository: commit} of a branch, in the repositories that have it."""
Gate = Callable[[Heads], Evidence]
"""Asks the gate about the present heads of the remotes. Raises `Refused` with the gate's reason and exit code."""


@dataclass(frozen=True)
class Choices:
    """The decisions of the person who starts a promotion."""

    dry_run: bool = False
    reinstate: bool = False
    """Bring back a release that was rolled back."""
    override_freeze: str | None = None
    """The reason why the promotion may go ahead in a freeze window."""


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
    """Merge `source` into `target` in every repository, or in none. `frozen` returns the freeze window that is open
    when it is called.

    Raises `UsageError` for two branches without a promotion between them, `Refused` with every objection.
    """
    branches = session.settings.branches
    _refuse_other_ways(branches, source, target)
    live = target == branches.live
    kind = "deploy" if live else "merge"
    with session.operation(kind=kind, source=source, branch=target, dry_run=choices.dry_run) as operation:
        found = session.fetch_and(operation, lambda m, refs: _planned(m, refs, source, target, operation.id))
        refs = {name: fetched for name, (fetched, _) in found.items()}
        against = [planned for _, planned in found.values() if isinstance(planned, Refused)]
        evidence, window = None, None
        if live:
            evidence = _answer(gate, source, refs, against)
            window = frozen()
            against += _freeze(window, choices)
        if (source, target) in branches.onwards:
            against += [Refused(debt) for debt in landed.open_debts(operation.mirrors, refs)]
        moves = {name: move for name, (_, move) in found.items() if isinstance(move, Move)}
        manifest, trees = _identity(refs, source)
        if live:
            against += _hold(operation.mirrors, refs, trees, choices)
        if against:
            raise collected(against)
        if not any(move.moves for move in moves.values()):
            raise Refused(f"{target} has all of {source} in every repository; there is nothing to promote")
        planned = {"manifest": manifest, "trees": trees, **_allowed_by(evidence, window, choices)}
        notes = [f"the gate: {note}" for note in evidence.notes] if evidence is not None else []
        lines = (*summary(operation, moves), *notes)
        request = Request(plan.approval_id(moves), f"{source} to {target}", lines, live, session.actor)
        tag = session.tag_name("deploy", operation, refs) if live else None
        still = _while_it_counts(approve, evidence, lambda: _freeze(frozen(), choices) if live else [])

        def tell() -> None:
            if live:
                session.tell_github(moves, f"verified on {source}, manifest {manifest}")

        whole = Planned(moves, planned, request, tag, before_moving=tell)
        session.carry_out(operation, refs, whole, still, dry_run=choices.dry_run)
        return operation


def _refuse_other_ways(branches: Branches, source: str, target: str) -> None:
    """Raises `UsageError` for two branches without a promotion between them."""
    if (source, target) not in branches.ways:
        ways = ", ".join(f"{s} {t}" for s, t in branches.ways) or "no way, with one branch"
        raise UsageError(f"nothing is promoted from {source!r} to {target!r}; there is: {ways}")


def _allowed_by(evidence: Evidence | None, window: str | None, choices: Choices) -> dict[str, Any]:
    """The verdict that allows the promotion, and the freeze window that a person overrode, for journal and tag."""
    found: dict[str, Any] = {}
    if evidence is not None:
        found["verdict"] = dict(evidence.verdict)
    if window and choices.override_freeze:
        found["override_freeze"] = {"window": window, "reason": choices.override_freeze}
    return found


def recover(session: Session, how: Literal["resume", "undo"]) -> Operation | None:
    """Finish or undo what a crash left; None if there is nothing to do. Raises `Refused` if it ends with nothing moved.

    A promotion that can't have moved any branch yet is closed in either case: its gate and its approval are old.
    """
    path = half_finished(session.settings.state)
    if path is None:
        _refuse_if_elsewhere(session)
        return None
    journal = Journal.reopen(path, session.actor)
    try:
        operation = reopened(session, journal)
        with session.logged(operation):
            take_over.go_on_adopting(operation)
            if operation.lock:
                home = operation.mirrors[operation.home]
                operation.log.saw(answers(on_each([home], Mirror.fetch))[home.name])
            _recovered(operation, how, session.actor)
        return operation
    finally:
        journal.close()


def _refuse_if_elsewhere(session: Session) -> None:
    """Raises `Refused` if an operation is unfinished on another machine and none on this one."""
    mirrors, home = session.settings.mirrors(session.running), session.settings.log_repository
    refs = answers(on_each(mirrors.values(), Mirror.fetch))
    marks = {name: session.mark(mirrors[name], found) for name, found in refs.items()}
    held = refs[home].lock  # where a host keeps it, also after its operation has ended: the fences tell
    holder = lock.Holder.of(mirrors[home], held) if held and marks[home] is None else None
    left = fence.under_way(marks, home) or holder
    if left is not None:
        raise Refused(
            f"nothing is half-finished on this machine; {left.actor} on {left.host} has not ended {left.id}, begun "
            f"{left.since}. {_where(left.host, session.settings.state)}. {session.gone(left.id, left.host)}"
        )


def _where(host: str, state: Path) -> str:
    """Where a person has to end an operation that this state folder does not know."""
    if host != os.uname().nodename:
        return f"End it on {host}"
    return f"It was begun on this machine, in another state folder than {state}: end it there"


def reopened(session: Session, journal: Journal) -> Operation:
    """The operation of a journal, with everything known about it."""
    operation = session.around(journal)
    planned, parking = journals.last(journal.events, "planned"), journals.last(journal.events, "parking")
    if planned is not None and parking is not None:
        operation.moves = plan.parsed(planned["moves"])
        operation.tag, operation.tagged, operation.lock = parking["tag"], parking["tagged"], parking["lock"]
        if "fences" not in parking:
            raise Refused(f"{journal.id} was begun by an older gli; end it with that one", code=3)
        operation.fences = {name: Fence(*objects) for name, objects in parking["fences"].items()}
        taken = (event.detail for event in journal.events if event.event == "taking")
        operation.fences |= {detail["repository"]: Fence(*detail["fence"]) for detail in taken}
        operation.tags = dict((journals.last(journal.events, "parked") or {"tags": {}})["tags"])
    operation.landed = _known(journal.events)
    return operation


def _recovered(operation: Operation, how: Literal["resume", "undo"], who: str) -> None:
    journal = operation.journal
    if journals.last(journal.events, "pushing") is None:
        operation.close_unmoved("left before anything moved")
        raise Refused(f"{journal.id}: nothing had moved, and it is closed now; start it again")
    decided = (journals.last(journal.events, "decided") or {"decision": ""})["decision"]
    try:
        done = decided == "commit" or (not decided and operation.has_landed(operation.home))
    except GitFailed as e:
        if fence.took(e):
            operation.overtaken()
        raise
    if done:
        operation.finish()
        if how == "undo":
            raise Refused(f"{journal.id} had landed in every repository, and is done; gli rollback takes it back")
    elif decided == "abort":
        operation.restore((journals.last(journal.events, "decided") or {})["reason"])
    elif how == "resume":
        operation.push(first=False)
    else:
        operation.abort(f"undone by {who}")


def _known(events: Sequence[Event]) -> dict[str, bool]:
    """The repositories whose push certainly landed, and those whose push certainly did not."""
    landed: dict[str, bool] = {}
    for event in journals.since_overtaken(events):
        if event.event == "pushing":
            landed = {name: True for name, it_did in landed.items() if it_did}
        elif event.event == "pushed":
            landed[event.detail["repository"]] = True
        elif event.event == "failed" and event.detail["sure"]:
            landed[event.detail["repository"]] = False
    return landed


def summary(operation: Operation, moves: Moves) -> tuple[str, ...]:
    """What would happen to each repository, with the commits that it gains and the migrations among them."""
    width = max(len(name) for name in moves)
    found = answers(on_each((operation.mirrors[n] for n in moves), lambda mirror: _gains(mirror, moves[mirror.name])))
    lines: list[str] = []
    for name, move in moves.items():
        if not move.moves:
            lines.append(f"{name:{width}}  {'as it is':9}  {move.old[:8]}")
            continue
        lines.append(f"{name:{width}}  {move.action:9}  {move.old[:8]} -> {move.new[:8]}")
        lines += [f"    {line}" for line in found[name]]
    return tuple(lines)


def _gains(mirror: Mirror, move: Move) -> list[str]:
    """`1a2b3c4d Mend the login (Name)` of each commit that a branch gains, and its migrations."""
    if not move.moves or move.action in ("rollback", "reset"):
        return []
    listing = mirror.git(
        "rev-list",
        "--no-commit-header",
        "--no-merges",
        "--abbrev=8",
        "--format=%h %s (%an)",
        move.source,
        f"^{move.old}",
    )
    commits = [shown(line) for line in listing.splitlines()]
    more = len(commits) - _SHOWN
    lines = commits[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    added = set(mirror.files(move.tree)) - set(mirror.files(move.old_tree))
    return lines + [f"migration {app}.{migration}" for app, migration in sorted(in_paths(added))]


def _answer(gate: Gate, source: str, refs: Mapping[str, Refs], against: list[Refused]) -> Evidence | None:
    """The gate's yes, compared with what the remotes have now."""
    try:
        evidence = gate(lambda branch: {n: r.branches[branch].id for n, r in refs.items() if branch in r.branches})
    except Refused as e:
        against.append(e)
        return None
    for name, found in refs.items():
        tip = found.branches.get(source)
        proven = evidence.manifest.get(name, {})
        if tip is None or (proven.get("commit"), proven.get("tree")) != (tip.id, tip.tree):
            against.append(Refused(f"{name}: {source} is not at the commit that was verified; verify again"))
    return evidence


def _while_it_counts(approve: Approve, evidence: Evidence | None, freeze: Callable[[], list[Refused]]) -> Approve:
    """Get the approval. It may take so long that the verdict has expired or a freeze has begun."""

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


def _hold(mirrors: Mapping[str, Mirror], refs: Mapping[str, Refs], trees: str, choices: Choices) -> list[Refused]:
    hold = landed.hold(mirrors, refs, trees)
    if hold is None or choices.reinstate:
        return []
    live = next(iter(mirrors.values())).branches.live
    return [Refused(f"this release was taken off {live} by {hold}; to bring it back: --reinstate")]


def _planned(mirror: Mirror, refs: Refs, source: str, target: str, id_: str) -> Move | Refused:
    try:
        return plan.promotion(mirror, refs, source, target, id_)
    except Refused as e:
        return e


def _identity(refs: Mapping[str, Refs], source: str) -> tuple[str, str]:
    """The name of the commits, and the name of their content."""
    tips = {name: found.branches[source] for name, found in refs.items() if source in found.branches}
    commits, trees = {n: tip.id for n, tip in tips.items()}, {n: tip.tree for n, tip in tips.items()}
    return manifest_id(commits), manifest_id(trees)
