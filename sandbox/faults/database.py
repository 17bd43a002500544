"""Faults of PostgreSQL, and of its description in RDS."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from sandbox.aws.seed_data import seed_snapshot
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import developed, refusing, relay_mode, staged
from sandbox.faults.secrets import rewritten
from sandbox.relay import Flavour
from sandbox.site import required

_ANY_KEY = 4711
_TIMES = ("xact_start", "query_start")
_DATABASE = ["db-tcp-reachable", "db-credentials-valid", "db-migrations-applied", "db-connection-headroom"]


@fault("aws-throttles-rds", turns_red=["db-instance-available"])
def aws_throttles_rds(sandbox: Sandbox) -> Iterator[None]:
    """RDS throttles the suite's requests."""
    with refusing(sandbox, "rds", "Throttling"):
        yield


@fault("database-stopped", turns_red=["db-instance-available"])
def database_stopped(sandbox: Sandbox) -> Iterator[None]:
    """RDS reports that the database instance is stopped."""
    instance = required(sandbox.environment.database).instance
    sandbox.aws("rds").stop_db_instance(DBInstanceIdentifier=instance)
    yield
    sandbox.aws("rds").start_db_instance(DBInstanceIdentifier=instance)


@fault("database-password-changed", turns_red=["db-credentials-valid", "api-deep-health"])
def database_password_changed(sandbox: Sandbox) -> Iterator[None]:
    """The application's password was changed in the database, but not in its secret."""
    login = sandbox.site.credentials.database
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
    with sandbox.postgres() as connection:
        connection.execute(statement.format(sql.Identifier(login.username), secrets.token_urlsafe(18)))
    yield
    with sandbox.postgres() as connection:
        connection.execute(statement.format(sql.Identifier(login.username), login.password))


@fault("migration-missing", turns_red=["db-migrations-applied"])
def migration_missing(sandbox: Sandbox) -> Iterator[None]:
    """The newest migration of the deployed code was not applied."""
    with sandbox.postgres() as connection:
        row = connection.execute(
            "DELETE FROM django_migrations WHERE id = (SELECT max(id) FROM django_migrations WHERE app = 'notices')"
            " RETURNING id, app, name, applied"
        ).fetchone()
    yield
    with sandbox.postgres() as connection:
        connection.execute("INSERT INTO django_migrations (id, app, name, applied) VALUES (%s, %s, %s, %s)", row)


@fault("migration-from-the-future", turns_red=["db-migrations-applied"])
def migration_from_the_future(sandbox: Sandbox) -> Iterator[None]:
    """The database has a migration that the deployed code lacks, as after a rollback of the code only."""
    name = "0099_from_the_future"
    with sandbox.postgres() as connection:
        connection.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('notices', %s, now())", (name,))
    yield
    with sandbox.postgres() as connection:
        connection.execute("DELETE FROM django_migrations WHERE name = %s", (name,))


