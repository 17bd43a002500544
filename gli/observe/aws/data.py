"""The data tier as AWS describes it: RDS and ElastiCache.

Source of truth: rds DescribeDBInstances, DescribeDBSnapshots and DescribePendingMaintenanceActions, elasticache
DescribeReplicationGroups and DescribeCacheClusters.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from gli.clock import now
from gli.environments import Cache, Database, Environment
from gli.observe.aws.session import AwsError
from gli.observe.observation import Observation, unknown
from gli.observe.probe import Observer, probe

_IN_FORCE = "in-sync"


class DatabaseInstance(Observation):
    """An RDS instance."""

    id: str
    status: str
    """As RDS names it (`available`, `stopped`, …), or `missing`."""
    address: str | None = None
    port: int | None = None
    vpc: str | None = None
    security_groups: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    public: bool = False
    engine: str = ""
    """Name and version, as in `postgres 18.1`."""
    protected: bool = False
    """Against deletion."""
    encrypted: bool = False
    multi_az: bool = False
    backup_days: int = 0
    """How long automatic backups are kept; 0: there are none."""
    restorable_s: float | None = None
    """Age of the newest moment that can be restored; None: there is none."""
    allocated_gib: int = 0
    ceiling_gib: int | None = None
    """Up to where the storage grows by itself; None: it does not."""
    replicas: tuple[str, ...] = ()
    instance_class: str = ""
    """As in `db.t4g.medium`."""
    pending: tuple[str, ...] = ()
    """Settings that were changed and wait for the maintenance window or a restart, by their names in RDS."""
    unapplied: tuple[str, ...] = ()
    """Parameter groups that are not in force as they are: `NAME pending-reboot`."""
    authority: str | None = None
    """The certificate authority of the server's certificate, as in `rds-ca-rsa2048-g1`."""
    certificate_until: datetime | None = None
    certificate_days_left: float | None = None
    """None: RDS does not say how long the server's certificate is valid."""

    @property
    def burstable(self) -> bool:
        """Whether it saves up CPU credits while it is idle, and is throttled without any."""
        return self.instance_class.startswith("db.t")


class Maintenance(Observation):
    """Something that AWS will do to a database instance by itself."""

    action: str
    """As in `system-update` or `ca-certificate-rotation`."""
    at: datetime | None = None
    """When it will be applied; None: once somebody asks for it."""
    in_s: float | None = None
    """Seconds from the observation until then."""


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


class Snapshot(Observation):
    """The newest usable snapshot of a database, manual or automatic; `id` is None where there is none."""

    database: str
    id: str | None = None
    age_s: float = 0.0


class Engines(Observation):
    """What the data tier of two environments runs on, by part: `postgres 18.1`."""

    environment: str
    counterpart: str
    own: dict[str, str]
    other: dict[str, str]


@probe()
async def database_instances(observer: Observer) -> dict[str, DatabaseInstance]:
    """The instances of the environment and of its counterpart, by id; one of another account is not among them."""
    both = (observer.environment, observer.environment.other)
    wanted = sorted({e.database.instance for e in both if e and e.database})
    answer = await observer.aws.call(
        observer, "rds", "describe_db_instances", Filters=[{"Name": "db-instance-id", "Values": wanted}]
    )
    taken = now()
    return {i["DBInstanceIdentifier"]: _instance(i, taken) for i in answer["DBInstances"]}


@probe()
async def database_instance(observer: Observer, database: Database) -> DatabaseInstance:
    """The environment's database instance."""
    found = await observer.see(database_instances)
    return found.get(database.instance) or DatabaseInstance(id=database.instance, status="missing")


