"""`gli pull`: one branch brought forward in every clone, all at once, and nothing of anybody's overwritten.

One connection a repository: a fetch asks first where the branch stands (protocol v2, ls-refs) and asks for objects only
where that is news, so a look of its own would only wait twice. A branch that is checked out moves by `merge --ff-only`,
where no tracked file is changed; any other one as a ref. What can't be brought forward so is left as it is, and said.
Source of truth: git-fetch, git-status (porcelain v2), git-merge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from gli.common.errors import UsageError
from gli.git import ssh
from gli.git.command import GitFailed, git
from gli.release import repositories
from gli.release.repositories import Repository, as_they_end

STATES = ("updated", "up to date", "left alone", "unreachable")
WIDTH = 80
FETCH_S = 600.0
_FETCH = ("fetch", "--progress", "--no-auto-maintenance", "--no-recurse-submodules", "--no-write-fetch-head")
"""git reports its progress on stderr: a fetch that works is never silent, however long it takes."""
_STATUS = ("--no-optional-locks", "status", "--porcelain=v2", "--branch", "--ahead-behind", "--untracked-files=no")
_OF_THE_CLONE = (
    "'origin' does not appear to be a git repository",
    "not a git repository",
    "is not an empty directory",
    "detected dubious ownership in repository",
    "insufficient permission for adding an object",
    "unable to create",
    "bad config ",
    "cannot lock ref",
)
_HELD = ("cannot lock ref", ".lock': File exists")
"""What git says where another git in the same clone was faster."""
_HELD_S = (0.2, 0.5, 1.0)
"""The pauses before it is tried again."""
_MERGE = ("-c", "maintenance.auto=false", "merge", "--ff-only", "--quiet", "--no-autostash", "--no-overwrite-ignore")


class Pulled(NamedTuple):
    """The result for one clone."""

    state: str
    """One of `STATES`."""
    text: str
    code: int = 0
    """0 if the clone has what the remote has, 1 if it was left alone, 3 if the remote could not be asked."""


class _Tree(NamedTuple):
    """The state of somebody's work tree."""

    branch: str | None
    """None if HEAD is detached."""
    head: str
    """The commit, abbreviated."""
    changed: int
    """The number of changed tracked files."""
    submodules: int
    """The number of submodules that are at another commit than the branch names, or have changes: git still merges."""
    ahead_behind: tuple[int, int] | None
    """The checked-out branch compared with its upstream; None without an upstream."""
    upstream: str


def told(root: Path, name: str, branch: str, say: Callable[[str], object], *, clone: bool = False) -> int:
    """Pull a branch of the repositories of environment `name`, and print a line for each. Returns the exit code."""
    known = repositories.of(root, name)
    branches = known[0].branches
    if branch not in branches.names:
        raise UsageError(branches.refused(branch))
    indent = max(len(repository.name) for repository in known) + 2
    pulled = []
    results = pull(known, branch, clone=clone, say=lambda line: say("\n".join(_wrapped("", line))))
    with closing(results):  # if the output is closed, end every git: nobody can read the result
        for repository, result in results:
            text = f"{result.state}: {result.text}" if result.code else result.text
            say("\n".join(_wrapped(f"{repository:{indent}}", text)))
            pulled.append(result)
    say(summary(branch, pulled))
    return max(result.code for result in pulled)


def _wrapped(mark: str, text: str) -> list[str]:
    if len(mark + text) <= WIDTH:
        return [mark + text]
    import textwrap  # seldom needed

    return textwrap.wrap(text, WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark))


def pull(
    known: Sequence[Repository],
    branch: str,
    *,
    clone: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Generator[tuple[str, Pulled]]:
    """Bring the branch in every clone forward to what `origin` has, in the repositories' order.

    `clone` creates missing clones; `say` is called with the names of remotes whose answer takes long.
    """
    first = known[0]
    with first.connections.shared(first.url, first.clone / ".git", say, len(known)):
        for name, result in as_they_end(known, lambda repository: _pull(repository, branch, clone), say=say):
            yield name, Pulled("left alone", str(result), 1) if isinstance(result, GitFailed) else result


def summary(branch: str, pulled: Sequence[Pulled]) -> str:
    """`main: 2 updated, 6 up to date`."""
    states = [p.state for p in pulled]
    return f"{branch}: " + ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states)


def _pull(repository: Repository, branch: str, clone: bool) -> Pulled:
    if not (repository.clone / ".git").exists():
        return _cloned(repository, branch) if clone else _alone(f"no clone at {repository.clone}; --clone makes one")
    ours, theirs = f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"
    try:
        fetch = (*_FETCH, "origin", f"+{ours}:{theirs}")
        repository.connections.reading(lambda: _in(repository, *fetch, env=_shared(repository), interruptible=True))
    except GitFailed as e:
        return _not_fetched(e, branch)
    tree = _tree(repository)
    ahead_behind = tree.ahead_behind
    if tree.branch != branch or tree.upstream != f"origin/{branch}" or ahead_behind is None:
        if not _in(repository, "for-each-ref", ours):
            return _created(repository, branch, tree)
        counts = _in(repository, "rev-list", "--left-right", "--count", f"{ours}...{theirs}").split()
        ahead_behind = int(counts[0]), int(counts[1])
    return _moved(repository, branch, tree, *ahead_behind)


