"""The effective content of a branch: after a rollback, the earlier release with the later commits on top of it.

A rollback puts a commit with an old tree on top of the new history. In git's view the history still holds the changes
that the rollback removed. So git's own merge leaves them out in silence, and a comparison reports them as missing
elsewhere. Promotions merge with the effective commit, and checks compare with it. Both use this module, so they can't
disagree.

Commits of operations carry trailers: `Release-Id`, and `Restores` if the tree is that of an earlier commit.

Source of truth: `gli.release.plan` writes them; git's howto/revert-a-faulty-merge.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

from gli.git.command import GitFailed
from gli.git.trailers import RELEASE_ID, RESTORES

Asked = tuple[str, ...]
"""Arguments of one git command in the repository; the generators below are sent what it printed, or its error."""
ONE = ("rev-list", "--max-count=1", "--no-commit-header", "--format=%H%x00%T%x00%B")
T = TypeVar("T")
_AFTER = "What came after a rollback\n"


class Commit(NamedTuple):
    """A commit, or the commit that a tag points to."""

    id: str
    tree: str
    message: str
    """The commit's; of an annotated tag the tag's."""

    @classmethod
    def read(cls, id_: str, content: str) -> Commit:
        """The commit whose object has this content: header lines, an empty line, the message."""
        header, _, message = content.partition("\n\n")
        return cls(id_, header.split()[1], message)

    @property
    def short(self) -> str:
        return self.id[:8]


class Effective(NamedTuple):
    """What to merge with, or to compare with, in place of a commit."""

    id: str
    history: tuple[Asked, ...]
    """The arguments of `git rev-list` that together list the commits that it is made of."""


def effective(commit: Commit) -> Generator[Asked, str, Effective]:
    """The effective commit of a branch with the tip `commit`; the commit itself if nothing was rolled back."""
    newest = yield from newest_of_operations(commit)
    restored = newest and RESTORES.search(newest.message)
    itself = Effective(commit.id, ((commit.id,),))
    if not newest or not restored:
        return itself
    # If the tree differs, somebody copied the message of a restoring commit.
    try:
        earlier = parsed((yield (*ONE, f"{restored['commit']}^{{commit}}")))
    except GitFailed:
        return itself
    if earlier.tree != newest.tree:
        return itself
    base = yield from effective(earlier)
    if newest.tree == commit.tree:
        return base
    made = (yield ("commit-tree", commit.tree, "-p", base.id, "-m", _AFTER)).strip()
    return Effective(made, (*base.history, (commit.id, f"^{newest.id}")))


def newest_of_operations(commit: Commit) -> Generator[Asked, str, Commit | None]:
    """The newest commit that an operation made on the branch with this tip.

    A restoring commit that was merged in later from a side branch (as `git pull` does) counts before the commits on the
    branch itself.
    """
    if RELEASE_ID.search(commit.message):
        return commit
    newest = (*ONE, "--grep=^Release-Id: ", commit.id)
    on_it = _found((yield (*newest[:4], "--first-parent", *newest[4:])))
    aside = _found((yield (*newest[:4], "--topo-order", *newest[4:], *([f"^{on_it.id}"] if on_it else []))))
    return aside if aside and RESTORES.search(aside.message) else on_it


def answered(steps: Generator[Asked, str, T], git: Callable[..., str]) -> T:
    """The result of the steps if `git` answers each of their questions. `git` may raise `GitFailed`."""
    try:
        asked = next(steps)
        while True:
            try:
                answer = git(*asked)
            except GitFailed as e:
                asked = steps.throw(e)
            else:
                asked = steps.send(answer)
    except StopIteration as end:
        returned: T = end.value
        return returned


def parsed(text: str) -> Commit:
    """The commit that a command with `ONE` printed."""
    return Commit(*text.split("\0", 2))


def _found(text: str) -> Commit | None:
    return parsed(text) if text else None
