"""What database and cache have in common: the engines of both environments, and the hosts that secrets must lead to.

Source of truth: rds DescribeDBInstances, elasticache DescribeReplicationGroups and DescribeCacheClusters.
"""

from __future__ import annotations

import asyncio

from gli.common.sentences import phrase
from gli.config.environments import Environment
from gli.observe.aws.elasticache import cache_nodes, replication_group
from gli.observe.aws.rds import database_instance, database_instances
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe


class Engines(Observation):
    """What the data tier of two environments runs on, by part: `postgres 18.1`."""

    environment: str
    counterpart: str
    own: dict[str, str]
    other: dict[str, str]


@probe()
async def engines(observer: Observer) -> Engines:
    """The engines of the environment's data tier and of its counterpart's; one call for all cache nodes."""
    other = observer.environment.other
    assert other is not None, "asked only of environments with a counterpart"
    instances, nodes = await asyncio.gather(observer.see(database_instances), observer.see(cache_nodes))
    versions = {n.replication_group: n.engine for n in nodes if n.replication_group and n.engine}
    versions |= {id_: instance.engine for id_, instance in instances.items()}

    def of(environment: Environment) -> dict[str, str]:
        parts = {"database": environment.database, "cache": environment.cache}
        names = {part: table.name for part, table in parts.items() if table}
        missing = [name for name in names.values() if name not in versions]
        if missing:
            raise unknown(
                "not-found", phrase("this account has no {}, or does not say which version it runs", missing[0])
            )
        return {part: versions[name] for part, name in names.items()}

    return Engines(
        environment=observer.environment.name,
        counterpart=other.name,
        own=of(observer.environment),
        other=of(other),
    )


@probe()
async def endpoints(observer: Observer) -> dict[str, str | None]:
    """For each secret that leads to the data tier, the host that it must lead to; None where AWS names none."""
    environment = observer.environment
    hosts: dict[str, str | None] = {}
    if environment.database:
        instance = await observer.see(database_instance, environment.database)
        hosts |= dict.fromkeys((environment.database.secret, environment.database.verify_secret), instance.address)
    if environment.cache:
        group = await observer.see(replication_group, environment.cache)
        hosts |= dict.fromkeys((environment.cache.secret, environment.cache.verify_secret), group.address)
    if environment.broker and not environment.broker.absent:
        hosts[environment.broker.secret] = None
    return hosts
