"""Environments that can be started on this machine: `python -m PROVIDER up --env NAME`, while a run needs one.

The provider writes the environment's overlay as its last step; an overlay whose process is alive is an environment
that is up, and is used as it is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gli.common.errors import UsageError
from gli.config.environments import overlay_path, read_overlay

START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_PR_SET_PDEATHSIG = 1


class Provider:
    """One started environment; `stop` ends it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def stop(self) -> None:
        """Ends the environment and waits until it is gone."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def ensure(root: Path, name: str, tables: Mapping[str, Any], say: Callable[[str], None]) -> Provider | None:
    """Starts the environment `name` when none is up; None where there is nothing to start.

    Raises `UsageError` with what the provider said where it does not come up.
    """
    module = tables.get("provider")
    if not isinstance(module, str) or _is_up(root, tables):
        return None
    say(f"no {name} is up: starting one for this run ...")
    command = [module, "up", "--env", name]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_die_with_parent,
        start_new_session=True,  # Ctrl-C reaches the run, and the run ends its environment
    )
    provider = Provider(process)
    try:
        _await(process, root, tables, " ".join(command))
    except BaseException:
        provider.stop()
        raise
    return provider


def _await(process: subprocess.Popen[bytes], root: Path, tables: Mapping[str, Any], command: str) -> None:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    said = b""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_up(root, tables):
        said += process.stdout.read() or b""
        if process.poll() is not None:
            said += process.stdout.read() or b""
            last = said.decode(errors="replace").strip().splitlines()[-3:]
            raise UsageError(f"`python -m {command}` ended with code {process.returncode}: {' / '.join(last)}")
        if time.monotonic() > deadline:
            raise UsageError(f"`python -m {command}` was not ready within {START_TIMEOUT_S:.0f} s")
        time.sleep(0.05)


def _is_up(root: Path, tables: Mapping[str, Any]) -> bool:
    path = overlay_path(root, tables)
    if path is None or not path.is_file():
        return False
    pid = (read_overlay(root, tables) or {}).get("provider_pid")
    return isinstance(pid, int) and _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _die_with_parent() -> None:
    """Linux: the provider gets SIGTERM when this process dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
