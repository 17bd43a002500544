"""The release as git has it: where the branches and tags of every repository stand.

git is called as a program, in a temporary bare repository where it needs one: nobody's clone is touched. Source of
truth: git-ls-remote. What the commits hold, and what lies between them, is in `gli.observe.release.git_history`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from gli.common.clock import is_time
from gli.common.sentences import phrase
from gli.config.environments import Git
from gli.git.branches import LIVE, ROLLBACK_TAG
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

TIMEOUT_S = 20.0
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"}


class Heads(Observation):
    """The branches and tags of one repository, or why they could not be listed."""

    repository: str
    branches: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    """Tag to the commit it stands for (annotated tags peeled)."""
    error: str | None = None

    def commit_of(self, branch: str) -> str:
        """The head of a branch; raises `Unobserved` where there is none."""
        if branch not in self.branches:
            raise unknown("dependency", phrase("{} has no readable branch {}", self.repository, branch))
        return self.branches[branch]


class Release(Observation):
    """The heads of the environment's branch in every repository."""

    branch: str
    commits: Mapping[str, str]

    def commit_of(self, repository: str) -> str:
        """The head of a repository's branch; raises `Unobserved` where it has none."""
        if repository not in self.commits:
            raise unknown("dependency", phrase("{} has no readable branch {}", repository, self.branch))
        return self.commits[repository]


class Deployments(Observation):
    """What the deploy tags of all repositories say together; a repository that differs from most is the odd one."""

    tags: Mapping[str, tuple[str, ...]]
    """The deploy tags of each repository, newest first."""
    current: str | None
    """The newest deploy tag that stands at the head of the live branch in most repositories."""
    way_back: str | None
    """The newest deploy tag that most repositories have: where a rollback goes once the next release is live."""


class GitFailed(Exception):
    """git ended with an error; the text is its last line."""


@probe(deadline=TIMEOUT_S, early=True)
async def heads(observer: Observer, repository: str) -> Heads:
    """Every branch and tag of a repository, in one connection."""
    assert observer.environment.git is not None, "asked only of environments with a git table"
    remote = observer.environment.git.of(repository)
    observer.count("git")
    try:
        listing = await git("ls-remote", "--heads", "--tags", "--", remote)
    except GitFailed as e:
        return Heads(repository=repository, error=str(e))
    refs = {ref: commit for commit, _, ref in (line.partition("\t") for line in listing.splitlines())}
    branches = {r.removeprefix("refs/heads/"): c for r, c in refs.items() if r.startswith("refs/heads/")}
    tags = {
        r.removeprefix("refs/tags/"): refs.get(f"{r}^{{}}", c)
        for r, c in refs.items()
        if r.startswith("refs/tags/") and not r.endswith("^{}")
    }
    return Heads(repository=repository, branches=branches, tags=tags)


@probe(deadline=TIMEOUT_S, early=True)
async def release(observer: Observer) -> Release:
    """The heads of the environment's branch in all repositories, asked at once."""
    branch = observer.environment.branch
    commits = {h.repository: h.branches[branch] for h in await _all_heads(observer) if branch in h.branches}
    return Release(branch=branch, commits=commits)


@probe(deadline=TIMEOUT_S)
async def deployments(observer: Observer) -> Deployments:
    """The deploy tags of all repositories, and which of them is the release that most are at."""
    assert observer.environment.git is not None, "asked only of environments with a git table"
    found = [h for h in await _all_heads(observer) if h.error is None]
    tags = {h.repository: deploy_tags(h, observer.environment.git) for h in found}
    live = {h.repository: [t for t in tags[h.repository] if h.tags[t] == h.branches.get(LIVE)] for h in found}
    return Deployments(tags=tags, current=_common(list(live.values())), way_back=_common(list(tags.values())))


def deploy_tags(heads: Heads, table: Git) -> tuple[str, ...]:
    """The tags of one repository that name a release of production, newest first."""
    return tuple(sorted((t for t in heads.tags if is_release(t, table)), key=_moment, reverse=True))


def is_release(tag: str, table: Git) -> bool:
    """Whether a tag names a release of production: a deployment, or a rollback, which makes an earlier one live again.

    A push in an emergency is none: nobody has verified it.
    """
    return is_time(tag, table.deploy_tag) or is_time(tag, ROLLBACK_TAG)


def _common(tags: Sequence[Sequence[str]]) -> str | None:
    """The newest tag that more than half of the repositories have."""
    counts = Counter(tag for of_one in tags for tag in of_one)
    return max((tag for tag, n in counts.items() if 2 * n > len(tags)), key=_moment, default=None)


def _moment(tag: str) -> str:
    """The digits of a tag: in the order of time, whatever stands before them."""
    return "".join(filter(str.isdigit, tag))


async def _all_heads(observer: Observer) -> list[Heads]:
    return await asyncio.gather(*[observer.see(heads, r.name) for r in observer.environment.repositories])


async def git(*arguments: str, says: str | None = None, accept: Sequence[int] = (0,)) -> str:
    """What git printed, as text; see `git_bytes`."""
    return (await git_bytes(*arguments, says=says, accept=accept)).decode(errors="replace")


async def git_bytes(*arguments: str, says: str | None = None, accept: Sequence[int] = (0,)) -> bytes:
    """What git printed, told `says`; raises `GitFailed` for any other exit code.

    It may never ask for a password, so it has a session of its own, without a terminal; it and the ssh that it started
    end with whoever waits for it.
    """
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL if says is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | _QUIET,
        start_new_session=True,
    )
    try:
        output, errors = await process.communicate(None if says is None else says.encode())
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if process.returncode not in accept:
        lines = errors.decode(errors="replace").strip().splitlines() or ["git failed"]
        raise GitFailed(next((line for line in lines if line.startswith(("fatal", "error"))), lines[-1]))
    return output