@fault("database-connections-taken", turns_red=["db-connection-headroom"])
def database_connections_taken(sandbox: Sandbox) -> Iterator[None]:
    """A leaking pool holds more than 90% of the database's connections."""
    with ExitStack() as pool:
        look = pool.enter_context(sandbox.postgres())
        query = (
            "SELECT current_setting('max_connections')::int, count(*) FROM pg_stat_activity WHERE datname IS NOT NULL"
        )
        limit, used = look.execute(query).fetchone() or (0, 0)
        for _ in range(limit * 92 // 100 - used):
            pool.enter_context(sandbox.postgres())
        yield


def _instance(sandbox: Sandbox) -> str:
    return required(sandbox.environment.database).instance


@contextmanager
def _modified(sandbox: Sandbox, **changes: Any) -> Iterator[None]:
    """Change settings of the instance."""
    rds, instance = sandbox.aws("rds"), _instance(sandbox)
    described = rds.describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"][0]
    rds.modify_db_instance(DBInstanceIdentifier=instance, ApplyImmediately=True, **changes)
    try:
        yield
    finally:
        before = {name: described[name] for name in changes}
        rds.modify_db_instance(DBInstanceIdentifier=instance, ApplyImmediately=True, **before)


@contextmanager
def _overlaid(sandbox: Sandbox, **changes: Any) -> Iterator[None]:
    """Put the instance into a state that the AWS API can't set."""
    region = required(sandbox.environment.aws).region
    undo = sandbox.aws_overlay("database", region=region, instance=_instance(sandbox), **changes)
    try:
        yield
    finally:
        sandbox.aws_overlay("database", **undo)


@contextmanager
def _measured(sandbox: Sandbox, instance: str, metric: str, value: float) -> Iterator[None]:
    """Set the value of one metric of an instance in CloudWatch, from now on."""
    undo = sandbox.aws_overlay(
        "metric-data",
        region=required(sandbox.environment.aws).region,
        namespace="AWS/RDS",
        metric=metric,
        dimensions={"DBInstanceIdentifier": instance},
        value=value,
    )
    try:
        yield
    finally:
        sandbox.aws_overlay("metric-data", **undo)


@fault("database-unprotected", turns_red=["db-protection"])
def database_unprotected(sandbox: Sandbox) -> Iterator[None]:
    """Somebody switched deletion protection off and did not switch it on again."""
    with _modified(sandbox, DeletionProtection=False):
        yield


@fault("database-without-standby", turns_red=["db-protection"], production=True)
def database_without_standby(sandbox: Sandbox) -> Iterator[None]:
    """The database has no standby in another zone."""
    with _modified(sandbox, MultiAZ=False):
        yield


@fault("database-public", turns_red=["db-not-public"])
def database_public(sandbox: Sandbox) -> Iterator[None]:
    """The database has a public address."""
    with _modified(sandbox, PubliclyAccessible=True):
        yield


@fault("backups-off", turns_red=["db-backup-pitr"])
def backups_off(sandbox: Sandbox) -> Iterator[None]:
    """Automatic backups are switched off."""
    with _modified(sandbox, BackupRetentionPeriod=0):
        yield


@fault("backups-kept-for-three-days", turns_red=["db-backup-pitr"], production=True)
def backups_kept_for_three_days(sandbox: Sandbox) -> Iterator[None]:
    """Automatic backups are kept for three days, which is enough for staging."""
    with _modified(sandbox, BackupRetentionPeriod=3):
        yield


@fault("recovery-stalled", turns_red=["db-backup-pitr"])
def recovery_stalled(sandbox: Sandbox) -> Iterator[None]:
    """The latest time that the database can be restored to is two hours ago."""
    with _overlaid(sandbox, stalled_for_s=7200.0):
        yield


@fault("database-maintenance-tonight", turns_red=["db-pending-changes"])
def database_maintenance_tonight(sandbox: Sandbox) -> Iterator[None]:
    """AWS will update the database's operating system in five hours; another update is due next month."""
    with _overlaid(sandbox, played_maintenance=[("system-update", 5.0), ("db-upgrade", 720.0)]):
        yield


@fault("database-change-waits", turns_red=["db-pending-changes"])
def database_change_waits(sandbox: Sandbox) -> Iterator[None]:
    """A larger instance class was ordered and will be applied in the next maintenance window."""
    with _overlaid(sandbox, pending_modified_values={"DBInstanceClass": "db.m8g.large"}):
        yield


@fault("database-certificate-ending", turns_red=["db-ca-valid"])
def database_certificate_ending(sandbox: Sandbox) -> Iterator[None]:
    """The database server's certificate expires in three weeks."""
    with _overlaid(sandbox, certificate_lasts_days=21.0):
        yield


@fault("snapshot-missing", turns_red=["db-predeploy-snapshot"])
def snapshot_missing(sandbox: Sandbox) -> Iterator[None]:
    """Nobody took a snapshot before the release."""
    rds = sandbox.aws("rds")
    for snapshot in rds.describe_db_snapshots(DBInstanceIdentifier=_instance(sandbox))["DBSnapshots"]:
        rds.delete_db_snapshot(DBSnapshotIdentifier=snapshot["DBSnapshotIdentifier"])
    yield
    seed_snapshot(sandbox.account, sandbox.environment)


@fault("database-disk-full", turns_red=["db-storage-free"])
def database_disk_full(sandbox: Sandbox) -> Iterator[None]:
    """The database's disk is nearly full."""
    with _measured(sandbox, _instance(sandbox), "FreeStorageSpace", 3.0 * 2**30):
        yield


@fault("database-disk-slow", turns_red=["db-cpu-and-io"])
def database_disk_slow(sandbox: Sandbox) -> Iterator[None]:
    """A write to the database's disk takes 0.1 s."""
    with _measured(sandbox, _instance(sandbox), "WriteLatency", 0.1):
        yield


@fault("database-disk-without-credits", turns_red=["db-cpu-and-io"])
def database_disk_without_credits(sandbox: Sandbox) -> Iterator[None]:
    """The database's disk is small and of the kind gp2, and has used up its credits: it is as slow as an old disk."""
    region = required(sandbox.environment.aws).region
    undo = sandbox.aws_overlay("database", region=region, instance=_instance(sandbox), storage_type="gp2")
    with _measured(sandbox, _instance(sandbox), "BurstBalance", 2.0):
        yield
    sandbox.aws_overlay("database", **undo)


@fault("database-credits-used-up", turns_red=["db-cpu-and-io"])
def database_credits_used_up(sandbox: Sandbox) -> Iterator[None]:
    """The database is of the class T2, and has no CPU credits left."""
    rds, id_ = sandbox.aws("rds"), _instance(sandbox)
    before = rds.describe_db_instances(DBInstanceIdentifier=id_)["DBInstances"][0]["DBInstanceClass"]
    rds.modify_db_instance(DBInstanceIdentifier=id_, DBInstanceClass="db.t2.medium", ApplyImmediately=True)
    with _measured(sandbox, id_, "CPUCreditBalance", 0.0):
        yield
    rds.modify_db_instance(DBInstanceIdentifier=id_, DBInstanceClass=before, ApplyImmediately=True)


@contextmanager
def _executed(sandbox: Sandbox, statement: LiteralString, *, undo: LiteralString) -> Iterator[None]:
    """The database after one statement, and after another one again as it was."""
    with sandbox.postgres() as connection:
        connection.execute(statement)
    yield
    with sandbox.postgres() as connection:
        connection.execute(undo)


@fault("collation-outgrown", turns_red=["db-collation-current"])
def collation_outgrown(sandbox: Sandbox) -> Iterator[None]:
    """The server moved to another operating system, whose collation is another than that of the indexes."""
    with sandbox.postgres() as connection:
        connection.execute("UPDATE pg_database SET datcollversion = '2.26' WHERE datname = current_database()")
    yield
    with sandbox.postgres() as connection:
        connection.execute(_REFRESH.format(sql.Identifier(sandbox.site.database_name)))


_REFRESH = sql.SQL("ALTER DATABASE {} REFRESH COLLATION VERSION")


@fault("index-half-built", turns_red=["db-invalid-indexes"])
def index_half_built(sandbox: Sandbox) -> Iterator[None]:
    """A cancelled CREATE INDEX CONCURRENTLY left an invalid index, which slows down every write."""
    with sandbox.postgres() as connection:
        connection.execute("CREATE TABLE doubled AS SELECT 1 AS id UNION ALL SELECT 1")
        with suppress(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY doubled_id ON doubled (id)")
    yield
    with sandbox.postgres() as connection:
        connection.execute("DROP TABLE doubled")


@fault("table-lost", turns_red=["db-schema-expected", "api-endpoints-contract"])
def table_lost(sandbox: Sandbox) -> Iterator[None]:
    """All migrations are recorded, but the notices' table is missing: somebody ran migrate --fake."""
    made = "ALTER TABLE notices_notice RENAME TO notices_notice_before"
    with _executed(sandbox, made, undo="ALTER TABLE notices_notice_before RENAME TO notices_notice"):
        yield


@fault("column-of-a-faked-migration", turns_red=["db-schema-expected", "api-endpoints-contract"])
def column_of_a_faked_migration(sandbox: Sandbox) -> Iterator[None]:
    """All migrations are recorded, but a column that one of them makes is missing."""
    made = "ALTER TABLE notices_notice RENAME published TO made"
    with _executed(sandbox, made, undo="ALTER TABLE notices_notice RENAME made TO published"):
        yield


@fault("replica-behind", turns_red=["db-replication-lag"])
def replica_behind(sandbox: Sandbox) -> Iterator[None]:
    """The database's read replica is ten minutes behind."""
    rds, source = sandbox.aws("rds"), _instance(sandbox)
    replica = f"{source}-replica"
    rds.create_db_instance_read_replica(
        DBInstanceIdentifier=replica, SourceDBInstanceIdentifier=source, DeletionProtection=False
    )
    with _measured(sandbox, replica, "ReplicaLag", 600.0):
        yield
    rds.delete_db_instance(DBInstanceIdentifier=replica, SkipFinalSnapshot=True)


@contextmanager
def _aged(sandbox: Sandbox, pid: int, column: str) -> Iterator[None]:
    """Show one session ten minutes older to the suite's role, by a view in front of the real pg_stat_activity.

    The session has just begun, and a fault can't wait ten minutes.
    """
    columns = ("pid", "usename", "application_name", "state", "backend_type", "wait_event_type", "query", *_TIMES)
    shown = [
        sql.SQL("{0} - CASE WHEN pid = {1} THEN interval '10 minutes' ELSE '0' END AS {0}").format(
            sql.Identifier(name), pid
        )
        if name == column
        else sql.Identifier(name)
        for name in columns
    ]
    view = sql.SQL("SELECT {} FROM pg_catalog.pg_stat_activity").format(sql.SQL(", ").join(shown))
    with _in_front_of(sandbox, "pg_stat_activity", view):
        yield


@contextmanager
def _in_front_of(sandbox: Sandbox, catalogue: str, shown: sql.Composed) -> Iterator[None]:
    """Show the suite's role a view in place of one of PostgreSQL's own."""
    role = sql.Identifier(sandbox.site.credentials.verify_database.username)
    view = sql.Identifier("aged", catalogue)
    with sandbox.postgres() as connection:
        connection.execute("CREATE SCHEMA aged")
        connection.execute(sql.SQL("CREATE VIEW {} AS {}").format(view, shown))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA aged TO {}").format(role))
        connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(view, role))
        connection.execute(sql.SQL("ALTER ROLE {} SET search_path = aged, pg_catalog, public").format(role))
    try:
        yield
    finally:
        with sandbox.postgres() as connection:
            connection.execute(sql.SQL("ALTER ROLE {} RESET search_path").format(role))
            connection.execute("DROP SCHEMA aged CASCADE")


@fault("transaction-left-open", turns_red=["db-long-transactions"])
def transaction_left_open(sandbox: Sandbox) -> Iterator[None]:
    """A session is idle in an open transaction."""
    with sandbox.postgres() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM django_migrations")
        with _aged(sandbox, connection.info.backend_pid, "xact_start"):
            yield
        connection.execute("ROLLBACK")


@fault("transaction-prepared-and-forgotten", turns_red=["db-long-transactions"])
def transaction_prepared_and_forgotten(sandbox: Sandbox) -> Iterator[None]:
    """A transaction was prepared for a two-phase commit, and nobody ended it: no session shows its locks."""
    with sandbox.postgres() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM django_migrations")
        connection.execute("PREPARE TRANSACTION 'import-4711'")
    shown = sql.SQL(
        "SELECT gid, prepared - interval '10 minutes' AS prepared, owner, database FROM pg_catalog.pg_prepared_xacts"
    )
    with _in_front_of(sandbox, "pg_prepared_xacts", sql.Composed([shown])):
        yield
    with sandbox.postgres() as connection:
        connection.execute("ROLLBACK PREPARED 'import-4711'")


@fault("lock-held", turns_red=["db-blocking-locks"])
def lock_held(sandbox: Sandbox) -> Iterator[None]:
    """A session waits for a lock that another session keeps."""
    with sandbox.postgres() as holder, sandbox.postgres() as waiter:
        holder.execute("SELECT pg_advisory_lock(%s)", (_ANY_KEY,))

        def wait() -> None:
            with suppress(psycopg.Error):  # the waiting session may end first
                waiter.execute("SELECT pg_advisory_lock(%s)", (_ANY_KEY,))

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        with _aged(sandbox, waiter.info.backend_pid, "query_start"):
            yield
        holder.execute("SELECT pg_advisory_unlock(%s)", (_ANY_KEY,))
        waiting.join(timeout=5)


@fault("database-unreachable", turns_red=[*_DATABASE, "api-deep-health"])
def database_unreachable(sandbox: Sandbox) -> Iterator[None]:
    """Connections to the database fail, for the API too."""
    with relay_mode(sandbox, "refuse", "database", "api-database"):
        yield


@fault("database-packets-dropped", turns_red=[*_DATABASE, "api-deep-health"])
def database_packets_dropped(sandbox: Sandbox) -> Iterator[None]:
    """Packets to the database are dropped, as by its security group: no connection opens, the API's neither."""
    with relay_mode(sandbox, "drop", "database", "api-database"):
        yield


@fault("database-blackhole", turns_red=[*_DATABASE[1:], "api-deep-health"])
def database_blackhole(sandbox: Sandbox) -> Iterator[None]:
    """The database accepts connections but never answers, as behind an exhausted proxy."""
    with relay_mode(sandbox, "blackhole", "database", "api-database"):
        yield


@fault("database-without-tls", turns_red=["db-credentials-valid", "db-tls-in-use"])
def database_without_tls(sandbox: Sandbox) -> Iterator[None]:
    """The database no longer offers TLS: a client that requires TLS can't log in."""
    relay = sandbox.relay("database")
    before, relay.flavour = relay.flavour, Flavour.PLAIN
    yield
    relay.flavour = before


@contextmanager
def _migration(sandbox: Sandbox, name: str, operation: str, after: str = "0002_first_notices") -> Iterator[None]:
    """Add a migration of the API's notices to staging's branch."""
    text = (
        "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
        f'    dependencies = [("notices", "{after}")]\n    operations = [{operation}]\n'
    )
    repository = sandbox.environment.services["api"].repository
    with developed(sandbox, repository, staged(sandbox), {f"notices/migrations/{name}.py": text}):
        yield


@fault("migration-destructive", turns_red=["db-migration-review", "wf-run-success"])
def migration_destructive(sandbox: Sandbox) -> Iterator[None]:
    """The next release drops a column that the running code reads."""
    operation = 'migrations.RemoveField(model_name="notice", name="title")'
    with _migration(sandbox, "0003_remove_title", operation):
        yield


@fault("migration-without-way-back", turns_red=["db-migration-review", "wf-run-success"])
def migration_without_way_back(sandbox: Sandbox) -> Iterator[None]:
    """The next release runs SQL that can't be undone."""
    with _migration(sandbox, "0003_upper", 'migrations.RunSQL("UPDATE notices_notice SET title = upper(title)")'):
        yield


@fault("migration-forked", turns_red=["db-migration-review", "wf-run-success"])
def migration_forked(sandbox: Sandbox) -> Iterator[None]:
    """Two merged branches each added a last migration of the API: the migrations have two leaf nodes."""
    with _migration(sandbox, "0002_in_the_other_branch", "", after="0001_initial"):
        yield


@fault("application-may-not-write", turns_red=["db-app-grants", "db-next-migration"])
def application_may_not_write(sandbox: Sandbox) -> Iterator[None]:
    """The migrations ran as another role: the application may read the notices' table, but not write it."""
    application = sql.Identifier(sandbox.site.credentials.database.username)
    with sandbox.postgres() as connection:
        connection.execute("ALTER TABLE notices_notice OWNER TO CURRENT_USER")
        connection.execute(sql.SQL("REVOKE ALL ON notices_notice FROM {}").format(application))
        connection.execute(sql.SQL("GRANT SELECT ON notices_notice TO {}").format(application))
    yield
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("ALTER TABLE notices_notice OWNER TO {}").format(application))
        connection.execute(sql.SQL("GRANT ALL ON notices_notice TO {}").format(application))


