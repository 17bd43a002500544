"""Starts an environment on this machine for the time of a run: `python -m PROVIDER up --env NAME`.

The provider writes the environment's overlay as its last step. If there is an overlay and its process is alive, the
environment is up already, and the run uses it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gli.common.bound_process import Bond
from gli.common.errors import UsageError
from gli.config.toml_tables import overlay_path, read_overlay

SILENCE_S = 180.0
"""Seconds that a starting provider may be silent: a busy machine needs minutes."""
LONGEST_S = 900.0
"""Seconds after which the run gives up on a starting provider, whatever the provider prints."""
_STOP_TIMEOUT_S = 15.0


class Provider:
    """One started environment; `stop` ends it."""

    def __init__(self, process: subprocess.Popen[bytes], bond: Bond) -> None:
        self._process = process
        self._bond = bond

    def stop(self) -> None:
        """Ends the environment and waits until it is gone."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._bond.release()


def start_if_down(root: Path, name: str, tables: Mapping[str, Any], say: Callable[[str], None]) -> Provider | None:
    """Starts the environment `name` if it is not up. Returns None if there is nothing to start.

    Raises `UsageError` with the provider's last words if the environment does not come up.
    """
    module = tables.get("provider")
    if not isinstance(module, str) or _is_up(root, tables):
        return None
    say(f"no {name} is up: starting one for this run ...")
    command = [module, "up", "--env", name]
    bond = Bond(signal.SIGTERM)
    process = subprocess.Popen(
        bond.command([sys.executable, "-m", *command]),
        cwd=root,
        stdin=bond.stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches the run only, and the run ends its environment
    )
    bond.started()
    provider = Provider(process, bond)
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
    begun = heard = time.monotonic()
    while not _is_up(root, tables):
        if new := process.stdout.read():
            said += new
            heard = time.monotonic()
        if process.poll() is not None:
            said += process.stdout.read() or b""
            raise UsageError(f"`python -m {command}` ended with code {process.returncode}: {_end(said, lines=3)}")
        now = time.monotonic()
        if now > min(heard + SILENCE_S, begun + LONGEST_S):
            raise UsageError(
                f"`python -m {command}` is not ready after {now - begun:.0f} s; the last that it said, "
                f"{now - heard:.0f} s ago: {_end(said, lines=1) or 'nothing'}"
            )
        time.sleep(0.05)


def _end(said: bytes, lines: int) -> str:
    return " / ".join(said.decode(errors="replace").strip().splitlines()[-lines:])


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
