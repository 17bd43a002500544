"""One request that `gli` sends outside of a run, and its answer: limited in bytes and in time, and sent to one host.

The requests of a run go through `gli.observe.engine.http_client`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx

from gli.common.documents import parsed

MOST_BYTES = 1_000_000
_MOST_PARTS = 50_000  # a body may come in chunks of one byte
_MOVED = {"GET": (301, 302, 307, 308)}
_KEEPS_ITS_METHOD = (307, 308)


class NoAnswerError(Exception):
    """There is no whole answer; says why in a few words, without the address and without the headers."""


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP, as it was sent: no compression is asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        """The JSON document in the body; None if there is none."""
        try:
            return parsed(self.body.decode())
        except ValueError:
            return None


class _Connection:
    """What one request connects to, until nobody waits for the answer any more."""

    def __init__(self) -> None:
        self._gone = threading.Event()
        self._sockets: list[socket.socket] = []

    def step(self, name: str, info: Mapping[str, Any]) -> None:
        """httpcore calls this before and after each step of a request (its extension `trace`)."""
        if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._sockets.append(info["return_value"].get_extra_info("socket"))
        if self._gone.is_set():
            raise NoAnswerError("nobody waits for it any more")

    def end(self) -> None:
        """Ends a read that is under way, and sees that nothing more is sent."""
        self._gone.set()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
    within_s: float,
    redirects: int = 0,
    most_bytes: int = MOST_BYTES,
    **content: Any,
) -> Answer:
    """The answer to one request, whose `content` is httpx's `json`, `content` or `params`.

    Follows redirects to the same scheme, host and port alone; any other redirect is the answer. Raises `NoAnswerError`
    if no whole answer comes within this time, or if its body is longer than `most_bytes`. After that, nothing more is
    sent.
    """
    found: list[Answer | Exception] = []
    connection = _Connection()

    def ask() -> None:
        try:
            found.append(_answer(method, url, headers, within_s, redirects, most_bytes, content, connection))
        except Exception as e:  # noqa: BLE001 - raised below, in the thread of the caller
            found.append(e)

    # httpx limits each step and not the whole: a server that drips would hold the caller, and so would its DNS.
    thread = threading.Thread(target=ask, name="http-exchange", daemon=True)
    thread.start()
    thread.join(within_s)
    late = thread.is_alive()
    connection.end()  # a thread that is late now fails in its own words
    if late or not found or isinstance(found[0], httpx.TimeoutException):
        raise NoAnswerError(f"no whole answer within {within_s:.0f} s")
    if isinstance(found[0], Answer):
        return found[0]
    if isinstance(found[0], NoAnswerError):
        raise found[0]
    if isinstance(found[0], httpx.HTTPError | httpx.InvalidURL | OSError | ValueError):
        raise NoAnswerError(type(found[0]).__name__) from None
    raise found[0]


def _answer(
    method: str,
    url: str,
    headers: Mapping[str, str],
    within_s: float,
    redirects: int,
    most_bytes: int,
    content: Mapping[str, Any],
    connection: _Connection,
) -> Answer:
    asked = {**headers, "Accept-Encoding": "identity"}
    with httpx.Client(headers=asked, timeout=within_s) as client:
        request = client.build_request(method, url, extensions={"trace": connection.step}, **content)
        while True:
            response = client.send(request, stream=True)
            try:
                target = response.next_request
                if target is None or redirects == 0 or not _follows(request, response, target):
                    return Answer(response.status_code, response.headers, _body(response, most_bytes, within_s))
            finally:
                response.close()
            target.extensions = request.extensions
            request, redirects = target, redirects - 1


def _follows(request: httpx.Request, response: httpx.Response, target: httpx.Request) -> bool:
    before, after = request.url, target.url
    same = (before.scheme, before.host, before.port) == (after.scheme, after.host, after.port)
    return same and response.status_code in _MOVED.get(request.method, _KEEPS_ITS_METHOD)


def _body(response: httpx.Response, most_bytes: int, within_s: float) -> bytes:
    body, ends = bytearray(), time.monotonic() + within_s
    for number, part in enumerate(response.iter_raw()):
        body += part
        if len(body) > most_bytes or number > _MOST_PARTS:
            raise NoAnswerError(f"its answer is longer than {most_bytes // 1000} kB")
        if time.monotonic() > ends:
            raise NoAnswerError(f"no whole answer within {within_s:.0f} s")
    return bytes(body)
