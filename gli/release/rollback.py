"""Rollback: every repository goes back to an earlier release, as one operation, all or nothing.

The default is a rollback forward: a commit with the old tree on top of main. It passes branch protection, rewrites
nothing, and the changes that it removes stay in history. A reset moves main itself back, like `git reset --hard TAG`
and a push with a lease, and needs two people; the removed commits are kept under `refs/archive/`. Both put the removed
release on hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from gli.common.manifest import manifest_id
from gli.git.tags import is_deployment, on_hold
from gli.observe.release.migrations import in_paths
from gli.release import landed, plan
from gli.release.engine import Operation
from gli.release.mirror import Mirror, Refs
from gli.release.plan import Move, Refused
from gli.release.promote import summary
from gli.release.session import Approve, Planned, Request, Session
from gli.release.side_by_side import answers, on_each

Mode = Literal["forward", "reset"]


def rollback(
    session: Session,
    to: str | None,
    *,
    reason: str,
    approve: Approve,
    mode: Mode = "forward",
    acknowledge_migrations: bool = False,
    dry_run: bool = False,
) -> Operation:
    """Go back to the release of the tag `to`; without it, to the release before the live one.

    Raises `UsageError` without a reason, `Refused` with every objection; above all if the database has migrations that
    the old code does not know, unless they are acknowledged.
    """
    plan.because(reason, 'a rollback needs its reason: -m "What is wrong with this release"')
    kind, live = "rollback" if mode == "forward" else "reset", session.settings.branches.live
    with session.operation(kind=kind, source=to, branch=live, reason=reason, dry_run=dry_run) as operation:
        refs = session.fetch(operation)
        target = to or previous(session, operation, refs)
        _refuse_unusable_tag(refs, target)
        _refuse_what_was_never_live(operation, refs, target)
        message = f"Roll back to {target}\n\nReason: {' '.join(reason.split())}\nRelease-Id: {operation.id}\n"
        moves = _moves(operation, refs, target, mode, message)
        if not any(move.moves for move in moves.values()):
            raise Refused(f"{live} is at {target} in every repository")
        kept = _kept_migrations(operation, moves)
        if kept and not acknowledge_migrations:
            raise Refused(
                f"the database keeps migrations that {target} does not know: {', '.join(kept)}; code goes back, data "
                "does not: see that the old code works with them, then --ack-migrations"
            )
        planned: dict[str, Any] = {
            "manifest": manifest_id({n: m.source for n, m in moves.items()}),
            "trees": manifest_id({n: m.tree for n, m in moves.items()}),
            "held": manifest_id({n: m.old_tree for n, m in moves.items()}),
            "to": target,
            "migrations_kept": kept,
        }
        lines = (*summary(operation, moves), *(f"the database keeps {migration}" for migration in kept))
        second: Literal["", "now"] = "now" if mode == "reset" else ""
        request = Request(
            plan.approval_id(moves), f"{live} back to {target} ({mode})", lines, True, session.actor, second
        )
        tag = session.tag_name("rollback", operation, refs)

        def tell() -> None:
            try:
                session.tell_github(moves, f"back to {target}")
            except Refused as e:  # a rollback must not depend on GitHub's API: GitHub's rules decide at the push
                session.say(f"{e}; going on without")

        whole = Planned(moves, planned, request, tag, before_moving=tell)
        session.carry_out(operation, refs, whole, approve, dry_run=dry_run)
        return operation


def _refuse_unusable_tag(refs: Mapping[str, Refs], target: str) -> None:
    """Raises `Refused` for a tag that a repository lacks, and for a tag that somebody moved."""
    lacking = [name for name, found in refs.items() if target not in found.tags]
    if lacking:
        raise Refused(f"there is no tag {target} in {', '.join(lacking)}, so not all can go back to it")
    moved = _moved_tags(refs, target)
    if moved:
        raise Refused(f"{target} was moved in {', '.join(moved)} since it was made; gli doctor says where it was")


def _refuse_what_was_never_live(operation: Operation, refs: Mapping[str, Refs], target: str) -> None:
    """Raises `Refused` for the tag of an operation that was undone, and for a tag of commits that were never live: the
    gate has not seen them.
    """
    said, live = landed.said_by_tags(refs).get(target), next(iter(operation.mirrors.values())).branches.live
    if said is not None and target not in landed.landed(operation.mirrors, refs, {target: said}):
        raise Refused(f"{target} is of an operation that was undone; gli log lists the releases")
    never = landed.never_live(operation.mirrors, refs, target)
    if never:
        raise Refused(f"{target} was never on {live} of {', '.join(never)}, so the gate never saw it")


def previous(session: Session, operation: Operation, refs: Mapping[str, Refs]) -> str:
    """The newest release before the live one, by content: not what main holds now, and not a release that was taken off
    it.

    Newer means further up in main's history, not a later clock time. Raises `Refused` if there is no such release. A
    rollback is never a target itself.
    """
    form, mirrors = session.settings.deploy_tag, operation.mirrors
    in_all = set.intersection(*({t for t in found.tags if is_deployment(t, form)} for found in refs.values()))
    live = {n: plan.tip(mirrors[n], found, session.settings.branches.live) for n, found in refs.items()}
    trees = {tag: manifest_id({name: found.tags[tag].tree for name, found in refs.items()}) for tag in in_all}
    histories = answers(on_each(mirrors.values(), lambda mirror: _places(mirror, live[mirror.name].id)))
    below = {tag: [histories[n].get(found.tags[tag].id) for n, found in refs.items()] for tag in in_all}
    deep = {tag: sum(filter(None, places)) for tag, places in below.items() if None not in places}
    newest_first = sorted(deep, key=lambda tag: (-deep[tag], tag), reverse=True)
    now = manifest_id({name: commit.tree for name, commit in live.items()})
    current = next((number for number, tag in enumerate(newest_first) if trees[tag] == now), -1)
    documents = landed.said_by_tags(refs)
    said_by = landed.landed(mirrors, refs, documents)
    undone = documents.keys() - said_by.keys()
    for tag in newest_first[current + 1 :]:
        if tag in undone:
            continue
        if trees[tag] != now and on_hold(said_by, trees[tag]) is None:
            return tag
    before = newest_first[current] if current >= 0 else "what is live"
    raise Refused(f"there is no release before {before} that every repository has a tag of")


def _places(mirror: Mirror, tip: str) -> dict[str, int]:
    """Each commit in the history of a commit to its distance."""
    return {commit: number for number, commit in enumerate(mirror.git("rev-list", "--topo-order", tip).split())}


def _moved_tags(refs: Mapping[str, Refs], tag: str) -> list[str]:
    """The repositories in which a tag is not where its operation put it."""
    moves = landed.said_by_tags(refs).get(tag, {}).get("moves", {})
    return [name for name, found in refs.items() if name in moves and found.tags[tag].id != moves[name]["new"]]


def _moves(operation: Operation, refs: Mapping[str, Refs], target: str, mode: Mode, message: str) -> dict[str, Move]:
    def one(mirror: Mirror) -> Move:
        here = refs[mirror.name]
        to = here.tags[target]
        return plan.forward(mirror, here, to, message) if mode == "forward" else plan.reset(mirror, here, to)

    return answers(on_each(operation.mirrors.values(), one))


def _kept_migrations(operation: Operation, moves: Mapping[str, Move]) -> list[str]:
    """Migrations that the removed release has and the restored release lacks."""
    kept = []
    for name, move in moves.items():
        if move.old_tree != move.tree:
            files = operation.mirrors[name].files
            gone = set(in_paths(files(move.old_tree))) - set(in_paths(files(move.tree)))
            kept += [f"{name} {app}.{migration}" for app, migration in sorted(gone)]
    return kept
