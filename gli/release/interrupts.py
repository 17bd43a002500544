"""Ctrl-C, SIGTERM and a closed terminal while branches move: the signal waits until the end of the current attempt."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOKS_S = 0.1
_came: list[int] = []


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Only note these signals while the block runs: to end in mid-push would leave some repositories moved."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _note) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before[signal.SIGINT] is not _note:  # outermost: its signals are for this operation
            _came.clear()


def _note(number: int, _: object) -> None:
    _came.append(number)


def interrupted(pause_s: float) -> bool:
    """Wait between two attempts. Returns whether a signal came since the last attempt."""
    until = time.monotonic() + pause_s
    while pause_s and not _came and time.monotonic() < until:
        time.sleep(min(_LOOKS_S, pause_s))
    came = bool(pause_s and _came)
    if came:
        _came.clear()
    return came
