"""The content of a repository's branches, from one fetch for each repository.

The modules `branch_gaps`, `committed_builds` and `committed_migrations` read their parts of it.
Source of truth: git-rev-list, git-diff-tree, gitmodules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gli.common.sentences import phrase
from gli.config.parts import Git
from gli.git import refs
from gli.git.branches import LIVE
from gli.git.command import GitFailed
from gli.git.effective import Commit
from gli.git.submodules import FILE, LINK, addresses
from gli.git.tags import is_verified_release
from gli.git.trailers import RESTORES
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.bare_repository import Bare, temporary
from gli.observe.release.branch_gaps import Gap, gaps
from gli.observe.release.committed_builds import builds_of, newest_releases
from gli.observe.release.committed_migrations import migration_fields
from gli.observe.release.git_refs import TIMEOUT_S, Heads, heads
from gli.observe.release.migration_review import Finding
from gli.observe.release.migrations import Squash
from gli.observe.release.path_filters import path_filters
from gli.observe.release.reverted_merges import Reverted, reverted_merges

_MOST_UNDEPLOYED = 50
"""How many of the newest commits are searched for one that deploys."""
_UNDO = "^Undo [0-9]"


class Revision(Observation):
    """One repository's part of a manifest."""

    branch: str
    commit: str
    tree: str


class Link(Observation):
    """A submodule that a branch names: its path, the commit, and the address of its remote (empty: none is named)."""

    path: str
    commit: str
    url: str


