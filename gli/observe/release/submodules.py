"""The commits of submodules that a branch names, and whether anybody can fetch them.

Source of truth: git-fetch(1) of one commit, and gitprotocol-v2(5) for what a host answers where it lacks the commit.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from gli.common.sentences import phrase
from gli.git.command import GitFailed
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.git_history import Bare, Link, history
from gli.observe.release.git_refs import TIMEOUT_S

_LACKS = ("not our ref", "couldn't find remote ref", "unadvertised object", "no such remote ref")
_ASKED = ("https://", "ssh://", "git@", "http://")


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
    """Raises `Unobserved` if the remote can't be asked. Only a repository of this machine names one of this machine."""
    assert observer.environment.git is not None
    url = re.sub(r"://[^/\s]*@", "://", link.url)
    local = observer.environment.git.of(repository).startswith(("file://", "/"))
    if not link.url.startswith((*_ASKED, *(("file://", "/") if local else ()))):
        raise unknown("dependency", phrase("the submodule {} of {} has the address {}", link.path, repository, url))
    with tempfile.TemporaryDirectory(prefix="gli-git-") as folder:
        try:
            await Bare(observer, Path(folder), link.url).fetch_one(link.commit)
        except GitFailed as e:
            if not any(said in e.stderr.lower() for said in _LACKS):
                raise unknown(
                    "unreachable", phrase("the submodule {} of {} can't be asked: {}", link.path, repository, e)
                ) from None
            return Submodule(path=link.path, commit=link.commit, url=url, published=False)
    return Submodule(path=link.path, commit=link.commit, url=url, published=True)
