"""Redis as the application reaches it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.engine.observation import unknown

if TYPE_CHECKING:
    from gli.config.data_tier import Cache
    from gli.observe.data.redis import CacheRights, CacheState

MOST_USED = 0.8
MOST_CLIENTS = 0.8


def test_redis_ping(application_cache: CacheState) -> None:
    """The cache accepts the application's own credentials, with the encryption that its secret names."""
    assert application_cache.pong, saw(
        application_cache.error or phrase("no PONG"), expected=phrase("PONG with {}", application_cache.secret)
    )


def test_redis_role_writable(cache_state: CacheState) -> None:
    """The application's endpoint is the primary: after a failover an old address is a read-only replica. In cluster
    mode any node will do: it sends a client to the primary of each key.
    """
    writable = cache_state.role == "master" or (cache_state.role is not None and cache_state.clustered)
    assert writable, saw(cache_state.error or cache_state.role, expected=phrase("the role master"))


def test_redis_memory(cache_state: CacheState, target: Cache) -> None:
    """The cache has free memory, and sessions are not the first keys that it evicts."""
    assert cache_state.policy is not None, saw(cache_state.error, expected=phrase("the memory policy of the cache"))
    assert any(fnmatchcase(cache_state.policy, allowed) for allowed in target.policies), saw(
        cache_state.policy, expected=phrase("one of the memory policies {}", listed(target.policies))
    )
    used, most = cache_state.used_bytes, cache_state.max_bytes
    assert most == 0 or used <= most * MOST_USED, saw(
        phrase("{} of {} bytes", used, most), expected=phrase("at most {:.0%} of the memory in use", MOST_USED)
    )


def test_redis_clients(cache_state: CacheState) -> None:
    """The cache has room for more clients, among them a deploy's new tasks: at its limit Redis refuses
    every new one.
    """
    assert cache_state.error is None, saw(cache_state.error, expected=phrase("the number of the cache's clients"))
    used, most = cache_state.clients, cache_state.max_clients
    if not most:
        raise unknown("too-little-data", phrase("the cache does not say how many clients it takes"))
    assert used <= most * MOST_CLIENTS, saw(
        phrase("{} of {}", used, most), expected=phrase("at most {:.0%} of the cache's clients in use", MOST_CLIENTS)
    )


def test_redis_writable_by_app(cache_state: CacheState) -> None:
    """The cache takes writes: it refuses them all while its snapshots fail, its replicas are missing or its memory is
    full, and says PONG.

    Source of truth: INFO (Redis documentation, "MISCONF" and "min-replicas-to-write").
    """
    assert cache_state.error is None, saw(cache_state.error, expected=phrase("a session to ask with"))
    assert not cache_state.refuses, saw(listed(cache_state.refuses), expected=phrase("a cache that takes writes"))


def test_redis_app_rights(cache_rights: CacheRights) -> None:
    """The application's user may use its keys and its channels: an ACL can let sessions work and no message through."""
    assert not cache_rights.denied, saw(
        phrase("{} refused", listed(cache_rights.denied)),
        expected=phrase("{} to be allowed what the application does", cache_rights.user),
    )
