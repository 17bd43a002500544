"""Starts the parts that are separate processes, so that none outlives the supervisor."""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path

from gli.common.bound_process import Bond

LOOPBACK = "127.0.0.1"
SOURCE = Path(__file__).resolve().parents[1]
"""The folder that this very copy of the `sandbox` package is imported from."""
PATIENCE_S = 180.0
"""Seconds for which a part whose process is alive is waited for: a machine that does much else needs minutes."""
_HELD_WHILE_BOUND = sys.platform == "linux"
# Below the ports that Linux and macOS use for outgoing connections.
_PORTS = range(20_000, 32_000)
# A random order, so that sandboxes differ; one sandbox uses each port only once.
_ports_in_turn = cycle(random.sample(_PORTS, len(_PORTS)))


class PartFailed(Exception):
    """A part did not start, or has ended; the message is one sentence."""


class ReservedPort:
    """A port of this machine for a server of the sandbox. Connections are refused while no server runs.

    On Linux no other process gets the port until `close`: a socket is bound to the port but never listens. A server
    with SO_REUSEADDR (all of ours) can still use the port, also after a restart. On BSD and macOS such a socket would
    block our own server, so there the port is only one that was free a moment ago (tried on Linux, not on macOS).
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if _HELD_WHILE_BOUND:
            self._socket.bind((LOOPBACK, 0))
        else:
            self._bind_any()
        self.port = int(self._socket.getsockname()[1])
        if not _HELD_WHILE_BOUND:
            self._socket.close()

    def _bind_any(self) -> None:
        for _ in _PORTS:
            with suppress(OSError):
                self._socket.bind((LOOPBACK, next(_ports_in_turn)))
                return
        raise PartFailed(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free")

    def close(self) -> None:
        """Release the port."""
        self._socket.close()


class Child:
    """One process. Its output goes to a log file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path, bond: Bond) -> None:
        self.name = name
        self.process = process
        self.log = log
        self._gone = asyncio.create_task(self._end(bond))

    async def _end(self, bond: Bond) -> int:
        code = await self.process.wait()
        bond.release()
        return code

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path = Path("/"),
        user: str | None = None,
        dies_by: signal.Signals = signal.SIGKILL,
    ) -> Child:
        """Start `argv`, out of reach of the terminal's signals. It gets the signal `dies_by` when this process ends."""
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        bond = Bond(dies_by)
        try:
            process = await asyncio.create_subprocess_exec(
                *bond.command(argv),
                stdin=bond.stdin,
                stdout=fd,
                stderr=fd,
                cwd=cwd,
                env=None if env is None else {**os.environ, **env},
                start_new_session=True,
                user=user,
                group=None if user is None else pwd.getpwnam(user).pw_gid,
                extra_groups=None if user is None else [],
            )
        except OSError as e:
            bond.release()
            raise PartFailed(f"{name} can't be started: {e.strerror}: {e.filename or argv[0]}") from None
        finally:
            bond.started()
            os.close(fd)
        return cls(name, process, log, bond)

    @classmethod
    async def start_module(
        cls, name: str, module: str, *arguments: str, log: Path, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start a module of this package with the current interpreter."""
        argv = [sys.executable, "-m", module, *arguments]
        return await cls.start(name, argv, log=log, env=env, cwd=SOURCE)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def until_it_listens(self, port: int) -> None:
        """Wait until a server accepts connections on this port of this machine; raises like `until`."""
        await self.until(lambda: listens(port), f"it to listen on port {port}")

    async def until(self, ready: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
        """Wait until `ready()`, called in a thread, returns true; `what` names the awaited state in the message.

        Raises `PartFailed` as soon as the process has ended, or after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(ready):
            if not self.alive:
                raise PartFailed(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
            if time.monotonic() > deadline:
                raise self._late(what, seconds)
            await asyncio.sleep(0.02)

    async def until_it_ends(self, seconds: float = PATIENCE_S) -> int:
        """The process's exit code; raises `PartFailed` after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._gone)
        except TimeoutError:
            raise self._late("it to end", seconds) from None

    def _late(self, what: str, seconds: float) -> PartFailed:
        return PartFailed(
            f"{self.name}: waited {seconds:g} s for {what}; the process runs, and its log ends with: {self.tail(1)}"
        )

    async def stop(self, by: signal.Signals = signal.SIGKILL, seconds: float = 2.0) -> None:
        """End the process and wait until it is gone; kill it after `seconds`."""
        for sign in (by, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self.process.send_signal(sign)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.shield(self._gone)
                    return

    def tail(self, lines: int = 3) -> str:
        """The last lines of the process's log, joined into one line."""
        with suppress(OSError):
            text = self.log.read_text(errors="replace").split("\n")
            return " | ".join([line.strip() for line in text if line.strip()][-lines:]) or "it said nothing"
        return "it left no log"


def listens(port: int) -> bool:
    """Whether a server accepts connections on this port of this machine."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


async def run(
    argv: Sequence[str | Path],
    *,
    name: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> None:
    """Run a command to its end; `PartFailed` if it fails."""
    child = await Child.start(name, argv, log=log, env=env, user=user)
    try:
        if await child.until_it_ends() != 0:
            raise PartFailed(f"{name} failed: {child.tail()}")
    finally:
        await child.stop()
