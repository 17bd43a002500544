"""GLI's WebSocket server: answers application pings, from pages of GLI's own frontends only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gli.config.environments import Environment

_HEALTH, _VERSION = "/health", "/version"
_UNAUTHORIZED = 4401


class WebSocketServer:
    """Plain `ws://` on its own port; the relay terminates TLS. Faults change the attributes while it runs."""

    def __init__(self, environment: Environment, revision: str) -> None:
        service = environment.services["websocket"]
        self._path = urlsplit(service.url).path
        self._protected = service.protected_path
        self._subprotocols = service.subprotocols
        self._origins = {frontend.url for frontend in environment.frontends.values()}
        self._name = service.image or service.name
        self._environment = environment.name
        self._server: Server | None = None
        self.revision = revision
        """The commit that it says it was built from."""
        self.mute = False
        """It upgrades, but never answers a message."""
        self.no_pong = False
        """It never answers a ping frame."""
        self.unavailable = False
        """It refuses to upgrade, with 503."""
        self.any_origin = False
        """It serves pages of anybody."""
        self.forgotten: str | None = None
        """It no longer knows this frontend's origin."""
        self.open_to_anybody = False
        """It asks nobody for a token."""
        self.refuses_early = False
        """It answers who brings no token with 401, before it upgrades: this is no fault."""
        self.no_subprotocol = False
        """It takes none of the subprotocols that it is offered."""
        self.patience_s: float | None = None
        """It is cut off, as by a load balancer, after that long without a message."""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port. The system chooses one if `port` is 0."""
        self._server = await serve(
            self._talk,
            host,
            port,
            process_request=self._before_upgrade,
            process_response=self._with_headers,
            select_subprotocol=self._subprotocol,
            server_header=None,
            compression=None,
            ping_interval=None,
        )
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _before_upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer plain requests, and refuse upgrades with a foreign Origin or path."""
        path = urlsplit(request.path).path
        if path == _HEALTH:
            return _json(HTTPStatus.OK, {"status": "ok"})
        if path == _VERSION:
            body = {"revision": self.revision, "service": self._name, "environment": self._environment}
            return _json(HTTPStatus.OK, body)
        if path not in (self._path, self._protected):
            return _json(HTTPStatus.NOT_FOUND, {"detail": "there is nothing here"})
        if self.unavailable:
            return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": "too busy"})
        origin = request.headers.get("Origin")
        if (origin not in self._origins or origin == self.forgotten) and not self.any_origin:
            return _json(HTTPStatus.FORBIDDEN, {"detail": "this Origin may not connect"})
        if self.refuses_early and path == self._protected:
            return _json(HTTPStatus.UNAUTHORIZED, {"detail": "no token"})
        if self.no_pong:
            _swallow_pongs(connection)
        return None

    def _with_headers(self, connection: ServerConnection, request: Request, response: Response) -> None:
        response.headers["X-Build-Sha"] = self.revision
        response.headers["Strict-Transport-Security"] = "max-age=31536000"

    def _subprotocol(self, connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((p for p in offered if p in self._subprotocols and not self.no_subprotocol), None)

    async def _talk(self, connection: ServerConnection) -> None:
        path = urlsplit(connection.request.path).path if connection.request else ""
        if path == self._protected and not self.open_to_anybody:  # the sandbox has no accounts, so no token is valid
            await connection.close(_UNAUTHORIZED, "no token")
            return
        try:
            while True:
                async with asyncio.timeout(self.patience_s):
                    answer = _answer_to(await connection.recv())
                if answer is not None and not self.mute:
                    await connection.send(json.dumps(answer))
        except ConnectionClosed:
            return
        except TimeoutError:
            connection.transport.abort()


def _answer_to(text: str | bytes) -> dict[str, Any] | None:
    """The pong to `{"type": "ping", "id": X}`; None for any other message."""
    try:
        message = json.loads(text)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("type") != "ping":
        return None
    return {"type": "pong", "id": message.get("id")}


def _json(status: HTTPStatus, body: dict[str, str]) -> Response:
    data = json.dumps(body).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"})
    return Response(status.value, status.phrase, headers, data)


def _swallow_pongs(connection: ServerConnection) -> None:
    """Drop the pongs that the library sends by itself."""
    protocol: Any = connection.protocol
    send_frame = protocol.send_frame

    def without_pongs(frame: Frame) -> None:
        if frame.opcode is not Opcode.PONG:
            send_frame(frame)

    protocol.send_frame = without_pongs
