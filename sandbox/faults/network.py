"""Faults of the network and of TLS: most are a setting of a relay."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from sandbox.certificates import Authority
from sandbox.faults import Sandbox, fault
from sandbox.relay import Mode

_API_CHECKS = [
    "tls-handshake",
    "api-health",
    "api-deep-health",
    "api-version",
    "api-endpoints-contract",
    "api-auth-enforced",
]
_WEBSOCKET_CHECKS = ["tls-handshake", "ws-handshake", "ws-ping-pong", "ws-app-echo"]
_CDN_CHECKS = ["tls-handshake", "cdn-index-200", "cdn-assets-resolve", "cdn-spa-deep-link"]
_DATABASE_CHECKS = ["db-credentials-valid", "db-migrations-applied", "db-connection-headroom", "api-deep-health"]
_REDIS_CHECKS = ["redis-ping", "redis-role-writable", "redis-memory", "api-deep-health"]


@contextmanager
def _mode(sandbox: Sandbox, mode: Mode, *names: str) -> Iterator[None]:
    """These relays treat connections so, for a while."""
    for name in names:
        sandbox.run(sandbox.relay(name).set_mode(mode))
    yield
    for name in names:
        sandbox.run(sandbox.relay(name).set_mode("pass"))


@contextmanager
def _certificate(sandbox: Sandbox, context: ssl.SSLContext, names: Sequence[str]) -> Iterator[None]:
    """These relays present another certificate, for a while."""
    with ExitStack() as undo:
        for name in names:
            relay = sandbox.relay(name)
            undo.callback(setattr, relay, "certificate", relay.certificate)
            relay.certificate = context
        yield


def _public(sandbox: Sandbox) -> list[str]:
    return [*sandbox.environment.services, *sandbox.environment.frontends]


@fault("api-refuses", turns_red=_API_CHECKS)
def api_refuses(sandbox: Sandbox) -> Iterator[None]:
    """Nobody listens on the API's port 443."""
    with _mode(sandbox, "refuse", "api"):
        yield


@fault("api-blackhole", turns_red=_API_CHECKS)
def api_blackhole(sandbox: Sandbox) -> Iterator[None]:
    """The API's port 443 accepts connections and never says a word."""
    with _mode(sandbox, "blackhole", "api"):
        yield
