"""Runs a cell as a process of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gli.cells.merging import Setting
from gli.cells.rounds import make_place
from gli.common.bound_process import Bond
from gli.config.cells import Cell
from gli.report.sinks import SUMMARY_VARIABLE

OUTPUT = "output.txt"
_LEAVE_S = 10.0


class LocalRun:
    """`pytest` in a process of its own, which ends with this one."""

    starting_s = 60.0
    tick_s = 0.05

    def __init__(self, setting: Setting, cell: Cell, folder: Path) -> None:
        self._root, self._folder, self._cell = setting.root, folder, cell
        self._bond: Bond | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, arguments: Sequence[str]) -> None:
        make_place(self._folder)
        self._bond = Bond(signal.SIGTERM)
        # -P: files of this folder take no module's place
        command = [sys.executable, "-P", "-m", "pytest", *arguments, f"--report-dir={self._folder.absolute()}"]
        output = os.open(self._folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            self._process = subprocess.Popen(
                self._bond.command(command),
                cwd=self._root,
                env={k: v for k, v in os.environ.items() if k != SUMMARY_VARIABLE},  # the merged report goes there
                stdin=self._bond.stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the round alone, which then ends its runs
            )
        finally:
            os.close(output)
        self._bond.started()

    def ended(self) -> str | None:
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return None
        lines = (self._folder / OUTPUT).read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no output")
        return f"ended with {code} ({last.strip()})"

    def end(self) -> None:
        if self._process is None or self._bond is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def fetch(self) -> None:
        if self._bond is not None:
            self._bond.release()
