"""The commits of submodules that a branch names, and whether anybody can fetch them.

Source of truth: `gli.git.submodules`, which an emergency push asks too.
"""

from __future__ import annotations

import asyncio
import re

from gli.common.sentences import phrase
from gli.git.command import GitFailed
from gli.git.submodules import can_be_asked
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.bare_repository import temporary
from gli.observe.release.git_history import Link, history
from gli.observe.release.git_refs import TIMEOUT_S


class Submodule(Observation):
    """One submodule of a branch. `published` is false if its remote does not have the commit."""

    path: str
    commit: str
    url: str
    published: bool


@probe(deadline=2 * TIMEOUT_S)
async def submodules(observer: Observer, repository: str) -> tuple[Submodule, ...]:
    """Every submodule at the head of the environment's branch. One fetch of one commit for each, without its files."""
    links = (await observer.see(history, repository)).links
    return tuple(await asyncio.gather(*[_asked(observer, repository, link) for link in links]))


async def _asked(observer: Observer, repository: str, link: Link) -> Submodule:
    """Raises `Unobserved` if the remote can't be asked."""
    assert observer.environment.git is not None
    url = re.sub(r"://[^/\s]*@", "://", link.url)
    if not can_be_asked(link.url, observer.environment.git.of(repository)):
        raise unknown("dependency", phrase("the submodule {} of {} has the address {}", link.path, repository, url))
    async with temporary(observer, link.url) as bare:
        try:
            published = await bare.has(link.commit)
        except GitFailed as e:
            raise unknown(
                "unreachable", phrase("the submodule {} of {} can't be asked: {}", link.path, repository, e)
            ) from None
    return Submodule(path=link.path, commit=link.commit, url=url, published=published)
