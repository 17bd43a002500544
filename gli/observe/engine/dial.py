"""How a host is reached: at the address of `connect_to`, or by its own name. TLS is verified for the name in both
cases.
"""

from __future__ import annotations

import ssl
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gli.config.environments import Environment

_MOST_OF_A_HANDSHAKE = 200_000  # bytes; OpenSSL itself takes a chain of certificates of 100 kB
DataPart = Literal["database", "cache", "broker"]
"""The parts of the data tier that may have a CA of their own."""


class Dial:
    """The addresses and the trusted CAs of one environment, shared by all probes of a run."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def address(self, host: str, port: int) -> tuple[str, int]:
        """Where to connect for `host:port`: the mapped address, or the name itself, which the system resolves."""
        mapped = self._environment.connect_to.get(f"{host}:{port}")
        if mapped is None:
            return host, port
        address, _, mapped_port = mapped.rpartition(":")
        return address.strip("[]"), int(mapped_port)

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """For the public web: verifies chain and name (RFC 9525), as a browser does. `tls.ca_file` replaces the
        system's roots here, and nowhere else.
        """
        return _bounded(ssl.create_default_context(cafile=self._environment.tls.ca_file or system_roots()))

    @cached_property
    def no_trust(self) -> ssl.SSLContext:
        """Verifies nothing. It serves only to look at a certificate that was refused; nothing is sent over it."""
        context = _bounded(ssl.create_default_context())
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def trust_of(self, part: DataPart) -> ssl.SSLContext:
        """For a part of the data tier: the system's roots, and the CA that the environment names for the part."""
        context = ssl.create_default_context(cafile=system_roots())
        if own := self._own(part):
            context.load_verify_locations(cafile=own)
        return context

    def roots_of(self, part: DataPart) -> str:
        """The same roots and CA in one file, for libraries that want a path."""
        own = self._own(part)
        return _joined(self._folder, part, system_roots(), own) if own else system_roots()

    def close(self) -> None:
        """Removes the files of `roots_of`. A run ends without the work that Python does at its end."""
        if "_folder" in vars(self):
            self._temporary.cleanup()

    def _own(self, part: DataPart) -> str | None:
        return self._environment.tls.ca_file_of(part)

    @cached_property
    def _folder(self) -> Path:
        self._temporary = tempfile.TemporaryDirectory(prefix="gli-roots-")
        return Path(self._temporary.name)


class _Handshake(ssl.SSLObject):
    """A TLS session whose handshake takes few bytes. Without the limit, a server could send records that TLS ignores
    without end, and no other probe would get its turn.
    """

    @classmethod
    def _create(cls, incoming: ssl.MemoryBIO, *rest: Any, **more: Any) -> Any:  # `SSLContext.wrap_bio` calls it
        session: Any = super()._create(incoming, *rest, **more)  # type: ignore[misc]
        session._incoming, session._left, session._taken = incoming, 0, 0
        return session

    def do_handshake(self) -> None:
        self._taken: int = self._taken + self._incoming.pending - self._left
        if self._taken > _MOST_OF_A_HANDSHAKE:
            said = f"more than {_MOST_OF_A_HANDSHAKE // 1000} kB before the session"
            error = ssl.SSLError(1, said)
            error.reason = said  # the errors of OpenSSL have one
            raise error
        try:
            super().do_handshake()
        finally:
            self._left: int = self._incoming.pending

    _incoming: ssl.MemoryBIO


def _bounded(context: ssl.SSLContext) -> ssl.SSLContext:
    context.sslobject_class = _Handshake
    return context


def system_roots() -> str:
    """The file of the system's roots, or that of certifi on a machine without one. The paths are those that OpenSSL was
    built with: SSL_CERT_FILE and SSL_CERT_DIR do not decide whom a run trusts.
    """
    paths = ssl.get_default_verify_paths()
    for bundle in (Path(paths.openssl_cafile), Path(paths.openssl_capath) / "ca-certificates.crt"):
        if bundle.is_file():
            return str(bundle)
    import certifi

    return certifi.where()


def _joined(folder: Path, part: str, *bundles: str) -> str:
    path = folder / f"{part}.pem"
    if not path.exists():
        path.write_bytes(b"\n".join(Path(bundle).read_bytes() for bundle in bundles))
    return str(path)
