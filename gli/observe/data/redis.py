"""Redis, seen by the suite's own ACL user: whether it answers, is the primary, and has free memory.

Source of truth: the Redis command reference (PING, INFO), ElastiCache's user guide for the primary endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gli.common.sentences import Said, phrase
from gli.config.environments import Cache
from gli.observe.data.places import certified
from gli.observe.data.secrets import secret, secrets
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


@probe(deadline=8, after=[secrets])
async def application_cache(observer: Observer, cache: Cache) -> CacheState:
    """PING with the application's own credentials, over TLS if the secret says so."""
    return await _session(observer, cache.secret, look=False)


@probe(deadline=8, after=[secrets])
async def cache_state(observer: Observer, cache: Cache) -> CacheState:
    """Role, memory and clients, with the suite's own credentials."""
    return await _session(observer, cache.verify_secret, look=True)


async def _session(observer: Observer, secret_id: str, *, look: bool) -> CacheState:
    import redis.asyncio
    import redis.exceptions
    from redis.exceptions import RedisError

    known = (await observer.see(secret, secret_id)).public
    if not known.get("host") or not known.get("port", "6379").isdigit():
        return CacheState(secret=secret_id, error=phrase("the secret names no usable host and port"))
    document = observer.vault.document(secret_id)
    host, port = known["host"], int(known.get("port", "6379"))
    encrypted = known.get("tls", "true") == "true"
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
    connection = kind(**options)
    try:
        observer.count("redis")
        with observer.phase("connect"):
            await connection.connect()
        pong = not look and await _command(observer, connection, "PING") in (b"PONG", "PONG")
        info = _info(await _command(observer, connection, "INFO")) if look else {}
    except (RedisError, OSError, TimeoutError) as e:
        if isinstance(e, TimeoutError | redis.exceptions.TimeoutError):
            observer.over(_TIMEOUT_S)
        return CacheState(secret=secret_id, error=_why(e))
    finally:
        await connection.disconnect(nowait=True)
    return CacheState(
        secret=secret_id,
        pong=pong,
        encrypted=encrypted,
        role=info.get("role"),
        clustered=info.get("cluster_enabled") == "1",
        used_bytes=int(info.get("used_memory", 0)),
        max_bytes=int(info.get("maxmemory", 0)),
        policy=info.get("maxmemory_policy"),
        clients=int(info.get("connected_clients", 0)),
        max_clients=int(info.get("maxclients", 0)),
    )


async def _command(observer: Observer, connection: Any, command: str) -> Any:
    refuse_redis_writes(command)
    observer.count("redis")
    await connection.send_command(command)
    return await connection.read_response()


def _limited(secret_id: str) -> Any:
    """A parser of RESP2 that raises `Unobserved` before it takes more than the limit from the server."""
    from redis._parsers import _AsyncRESP2Parser

    class Limited(_AsyncRESP2Parser):
        left = MOST_BYTES

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
