"""The limits of a DNS answer: its size, and how many packets may come before it.

To read 64 kB of names that point at each other takes 10 seconds, and wrong packets would be read without an end.
Source of truth: RFC 1035 section 4.1.4, dnspython's `Backend`.
"""

from __future__ import annotations

from typing import Any

import dns.asyncbackend
import dns.exception

MOST_BYTES = 8_000
MOST_PACKETS = 50
_ERROR: Any = dns.exception.FormError  # without types


class Bounded:
    """The sockets of asyncio, with these limits: reading more raises `dns.exception.FormError`."""

    def __init__(self) -> None:
        self._own: Any = dns.asyncbackend.get_default_backend()

    def name(self) -> str:
        return str(self._own.name())

    def datagram_connection_required(self) -> bool:
        return bool(self._own.datagram_connection_required())

    async def make_socket(self, *how: Any, **more: Any) -> Any:
        made = await self._own.make_socket(*how, **more)
        if hasattr(made, "recvfrom"):
            made.recvfrom = _counted(made.recvfrom)
        if hasattr(made, "recv"):
            made.recv = _measured(made.recv)
        return made

    async def sleep(self, interval: float) -> None:
        await self._own.sleep(interval)

    async def wait_for(self, awaitable: Any, timeout: Any) -> Any:
        return await self._own.wait_for(awaitable, timeout)


def _counted(receive: Any) -> Any:
    packets = 0

    async def receive_one(size: int, timeout: Any) -> Any:
        nonlocal packets
        packets += 1
        if packets > MOST_PACKETS:
            raise _ERROR(f"more than {MOST_PACKETS} packets that are no answer")
        packet = await receive(size, timeout)
        if len(packet[0]) > MOST_BYTES:
            raise _too_long()
        return packet

    return receive_one


def _measured(receive: Any) -> Any:
    async def receive_some(size: int, timeout: Any) -> Any:
        if size > MOST_BYTES:  # dnspython asks for as much as the answer says that it has
            raise _too_long()
        return await receive(size, timeout)

    return receive_some


def _too_long() -> Exception:
    error: Exception = _ERROR(f"an answer of more than {MOST_BYTES // 1000} kB")
    return error
