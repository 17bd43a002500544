"""Servers with endless, huge or slow answers: each observation ends in time, and is unknown for that reason."""

from __future__ import annotations

import asyncio
import json
import os
import socketserver
import ssl
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from served import in_a_thread
from websockets.utils import accept_key

from conftest import wait_for
from gli.config.data_tier import Broker, Cache, Database
from gli.config.environments import Environment
from gli.config.parts import Aws, Tls
from gli.config.services import Service
from gli.git import command_async
from gli.git.command import GitFailed
from gli.observe.data import amqp, postgres, redis
from gli.observe.edge import websocket
from gli.observe.edge.http import BODY_LIMIT, HttpExchange, fetch
from gli.observe.engine.observation import Observation, Unobserved
from gli.observe.engine.observatory import Observatory
from gli.observe.engine.probe import Observer, Probe, probe
from gli.report.redact import Redactor

Answer = Callable[[BaseHTTPRequestHandler, int], None]
"""Answers one request; the number counts the requests from 0."""


@contextmanager
def serving(answer: Answer) -> Iterator[int]:
    """Run a server on loopback that answers every request with `answer`; yields its port."""
    asked = iter(range(10**9))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with suppress(OSError):
                answer(self, next(asked))

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    in_a_thread(server)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def whole(handler: BaseHTTPRequestHandler, body: bytes, **headers: str) -> None:
    handler.send_response(200)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def tcp(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """A server on loopback that speaks as the handler does; its port."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        in_a_thread(server)
        yield server.server_address[1]
        server.shutdown()


def keeping(name: str, port: int, **fields: str) -> Answer:
    """Answers as Secrets Manager that keeps one secret, of a server on that port."""
    document = {"port": str(port), "username": "gli", "password": "long-enough", **fields}
    value = {"Name": name, "ARN": f"arn:aws:secretsmanager:x:{name}", "SecretString": json.dumps(document)}
    return lambda handler, _: whole(handler, json.dumps({"SecretValues": [value]}).encode())


# ---- AWS


class Tasks(Observation):
    """The number of tasks of a cluster."""

    number: int


@probe(deadline=60)
async def hostile_tasks(observer: Observer) -> Tasks:
    """Count all tasks of the cluster."""
    answer = await observer.aws.call(observer, "ecs", "list_tasks", cluster="own")
    return Tasks(number=len(answer["taskArns"]))


@probe(deadline=1)
async def hostile_tasks_soon(observer: Observer) -> Tasks:
    """Count all tasks of the cluster, with a deadline of one second."""
    answer = await observer.aws.call(observer, "ecs", "list_tasks", cluster="own")
    return Tasks(number=len(answer["taskArns"]))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Observatory]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    def observatory(port: int, **parts: Any) -> Observatory:
        region = Aws(region="ap-northeast-2", endpoint_url=f"http://127.0.0.1:{port}")
        return Observatory(Environment(name="own", branch="main", aws=region, **parts))

    return observatory


def page(token: str) -> bytes:
    return json.dumps({"taskArns": ["arn"], "nextToken": token}).encode()


def same_token(handler: BaseHTTPRequestHandler, _: int) -> None:
    whole(handler, page("again"))


def tokens_in_a_circle(handler: BaseHTTPRequestHandler, number: int) -> None:
    whole(handler, page("ab"[number % 2]))


def endless_pages(handler: BaseHTTPRequestHandler, number: int) -> None:
    whole(handler, page(str(number)))


def endless_body(handler: BaseHTTPRequestHandler, _: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(10**12))
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 1_000_000)


def many_small_parts(handler: BaseHTTPRequestHandler, _: int) -> None:
    whole(handler, b'{"taskArns": [' + b"[]," * 3_000_000 + b"[]]}")


def huge_error(handler: BaseHTTPRequestHandler, _: int) -> None:
    handler.send_response(400)
    handler.send_header("Content-Length", str(10**9))
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 100_000)


@pytest.mark.parametrize("body", [b'{"a":' * 100_000, b"\xff\xfe"])
def test_an_answer_of_aws_that_cannot_be_read_is_unknown(aws: Callable[..., Observatory], body: bytes) -> None:
    with serving(lambda handler, _: whole(handler, body)) as port:
        observatory = aws(port)
        with pytest.raises(Unobserved, match=r"^ecs:list_tasks: "):
            observatory.wait(hostile_tasks)
        observatory.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (huge_error, "ecs:list_tasks answered more than 1 MB"),
        (same_token, "ecs:list_tasks gave the same token for its next page twice"),
        (tokens_in_a_circle, "ecs:list_tasks gave the same token for its next page twice"),
        (endless_pages, "ecs:list_tasks answered with more than 500 pages"),
        (endless_body, "ecs:list_tasks answered more than 32 MB"),
        (many_small_parts, "ecs:list_tasks answered with more than 1000000 elements"),
    ],
)
def test_an_endless_answer_of_aws_is_unknown(aws: Callable[..., Observatory], answer: Answer, why: str) -> None:
    with serving(answer) as port:
        observatory = aws(port)
        with pytest.raises(Unobserved) as missing:
            observatory.wait(hostile_tasks)
        observatory.close()
    assert missing.value.unknown.cause == "too-little-data"
    assert missing.value.unknown.message == why


def test_a_slow_dripping_answer_of_aws_does_not_block_the_run(aws: Callable[..., Observatory]) -> None:
    ended, gave_up = threading.Event(), []

    def drip(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _second in range(60):
            handler.wfile.write(b" ")
            if ended.wait(0.5):
                return
        gave_up.append(True)

    with serving(drip) as port:
        observatory = aws(port)
        with pytest.raises(Unobserved, match="no answer within 1 s"):
            observatory.wait(hostile_tasks_soon)
        observatory.close()
        ended.set()
    assert not gave_up


# ---- HTTP


@probe()
async def hostile_page(observer: Observer, url: str) -> HttpExchange:
    """Read one page."""
    return await fetch(observer, url)


def bomb(handler: BaseHTTPRequestHandler, _: int) -> None:
    """2 GB of spaces in 2 MB of gzip."""
    packer = zlib.compressobj(wbits=31)
    part = packer.compress(b" " * 10_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    again = zlib.compressobj(wbits=-15)
    more = again.compress(b" " * 10_000_000) + again.flush(zlib.Z_FULL_FLUSH)
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(part) + 200 * len(more)))
    handler.end_headers()
    handler.wfile.write(part)
    for _part in range(200):
        handler.wfile.write(more)


def page_of(size: int) -> Answer:
    return lambda handler, _: whole(handler, b"x" * size)


def packed_page(handler: BaseHTTPRequestHandler, _: int) -> None:
    packer = zlib.compressobj(wbits=31)
    whole(handler, packer.compress(b"x" * BODY_LIMIT) + packer.flush(), Content_Encoding="gzip")


def broken_coding(handler: BaseHTTPRequestHandler, _: int) -> None:
    whole(handler, b"plain", Content_Encoding="gzip")


def fetched(answer: Answer) -> HttpExchange:
    with serving(answer) as port:
        observatory = Observatory(Environment(name="own", branch="main"))
        try:
            return observatory.wait(hostile_page, f"http://127.0.0.1:{port}/")
        finally:
            observatory.close()


@pytest.mark.parametrize("answer", [endless_body, bomb, page_of(BODY_LIMIT + 1)])
def test_a_page_is_read_to_its_limit_and_no_further(answer: Answer) -> None:
    tracemalloc.start()
    try:
        page = fetched(answer)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
    assert (page.status, len(page.body), page.cut) == (200, BODY_LIMIT, True)
    with pytest.raises(Unobserved, match="answered more than the 200000 characters that are read"):
        _ = page.document


def test_a_document_in_which_a_key_stands_twice_is_not_read() -> None:
    """Readers differ in which of the two counts: RFC 8259 section 4."""
    body = b'{"status": "unhealthy", "status": "healthy"}'
    assert fetched(lambda handler, _: whole(handler, body)).document is None


@pytest.mark.parametrize("answer", [packed_page, page_of(BODY_LIMIT)])
def test_a_page_as_large_as_the_limit_is_read_completely(answer: Answer) -> None:
    page = fetched(answer)
    assert (page.body, page.cut) == ("x" * BODY_LIMIT, False)


def test_answers_without_an_end_before_the_answer_are_an_error() -> None:
    """Each `100 Continue` is read as soon as it is there, so other probes would have to wait."""

    def early(handler: BaseHTTPRequestHandler, _: int) -> None:
        while True:
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)

    assert "more than 512 kB before the answer" in (fetched(early).error or "")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ODD_HTTP: dict[str, tuple[bytes, bytes, str]] = {
    "early hints again and again": (
        b"",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1000,
        "more than 512 kB before the answer",
    ),
    "trailers without an end": (CHUNKED + b"2\r\nok\r\n0\r\n", b"X-More: 1\r\n" * 1000, "Receive buffer too long"),
    "an extension of a chunk without an end": (CHUNKED + b"2;", b"more=1;" * 1000, "Receive buffer too long"),
    "a chunk of 2^120 bytes": (CHUNKED + b"F" * 30 + b"\r\n", b"x" * 1000, "illegal chunk header"),
    "HTTP/2 without being asked": (b"\0\0\x12\4" + bytes(23), bytes(1000), "illegal request line"),
    "a switch of protocols without being asked": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        bytes(1000),
        "_SWITCH_UPGRADE",
    ),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", b"", "conflicting"),
}
"""What a server sends once, what it sends again and again then, and what the run says of it."""


@pytest.mark.parametrize("way", ODD_HTTP)
def test_what_http_allows_or_forbids_without_an_end_is_an_error(way: str) -> None:
    once, again, says = ODD_HTTP[way]

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.recv(65_536)
                self.request.sendall(once)
                while again:
                    self.request.sendall(again)

    with tcp(Handler) as port:
        observatory = Observatory(Environment(name="own", branch="main"))
        page = observatory.wait(hostile_page, f"http://127.0.0.1:{port}/")
        observatory.close()
    assert says in (page.error or "")


def test_a_page_in_chunks_of_one_byte_is_cut() -> None:
    def chunks(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            handler.wfile.write(b"1\r\nx\r\n" * 5000)

    page = fetched(chunks)
    assert (page.body, page.cut) == ("x" * 50_000, True)


@pytest.mark.parametrize("encoding", ["punycode", "idna", "rot13", "unicode_escape", "no-such", "euc-kr"])
def test_a_page_has_an_encoding_of_pages_or_utf_8(encoding: str) -> None:
    """Python has more encodings: with `punycode`, some 100 kB take minutes."""
    said = "x-\\x41"
    page = fetched(lambda handler, _: whole(handler, said.encode(), Content_Type=f"text/html; charset={encoding}"))
    assert (page.status, page.body) == (200, said)


def test_a_page_with_a_wrong_content_encoding_is_an_error() -> None:
    assert "incorrect header check" in str(fetched(broken_coding).error)


@probe()
async def hostile_pages(observer: Observer, url: str) -> tuple[HttpExchange, HttpExchange]:
    """Read one page twice."""
    return await fetch(observer, url), await fetch(observer, url)


def test_a_kept_connection_that_the_server_closes_is_no_failure() -> None:
    """A server closes a connection as idle, while the next request is on its way."""
    requests: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            requests.append(b"answered")
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            if self.request.recv(65_536):
                requests.append(b"closed")

    with tcp(Handler) as port:
        observatory = Observatory(Environment(name="own", branch="main"))
        pages = observatory.wait(hostile_pages, f"http://127.0.0.1:{port}/")
        observatory.close()
    assert requests[:3] == [b"answered", b"closed", b"answered"]
    assert [(page.status, page.attempts) for page in pages] == [(200, 1), (200, 1)]


# ---- WebSocket


def ping_flood() -> bytes:
    return b"\x89\x00" * 100_000


def endless_fragments() -> bytes:
    return b"\x01\x00" + b"\x00\x00" * 100_000


def large_messages() -> bytes:
    return (b"\x82\x7f" + (1_000_000).to_bytes(8, "big") + b"x" * 1_000_000) * 6


@pytest.mark.parametrize("flood", [ping_flood, endless_fragments, large_messages])
@pytest.mark.parametrize("observation", [websocket.foreign_websocket, websocket.anonymous_websocket])
def test_a_websocket_that_floods_is_unknown(observation: Probe[Any], flood: Callable[[], bytes]) -> None:
    def upgrade(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.send_response(101)
        for name, value in {"Upgrade": "websocket", "Connection": "Upgrade"}.items():
            handler.send_header(name, value)
        handler.send_header("Sec-WebSocket-Accept", accept_key(handler.headers["Sec-WebSocket-Key"]))
        handler.end_headers()
        handler.wfile.write(flood())
        handler.rfile.read()

    with serving(upgrade) as port:
        service = Service(
            name="websocket", url=f"ws://127.0.0.1:{port}/ws", repository="gli_websocket", protected_path="/ws/private"
        )
        observatory = Observatory(Environment(name="own", branch="main"))
        with pytest.raises(Unobserved) as missing:
            observatory.wait(observation, service)
        observatory.close()
    assert missing.value.unknown.cause == "too-little-data"
    assert missing.value.unknown.message == "127.0.0.1 sent more than 5000 frames or 4 MB in one session"


# ---- Redis


def endless_bulk(send: Callable[[bytes], None]) -> None:
    send(b"$10000000000\r\n")
    while True:
        send(b"x" * 1_000_000)


def endless_array(send: Callable[[bytes], None]) -> None:
    send(b"*1000000000\r\n")
    while True:
        send(b":1\r\n" * 100_000)


@pytest.mark.parametrize("answer", [endless_bulk, endless_array])
def test_a_cache_that_answers_without_an_end_is_unknown(
    aws: Callable[..., Observatory], answer: Callable[[Callable[[bytes], None]], None]
) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.connection.recv(1_000)
                self.connection.sendall(b"+OK\r\n")  # the password
                self.connection.recv(1_000)
                answer(self.connection.sendall)

    cache = Cache(
        replication_group="own", secret="own/redis", verify_secret="own/redis", security_group="own", ingress_from=()
    )
    with tcp(Handler) as port, serving(keeping("own/redis", port, host="127.0.0.1", tls="false")) as aws_port:
        observatory = aws(aws_port, cache=cache)
        with pytest.raises(Unobserved, match="the cache of own/redis answered more than 256 kB"):
            observatory.wait(redis.cache_state, cache)
        observatory.close()


@pytest.mark.parametrize("answer", [b"*1\r\n" * 50_000, b"$-5\r\n", b":" + b"9" * 100_000])
def test_a_cache_that_does_not_speak_its_protocol_says_so(aws: Callable[..., Observatory], answer: bytes) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.connection.recv(1_000)
                self.connection.sendall(b"+OK\r\n" + answer)
                self.connection.recv(1_000)
                self.connection.recv(1_000)

    cache = Cache(
        replication_group="own", secret="own/redis", verify_secret="own/redis", security_group="own", ingress_from=()
    )
    with tcp(Handler) as port, serving(keeping("own/redis", port, host="127.0.0.1", tls="false")) as aws_port:
        observatory = aws(aws_port, cache=cache)
        seen = observatory.wait(redis.cache_state, cache)
        observatory.close()
    assert str(seen.error).startswith("Protocol Error: ")


# ---- AMQP


def huge_frame(send: Callable[[bytes], None]) -> None:
    send(b"\x01\x00\x00" + (2**31).to_bytes(4, "big"))
    while True:
        send(b"x" * 100_000)


def heartbeats(send: Callable[[bytes], None]) -> None:
    while True:
        send(b"\x08\x00\x00\x00\x00\x00\x00\xce" * 10_000)


@pytest.mark.parametrize("answer", [huge_frame, heartbeats])
def test_a_broker_that_sends_without_an_end_is_unknown(
    aws: Callable[..., Observatory], answer: Callable[[Callable[[bytes], None]], None]
) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.connection.recv(1_000)
                answer(self.connection.sendall)

    broker = Broker(secret="own/mq")
    with tcp(Handler) as port, serving(keeping("own/mq", port, host="127.0.0.1", tls="false")) as aws_port:
        observatory = aws(aws_port, broker=broker)
        with pytest.raises(Unobserved, match="the broker of own/mq sent more than 256 kB"):
            observatory.wait(amqp.broker_state, broker)
        observatory.close()


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"


def method(channel: int, of: int, number: int, fields: bytes = b"") -> bytes:
    """AMQP 0-9-1 section 2.3.5.1."""
    return frame(1, channel, of.to_bytes(2, "big") + number.to_bytes(2, "big") + fields)


START = method(0, 10, 10, b"\0\x09" + bytes(4) + b"\0\0\0\x05PLAIN" + b"\0\0\0\x05en_US")
TUNE = method(0, 10, 30, b"\x07\xff" + b"\0\2\0\0" + b"\0\x3c")
OPEN_OK, CHANNEL_OK = method(0, 10, 41, b"\0"), method(1, 20, 11, bytes(4))
BLOCKED = method(0, 10, 60, b"\x01x")


def closing(code: int, text: bytes) -> bytes:
    return method(0, 10, 50, code.to_bytes(2, "big") + bytes([len(text)]) + text + b"\0\x0a\0\x28")


AFTER_START: dict[str, tuple[list[bytes], bytes, str]] = {
    "a frame's size of one byte": (
        [START, method(0, 10, 30, b"\0\1\0\0\0\1\0\1")],
        b"",
        "it did not open a session for this user and virtual host",
    ),
    "a refusal of the virtual host": (
        [START, TUNE, closing(530, b"NOT_ALLOWED - vhost x not found")],
        b"",
        "the virtual host is not there or not allowed",
    ),
    "an end while it opens": ([START, TUNE, closing(320, b"bye")], b"", "it did not open a session for this user"),
    "blocked again and again": ([START, TUNE, OPEN_OK], BLOCKED, "the broker did not answer within 2 s"),
    "heartbeats in place of a channel": (
        [START, TUNE, OPEN_OK],
        frame(8, 0, b""),
        "the broker did not answer within 2 s",
    ),
    "heartbeats in place of a queue": (
        [START, TUNE, OPEN_OK, CHANNEL_OK],
        frame(8, 0, b""),
        "the broker did not answer within 2 s",
    ),
}
"""What a broker answers one after the other, what it drips then, and what the run says of it."""
FLOODS = {
    "a huge frame": ([START, TUNE], b"\x01\0\0\x7f\xff\xff\xff" + b"x" * 200_000),
    "heartbeats": ([START, TUNE, OPEN_OK], frame(8, 0, b"") * 10_000),
    "another channel": ([START, TUNE, OPEN_OK], method(7, 20, 11, bytes(4)) * 10_000),
    "content that nobody asked for": ([START, TUNE, OPEN_OK, CHANNEL_OK], frame(3, 1, b"x" * 10_000) * 10),
}
"""What a broker answers one after the other, and what it sends then without an end."""


def scripted(steps: Sequence[bytes], then: bytes, *, pause_s: float = 0.0) -> type[socketserver.StreamRequestHandler]:
    """A broker that answers these steps, and then sends the same bytes again and again."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                for step in steps:
                    self.connection.recv(65_536)
                    self.connection.sendall(step)
                while then:
                    self.connection.sendall(then)
                    time.sleep(pause_s)
                self.connection.recv(65_536)

    return Handler


@pytest.mark.parametrize("way", FLOODS)
def test_a_broker_that_floods_after_its_start_is_unknown(aws: Callable[..., Observatory], way: str) -> None:
    handler = scripted(*FLOODS[way])
    broker = Broker(secret="own/mq", queues=("orders",))
    with tcp(handler) as port, serving(keeping("own/mq", port, host="127.0.0.1", tls="false")) as aws_port:
        observatory = aws(aws_port, broker=broker)
        try:
            seen = observatory.wait(amqp.broker_state, broker)
            said = "it opened" if seen.ok else str(seen.error)
        except Unobserved as e:
            said = str(e.unknown.message)
        observatory.close()
    assert any(w in said for w in ("more than 256 kB", "did not open a session", "the broker ended the session")), said


@pytest.mark.parametrize("way", AFTER_START)
def test_a_broker_that_is_hostile_after_its_start_is_named(
    aws: Callable[..., Observatory], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    steps, drip, says = AFTER_START[way]
    monkeypatch.setattr(amqp, "_SESSION_S", 2.0)
    handler = scripted(steps, drip, pause_s=0.1)
    broker = Broker(secret="own/mq", queues=("orders",))
    with tcp(handler) as port, serving(keeping("own/mq", port, host="127.0.0.1", tls="false")) as aws_port:
        observatory = aws(aws_port, broker=broker)
        seen = observatory.wait(amqp.broker_state, broker)
        observatory.close()
    assert not seen.ok
    assert str(seen.error).startswith(says), seen.error


# ---- git


@pytest.mark.parametrize("kept", [2**16, 1])
def test_git_that_prints_without_an_end_is_ended(tmp_path: Path, kept: int) -> None:
    """Also while asyncio holds more bytes than it keeps and reads no further, and hears late that git has ended."""
    (tmp_path / "git").write_text("#!/bin/sh\nexec yes\n")
    (tmp_path / "git").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "create_subprocess_exec", partial(asyncio.create_subprocess_exec, limit=kept))
        if sys.version_info < (3, 12):
            hear = asyncio.ThreadedChildWatcher._do_waitpid
            patch.setattr(asyncio.ThreadedChildWatcher, "_do_waitpid", lambda *a: time.sleep(0.3) or hear(*a))
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(GitFailed, match="git printed more than 64 MB"):
            asyncio.run(command_async.git("log"))


SSH = {
    "refs": (f"yes '0040{'a' * 40} refs/heads/aaaaaaa'", "250 MB of memory"),
    "words": ("yes", "protocol error"),
    "complaints": ("yes >&2", "git printed more than 64 MB"),
    "an end": ("printf '\\033[2Kyes: \\033]0;x\\007' >&2; exit 255", "^yes: ]0;x$"),
}
"""What a host that git reaches with ssh does, and what is said of it."""


@pytest.mark.parametrize("way", SSH)
def test_a_host_that_is_hostile_over_ssh_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    does, says = SSH[way]
    (tmp_path / "ssh").write_text(f"#!/bin/sh\n{does}\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(tmp_path / "ssh"))
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    with pytest.raises(GitFailed, match=says) as failed:
        asyncio.run(command_async.git("ls-remote", "--heads", "--", "ssh://host/app"))
    assert Redactor().text(str(failed.value)).isprintable()


def test_a_silent_host_over_ssh_ends_with_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the program that git started."""
    (tmp_path / "ssh").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(tmp_path / "ssh"))
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")

    async def asked() -> None:
        asking = asyncio.create_task(command_async.git("ls-remote", "--", "ssh://host/app"))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            await asyncio.sleep(0.02)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking

    asyncio.run(asked())
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(), "its end")


# ---- PostgreSQL

DATABASE_HOST = "own.abc.ap-northeast-2.rds.amazonaws.com"


@pytest.mark.parametrize(("kind", "asks_for"), [(3, "password"), (5, "md5")])
def test_a_database_that_asks_for_the_password_itself_gets_none(
    aws: Callable[..., Observatory], tmp_path: Path, kind: int, asks_for: str
) -> None:
    """The server has a valid certificate: who sends it the password, or an MD5 of it, has given the password away."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(DATABASE_HOST).configure_cert(context)
    sent: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.connection.recv(8)  # SSLRequest
            self.connection.sendall(b"S")
            with suppress(OSError), context.wrap_socket(self.connection, server_side=True) as session:
                session.recv(1_000)  # StartupMessage
                salt = b"salt" if asks_for == "md5" else b""
                session.sendall(b"R" + (8 + len(salt)).to_bytes(4, "big") + kind.to_bytes(4, "big") + salt)
                sent.append(session.recv(1_000))

    database = Database(
        instance="own", secret="own/db", verify_secret="own/db", migrations="gli_api-server", ingress_from=()
    )
    with tcp(Handler) as port, serving(keeping("own/db", port, host=DATABASE_HOST)) as aws_port:
        observatory = aws(
            aws_port,
            database=database,
            tls=Tls(database_ca_file=str(tmp_path / "ca.pem")),
            connect_to={f"{DATABASE_HOST}:{port}": f"127.0.0.1:{port}"},
        )
        login = observatory.wait(postgres.application_login, database)
        observatory.close()
    assert not login.ok
    assert 'authentication method requirement "scram-sha-256" failed' in str(login.error)
    assert sent == [b""]
