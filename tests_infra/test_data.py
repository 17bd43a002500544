"""RDS, ElastiCache and the secrets that lead to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gli.common.clock import rfc3339
from gli.common.sentences import listed, phrase, saw
from gli.observe.aws import elasticache, rds
from gli.observe.aws.cloudwatch import LATELY, Metrics
from gli.observe.engine.observation import one_of, told, unknown

if TYPE_CHECKING:
    from gli.config.data_tier import Broker, Cache, Database
    from gli.config.environments import Environment
    from gli.observe.aws.data_tier import Endpoint
    from gli.observe.aws.elasticache import ReplicationGroup
    from gli.observe.aws.mq import AmazonMq
    from gli.observe.aws.rds import DatabaseInstance, Maintenance, Snapshot
    from gli.observe.data.secrets import Secret

_FAILOVER = frozenset({"enabled", "disabled", "enabling", "disabling"})
_BROKER = frozenset(
    {
        *("RUNNING", "CREATION_IN_PROGRESS", "CREATION_FAILED", "DELETION_IN_PROGRESS", "REBOOT_IN_PROGRESS"),
        *("CRITICAL_ACTION_REQUIRED", "REPLICA", "missing"),
    }
)
MOST_UNACKNOWLEDGED = 1000
LEAST_MEMORY_MIB = 100
LEAST_FREE = 0.1
LEAST_FREE_LOCAL_GIB = 2  # no API tells the size of this disk
MOST_LAG_S = 30
RESTORABLE_WITHIN_S = 15 * 60
SNAPSHOT_WITHIN_S = 25 * 3600  # a day, and an hour for the next daily snapshot to finish
MOST_CPU_PERCENT = 80.0
SLOWEST_DISK_S = 0.02
LEAST_CREDITS = 20.0
LEAST_BURST_PERCENT = 10.0
QUIET_FOR_S = 24 * 3600
LEAST_CERTIFICATE_DAYS = 60
RETIRED_AUTHORITY = "rds-ca-2019"  # it ended in August 2024


def test_db_instance_available(database_instance: DatabaseInstance) -> None:
    """The database instance exists and serves."""
    status, name = database_instance.status, database_instance.id
    if status not in rds.SERVING | rds.NOT_SERVING:
        raise unknown("error", phrase("{} is {}, a state not known here", name, status))
    assert status in rds.SERVING, saw(status, expected=phrase("{} available", name))


def test_db_protection(database_instance: DatabaseInstance, environment: Environment) -> None:
    """The database is encrypted, can't be deleted by mistake, and in production it has a standby."""
    name = database_instance.id
    wanted = {
        phrase("deletion protection"): told(
            database_instance.protected, phrase("whether {} has deletion protection", name)
        ),
        phrase("encrypted storage"): database_instance.encrypted,
        phrase("a standby in another zone"): database_instance.multi_az or not environment.production,
    }
    missing = [what for what, there in wanted.items() if not there]
    assert not missing, saw(phrase("it without {}", listed(missing)), expected=phrase("{} to be protected", name))


def test_db_not_public(database_instance: DatabaseInstance) -> None:
    """The database has no public address: nobody outside the network can try a password."""
    assert not database_instance.public, saw(
        phrase("a public address"), expected=phrase("{} in the network alone", database_instance.id)
    )


