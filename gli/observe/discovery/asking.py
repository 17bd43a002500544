"""Asks an account, the public addresses and the repositories for everything that `gli discover` describes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from gli.config.environments import Environment
from gli.observe.discovery.account import survey
from gli.observe.discovery.places import Place, places
from gli.observe.discovery.web import Seen, look, open_socket
from gli.observe.discovery.whole import Whole
from gli.observe.engine.guard import DISCOVERY_READS
from gli.observe.engine.observatory import RUN_DEADLINE_S, Observatory
from gli.observe.engine.probe import Observer, Probe
from gli.observe.release.git_refs import heads

_LIKE_A_SOCKET = re.compile(r"(?:^|[-_./])(?:ws|websockets?|sockets?|live|realtime)(?:$|[-_./])", re.IGNORECASE)


def ask(environment: Environment, patterns: Sequence[str], named: Mapping[str, str], pages: Mapping[str, str]) -> Whole:
    """Everything that was seen. Raises `Unobserved` if the account could not be asked at all.

    `environment` says how to reach the account, the hosts and the repositories. `patterns` are those of resources'
    names. `named` maps each URL that the user gives to the name of its service or frontend, or to nothing; `pages`
    maps those of frontends alone.
    """

    async def everything(observer: Observer) -> Whole:
        return await _everything(observer, patterns, named, pages)

    observatory = Observatory(environment, aws_reads=DISCOVERY_READS)
    try:
        return observatory.wait(Probe("discovery", everything, RUN_DEADLINE_S, per_target=False, preliminary=True))
    finally:
        observatory.close()


async def _everything(
    observer: Observer, patterns: Sequence[str], named: Mapping[str, str], pages: Mapping[str, str]
) -> Whole:
    environment = observer.environment
    repositories = [r.name for r in environment.repositories] if environment.git else []
    listing = asyncio.gather(*[observer.see(heads, name) for name in repositories])
    account = await survey(observer, patterns) if environment.aws else None
    found = places(account, [*named])
    looks = await asyncio.gather(*[_look(observer, place) for place in found])
    seen = {place.key: look for place, look in zip(found, looks, strict=True)}
    found = tuple(p for p in found if seen[p.key].page or not (p.site and p.prefix))  # the others hold files of pages
    sockets = {}
    for place in found:
        names = (place.host, place.service.ecs.name if place.service else "")
        if not place.url.startswith("ws") and any(map(_LIKE_A_SOCKET.search, names)):
            sockets[place.host] = await open_socket(observer, place.origin.replace("http", "ws", 1))
    return Whole(
        account=account,
        region=environment.aws.region if environment.aws else "",
        places=found,
        seen=seen,
        sockets={host: path for host, path in sockets.items() if path},
        heads=tuple(await listing),
        remote=environment.git.remote if environment.git else "",
        named={
            key: name
            for url, name in sorted(named.items(), reverse=True)  # a socket's first: its host may be an API's, too
            for key in (url, url.rstrip("/"), Place(url=url).host)
            if name
        },
        pages={key: name for url, name in pages.items() for key in (url.rstrip("/"), Place(url=url).host)},
    )


async def _look(observer: Observer, place: Place) -> Seen:
    """What a place answers: below its prefix, where several share its host."""
    health = (place.health_path or "").removeprefix(place.prefix)
    return await look(observer, f"{place.origin}{place.prefix}", health_path=health or None)
