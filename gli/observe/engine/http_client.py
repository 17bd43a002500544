"""The HTTP client of a run: connects where the dial says, sends only reads, follows no redirect, keeps no cookie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from gli.observe.engine.guard import refuse_http_writes

if TYPE_CHECKING:
    import httpx

    from gli.observe.engine.dial import Dial
    from gli.observe.engine.remote_clocks import RemoteClocks

TIMEOUT_S = 5.0
_CONNECTIONS = 40


class HttpClient:
    """httpx over connections that the dial opens; imports it at the first request, and keeps connections open."""

    def __init__(self, dial: Dial, clocks: RemoteClocks) -> None:
        self._dial, self._clocks = dial, clocks
        self._client: httpx.AsyncClient | None = None

    async def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """One request and its whole answer; raises what httpx and httpcore raise, and `WriteRefused`."""
        if self._client is None:
            self._client = _client(self._dial, self._clocks)
        return await self._client.request(method, url, **options)

    async def close(self) -> None:
        """Closes what is kept open."""
        if self._client is not None:
            await self._client.aclose()


def _client(dial: Dial, clocks: RemoteClocks) -> httpx.AsyncClient:
    """httpx with a transport of httpcore, the one layer that lets a connection go elsewhere under its own name."""
    import httpcore
    import httpx

    class Backend(httpcore.AsyncNetworkBackend):
        """Connects where the dial says; the name stays in Host and SNI."""

        def __init__(self) -> None:
            self._real = httpcore.AnyIOBackend()

        async def connect_tcp(self, host: str, port: int, *rest: Any, **options: Any) -> httpcore.AsyncNetworkStream:
            return await self._real.connect_tcp(*dial.address(host, port), *rest, **options)

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

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
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=dial.trust, network_backend=Backend(), max_connections=_CONNECTIONS
            )

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
            answer = await self._pool.handle_async_request(sent)
            response = httpx.Response(answer.status, headers=answer.headers, stream=Body(answer.stream))
            clocks.heard(request.url.host, response.headers.get("Date"), response.headers.get("Age"))
            return response

        async def aclose(self) -> None:
            await self._pool.aclose()

    return httpx.AsyncClient(
        transport=Transport(), timeout=TIMEOUT_S, headers={"User-Agent": "gli-verify"}, trust_env=False, cookies=None
    )
