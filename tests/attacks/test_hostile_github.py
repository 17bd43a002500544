"""Hostile servers in GitHub's place, where `gli` writes statuses: each ends in time, in a plain sentence, without the
token, and none is believed."""

from __future__ import annotations

import gzip
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from served import in_a_thread

from gli.common.github import CONTEXT
from gli.common.http_exchange import NoAnswerError, exchange
from gli.common.statuses import Statuses

TOKEN = "ghs_a-token-that-writes-statuses"
COMMIT = "a" * 40
PATH = f"/repos/org/app/statuses/{COMMIT}"
MINE = json.dumps({"state": "failure", "context": CONTEXT, "url": f"http://127.0.0.1{PATH}"})


class Server(socketserver.ThreadingTCPServer):
    """Answers each request by `answer`, which gets the function that sends bytes."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, answer: Callable[[Callable[[bytes], Any]], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked: list[str] = []
        in_a_thread(self)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        self.server.asked.append(self.rfile.readline().decode())
        while self.rfile.readline().strip():
            pass
        with suppress(OSError):
            self.server.answer(self.request.sendall)


Answer = Callable[[Callable[[bytes], Any]], None]


def whole(status: str, body: str, *headers: str) -> Answer:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body.encode())}", "Connection: close", "", body]
    return lambda send: send("\r\n".join(lines).encode())


def endless(first: str, part: bytes, pause_s: float = 0.0) -> Answer:
    def answer(send: Callable[[bytes], Any]) -> None:
        send(first.encode())
        while True:
            send(part)
            time.sleep(pause_s)

    return answer


OPEN = "HTTP/1.1 201 Created\r\n"
CHUNKED = OPEN + "Transfer-Encoding: chunked\r\n\r\n"
HOSTILE: dict[str, Answer] = {
    "silence": endless("", b"", 0.1),
    "garbage": endless("no HTTP at all\r\n\r\n", b"\0", 0.1),
    "a drip before the headers end": endless(OPEN, b"x", 0.05),
    "a drip of the body": endless(OPEN + "Content-Length: 1000000\r\n\r\n", b" ", 0.05),
    "a drip of chunks": endless(CHUNKED, b"1\r\n \r\n", 0.05),
    "headers without an end": endless(OPEN, b"X-More: 1\r\n"),
    "a body without an end": endless(OPEN + "\r\n", b" " * 65536),
    "a million small chunks": endless(CHUNKED, b"1\r\n \r\n" * 1000),
    "continue again and again": endless("", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "early hints again and again": endless("", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100),
    "a body that was cut": whole("201 Created", MINE, "Content-Length: 100000"),
    "a bomb that is compressed without being asked": lambda send: send(
        (OPEN + "Content-Encoding: gzip\r\nConnection: close\r\n\r\n").encode() + gzip.compress(b" " * 100_000_000)
    ),
    "JSON that is too deep": whole("201 Created", "[" * 100_000),
    "JSON with a key that stands twice": whole("201 Created", '{"state": "pending", ' + MINE[1:]),
    "JSON of another shape": whole("201 Created", f"[{MINE}]"),
    "numbers in place of texts": whole("403 Forbidden", '{"message": {"a": [1, 2]}}'),
    "a redirect to nowhere": whole("307 Temporary Redirect", "", "Location: http://"),
    "a redirect to a file": whole("308 Permanent Redirect", "", "Location: file:///etc/passwd"),
    "a redirect that repeats": whole("307 Temporary Redirect", "", f"Location: {PATH}"),
    "a redirect that makes it a GET": whole("303 See Other", "", f"Location: {PATH}"),
    "the token in its message": whole("403 Forbidden", json.dumps({"message": f"bad token {TOKEN}"})),
    "the token behind blanks": whole("403 Forbidden", json.dumps({"message": " " * 1990 + TOKEN})),
    "the token in base64": whole(
        "403 Forbidden", json.dumps({"message": "Z2hzX2EtdG9rZW4tdGhhdC13cml0ZXMtc3RhdHVzZXM="})
    ),
    "a command for the terminal": whole("403 Forbidden", json.dumps({"message": "\x1b]0;x\x07\n::error::\u202eyes"})),
    "a message of 500 kB": whole("403 Forbidden", json.dumps({"message": "no " * 160_000})),
    "a pause of Arabic digits": whole("429 Too Many", "{}", "Retry-After: \u0669"),
    "a pause without an end": whole("429 Too Many", "{}", "Retry-After: " + "9" * 400),
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gli.common.statuses._ANSWER_S", 1.0)
    monkeypatch.setattr("gli.common.statuses._TRIES", 1)


@pytest.fixture
def served() -> Iterator[Callable[[Answer], Server]]:
    servers: list[Server] = []

    def serve(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("way", HOSTILE)
def test_no_hostile_answer_is_taken_for_a_status(way: str, served: Callable[[Answer], Server]) -> None:
    server = served(HOSTILE[way])
    problems = Statuses("org", TOKEN, server.url).publish({"app": COMMIT}, "failure", "no")
    [said] = [problem.sentence for problem in problems]
    assert said.isprintable() and len(said) < 400
    assert not any(TOKEN[n : n + 12] in said for n in range(len(TOKEN) - 12)) and "Z2hzX2Et" not in said
    assert {line.split()[0] for line in server.asked} == {"POST"}, "and the token goes to no other page"


def test_the_token_and_the_status_go_to_no_other_host(served: Callable[[Answer], Server]) -> None:
    other = served(whole("201 Created", MINE))
    server = served(whole("307 Temporary Redirect", "", f"Location: {other.url}{PATH}"))
    [problem] = Statuses("org", TOKEN, server.url).publish({"app": COMMIT}, "failure", "no")
    assert (problem.code, other.asked) == (1, [])


def test_after_the_deadline_nothing_more_is_sent(served: Callable[[Answer], Server]) -> None:
    """A late redirect: a status that is sent after another one would replace it."""
    late = threading.Event()
    redirect = whole("307 Temporary Redirect", "", f"Location: {PATH}")

    def answer(send: Callable[[bytes], Any]) -> None:
        late.wait(60)
        redirect(send)

    server = served(answer)
    with pytest.raises(NoAnswerError, match="no whole answer"):
        exchange("POST", server.url + PATH, within_s=0.5, redirects=1, json={})
    late.set()
    for thread in [t for t in threading.enumerate() if t.name == "http-exchange"]:
        thread.join(60)
    assert len(server.asked) == 1
