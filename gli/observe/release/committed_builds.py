"""Which commits of a repository may be the source of a build of the same files; see `gli.observe.release.builds`.

Source of truth: git-rev-list, gitglossary "pathspec".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gli.config.environments import Environment
from gli.config.services import Frontend, Service
from gli.git import refs
from gli.observe.release.bare_repository import Bare
from gli.observe.release.git_refs import Heads, deploy_tags, release_tags

_MOST_UNCHANGED = 1_000
"""How many of the newest commits are compared: older ones are not found, though they hold the same files."""


def _members(environment: Environment, repository: str) -> list[Service | Frontend]:
    """The services and pages that are built from a repository."""
    members: list[Service | Frontend] = [*environment.services.values(), *environment.frontends.values()]
    return [member for member in members if member.repository == repository]


def newest_releases(environment: Environment, known: Heads) -> dict[str, str]:
    """A name for the commit of the newest tag of each series of a service's or page's own."""
    own = [m for m in _members(environment, known.repository) if m.release_tag]
    newest = {m.name: release_tags(known.tags, m.release_tag)[:1] for m in own}
    return {f"released/{name}": known.tags[tag] for name, tags in newest.items() for tag in tags}


async def builds_of(
    bare: Bare, environment: Environment, known: Heads, deployed: Iterable[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """See `History.builds`."""
    own = [m for m in _members(environment, known.repository) if m.paths or environment.built_once]
    assert environment.git is not None
    releases = deploy_tags(known, environment.git)[: environment.registry.rollback_releases]
    newest = newest_releases(environment, known).values()
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
