"""Faults of Redis, and of its description in ElastiCache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import relay_mode
from sandbox.site import required
from sandbox.valkey import until_saved

_FEW_CLIENTS = 100
_NOBODY = 1  # a port on which nothing listens
_CACHE = ["redis-ping", "redis-role-writable", "redis-memory"]


@fault("cache-not-available", turns_red=["redis-available"])
def cache_not_available(sandbox: Sandbox) -> Iterator[None]:
    """ElastiCache could not create the replication group."""
    aws, cache = required(sandbox.environment.aws), required(sandbox.environment.cache)
    undo = sandbox.aws_overlay(
        "replication-group", region=aws.region, name=cache.replication_group, status="create-failed"
    )
    yield
    sandbox.aws_overlay("replication-group", **undo)


@fault("cache-in-the-clear", turns_red=["redis-encryption-auth"])
def cache_in_the_clear(sandbox: Sandbox) -> Iterator[None]:
    """The cache was created again without encryption in transit."""
    aws, cache = required(sandbox.environment.aws), required(sandbox.environment.cache)
    undo = sandbox.aws_overlay(
        "replication-group", region=aws.region, name=cache.replication_group, transit_encryption_enabled=False
    )
    yield
    sandbox.aws_overlay("replication-group", **undo)


@fault("cache-without-failover", turns_red=["redis-failover"])
def cache_without_failover(sandbox: Sandbox) -> Iterator[None]:
    """The cache has a replica, but automatic failover is off."""
    aws, cache = required(sandbox.environment.aws), required(sandbox.environment.cache)
    undo = sandbox.aws_overlay(
        "replication-group", region=aws.region, name=cache.replication_group, automatic_failover="disabled"
    )
    yield
    sandbox.aws_overlay("replication-group", **undo)


@fault("cache-evicting", turns_red=["redis-evictions"])
def cache_evicting(sandbox: Sandbox) -> Iterator[None]:
    """A node of the cache evicts keys because its memory is full."""
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
    """A leaking pool holds nearly all client connections that Redis allows."""
    with ExitStack() as pool, _configured(sandbox, "maxclients", lambda _: _FEW_CLIENTS):
        free = _FEW_CLIENTS - 15 - int(pool.enter_context(sandbox.redis()).info("clients")["connected_clients"])
        for _ in range(free):
            pool.enter_context(sandbox.redis()).ping()
        yield


@contextmanager
def _user(sandbox: Sandbox, rule: str, *, undo: str) -> Iterator[None]:
    """The application's user of Redis under one more rule of its ACL, and under the rules of `undo` again."""
    name = sandbox.site.credentials.redis.username
    with sandbox.redis() as redis:
        redis.execute_command("ACL SETUSER", name, rule)
    yield
    with sandbox.redis() as redis:
        redis.execute_command("ACL SETUSER", name, *undo.split())


@fault("cache-user-off", turns_red=["redis-ping", "api-deep-health"])
def cache_user_off(sandbox: Sandbox) -> Iterator[None]:
    """Redis refuses the login of the application's user."""
    with _user(sandbox, "off", undo="on"):
        yield


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
    """Set one setting of Redis to a value computed from INFO memory."""
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
    """Redis uses nearly all the memory that maxmemory allows."""
    with _configured(sandbox, "maxmemory", lambda memory: int(memory["used_memory"] * 1.1)):
        yield


@fault("cache-full", turns_red=["redis-writable-by-app", "redis-memory", "http-cookie-flags"])
def cache_full(sandbox: Sandbox) -> Iterator[None]:
    """Redis has used all its memory and may remove nothing: it refuses every write, and answers PING."""
    with _configured(sandbox, "maxmemory", lambda memory: int(memory["used_memory"] * 0.9)):
        yield


@fault("cache-evicts-anything", turns_red=["redis-memory"])
def cache_evicts_anything(sandbox: Sandbox) -> Iterator[None]:
    """Redis may evict any key to make room, sessions too."""
    with _configured(sandbox, "maxmemory-policy", lambda _: "allkeys-random"):
        yield


@fault("redis-unreachable", turns_red=[*_CACHE, "api-deep-health"])
def redis_unreachable(sandbox: Sandbox) -> Iterator[None]:
    """Connections to Redis fail, for the API too."""
    with relay_mode(sandbox, "refuse", "cache", "api-cache"):
        yield


@fault("cache-wants-replicas", turns_red=["redis-writable-by-app", "http-cookie-flags"])
def cache_wants_replicas(sandbox: Sandbox) -> Iterator[None]:
    """Redis wants a replica before it takes a write, and has none; it answers PING."""
    with _configured(sandbox, "min-replicas-to-write", lambda _: 1):
        yield


@fault("cache-snapshot-failed", turns_red=["redis-writable-by-app", "http-cookie-flags", "api-deep-health"])
def cache_snapshot_failed(sandbox: Sandbox) -> Iterator[None]:
    """Redis could not write its snapshot, and takes no writes until it can."""
    in_the_way = sandbox.state_dir / "valkey" / "dump.rdb"
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    (in_the_way / "file").touch()  # a folder that is not empty can't be replaced by the snapshot
    with sandbox.redis() as redis:
        redis.config_set("save", "3600 1")
        redis.bgsave()
        until_saved(redis, "err")
    yield
    (in_the_way / "file").unlink()
    in_the_way.rmdir()
    with sandbox.redis() as redis:
        redis.bgsave()
        until_saved(redis, "ok")
        redis.config_set("save", "")


@fault("cache-user-without-hashes", turns_red=["redis-app-rights"])
def cache_user_without_hashes(sandbox: Sandbox) -> Iterator[None]:
    """The application's user may read and write strings, and no hash: sessions work, and presence does not."""
    with _user(sandbox, "-@hash", undo="+@all -@admin"):
        yield


@fault("cache-user-without-channels", turns_red=["redis-app-rights"])
def cache_user_without_channels(sandbox: Sandbox) -> Iterator[None]:
    """The application's user may use no channel: Redis 7 resets them for a new user."""
    with _user(sandbox, "resetchannels", undo="allchannels"):
        yield
