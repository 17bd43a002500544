"""Facts about database and cache together: the engines of both environments, and the hosts in their secrets.

Source of truth: rds DescribeDBInstances, DescribeDBProxies, DescribeDBProxyEndpoints and DescribeDBProxyTargets,
elasticache DescribeReplicationGroups and DescribeCacheClusters; CNAME records.
"""

from __future__ import annotations

import asyncio

from gli.common.sentences import phrase
from gli.config.data_tier import Cache, Database, Stored
from gli.config.environments import Environment
from gli.observe.aws.elasticache import cache_nodes, replication_group
from gli.observe.aws.rds import database_instance, database_instances
from gli.observe.data.places import of_aws
from gli.observe.data.secrets import credentials
from gli.observe.edge.dns import chain
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe


class Engines(Observation):
    """The engine of each part of the data tier, in two environments: `database` to `postgres 18.1`."""

    environment: str
    counterpart: str
    own: dict[str, str]
    other: dict[str, str]


class Endpoint(Observation):
    """The endpoint that a secret of the data tier should name, and whether it does."""

    fields: tuple[str, ...]
    """The fields that the secret must have."""
    address: str | None = None
    """The resource's endpoint, by AWS; None if AWS names none, as for a broker."""
    right: bool = True
    """Whether the secret's host is an endpoint of the resource, a proxy of it, or a CNAME of either."""


@probe()
async def engines(observer: Observer) -> Engines:
    """The engines of the environment's data tier and of its counterpart's. One call for all cache nodes."""
    other = observer.environment.other
    assert other is not None, "asked only of environments with a counterpart"
    instances, nodes = await asyncio.gather(observer.see(database_instances), observer.see(cache_nodes))
    versions = {n.replication_group or n.id: n.engine for n in nodes if n.engine}
    versions |= {id_: instance.engine for id_, instance in instances.items()}

    async def of(environment: Environment) -> dict[str, str]:
        parts = {("database" if isinstance(part, Database) else "cache"): part for part in environment.in_aws}
        cache = environment.cache if environment.cache in environment.in_aws else None
        if cache and cache.name not in versions and (engine := (await observer.see(replication_group, cache)).engine):
            versions[cache.name] = engine
        names = {part: table.name for part, table in parts.items()}
        missing = [name for name in names.values() if name not in versions]
        if missing:
            raise unknown(
                "not-found",
                phrase(
                    "this account has no {}, or does not say which version it runs ({})",
                    missing[0],
                    observer.aws.elsewhere("counterpart"),
                ),
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
    """Secret name to its endpoint, for every secret of the data tier."""
    environment = observer.environment
    found: dict[str, Endpoint] = {}
    for part in environment.stored:
        ours = [source for source in part.credentials if source in environment.secrets]
        if not ours or "url" in part.fields:
            continue
        wanted, address, hosts, ids = _LOGIN, None, frozenset[str](), frozenset[str]()
        if isinstance(part, Database) and part.instance:
            instance = await observer.see(database_instance, part)
            address, ids = instance.address, instance.ids
            hosts = _known(instance.status, instance.hosts, instance.id)
        elif isinstance(part, Cache) and part.replication_group:
            group = await observer.see(replication_group, part)
            address, hosts = group.address, _known(group.status, group.hosts, group.id)
            wanted = tuple(f for f in _LOGIN if f != "username") if group.token else _LOGIN
        for id_ in ours:
            fields = ("password", "username") if _managed(id_) else wanted
            right = await _leads(observer, part, id_, hosts, ids)
            found[id_] = Endpoint(fields=tuple(part.names.get(f, f) for f in fields), address=address, right=right)
    return found


_LOGIN: tuple[str, ...] = ("host", "password", "port", "username")


def _known(status: str, hosts: tuple[str, ...], name: str) -> frozenset[str]:
    """The endpoints of a resource; none if it is missing. Raises `Unobserved` if AWS names none, as during creation."""
    if not hosts and status != "missing":
        raise unknown("too-little-data", phrase("AWS names no endpoint of {}", name))
    return frozenset(hosts)


def _managed(secret_id: str) -> bool:
    """Whether RDS manages the secret. Such a secret holds only the master's user and password."""
    return secret_id.startswith("rds!")


async def _leads(
    observer: Observer, part: Stored, secret_id: str, hosts: frozenset[str], ids: frozenset[str] = frozenset()
) -> bool:
    """Whether the secret's host is one of `hosts`, a proxy of one of the instances `ids`, or a CNAME of either."""
    try:
        host = (await credentials(observer, part, secret_id)).get("host", "").lower()
    except Unobserved:  # the check observes the secret too, and reports the reason
        return True
    if not host or not hosts or host in hosts:
        return True
    names = (host,) if of_aws(host) else await chain(observer, host)
    return bool(hosts & {*names}) or any([await _is_proxy(observer, name, ids) for name in names if ".proxy-" in name])


async def _is_proxy(observer: Observer, host: str, ids: frozenset[str]) -> bool:
    """Whether `host` is the endpoint of an RDS proxy for one of these instances or clusters."""
    proxies, more = await asyncio.gather(
        observer.aws.call(observer, "rds", "describe_db_proxies"),
        observer.aws.call(observer, "rds", "describe_db_proxy_endpoints"),
    )
    named = [p["DBProxyName"] for p in (*proxies["DBProxies"], *more["DBProxyEndpoints"]) if p.get("Endpoint") == host]
    if not named:
        return False
    answer = await observer.aws.call(observer, "rds", "describe_db_proxy_targets", DBProxyName=named[0])
    return any(ids & {t.get("RdsResourceId"), t.get("TrackedClusterId")} for t in answer["Targets"])
