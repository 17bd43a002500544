"""The server on port 80: the redirect to HTTPS of the load balancer and CloudFront."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sandbox.processes import LOOPBACK

_MAX_HEADERS = 16 * 1024


class Redirect:
    """Answers every request with a permanent redirect to the same host and path over HTTPS."""

    def __init__(self) -> None:
        self.enabled = True
        """A fault: without it, pages are served in the clear."""
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, limit=_MAX_HEADERS)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            async with asyncio.timeout(10):
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            writer.write(self._answer(request).encode("latin-1"))
            await writer.drain()
        writer.close()

    def _answer(self, request: str) -> str:
        line, *headers = request.split("\r\n")
        _, path, _ = line.split(" ", 2)
        host = next((h.partition(":")[2].strip() for h in headers if h.lower().startswith("host:")), "")
        if not host:
            return "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        if self.enabled:
            status = f"301 Moved Permanently\r\nLocation: https://{host.partition(':')[0]}{path}"
        else:
            status = "200 OK\r\nContent-Type: text/html"
        return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