@fault("row-security-hides-all", turns_red=["db-app-grants"])
def row_security_hides_all(sandbox: Sandbox) -> Iterator[None]:
    """Row security is on for the notices' table, for its owner too, and no policy lets a row through."""
    made = "ALTER TABLE notices_notice ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    undo = "ALTER TABLE notices_notice DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"
    with _executed(sandbox, made, undo=undo):
        yield


@fault("application-may-not-find-tables", turns_red=["db-app-grants", "api-endpoints-contract"])
def application_may_not_find_tables(sandbox: Sandbox) -> Iterator[None]:
    """A new session of the application looks for its tables in another schema."""
    user = sandbox.site.credentials.database.username
    role, leave = sql.Identifier(user), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("ALTER ROLE {} SET search_path = archive").format(role))
        connection.execute(leave, (user,))
    yield
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("ALTER ROLE {} RESET search_path").format(role))
        connection.execute(leave, (user,))


@fault("commits-wait-for-a-standby", turns_red=["db-writable"])
def commits_wait_for_a_standby(sandbox: Sandbox) -> Iterator[None]:
    """Each commit of the application waits for a standby that was deleted: a write never ends."""
    role = sql.Identifier(sandbox.site.credentials.database.username)
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("ALTER ROLE {} SET synchronous_commit = on").format(role))
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        connection.execute("SELECT pg_reload_conf()")
    yield
    with sandbox.postgres() as connection:
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(sql.SQL("ALTER ROLE {} RESET synchronous_commit").format(role))


