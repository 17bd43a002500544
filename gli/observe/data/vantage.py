"""Checks of the run itself: is the environment's description consistent, and is the runner where --vantage says?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from gli.common.sentences import Said, phrase
from gli.config.data_tier import Database, Stored
from gli.config.environment_consistency import objections
from gli.config.environments import Environment
from gli.observe.data.places import database_place
from gli.observe.data.secrets import credentials, secrets
from gli.observe.edge.tcp import TcpConnection, open_port
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe


class Configuration(Observation):
    """The contradictions within the environment's description, and between it and its counterpart's."""

    objections: tuple[Said, ...]


@probe()
async def configuration(observer: Observer) -> Configuration:
    """The contradictions in the environment's description."""
    return Configuration(objections=objections(observer.environment))


@probe(deadline=8, after=[secrets])
async def private_ports(observer: Observer) -> dict[str, TcpConnection]:
    """`host:port` to whether the port opens from here, for each part of the data tier whose secret names its host."""
    asked = await asyncio.gather(*_askings(observer, observer.environment), return_exceptions=True)
    failures = [a for a in asked if isinstance(a, BaseException)]
    opened = [a for a in asked if isinstance(a, TcpConnection)]
    unforeseen = [failure for failure in failures if not isinstance(failure, Unobserved)]
    if unforeseen or not opened:
        untold = unknown("dependency", phrase("no secret says where the data tier stands"))
        raise next(iter([*unforeseen, *failures]), untold)
    return {f"{port.host}:{port.port}": port for port in opened}


def _askings(observer: Observer, environment: Environment) -> list[Awaitable[TcpConnection]]:
    asked: list[Awaitable[TcpConnection]] = []
    if environment.database:
        asked.append(_database_port(observer, environment.database))
    if environment.cache:
        asked.append(_port(observer, environment.cache, "6379"))
    if environment.broker:
        asked.append(_port(observer, environment.broker, "5671"))
    return asked


async def _database_port(observer: Observer, database: Database) -> TcpConnection:
    place = await database_place(observer, database, database.secret)
    return await open_port(observer, place.host, place.port)


async def _port(observer: Observer, part: Stored, usual: str) -> TcpConnection:
    known = await credentials(observer, part, part.secret)
    host, port = known.get("host", ""), known.get("port", usual)
    if not host or not port.isdigit():
        raise unknown("dependency", phrase("the secret {} names no usable host and port", part.secret))
    return await open_port(observer, host, int(port))
