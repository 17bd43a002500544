"""Small servers that misbehave, and whole runs beside them with their time and their memory."""

from __future__ import annotations

import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from served import in_a_thread

from conftest import Project, clean_environment, latest

FAILS = "def test_first_check(target): assert False, 'broken'\ndef test_second_check(target): pass\n"
PASSES = "def test_first_check(target): pass\ndef test_second_check(target): pass\n"
GLI = "import sys; sys.argv[0] = 'gli'; from gli.cli.entry import main; main()"
"""What `python -c` runs as the command `gli`."""
Send = Callable[[bytes], None]
MEASURED = (
    "import resource, subprocess, sys\ncode = subprocess.call(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\nsys.exit(code)\n"
)


@dataclass(frozen=True)
class Measured:
    """A whole run in a process of its own."""

    code: int
    output: str
    seconds: float
    most_kb: int
    """The memory of the largest of its processes, git among them."""
    verdict: dict[str, Any]


def healthy(send: Send) -> None:
    """Answer one HTTP request."""
    send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextmanager
def serving(
    answer: Callable[[Send], None], first: Callable[[socket.socket, bytes], None] = lambda *_: None
) -> Iterator[int]:
    """Run a server that reads once, calls `first` with the connection and the request, answers; yields its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                first(self.request, self.request.recv(65_536))
                answer(self.request.sendall)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        in_a_thread(server)
        yield server.server_address[1]
        server.shutdown()


def measured(project: Project, **env: str) -> Measured:
    """Run the project, with its time and its memory."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, "-m", "pytest", "--env=own"],
        cwd=project.root,
        env=clean_environment() | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    seconds = time.monotonic() - begun
    *lines, kilobytes = done.stdout.splitlines()
    verdict, _ = latest(project.root / "reports")
    assert verdict is not None, done.stdout
    return Measured(done.returncode, "\n".join(lines), seconds, int(kilobytes), verdict)
