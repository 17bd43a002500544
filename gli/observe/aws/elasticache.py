"""ElastiCache as AWS describes it.

Source of truth: elasticache DescribeReplicationGroups and DescribeCacheClusters.
"""

from __future__ import annotations

from gli.common.sentences import phrase
from gli.config.environments import Cache
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe


class ReplicationGroup(Observation):
    """An ElastiCache replication group."""

    id: str
    status: str
    """As ElastiCache names it (`available`, `modifying`, …), or `missing`."""
    address: str | None = None
    port: int | None = None
    members: tuple[str, ...] = ()
    encrypted_in_transit: bool = False
    encrypted_at_rest: bool = False
    authenticated: bool = False
    """Whether a token or a group of users opens it."""
    failover: str | None = None
    """Whether a replica takes over by itself: `enabled`, `disabled`, or on its way to either."""
    multi_az: bool = False
    snapshot_days: int = 0
    """How long its daily snapshots are kept; 0: there are none."""


class CacheNode(Observation):
    """A node of ElastiCache."""

    id: str
    replication_group: str | None
    engine: str | None
    """Name and version, as in `redis 7.1`."""
    security_groups: tuple[str, ...]


@probe()
async def replication_group(observer: Observer, cache: Cache) -> ReplicationGroup:
    """The environment's cache."""
    try:
        answer = await observer.aws.call(
            observer, "elasticache", "describe_replication_groups", ReplicationGroupId=cache.replication_group
        )
    except AwsError as e:
        if e.code in ("ReplicationGroupNotFoundFault", "ReplicationGroupNotFound"):
            return ReplicationGroup(id=cache.replication_group, status="missing")
        raise
    groups = answer["ReplicationGroups"]
    if not groups:
        raise unknown("error", phrase("ElastiCache described no group for {}", cache.replication_group))
    nodes = groups[0].get("NodeGroups") or []
    endpoint = groups[0].get("ConfigurationEndpoint") or (nodes[0].get("PrimaryEndpoint") if nodes else None) or {}
    return ReplicationGroup(
        id=groups[0]["ReplicationGroupId"],
        status=groups[0]["Status"],
        address=endpoint.get("Address"),
        port=endpoint.get("Port"),
        members=tuple(sorted(groups[0].get("MemberClusters") or [])),
        encrypted_in_transit=bool(groups[0].get("TransitEncryptionEnabled")),
        encrypted_at_rest=bool(groups[0].get("AtRestEncryptionEnabled")),
        authenticated=bool(groups[0].get("AuthTokenEnabled") or groups[0].get("UserGroupIds")),
        failover=groups[0].get("AutomaticFailover"),
        multi_az=groups[0].get("MultiAZ") == "enabled",
        snapshot_days=int(groups[0].get("SnapshotRetentionLimit") or 0),
    )


@probe()
async def cache_nodes(observer: Observer) -> tuple[CacheNode, ...]:
    """Every cache node of the account, and of the counterpart's where it has one of its own; one call each."""
    answers = [
        await observer.aws.call(observer, "elasticache", "describe_cache_clusters", part=part)
        for part in observer.aws.accounts()
    ]
    return tuple(
        CacheNode(
            id=n["CacheClusterId"],
            replication_group=n.get("ReplicationGroupId"),
            engine=f"{n['Engine']} {n['EngineVersion']}" if n.get("EngineVersion") else None,
            security_groups=tuple(sorted(g["SecurityGroupId"] for g in n.get("SecurityGroups") or [])),
        )
        for answer in answers
        for n in answer["CacheClusters"]
    )


@probe()
async def cache_groups(observer: Observer, cache: Cache) -> tuple[str, ...]:
    """The ids of the security groups attached to the nodes of the environment's cache."""
    nodes = [n for n in await observer.see(cache_nodes) if n.replication_group == cache.replication_group]
    if not nodes:
        raise unknown("not-found", phrase("ElastiCache has no node of {}", cache.replication_group))
    return tuple(sorted({group for node in nodes for group in node.security_groups}))