@fault("database-read-only", turns_red=["db-writable"])
def database_read_only(sandbox: Sandbox) -> Iterator[None]:
    """New sessions of the database are read-only: somebody began a maintenance and did not end it."""
    name = sql.Identifier(sandbox.site.database_name)
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    yield
    with sandbox.postgres() as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


@contextmanager
def _numbered(sandbox: Sandbox, last: int) -> Iterator[None]:
    """Set the last number that the sequence of the notices' ids gave."""
    sequence = "pg_get_serial_sequence('notices_notice', 'id')"
    with sandbox.postgres() as connection:
        (before,) = connection.execute(
            "SELECT last_value FROM pg_sequences WHERE sequencename = 'notices_notice_id_seq'"
        ).fetchone() or (None,)
        connection.execute(f"SELECT setval({sequence}, %s)", (last,))
    try:
        yield
    finally:
        with sandbox.postgres() as connection:
            connection.execute(f"SELECT setval({sequence}, %s)", (before,))


@fault("sequence-behind", turns_red=["db-sequence-headroom"])
def sequence_behind(sandbox: Sandbox) -> Iterator[None]:
    """After a copy of the data, the sequence of the notices' ids gives numbers that are taken."""
    with _numbered(sandbox, 1):
        yield


@fault("sequence-at-its-end", turns_red=["db-sequence-headroom"])
def sequence_at_its_end(sandbox: Sandbox) -> Iterator[None]:
    """Nearly all numbers of the notices' ids are used."""
    with _numbered(sandbox, 2**63 - 1000):
        yield


