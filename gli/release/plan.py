"""What an operation will do to each repository, worked out in the mirrors before anything moves.

A promotion is planned from commits, never from branch names. Its result is a merge commit; on the way to main, its tree
is exactly the verified tree.

A branch that was taken back (by a rollback, or by an undone promotion) has a commit with an old tree on top of the new
history. git's own merge would then leave the change out in silence. So a merge uses the *effective* content of a
branch: the release that its tree was taken back to, with the later commits on top. Commits of operations carry
trailers: `Release-Id`, and `Restores` if the tree is that of an earlier commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gli.common.errors import UsageError
from gli.common.manifest import manifest_id
from gli.git.command import GitFailed
from gli.git.effective import Commit, answered
from gli.git.effective import effective as effective_of
from gli.release.git_merge import merge
from gli.release.mirror import Mirror, Refs


class Refused(Exception):
    """An operation that may not continue, and why. `code` is the exit code of `gli`."""

    def __init__(self, *reasons: str, code: int = 1) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons
        self.code = code


def because(reason: str, asks: str) -> str:
    """The reason that a person gave. Raises `UsageError` for an empty reason, and for a reason that was meant as an
    option.
    """
    if not reason.strip():
        raise UsageError(asks)
    if reason.startswith("-"):
        raise UsageError(f"{reason} is no reason; {asks}")
    return reason


@dataclass(frozen=True)
class Move:
    """What happens to one repository."""

    action: str
    """merge, reinstate (a merge over a rollback), noop, rollback, reset, push."""
    branch: str
    old: str
    new: str
    tree: str
    """The tree of `new`."""
    old_tree: str
    source: str
    """The commit that the move brings; for a rollback, the commit that it goes back to."""
    guard: str = ""
    """The branch whose head must still be `source`; empty if `source` is not the head of a branch."""

    @property
    def moves(self) -> bool:
        return self.new != self.old


Moves = Mapping[str, Move]


def promotion(mirror: Mirror, refs: Refs, source: str, target: str, id_: str) -> Move:
    """The merge of `source` into `target`. Raises `Refused` with every objection."""
    theirs, ours = tip(mirror, refs, source), tip(mirror, refs, target)
    base = effective(mirror, ours)
    try:
        tree, conflicts = _merged(mirror, base, theirs, target)
    except GitFailed as e:
        if "unrelated histories" not in e.stderr:
            raise
        raise Refused(f"{mirror.name}: {source} and {target} have no commit in common") from None
    if conflicts:
        raise Refused(f"{mirror.name}: {source} and {target} conflict in {', '.join(conflicts)}")
    if target == mirror.branches.live and tree != theirs.tree:
        lacking, back = ", ".join(mirror.differing(tree, theirs.tree)), mirror.branches.merge_back
        raise Refused(f"{mirror.name}: {target} holds what {source} lacks ({lacking}): merge back first: {back}")
    if tree == ours.tree and mirror.contains(ours.id, theirs.id):
        return Move("noop", target, ours.id, ours.id, ours.tree, ours.tree, theirs.id, source)
    message = f"Merge {source} into {target}\n\nRelease-Id: {id_}\n"
    new = mirror.make_commit(tree, (ours.id, theirs.id), message)
    return Move("merge" if base == ours.id else "reinstate", target, ours.id, new, tree, ours.tree, theirs.id, source)


def _merged(mirror: Mirror, base: str, theirs: Commit, target: str) -> tuple[str, tuple[str, ...]]:
    """The tree of the merge, and the files that conflict."""
    if target == mirror.branches.live:  # only exactly their tree may land; git's own merge may result in it
        tree, conflicts = merge(mirror, base, theirs.id)
        if tree == theirs.tree and not conflicts:
            return tree, conflicts
    return merge(mirror, base, effective(mirror, theirs))


def forward(mirror: Mirror, refs: Refs, to: Commit, message: str) -> Move:
    """A commit on top of the live branch with the tree of an earlier release: nothing is rewritten or lost."""
    live = mirror.branches.live
    ours = tip(mirror, refs, live)
    if ours.tree == to.tree:
        return Move("noop", live, ours.id, ours.id, ours.tree, ours.tree, to.id)
    new = mirror.make_commit(to.tree, (ours.id,), message + f"Restores: {to.id}\n")
    return Move("rollback", live, ours.id, new, to.tree, ours.tree, to.id)


def reset(mirror: Mirror, refs: Refs, to: Commit) -> Move:
    """The live branch itself put back to an earlier release."""
    live = mirror.branches.live
    ours = tip(mirror, refs, live)
    return Move("noop" if ours.id == to.id else "reset", live, ours.id, to.id, to.tree, ours.tree, to.id)


def restore(mirror: Mirror, move: Move, id_: str) -> str:
    """The commit that takes a move back: the old commit if the branch can move forward to it, else a new commit with
    the old tree on top.
    """
    if move.action == "reset":
        return move.old
    message = f"Undo {id_}\n\nRelease-Id: {id_}\nRestores: {move.old}\n"
    return mirror.make_commit(move.old_tree, (move.new,), message)


def tip(mirror: Mirror, refs: Refs, branch: str) -> Commit:
    """The head of a branch. Raises `Refused` if the branch does not exist."""
    if branch not in refs.branches:
        raise Refused(f"{mirror.name} has no branch {branch}")
    return refs.branches[branch]


def effective(mirror: Mirror, commit: Commit) -> str:
    """The commit to merge with in place of `commit`: see `gli.git.effective`."""
    return answered(effective_of(commit), mirror.git).id


def approval_id(moves: Moves) -> str:
    """The name of what is approved: which branches change, how, from which commits, to which content."""
    return manifest_id({name: f"{m.action} {m.branch} {m.old} {m.tree}" for name, m in moves.items()})


def document(moves: Moves) -> dict[str, Any]:
    """The moves, in the form that a journal and a tag hold."""
    return {name: asdict(move) for name, move in moves.items()}


def parsed(moves: Mapping[str, Mapping[str, Any]]) -> dict[str, Move]:
    """The moves in what `document` returned."""
    return {name: Move(**move) for name, move in moves.items()}
