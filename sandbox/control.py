"""How commands talk to a running supervisor: one JSON line each way, over a unix socket that only its user can open."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Awaitable[Answer]]
_LIMIT = 1 << 20
_PATIENCE_S = 240.0  # longer than the start limit of a part: a command may start a part


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Listen on `path` and answer each request with the result of `handler`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError):
            request = json.loads(await reader.readline())
            writer.write(json.dumps(await handler(request)).encode() + b"\n")
            await writer.drain()
        writer.close()

    mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(answer, path, limit=_LIMIT)
    finally:
        os.umask(mask)


def ask(path: Path, request: dict[str, Any], *, seconds: float = _PATIENCE_S) -> Answer:
    """Send a request to the supervisor at this socket; returns its answer. `OSError` if none listens."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline(_LIMIT)
    if not line:
        raise ConnectionResetError("the supervisor ended")
    answer: Answer = json.loads(line)
    return answer
