"""An HTTP proxy (CONNECT) that leads the public names of the environment to the sandbox, for the commands of steps."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_IDLE_S = 60.0


class Proxy(ThreadingHTTPServer):
    """Listens on a port that the system chooses, as long as the `with` block lasts."""

    daemon_threads = True

    def __init__(self, places: Mapping[str, str]) -> None:
        """`places`: `host:port` to `address:port`; every other name is refused."""
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.places = places
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Tunnel(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        place = self.server.places.get(self.path)
        if place is None:
            self.send_error(502, f"{self.path} is not in the sandbox")
            return
        host, _, port = place.rpartition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=10) as there:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: there, there: self.connection}
            while ready := select.select(list(ends), [], [], _IDLE_S)[0]:
                for end in ready:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)

    def log_message(self, *_: object) -> None:
        pass
