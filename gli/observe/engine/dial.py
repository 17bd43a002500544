"""How a name is reached: where `connect_to` says, or by its own name; TLS is verified for the name either way."""

from __future__ import annotations

import ssl
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gli.config.environments import Environment


class Dial:
    """Addresses and trust of one environment; shared by all probes of a run."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def address(self, host: str, port: int) -> tuple[str, int]:
        """Where to connect for `host:port`: the mapped address, or the name itself for the system to resolve."""
        mapped = self._environment.connect_to.get(f"{host}:{port}")
        if mapped is None:
            return host, port
        address, _, mapped_port = mapped.rpartition(":")
        return address.strip("[]"), int(mapped_port)

    @property
    def ca_file(self) -> str | None:
        """The CA to trust instead of the system's."""
        return self._environment.tls.ca_file

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """Verifies chain and name (RFC 9525), as a browser does."""
        return ssl.create_default_context(cafile=self.ca_file)

    @cached_property
    def no_trust(self) -> ssl.SSLContext:
        """Verifies nothing: only to look at a certificate that was refused. Nothing is sent over it."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    @property
    def system_roots(self) -> str:
        """The CA file for libraries that want a path: the environment's own, or the system's."""
        paths = ssl.get_default_verify_paths()
        return self.ca_file or paths.cafile or str(Path(paths.capath or "/etc/ssl") / "ca-certificates.crt")
