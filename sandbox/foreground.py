"""Runs a supervisor in this process until a signal or `down` stops it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from sandbox.moto import Moto
from sandbox.processes import PartFailed
from sandbox.state import Place, State

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Say = Callable[[str], None]


def keep(place: Place, latency: float, varied: Sequence[str], say: Say) -> NoReturn:
    """Start a sandbox, wait for a signal or `down`, end every part, then end this process.

    Raises what `State.claim` raises if the sandbox may not start.
    """
    begun = time.monotonic()
    _open_standard_streams()
    state = State.claim(place)
    try:
        # Not asyncio.run: it waits for threads, and a thread may still wait for a server that has ended.
        code = asyncio.new_event_loop().run_until_complete(_keep(state, latency, varied, begun, say))
    finally:
        state.remove()
    with suppress(OSError, AttributeError):
        sys.stdout.flush()
    os._exit(code)


async def _keep(state: State, latency: float, varied: Sequence[str], begun: float, say: Say) -> int:
    """Run the sandbox; returns the exit code."""
    stop_requested = _on_signals()
    moto = Moto(state.path)
    await moto.start()
    # Imported late: these imports take a second, and the slowest part (moto) already starts meanwhile.
    from sandbox.supervisor import Supervisor

    supervisor = Supervisor(state, moto, stop_requested, latency, varied, say)
    boot = asyncio.create_task(supervisor.boot())
    stop = asyncio.create_task(stop_requested.wait())
    try:
        await asyncio.wait({boot, stop}, return_when=asyncio.FIRST_COMPLETED)
        if boot.done():
            boot.result()
            for line in supervisor.summary():
                say(line)
            say(f"sandbox ready in {time.monotonic() - begun:.1f} s; Ctrl-C stops it")
            await stop
        return 0
    except (PartFailed, ExceptionGroup) as e:
        print(f"the sandbox can't start: {_first(e)}", file=sys.stderr, flush=True)
        return 1
    finally:
        boot.cancel()
        await asyncio.wait({boot})
        await supervisor.stop()


def _on_signals() -> asyncio.Event:
    """An event that each signal to end sets."""
    requested = asyncio.Event()
    for sign in _SIGNALS:
        if not (sign == signal.SIGHUP and signal.getsignal(sign) is signal.SIG_IGN):  # nohup
            asyncio.get_running_loop().add_signal_handler(sign, requested.set)
    return requested


def _first(failure: Exception) -> Exception:
    """The first cause, where parts that start together fail together."""
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _open_standard_streams() -> None:
    """Open /dev/null for closed standard streams: the next opened file would get their number and our output."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
