"""Helpers of the report tests: a webhook that keeps its messages, and `gli` in this process."""

from __future__ import annotations

import contextlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from served import in_a_thread

from gli.cli.group import main

HOOK = "GLI_TEST_HOOK"
"""The variable that holds the URL of the fixture `hook`."""


class Hook:
    """A webhook: an HTTP server that keeps each message and gives a chosen answer."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append({"path": self.path, "body": json.loads(body)})
                self.send_response(hook.status)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                """Do not log: the test reads `got`."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        in_a_thread(self.server)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def gli(*arguments: str, cwd: Path) -> Result:
    """Run `gli ARGUMENTS` in a folder, in English."""
    with contextlib.chdir(cwd):
        return CliRunner(env={"LANG": "C.UTF-8"}).invoke(main, arguments, prog_name="gli")
