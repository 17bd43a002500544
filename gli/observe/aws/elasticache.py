"""ElastiCache as AWS describes it.

`cache.replication_group` in environments.toml names a replication group, a cluster of one node, or a serverless cache.
Source of truth: elasticache DescribeReplicationGroups, DescribeCacheClusters and DescribeServerlessCaches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gli.common.sentences import phrase
from gli.config.data_tier import Cache
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

SERVING = frozenset({"available", "modifying", "snapshotting"})
_MULTI_AZ = {"enabled": True, "disabled": False}
NOT_SERVING = frozenset(
    {
        *("creating", "create-failed", "deleting", "deleted", "missing"),
        *("incompatible-network", "rebooting cluster nodes", "restore-failed"),  # of single clusters
    }
)


class ReplicationGroup(Observation):
    """The environment's cache: a replication group, a single-node cluster or a serverless cache."""

    id: str
    status: str
    """The status in ElastiCache (`available`, `modifying`, …), or `missing`."""
    serverless: bool = False
    """A serverless cache. AWS manages the nodes, always encrypts, and uses several zones."""
    address: str | None = None
    """The endpoint for writes: the primary's or, in cluster mode, the configuration endpoint."""
    hosts: tuple[str, ...] = ()
    """Every endpoint of the cache, including the readers' and the nodes'."""
    port: int | None = None
    engine: str | None = None
    """Name and version, for example `valkey 8.1`, if AWS gives them for the cache itself."""
    security_groups: tuple[str, ...] = ()
    """The security groups of a serverless cache. For other caches, the nodes have them."""
    subnets: tuple[str, ...] = ()
    """The subnets of a serverless cache."""
    token: bool = False
    """Everybody logs in with one password (an AUTH token); there are no users."""
    members: tuple[str, ...] = ()
    encrypted_in_transit: bool | None = None
    key: str | None = None
    """The key of KMS that encrypts it at rest; None: one of AWS's own."""
    encrypted_at_rest: bool | None = None
    authenticated: bool | None = None
    """Whether a login needs a token or a user of a user group; None, as above: ElastiCache does not tell."""
    failover: str | None = None
    """Automatic failover to a replica: `enabled`, `disabled`, `enabling` or `disabling`."""
    multi_az: bool | None = None
    """None: ElastiCache does not tell."""
    snapshot_days: int = 0
    """Days that its daily snapshots are kept; 0: there are none."""


class CacheNode(Observation):
    """A node of ElastiCache."""

    id: str
    replication_group: str | None
    engine: str | None
    """Name and version, for example `redis 7.1`."""
    security_groups: tuple[str, ...] | None
    """None: AWS does not tell."""
    subnet_group: str | None = None


@probe()
async def replication_group(observer: Observer, cache: Cache) -> ReplicationGroup:
    """The environment's cache. One call; up to three if it is not a replication group."""
    name = cache.replication_group
    try:
        answer = await observer.aws.call(
            observer, "elasticache", "describe_replication_groups", ReplicationGroupId=name
        )
    except AwsError as e:
        if e.code not in ("ReplicationGroupNotFoundFault", "ReplicationGroupNotFound"):
            raise
    else:
        group = _named(answer["ReplicationGroups"], "ReplicationGroupId", name)
        if group is None:
            raise unknown("error", phrase("ElastiCache described no group for {}", name))
        return _group(group)
    found = await _serverless(observer, name) or await _single(observer, name)
    return found or ReplicationGroup(id=name, status="missing")


def _named(found: list[dict[str, Any]], key: str, name: str) -> dict[str, Any] | None:
    return next((each for each in found if each[key] == name), None)


def _group(group: dict[str, Any]) -> ReplicationGroup:
    nodes = group.get("NodeGroups") or []
    configuration = group.get("ConfigurationEndpoint")
    endpoint = configuration or (nodes[0].get("PrimaryEndpoint") if nodes else None) or {}
    endpoints = [configuration, *(n.get(key) for n in nodes for key in ("PrimaryEndpoint", "ReaderEndpoint"))]
    endpoints += [m.get("ReadEndpoint") for n in nodes for m in n.get("NodeGroupMembers") or []]
    return ReplicationGroup(
        id=group["ReplicationGroupId"],
        status=group["Status"],
        address=endpoint.get("Address"),
        hosts=_addresses(endpoints),
        port=endpoint.get("Port"),
        token=bool(group.get("AuthTokenEnabled")) and not group.get("UserGroupIds"),
        members=tuple(sorted(group["MemberClusters"])),
        encrypted_in_transit=group.get("TransitEncryptionEnabled"),
        encrypted_at_rest=group.get("AtRestEncryptionEnabled"),
        key=group.get("KmsKeyId"),
        authenticated=bool(group.get("UserGroupIds")) or group.get("AuthTokenEnabled"),
        failover=group.get("AutomaticFailover"),
        multi_az=_MULTI_AZ.get(group.get("MultiAZ", "")),
        snapshot_days=int(group.get("SnapshotRetentionLimit") or 0),
    )