def test_db_backup_pitr(database_instance: DatabaseInstance, target: Database) -> None:
    """Backups are kept, and the database can be restored to a moment ago."""
    kept, age = database_instance.backup_days, database_instance.restorable_s
    assert kept >= target.minimum_backup_days, saw(
        phrase("{} days", kept),
        expected=phrase("backups of {} for at least {} days", database_instance.id, target.minimum_backup_days),
    )
    assert age is not None and age <= RESTORABLE_WITHIN_S, saw(
        phrase("no such moment") if age is None else phrase("{:.0f} min ago", age / 60),
        expected=phrase("{} to be restorable to {} min ago or later", database_instance.id, RESTORABLE_WITHIN_S // 60),
    )


def test_db_predeploy_snapshot(newest_snapshot: Snapshot) -> None:
    """There is a snapshot to restore, no older than a day."""
    assert newest_snapshot.id is not None, saw(
        phrase("none"), expected=phrase("a snapshot of {}", newest_snapshot.database)
    )
    assert newest_snapshot.age_s <= SNAPSHOT_WITHIN_S, saw(
        phrase("{}, {:.0f} h old", newest_snapshot.id, newest_snapshot.age_s / 3600),
        expected=phrase("a snapshot of {} from the last {} h", newest_snapshot.database, SNAPSHOT_WITHIN_S // 3600),
    )


def test_db_memory(database_instance: DatabaseInstance, metrics: Metrics) -> None:
    """The database has memory left: without it, it swaps and slows down, or is restarted."""
    free = metrics.latest(database_instance.id, "FreeableMemory") / 2**20
    assert free >= LEAST_MEMORY_MIB, saw(
        phrase("{:.0f} MiB", free),
        expected=phrase("at least {} MiB of memory free in {}", LEAST_MEMORY_MIB, database_instance.id),
    )


def test_db_storage_free(database_instance: DatabaseInstance, metrics: Metrics) -> None:
    """The disk does not fill during the deploy, and if it grows automatically there is room to grow.

    Aurora's storage grows automatically up to its limit. Its instance also has a disk of its own, for sorting and for
    temporary tables, which does not grow.
    """
    if database_instance.aurora:
        free = metrics.latest(database_instance.id, "FreeLocalStorage") / 2**30
        assert free >= LEAST_FREE_LOCAL_GIB, saw(
            phrase("{:.1f} GiB", free),
            expected=phrase("at least {} GiB free on the own disk of {}", LEAST_FREE_LOCAL_GIB, database_instance.id),
        )
        return
    free = metrics.latest(database_instance.id, "FreeStorageSpace") / 2**30
    allocated, ceiling = database_instance.allocated_gib, database_instance.ceiling_gib
    if not allocated:
        raise unknown(
            "too-little-data", phrase("RDS does not say how large the storage of {} is", database_instance.id)
        )
    assert free >= allocated * LEAST_FREE, saw(
        phrase("{:.1f} of {} GiB", free, allocated),
        expected=phrase("at least {:.0%} of {} free", LEAST_FREE, database_instance.id),
    )
    assert ceiling is None or ceiling > allocated, saw(
        phrase("{} GiB, up to {}", allocated, ceiling),
        expected=phrase("room for the storage of {} to grow", database_instance.id),
    )


def test_db_cpu_and_io(database_instance: DatabaseInstance, metrics: Metrics) -> None:
    """The database is not saturated: CPU, disk and, where these live on credits, the credits leave room for a
    migration.
    """
    name = database_instance.id
    cpu = _mean(metrics.lately(name, "CPUUtilization"))
    slowest = max(_mean(metrics.lately(name, metric)) for metric in ("ReadLatency", "WriteLatency"))
    assert cpu <= MOST_CPU_PERCENT and slowest <= SLOWEST_DISK_S, saw(
        phrase("{:.0f} % CPU and {:.0f} ms on disk", cpu, slowest * 1000),
        expected=phrase(
            "{} to take at most {:.0f} % CPU and {:.0f} ms on disk", name, MOST_CPU_PERCENT, SLOWEST_DISK_S * 1000
        ),
    )
    credits = metrics.latest(name, "CPUCreditBalance") if database_instance.slow_without_credits else None
    assert credits is None or credits >= LEAST_CREDITS, saw(
        phrase("{:.0f}", credits), expected=phrase("at least {:.0f} CPU credits of {}", LEAST_CREDITS, name)
    )
    told(database_instance.storage, phrase("the kind of the disk of {}", name))
    burst = metrics.latest(name, "BurstBalance") if database_instance.disk_lives_on_credits else None
    assert burst is None or burst >= LEAST_BURST_PERCENT, saw(
        phrase("{:.0f} %", burst),
        expected=phrase("at least {:.0f} % of the credits of the disk of {}", LEAST_BURST_PERCENT, name),
    )


def test_db_replication_lag(database_instance: DatabaseInstance, metrics: Metrics) -> None:
    """Every read replica is close behind; passes where RDS knows of none."""
    lags = {replica: metrics.latest(replica, "ReplicaLag") for replica in database_instance.replicas}
    late = [phrase("{} {:.0f} s behind", replica, lag) for replica, lag in lags.items() if lag > MOST_LAG_S]
    late += [phrase("{} not replicating", replica) for replica, lag in lags.items() if lag < 0]  # RDS says -1
    assert not late, saw(
        listed(late), expected=phrase("each replica of {} within {} s", database_instance.id, MOST_LAG_S)
    )


def test_db_pending_changes(
    database_instance: DatabaseInstance, maintenance: Sequence[Maintenance], target: Database
) -> None:
    """Nothing will restart the database by itself: no pending change, no maintenance within a day."""
    waiting = [*(phrase("{} pending", setting) for setting in database_instance.pending), *database_instance.unapplied]
    waiting += [
        phrase("{} at {}", m.action, rfc3339(m.at))
        for m in maintenance
        if m.at and m.in_s is not None and m.in_s <= QUIET_FOR_S
    ]
    assert not waiting, saw(
        listed(waiting), expected=phrase("nothing to surprise {} during the release", target.instance)
    )


def test_db_ca_valid(database_instance: DatabaseInstance) -> None:
    """The server's certificate is valid for at least two more months: clients that verify it lose the database when it
    ends.
    """
    name, left = database_instance.id, database_instance.certificate_days_left
    assert database_instance.authority != RETIRED_AUTHORITY, saw(
        RETIRED_AUTHORITY, expected=phrase("a certificate authority of {} that has not ended", name)
    )
    if left is None or database_instance.authority is None:
        raise unknown("too-little-data", phrase("RDS does not say how long the certificate of {} is valid", name))
    assert left >= LEAST_CERTIFICATE_DAYS, saw(
        phrase("{:.0f} (until {:%Y-%m-%d})", left, database_instance.certificate_until),
        expected=phrase("at least {} days left on the server certificate of {}", LEAST_CERTIFICATE_DAYS, name),
    )


def test_redis_available(replication_group: ReplicationGroup) -> None:
    """The cache exists and serves."""
    status, name = replication_group.status, replication_group.id
    if status not in elasticache.SERVING | elasticache.NOT_SERVING:
        raise unknown("error", phrase("{} is {}, a state not known here", name, status))
    assert status in elasticache.SERVING, saw(status, expected=phrase("{} available", name))


def test_redis_encryption_auth(replication_group: ReplicationGroup) -> None:
    """The cache encrypts data in transit and at rest, and demands a password."""
    wanted = {
        phrase("encryption in transit"): replication_group.encrypted_in_transit,
        phrase("encryption at rest"): replication_group.encrypted_at_rest,
        phrase("authentication"): replication_group.authenticated,
    }
    name = replication_group.id
    missing = [what for what, there in wanted.items() if not told(there, phrase("whether {} has {}", name, what))]
    assert not missing, saw(
        phrase("it without {}", listed(missing)), expected=phrase("{} to be protected", replication_group.id)
    )


def test_redis_evictions(replication_group: ReplicationGroup, metrics: Metrics, target: Cache) -> None:
    """No node of the cache evicts keys for lack of memory, or is busy all the time. A serverless cache evicts nothing
    either, and refuses no command because it grows too slowly. To evict is the work of a pure cache, whose `policies`
    allow it.
    """
    pure = any(policy.startswith("allkeys-") for policy in target.policies)
    if replication_group.serverless:
        _serverless_has_room(replication_group.id, metrics, evicts=pure)
        return
    assert replication_group.members, saw(phrase("none"), expected=phrase("nodes of {}", replication_group.id))
    for node in replication_group.members:
        evicted, cpu = sum(metrics.lately(node, "Evictions")), _mean(metrics.lately(node, "EngineCPUUtilization"))
        assert (evicted == 0 or pure) and cpu <= MOST_CPU_PERCENT, saw(
            phrase("{:.0f} keys evicted and {:.0f} % of the engine's CPU", evicted, cpu),
            expected=phrase("{} to evict nothing and to take at most {:.0f} %", node, MOST_CPU_PERCENT),
        )


def test_redis_failover(replication_group: ReplicationGroup, environment: Environment) -> None:
    """A replica takes over by itself if there is one. In production there is one, in another zone, and there are
    snapshots.
    """
    group = replication_group
    what = phrase("the automatic failover of {}", group.id)
    one_of(_FAILOVER, told(group.failover, what), what)
    wanted = {
        phrase("automatic failover"): group.failover == "enabled"
        or (len(group.members) < 2 and not environment.production),
        phrase("a replica in another zone"): not environment.production
        or told(group.multi_az, phrase("whether {} has {}", group.id, phrase("a replica in another zone"))),
        phrase("daily snapshots"): group.snapshot_days >= 1 or not environment.production,
    }
    missing = [what for what, there in wanted.items() if not there]
    assert not missing, saw(
        phrase("it without {}", listed(missing)), expected=phrase("{} to survive the loss of a node", group.id)
    )


def test_mq_broker_running(amazon_mq: AmazonMq, target: Broker) -> None:
    """Amazon MQ runs the broker and requires no action."""
    one_of(_BROKER, amazon_mq.state, phrase("the state of {}", amazon_mq.name))
    assert amazon_mq.state == "RUNNING", saw(
        amazon_mq.state, expected=phrase("the broker {} RUNNING", target.amazon_mq)
    )


def test_mq_not_blocked(metrics: Metrics, target: Broker) -> None:
    """The broker blocks nobody who publishes: it does above its memory limit and below its limit of free disk.

    Login, queues and consumers look well meanwhile. Source of truth: RabbitMQ, "Memory and Disk Alarms".
    """
    name = str(target.amazon_mq)
    used, limit = metrics.latest(name, "RabbitMQMemUsed"), metrics.latest(name, "RabbitMQMemLimit")
    assert used < limit, saw(
        phrase("{:.0f} of {:.0f} MiB", used / 2**20, limit / 2**20),
        expected=phrase("{} to use less memory than its limit", name),
    )
    free, least = metrics.latest(name, "RabbitMQDiskFree"), metrics.latest(name, "RabbitMQDiskFreeLimit")
    assert free > least, saw(
        phrase("{:.0f} MiB free, and a limit of {:.0f}", free / 2**20, least / 2**20),
        expected=phrase("{} to have more free disk than its limit", name),
    )


def test_mq_unacked(metrics: Metrics, target: Broker) -> None:
    """Workers finish what they take: a stuck worker holds messages that no queue shows as waiting."""
    held = metrics.latest(str(target.amazon_mq), "MessageUnacknowledgedCount")
    assert held <= MOST_UNACKNOWLEDGED, saw(
        phrase("{:.0f} taken and not acknowledged", held),
        expected=phrase("at most {} messages with workers of {}", MOST_UNACKNOWLEDGED, target.amazon_mq),
    )


def test_secret_exists(secret_state: Secret) -> None:
    """The secret exists, is not scheduled for deletion and has a current version."""
    assert secret_state.exists, saw(phrase("none"), expected=phrase("the secret {}", secret_state.id))
    assert secret_state.deleted_on is None, saw(
        phrase("scheduled for deletion ({:%Y-%m-%d})", secret_state.deleted_on) if secret_state.deleted_on else "",
        expected=phrase("the secret {} to stay", secret_state.id),
    )
    assert secret_state.has_current_version, saw(
        phrase("none"), expected=phrase("a current version of {}", secret_state.id)
    )


def test_secret_fields(secret: Secret, environment: Environment, endpoints: dict[str, Endpoint]) -> None:
    """The secret has the fields that the application reads, none of them empty or a template's, and leads to this
    environment's own resources.
    """
    filled = set(secret.fields) - set(secret.empty)
    if (endpoint := endpoints.get(secret.id)) is not None:
        missing = sorted(set(endpoint.fields) - filled)
        assert not missing, saw(
            phrase("no {}", listed(missing)), expected=phrase("{} in {}", listed(endpoint.fields), secret.id)
        )
        assert endpoint.right, saw(
            secret.public.get("host"),
            expected=phrase("{} to lead to {}, the endpoint of {}", secret.id, endpoint.address, environment.name),
        )
    assert filled, saw(phrase("no field"), expected=phrase("fields in {}", secret.id))
    assert not secret.unset, saw(
        phrase("a word of a template in {}", listed(secret.unset)), expected=phrase("real values in {}", secret.id)
    )


def _serverless_has_room(name: str, metrics: Metrics, *, evicts: bool) -> None:
    """Asserts that a serverless cache evicted and refused nothing lately. Counts of zero may have no datapoints."""
    metrics.latest(name, "BytesUsedForCache")
    start = metrics.taken - LATELY
    evicted, refused = (
        sum(metrics.between(name, metric, start, metrics.taken)) for metric in ("Evictions", "ThrottledCmds")
    )
    assert refused == 0 and (evicted == 0 or evicts), saw(
        phrase("{:.0f} keys evicted and {:.0f} commands refused", evicted, refused),
        expected=phrase("{} to evict and to refuse nothing", name),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
