"""Starting the parts that are processes of their own, so that none outlives the supervisor."""

from __future__ import annotations

import asyncio
import ctypes
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"
SOURCE = Path(__file__).resolve().parents[1]
"""The folder that this very copy of the `sandbox` package is imported from."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class PartFailed(Exception):
    """A part did not start, or ended; one sentence."""


def reserve_port() -> socket.socket:
    """A port of this machine that nobody else gets while the returned socket is open.

    The socket is bound but never listens, so that a server with SO_REUSEADDR (all of ours) can take the port, also
    again after a restart, and connecting to it while no server runs is refused.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((LOOPBACK, 0))
    return reserved


class Child:
    """One process. Its output goes to a log file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

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
        nice: int = 0,
        dies_by: signal.Signals = signal.SIGKILL,
    ) -> Child:
        """Start `argv`, away from the terminal's signals; `dies_by` reaches it when this process is gone."""
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *map(str, argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                cwd=cwd,
                env=None if env is None else {**os.environ, **env},
                start_new_session=True,
                preexec_fn=_bound_to(os.getpid(), dies_by, nice),
                user=user,
                group=None if user is None else pwd.getpwnam(user).pw_gid,
                extra_groups=None if user is None else [],
            )
        except OSError as e:
            raise PartFailed(f"{name} can't be started: {e.strerror}: {e.filename or argv[0]}") from None
        finally:
            os.close(fd)
        return cls(name, process, log)

    @classmethod
    async def start_module(
        cls, name: str, module: str, *arguments: str, log: Path, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start a module of this package with the interpreter that runs now."""
        argv = [sys.executable, "-m", module, *arguments]
        return await cls.start(name, argv, log=log, env=env, cwd=SOURCE)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def until(self, ready: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until `ready()`, asked in a thread, is true; `PartFailed` when the process ends first or time is up."""
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(ready):
            if not self.alive:
                raise PartFailed(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
            if time.monotonic() > deadline:
                raise PartFailed(f"{self.name} is not ready after {seconds:.0f} s: {self.tail()}")
            await asyncio.sleep(0.02)

    async def stop(self, by: signal.Signals = signal.SIGKILL, seconds: float = 2.0) -> None:
        """End it and wait until it is gone; what does not go in time is killed."""
        for sign in (by, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self.process.send_signal(sign)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.process.wait()
                    return

    def tail(self, lines: int = 3) -> str:
        """The last words of its log, on one line."""
        with suppress(OSError):
            text = self.log.read_text(errors="replace").split("\n")
            return " | ".join([line.strip() for line in text if line.strip()][-lines:]) or "it said nothing"
        return "it left no log"


def listens(port: int) -> bool:
    """Whether somebody accepts connections on that port of this machine."""
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
    """Run a command to its end; `PartFailed` where it fails."""
    child = await Child.start(name, argv, log=log, env=env, user=user)
    try:
        if await child.process.wait() != 0:
            raise PartFailed(f"{name} failed: {child.tail()}")
    finally:
        await child.stop()


def _bound_to(parent: int, sign: signal.Signals, nice: int) -> Callable[[], None]:
    """For `preexec_fn`: the kernel sends `sign` to this process when `parent`, or the thread that forked it, ends."""

    def bind() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(sign), 0, 0, 0)
        if os.getppid() != parent:  # it ended between fork and here
            os._exit(1)
        os.nice(nice)

    return bind