@fault("sequence-of-a-default-at-its-end", turns_red=["db-sequence-headroom"])
def sequence_of_a_default_at_its_end(sandbox: Sandbox) -> Iterator[None]:
    """A column of 32 bits takes its default from a sequence of 64 bits that no column owns."""
    role = sql.Identifier(sandbox.site.credentials.database.username)
    with sandbox.postgres() as connection:
        connection.execute("CREATE SEQUENCE notices_vote_numbers")
        connection.execute("CREATE TABLE notices_vote (id integer PRIMARY KEY DEFAULT nextval('notices_vote_numbers'))")
        connection.execute(sql.SQL("GRANT ALL ON notices_vote, notices_vote_numbers TO {}").format(role))
        connection.execute("SELECT setval('notices_vote_numbers', 2147483000)")
    yield
    with sandbox.postgres() as connection:
        connection.execute("DROP TABLE notices_vote")
        connection.execute("DROP SEQUENCE notices_vote_numbers")


@fault("database-password-ends", turns_red=["db-password-lasts"])
def database_password_ends(sandbox: Sandbox) -> Iterator[None]:
    """The password of the application's role ends in two days."""
    role = sql.Identifier(sandbox.site.credentials.database.username)
    statement = sql.SQL("ALTER ROLE {} VALID UNTIL {}")
    with sandbox.postgres() as connection:
        ends = (datetime.now(UTC) + timedelta(days=2)).isoformat()
        connection.execute(statement.format(role, ends))
    yield
    with sandbox.postgres() as connection:
        connection.execute(statement.format(role, "infinity"))


@fault("replication-slot-forgotten", turns_red=["db-replication-slots"])
def replication_slot_forgotten(sandbox: Sandbox) -> Iterator[None]:
    """The slot of a replica that is gone keeps the write-ahead log."""
    made = "SELECT pg_create_physical_replication_slot('replica_gone', true)"
    with _executed(sandbox, made, undo="SELECT pg_drop_replication_slot('replica_gone')"):
        yield


@fault("vacuum-behind", turns_red=["db-txid-age"])
def vacuum_behind(sandbox: Sandbox) -> Iterator[None]:
    """The oldest transaction id is 1.5 billion transactions old, which no fault can wait for: a view shows it so."""
    with sandbox.postgres() as connection:
        (newest,) = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone() or (
            0,
        )
        shown = sql.SQL("SELECT datname, {}::text::xid AS datfrozenxid, datminmxid FROM pg_catalog.pg_database").format(
            sql.Literal((newest - 1_500_000_000) % 2**32)
        )
        with _in_front_of(sandbox, "pg_database", shown):
            yield


@fault("database-memory-low", turns_red=["db-memory"])
def database_memory_low(sandbox: Sandbox) -> Iterator[None]:
    """The database has 40 MiB of memory left."""
    with _measured(sandbox, _instance(sandbox), "FreeableMemory", 40.0 * 2**20):
        yield


@fault("column-that-the-code-does-not-fill", turns_red=["db-inserts-accepted"])
def column_that_the_code_does_not_fill(sandbox: Sandbox) -> Iterator[None]:
    """A rollback of the code left a column of the newer release: NOT NULL, and Django had dropped its default."""
    with _executed(
        sandbox,
        "ALTER TABLE notices_notice ADD COLUMN audience text NOT NULL DEFAULT ''; "
        "ALTER TABLE notices_notice ALTER COLUMN audience DROP DEFAULT",
        undo="ALTER TABLE notices_notice DROP COLUMN audience",
    ):
        yield


@fault("application-may-not-wait", turns_red=["db-inserts-accepted"])
def application_may_not_wait(sandbox: Sandbox) -> Iterator[None]:
    """Somebody set a lock_timeout for a migration on the whole database: every wait for a lock of 5 ms is an error."""
    with _executed(
        sandbox, "ALTER DATABASE gli SET lock_timeout = '5ms'", undo="ALTER DATABASE gli RESET lock_timeout"
    ):
        yield


