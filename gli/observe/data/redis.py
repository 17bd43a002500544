"""Redis, seen by the suite's own ACL user: whether it answers, is the primary, and has free memory.

Source of truth: the Redis command reference (PING, INFO), ElastiCache's user guide for the primary endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gli.common.sentences import Said, phrase
from gli.config.data_tier import Cache
from gli.observe.data.places import certified
from gli.observe.data.secrets import credentials, secrets
from gli.observe.edge.tcp import answering_port
from gli.observe.engine.guard import refuse_redis_writes
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

_TIMEOUT_S = 5.0
MOST_BYTES = 256_000
"""What one session takes from the server: INFO is some 10 kB."""


class CacheState(Observation):
    """One session with the cache, or the reason why there was none."""

    secret: str
    pong: bool = False
    encrypted: bool = False
    error: Said | None = None
    role: str | None = None
    clustered: bool = False
    """The cache runs in cluster mode: any node tells a client where to write."""
    used_bytes: int = 0
    max_bytes: int = 0
    """0: Redis itself has no limit."""
    policy: str | None = None
    clients: int = 0
    max_clients: int = 0
    """0: the server does not say."""
    refuses: tuple[Said, ...] = ()
    """Why it refuses every write, although it answers PING."""


class CacheRights(Observation):
    """What the ACL refuses the application's user on the keys and channels of the environment, and of its commands."""

    user: str
    denied: tuple[str, ...]
    """`SET gli:session`, `PUBLISH gli:events`, `HSET gli:presence user 1`, in the order of the environment."""


_ON_KEYS = {"GET": (), "SET": ("1",), "DEL": (), "EXPIRE": ("60",)}
_ON_CHANNELS = {"PUBLISH": ("1",), "SUBSCRIBE": ()}


@probe(deadline=10, after=[secrets])
async def application_cache(observer: Observer, cache: Cache) -> CacheState:
    """PING with the application's own credentials, over TLS if the secret says so."""
    return await _session(observer, cache, cache.secret, look=False)


@probe(deadline=10, after=[secrets])
async def cache_state(observer: Observer, cache: Cache) -> CacheState:
    """Role, memory and clients, with the suite's own credentials."""
    return await _session(observer, cache, cache.verify_secret, look=True)


@probe(deadline=10, after=[secrets])
async def cache_rights(observer: Observer, cache: Cache) -> CacheRights:
    """What Redis would refuse the application's user: ACL DRYRUN tells, and runs nothing.

    Raises `Unobserved` if the suite's user may not ask, or if the server is older than Redis 7.
    """
    from redis.exceptions import NoPermissionError, RedisError, ResponseError

    user = (await credentials(observer, cache, cache.secret)).get("username") or "default"
    known = await credentials(observer, cache, cache.verify_secret)
    if not known.get("host") or not known.get("port", "6379").isdigit():
        raise unknown("dependency", phrase("the secret {} names no usable host and port", cache.verify_secret))
    asked = [(f"{c} {name}", (c, name, *more)) for name in cache.keys for c, more in _ON_KEYS.items()]
    asked += [(f"{c} {name}", (c, name, *more)) for name in cache.channels for c, more in _ON_CHANNELS.items()]
    asked += [(command, tuple(command.split())) for command in cache.commands]
    denied = []
    try:
        connection = await _connection(observer, cache, cache.verify_secret)
        try:
            await connection.connect()
            for (
                _,
                words,
            ) in asked:  # all before the first answer: a slow network costs one delay, not a dozen
                await _send(observer, connection, "ACL DRYRUN", user, *words)
            for command, _ in asked:
                if await connection.read_response() not in (b"OK", "OK"):
                    denied.append(command)
        finally:
            await connection.disconnect(nowait=True)
    except ResponseError as e:
        if not isinstance(e, NoPermissionError) and "unknown" not in str(e).lower():  # Redis 6 knows no ACL DRYRUN
            raise unknown("error", phrase("ACL DRYRUN can't judge a command of [cache]: {}", e)) from None
        raise unknown(
            "access-denied",
            phrase("the user of {} may not ask ACL DRYRUN: allow it +acl|dryrun ({})", cache.verify_secret, e),
        ) from None
    except (RedisError, OSError, TimeoutError) as e:
        await _refuse_silence(observer, known, e)
        raise unknown("unreachable", phrase("the cache could not be asked: {}", _why(e))) from None
    return CacheRights(user=user, denied=tuple(denied))


async def _refuse_silence(observer: Observer, known: Mapping[str, str], error: Exception) -> None:
    """Raises `Unobserved` if the session timed out because of this runner, or because the port answers nothing."""
    from redis.exceptions import TimeoutError as RedisTimeoutError

    if isinstance(error, TimeoutError | RedisTimeoutError):
        observer.over(_TIMEOUT_S)
        await answering_port(observer, known["host"], int(known.get("port", "6379")))


async def _answers(observer: Observer, connection: Any) -> str | None:
    """`PONG`; `MISCONF` while the server refuses writes; None for another answer."""
    from redis.exceptions import ResponseError

    try:
        return "PONG" if await _command(observer, connection, "PING") in (b"PONG", "PONG") else None
    except ResponseError as e:
        if str(e).startswith("MISCONF"):
            return "MISCONF"
        raise


