"""The gaps between the branches of a promotion: what a later branch has and an earlier branch lacks.

Source of truth: git-rev-list, git-merge-tree --write-tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from gli.common.clock import now
from gli.git import refs
from gli.git.command import GitFailed
from gli.git.effective import Commit, Effective, effective
from gli.observe.engine.observation import Observation
from gli.observe.release.bare_repository import Bare


class Gap(Observation):
    """The commits that a later branch of the promotion has and an earlier branch lacks."""

    branch: str
    """The branch that may lack it."""
    of: str
    """The branch that has it."""
    commits: int
    """How many commits of `of` are not in the history of `branch`."""
    newest: str = ""
    """The newest of these commits: `1a2b3c4 Fix the login`."""
    age_h: float = 0.0
    """Hours since the oldest of these commits was made."""
    conflicts: tuple[str, ...] = ()
    """The files that conflict when the two branches are merged."""
    lost: bool = False
    """Whether a merge of `of` would conflict, or would change the files of `branch`. A release's merge commit changes
    no file, nor does a change that both branches contain already."""


async def gaps(bare: Bare, heads: Mapping[str, Commit], path: Sequence[str]) -> tuple[Gap, ...]:
    """The gap between each branch and each branch that comes after it in the promotion."""
    found = []
    for later in reversed(path[-2:]):
        earlier = [b for b in path[: path.index(later)] if {b, later} <= heads.keys()]
        if not earlier:
            continue
        theirs = await _effective(bare, heads[later])
        holding = ("for-each-ref", "--format=%(refname:lstrip=2)", "--contains", theirs.id, "refs/heads")
        holders = set(refs.lines(await bare.git(*holding)))
        for branch in earlier:
            held = branch in holders
            found.append(Gap(branch=branch, of=later, commits=0) if held else await _gap(bare, branch, later, theirs))
    return tuple(found)


async def _effective(bare: Bare, head: Commit) -> Effective:
    """Runs the steps of `gli.git.effective`: rolled-back changes are on hold, so no branch is reported to lack them."""
    return await bare.answered(effective(head))


async def _gap(bare: Bare, branch: str, of: str, theirs: Effective) -> Gap:
    ours = f"refs/heads/{branch}"
    missing: list[list[str]] = []
    for commits in theirs.history:
        # rev-list, not log: a user's git configuration does not change its output
        log = await bare.git("rev-list", "--no-commit-header", "--format=%ct %h %s", *commits, f"^{ours}")
        missing = [line.split(" ", 1) for line in refs.lines(log)] + missing
    oldest = min(datetime.fromtimestamp(int(at), UTC) for at, _ in missing)
    merge = ("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs.id)
    answer = await bare.git(*merge, accept=(0, 1))
    tree, *conflicts = [part for part in answer.split("\0") if part] or [""]
    if not tree:  # exit code 1 means a conflict, but also a bad ref, which prints nothing
        raise GitFailed(merge, 1, f"git merge-tree of {branch} and {of} printed nothing")
    own = (await bare.git("rev-parse", f"{ours}^{{tree}}")).strip()
    return Gap(
        branch=branch,
        of=of,
        commits=len(missing),
        newest=missing[0][1],
        age_h=round((now() - oldest).total_seconds() / 3600, 2),
        conflicts=tuple(conflicts),
        lost=bool(conflicts) or tree != own,
    )
