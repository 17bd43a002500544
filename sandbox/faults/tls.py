"""Faults of certificates, and of the connections that they protect."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from sandbox.certificates import Authority
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import changed_listener, relay_mode
from sandbox.site import required

_API = ["tls-handshake", "api-health", "api-deep-health", "api-version", "api-endpoints-contract", "api-auth-enforced"]
_WEBSOCKET = ["tls-handshake", "ws-handshake", "ws-ping-pong", "ws-app-echo"]
_FRONTEND = ["tls-handshake", "cdn-index-200", "cdn-assets-resolve", "cdn-spa-deep-link"]


@fault("acm-certificate-expiring", turns_red=["acm-certificate-valid"])
def acm_certificate_expiring(sandbox: Sandbox) -> Iterator[None]:
    """The certificate of the load balancer's listener expires in two days and is not renewed automatically."""
    pems = sandbox.authority.issue(sandbox.environment.hosts, expires_in=timedelta(days=2)).pems()
    acm = sandbox.aws("acm")
    expiring = acm.import_certificate(
        Certificate=pems.certificate.encode(),
        PrivateKey=pems.private_key.encode(),
        CertificateChain=pems.chain.encode(),
    )["CertificateArn"]
    with changed_listener(sandbox, sandbox.environment, Certificates=[{"CertificateArn": expiring}]):
        yield
    acm.delete_certificate(CertificateArn=expiring)


@fault("acm-validation-record-gone", turns_red=["acm-validation-record", "acm-certificate-valid"])
def acm_validation_record_gone(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer's certificate can't be validated: its validation record was deleted from the zone."""
    acm, host = sandbox.aws("acm"), sandbox.environment.services["api"].host
    pending = acm.request_certificate(DomainName=host, ValidationMethod="DNS")["CertificateArn"]
    with changed_listener(sandbox, sandbox.environment, Certificates=[{"CertificateArn": pending}]):
        yield
    acm.delete_certificate(CertificateArn=pending)


@fault("listener-takes-old-tls", turns_red=["tls-min-version", "parity-edge"])
def listener_takes_old_tls(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer accepts TLS 1.0, by the former default policy of new listeners."""
    with changed_listener(sandbox, sandbox.environment, SslPolicy="ELBSecurityPolicy-2016-08"):
        yield


@fault("api-refuses", turns_red=_API)
def api_refuses(sandbox: Sandbox) -> Iterator[None]:
    """No server listens on the API's port 443."""
    with relay_mode(sandbox, "refuse", "api"):
        yield


@fault("api-blackhole", turns_red=_API)
def api_blackhole(sandbox: Sandbox) -> Iterator[None]:
    """The API's port 443 accepts connections but never answers."""
    with relay_mode(sandbox, "blackhole", "api"):
        yield


@fault("api-packets-dropped", turns_red=_API)
def api_packets_dropped(sandbox: Sandbox) -> Iterator[None]:
    """Packets to the API's port 443 are dropped, as by a security group: nobody gets an answer."""
    with relay_mode(sandbox, "drop", "api"):
        yield


@fault("websocket-refuses", turns_red=_WEBSOCKET)
def websocket_refuses(sandbox: Sandbox) -> Iterator[None]:
    """No server listens on the WebSocket server's port 443."""
    with relay_mode(sandbox, "refuse", "websocket"):
        yield


@fault("frontend-resets", turns_red=_FRONTEND)
def frontend_resets(sandbox: Sandbox) -> Iterator[None]:
    """Connections to the user frontend are reset right after they open."""
    with relay_mode(sandbox, "reset", "user"):
        yield


@fault("certificate-expiring", turns_red=["tls-cert-expiry"])
def certificate_expiring(sandbox: Sandbox) -> Iterator[None]:
    """The certificate of every public host expires in five days: its renewal has failed for weeks."""
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
    """The API presents a certificate for the zone's apex only, which does not cover the API's host."""
    zone = sandbox.environment.dns.zone or "example.com"
    with _certificate(sandbox, ["api"], sandbox.authority.issue([zone]).context()):
        yield


@fault("certificate-untrusted", turns_red=["tls-handshake", "api-health", "cdn-index-200", "ws-handshake"])
def certificate_untrusted(sandbox: Sandbox) -> Iterator[None]:
    """The public hosts present a certificate of an untrusted authority."""
    with _public_certificate(sandbox, Authority(), expires_in=timedelta(days=90)):
        yield


@contextmanager
def _certificate(sandbox: Sandbox, names: Iterable[str], context: ssl.SSLContext) -> Iterator[None]:
    """Let these relays present another certificate until the fault is healed."""
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
    """Let every public host present a certificate for its right name from another authority, until healed."""
    environment = sandbox.environment
    context = authority.issue(environment.hosts, expires_in=expires_in).context()
    return _certificate(sandbox, [*environment.services, *environment.frontends], context)


@fault("certificate-not-logged", turns_red=["acm-certificate-valid", "acm-validation-record"])
def certificate_not_logged(sandbox: Sandbox) -> Iterator[None]:
    """Certificate Transparency is off for the certificates of the load balancer: browsers refuse renewed ones."""
    region = required(sandbox.environment.aws).region
    undo = sandbox.aws_overlay("certificates-by", region=region, kind="AMAZON_ISSUED", logging="DISABLED")
    yield
    sandbox.aws_overlay("certificates-by", **undo)
