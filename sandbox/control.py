"""How the commands talk to a running supervisor: one JSON line each way over a unix socket that only its user opens."""

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
_PATIENCE_S = 240.0  # more than a part of the sandbox may take to come up: a command may start one


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Answer every request with what `handler` returns for it."""

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
    """The answer of the supervisor whose socket that is. `OSError` when there is none."""
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
