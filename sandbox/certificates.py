"""The sandbox's own certificate authority."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from sandbox.processes import LOOPBACK
from sandbox.site import Pems

_LIFE = timedelta(days=300)


class Authority:
    """A CA that exists as long as the sandbox, and signs its certificates."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def write(self, path: Path) -> None:
        """Write the CA's certificate, for clients to trust."""
        self._ca.cert_pem.write_to_path(str(path))

    def issue(self, names: Iterable[str], *, expires_in: timedelta = _LIFE) -> Certificate:
        """Sign a certificate for these names and the loopback address. A negative `expires_in` makes an expired one."""
        now = datetime.now(UTC)
        begins = min(now, now + expires_in) - timedelta(days=60)
        leaf = self._ca.issue_cert(*names, LOOPBACK, not_before=begins, not_after=now + expires_in)
        return Certificate(leaf, self._ca)


class Certificate:
    """One certificate with its key."""

    def __init__(self, leaf: trustme.LeafCert, ca: trustme.CA) -> None:
        self._leaf = leaf
        self._ca = ca

    def context(self) -> ssl.SSLContext:
        """A server-side TLS context that presents this certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._leaf.configure_cert(context)
        return context

    def pems(self) -> Pems:
        """The certificate, its key and its chain, in the form that AWS imports."""
        return Pems(
            certificate=self._leaf.cert_chain_pems[0].bytes().decode(),
            private_key=self._leaf.private_key_pem.bytes().decode(),
            chain=self._ca.cert_pem.bytes().decode(),
        )