@fault("row-rule-swallows-inserts", turns_red=["db-inserts-accepted"])
def row_rule_swallows_inserts(sandbox: Sandbox) -> Iterator[None]:
    """A rule from the last freeze turns every insert into nothing, and reports success."""
    with _executed(
        sandbox,
        "CREATE RULE frozen AS ON INSERT TO notices_notice DO INSTEAD NOTHING",
        undo="DROP RULE IF EXISTS frozen ON notices_notice",
    ):
        yield


@fault("row-trigger-swallows-inserts", turns_red=["db-inserts-accepted"])
def row_trigger_swallows_inserts(sandbox: Sandbox) -> Iterator[None]:
    """A trigger from the last freeze returns nothing for each row: every insert reports success, and none stays."""
    with _executed(
        sandbox,
        "CREATE FUNCTION frozen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER frozen BEFORE INSERT ON notices_notice FOR EACH ROW EXECUTE FUNCTION frozen()",
        undo="DROP FUNCTION IF EXISTS frozen() CASCADE",
    ):
        yield


@fault("row-constraint-refuses-inserts", turns_red=["db-inserts-accepted"])
def row_constraint_refuses_inserts(sandbox: Sandbox) -> Iterator[None]:
    """A constraint from the last freeze refuses every new row, and none of the old ones: CHECK (false) NOT VALID."""
    with _executed(
        sandbox,
        "ALTER TABLE notices_notice ADD CONSTRAINT frozen CHECK (false) NOT VALID",
        undo="ALTER TABLE notices_notice DROP CONSTRAINT IF EXISTS frozen",
    ):
        yield


@fault("row-trigger-refuses-inserts", turns_red=["db-inserts-accepted"])
def row_trigger_refuses_inserts(sandbox: Sandbox) -> Iterator[None]:
    """A trigger from the last freeze raises for each row."""
    with _executed(
        sandbox,
        "CREATE FUNCTION frozen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'frozen'; END $$; "
        "CREATE TRIGGER frozen BEFORE INSERT ON notices_notice FOR EACH ROW EXECUTE FUNCTION frozen()",
        undo="DROP FUNCTION IF EXISTS frozen() CASCADE",
    ):
        yield


@fault("row-security-refuses-inserts", turns_red=["db-app-grants"])
def row_security_refuses_inserts(sandbox: Sandbox) -> Iterator[None]:
    """The policy of a table lets every row be read, and no policy lets one be added."""
    with _executed(
        sandbox,
        "CREATE POLICY reading ON notices_notice FOR SELECT USING (true); "
        "ALTER TABLE notices_notice ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        undo="ALTER TABLE notices_notice DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY; "
        "DROP POLICY reading ON notices_notice; DROP POLICY IF EXISTS adding ON notices_notice",
    ):
        yield


@fault("table-without-a-partition-for-now", turns_red=["db-inserts-accepted"])
def table_without_a_partition_for_now(sandbox: Sandbox) -> Iterator[None]:
    """The job that makes partitions has stopped: the last one of a table ended with last month."""
    with sandbox.postgres() as connection:
        connection.execute(
            "CREATE TABLE notices_event (id bigint, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
        )
        connection.execute(
            "CREATE TABLE notices_event_1 PARTITION OF notices_event FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')"
        )
        for table in ("notices_event", "notices_event_1"):
            owner = sql.Identifier(sandbox.site.credentials.database.username)
            connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(table), owner))
    yield
    with sandbox.postgres() as connection:
        connection.execute("DROP TABLE notices_event")


@fault("schema-frozen", turns_red=["db-writable"])
def schema_frozen(sandbox: Sandbox) -> Iterator[None]:
    """An event trigger from the last freeze refuses every change of the schema: the next migration fails."""
    with _executed(
        sandbox,
        "CREATE FUNCTION frozen_schema() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'frozen'; END $$; "
        "CREATE EVENT TRIGGER frozen ON ddl_command_start EXECUTE FUNCTION frozen_schema()",
        undo="SET event_triggers = off; DROP EVENT TRIGGER IF EXISTS frozen; DROP FUNCTION frozen_schema()",
    ):
        yield


@fault("table-emptied-by-a-crash", turns_red=["db-schema-expected"])
def table_emptied_by_a_crash(sandbox: Sandbox) -> Iterator[None]:
    """The notices' table is still UNLOGGED after a fast import: a crash would empty it."""
    with _executed(sandbox, "ALTER TABLE notices_notice SET UNLOGGED", undo="ALTER TABLE notices_notice SET LOGGED"):
        yield


@fault("table-triggers-left-off", turns_red=["db-schema-expected"])
def table_triggers_left_off(sandbox: Sandbox) -> Iterator[None]:
    """After a copy of the data, the triggers of a table are still disabled, and with them its foreign keys."""
    with _executed(
        sandbox,
        "CREATE TABLE reading (notice bigint REFERENCES notices_notice); "
        "ALTER TABLE notices_notice DISABLE TRIGGER ALL",
        undo="ALTER TABLE notices_notice ENABLE TRIGGER ALL; DROP TABLE reading",
    ):
        yield


@fault("table-keys-not-enforced", turns_red=["db-schema-expected"])
def table_keys_not_enforced(sandbox: Sandbox) -> Iterator[None]:
    """Sessions of the database work as a replica's, since a copy of the data: foreign keys are not enforced."""
    with _executed(
        sandbox,
        "ALTER DATABASE gli SET session_replication_role = replica",
        undo="ALTER DATABASE gli RESET session_replication_role",
    ):
        yield


