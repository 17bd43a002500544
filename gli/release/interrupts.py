"""Ctrl-C while branches move: it waits until they have, and is heard between two attempts."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits: git's processes would get it too, and die in the middle of a push."""
    if not _main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted(pause_s: float) -> bool:
    """Wait between two attempts; whether Ctrl-C came."""
    if not pause_s or not _main_thread():
        time.sleep(pause_s)
        return False
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        time.sleep(pause_s)
    except KeyboardInterrupt:
        return True
    finally:
        signal.signal(signal.SIGINT, before)
    return False


def _main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