def _refusals(info: Mapping[str, str], *, misconf: bool) -> tuple[Said, ...]:
    """Why Redis refuses every write (MISCONF, NOREPLICAS, OOM, a pause), by INFO.

    A failed write to disk matters where PING is answered with MISCONF: a server may go on in spite of it
    (`stop-writes-on-bgsave-error no`).
    """
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    full = most > 0 and used >= most and info.get("maxmemory_policy") == "noeviction"
    reasons = {
        phrase("the last snapshot to disk failed (rdb_last_bgsave_status)"): misconf
        and info.get("rdb_last_bgsave_status") == "err",
        phrase("the append-only file can't be written (aof_last_write_status)"): misconf
        and info.get("aof_last_write_status") == "err",
        phrase("its memory is full, and the policy noeviction removes nothing"): full,
        phrase("its clients are paused (CLIENT PAUSE)"): info.get("paused_actions") in ("all", "write"),
        phrase("it wants a replica for each write, and has none (min-replicas-to-write)"): info.get(
            "min_slaves_good_slaves"
        )
        == "0",
    }
    return tuple(reason for reason, there in reasons.items() if there)


async def _session(observer: Observer, cache: Cache, secret_id: str, *, look: bool) -> CacheState:
    from redis.exceptions import RedisError

    document = await credentials(observer, cache, secret_id)
    if not document.get("host") or not document.get("port", "6379").isdigit():
        return CacheState(secret=secret_id, error=phrase("the secret names no usable host and port"))
    connection = await _connection(observer, cache, secret_id)
    try:
        observer.count("redis")
        with observer.phase("connect"):
            await connection.connect()
        answered = await _answers(observer, connection)
        info = _info(await _command(observer, connection, "INFO")) if look else {}
    except (RedisError, OSError, TimeoutError) as e:
        await _refuse_silence(observer, document, e)
        return CacheState(secret=secret_id, error=_why(e))
    finally:
        await connection.disconnect(nowait=True)
    return CacheState(
        secret=secret_id,
        pong=answered is not None and not look,
        encrypted=document.get("tls", "true") == "true",
        refuses=_refusals(info, misconf=answered == "MISCONF"),
        role=info.get("role"),
        clustered=info.get("cluster_enabled") == "1",
        used_bytes=int(info.get("used_memory", 0)),
        max_bytes=int(info.get("maxmemory", 0)),
        policy=info.get("maxmemory_policy"),
        clients=int(info.get("connected_clients", 0)),
        max_clients=int(info.get("maxclients", 0)),
    )


async def _connection(observer: Observer, cache: Cache, secret_id: str) -> Any:
    """A connection, not yet open, with the user of a secret that names a host and a port."""
    import redis.asyncio

    document = await credentials(observer, cache, secret_id)
    host, port = document["host"], int(document.get("port", "6379"))
    encrypted = document.get("tls", "true") == "true"
    address, port = observer.dial.address(host, port)
    options: dict[str, Any] = {
        "host": address,
        "port": port,
        "username": document.get("username") or None,  # a login with an AUTH token only has no user name
        "password": document.get("password"),
        "socket_timeout": _TIMEOUT_S,
        "socket_connect_timeout": _TIMEOUT_S,
        "protocol": 2,
        "driver_info": None,
        "parser_class": _limited(secret_id),
    }
    kind: Any = redis.asyncio.Connection
    if encrypted:
        kind = _dialled(redis.asyncio.SSLConnection, await certified(observer, host))
        options |= {"ssl_ca_certs": observer.dial.roots_of("cache"), "ssl_check_hostname": True}
    return kind(**options)


async def _command(observer: Observer, connection: Any, command: str, *arguments: str) -> Any:
    await _send(observer, connection, command, *arguments)
    return await connection.read_response()


async def _send(observer: Observer, connection: Any, command: str, *arguments: str) -> None:
    refuse_redis_writes(command)
    observer.count("redis")
    await connection.send_command(*command.split(), *arguments)


def _limited(secret_id: str) -> Any:
    """A parser of RESP2 that raises `Unobserved` before it takes more than the limit from the server."""
    from redis._parsers import _AsyncRESP2Parser
    from redis.exceptions import InvalidResponse

    class Limited(_AsyncRESP2Parser):
        left = MOST_BYTES

        async def read_response(self, *arguments: Any, **how: Any) -> Any:
            try:
                return await super().read_response(*arguments, **how)
            except (RecursionError, ValueError) as e:  # lists in lists, a length below zero, a line without an end
                raise InvalidResponse(f"Protocol Error: {e}") from None

        async def _read(self, length: int) -> Any:
            self._take(length)
            return await super()._read(length)

        async def _readline(self) -> Any:
            line = await super()._readline()
            self._take(len(line) + 2)
            return line

        def _take(self, length: int) -> None:
            self.left -= length
            if self.left < 0:
                raise unknown(
                    "too-little-data",
                    phrase("the cache of {} answered more than {} kB", secret_id, MOST_BYTES // 1_000),
                )

    return Limited


def _dialled(base: Any, name: str) -> Any:
    """A class of TLS connections whose certificate must cover `name`, whatever address they connect to."""

    class Dialled(base):  # type: ignore[misc]
        def _connection_arguments(self) -> Mapping[str, Any]:
            return {**super()._connection_arguments(), "server_hostname": name}

    return Dialled


def _info(text: Any) -> dict[str, str]:
    lines = (text.decode() if isinstance(text, bytes) else str(text)).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def _why(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if "WRONGPASS" in text or "invalid username-password" in text:
        return phrase("wrong user or password ({})", text)
    if "NOAUTH" in text:
        return phrase("the server wants a password and got none ({})", text)
    if "NOPERM" in text or "no permissions" in text:
        return phrase("the user may not do this ({})", text)
    return text
