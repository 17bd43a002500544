"""The content of a repository's branches and the differences between them, from one fetch for each repository.

The fetch takes commits and trees but no files (a partial clone). The few files that are needed are fetched later.
Source of truth: git-fetch --filter, git-merge-tree --write-tree, gitprotocol-v2.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from gli.common.clock import now
from gli.common.sentences import phrase
from gli.config.environments import Environment
from gli.config.parts import Git
from gli.config.services import Frontend, Service
from gli.git import partial_repository, refs, submodules
from gli.git.branches import LIVE
from gli.git.command import GitFailed
from gli.git.command_async import git, git_bytes
from gli.git.effective import ONE, Asked, Effective, effective, parsed
from gli.git.partial_repository import ONLY_OBJECTS
from gli.git.submodules import FILE, LINK, addresses
from gli.git.tags import is_verified_release
from gli.git.trailers import RESTORES
from gli.observe.engine.guard import refuse_git_writes
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.git_refs import TIMEOUT_S, Heads, all_heads, deploy_tags, heads, moment_of, release_tags
from gli.observe.release.migration_columns import replaced, schema
from gli.observe.release.migration_review import Finding, review
from gli.observe.release.migrations import ALEMBIC, Squash, alembic_heads, flyway_versions, in_paths, recorded_names
from gli.observe.release.path_filters import path_filters
from gli.observe.release.reverted_merges import Reverted, reverted_merges

T = TypeVar("T")
_MOST_UNDEPLOYED = 50
"""So many newest commits are looked through for one that deploys."""
_MOST_UNCHANGED = 1_000
"""So many newest commits may hold the same files of a service."""
_UNDO = "^Undo [0-9]"
_NOBODY = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
"""Author and committer of the commits that a comparison makes. They never leave the temporary repository."""


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


class CodeSchema(Observation):
    """What the migrations of the deployed code make in the database."""

    squashes: tuple[Squash, ...] = ()
    """The migrations that replace others."""
    columns: tuple[str, ...] = ()
    """`table.column` of every column that is certain, sorted; empty for another tool than Django."""
    whole_tables: tuple[str, ...] = ()
    """The tables of which every column is certain, sorted."""
    numbered: tuple[str, ...] = ()
    """`table.column` of those that the database numbers by itself, sorted."""


class Deployments(Observation):
    """The deploy tags of all repositories, and the release that most of them are at. Tags of undone releases do not
    count."""

    tags: Mapping[str, tuple[str, ...]]
    """The deploy tags of each repository, newest first."""
    standing: Mapping[str, str]
    """Each repository to the commit that production is at: see `History.standing`."""
    current: str | None
    """The newest deploy tag that most repositories are at."""
    way_back: str | None
    """The newest deploy tag that most repositories have. After the next release, a rollback goes back to it."""


class Difference(Observation):
    """The repositories whose live branch a promotion of the staged branch would change."""

    changed: tuple[str, ...]
    """The repositories whose trees differ, in the order of `environments.toml`."""
    same: tuple[str, ...]


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
    with tempfile.TemporaryDirectory(prefix="gli-git-") as folder:
        bare = Bare(observer, Path(folder), environment.git.of(repository))
        try:
            await bare.fetch(commits | _log_branch(environment.git, known) | _released(environment, known))
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


@probe(deadline=TIMEOUT_S)
async def deployments(observer: Observer) -> Deployments:
    """The deploy tags of all repositories, and the release that most repositories are at."""
    table = observer.environment.git
    assert table is not None, "asked only of environments with a git table"
    found = {h.repository: h for h in await all_heads(observer) if table.live in h.branches}
    histories = {h.repository: h for h in await asyncio.gather(*[observer.see(history, name) for name in found])}
    undone = {tag for name, h in found.items() for tag, at in h.tags.items() if at in histories[name].undone}
    tags = {name: tuple(t for t in deploy_tags(h, table) if t not in undone) for name, h in found.items()}
    standing = {name: seen.standing for name, seen in histories.items()}
    at = [[t for t in tags[name] if h.tags[t] == standing[name]] for name, h in found.items()]
    return Deployments(tags=tags, standing=standing, current=_common(at), way_back=_common(list(tags.values())))


def _common(tags: Sequence[Sequence[str]]) -> str | None:
    """The newest tag that more than half of the repositories have."""
    counts = Counter(tag for of_one in tags for tag in of_one)
    return max((tag for tag, n in counts.items() if 2 * n > len(tags)), key=moment_of, default=None)


@probe(deadline=TIMEOUT_S)
async def difference(observer: Observer) -> Difference:
    """Which repositories the next release changes. Compares trees: a merge commit alone changes nothing."""
    names = [r.name for r in observer.environment.repositories]
    table = observer.environment.git
    assert table is not None, "asked only of environments with a git table"
    histories = await asyncio.gather(*[observer.see(history, name) for name in names])
    for seen in histories:
        if not {table.staged, table.live} <= set(seen.trees):
            said = phrase("{} lacks {} or {}, so they can't be compared", seen.repository, table.staged, table.live)
            raise unknown("dependency", said)
    changed = tuple(seen.repository for seen in histories if seen.trees[table.staged] != seen.trees[table.live])
    return Difference(changed=changed, same=tuple(name for name in names if name not in changed))


@probe(deadline=TIMEOUT_S)
async def code_migrations(observer: Observer) -> tuple[tuple[str, str], ...]:
    """(app, migration) of every migration that the database should have, sorted."""
    assert observer.environment.database is not None, "asked only of environments with a database"
    repository = observer.environment.database.migrations
    await observer.see(revision, repository)  # raises if the branch does not exist
    return (await observer.see(history, repository)).migrations


@probe(deadline=TIMEOUT_S)
async def code_schema(observer: Observer) -> CodeSchema:
    """What the migrations of the environment's branch make: see `code_migrations`. Empty where nobody compares them."""
    assert observer.environment.database is not None, "asked only of environments with a database"
    repository = observer.environment.database.migrations
    if not repository or observer.environment.git is None:
        return CodeSchema()
    await observer.see(revision, repository)  # raises if the branch does not exist
    seen = await observer.see(history, repository)
    return CodeSchema(
        squashes=seen.squashes, columns=seen.columns, whole_tables=seen.whole_tables, numbered=seen.numbered
    )