class History(Observation):
    """The facts about one repository that matter for a release."""

    repository: str
    commits: Mapping[str, str]
    """The head of each branch of the promotion."""
    trees: Mapping[str, str]
    """Branch to the tree of its head."""
    unreleased: str = ""
    """The newest commit that somebody made on the staged branch since the last release, where both branches have the
    same content all the same: `1a2b3c4 Revert the login`; empty where nobody did."""
    standing: str = ""
    """The commit that production is at: the head of the live branch, or, behind an operation that was undone, the
    commit that was there before."""
    undone: tuple[str, ...] = ()
    """The commits of the live branch that were undone. A host that protects tags keeps the tags of such commits."""
    gaps: tuple[Gap, ...] = ()
    reverted: tuple[Reverted, ...] = ()
    """The merges of releases that somebody reverted by hand, on the staged or the live branch."""
    links: tuple[Link, ...] = ()
    """The submodules at the head of the environment's branch."""
    workflow: str | None = None
    """The deploy workflow at the head of the environment's branch."""
    unheard: bool = False
    """No change of its code starts the deploy workflow: the filters of its `push` take no file of the branch, without
    documentation and the workflows themselves."""
    deploying: str = ""
    """The newest commit of the environment's branch whose push starts the deploy workflow, by the files that it changes
    (`paths`, `paths-ignore`); empty: the head does, or the workflow has no such filter."""
    builds: Mapping[str, Mapping[str, tuple[str, ...]]] = {}
    """The head of the environment's branch, `deploying`, and the commits of the last deploy tags, each to its builds:
    service or page to the commits of which it may be a build (see `gli.observe.release.builds`). Without services and
    pages of which only the commit itself is one."""
    logged: tuple[str, ...] = ()
    """The deploy tags in the deployment log, in the order of the log."""
    migrations: tuple[tuple[str, str], ...] = ()
    """(app, migration) of every file `*/migrations/NNNN_*.py` on the environment's branch, sorted."""
    squashes: tuple[Squash, ...] = ()
    """Those of them that replace others."""
    columns: tuple[str, ...] = ()
    """`table.column` of every column that these migrations make for certain, sorted."""
    whole_tables: tuple[str, ...] = ()
    """The tables of which they tell every column, sorted."""
    numbered: tuple[str, ...] = ()
    """`table.column` of those that the database numbers by itself, sorted."""
    widths: Mapping[str, int] = {}
    """`table.column` to the most characters that the code puts into it, where a migration tells."""
    bytes: Mapping[str, int] = {}
    """`table.column` to the bytes of the whole numbers that the code puts into it."""
    kinds: Mapping[str, str] = {}
    """`table.column` to the kind of the values that the code puts into it: `number`, `text`, `timestamp`."""
    digits: Mapping[str, tuple[int, int]] = {}
    """`table.column` to the digits before and after the point of the numbers that the code puts into it."""
    points: tuple[str, ...] = ()
    """`table.column` of every foreign key, sorted."""
    nullable: tuple[str, ...] = ()
    """`table.column` of every column into which the code puts NULL, sorted."""
    unique: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(table, columns) of everything that is unique, sorted; primary keys apart."""
    added: tuple[str, ...] = ()
    """The paths of the migrations that are on the staged branch and not on the live branch."""
    findings: tuple[Finding, ...] = ()
    """The findings of the review of these migrations."""

    def gap(self, branch: str, of: str = LIVE) -> Gap:
        """The gap between a branch and a later one. Raises `Unobserved` if one of the two does not exist."""
        for gap in self.gaps:
            if (gap.branch, gap.of) == (branch, of):
                return gap
        raise unknown("dependency", phrase("{} lacks {} or {}, so they can't be compared", self.repository, branch, of))


@probe(deadline=TIMEOUT_S, early=True)
async def history(observer: Observer, repository: str) -> History:
    """Everything that checks need to know about the commits of one repository, from one fetch."""
    environment = observer.environment
    assert environment.git is not None, "asked only of environments with a git table"
    known = await observer.see(heads, repository)
    if known.error is not None:
        raise unknown("dependency", phrase("the branches of {} could not be listed: {}", repository, known.error))
    path = environment.git.branches
    commits = {b: known.branches[b] for b in (*path, environment.branch) if b in known.branches}
    if not commits:
        raise unknown("dependency", phrase("{} has none of the branches {}", repository, ", ".join(path)))
    async with temporary(observer, environment.git.of(repository)) as bare:
        try:
            await bare.fetch(commits | _log_branch(environment.git, known) | newest_releases(environment, known))
            return await _read(observer, bare, known, commits)
        except GitFailed as e:
            raise unknown(
                "error" if bare.fetched else "unreachable",
                phrase("{} can't be read from {}: {}", repository, bare.remote, e),
            ) from None


@probe(deadline=TIMEOUT_S)
async def revision(observer: Observer, repository: str) -> Revision:
    """Commit and tree at the head of the environment's branch: the repository's part of the manifest."""
    branch = observer.environment.branch
    seen = await observer.see(history, repository)
    if branch not in seen.trees:
        raise unknown("dependency", phrase("{} has no readable branch {}", repository, branch))
    return Revision(branch=branch, commit=seen.commits[branch], tree=seen.trees[branch])


async def _read(observer: Observer, bare: Bare, known: Heads, commits: Mapping[str, str]) -> History:
    environment, repository = observer.environment, known.repository
    assert environment.git is not None
    path = next(r.workflow for r in environment.repositories if r.name == repository)
    workflow = f"refs/heads/{environment.branch}:{path}" if path else ""
    logs = repository == environment.git.log_repository
    log = f"refs/heads/{environment.git.log_branch}:{environment.git.log_path}" if logs else ""
    contents = await bare.read([*commits.values(), *filter(None, (workflow, log))])
    # from the objects themselves: in a partial clone, rev-parse ^{tree} may ask the remote again
    tips = {branch: Commit.read(commit, str(contents[commit])) for branch, commit in commits.items()}
    live = environment.git.live
    trees = {branch: tip.tree for branch, tip in tips.items()}
    standing, undone = await _undone(bare, commits[live]) if live in commits else ("", ())
    deploying = await _deploying(bare, commits.get(environment.branch), contents.get(workflow))
    return History(
        repository=repository,
        commits=commits,
        trees=trees,
        unreleased=await _unreleased(bare, commits, trees, environment.git),
        standing=standing,
        undone=undone,
        reverted=await _reverted(bare, commits, environment.git),
        gaps=await gaps(bare, tips, environment.git.branches),
        links=await _links(bare, environment.branch, commits),
        workflow=contents.get(workflow),
        unheard=await _unheard(bare, environment.branch, contents.get(workflow)),
        deploying=deploying,
        builds=await builds_of(bare, environment, known, (commits.get(environment.branch, ""), deploying)),
        logged=_deploy_tags(contents.get(log) or "", environment.git),
        **await migration_fields(bare, environment, repository, commits),
    )


async def _links(bare: Bare, branch: str, commits: Mapping[str, str]) -> tuple[Link, ...]:
    """See `History.links`."""
    if branch not in commits:
        return ()
    linked = {path: id_ for path, (mode, id_) in (await bare.entries(branch)).items() if mode == LINK}
    if not linked:
        return ()
    named = f"refs/heads/{branch}:{FILE}"
    urls = addresses((await bare.read([named]))[named] or "", bare.remote)
    return tuple(Link(path=path, commit=commit, url=urls.get(path, "")) for path, commit in linked.items())


_NO_CODE = re.compile(r"\.(?:md|rst|adoc|txt)$|^docs?/|^\.github/|(?:^|/)(?:LICENSE|\.gitignore)$", re.IGNORECASE)


async def _unheard(bare: Bare, branch: str, workflow: str | None) -> bool:
    """See `History.unheard`."""
    filters = path_filters(workflow or "")
    if not filters:
        return False
    code = [path for path in await bare.entries(branch) if not _NO_CODE.search(path)]
    return bool(code) and not any(filters.start([path]) for path in code)


async def _deploying(bare: Bare, head: str | None, workflow: str | None) -> str:
    """See `History.deploying`. Only pushes of one commit each are told apart: a push of several may start a run for a
    head that changes nothing by itself, and GitHub then has that run."""
    filters = path_filters(workflow or "")
    if head is None or not filters:
        return ""
    listing = await bare.git("rev-list", "--first-parent", f"--max-count={_MOST_UNDEPLOYED}", head)
    for commit in listing.split():
        changed = await bare.git("diff-tree", "--root", "-r", "-m", "-z", "--no-commit-id", "--name-only", commit)
        if filters.start({path for path in changed.split("\0") if path}):
            return "" if commit == head else commit
    return ""


async def _unreleased(bare: Bare, commits: Mapping[str, str], trees: Mapping[str, str], table: Git) -> str:
    """See `History.unreleased`. After a squashed release, older commits are on the staged branch alone for ever."""
    staged, live = commits.get(table.staged), commits.get(table.live)
    if staged is None or live is None or staged == live or trees[table.staged] != trees[table.live]:
        return ""
    released = (await bare.git("rev-list", "--no-commit-header", "--format=%ct", "--max-count=1", live)).strip()
    asked = ("rev-list", "--no-commit-header", "--format=%ct %h %s", "--no-merges", "--max-count=1", staged, f"^{live}")
    made, _, said = (await bare.git(*asked)).strip().partition(" ")
    return said if made and int(made) > int(released) else ""


async def _undone(bare: Bare, live: str) -> tuple[str, tuple[str, ...]]:
    """The commit that production is at, and the commits of the live branch that were undone: the parents of the commits
    `Undo ID` that `gli.release.plan` makes."""
    asked = ("rev-list", "--no-commit-header", "--format=%H %P%n%B%x00", f"--grep={_UNDO}", live)
    restored, undone = {}, []
    for record in (await bare.git(*asked)).split("\0"):
        ids, _, message = record.strip().partition("\n")
        of = RESTORES.search(message)
        if of is not None and re.match(_UNDO, message) and len(ids.split()) == 2:
            commit, parent = ids.split()
            restored[commit] = of["commit"]
            undone.append(parent)
    while live in restored:
        live = restored[live]
    return live, tuple(undone)


def _log_branch(table: Git, known: Heads) -> dict[str, str]:
    """The branch of the deployment log to its head; empty if this repository has no log."""
    if known.repository != table.log_repository or table.log_branch not in known.branches:
        return {}
    return {table.log_branch: known.branches[table.log_branch]}


def _deploy_tags(log: str, table: Git) -> tuple[str, ...]:
    """The release tag of each line: the first in the line. After it, a rollback's line names the release restored."""
    found = ([word for word in line.split() if is_verified_release(word, table.deploy_tag)] for line in refs.lines(log))
    return tuple(tags[0] for tags in found if tags)


async def _reverted(bare: Bare, commits: Mapping[str, str], table: Git) -> tuple[Reverted, ...]:
    """See `History.reverted`; empty without a staged branch."""
    if table.staged not in commits or table.live not in commits:
        return ()
    heads = tuple(dict.fromkeys(commits.values()))
    return await reverted_merges(bare.git, commits[table.staged], commits[table.live], heads)