async def _serverless(observer: Observer, name: str) -> ReplicationGroup | None:
    try:
        answer = await observer.aws.call(
            observer, "elasticache", "describe_serverless_caches", ServerlessCacheName=name
        )
    except AwsError as e:
        if e.code in ("ServerlessCacheNotFoundFault", "ServerlessCacheNotFound"):
            return None
        raise
    cache = _named(answer["ServerlessCaches"], "ServerlessCacheName", name)
    if cache is None:
        return None
    endpoint = cache.get("Endpoint") or {}
    return ReplicationGroup(
        id=cache["ServerlessCacheName"],
        status=cache["Status"].lower(),
        serverless=True,
        address=endpoint.get("Address"),
        hosts=_addresses([endpoint, cache.get("ReaderEndpoint")]),
        port=endpoint.get("Port"),
        engine=f"{cache['Engine']} {cache.get('FullEngineVersion') or cache.get('MajorEngineVersion')}",
        security_groups=tuple(sorted(cache.get("SecurityGroupIds") or [])),
        subnets=tuple(sorted(cache.get("SubnetIds") or [])),
        encrypted_in_transit=True,
        encrypted_at_rest=True,
        authenticated=bool(cache.get("UserGroupId")),
        failover="enabled",
        multi_az=True,
        snapshot_days=int(cache.get("SnapshotRetentionLimit") or 0),
    )


async def _single(observer: Observer, name: str) -> ReplicationGroup | None:
    """A single-node cluster without a replication group."""
    try:
        answer = await observer.aws.call(
            observer, "elasticache", "describe_cache_clusters", CacheClusterId=name, ShowCacheNodeInfo=True
        )
    except AwsError as e:
        if e.code in ("CacheClusterNotFound", "CacheClusterNotFoundFault"):
            return None
        raise
    cluster = _named(answer["CacheClusters"], "CacheClusterId", name)
    if cluster is None:
        return None
    endpoints = [n.get("Endpoint") for n in cluster.get("CacheNodes") or []]
    endpoint: dict[str, Any] = next((e for e in endpoints if e), {})
    return ReplicationGroup(
        id=cluster["CacheClusterId"],
        status=cluster["CacheClusterStatus"],
        address=endpoint.get("Address"),
        hosts=_addresses(endpoints),
        port=endpoint.get("Port"),
        token=bool(cluster.get("AuthTokenEnabled")),
        members=(cluster["CacheClusterId"],),
        encrypted_in_transit=cluster.get("TransitEncryptionEnabled"),
        encrypted_at_rest=cluster.get("AtRestEncryptionEnabled"),
        authenticated=cluster.get("AuthTokenEnabled"),
        failover="disabled",
        multi_az=False,
        snapshot_days=int(cluster.get("SnapshotRetentionLimit") or 0),
    )


def _addresses(endpoints: Iterable[dict[str, Any] | None]) -> tuple[str, ...]:
    return tuple(sorted({e["Address"] for e in endpoints if e and e.get("Address")}))


@probe()
async def cache_nodes(observer: Observer) -> tuple[CacheNode, ...]:
    """Every cache node of the account, and of the counterpart's account if that is another one. One call each."""
    answers = [
        await observer.aws.call(observer, "elasticache", "describe_cache_clusters", part=part)
        for part in observer.aws.accounts()
    ]
    return tuple(
        CacheNode(
            id=n["CacheClusterId"],
            replication_group=n.get("ReplicationGroupId"),
            engine=f"{n['Engine']} {n['EngineVersion']}" if n.get("EngineVersion") else None,
            security_groups=_groups(n),
            subnet_group=n.get("CacheSubnetGroupName"),
        )
        for answer in answers
        for n in answer["CacheClusters"]
    )


def _groups(node: dict[str, Any]) -> tuple[str, ...] | None:
    found = node.get("SecurityGroups")
    return None if found is None else tuple(sorted(g["SecurityGroupId"] for g in found))


@probe()
async def cache_groups(observer: Observer, cache: Cache) -> tuple[str, ...]:
    """The ids of the security groups attached to the environment's cache."""
    described = await observer.see(replication_group, cache)
    if described.serverless:
        return described.security_groups
    nodes = [n for n in await observer.see(cache_nodes) if described.id in (n.replication_group, n.id)]
    if not nodes:
        raise unknown("not-found", phrase("ElastiCache has no node of {}", cache.replication_group))
    untold = [node.id for node in nodes if node.security_groups is None]
    if untold:
        raise unknown("too-little-data", phrase("ElastiCache names no security groups of {}", untold[0]))
    return tuple(sorted({group for node in nodes for group in node.security_groups or ()}))


@probe()
async def cache_subnets(observer: Observer, cache: Cache) -> tuple[str, ...]:
    """The subnets that the cache's nodes stand in. Empty if ElastiCache names no subnet group for them."""
    described = await observer.see(replication_group, cache)
    if described.serverless:
        return described.subnets
    named = {n.subnet_group for n in await observer.see(cache_nodes) if described.id in (n.replication_group, n.id)}
    found: set[str] = set()
    for name in sorted(filter(None, named)):
        answer = await observer.aws.call(
            observer, "elasticache", "describe_cache_subnet_groups", CacheSubnetGroupName=name
        )
        found |= {s["SubnetIdentifier"] for g in answer["CacheSubnetGroups"] for s in g.get("Subnets") or []}
    return tuple(sorted(found))
