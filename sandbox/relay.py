"""One relay in front of every port: latency, TLS, round robin over upstreams, and most network faults.

A relay belongs to the event loop that started it; call it from there only.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from itertools import count
from typing import Literal

from sandbox.processes import LOOPBACK, ReservedPort

Mode = Literal["pass", "refuse", "drop", "blackhole", "reset"]
"""What becomes of a connection: relayed; refused (nobody listens); not answered at all, as where a security group drops
its packets; accepted and never answered; accepted and reset.
"""


class Flavour(StrEnum):
    """The protocol of a connection's first bytes."""

    PLAIN = "plain"
    """No TLS."""
    TLS = "tls"
    """TLS from the first byte on: HTTPS, WSS, rediss, amqps."""
    POSTGRES = "postgres"
    """The client may ask for TLS with an SSLRequest; one that does not is relayed as it is."""


_HANDSHAKE_SECONDS = 10.0
SUITE_HEADER = b"User-Agent: gli-verify\r\n"
"""What the suite's HTTP requests carry once each, and no other tool's."""
_FILL = 2
"""How many connections fill a queue of length 0."""
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_GSS_REQUEST = struct.pack("!II", 8, 80877104)


@contextmanager
def silent_port(port: int = 0) -> Iterator[int]:
    """A port of this machine that answers no packet of a new connection: its queue is full, and nobody accepts."""
    with ExitStack() as open_, socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((LOOPBACK, port))
        server.listen(0)
        for _ in range(_FILL):
            client = open_.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield int(server.getsockname()[1])


