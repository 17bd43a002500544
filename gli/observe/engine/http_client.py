"""The HTTP client of a run: it connects where the dial says, sends only reads, follows no redirect, and keeps no
cookie.
"""

from __future__ import annotations

import asyncio
import codecs
import sys
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gli.observe.engine.guard import refuse_http_writes

if TYPE_CHECKING:
    import httpcore
    import httpx

    from gli.observe.engine.dial import Dial
    from gli.observe.engine.observation import Counts
    from gli.observe.engine.remote_clocks import RemoteClocks

TIMEOUT_S = 5.0
_CODINGS = ("gzip", "x-gzip", "deflate")
_ANY_HEADER = zlib.MAX_WBITS | 32  # of gzip or of zlib
_AT_ONCE = 40
_LARGE = 2_000_000
"""A body of more bytes is read while no other such body of the host is: some of 20 MB would take a run's memory."""
_MOST_PARTS = 50_000  # a body may come in chunks of one byte
_MOST_BEFORE_ANSWER = 512_000
_BEFORE_ANSWER = ContextVar[list[int] | None]("before the answer", default=None)
"""How many bytes a server may send before its answer begins."""
_ENCODINGS = ("utf", "ascii", "iso8859", "cp", "euc", "gb", "big5", "shift_jis", "koi8", "iso2022", "johab")
_HEADERS = {"User-Agent": "gli-verify", "Accept-Encoding": "gzip, deflate"}


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP, its body decompressed and decoded."""

    status: int
    headers: httpx.Headers
    text: str
    cut: bool
    """The body was longer than the part that is kept."""


class _Decoded:
    """A body as it arrives, decompressed (RFC 9110 section 8.4.1) up to its limit in bytes."""

    def __init__(self, coding: str, limit: int) -> None:
        self._limit = limit
        self._decompressor = zlib.decompressobj(_ANY_HEADER) if coding in _CODINGS else None
        self.body = bytearray()
        self.cut = False

    def add(self, part: bytes) -> None:
        """Adds the bytes that arrived. Raises `httpx.DecodingError` if they are not in the coding that the answer
        names.
        """
        room = self._limit + 1 - len(self.body)  # one byte more than is kept shows that there is more
        if self._decompressor is not None:
            import httpx

            try:
                part = self._decompressor.decompress(part, room)
            except zlib.error as e:
                raise httpx.DecodingError(str(e)) from e
        self.body += part[:room]
        self.cut = len(self.body) > self._limit
        del self.body[self._limit :]


class HttpClient:
    """httpx over connections that the dial opens and that stay open. httpx is imported at the first request."""

    def __init__(self, dial: Dial, clocks: RemoteClocks, hosts: int = 1) -> None:
        """`hosts`: how many hosts share the connections that are kept open."""
        self._dial, self._clocks = dial, clocks
        self._kept = max(1, _AT_ONCE // max(1, hosts))
        self._parts: tuple[httpx.AsyncClient, httpx.AsyncBaseTransport] | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._large = defaultdict[bytes, asyncio.Semaphore](asyncio.Semaphore)

    @asynccontextmanager
    async def turn(self, observer: Counts) -> AsyncIterator[None]:
        """To be held around a request: it limits the requests under way. The time of the wait is not booked on the
        target.
        """
        with observer.waiting():
            await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()

    async def request(self, method: str, url: str, limit: int, **options: Any) -> Answer:
        """One request and its answer. At most `limit` bytes of the body are read and decompressed.

        Raises what httpx and httpcore raise, and `WriteRefused`.
        """
        self.prepare()
        assert self._parts is not None
        client, transport = self._parts
        request = client.build_request(method, url, **options)
        # Not through the client: it would keep the cookies of each answer, and send them with the next request.
        response = await transport.handle_async_request(request)
        response.request = request
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        decoded, number = _Decoded(coding, limit), 0
        async with AsyncExitStack() as large, aclosing(response):
            async for part in response.aiter_raw():
                before = len(decoded.body)
                decoded.add(part)
                number += 1
                decoded.cut |= number == _MOST_PARTS
                if decoded.cut:
                    break
                if before <= _LARGE < len(decoded.body):
                    await large.enter_async_context(self._large[request.url.netloc])
                if number % 1000 == 0:
                    await asyncio.sleep(0)  # reads without a pause what has arrived, while others wait
            text = _text(decoded.body, response.encoding)
            decoded.body = bytearray()
        return Answer(response.status_code, response.headers, text, decoded.cut)

    def prepare(self) -> None:
        """Imports the libraries and reads the roots, so that the first request does not pay for it."""
        if self._parts is None:
            self._parts = _client(self._dial, self._clocks, self._kept)

    async def close(self) -> None:
        """Closes the open connections."""
        if self._parts is not None:
            await self._parts[0].aclose()


def _text(body: bytes | bytearray, encoding: str | None) -> str:
    """The text of a body. An encoding that no page has counts as UTF-8: Python's `punycode` takes minutes."""
    try:
        name = codecs.lookup(encoding or "utf-8").name
    except (LookupError, ValueError):
        name = "utf-8"
    return body.decode(name if name.startswith(_ENCODINGS) else "utf-8", errors="replace")


