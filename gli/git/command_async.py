"""git for the event loop, with the environment and the errors of `gli.git.command`. It ends when its caller ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from gli.git.command import GitFailed, environment

MOST_BYTES = 64_000_000
"""How much git may print: the lists of files and commits of a large repository are some 10 MB."""
_MOST_MEMORY_KB = 250_000
_END_S = 5.0
_LIMITED = f'ulimit -d {_MOST_MEMORY_KB} 2>/dev/null; exec git "$@"'
"""git keeps in memory what a remote lists, so a remote without an end would take all that there is."""


async def git(
    *arguments: str, says: str | None = None, accept: Sequence[int] = (0,), env: Mapping[str, str] | None = None
) -> str:
    """What git printed, as text; see `git_bytes`."""
    return (await git_bytes(*arguments, says=says, accept=accept, env=env)).decode(errors="replace")


async def git_bytes(
    *arguments: str, says: str | None = None, accept: Sequence[int] = (0,), env: Mapping[str, str] | None = None
) -> bytes:
    """What git printed, told `says` on stdin; raises `GitFailed` for an exit code that is not in `accept`.

    It and the ssh that it started end when the caller is cancelled, and if git prints more than MOST_BYTES. Each of its
    processes may take 250 MB of memory.
    """
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _LIMITED, "git"),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL if says is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment(), **(env or {})},
        start_new_session=True,
    )
    try:
        output, errors = await _talked(process, says)
    except BaseException:
        await _end(process)
        raise
    code = process.returncode if process.returncode is not None else -1
    if output is None or errors is None:
        raise GitFailed(arguments, code, f"fatal: git printed more than {MOST_BYTES // 1_000_000} MB")
    if b"Out of memory" in errors:
        raise GitFailed(arguments, code, f"fatal: git needed more than {_MOST_MEMORY_KB // 1000} MB of memory")
    if code not in accept:
        raise GitFailed(arguments, code, errors.decode(errors="surrogateescape"))
    return output


async def _talked(process: asyncio.subprocess.Process, says: str | None) -> tuple[bytes | None, bytes | None]:
    """stdout and stderr of git once it has ended; None for a stream of which git printed more than the limit."""
    assert process.stdout is not None and process.stderr is not None

    async def read(stream: asyncio.StreamReader) -> bytes | None:
        found = bytearray()
        while part := await stream.read(65_536):
            found += part
            if len(found) > MOST_BYTES:
                await _end(process, stream)
                return None
        return bytes(found)

    async def write() -> None:
        if process.stdin is not None and says is not None:
            with suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(says.encode())
                await process.stdin.drain()
            process.stdin.close()

    output, errors, _ = await asyncio.gather(read(process.stdout), read(process.stderr), write())
    await process.wait()
    return output, errors


async def _end(process: asyncio.subprocess.Process, *streams: asyncio.StreamReader) -> None:
    """Ends git and all that it started. Reads the rest of these streams, or of all: until then, asyncio of Python 3.11
    does not see their ends, and waits for the process for ever.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            for stream in streams or (process.stdout, process.stderr):
                while stream is not None and await stream.read(65_536):
                    pass
            if not streams:
                await process.wait()
