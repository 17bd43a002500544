"""The releases of all repositories: the one that production is at, the way back, and what the next one would change."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from gli.common.sentences import Said, phrase
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.git_history import history
from gli.observe.release.git_refs import TIMEOUT_S, all_heads, deploy_tags, moment_of


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
    unreleased: tuple[Said, ...] = ()
    """The newest commit since the last release, of each repository where such commits change nothing."""


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
    unreleased = tuple(phrase("{}: {}", seen.repository, seen.unreleased) for seen in histories if seen.unreleased)
    return Difference(changed=changed, same=tuple(name for name in names if name not in changed), unreleased=unreleased)
