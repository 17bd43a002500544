"""Faults of the network and of TLS: most are a setting of a relay."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from sandbox.certificates import Authority
from sandbox.faults import Sandbox, fault
from sandbox.relay import Flavour, Mode

_API = ["tls-handshake", "api-health", "api-deep-health", "api-version", "api-endpoints-contract", "api-auth-enforced"]
_WEBSOCKET = ["tls-handshake", "ws-handshake", "ws-ping-pong", "ws-app-echo"]
_FRONTEND = ["tls-handshake", "cdn-index-200", "cdn-assets-resolve", "cdn-spa-deep-link"]
_DATABASE = ["db-tcp-reachable", "db-credentials-valid", "db-migrations-applied", "db-connection-headroom"]
_CACHE = ["redis-ping", "redis-role-writable", "redis-memory"]
_BROKER = ["mq-amqp-login", "mq-consumers", "mq-queue-depth"]


@fault("api-refuses", turns_red=_API)
def api_refuses(sandbox: Sandbox) -> Iterator[None]:
    """Nobody listens on the API's port 443."""
    with _mode(sandbox, "refuse", "api"):
        yield


@fault("api-blackhole", turns_red=_API)
def api_blackhole(sandbox: Sandbox) -> Iterator[None]:
    """The API's port 443 accepts connections and never says a word."""
    with _mode(sandbox, "blackhole", "api"):
        yield


@fault("websocket-refuses", turns_red=_WEBSOCKET)
def websocket_refuses(sandbox: Sandbox) -> Iterator[None]:
    """Nobody listens on the WebSocket server's port 443."""
    with _mode(sandbox, "refuse", "websocket"):
        yield


@fault("frontend-resets", turns_red=_FRONTEND)
def frontend_resets(sandbox: Sandbox) -> Iterator[None]:
    """Connections to the user frontend are reset as soon as they are open."""
    with _mode(sandbox, "reset", "user"):
        yield


@fault("redirect-refuses", turns_red=["http-redirects-to-https"])
def redirect_refuses(sandbox: Sandbox) -> Iterator[None]:
    """Nobody listens on port 80, so who types a bare host name gets nothing."""
    with _mode(sandbox, "refuse", "http"):
        yield


@fault("database-unreachable", turns_red=[*_DATABASE, "api-deep-health"])
def database_unreachable(sandbox: Sandbox) -> Iterator[None]:
    """Nobody, the API included, gets a connection to the database."""
    with _mode(sandbox, "refuse", "database", "api-database"):
        yield


@fault("database-blackhole", turns_red=[*_DATABASE[1:], "api-deep-health"])
def database_blackhole(sandbox: Sandbox) -> Iterator[None]:
    """The database accepts connections and never says a word, as behind an exhausted proxy."""
    with _mode(sandbox, "blackhole", "database", "api-database"):
        yield


@fault("database-without-tls", turns_red=["db-credentials-valid", "db-tls-in-use"])
def database_without_tls(sandbox: Sandbox) -> Iterator[None]:
    """The database speaks no TLS any more: a client that insists on it can't log in."""
    relay = sandbox.relay("database")
    before, relay.flavour = relay.flavour, Flavour.PLAIN
    yield
    relay.flavour = before


@fault(
    "runner-outside-the-vpc",
    turns_red=["vantage-vpc-reachable", "db-tcp-reachable", "db-credentials-valid", "redis-ping", "mq-amqp-login"],
)
def runner_outside_the_vpc(sandbox: Sandbox) -> Iterator[None]:
    """Nothing of the data tier opens to the runner, and everything to the API."""
    with _mode(sandbox, "refuse", *({"database", "cache", "broker"} & sandbox.relays.keys())):
        yield


@fault("redis-unreachable", turns_red=[*_CACHE, "api-deep-health"])
def redis_unreachable(sandbox: Sandbox) -> Iterator[None]:
    """Nobody, the API included, gets a connection to Redis."""
    with _mode(sandbox, "refuse", "cache", "api-cache"):
        yield


@fault("aws-unreachable", turns_red=["aws-caller-identity"])
def aws_unreachable(sandbox: Sandbox) -> Iterator[None]:
    """The AWS API resets every connection; whoever connects to moto itself still gets through."""
    with _mode(sandbox, "reset", "aws"):
        yield


@fault("dns-silent", turns_red=["dns-host-resolves"])
def dns_silent(sandbox: Sandbox) -> Iterator[None]:
    """The name server answers nobody, over UDP or TCP."""
    datagrams = sandbox.datagrams
    datagrams.mode = "blackhole"
    with _mode(sandbox, "blackhole", "dns"):
        yield
    datagrams.mode = "pass"


@fault("certificate-expiring", turns_red=["tls-cert-expiry"])
def certificate_expiring(sandbox: Sandbox) -> Iterator[None]:
    """The certificate of every public host has five days left: its renewal has failed for weeks."""
    with _public_certificate(sandbox, sandbox.authority, expires_in=timedelta(days=5)):
        yield


@fault(
    "certificate-expired", turns_red=["tls-handshake", "tls-cert-expiry", "api-health", "cdn-index-200", "ws-handshake"]
)
def certificate_expired(sandbox: Sandbox) -> Iterator[None]:
    """The certificate of every public host expired yesterday."""
    with _public_certificate(sandbox, sandbox.authority, expires_in=timedelta(days=-1)):
        yield


@fault("certificate-wrong-name", turns_red=["tls-handshake", "tls-san-covers-host", "api-health"])
def certificate_wrong_name(sandbox: Sandbox) -> Iterator[None]:
    """The API presents a certificate for the apex only: a name without a wildcard covers no other host."""
    zone = sandbox.environment.dns.zone or "example.com"
    with _certificate(sandbox, ["api"], sandbox.authority.issue([zone]).context()):
        yield


@fault("certificate-untrusted", turns_red=["tls-handshake", "api-health", "cdn-index-200", "ws-handshake"])
def certificate_untrusted(sandbox: Sandbox) -> Iterator[None]:
    """The public hosts present a certificate of an authority that nobody trusts."""
    with _public_certificate(sandbox, Authority(), expires_in=timedelta(days=90)):
        yield


@fault("broker-unreachable", turns_red=_BROKER)
def broker_unreachable(sandbox: Sandbox) -> Iterator[None]:
    """Nobody, the API included, gets a connection to the broker."""
    with _mode(sandbox, "refuse", "broker", "api-broker"):
        yield


@contextmanager
def _mode(sandbox: Sandbox, mode: Mode, *names: str) -> Iterator[None]:
    """These relays treat connections so, for a while."""
    relays = [sandbox.relay(name) for name in names]
    before = [relay.mode for relay in relays]
    for relay in relays:
        sandbox.run(relay.set_mode(mode))
    yield
    for relay, old in zip(relays, before, strict=True):
        sandbox.run(relay.set_mode(old))


@contextmanager
def _certificate(sandbox: Sandbox, names: Iterable[str], context: ssl.SSLContext) -> Iterator[None]:
    """These relays present another certificate, for a while."""
    relays = [sandbox.relay(name) for name in names]
    before = [relay.certificate for relay in relays]
    for relay in relays:
        relay.certificate = context
    yield
    for relay, certificate in zip(relays, before, strict=True):
        relay.certificate = certificate


def _public_certificate(
    sandbox: Sandbox, authority: Authority, *, expires_in: timedelta
) -> AbstractContextManager[None]:
    """Every public host presents a certificate for its right name by that authority, for a while."""
    environment = sandbox.environment
    context = authority.issue(environment.hosts, expires_in=expires_in).context()
    return _certificate(sandbox, [*environment.services, *environment.frontends], context)