class Bare:
    """A temporary bare repository that fetches missing files when git asks for them."""

    def __init__(self, observer: Observer, folder: Path, remote: str) -> None:
        self._observer, self._folder, self.remote = observer, folder, remote
        self.fetched = False
        self._entries: dict[str, dict[str, tuple[str, str]]] = {}

    async def fetch(self, commits: Mapping[str, str]) -> None:
        """Fetches the history of these branches, without files."""
        partial_repository.create(self._folder, self.remote, commits.values())
        await self._fetch(f"{commit}:refs/heads/{branch}" for branch, commit in commits.items())
        self.fetched = True

    async def has(self, commit: str) -> bool:
        """Whether the remote has this commit; see `gli.git.submodules.published`. Raises `GitFailed`."""
        partial_repository.create(self._folder, self.remote, [commit])
        return await self.answered(submodules.published(commit))

    async def answered(self, steps: Generator[Asked, str, T]) -> T:
        """The result of steps whose questions this repository answers; see `gli.git.effective`."""
        try:
            asked = next(steps)
            while True:
                if asked[0] == "fetch":
                    self._observer.count("git")
                try:
                    answer = await self.git(*asked)
                except GitFailed as e:
                    asked = steps.throw(e)
                else:
                    asked = steps.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found

    async def need(self, objects: Iterable[str]) -> None:
        """Fetches files in one request. Otherwise git would fetch them one by one."""
        await self._fetch(objects)

    async def _fetch(self, wanted: Iterable[str]) -> None:
        self._observer.count("git")
        says = "".join(f"{w}\n" for w in wanted)
        await self.git("fetch", *ONLY_OBJECTS, "--filter=blob:none", "--stdin", "origin", says=says)

    async def git(self, *arguments: str, says: str | None = None, accept: Sequence[int] = (0,)) -> str:
        refuse_git_writes(arguments[0])
        return await git("--git-dir", str(self._folder), *arguments, says=says, accept=accept, env=_NOBODY)

    async def read(self, names: Sequence[str]) -> dict[str, str | None]:
        """Object name (`commit` or `branch:path`) to its content; None if there is no such object."""
        asked = "".join(f"{name}\n" for name in names)
        refuse_git_writes("cat-file")
        rest = await git_bytes("--git-dir", str(self._folder), "cat-file", "--batch", says=asked)
        contents: dict[str, str | None] = {}
        for name in names:
            header, _, rest = rest.partition(b"\n")
            if header.endswith(b" missing"):
                contents[name] = None
                continue
            size = int(header.rpartition(b" ")[2])
            contents[name] = rest[:size].decode(errors="replace")
            rest = rest[size + 1 :]
        return contents

    async def files(self, branch: str) -> dict[str, str]:
        """Path to object id, for every file of a branch."""
        return {path: id_ for path, (_, id_) in (await self.entries(branch)).items()}

    async def entries(self, branch: str) -> dict[str, tuple[str, str]]:
        """Path to mode and object id, for every file and submodule of a branch. Listed once: nothing moves here."""
        if branch not in self._entries:
            listing = await self.git("ls-tree", "-r", "-z", f"refs/heads/{branch}")
            found = (entry.partition("\t") for entry in listing.split("\0") if entry)
            self._entries[branch] = {path: (about.split()[0], about.split()[2]) for about, _, path in found}
        return self._entries[branch]