class Relay:
    """Listens on its own port and passes connections to its upstreams in turn."""

    def __init__(
        self,
        name: str,
        *upstreams: int,
        flavour: Flavour = Flavour.PLAIN,
        certificate: ssl.SSLContext | None = None,
        latency: float = 0.0,
        ready: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.name = name
        self.upstreams = list(upstreams)
        """Ports on this machine; change the list to deploy another version behind the same address."""
        self.flavour = flavour
        self.certificate = certificate
        """What new connections are answered with; may be replaced at any time."""
        self.latency = latency
        """Seconds by which everything that the upstream sends is delayed."""
        self.mode: Mode = "pass"
        self.refuses_options = False
        """For PostgreSQL: refuse clients that send the start-up parameter `options`, as RDS Proxy does."""
        self.requests = 0
        """HTTP requests and WebSocket handshakes of the suite that came through."""
        self.asked: set[str] = set()
        """Method and target of each of them, `GET /health/`, since somebody last looked."""
        self.sessions: list[bytearray] | None = None
        """What each client of the broker sent; None where nobody keeps it."""
        self._ready = ready
        self._reserved = ReservedPort()
        self._turn = count()
        self._server: asyncio.Server | None = None
        self._silence = ExitStack()
        self._connections: set[_Connection] = set()

    @property
    def port(self) -> int:
        """The port that it listens on, which never changes."""
        return self._reserved.port

    @property
    def address(self) -> str:
        """The relay's `host:port`."""
        return f"{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, LOOPBACK, self.port, reuse_address=True, backlog=512)

    async def stop(self) -> None:
        """Close the listener and every connection."""
        self._close()
        self._reserved.close()

    async def set_mode(self, mode: Mode) -> None:
        """Change the mode, and cut the open connections, so that a fault hits them too."""
        self._close()
        self.mode = mode
        if mode == "drop":
            self._silence.enter_context(silent_port(self.port))
        elif mode != "refuse":
            await self.start()

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._silence.close()
        for connection in list(self._connections):
            connection.abort()

    def _accept(self) -> asyncio.Protocol:
        connection = _Connection(self)
        self._connections.add(connection)
        connection.task = asyncio.ensure_future(self._serve(connection))
        return connection.client

    async def _serve(self, connection: _Connection) -> None:
        try:
            await connection.client.connected.wait()
            if self.mode == "reset":
                connection.client.reset()
            if self.mode == "pass":
                async with asyncio.timeout(_HANDSHAKE_SECONDS):
                    await connection.shake_hands()
                if self._ready is not None:
                    await self._ready()
                await connection.reach(self.upstreams[next(self._turn) % len(self.upstreams)])
            await connection.closed.wait()
        except (OSError, TimeoutError, ZeroDivisionError):  # no upstream, or the peer closed: close too
            pass
        finally:
            connection.abort()
            self._connections.discard(connection)


class _Connection:
    """A client's connection and, once it is open, the one to its upstream."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.closed = asyncio.Event()
        self.client = _End(self, delay=lambda: relay.latency)
        self.upstream = _End(self, delay=lambda: 0.0, passing=self._count)
        self.task: asyncio.Future[None] | None = None
        self._sent: bytearray | None = None

    def _count(self, data: bytes) -> None:
        self.relay.requests += data.count(SUITE_HEADER)
        if SUITE_HEADER in data:
            heads = [head for head in data.split(b"\r\n\r\n") if SUITE_HEADER in head + b"\r\n"]
            self.relay.asked |= {head.partition(b" HTTP/")[0].decode("latin-1") for head in heads}
        if self.relay.sessions is not None:
            if self._sent is None:
                self._sent = bytearray()
                self.relay.sessions.append(self._sent)
            self._sent += data

    async def shake_hands(self) -> None:
        """Do the handshake that comes before bytes can be relayed."""
        secure = self.relay.flavour is not Flavour.PLAIN
        if self.relay.flavour is Flavour.POSTGRES:
            secure = await self._asks_for_tls()
        if secure:
            assert self.relay.certificate is not None
            transport = await asyncio.get_running_loop().start_tls(
                self.client.transport, self.client, self.relay.certificate, server_side=True
            )
            if transport is None:  # the client left during the handshake
                raise ConnectionResetError
            self.client.transport = transport
        if self.relay.refuses_options:
            await self._refuse_options()

    async def _refuse_options(self) -> None:
        """Read PostgreSQL's start-up message, and keep it for the server if it has no parameter `options`."""
        size = await self.client.first(4)
        self.client.keep(size)
        message = await self.client.first(int.from_bytes(size))
        if b"\0options\0" in message:
            fields = b"SFATAL\0C0A000\0MRDS Proxy does not support the start-up parameter options\0\0"
            self.client.transport.write(b"E" + struct.pack("!I", len(fields) + 4) + fields)
            raise ConnectionResetError
        self.client.keep(message)

    async def _asks_for_tls(self) -> bool:
        """PostgreSQL's start: answer an SSLRequest, and keep any other bytes for the server."""
        while True:
            first = await self.client.first(8)
            if first == _GSS_REQUEST:
                self.client.transport.write(b"N")
            elif first == _SSL_REQUEST:
                self.client.transport.write(b"S")
                return True
            else:
                self.client.keep(first)
                return False

    async def reach(self, port: int) -> None:
        """Connect to the upstream and relay the bytes."""
        await asyncio.get_running_loop().create_connection(lambda: self.upstream, LOOPBACK, port)
        self.client.join(self.upstream)
        self.upstream.join(self.client)

    def abort(self) -> None:
        """Cut both ends."""
        self.closed.set()
        self.client.abort()
        self.upstream.abort()


class _End(asyncio.Protocol):
    """One end of a connection. Received bytes go to the other end, which sends them after its delay."""

    transport: asyncio.Transport

    def __init__(
        self, connection: _Connection, delay: Callable[[], float], passing: Callable[[bytes], None] | None = None
    ) -> None:
        self.connected = asyncio.Event()
        self._connection = connection
        self._delay = delay
        self._passing = passing
        self._other: _End | None = None
        self._kept = bytearray()
        self._arrived = asyncio.Event()
        self._ended = False
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()  # until `first` or `join` is called
        self.connected.set()

    async def first(self, size: int) -> bytes:
        """Wait for the first bytes; returns at most `size` of them."""
        self.transport.resume_reading()
        while len(self._kept) < size and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        self.transport.pause_reading()
        first = bytes(self._kept[:size])
        del self._kept[:size]
        return first

    def keep(self, data: bytes) -> None:
        """Put back the bytes that `first` returned."""
        self._kept[:0] = data

    def join(self, other: _End) -> None:
        """From now on, pass received bytes to `other`, starting with those that came already."""
        self._other = other
        if self._kept:
            other.send(bytes(self._kept))
        if self._ended:
            other.finish()
        with suppress(RuntimeError):  # the transport closed meanwhile
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._kept += data
            self._arrived.set()
        else:
            self._other.send(data)

    def eof_received(self) -> bool:
        self._ended = True
        self._arrived.set()
        if self._other is not None:
            self._other.finish()
        return False

    def connection_lost(self, exception: Exception | None) -> None:
        self._ended = True
        self._arrived.set()
        self._connection.closed.set() if self._other is None else self._other.finish()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and not self._other.transport.is_closing():
            self._other.transport.resume_reading()

    def send(self, data: bytes) -> None:
        """Write `data`, after the delay."""
        if self._passing is not None:
            self._passing(data)
        self._later(lambda: self.transport.write(data))

    def finish(self) -> None:
        """Close after the bytes that are still to be sent."""
        self._later(self._close)

    def _close(self) -> None:
        self.transport.close()
        self._connection.closed.set()

    def _later(self, act: Callable[[], None]) -> None:
        """Run `act` after the delay. Delays overlap, as those of packets on a long line, and keep the order."""
        loop = asyncio.get_running_loop()
        now, delay = loop.time(), self._delay()
        if not delay and self._due <= now:
            act()
        else:
            self._due = max(now + delay, self._due + 1e-6)
            loop.call_at(self._due, act)

    def reset(self) -> None:
        """Close with a reset."""
        self._linger_zero()
        self.transport.abort()

    def _linger_zero(self) -> None:
        sock: socket.socket = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def abort(self) -> None:
        """Close at once, and drop unsent bytes."""
        if self.connected.is_set():
            self.transport.abort()


class DatagramRelay(asyncio.DatagramProtocol):
    """A relay for UDP: passes on each question, and returns the answer after the latency."""

    def __init__(self, upstream: int, latency: float) -> None:
        self.latency = latency
        self.mode: Mode = "pass"
        """Any other than `pass` is silence."""
        self._upstream = upstream
        self._transport: asyncio.DatagramTransport
        self._asked: set[asyncio.Future[None]] = set()

    async def start(self, port: int) -> None:
        """Listen on this port."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(LOOPBACK, port))

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        asking = asyncio.ensure_future(self._pass_on(data, sender))
        self._asked.add(asking)
        asking.add_done_callback(self._asked.discard)

    async def _pass_on(self, data: bytes, sender: tuple[str, int]) -> None:
        if self.mode != "pass":
            return
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as upstream, suppress(OSError, TimeoutError):
            upstream.setblocking(False)
            upstream.connect((LOOPBACK, self._upstream))
            await loop.sock_sendall(upstream, data)
            async with asyncio.timeout(10):
                answer = await loop.sock_recv(upstream, 65535)
            loop.call_later(self.latency, self._transport.sendto, answer, sender)

    def stop(self) -> None:
        """Stop listening."""
        self._transport.close()
