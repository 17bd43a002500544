"""RDS, ElastiCache and the secrets that lead to them."""

from collections.abc import Sequence

from gli.common.clock import rfc3339
from gli.common.sentences import listed, saw
from gli.config.environments import Broker, Database, Environment
from gli.observe.aws.cloudwatch import Metrics
from gli.observe.aws.elasticache import ReplicationGroup
from gli.observe.aws.mq import AmazonMq
from gli.observe.aws.rds import DatabaseInstance, Maintenance, Snapshot
from gli.observe.data.secrets import Secret
from gli.observe.engine.observation import unknown

LEAST_FREE = 0.1
MOST_LAG_S = 30
RESTORABLE_WITHIN_S = 15 * 60
SNAPSHOT_WITHIN_S = 25 * 3600  # a day, and the hour that the next daily one may take
MOST_CPU_PERCENT = 80.0
SLOWEST_DISK_S = 0.02
LEAST_CREDITS = 20.0
QUIET_FOR_S = 24 * 3600
LEAST_CERTIFICATE_DAYS = 60
RETIRED_AUTHORITY = "rds-ca-2019"  # it ended in August 2024
_BUSY_BUT_SERVING = ("available", "backing-up", "modifying", "snapshotting", "storage-optimization")


def test_db_instance_available(database_instance: DatabaseInstance) -> None:
    """The database instance is there and serves."""
    assert database_instance.status in _BUSY_BUT_SERVING, saw(
        database_instance.status, expected=f"{database_instance.id} available"
    )


def test_db_protection(database_instance: DatabaseInstance, environment: Environment) -> None:
    """The database is encrypted, can't be deleted by mistake, has no public address, and in production a standby."""
    wanted = {
        "deletion protection": database_instance.protected,
        "encrypted storage": database_instance.encrypted,
        "no public address": not database_instance.public,
        "a standby in another zone": database_instance.multi_az or not environment.production,
    }
    missing = [what for what, there in wanted.items() if not there]
    assert not missing, saw(f"it without {listed(missing)}", expected=f"{database_instance.id} to be protected")


def test_db_backup_pitr(database_instance: DatabaseInstance, target: Database) -> None:
    """Backups are kept, and the database can be restored to a moment ago."""
    kept, age = database_instance.backup_days, database_instance.restorable_s
    assert kept >= target.minimum_backup_days, saw(
        f"{kept} days", expected=f"backups of {database_instance.id} for at least {target.minimum_backup_days} days"
    )
    assert age is not None and age <= RESTORABLE_WITHIN_S, saw(
        "no such moment" if age is None else f"{age / 60:.0f} min ago",
        expected=f"{database_instance.id} to be restorable to {RESTORABLE_WITHIN_S // 60} min ago or later",
    )


def test_db_predeploy_snapshot(newest_snapshot: Snapshot) -> None:
    """There is a snapshot to go back to, no older than a day."""
    assert newest_snapshot.id is not None, saw("none", expected=f"a snapshot of {newest_snapshot.database}")
    assert newest_snapshot.age_s <= SNAPSHOT_WITHIN_S, saw(
        f"{newest_snapshot.id}, {newest_snapshot.age_s / 3600:.0f} h old",
        expected=f"a snapshot of {newest_snapshot.database} from the last {SNAPSHOT_WITHIN_S // 3600} h",
    )


def test_db_storage_free(database_instance: DatabaseInstance, metrics: Metrics) -> None:
    """The disk does not fill during the deploy, and where it grows by itself there is room to grow."""
    free = metrics.latest(database_instance.id, "FreeStorageSpace") / 2**30
    allocated, ceiling = database_instance.allocated_gib, database_instance.ceiling_gib
    assert free >= allocated * LEAST_FREE, saw(
        f"{free:.1f} of {allocated} GiB", expected=f"at least {LEAST_FREE:.0%} of {database_instance.id} free"
    )
    assert ceiling is None or ceiling > allocated, saw(
        f"{allocated} GiB, up to {ceiling}", expected=f"room for the storage of {database_instance.id} to grow"
    )


def test_db_cpu_and_io(database_instance: DatabaseInstance, metrics: Metrics) -> None:
    """The database is not saturated: CPU, disk and, where it lives on them, CPU credits leave room for a migration."""
    name = database_instance.id
    cpu = _mean(metrics.lately(name, "CPUUtilization"))
    slowest = max(_mean(metrics.lately(name, metric)) for metric in ("ReadLatency", "WriteLatency"))
    assert cpu <= MOST_CPU_PERCENT and slowest <= SLOWEST_DISK_S, saw(
        f"{cpu:.0f} % CPU and {slowest * 1000:.0f} ms on disk",
        expected=f"{name} to take at most {MOST_CPU_PERCENT:.0f} % CPU and {SLOWEST_DISK_S * 1000:.0f} ms on disk",
    )
    credits = metrics.latest(name, "CPUCreditBalance") if database_instance.burstable else None
    assert credits is None or credits >= LEAST_CREDITS, saw(
        f"{credits:.0f}", expected=f"at least {LEAST_CREDITS:.0f} CPU credits of {name}"
    )


