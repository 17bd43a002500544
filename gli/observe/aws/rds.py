"""RDS as AWS describes it: an instance, or a cluster with its instances (Aurora, Multi-AZ DB clusters).

`database.instance` in environments.toml names an instance or a cluster. A cluster is described by its writer instance
and the settings of the whole cluster: endpoints, backups, protection and encryption. Source of truth: rds
DescribeDBInstances, DescribeDBClusters, DescribeDBSnapshots, DescribeDBClusterSnapshots and
DescribePendingMaintenanceActions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.config.data_tier import Database
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_IN_FORCE = "in-sync"
_WITHOUT_CREDITS_GIB = 1000
"""From this size on, a disk of the kind gp2 is always as fast as its credits make a smaller one."""
SERVING = frozenset(
    {
        *("available", "backing-up", "modifying", "resetting-master-credentials"),
        *("configuring-enhanced-monitoring", "configuring-iam-database-auth", "configuring-log-exports"),
        *("storage-initialization", "storage-optimization"),
        *("preparing-data-migration", "promoting", "update-iam-db-auth"),  # of clusters
    }
)
"""The states in which a database answers, from the tables in the user guides of RDS and Aurora."""
NOT_SERVING = frozenset(
    {
        *("creating", "deleting", "delete-precheck", "failed", "maintenance", "rebooting", "renaming", "restore-error"),
        *("starting", "stopped", "stopping", "storage-full", "storage-config-upgrade", "upgrading", "missing"),
        *("converting-to-vpc", "moving-to-vpc", "insufficient-capacity"),
        *("inaccessible-encryption-credentials", "inaccessible-encryption-credentials-recoverable"),
        *("incompatible-create", "incompatible-network", "incompatible-option-group", "incompatible-parameters"),
        "incompatible-restore",
        *("backtracking", "cloning-failed", "failing-over", "migrating", "migration-failed"),  # of clusters
    }
)


class DatabaseInstance(Observation):
    """An RDS instance, by itself or as the writer of a cluster."""

    id: str
    status: str
    """The status in RDS (`available`, `stopped`, …), or `missing`. The cluster's, if the cluster does not serve."""
    cluster: str | None = None
    """The id of the cluster that it belongs to."""
    address: str | None = None
    """The endpoint for writes. If there is a cluster, its endpoint."""
    hosts: tuple[str, ...] = ()
    """Every endpoint. For a cluster, also the reader endpoint, custom endpoints and those of its instances."""
    port: int | None = None
    database: str | None = None
    """The database that was created with the instance."""
    vpc: str | None = None
    security_groups: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    public: bool = False
    engine: str = ""
    """Name and version, for example `postgres 18.1`."""
    protected: bool | None = None
    """Whether it is protected against deletion; None: RDS does not tell."""
    encrypted: bool = False
    key: str | None = None
    """The ARN of the key that encrypts its storage."""
    multi_az: bool = False
    backup_days: int = 0
    """Days that automatic backups are kept; 0: there are none."""
    restorable_s: float | None = None
    """Seconds since the newest point in time that can be restored; None: there is none."""
    allocated_gib: int = 0
    ceiling_gib: int | None = None
    """The size up to which the storage grows automatically; None: it does not grow."""
    replicas: tuple[str, ...] = ()
    """Its read replicas: the id of each, or the ARN of one in another region."""
    storage: str | None = None
    """The kind of its disk: `gp2`, `gp3`, `io2`, …; None: RDS does not tell."""
    instance_class: str = ""
    """For example `db.t4g.medium`."""
    pending: tuple[str, ...] = ()
    """The changed settings (names in RDS) that wait for the maintenance window or a restart."""
    unapplied: tuple[str, ...] = ()
    """Parameter groups whose changes are not in force yet: `NAME pending-reboot`."""
    authority: str | None = None
    """The certificate authority of the server's certificate, for example `rds-ca-rsa2048-g1`."""
    certificate_until: datetime | None = None
    certificate_days_left: float | None = None
    """Days until the server's certificate expires; None: RDS does not tell."""

    @property
    def ids(self) -> frozenset[str]:
        """Its own id and its cluster's. A proxy or an alarm may name either."""
        return frozenset({self.id, self.cluster or self.id})

    @property
    def aurora(self) -> bool:
        """Whether its storage is Aurora's, which grows automatically and can't run full."""
        return self.engine.startswith("aurora")

    @property
    def disk_lives_on_credits(self) -> bool:
        """Whether its disk is fast on credits only: gp2 below a terabyte."""
        return self.storage == "gp2" and self.allocated_gib < _WITHOUT_CREDITS_GIB

    @property
    def slow_without_credits(self) -> bool:
        """Whether it earns CPU credits while idle, and is throttled without them. In RDS, T3 and T4g are not."""
        return self.instance_class.startswith("db.t2.")