def connections(dial: Dial, kept: int = _AT_ONCE) -> httpcore.AsyncConnectionPool:
    """Connections that go where the dial says and are verified for the name; Host and SNI keep the name. `kept`: how
    many idle connections stay open.
    """
    import httpcore

    class Stream(httpcore.AsyncNetworkStream):
        """A connection that accepts few bytes before an answer: a server may send `100 Continue` without end."""

        def __init__(self, real: httpcore.AsyncNetworkStream) -> None:
            self._real = real

        async def write(self, *what: Any, **more: Any) -> None:
            await self._real.write(*what, **more)

        async def aclose(self) -> None:
            await self._real.aclose()

        def get_extra_info(self, info: str) -> Any:
            return self._real.get_extra_info(info)

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            data = await self._real.read(max_bytes, timeout)
            left = _BEFORE_ANSWER.get()
            if left is not None:
                left[0] -= len(data)
                if left[0] < 0:
                    raise httpcore.RemoteProtocolError(f"more than {_MOST_BEFORE_ANSWER // 1000} kB before the answer")
            return data

        async def start_tls(self, *how: Any, **more: Any) -> httpcore.AsyncNetworkStream:
            return Stream(await self._real.start_tls(*how, **more))

    class Backend(httpcore.AsyncNetworkBackend):
        def __init__(self) -> None:
            self._real = httpcore.AnyIOBackend()

        async def connect_tcp(self, host: str, port: int, *rest: Any, **options: Any) -> httpcore.AsyncNetworkStream:
            return Stream(await self._real.connect_tcp(*dial.address(host, port), *rest, **options))

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    return httpcore.AsyncConnectionPool(
        ssl_context=dial.trust,
        network_backend=Backend(),
        max_connections=_AT_ONCE,
        max_keepalive_connections=kept,
    )


def _client(dial: Dial, clocks: RemoteClocks, kept: int) -> tuple[httpx.AsyncClient, httpx.AsyncBaseTransport]:
    """httpx, and its transport of httpcore, the only layer that lets a connection go to another address under its own
    name.
    """
    # Keeps httpx from importing its command line, which imports click, rich and pygments.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    import httpcore
    import httpx

    class Body(httpx.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in self._stream:
                yield part

        async def aclose(self) -> None:
            await self._stream.aclose()

    class Transport(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            # One pool per origin: httpcore looks at every connection of a pool for every request that waits in it.
            self._pools: dict[tuple[bytes, bytes, int | None], httpcore.AsyncConnectionPool] = {}

        def _pool(self, url: httpcore.URL) -> httpcore.AsyncConnectionPool:
            origin = url.scheme, url.host, url.port
            if origin not in self._pools:
                self._pools[origin] = connections(dial, kept)
            return self._pools[origin]

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            refuse_http_writes(request.method)
            url = httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            )
            sent = httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
            before = _BEFORE_ANSWER.set([_MOST_BEFORE_ANSWER])
            try:
                answer = await self._pool(url).handle_async_request(sent)
            finally:
                _BEFORE_ANSWER.reset(before)
            response = httpx.Response(answer.status, headers=answer.headers, stream=Body(answer.stream))
            clocks.heard(request.url.host, response.headers.get("Date"), response.headers.get("Age"))
            return response

        async def aclose(self) -> None:
            for pool in self._pools.values():
                await pool.aclose()

    transport = Transport()
    return httpx.AsyncClient(transport=transport, timeout=TIMEOUT_S, headers=_HEADERS, trust_env=False), transport