def _moved(repository: Repository, branch: str, tree: _Tree, ahead: int, behind: int) -> Pulled:
    ours, theirs = f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"
    if not behind:
        lacking = f", with {_commits(ahead)} that the remote lacks" if ahead else ""
        stay = tree.submodules and tree.branch == branch
        others = "; its submodules are at other commits: git submodule update" if stay else ""
        return Pulled("up to date", f"up to date{lacking}{others}")
    if tree.branch is None:
        return _alone(f"HEAD is detached at {tree.head}, {_commits(behind)} behind; switch to {branch}")
    if ahead:
        return _alone(f"diverged: {_commits(ahead)} here, {_commits(behind)} there")
    if tree.branch != branch:
        _in(repository, *_FETCH, ".", f"{theirs}:{ours}")
    elif tree.changed:
        changes = "1 file is changed" if tree.changed == 1 else f"{tree.changed} files are changed"
        return _alone(f"{changes}, {_commits(behind)} behind; commit or stash first")
    else:
        _in(repository, *_MERGE, theirs)
        if (repository.clone / ".gitmodules").is_file():
            return _with_submodules(repository, tree, behind)
    return Pulled("updated", f"{_commits(behind)}{_elsewhere(tree, branch)}")


def _with_submodules(repository: Repository, tree: _Tree, behind: int) -> Pulled:
    """Bring the clone's submodules to the commits that the branch names now. A submodule in which somebody has checked
    out another commit stays as it is.
    """
    if tree.submodules:
        return Pulled(
            "updated", f"{_commits(behind)}; its submodules were at other commits and stay: git submodule update"
        )
    try:
        _in(repository, "submodule", "--quiet", "update", "--recursive")
    except GitFailed as e:
        return Pulled("left alone", f"{_commits(behind)} came; a submodule could not follow: {e}", 1)
    return Pulled("updated", _commits(behind))


def _created(repository: Repository, branch: str, tree: _Tree) -> Pulled:
    """Create the branch if the clone lacks it. In a clone without any commit it may be the checked-out branch."""
    theirs = f"refs/remotes/origin/{branch}"
    command = _MERGE if tree.branch == branch else ("branch", "--quiet", "--track", branch)
    _in(repository, *command, theirs)
    return Pulled("updated", f"new branch{_elsewhere(tree, branch)}")


def _cloned(repository: Repository, branch: str) -> Pulled:
    options = ("--progress", "--origin", "origin", "--branch", branch)
    try:
        command = ("clone", *options, "--", repository.url, str(repository.clone))
        repository.connections.reading(
            lambda: git(*command, env=_shared(repository), silence_s=FETCH_S, interruptible=True)
        )
    except GitFailed as e:
        return _not_fetched(e, branch)
    return Pulled("updated", "cloned")


def _not_fetched(error: GitFailed, branch: str) -> Pulled:
    if "couldn't find remote ref" in error.stderr or "not found in upstream origin" in error.stderr:
        return _alone(f"the remote has no branch {branch}")
    if any(fault in error.stderr for fault in _OF_THE_CLONE):
        return _alone(str(error).removeprefix("fatal: "))
    return Pulled("unreachable", str(error), 3)


def _tree(repository: Repository) -> _Tree:
    head, branch, upstream, counts, changed, submodules = "", "", "", None, 0, 0
    for line in _in(repository, *_STATUS).splitlines():
        words = line.split(" ")
        if words[:2] == ["#", "branch.oid"]:
            head = words[2][:7]
        elif words[:2] == ["#", "branch.head"]:
            branch = words[2]
        elif words[:2] == ["#", "branch.upstream"]:
            upstream = words[2]
        elif words[:2] == ["#", "branch.ab"]:
            counts = int(words[2]), -int(words[3])
        elif words[0] == "1" and words[1].startswith(".") and words[2].startswith("S"):
            submodules += 1
        elif words[0] != "#":
            changed += 1
    return _Tree(None if branch == "(detached)" else branch, head, changed, submodules, counts, upstream)


def _in(
    repository: Repository, *arguments: str, env: Mapping[str, str] | None = None, interruptible: bool = False
) -> str:
    """git in somebody's clone. Tries again while another git, as that of an editor, is at work there."""
    for pause in (*_HELD_S, 0.0):
        try:
            return git(*arguments, cwd=repository.clone, env=env, silence_s=FETCH_S, interruptible=interruptible)
        except GitFailed as e:
            if not pause or not any(held in e.stderr for held in _HELD):
                raise
        time.sleep(pause)
    raise AssertionError


def _shared(repository: Repository) -> Mapping[str, str]:
    """How git in this clone uses the shared connection."""
    return ssh.usable(repository.connections.environment, repository.clone / ".git")


def _alone(text: str) -> Pulled:
    return Pulled("left alone", text, 1)


def _elsewhere(tree: _Tree, branch: str) -> str:
    return "" if tree.branch == branch else f" (the work tree is on {tree.branch or tree.head})"


def _commits(number: int) -> str:
    return f"{number} commit" + ("" if number == 1 else "s")
