"""The release as git has it: where the branches of every repository stand, and what their trees hold.

git is called as a program, in a temporary bare repository: nobody's clone is touched. Source of truth: git-ls-remote,
git-fetch with a partial clone filter (gitprotocol-v2).
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Mapping

from gli.observe.observation import Observation, unknown
from gli.observe.probe import Observer, probe

BRANCHES = ("dev", "stg", "main")
_TIMEOUT_S = 20.0
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=5", "LC_ALL": "C"}
_MIGRATION = re.compile(r"(?:^|/)(?P<app>\w+)/migrations/(?P<name>\d{4}_\w+)\.py$")


class Heads(Observation):
    """The branches and tags of one repository, or why they could not be listed."""

    repository: str
    branches: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    """Tag to the commit it stands for (annotated tags peeled)."""
    error: str | None = None


class Revision(Observation):
    """One repository's part of a manifest."""

    branch: str
    commit: str
    tree: str


class Release(Observation):
    """The heads of the environment's branch in every repository."""

    branch: str
    commits: Mapping[str, str]

    def commit_of(self, repository: str) -> str:
        """The head of a repository's branch; raises `Unobserved` where it has none."""
        if repository not in self.commits:
            raise unknown("dependency", f"{repository} has no readable branch {self.branch}")
        return self.commits[repository]


class GitFailed(Exception):
    """git ended with an error; the text is its last line."""


@probe(deadline=_TIMEOUT_S)
async def heads(observer: Observer, repository: str) -> Heads:
    """Every branch and tag of a repository, in one connection."""
    assert observer.environment.git is not None, "asked only of environments with a git table"
    remote = observer.environment.git.of(repository)
    observer.count("git")
    try:
        listing = await _git("ls-remote", "--heads", "--tags", "--", remote)
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


@probe(deadline=_TIMEOUT_S)
async def release(observer: Observer) -> Release:
    """The heads of the environment's branch in all repositories, asked at once."""
    environment = observer.environment
    found = await asyncio.gather(*[observer.see(heads, r.name) for r in environment.repositories])
    commits = {h.repository: h.branches[environment.branch] for h in found if environment.branch in h.branches}
    return Release(branch=environment.branch, commits=commits)


@probe(deadline=_TIMEOUT_S)
async def revision(observer: Observer, repository: str) -> Revision:
    """Commit and tree at the head of the environment's branch: a repository's part of the manifest."""
    commit = (await observer.see(release)).commit_of(repository)
    with tempfile.TemporaryDirectory(prefix="gli-git-") as folder:
        await _fetch(observer, folder, repository, commit, "tree:0")
        # cat-file, not rev-parse ^{tree}: a partial clone would go back to the remote for the tree itself
        tree = (await _git("-C", folder, "cat-file", "commit", commit)).split()[1]
    return Revision(branch=observer.environment.branch, commit=commit, tree=tree)


@probe(deadline=_TIMEOUT_S)
async def code_migrations(observer: Observer) -> tuple[tuple[str, str], ...]:
    """(app, migration) of every `*/migrations/NNNN_*.py` that the database should have, sorted."""
    assert observer.environment.database is not None, "asked only of environments with a database"
    repository = observer.environment.database.migrations
    commit = (await observer.see(release)).commit_of(repository)
    with tempfile.TemporaryDirectory(prefix="gli-git-") as folder:
        await _fetch(observer, folder, repository, commit, "blob:none")
        listing = await _git("-C", folder, "ls-tree", "-r", "--name-only", commit)
    found = [m for line in listing.splitlines() if (m := _MIGRATION.search(line))]
    return tuple(sorted((m["app"], m["name"]) for m in found))


async def _fetch(observer: Observer, folder: str, repository: str, commit: str, without: str) -> None:
    """One commit into a temporary bare repository, without its history and without what `without` filters."""
    assert observer.environment.git is not None
    remote = observer.environment.git.of(repository)
    observer.count("git")
    try:
        await _git("init", "--quiet", "--bare", folder)
        fetch = ("fetch", "--quiet", "--depth=1", "--no-tags", f"--filter={without}", "--", remote, commit)
        await _git("-C", folder, *fetch)
    except GitFailed as e:
        raise unknown("unreachable", f"{repository} can't be read from {remote}: {e}") from None


async def _git(*arguments: str) -> str:
    """What git printed; raises `GitFailed`. It may never ask for a password."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | _QUIET,
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or ["git failed"]
        raise GitFailed(next((line for line in lines if line.startswith(("fatal", "error"))), lines[-1]))
    return output.decode(errors="replace")