def _instance(instance: dict[str, Any], taken: datetime) -> DatabaseInstance:
    endpoint, restorable = instance.get("Endpoint") or {}, instance.get("LatestRestorableTime")
    certificate_until = (instance.get("CertificateDetails") or {}).get("ValidTill")
    return DatabaseInstance(
        id=instance["DBInstanceIdentifier"],
        status=instance["DBInstanceStatus"],
        address=endpoint.get("Address"),
        port=endpoint.get("Port"),
        vpc=(instance.get("DBSubnetGroup") or {}).get("VpcId"),
        security_groups=tuple(sorted(g["VpcSecurityGroupId"] for g in instance.get("VpcSecurityGroups", []))),
        subnets=tuple(sorted(n["SubnetIdentifier"] for n in (instance.get("DBSubnetGroup") or {}).get("Subnets", []))),
        public=bool(instance.get("PubliclyAccessible")),
        engine=f"{instance['Engine']} {instance['EngineVersion']}",
        protected=bool(instance.get("DeletionProtection")),
        encrypted=bool(instance.get("StorageEncrypted")),
        multi_az=bool(instance.get("MultiAZ")),
        backup_days=int(instance.get("BackupRetentionPeriod") or 0),
        restorable_s=(taken - restorable).total_seconds() if restorable else None,
        allocated_gib=int(instance.get("AllocatedStorage") or 0),
        ceiling_gib=instance.get("MaxAllocatedStorage"),
        replicas=tuple(sorted(instance.get("ReadReplicaDBInstanceIdentifiers") or [])),
        instance_class=instance.get("DBInstanceClass", ""),
        pending=tuple(sorted(instance.get("PendingModifiedValues") or {})),
        unapplied=tuple(
            f"{g['DBParameterGroupName']} {g['ParameterApplyStatus']}"
            for g in instance.get("DBParameterGroups", [])
            if g.get("ParameterApplyStatus", _IN_FORCE) != _IN_FORCE
        ),
        authority=instance.get("CACertificateIdentifier"),
        certificate_until=certificate_until,
        certificate_days_left=_days(certificate_until - taken) if certificate_until else None,
    )


def _days(span: timedelta) -> float:
    return round(span.total_seconds() / 86400, 2)


@probe()
async def maintenance(observer: Observer, database: Database) -> tuple[Maintenance, ...]:
    """What AWS will do to the instance by itself."""
    wanted = [{"Name": "db-instance-id", "Values": [database.instance]}]
    answer = await observer.aws.call(observer, "rds", "describe_pending_maintenance_actions", Filters=wanted)
    taken = now()
    details = [d for r in answer["PendingMaintenanceActions"] for d in r.get("PendingMaintenanceActionDetails") or []]
    return tuple(_maintenance(detail, taken) for detail in details)


def _maintenance(detail: dict[str, Any], taken: datetime) -> Maintenance:
    at = detail.get("CurrentApplyDate")  # whoever decided it: the window, an opt-in, or AWS by force
    return Maintenance(action=detail["Action"], at=at, in_s=round((at - taken).total_seconds(), 1) if at else None)


@probe()
async def newest_snapshot(observer: Observer, database: Database) -> Snapshot:
    """The newest snapshot of the database that can be restored."""
    answer = await observer.aws.call(observer, "rds", "describe_db_snapshots", DBInstanceIdentifier=database.instance)
    taken = now()
    usable = [s for s in answer["DBSnapshots"] if s["Status"] == "available" and s.get("SnapshotCreateTime")]
    if not usable:
        return Snapshot(database=database.instance)
    newest = max(usable, key=lambda s: s["SnapshotCreateTime"])
    age = (taken - newest["SnapshotCreateTime"]).total_seconds()
    return Snapshot(database=database.instance, id=newest["DBSnapshotIdentifier"], age_s=age)


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
        encrypted_in_transit=bool(groups[0].get("TransitEncryptionEnabled")),
        encrypted_at_rest=bool(groups[0].get("AtRestEncryptionEnabled")),
        authenticated=bool(groups[0].get("AuthTokenEnabled") or groups[0].get("UserGroupIds")),
        failover=groups[0].get("AutomaticFailover"),
        multi_az=groups[0].get("MultiAZ") == "enabled",
        snapshot_days=int(groups[0].get("SnapshotRetentionLimit") or 0),
    )


@probe()
async def cache_nodes(observer: Observer) -> tuple[CacheNode, ...]:
    """Every cache node of the account; one call."""
    answer = await observer.aws.call(observer, "elasticache", "describe_cache_clusters")
    return tuple(
        CacheNode(
            id=n["CacheClusterId"],
            replication_group=n.get("ReplicationGroupId"),
            engine=f"{n['Engine']} {n['EngineVersion']}" if n.get("EngineVersion") else None,
            security_groups=tuple(sorted(g["SecurityGroupId"] for g in n.get("SecurityGroups") or [])),
        )
        for n in answer["CacheClusters"]
    )


@probe()
async def cache_groups(observer: Observer, cache: Cache) -> tuple[str, ...]:
    """The ids of the security groups attached to the nodes of the environment's cache."""
    nodes = [n for n in await observer.see(cache_nodes) if n.replication_group == cache.replication_group]
    if not nodes:
        raise unknown("not-found", f"ElastiCache has no node of {cache.replication_group}")
    return tuple(sorted({group for node in nodes for group in node.security_groups}))


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
            raise unknown("not-found", f"this account has no {missing[0]}, or does not say which version it runs")
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
