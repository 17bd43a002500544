"""Merges of a release that somebody reverted by hand, so that git believes them merged and their content is gone.

Source of truth: git's howto/revert-a-faulty-merge; git-revert for the sentence that it writes into its commits.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from gli.git.trailers import RELEASE_ID
from gli.observe.engine.observation import Observation

_REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{40,64})(, reversing)?", re.MULTILINE)
_LISTED = ("rev-list", "--no-commit-header", "--format=%H%x00%s%x00%B%x00%x00", "--grep=^This reverts commit ")
Git = Callable[..., Awaitable[str]]
"""Runs one git command in the repository and gives what it printed."""


class Reverted(Observation):
    """A merge whose content a revert took away."""

    revert: str
    """The revert: `1a2b3c4 Revert "Release"`."""
    merge: str
    """The merge: `5d6e7f8 Release`."""
    commits: int
    """How many commits the merge had brought."""
    newest: str
    """The newest of these commits."""


class _Revert(NamedTuple):
    commit: str
    subject: str
    of: str
    of_merge: bool


async def reverted_merges(git: Git, staged: str, live: str, heads: Sequence[str]) -> tuple[Reverted, ...]:
    """The reverted merges in the history of the staged and the live branch, oldest first. `heads` are all branches'.

    Left out: a revert that was reverted itself; a merge whose content is there again; a merge of commits that only this
    merge had brought, such as a bad hotfix.
    """
    listing = await git(*_LISTED, staged, live)
    found = [revert for record in listing.split("\0\0") if (revert := _parsed(record)) is not None]
    by_target: dict[str, list[_Revert]] = {}
    for revert in found:
        by_target.setdefault(revert.of, []).append(revert)
    lost = []
    for revert in reversed(found):
        if not revert.of_merge or not _stands(revert.commit, by_target):
            continue
        on_staged = revert.commit == staged or await _behind(git, revert.commit, [staged])
        if await _released(git, revert.of, heads) and await _is_missing(
            git, revert.commit, staged if on_staged else live
        ):
            lost.append(await _described(git, revert))
    return tuple(lost)


def _parsed(record: str) -> _Revert | None:
    commit, _, rest = record.strip("\n").partition("\0")
    subject, _, body = rest.partition("\0")
    of = _REVERTS.search(body)
    return _Revert(commit, subject, of[1], of[2] is not None) if of else None


def _stands(commit: str, by_target: Mapping[str, Sequence[_Revert]]) -> bool:
    """Whether no revert that stands itself reverts this commit. A commit can revert older commits only."""
    return not any(_stands(revert.commit, by_target) for revert in by_target.get(commit, ()))


async def _released(git: Git, merge: str, heads: Sequence[str]) -> bool:
    """Whether the merge was a promotion: by its trailer, or because what it brought also went its own way."""
    parents = (await git("rev-list", "--max-count=1", "--parents", merge)).split()[1:]
    if len(parents) != 2:
        return False
    if RELEASE_ID.search(await git("rev-list", "--max-count=1", "--no-commit-header", "--format=%B", merge)):
        return True
    brought = parents[1]
    return brought in heads or bool(await _behind(git, brought, heads) - await _behind(git, merge, heads) - {merge})


async def _behind(git: Git, commit: str, heads: Sequence[str]) -> set[str]:
    """The commits of these branches that descend from a commit."""
    return set((await git("rev-list", "--ancestry-path", *heads, f"^{commit}")).split())


async def _is_missing(git: Git, revert: str, tip: str) -> bool:
    """Whether reverting the revert at this tip would change files: a three-way merge with the revert as the base."""
    trees = [(await git("rev-list", "--max-count=1", "--no-commit-header", "--format=%T", c)).strip() for c in
             (revert, tip, f"{revert}^")]  # fmt: skip
    base = (await git("commit-tree", trees[0], "-m", "base")).strip()
    ours, theirs = [(await git("commit-tree", tree, "-p", base, "-m", "side")).strip() for tree in trees[1:]]
    merged = await git("merge-tree", "--write-tree", "--no-messages", ours, theirs, accept=(0, 1))
    return merged.split("\n", 1)[0].strip() != trees[1]


async def _described(git: Git, revert: _Revert) -> Reverted:
    about = ("rev-list", "--no-commit-header", "--format=%h %s")
    (merge,) = (await git(*about, "--max-count=1", revert.of)).splitlines()
    brought = (await git(*about, "--no-merges", f"{revert.of}^1..{revert.of}^2")).splitlines()
    newest = brought[0] if brought else merge
    short = merge.partition(" ")[0]
    return Reverted(
        revert=f"{revert.commit[: len(short)]} {revert.subject}", merge=merge, commits=len(brought), newest=newest
    )
