"""Runs an ASGI application (the CDN, S3's own endpoint) inside the supervisor's own event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import uvicorn

from sandbox.processes import LOOPBACK


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the supervisor's."""
        yield


class Application(Protocol):
    """What it serves."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def close(self) -> None: ...


class EdgeServer:
    """One application on a port of its own."""

    def __init__(self, application: Application) -> None:
        self._application = application
        configuration = uvicorn.Config(
            application, lifespan="off", log_config=None, access_log=False, server_header=False
        )
        self._server = _Server(configuration)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen; the port."""
        listener = socket.create_server((LOOPBACK, 0))
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Close every connection."""
        if self._task is not None:
            self._server.should_exit = self._server.force_exit = True
            await self._task
            await self._application.close()