@fault("autovacuum-off", turns_red=["db-vacuum-runs"])
def autovacuum_off(sandbox: Sandbox) -> Iterator[None]:
    """Somebody switched autovacuum off for a night of imports, and did not switch it on again."""
    with sandbox.postgres() as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
    yield
    with sandbox.postgres() as connection:
        connection.execute("ALTER SYSTEM RESET autovacuum")
        connection.execute("SELECT pg_reload_conf()")


@fault("table-without-autovacuum", turns_red=["db-vacuum-runs"])
def table_without_autovacuum(sandbox: Sandbox) -> Iterator[None]:
    """Autovacuum is off on the notices' table."""
    with _executed(
        sandbox,
        "ALTER TABLE notices_notice SET (autovacuum_enabled = off)",
        undo="ALTER TABLE notices_notice RESET (autovacuum_enabled)",
    ):
        yield


@fault("table-without-its-key", turns_red=["db-schema-expected"])
def table_without_its_key(sandbox: Sandbox) -> Iterator[None]:
    """A table was copied and renamed: its columns are there, and its primary key is not."""
    with _executed(
        sandbox,
        "ALTER TABLE notices_notice DROP CONSTRAINT notices_notice_pkey",
        undo="ALTER TABLE notices_notice ADD PRIMARY KEY (id)",
    ):
        yield


@fault("row-without-a-number", turns_red=["db-inserts-accepted"])
def row_without_a_number(sandbox: Sandbox) -> Iterator[None]:
    """A restored table lost the identity of its ids: the code leaves the number to the database, which has none."""
    with _executed(
        sandbox,
        "ALTER TABLE notices_notice ALTER COLUMN id DROP IDENTITY",
        undo="ALTER TABLE notices_notice ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY; "
        "SELECT setval(pg_get_serial_sequence('notices_notice', 'id'), (SELECT max(id) FROM notices_notice))",
    ):
        yield


@fault("application-may-not-sort", turns_red=["db-inserts-accepted"])
def application_may_not_sort(sandbox: Sandbox) -> Iterator[None]:
    """Somebody set temp_file_limit to 0 when the disk was full: each large sort of the application is an error."""
    with _executed(
        sandbox, "ALTER DATABASE gli SET temp_file_limit = 0", undo="ALTER DATABASE gli RESET temp_file_limit"
    ):
        yield


@fault("application-may-not-meet-others", turns_red=["db-inserts-accepted"])
def application_may_not_meet_others(sandbox: Sandbox) -> Iterator[None]:
    """The application's sessions begin serializable: of two transactions that meet, one fails."""
    with _executed(
        sandbox,
        "ALTER ROLE gli_app SET default_transaction_isolation = 'serializable'",
        undo="ALTER ROLE gli_app RESET default_transaction_isolation",
    ):
        yield


@fault("row-rule-keeps-deleted-rows", turns_red=["db-inserts-accepted"])
def row_rule_keeps_deleted_rows(sandbox: Sandbox) -> Iterator[None]:
    """A rule from the last freeze turns every DELETE into nothing, and reports success."""
    with _executed(
        sandbox,
        "CREATE RULE frozen AS ON DELETE TO notices_notice DO INSTEAD NOTHING",
        undo="DROP RULE IF EXISTS frozen ON notices_notice",
    ):
        yield


@fault("row-trigger-refuses-updates", turns_red=["db-inserts-accepted"])
def row_trigger_refuses_updates(sandbox: Sandbox) -> Iterator[None]:
    """A trigger from the last freeze refuses every UPDATE, and no migration made that trigger."""
    with _executed(
        sandbox,
        "CREATE FUNCTION frozen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'frozen'; END $$; "
        "CREATE TRIGGER frozen BEFORE UPDATE ON notices_notice FOR EACH ROW EXECUTE FUNCTION frozen()",
        undo="DROP FUNCTION IF EXISTS frozen() CASCADE",
    ):
        yield


@contextmanager
def _without_constraint(sandbox: Sandbox, kind: LiteralString) -> Iterator[None]:
    """The topics' table without its constraint of this kind (pg_constraint.contype)."""
    with sandbox.postgres() as connection:
        found = connection.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = 'notices_topic'::regclass AND contype = %s",
            [kind],
        ).fetchone()
        name, meaning = required(found)
        named = sql.Identifier(name)
        connection.execute(sql.SQL("ALTER TABLE notices_topic DROP CONSTRAINT {}").format(named))
    yield
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("ALTER TABLE notices_topic ADD CONSTRAINT {} {}").format(named, sql.SQL(meaning)))


@fault("unique-constraint-dropped", turns_red=["db-schema-expected"])
def unique_constraint_dropped(sandbox: Sandbox) -> Iterator[None]:
    """Somebody dropped a unique constraint for an import, and did not make it again: duplicates come in."""
    with _without_constraint(sandbox, "u"):
        yield


@fault("unique-index-of-some-rows", turns_red=["db-schema-expected"])
def unique_index_of_some_rows(sandbox: Sandbox) -> Iterator[None]:
    """A unique constraint was replaced by an index with a condition, which lets duplicates of other rows in."""
    partly = "CREATE UNIQUE INDEX partly ON notices_topic (name) WHERE parent_id IS NULL"
    with _without_constraint(sandbox, "u"), _executed(sandbox, partly, undo="DROP INDEX partly"):
        yield