class Maintenance(Observation):
    """A maintenance action that AWS will apply to a database."""

    action: str
    """For example `system-update` or `ca-certificate-rotation`."""
    at: datetime | None = None
    """When AWS will apply it; None: only when somebody requests it."""
    in_s: float | None = None
    """Seconds from the observation until then."""


class Snapshot(Observation):
    """The newest usable snapshot of a database, manual or automatic. `id` is None if there is none."""

    database: str
    id: str | None = None
    age_s: float = 0.0


@probe()
async def database_instances(observer: Observer) -> dict[str, DatabaseInstance]:
    """Id in environments.toml to the database, of the environment and of its counterpart.

    One call, and one or two more for clusters. A database in another account is left out.
    """
    both = (observer.environment, observer.environment.other)
    wanted = sorted({e.database.instance for e in both if e and e.database and e.database.instance})
    found = await _instances(observer, wanted)
    named = {*wanted, *(i["DBClusterIdentifier"] for i in found.values() if i.get("DBClusterIdentifier"))} - {*found}
    clusters = await _clusters(observer, sorted(named)) if named else {}
    writers = {m["DBInstanceIdentifier"] for c in clusters.values() for m in c["DBClusterMembers"] if _writes(m)}
    if missing := sorted(writers - {*found}):
        found |= await _instances(observer, missing)
    taken = now()
    return {id_: seen for id_ in wanted if (seen := _described(id_, found, clusters, taken))}


async def _instances(observer: Observer, ids: list[str]) -> dict[str, dict[str, Any]]:
    filters = [{"Name": "db-instance-id", "Values": ids}]
    answers = [
        await observer.aws.call(observer, "rds", "describe_db_instances", part=part, Filters=filters)
        for part in observer.aws.accounts()
    ]
    return {i["DBInstanceIdentifier"]: i for answer in answers for i in answer["DBInstances"]}


async def _clusters(observer: Observer, ids: list[str]) -> dict[str, dict[str, Any]]:
    filters = [{"Name": "db-cluster-id", "Values": ids}]
    found: dict[str, dict[str, Any]] = {}
    for part in observer.aws.accounts():
        try:
            answer = await observer.aws.call(observer, "rds", "describe_db_clusters", part=part, Filters=filters)
        except AwsError as e:
            if e.code not in ("DBClusterNotFoundFault", "DBClusterNotFound"):
                raise
        else:
            found |= {c["DBClusterIdentifier"]: c for c in answer["DBClusters"]}
    return found


def _writes(member: dict[str, Any]) -> bool:
    return bool(member["IsClusterWriter"])


def _described(
    id_: str, instances: Mapping[str, dict[str, Any]], clusters: Mapping[str, dict[str, Any]], taken: datetime
) -> DatabaseInstance | None:
    """The database that an id in environments.toml names; None if RDS does not know the id."""
    cluster = clusters.get(id_) or clusters.get((instances.get(id_) or {}).get("DBClusterIdentifier", ""))
    if cluster is None:
        return _instance(instances[id_], taken) if id_ in instances else None
    members = cluster["DBClusterMembers"]
    writer = next((m["DBInstanceIdentifier"] for m in members if _writes(m)), "")
    described = instances.get(writer) or instances.get(id_)
    return _of_cluster(cluster, _instance(described, taken) if described else None, taken)


