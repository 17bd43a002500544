"""The only way from the browser to the network: lets reads through, and nothing that could change something.

The browser takes this filter for every host. The filter sends GET, HEAD and OPTIONS on, over connections that are
verified as all others of a run, and answers nothing else. It makes the handshake of a WebSocket, passes on what the
server says, and drops what the page says. A handler of requests inside the browser is not enough: a page that ends
sends past it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gli.common.clock import now
from gli.config.services import origin_of
from gli.observe.engine.dial import Dial
from gli.observe.engine.guard import WriteRefused, refuse_http_writes
from gli.observe.engine.http_client import TIMEOUT_S, connections

_TLS = 0x16  # the first byte of a handshake
_MOST_HEAD = 64 * 1024
_OF_ONE_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", b"host"}
_NAME = "gli-browser"


class Filter:
    """Listens on this machine while a browser runs."""

    def __init__(self, connect_to: Mapping[str, str], ca_file: str | None, logins: Mapping[str, str]) -> None:
        """`connect_to` and `ca_file` are those of the environment; `logins` maps an origin to its header Authorization.

        A login goes to its own origin alone, and not with a preflight.
        """
        self._logins = logins
        table: Any = SimpleNamespace(connect_to=connect_to, tls=SimpleNamespace(ca_file=ca_file))
        self._dial = Dial(table)
        self._pool = connections(self._dial)
        self._context, self._pin = _own_key()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)

    @property
    def flags(self) -> list[str]:
        """Chromium's flags that send everything here: also names, addresses and ports that it would not ask DNS for."""
        port = self._listener.getsockname()[1]
        return [
            f"--host-resolver-rules=MAP * 127.0.0.1:{port}",
            f"--ignore-certificate-errors-spki-list={self._pin}",
            "--disable-quic",
            "--no-proxy-server",
        ]

    async def serve(self) -> None:
        """Accepts connections until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                accepted, _ = await loop.sock_accept(self._listener)
                task = loop.create_task(self._connection(accepted))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            self._listener.close()
            for task in self._tasks:
                task.cancel()

    async def _connection(self, accepted: socket.socket) -> None:
        """One connection of the browser carries one request."""
        loop = asyncio.get_running_loop()
        accepted.setblocking(False)
        with suppress(OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            first = await _peek(loop, accepted)
            secure = first == _TLS
            reader = asyncio.StreamReader(limit=_MOST_HEAD)
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=self._context if secure else None
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                await self._answer(reader, writer, secure)
            finally:
                transport.abort() if transport.is_closing() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secure: bool) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        method, target, _ = first.split(b" ", 2)
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        named = {name.lower(): value for name, value in headers}
        try:
            refuse_http_writes(method.decode())
        except WriteRefused:
            return
        url = (b"https://" if secure else b"http://") + named[b"host"] + target
        login = self._logins.get(origin_of(url.decode("latin-1")))
        if login and method != b"OPTIONS" and b"authorization" not in named:
            headers.append((b"Authorization", login.encode()))
            head = head[:-2] + b"Authorization: " + login.encode() + b"\r\n\r\n"
        if named.get(b"upgrade", b"").lower() == b"websocket":
            await self._listen(head, named[b"host"].decode(), writer, secure)
            return
        await self._pass_on(method, url, headers, writer)

    async def _pass_on(
        self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        import httpcore

        kept = [(name, value) for name, value in headers if name.lower() not in _OF_ONE_HOP]
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)}
        try:
            async with self._pool.stream(method, url, headers=kept, extensions=limits) as answer:
                said = [(n, v) for n, v in answer.headers if n.lower() not in (*_OF_ONE_HOP, b"content-length")]
                lines = [b"HTTP/1.1 %d " % answer.status, *[n + b": " + v for n, v in said], b"Connection: close"]
                writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
                async for part in answer.aiter_stream():
                    writer.write(part)
                    await writer.drain()
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, ssl.SSLError):
            writer.transport.abort()

    async def _listen(self, head: bytes, host: str, writer: asyncio.StreamWriter, secure: bool) -> None:
        """The handshake of a WebSocket, and every byte that the server sends."""
        name, _, port = host.partition(":")
        address = self._dial.address(name, int(port or (443 if secure else 80)))
        async with asyncio.timeout(TIMEOUT_S):
            theirs, out = await asyncio.open_connection(
                *address, ssl=self._dial.trust if secure else None, server_hostname=name if secure else None
            )
        try:
            out.write(head)
            while part := await theirs.read(_MOST_HEAD):
                writer.write(part)
                await writer.drain()
        finally:
            out.transport.abort()


async def _peek(loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> int:
    """The first byte that a new connection sends; it stays to be read."""
    readable = asyncio.Event()
    loop.add_reader(accepted, readable.set)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await readable.wait()
    finally:
        loop.remove_reader(accepted)
    return accepted.recv(1, socket.MSG_PEEK)[0]


def _own_key() -> tuple[ssl.SSLContext, str]:
    """TLS with a new key, which lives as long as this process, and the key's SHA-256 for the browser (RFC 7469)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    day = timedelta(days=1)
    certificate = builder.not_valid_before(now() - day).not_valid_after(now() + day).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="gli-browser-") as folder:
        file = Path(folder) / "key.pem"
        file.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(file)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return context, base64.b64encode(hashlib.sha256(public).digest()).decode()
