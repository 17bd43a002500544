"""RDS as AWS describes it.

Source of truth: rds DescribeDBInstances, DescribeDBSnapshots and DescribePendingMaintenanceActions.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.config.environments import Database
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

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


class Snapshot(Observation):
    """The newest usable snapshot of a database, manual or automatic; `id` is None where there is none."""

    database: str
    id: str | None = None
    age_s: float = 0.0


@probe()
async def database_instances(observer: Observer) -> dict[str, DatabaseInstance]:
    """The instances of the environment and of its counterpart, by id; one of another account is not among them."""
    both = (observer.environment, observer.environment.other)
    wanted = sorted({e.database.instance for e in both if e and e.database})
    filters = [{"Name": "db-instance-id", "Values": wanted}]
    answers = [
        await observer.aws.call(observer, "rds", "describe_db_instances", part=part, Filters=filters)
        for part in observer.aws.accounts()
    ]
    taken = now()
    return {i["DBInstanceIdentifier"]: _instance(i, taken) for answer in answers for i in answer["DBInstances"]}


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