@probe()
async def database_instance(observer: Observer, database: Database) -> DatabaseInstance:
    """The environment's database."""
    found = await observer.see(database_instances)
    return found.get(database.instance) or DatabaseInstance(id=database.instance, status="missing")


def _of_cluster(cluster: dict[str, Any], writer: DatabaseInstance | None, taken: datetime) -> DatabaseInstance:
    """A cluster's writer with the settings of the cluster; the cluster alone if it has no writer."""
    id_, status = cluster["DBClusterIdentifier"], cluster["Status"]
    base = writer or DatabaseInstance(id=id_, status=status, engine=f"{cluster['Engine']} {cluster['EngineVersion']}")
    restorable = cluster.get("LatestRestorableTime")
    endpoints = (cluster.get("Endpoint"), cluster.get("ReaderEndpoint"), *(cluster.get("CustomEndpoints") or []))
    members = [m for m in cluster["DBClusterMembers"] if m["DBInstanceIdentifier"] == base.id]
    groups = {m["DBClusterParameterGroupStatus"] for m in members} - {_IN_FORCE}
    return base.model_copy(
        update={
            "status": base.status if status in SERVING else status,
            "cluster": id_,
            "address": cluster.get("Endpoint") or base.address,
            "hosts": tuple(sorted({*base.hosts, *(e for e in endpoints if e)})),
            "port": cluster.get("Port") or base.port,
            "database": cluster.get("DatabaseName") or base.database,
            "security_groups": base.security_groups or _security_groups(cluster),
            "protected": cluster.get("DeletionProtection"),
            "encrypted": cluster["StorageEncrypted"],
            "multi_az": cluster["MultiAZ"],
            "backup_days": cluster["BackupRetentionPeriod"],
            "restorable_s": (taken - restorable).total_seconds() if restorable else None,
            "pending": tuple(sorted({*base.pending, *_waiting(cluster)})),
            "unapplied": (*base.unapplied, *(f"{cluster.get('DBClusterParameterGroup')} {s}" for s in sorted(groups))),
        }
    )


def _waiting(described: dict[str, Any]) -> tuple[str, ...]:
    """The names of the changed settings that are not in force yet. RDS sends empty structures for unchanged ones."""
    pending = described.get("PendingModifiedValues") or {}
    return tuple(sorted(setting for setting, value in pending.items() if value not in (None, {}, [])))


def _security_groups(described: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(g["VpcSecurityGroupId"] for g in described["VpcSecurityGroups"]))


def _instance(instance: dict[str, Any], taken: datetime) -> DatabaseInstance:
    endpoint, restorable = instance.get("Endpoint") or {}, instance.get("LatestRestorableTime")
    certificate_until = (instance.get("CertificateDetails") or {}).get("ValidTill")
    return DatabaseInstance(
        id=instance["DBInstanceIdentifier"],
        status=instance["DBInstanceStatus"],
        cluster=instance.get("DBClusterIdentifier"),
        address=endpoint.get("Address"),
        hosts=(endpoint["Address"],) if endpoint.get("Address") else (),
        database=instance.get("DBName"),
        port=endpoint.get("Port"),
        vpc=(instance.get("DBSubnetGroup") or {}).get("VpcId"),
        security_groups=_security_groups(instance),
        subnets=_subnets(instance.get("DBSubnetGroup")),
        public=instance["PubliclyAccessible"],
        engine=f"{instance['Engine']} {instance['EngineVersion']}",
        protected=instance.get("DeletionProtection"),
        encrypted=instance["StorageEncrypted"],
        key=key if (key := str(instance.get("KmsKeyId") or "")).startswith("arn:") else None,
        multi_az=instance["MultiAZ"],
        backup_days=instance["BackupRetentionPeriod"],
        restorable_s=(taken - restorable).total_seconds() if restorable else None,
        allocated_gib=int(instance.get("AllocatedStorage") or 0),
        ceiling_gib=instance.get("MaxAllocatedStorage"),
        replicas=tuple(sorted(instance["ReadReplicaDBInstanceIdentifiers"])),
        instance_class=instance["DBInstanceClass"],
        storage=instance.get("StorageType"),
        pending=_waiting(instance),
        unapplied=tuple(
            f"{g['DBParameterGroupName']} {g['ParameterApplyStatus']}"
            for g in instance["DBParameterGroups"]
            if g["ParameterApplyStatus"] != _IN_FORCE
        ),
        authority=instance.get("CACertificateIdentifier"),
        certificate_until=certificate_until,
        certificate_days_left=_days(certificate_until - taken) if certificate_until else None,
    )


