"""A run that takes too long or too much memory, or whose clock is wrong, is NO-GO for that reason."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hostile_rig import Send, healthy, measured, serving
from served import in_a_thread

from conftest import ENVIRONMENT, Project, exhaustive
from gli.common import clock


def test_a_run_that_takes_too_much_memory_is_ended(project: Project) -> None:
    project.checks(
        "import time\ndef test_first_check(target):\n    hog = b'x' * 400_000_000\n    time.sleep(100)\n"
        "def test_second_check(target): pass\n"
    )
    ran = project.run_alone()
    assert ran.code != 0
    assert ran.last_line == "VERDICT own: NO-GO"
    assert ran.verdict is not None
    assert ran.verdict["reasons"] == ["incomplete: the run took more than 200 MB of memory besides what it began with"]


HANGS = {
    "a regular expression without an end": "import re\n    re.match('(a+)+$', 'a' * 60 + 'b')",
    "a signal that is ignored": "import signal, time\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "    time.sleep(600)",
    "a thread that takes all time": "import threading\n    t = threading.Thread(target=lambda: any(iter(int, 1)))\n"
    "    t.start()\n    t.join()",
}


@exhaustive
@pytest.mark.parametrize("how", HANGS)
def test_a_run_that_hangs_is_ended(project: Project, how: str) -> None:
    project.checks(f"def test_first_check(target):\n    {HANGS[how]}\ndef test_second_check(target): pass\n")
    begun = clock.now()
    ran = project.run_alone()
    assert clock.now() - begun < timedelta(seconds=105)  # with the start of the process on a busy machine
    assert (ran.code != 0, ran.last_line) == (True, "VERDICT own: NO-GO")
    assert ran.verdict is not None
    assert ran.verdict["reasons"] == ["incomplete: the run did not end within 90 s"]


CONFTEST = """
from gli.config.services import Service
from gli.observe.edge.http import HttpExchange, fetch
from gli.observe.engine.probe import Observer, probe
from gli.run.plugin import fixture_for

@probe()
async def seen_page(observer: Observer, service: Service) -> HttpExchange:
    return await fetch(observer, service.url)

page = fixture_for(seen_page)
"""


@pytest.fixture
def far_ahead() -> Iterator[int]:
    """The port of a server whose clock is 60 days ahead of this machine's: so this machine's may be 60 days behind."""

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(clock.now() + timedelta(days=60), usegmt=True)

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    in_a_thread(server)
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_machine_whose_clock_is_behind_is_no_go(project: Project, far_ahead: int) -> None:
    """Waivers and verdicts that have expired would count on such a machine."""
    project.write("environments.toml", ENVIRONMENT.replace("127.0.0.1:9", f"127.0.0.1:{far_ahead}"))
    project.write("conftest.py", CONFTEST)
    project.checks(
        "def test_first_check(seen_page, target): assert seen_page.status == 200\ndef test_second_check(target): pass\n"
    )
    ran = project.run()
    assert ran.code == 1 and ran.verdict is not None, ran.output
    assert ran.verdict["counts"]["passed"] == 2
    assert [r["kind"] for r in ran.verdict["held_by"]] == ["clock"]
    assert 5_183_000 < ran.verdict["clock_behind_s"] < 5_185_000


# ---- whole runs against hostile servers, beside a healthy one


def bomb(send: Send) -> None:
    """10 GB of spaces in 10 MB of gzip."""
    packer = zlib.compressobj(wbits=31)
    part = packer.compress(b" " * 10_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    again = zlib.compressobj(wbits=-15)
    more = again.compress(b" " * 10_000_000) + again.flush(zlib.Z_FULL_FLUSH)
    send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + part)
    for _ in range(1_000):
        send(more)


def without_an_end(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        send(b"x" * 1_000_000)


def drip(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(300):
        send(b"x")
        time.sleep(0.5)


def headers_without_an_end(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    while True:
        send(b"X-More: " + b"x" * 60_000 + b"\r\n")


def no_http(send: Send) -> None:
    while True:
        send(bytes(range(256)) * 4_000)


def interim_answers(send: Send) -> None:
    while True:
        send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1_000)


def silence(send: Send) -> None:
    time.sleep(150)


ENDLESS = (without_an_end, drip, headers_without_an_end, no_http, interim_answers, silence)


@pytest.mark.parametrize("hostile", [bomb, *(pytest.param(answer, marks=exhaustive) for answer in ENDLESS)])
def test_a_hostile_server_harms_no_other_check(project: Project, hostile: Callable[[Send], None]) -> None:
    """The run ends in time, takes less than 300 MB, and judges the healthy neighbour as if it were alone."""
    project.write("conftest.py", CONFTEST)
    project.checks(
        "def test_first_check(seen_page, target): assert (seen_page.status, seen_page.body) == (200, 'ok')\n"
        "def test_second_check(target): pass\n"
    )
    with serving(hostile) as one, serving(healthy) as other:
        text = ENVIRONMENT.replace("127.0.0.1:9", f"127.0.0.1:{one}")
        web = f'[own.services.web]\nurl = "http://127.0.0.1:{other}"\nrepository = "app"\n'
        project.write("environments.toml", text + web)
        ran = measured(project)
    assert (ran.code, ran.output.splitlines()[-1]) == (1, "VERDICT own: NO-GO"), ran.output
    assert ran.seconds < 95
    assert ran.most_kb < 300_000
    outcomes = {(c["id"], c["target"]): c["outcome"] for c in ran.verdict["checks"]}
    assert outcomes.pop(("first-check", "api")) in ("failed", "unknown")
    assert set(outcomes.values()) == {"passed"}
