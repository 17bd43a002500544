"""The process that plays AWS: moto's server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.processes import LOOPBACK, Child, PartFailed, ReservedPort

if TYPE_CHECKING:
    from sandbox.aws.seed import Seeded
    from sandbox.site import Pems, Site


class Moto:
    """moto on its own port. It starts slowest, so this module imports almost nothing: moto can start first."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "aws.log"
        self._reserved = ReservedPort()
        self.port = self._reserved.port
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._child: Child | None = None

    async def start(self) -> None:
        """Start moto; `seed` waits until it answers."""
        self._child = await Child.start_module("aws", "sandbox.aws", "--port", str(self.port), log=self._log)

    async def seed(self, site: Site, pems: Pems) -> Seeded:
        """Make GLI's stack in moto; `PartFailed` if the process ends meanwhile."""
        from sandbox.aws.account import answers
        from sandbox.aws.seed import seed

        assert self._child is not None
        await self._child.until(lambda: answers(self.url), "its API to answer")
        seeding = asyncio.ensure_future(asyncio.to_thread(seed, self.url, site, pems))
        ended = asyncio.ensure_future(self._child.process.wait())
        await asyncio.wait({seeding, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not seeding.done():
            raise PartFailed(f"aws ended with {self._child.process.returncode}: {self._child.tail()}")
        ended.cancel()
        return seeding.result()

    async def stop(self) -> None:
        """End moto at once."""
        if self._child is not None:
            await self._child.stop()
        self._reserved.close()