@fault("foreign-key-dropped", turns_red=["db-schema-expected"])
def foreign_key_dropped(sandbox: Sandbox) -> Iterator[None]:
    """A foreign key of the migrations was dropped for a faster import: rows lose what they point to."""
    with _without_constraint(sandbox, "f"):
        yield


@fault("column-takes-no-null", turns_red=["db-schema-expected"])
def column_takes_no_null(sandbox: Sandbox) -> Iterator[None]:
    """A migration that lets a column be empty is on record, and never ran: each row without a parent is refused."""
    made = "ALTER TABLE notices_topic ALTER COLUMN parent_id SET NOT NULL"
    with _executed(sandbox, made, undo="ALTER TABLE notices_topic ALTER COLUMN parent_id DROP NOT NULL"):
        yield


@fault("numbers-too-short", turns_red=["db-schema-expected"])
def numbers_too_short(sandbox: Sandbox) -> Iterator[None]:
    """A migration to numbers of 64 bits is on record, and never ran: the column takes 32 bits."""
    made = "ALTER TABLE notices_topic ALTER COLUMN id TYPE integer"
    with _executed(sandbox, made, undo="ALTER TABLE notices_topic ALTER COLUMN id TYPE bigint"):
        yield


@fault("migrator-may-not-create", turns_red=["db-next-migration"])
def migrator_may_not_create(sandbox: Sandbox) -> Iterator[None]:
    """The database belongs to an administrator after a restore: the application, which migrates, may make no table."""
    database = sql.Identifier(sandbox.site.database_name)
    application = sql.Identifier(sandbox.site.credentials.database.username)
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(database))
        connection.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, application))
    yield
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, application))
        connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM {}").format(application))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, application))


@fault("table-of-another-owner", turns_red=["db-next-migration"])
def table_of_another_owner(sandbox: Sandbox) -> Iterator[None]:
    """An administrator ran a migration by hand: the application works, and can't alter the new table any more."""
    application = sql.Identifier(sandbox.site.credentials.database.username)
    with sandbox.postgres() as connection:
        connection.execute("ALTER TABLE notices_topic OWNER TO CURRENT_USER")
        connection.execute(sql.SQL("GRANT ALL ON notices_topic, notices_topic_id_seq TO {}").format(application))
    yield
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("ALTER TABLE notices_topic OWNER TO {}").format(application))


@fault("column-too-short", turns_red=["db-schema-expected"])
def column_too_short(sandbox: Sandbox) -> Iterator[None]:
    """A migration that makes the notices' titles longer is on record, and never ran: a long title is an error."""
    with _executed(
        sandbox,
        "ALTER TABLE notices_notice ALTER COLUMN title TYPE varchar(50) USING left(title, 50)",
        undo="ALTER TABLE notices_notice ALTER COLUMN title TYPE varchar(200)",
    ):
        yield


@fault("column-of-another-type", turns_red=["db-schema-expected"])
def column_of_another_type(sandbox: Sandbox) -> Iterator[None]:
    """Somebody made the time of a notice a day, by hand: what the code writes there loses its hour."""
    made = "ALTER TABLE notices_notice ALTER COLUMN published TYPE date"
    with _executed(sandbox, made, undo="ALTER TABLE notices_notice ALTER COLUMN published TYPE timestamptz"):
        yield


@fault("column-takes-no-value", turns_red=["db-inserts-accepted"])
def column_takes_no_value(sandbox: Sandbox) -> Iterator[None]:
    """A column that the code fills was made one that PostgreSQL computes: each INSERT that names it is refused."""
    with _executed(
        sandbox,
        "ALTER TABLE notices_topic DROP COLUMN parent_id; "
        "ALTER TABLE notices_topic ADD COLUMN parent_id bigint GENERATED ALWAYS AS (NULL::bigint) STORED "
        "REFERENCES notices_topic DEFERRABLE INITIALLY DEFERRED",
        undo="ALTER TABLE notices_topic DROP COLUMN parent_id; "
        "ALTER TABLE notices_topic ADD COLUMN parent_id bigint "
        "REFERENCES notices_topic DEFERRABLE INITIALLY DEFERRED; "
        "CREATE INDEX ON notices_topic (parent_id)",
    ):
        yield


@fault("table-shadowed", turns_red=["db-schema-expected"])
def table_shadowed(sandbox: Sandbox) -> Iterator[None]:
    """A schema with the application's own name holds an empty copy of a table: users' notices seem to be gone."""
    schema = sql.Identifier(sandbox.site.credentials.database.username)
    made = sql.SQL(
        "CREATE SCHEMA {0}; CREATE TABLE {0}.notices_notice (LIKE public.notices_notice INCLUDING ALL); "
        "ALTER TABLE {0}.notices_notice OWNER TO {0}; ALTER SCHEMA {0} OWNER TO {0}"
    )
    with sandbox.postgres() as connection:
        connection.execute(made.format(schema))
    yield
    with sandbox.postgres() as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))


@fault("database-of-another-name", turns_red=["db-schema-expected", "secret-rotation-state"])
def database_of_another_name(sandbox: Sandbox) -> Iterator[None]:
    """The application's secret names the server's own database, after a copy from its console: no table is there."""
    database = required(sandbox.environment.database)
    with sandbox.postgres() as connection:
        connection.execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC")
    with rewritten(sandbox, database.secret, lambda value: value.update(dbname="postgres")):
        yield
