"""TLS sessions and the certificates that hosts serve.

Source of truth: RFC 8446 for the session, RFC 5280 for the certificate, RFC 9525 for its names.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime

from gli.common.clock import now
from gli.common.sentences import Said, phrase
from gli.observe.edge.tcp import answering_port, why
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_TIMEOUT_S = 5.0


class Certificate(Observation):
    """The leaf certificate that a host serves."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    """The DNS names and addresses of its subjectAltName."""
    not_after: datetime
    days_left: float
    """Days until the certificate expires, at the time of the observation."""

    def covers(self, host: str) -> bool:
        """RFC 9525: the exact name, or a wildcard for exactly one leftmost label."""
        return any(_matches(name, host) for name in self.names)


class TlsSession(Observation):
    """A verified TLS session, or the reason why there is none. Has the certificate, if the host served one."""

    host: str
    error: Said | None = None
    version: str | None = None
    certificate: Certificate | None = None


def _matches(pattern: str, host: str) -> bool:
    pattern, host = pattern.lower().rstrip("."), host.lower().rstrip(".")
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return pattern == host


@probe(deadline=10, timed=True, libraries=["cryptography.x509"])
async def tls_session(observer: Observer, host: str) -> TlsSession:
    """A handshake that verifies chain and name, as a browser does.

    If the verification fails, a second handshake without verification fetches the certificate, which shows the reason.
    """
    try:
        version, der = await _handshake(observer, host, observer.dial.trust)
        return TlsSession(host=host, version=version, certificate=_certificate(der))
    except ssl.SSLCertVerificationError as e:
        error = phrase("certificate refused: {}", e.verify_message)
    except ssl.SSLError as e:
        error = phrase("TLS failed: {}", e.reason or e)
    except TimeoutError:
        observer.over(_TIMEOUT_S)
        await answering_port(observer, host, observer.environment.port_of(host))
        return TlsSession(host=host, error=phrase("no TLS session within {:g} s", _TIMEOUT_S))
    except OSError as e:
        return TlsSession(host=host, error=why(e))
    try:
        _, der = await _handshake(observer, host, observer.dial.no_trust)
        return TlsSession(host=host, error=error, certificate=_certificate(der))
    except (OSError, TimeoutError):
        return TlsSession(host=host, error=error)


async def _handshake(observer: Observer, host: str, context: ssl.SSLContext) -> tuple[str | None, bytes]:
    observer.count("tls")
    address, port = observer.dial.address(host, observer.environment.port_of(host))
    async with asyncio.timeout(_TIMEOUT_S):
        with observer.phase("tls"):
            _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    try:
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return session.version(), session.getpeercert(binary_form=True) or b""
    finally:
        writer.transport.abort()


def _certificate(der: bytes) -> Certificate:
    from cryptography import x509

    leaf = x509.load_der_x509_certificate(der)
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*san.get_values_for_type(x509.DNSName), *map(str, san.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        names = []
    return Certificate(
        subject=leaf.subject.rfc4514_string(),
        issuer=leaf.issuer.rfc4514_string(),
        names=tuple(names),
        not_after=leaf.not_valid_after_utc,
        days_left=round((leaf.not_valid_after_utc - now()).total_seconds() / 86400, 2),
    )
