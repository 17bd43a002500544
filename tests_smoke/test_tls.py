"""TLS on port 443 of every public host, as a browser sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gli.common.sentences import listed, phrase, saw
from gli.observe.engine.observation import unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.observe.edge.tls import Certificate, TlsSession


@pytest.fixture
def certificate(tls_session: TlsSession) -> Certificate:
    """The served certificate, even if the session was refused."""
    if tls_session.certificate is None:
        raise unknown("dependency", phrase("{} served no certificate: {}", tls_session.host, tls_session.error))
    return tls_session.certificate


def test_tls_handshake(tls_session: TlsSession) -> None:
    """A TLS session with verified chain and name opens."""
    assert tls_session.error is None, saw(
        tls_session.error, expected=phrase("a verified TLS session with {}", tls_session.host)
    )


def test_tls_cert_expiry(certificate: Certificate, environment: Environment) -> None:
    """The served certificate has more days left than the environment's limit."""
    left, limit = certificate.days_left, environment.tls.block_below_days
    assert left >= limit, saw(
        phrase("{:.1f} (until {:%Y-%m-%d %H:%M} UTC)", left, certificate.not_after),
        expected=phrase("at least {} days left", limit),
    )


def test_tls_san_covers_host(certificate: Certificate, target: str) -> None:
    """The certificate's names cover the exact host; a wildcard covers one label and never the apex."""
    assert certificate.covers(target), saw(listed(certificate.names), expected=phrase("a name that covers {}", target))
