"""The data tier as AWS describes it: RDS and ElastiCache.

Source of truth: rds DescribeDBInstances, elasticache DescribeReplicationGroups.
"""

from __future__ import annotations

from gli.environments import Cache, Database
from gli.observe.aws.session import AwsError
from gli.observe.observation import Observation, unknown
from gli.observe.probe import Observer, probe


class DatabaseInstance(Observation):
    """An RDS instance."""

    id: str
    status: str
    """As RDS names it (`available`, `stopped`, …), or `missing`."""
    address: str | None = None
    port: int | None = None
    vpc: str | None = None
    security_groups: tuple[str, ...] = ()
    public: bool = False


class ReplicationGroup(Observation):
    """An ElastiCache replication group."""

    id: str
    status: str
    """As ElastiCache names it (`available`, `modifying`, …), or `missing`."""
    address: str | None = None
    port: int | None = None
    members: tuple[str, ...] = ()


@probe()
async def database_instance(observer: Observer, database: Database) -> DatabaseInstance:
    """The environment's database instance."""
    try:
        answer = await observer.aws.call(
            observer, "rds", "describe_db_instances", DBInstanceIdentifier=database.instance
        )
    except AwsError as e:
        if e.code in ("DBInstanceNotFound", "DBInstanceNotFoundFault"):
            return DatabaseInstance(id=database.instance, status="missing")
        raise
    instance = answer["DBInstances"][0]
    endpoint = instance.get("Endpoint") or {}
    return DatabaseInstance(
        id=instance["DBInstanceIdentifier"],
        status=instance["DBInstanceStatus"],
        address=endpoint.get("Address"),
        port=endpoint.get("Port"),
        vpc=(instance.get("DBSubnetGroup") or {}).get("VpcId"),
        security_groups=tuple(sorted(g["VpcSecurityGroupId"] for g in instance.get("VpcSecurityGroups", []))),
        public=bool(instance.get("PubliclyAccessible")),
    )


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
        raise unknown("error", f"ElastiCache described no group for {cache.replication_group}")
    nodes = groups[0].get("NodeGroups") or []
    endpoint = groups[0].get("ConfigurationEndpoint") or (nodes[0].get("PrimaryEndpoint") if nodes else None) or {}
    return ReplicationGroup(
        id=groups[0]["ReplicationGroupId"],
        status=groups[0]["Status"],
        address=endpoint.get("Address"),
        port=endpoint.get("Port"),
        members=tuple(sorted(groups[0].get("MemberClusters") or [])),
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
