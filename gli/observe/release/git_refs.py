"""The branches and tags of every repository.

The git program lists them from the remotes: no clone of a user is touched. Source of truth: git-ls-remote.
`gli.observe.release.git_history` reads the content of the commits.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Mapping

from gli.common.sentences import Said, phrase
from gli.config.parts import Git
from gli.git import refs
from gli.git.command import GitFailed
from gli.git.command_async import git
from gli.git.tags import is_verified_release
from gli.observe.engine.guard import refuse_git_writes
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

TIMEOUT_S = 20.0


class Heads(Observation):
    """The branches and tags of one repository, or why they could not be listed.

    The environment's branch is at the newest release tag where the environment has a `release_tag`.
    """

    repository: str
    branches: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    """Tag to its commit (annotated tags are peeled)."""
    error: Said | None = None

    def commit_of(self, branch: str) -> str:
        """The head of a branch. Raises `Unobserved` if there is no such branch."""
        if branch not in self.branches:
            raise unknown("dependency", phrase("{} has no readable branch {}", self.repository, branch))
        return self.branches[branch]


class Release(Observation):
    """The heads of the environment's branch in every repository."""

    branch: str
    commits: Mapping[str, str]

    def commit_of(self, repository: str) -> str:
        """The head of the branch in a repository. Raises `Unobserved` if the repository lacks the branch."""
        if repository not in self.commits:
            raise unknown("dependency", phrase("{} has no readable branch {}", repository, self.branch))
        return self.commits[repository]


@probe(deadline=TIMEOUT_S, early=True)
async def heads(observer: Observer, repository: str) -> Heads:
    """Every branch and tag of a repository, from one connection."""
    assert observer.environment.git is not None, "asked only of environments with a git table"
    remote = observer.environment.git.of(repository)
    observer.count("git")
    try:
        refuse_git_writes("ls-remote")
        # Without a repository: the settings of the one that this process stands in may lead to another remote.
        async with observer.git_turn():
            listing = await git(f"--git-dir={os.devnull}", "ls-remote", "--heads", "--tags", "--", remote)
    except GitFailed as e:
        return Heads(repository=repository, error=str(e))
    found = refs.listing(refs.listed(listing))
    form, branch = observer.environment.release_tag, observer.environment.branch
    if not form:
        return Heads(repository=repository, branches=found.branches, tags=found.tags)
    tags = release_tags(found.tags, form)
    if not tags:
        error = phrase("{} has no tag of the form {}", repository, form)
        return Heads(repository=repository, tags=found.tags, error=error)
    return Heads(repository=repository, branches={**found.branches, branch: found.tags[tags[0]]}, tags=found.tags)


@probe(deadline=TIMEOUT_S, early=True)
async def release(observer: Observer) -> Release:
    """The heads of the environment's branch in all repositories. All remotes are asked at the same time."""
    branch = observer.environment.branch
    commits = {h.repository: h.branches[branch] for h in await all_heads(observer) if branch in h.branches}
    return Release(branch=branch, commits=commits)


def deploy_tags(heads: Heads, table: Git) -> tuple[str, ...]:
    """The tags of one repository that name a verified release of production, newest first."""
    return tuple(
        sorted((t for t in heads.tags if is_verified_release(t, table.deploy_tag)), key=moment_of, reverse=True)
    )


def release_tags(tags: Iterable[str], form: str) -> list[str]:
    """The tags of the form `release_tag`, newest first: by the numbers in its groups."""
    found = {tag: match for tag in tags if (match := re.fullmatch(form, tag))}
    return sorted(found, key=lambda tag: [int(n) for n in found[tag].groups("") if n.isdecimal()], reverse=True)


def moment_of(tag: str) -> str:
    """The digits of a tag. They sort by time, whatever prefix the tag has."""
    return "".join(filter(str.isdigit, tag))


async def all_heads(observer: Observer) -> list[Heads]:
    return await asyncio.gather(*[observer.see(heads, r.name) for r in observer.environment.repositories])
