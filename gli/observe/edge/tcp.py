"""Whether a port opens from where this runner stands.

Source of truth: RFC 9293. A refused connection means that no server listens, and is the target's fault. No answer means
that there is no path: whether the target or this runner is cut off, nobody can tell from here.
"""

from __future__ import annotations

import asyncio
import time

from gli.common.sentences import Said, phrase
from gli.observe.engine.observation import NoConnection, Observation
from gli.observe.engine.probe import Observer

TIMEOUT_S = 3.0


class TcpConnection(Observation):
    """A TCP connection that opened, or why it did not."""

    host: str
    port: int
    opened: bool
    seconds: float
    error: Said | None = None
    silent: bool = False
    """Nothing came back in time: no connection, and no refusal."""


def why(error: OSError) -> str:
    """A network error as a sentence. A refused connection means that nothing listens there."""
    if isinstance(error, ConnectionRefusedError):
        return phrase("connection refused: nothing listens there")
    if isinstance(error, ConnectionResetError):
        return phrase("the connection was reset")
    return error.strerror or str(error) or type(error).__name__


async def open_port(observer: Observer, host: str, port: int) -> TcpConnection:
    """Opens and closes one connection within 3 seconds."""
    observer.count("tcp")
    begun = time.monotonic()
    error: str | None = None
    silent = False
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(*observer.dial.address(host, port))
        writer.transport.abort()
    except TimeoutError:
        observer.over(TIMEOUT_S)
        silent = True
        error = phrase("no connection within {:g} s: no path (security group, route), or the host is gone", TIMEOUT_S)
    except OSError as e:
        error = why(e)
    seconds = round(time.monotonic() - begun, 4)
    return TcpConnection(host=host, port=port, opened=error is None, seconds=seconds, error=error, silent=silent)


async def answering_port(observer: Observer, host: str, port: int) -> TcpConnection:
    """Opens and closes one connection. Raises `NoConnection` if nothing comes back, not even a refusal.

    Also for a session that timed out: it tells a server that does not answer, which is a fact, from silence.
    """
    found = await open_port(observer, host, port)
    if found.silent:
        raise NoConnection(phrase("{}:{}: {}", host, port, found.error))
    return found
