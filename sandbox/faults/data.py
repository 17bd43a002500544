"""Faults of the data tier: PostgreSQL, Redis, and the secrets that log in to them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from psycopg import sql

from sandbox.faults import Sandbox, fault
from sandbox.site import required

_FEW_CLIENTS = 100
_NOBODY = 1  # a port on which nothing listens


@fault("database-stopped", turns_red=["db-instance-available"])
def database_stopped(sandbox: Sandbox) -> Iterator[None]:
    """RDS says that the database instance is stopped."""
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
    """The database has a migration that the deployed code lacks, as after a rollback of the code alone."""
    name = "0099_from_the_future"
    with sandbox.postgres() as connection:
        connection.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('notices', %s, now())", (name,))
    yield
    with sandbox.postgres() as connection:
        connection.execute("DELETE FROM django_migrations WHERE name = %s", (name,))


@fault("database-connections-taken", turns_red=["db-connection-headroom"])
def database_connections_taken(sandbox: Sandbox) -> Iterator[None]:
    """A leaking pool holds more than nine tenths of the database's connections."""
    with ExitStack() as pool:
        look = pool.enter_context(sandbox.postgres())
        query = (
            "SELECT current_setting('max_connections')::int, count(*) FROM pg_stat_activity WHERE datname IS NOT NULL"
        )
        limit, used = look.execute(query).fetchone() or (0, 0)
        for _ in range(limit * 92 // 100 - used):
            pool.enter_context(sandbox.postgres())
        yield


@fault("cache-not-available", turns_red=["redis-available"])
def cache_not_available(sandbox: Sandbox) -> Iterator[None]:
    """ElastiCache could not bring the replication group up."""
    aws, cache = required(sandbox.environment.aws), required(sandbox.environment.cache)
    undo = sandbox.aws_overlay(
        "replication-group", region=aws.region, name=cache.replication_group, status="create-failed"
    )
    yield
    sandbox.aws_overlay("replication-group", **undo)


@fault("cache-in-the-clear", turns_red=["redis-encryption-auth"])
def cache_in_the_clear(sandbox: Sandbox) -> Iterator[None]:
    """The cache was made again without encryption in transit."""
    aws, cache = required(sandbox.environment.aws), required(sandbox.environment.cache)
    undo = sandbox.aws_overlay(
        "replication-group", region=aws.region, name=cache.replication_group, transit_encryption_enabled=False
    )
    yield
    sandbox.aws_overlay("replication-group", **undo)


@fault("cache-without-failover", turns_red=["redis-failover"])
def cache_without_failover(sandbox: Sandbox) -> Iterator[None]:
    """The cache has a replica, and nothing makes it the primary when that is lost."""
    aws, cache = required(sandbox.environment.aws), required(sandbox.environment.cache)
    undo = sandbox.aws_overlay(
        "replication-group", region=aws.region, name=cache.replication_group, automatic_failover="disabled"
    )
    yield
    sandbox.aws_overlay("replication-group", **undo)


@fault("cache-evicting", turns_red=["redis-evictions"])
def cache_evicting(sandbox: Sandbox) -> Iterator[None]:
    """A node of the cache throws keys out for want of memory."""
    aws, cache = required(sandbox.environment.aws), required(sandbox.environment.cache)
    groups = sandbox.aws("elasticache").describe_replication_groups(ReplicationGroupId=cache.replication_group)
    undo = sandbox.aws_overlay(
        "metric-data",
        region=aws.region,
        namespace="AWS/ElastiCache",
        metric="Evictions",
        dimensions={"CacheClusterId": groups["ReplicationGroups"][0]["MemberClusters"][0]},
        value=120.0,
    )
    yield
    sandbox.aws_overlay("metric-data", **undo)


@fault("cache-clients-leak", turns_red=["redis-clients"])
def cache_clients_leak(sandbox: Sandbox) -> Iterator[None]:
    """A leaking pool holds nearly all the clients that Redis takes."""
    with ExitStack() as pool, _configured(sandbox, "maxclients", lambda _: _FEW_CLIENTS):
        free = _FEW_CLIENTS - 15 - int(pool.enter_context(sandbox.redis()).info("clients")["connected_clients"])
        for _ in range(free):
            pool.enter_context(sandbox.redis()).ping()
        yield


@fault("cache-user-off", turns_red=["redis-ping", "api-deep-health"])
def cache_user_off(sandbox: Sandbox) -> Iterator[None]:
    """Redis no longer lets the application's user in."""
    name = sandbox.site.credentials.redis.username
    with sandbox.redis() as redis:
        redis.execute_command("ACL SETUSER", name, "off")
    yield
    with sandbox.redis() as redis:
        redis.execute_command("ACL SETUSER", name, "on")


@fault("cache-is-a-replica", turns_red=["redis-role-writable"])
def cache_is_a_replica(sandbox: Sandbox) -> Iterator[None]:
    """The node behind the primary endpoint is a replica, as after a failover that the endpoint did not follow."""
    with sandbox.redis() as redis:
        redis.replicaof("127.0.0.1", _NOBODY)
    yield
    with sandbox.redis() as redis:
        redis.replicaof("NO", "ONE")


@contextmanager
def _configured(sandbox: Sandbox, setting: str, value: Callable[[Any], object]) -> Iterator[None]:
    """Redis with another value of one setting, made from its INFO memory."""
    with sandbox.redis() as redis:
        before = redis.config_get(setting)[setting]
        redis.config_set(setting, str(value(redis.info("memory"))))
    try:
        yield
    finally:
        with sandbox.redis() as redis:
            redis.config_set(setting, before)


@fault("cache-memory-full", turns_red=["redis-memory"])
def cache_memory_full(sandbox: Sandbox) -> Iterator[None]:
    """Redis uses nearly all the memory that it may use."""
    with _configured(sandbox, "maxmemory", lambda memory: int(memory["used_memory"] * 1.1)):
        yield


@fault("cache-evicts-anything", turns_red=["redis-memory"])
def cache_evicts_anything(sandbox: Sandbox) -> Iterator[None]:
    """Redis may evict any key to make room, sessions too."""
    with _configured(sandbox, "maxmemory-policy", lambda _: "allkeys-random"):
        yield


@fault("secret-scheduled-for-deletion", turns_red=["secret-exists"])
def secret_scheduled_for_deletion(sandbox: Sandbox) -> Iterator[None]:
    """The application's database secret will be deleted in a week."""
    name = required(sandbox.environment.database).secret
    sandbox.aws("secretsmanager").delete_secret(SecretId=name, RecoveryWindowInDays=7)
    yield
    sandbox.aws("secretsmanager").restore_secret(SecretId=name)


@contextmanager
def _rewritten(sandbox: Sandbox, name: str, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """A secret with another value."""
    client = sandbox.aws("secretsmanager")
    before = client.get_secret_value(SecretId=name)
    value = json.loads(before["SecretString"])
    change(value)
    after = client.put_secret_value(SecretId=name, SecretString=json.dumps(value))
    try:
        yield
    finally:  # the version that tasks started with is current again
        client.update_secret_version_stage(
            SecretId=name,
            VersionStage="AWSCURRENT",
            RemoveFromVersionId=after["VersionId"],
            MoveToVersionId=before["VersionId"],
        )


@fault("secret-of-production", turns_red=["secret-fields"])
def secret_of_production(sandbox: Sandbox) -> Iterator[None]:
    """The application's database secret names production's host."""
    instance = required(sandbox.site.other.database).instance
    described = sandbox.aws("rds").describe_db_instances(DBInstanceIdentifier=instance)
    host = described["DBInstances"][0]["Endpoint"]["Address"]
    with _rewritten(sandbox, required(sandbox.environment.database).secret, lambda value: value.update(host=host)):
        yield


@fault("secret-without-a-password", turns_red=["secret-fields"])
def secret_without_a_password(sandbox: Sandbox) -> Iterator[None]:
    """The application's Redis secret lacks its password."""
    with _rewritten(sandbox, required(sandbox.environment.cache).secret, lambda value: value.pop("password")):
        yield
