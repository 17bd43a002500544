"""Servers of the tests, each in a thread of its own."""

from __future__ import annotations

import threading
from socketserver import BaseServer

LOOKS_S = 0.02
"""A server looks this often whether it was shut down. Python's default is half a second, which each test would wait."""


def in_a_thread(server: BaseServer) -> threading.Thread:
    """Serve until `server.shutdown()`."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": LOOKS_S}, daemon=True)
    thread.start()
    return thread
