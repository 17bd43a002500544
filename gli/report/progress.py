"""Tells what a run is waiting for: a live line on a terminal, a plain line from time to time elsewhere.

Checks wait for observations. A thread prints while nothing else is printed; a lock keeps it out while pytest writes.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TextIO

import pytest

from gli.report import texts, wording
from gli.report.terminal import columns

LIVE_AFTER_S, PLAIN_AFTER_S, PLAIN_EVERY_S = 1.0, 3.0, 15.0
_TICK_S = 0.25


class Progress:
    """Hooks of the controlling process around pytest's own terminal reporter."""

    def __init__(self, config: pytest.Config, awaited: Callable[[], Sequence[str]], language: str) -> None:
        """`awaited` names the observations that are still under way."""
        self._config, self._awaited, self._words = config, awaited, texts.of(language)
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._begun = self._spoke = time.monotonic()
        self._drawn = False
        self._out: TextIO | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        self._out = _stdout()
        if self._reporter is None or self._out is None:
            return (yield)
        self._begun = self._spoke = time.monotonic()
        thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        thread.start()
        try:
            return (yield)
        finally:
            self._ended.set()
            thread.join()
            self._erase()
            self._out.close()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, object, object]:
        return (yield from self._aside())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, object, object]:
        return (yield from self._aside())

    def _aside(self) -> Generator[None, object, object]:
        """Keeps the thread out while pytest writes."""
        with self._lock:
            self._erase()
            try:
                return (yield)
            finally:
                self._spoke = time.monotonic()

    def _watch(self) -> None:
        assert self._out is not None
        live = self._out.isatty()
        next_line = PLAIN_AFTER_S
        while not self._ended.wait(_TICK_S):
            with self._lock:
                silent = time.monotonic() - self._spoke
                if silent < LIVE_AFTER_S:
                    next_line = PLAIN_AFTER_S
                elif live and (line := self._line()):
                    self._draw(line)
                elif silent >= next_line and (line := self._line()):
                    next_line += PLAIN_EVERY_S
                    self._print(line)

    @property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    def _line(self) -> str:
        """The awaited observations, and the seconds since the run began to observe; empty if nothing is awaited."""
        names = sorted(self._awaited())
        told = wording.some(names, self._words, 3)
        seconds = f"{time.monotonic() - self._begun:.0f}"
        return self._words["awaiting"].format(names=told, seconds=seconds) if names else ""

    def _draw(self, line: str) -> None:
        """Writes the live line below pytest's own line and goes back there."""
        width = shutil.get_terminal_size().columns - 1
        while columns(line) > width:
            line = line[:-1]
        self._below(line)
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._below("")
            self._drawn = False

    def _below(self, text: str) -> None:
        column = self._reporter._tw.width_of_current_line
        self._write(f"\n\x1b[2K{text}\r\x1b[A" + (f"\x1b[{column}C" if column else ""))

    def _print(self, line: str) -> None:
        """Writes the text as a line of its own, after pytest's line."""
        self._write(f"\n{line}\n" if self._reporter._tw.width_of_current_line else f"{line}\n")

    def _write(self, text: str) -> None:
        assert self._out is not None
        self._out.write(text)
        self._out.flush()


def _stdout() -> TextIO | None:
    """Standard output on a descriptor of its own, since pytest captures the other while a check runs; None if it
    is not a file.
    """
    try:
        descriptor = os.dup(sys.stdout.fileno())
    except (OSError, ValueError):
        return None
    return os.fdopen(descriptor, "w", encoding=sys.stdout.encoding, errors="backslashreplace")