def test_db_replication_lag(database_instance: DatabaseInstance, metrics: Metrics) -> None:
    """Every read replica is close behind; passes where RDS knows of none."""
    lags = {replica: metrics.latest(replica, "ReplicaLag") for replica in database_instance.replicas}
    late = [f"{replica} {lag:.0f} s behind" for replica, lag in lags.items() if lag > MOST_LAG_S]
    late += [f"{replica} not replicating" for replica, lag in lags.items() if lag < 0]  # RDS says -1
    assert not late, saw(listed(late), expected=f"each replica of {database_instance.id} within {MOST_LAG_S} s")


def test_db_pending_changes(
    database_instance: DatabaseInstance, maintenance: Sequence[Maintenance], target: Database
) -> None:
    """Nothing is about to restart the database by itself: no change that waits, no maintenance within a day."""
    waiting = [*(f"{setting} pending" for setting in database_instance.pending), *database_instance.unapplied]
    waiting += [
        f"{m.action} at {rfc3339(m.at)}" for m in maintenance if m.at and m.in_s is not None and m.in_s <= QUIET_FOR_S
    ]
    assert not waiting, saw(listed(waiting), expected=f"nothing to surprise {target.instance} during the release")


def test_db_ca_valid(database_instance: DatabaseInstance) -> None:
    """The server's certificate outlives the next two months: clients that verify it lose the database when it ends."""
    name, left = database_instance.id, database_instance.certificate_days_left
    assert database_instance.authority != RETIRED_AUTHORITY, saw(
        RETIRED_AUTHORITY, expected=f"a certificate authority of {name} that has not ended"
    )
    if left is None:
        raise unknown("too-little-data", f"RDS does not say how long the certificate of {name} is valid")
    assert left >= LEAST_CERTIFICATE_DAYS, saw(
        f"{left:.0f} (until {database_instance.certificate_until:%Y-%m-%d})",
        expected=f"at least {LEAST_CERTIFICATE_DAYS} days left on the server certificate of {name}",
    )


def test_redis_available(replication_group: ReplicationGroup) -> None:
    """The cache is there and serves."""
    assert replication_group.status in _BUSY_BUT_SERVING, saw(
        replication_group.status, expected=f"{replication_group.id} available"
    )


def test_redis_encryption_auth(replication_group: ReplicationGroup) -> None:
    """The cache encrypts what it sends and stores, and lets nobody in without a password."""
    wanted = {
        "encryption in transit": replication_group.encrypted_in_transit,
        "encryption at rest": replication_group.encrypted_at_rest,
        "authentication": replication_group.authenticated,
    }
    missing = [what for what, there in wanted.items() if not there]
    assert not missing, saw(f"it without {listed(missing)}", expected=f"{replication_group.id} to be protected")


def test_redis_evictions(replication_group: ReplicationGroup, metrics: Metrics) -> None:
    """No node of the cache throws keys out for want of memory, or is busy all the time."""
    assert replication_group.members, saw("none", expected=f"nodes of {replication_group.id}")
    for node in replication_group.members:
        evicted, cpu = sum(metrics.lately(node, "Evictions")), _mean(metrics.lately(node, "EngineCPUUtilization"))
        assert evicted == 0 and cpu <= MOST_CPU_PERCENT, saw(
            f"{evicted:.0f} keys evicted and {cpu:.0f} % of the engine's CPU",
            expected=f"{node} to evict nothing and to take at most {MOST_CPU_PERCENT:.0f} %",
        )


def test_redis_failover(replication_group: ReplicationGroup, environment: Environment) -> None:
    """A replica takes over by itself where there is one; in production there is, in another zone, and snapshots too."""
    group = replication_group
    wanted = {
        "automatic failover": group.failover == "enabled" or (len(group.members) < 2 and not environment.production),
        "a replica in another zone": group.multi_az or not environment.production,
        "daily snapshots": group.snapshot_days >= 1 or not environment.production,
    }
    missing = [what for what, there in wanted.items() if not there]
    assert not missing, saw(f"it without {listed(missing)}", expected=f"{group.id} to survive the loss of a node")


def test_mq_broker_running(amazon_mq: AmazonMq, target: Broker) -> None:
    """Amazon MQ runs the broker and asks for nothing."""
    assert amazon_mq.state == "RUNNING", saw(amazon_mq.state, expected=f"the broker {target.amazon_mq} RUNNING")


def test_secret_exists(secret_state: Secret) -> None:
    """The secret exists, is not scheduled for deletion and has a current version."""
    assert secret_state.exists, saw("none", expected=f"the secret {secret_state.id}")
    assert secret_state.deleted_on is None, saw(
        f"scheduled for deletion ({secret_state.deleted_on:%Y-%m-%d})" if secret_state.deleted_on else "",
        expected=f"the secret {secret_state.id} to stay",
    )
    assert secret_state.has_current_version, saw("none", expected=f"a current version of {secret_state.id}")


def test_secret_fields(secret: Secret, environment: Environment, endpoints: dict[str, str | None]) -> None:
    """The secret has the fields that the application reads, and leads to this environment's own resources."""
    if secret.id in endpoints:
        wanted = {"username", "password", "host", "port"}
        missing = sorted(wanted - set(secret.fields))
        assert not missing, saw(f"no {listed(missing)}", expected=f"{listed(sorted(wanted))} in {secret.id}")
        host = endpoints[secret.id]
        assert host is None or secret.public["host"] == host, saw(
            secret.public["host"], expected=f"{secret.id} to lead to {host}, the endpoint of {environment.name}"
        )
    assert secret.fields, saw("no field", expected=f"fields in {secret.id}")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
