"""What database and cache have in common: the engines of both environments, and where their secrets lead.

Source of truth: rds DescribeDBInstances, DescribeDBProxies, DescribeDBProxyEndpoints and DescribeDBProxyTargets,
elasticache DescribeReplicationGroups and DescribeCacheClusters; CNAME records.
"""

from __future__ import annotations

import asyncio

from gli.common.sentences import phrase
from gli.config.environments import Environment
from gli.observe.aws.elasticache import cache_nodes, replication_group
from gli.observe.aws.rds import database_instance, database_instances
from gli.observe.data.places import of_aws
from gli.observe.data.secrets import secret
from gli.observe.edge.dns import chain
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe


class Engines(Observation):
    """What the data tier of two environments runs on, by part: `postgres 18.1`."""

    environment: str
    counterpart: str
    own: dict[str, str]
    other: dict[str, str]


class Endpoint(Observation):
    """Where a secret of the data tier leads, and where it must lead."""

    fields: tuple[str, ...]
    """The fields that the secret must have."""
    address: str | None = None
    """The endpoint that AWS names; None: AWS names none, as for a broker."""
    right: bool = True
    """Whether the secret's host is an endpoint of the resource, a proxy of it, or a CNAME of either."""


@probe()
async def engines(observer: Observer) -> Engines:
    """The engines of the environment's data tier and of its counterpart's; one call for all cache nodes."""
    other = observer.environment.other
    assert other is not None, "asked only of environments with a counterpart"
    instances, nodes = await asyncio.gather(observer.see(database_instances), observer.see(cache_nodes))
    versions = {n.replication_group or n.id: n.engine for n in nodes if n.engine}
    versions |= {id_: instance.engine for id_, instance in instances.items()}

    async def of(environment: Environment) -> dict[str, str]:
        parts = {"database": environment.database, "cache": environment.cache}
        cache = environment.cache
        if cache and cache.name not in versions and (engine := (await observer.see(replication_group, cache)).engine):
            versions[cache.name] = engine
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
        own=await of(observer.environment),
        other=await of(other),
    )


@probe(deadline=15)
async def endpoints(observer: Observer) -> dict[str, Endpoint]:
    """Every secret that leads to the data tier, by its name."""
    environment = observer.environment
    found: dict[str, Endpoint] = {}
    if environment.database:
        instance = await observer.see(database_instance, environment.database)
        for id_ in (environment.database.secret, environment.database.verify_secret):
            wanted = ("password", "username") if _managed(id_) else _LOGIN
            right = await _leads(observer, id_, frozenset(instance.hosts), instance.ids)
            found[id_] = Endpoint(fields=wanted, address=instance.address, right=right)
    if environment.cache:
        group = await observer.see(replication_group, environment.cache)
        for id_ in (environment.cache.secret, environment.cache.verify_secret):
            wanted = tuple(f for f in _LOGIN if f != "username") if group.token else _LOGIN
            right = await _leads(observer, id_, frozenset(group.hosts))
            found[id_] = Endpoint(fields=wanted, address=group.address, right=right)
    if environment.broker and not environment.broker.absent:
        found[environment.broker.secret] = Endpoint(fields=_LOGIN)
    return found


_LOGIN: tuple[str, ...] = ("host", "password", "port", "username")


def _managed(secret_id: str) -> bool:
    """Whether RDS keeps the secret itself, with the user and the password of the master alone."""
    return secret_id.startswith("rds!")


async def _leads(observer: Observer, secret_id: str, hosts: frozenset[str], ids: frozenset[str] = frozenset()) -> bool:
    """Whether the secret's host is one of these, a proxy in front of one of these instances, or a CNAME of either."""
    try:
        host = (await observer.see(secret, secret_id)).public.get("host", "").lower()
    except Unobserved:  # the check that asks takes the secret too, and says what is the matter with it
        return True
    if not host or not hosts or host in hosts:
        return True
    names = (host,) if of_aws(host) else await chain(observer, host)
    return bool(hosts & {*names}) or any([await _is_proxy(observer, name, ids) for name in names if ".proxy-" in name])


async def _is_proxy(observer: Observer, host: str, ids: frozenset[str]) -> bool:
    """Whether a proxy of RDS with that endpoint stands in front of one of these instances or clusters."""
    proxies, more = await asyncio.gather(
        observer.aws.call(observer, "rds", "describe_db_proxies"),
        observer.aws.call(observer, "rds", "describe_db_proxy_endpoints"),
    )
    named = [p["DBProxyName"] for p in (*proxies["DBProxies"], *more["DBProxyEndpoints"]) if p.get("Endpoint") == host]
    if not named:
        return False
    answer = await observer.aws.call(observer, "rds", "describe_db_proxy_targets", DBProxyName=named[0])
    return any(ids & {t.get("RdsResourceId"), t.get("TrackedClusterId")} for t in answer["Targets"])