def _subnets(group: dict[str, Any] | None) -> tuple[str, ...]:
    return tuple(sorted(subnet["SubnetIdentifier"] for subnet in group["Subnets"])) if group else ()


def _days(span: timedelta) -> float:
    return round(span.total_seconds() / 86400, 2)


@probe()
async def maintenance(observer: Observer, database: Database) -> tuple[Maintenance, ...]:
    """The maintenance actions that AWS will apply to the instance and to its cluster."""
    instance = await observer.see(database_instance, database)
    wanted = [("db-instance-id", instance.id), *([("db-cluster-id", instance.cluster)] if instance.cluster else [])]
    answers = await asyncio.gather(
        *[
            observer.aws.call(
                observer,
                "rds",
                "describe_pending_maintenance_actions",
                Filters=[{"Name": name, "Values": [value]}],
            )
            for name, value in wanted
        ]
    )
    taken = now()
    found = [r for answer in answers for r in answer["PendingMaintenanceActions"]]
    details = [d for r in found for d in r["PendingMaintenanceActionDetails"]]
    return tuple(_maintenance(detail, taken) for detail in details)


def _maintenance(detail: dict[str, Any], taken: datetime) -> Maintenance:
    at = detail.get("CurrentApplyDate")  # set by the maintenance window, an opt-in or AWS itself
    return Maintenance(action=detail["Action"], at=at, in_s=round((at - taken).total_seconds(), 1) if at else None)


@probe()
async def newest_snapshot(observer: Observer, database: Database) -> Snapshot:
    """The newest snapshot of the database that can be restored: of RDS, or else of AWS Backup."""
    instance = await observer.see(database_instance, database)
    taken = now()
    usable = await _snapshots(observer, instance) or await _snapshots(observer, instance, SnapshotType="awsbackup")
    if not usable:
        return Snapshot(database=database.instance)
    id_, created = max(usable, key=lambda s: s[1])
    return Snapshot(database=database.instance, id=id_, age_s=(taken - created).total_seconds())


async def _snapshots(observer: Observer, instance: DatabaseInstance, **kind: Any) -> list[tuple[str, datetime]]:
    """(id, time) of each usable snapshot. For a cluster, the snapshots are the cluster's."""
    if instance.cluster:
        operation, what, of, id_ = "describe_db_cluster_snapshots", "DBClusterSnapshot", "DBCluster", instance.cluster
    else:
        operation, what, of, id_ = "describe_db_snapshots", "DBSnapshot", "DBInstance", instance.id
    kind[f"{of}Identifier"] = id_
    answer = await observer.aws.call(observer, "rds", operation, **kind)
    own = [s for s in answer[f"{what}s"] if s[f"{of}Identifier"] == id_]
    usable = [s for s in own if s["Status"] == "available" and s.get("SnapshotCreateTime")]
    return [(s[f"{what}Identifier"], s["SnapshotCreateTime"]) for s in usable]