async def _read(observer: Observer, bare: Bare, known: Heads, commits: Mapping[str, str]) -> History:
    environment, repository = observer.environment, known.repository
    assert environment.git is not None
    path = next(r.workflow for r in environment.repositories if r.name == repository)
    workflow = f"refs/heads/{environment.branch}:{path}" if path else ""
    logs = repository == environment.git.log_repository
    log = f"refs/heads/{environment.git.log_branch}:{environment.git.log_path}" if logs else ""
    contents = await bare.read([*commits.values(), *filter(None, (workflow, log))])
    live = environment.git.live
    standing, undone = await _undone(bare, commits[live]) if live in commits else ("", ())
    migrated = await _migrated(bare, environment, repository, commits)
    deploying = await _deploying(bare, commits.get(environment.branch), contents.get(workflow))
    return History(
        repository=repository,
        commits=commits,
        # read the tree's id from the commit object: in a partial clone, rev-parse ^{tree} may ask the remote again
        trees={branch: str(contents[commit]).split()[1] for branch, commit in commits.items()},
        standing=standing,
        undone=undone,
        reverted=await _reverted(bare, commits, environment.git),
        gaps=await _gaps(bare, commits, environment.git.branches),
        links=await _links(bare, environment.branch, commits),
        workflow=contents.get(workflow),
        deploying=deploying,
        builds=await _builds(bare, environment, known, (commits.get(environment.branch, ""), deploying)),
        logged=_deploy_tags(contents.get(log) or "", environment.git),
        **migrated,
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


def _members(environment: Environment, repository: str) -> list[Service | Frontend]:
    """The services and pages that are built from a repository."""
    members: list[Service | Frontend] = [*environment.services.values(), *environment.frontends.values()]
    return [member for member in members if member.repository == repository]


def _released(environment: Environment, known: Heads) -> dict[str, str]:
    """A name for the commit of the newest tag of each series of a service's or page's own."""
    own = [m for m in _members(environment, known.repository) if m.release_tag]
    newest = {m.name: release_tags(known.tags, m.release_tag)[:1] for m in own}
    return {f"released/{name}": known.tags[tag] for name, tags in newest.items() for tag in tags}


async def _builds(
    bare: Bare, environment: Environment, known: Heads, deployed: Iterable[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """See `History.builds`."""
    own = [m for m in _members(environment, known.repository) if m.paths or environment.built_once]
    assert environment.git is not None
    releases = deploy_tags(known, environment.git)[: environment.registry.rollback_releases]
    newest = _released(environment, known).values()
    wanted = [*deployed, *(known.tags[tag] for tag in releases), *newest] if own else []
    twins = await _twins(bare) if own and environment.built_once else {}
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for commit in filter(None, wanted):
        same = {member.name: await _same_files(bare, commit, member.paths) for member in own}
        found[commit] = {n: tuple(dict.fromkeys(t for c in s for t in twins.get(c, (c,)))) for n, s in same.items()}
    return found


async def _same_files(bare: Bare, commit: str, paths: Sequence[str]) -> tuple[str, ...]:
    """The commits of a branch that hold the same of these files, newest first: the last one changed them. Empty where
    no commit did. A merge counts as what it changes on the branch: its first parent is the commit before.
    """
    if not paths:
        return (commit,)
    asked = [f":(exclude,glob){path[1:]}" if path.startswith("!") else f":(glob){path}" for path in paths]
    line = ("rev-list", "--first-parent")
    changing = (await bare.git(*line, "--max-count=1", commit, "--", *asked)).split()
    if not changing:
        return ()
    after = (await bare.git(*line, f"--max-count={_MOST_UNCHANGED}", commit, f"^{changing[0]}")).split()
    return (*after, *changing)


async def _twins(bare: Bare) -> dict[str, tuple[str, ...]]:
    """Each of the newest commits of all branches to the commits with the same tree, itself first: a promotion's merge
    commit holds the files of the commit that it promotes.
    """
    asked = ("rev-list", "--all", f"--max-count={_MOST_UNCHANGED}", "--no-commit-header", "--format=%H %T")
    pairs = [line.split() for line in refs.lines(await bare.git(*asked))]
    of_tree: dict[str, list[str]] = {}
    for commit, tree in pairs:
        of_tree.setdefault(tree, []).append(commit)
    return {commit: (commit, *(c for c in of_tree[tree] if c != commit)) for commit, tree in pairs}


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


async def _gaps(bare: Bare, commits: Mapping[str, str], path: Sequence[str]) -> tuple[Gap, ...]:
    """The gap between each branch and each branch that comes after it in the promotion."""
    found = []
    for later in reversed(path[-2:]):
        earlier = [b for b in path[: path.index(later)] if {b, later} <= commits.keys()]
        if not earlier:
            continue
        theirs = await _effective(bare, commits[later])
        holding = ("for-each-ref", "--format=%(refname:lstrip=2)", "--contains", theirs.id, "refs/heads")
        holders = set(refs.lines(await bare.git(*holding)))
        for branch in earlier:
            held = branch in holders
            found.append(Gap(branch=branch, of=later, commits=0) if held else await _gap(bare, branch, later, theirs))
    return tuple(found)


async def _effective(bare: Bare, commit: str) -> Effective:
    """Runs the steps of `gli.git.effective`: rolled-back changes are on hold, so no branch is reported to lack them."""
    return await bare.answered(effective(parsed(await bare.git(*ONE, commit))))


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


async def _migrated(
    bare: Bare, environment: Environment, repository: str, commits: Mapping[str, str]
) -> dict[str, Any]:
    """The fields of `History` about migrations."""
    database = environment.database
    if database is None or repository != database.migrations:
        return {}
    if record := database.record:
        return {"migrations": recorded_names(record, await bare.files(environment.branch))}
    if database.migrated_by == "alembic":
        return {"migrations": await _alembic_heads(bare, environment.branch)}
    if database.migrated_by == "flyway":
        return {"migrations": flyway_versions(await bare.files(environment.branch))}
    assert environment.git is not None
    return await _migrations(bare, environment.branch, commits, environment.git)


async def _alembic_heads(bare: Bare, branch: str) -> tuple[tuple[str, str], ...]:
    """The newest revisions of Alembic's files `*/versions/*.py` on a branch: the database has them on record alone."""
    files = {path: id_ for path, id_ in (await bare.files(branch)).items() if ALEMBIC.search(path)}
    await bare.need(sorted({*files.values()}))
    texts = await bare.read([*files.values()])
    return tuple(("alembic", head) for head in alembic_heads(text or "" for text in texts.values()))


async def _migrations(bare: Bare, branch: str, commits: Mapping[str, str], table: Git) -> dict[str, Any]:
    """The migrations of the environment's branch, what they make, and the review of those that the staged branch
    adds."""
    trees = {b: await bare.files(b) for b in dict.fromkeys((branch, *table.deployed)) if b in commits}
    own = {path: object_ for path, object_ in trees.get(branch, {}).items() if in_paths([path])}
    staged = {path: object_ for path, object_ in trees.get(table.staged, {}).items() if in_paths([path])}
    added = tuple(sorted(staged.keys() - trees.get(table.live, {}).keys()))
    folders = {path.rpartition("/")[0] for path in added}
    siblings = sorted(path for path in staged if path.rpartition("/")[0] in folders)
    wanted = sorted({*own.values(), *(staged[path] for path in siblings)})
    if not wanted:
        return {"added": added}
    await bare.need(wanted)
    texts = await bare.read(wanted)
    here = {path: texts[object_] or "" for path, object_ in own.items()}
    return {
        "migrations": in_paths(own),
        "squashes": tuple(
            Squash(app=app, name=name, replaces=of)
            for path, of in sorted(replaced(here).items())
            for app, name in in_paths([path])
        ),
        **schema(here)._asdict(),
        "added": added,
        "findings": review({path: texts[staged[path]] or "" for path in siblings}, added) if siblings else (),
    }
