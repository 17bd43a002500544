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
        """Leave signals to the supervisor."""
        yield


class Application(Protocol):
    """An ASGI application that can be closed."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def close(self) -> None: ...


class EdgeServer:
    """Serves one application on its own port."""

    def __init__(self, application: Application) -> None:
        self._application = application
        configuration = uvicorn.Config(
            application, lifespan="off", log_config=None, access_log=False, server_header=False
        )
        self._server = _Server(configuration)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen; returns the port."""
        listener = socket.create_server((LOOPBACK, 0))
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Close every connection."""
        if self._task is not None:
            self._server.should_exit = self._server.force_exit = True
            await self._task
            await self._application.close()
