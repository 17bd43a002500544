"""git for the event loop, with the environment and the errors of `gli.git.command`. It ends when its caller ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from gli.git.command import GitFailed, environment


async def git(
    *arguments: str, says: str | None = None, accept: Sequence[int] = (0,), env: Mapping[str, str] | None = None
) -> str:
    """What git printed, as text; see `git_bytes`."""
    return (await git_bytes(*arguments, says=says, accept=accept, env=env)).decode(errors="replace")


async def git_bytes(
    *arguments: str, says: str | None = None, accept: Sequence[int] = (0,), env: Mapping[str, str] | None = None
) -> bytes:
    """What git printed, told `says` on stdin; raises `GitFailed` for an exit code that is not in `accept`.

    It and the ssh that it started end when the caller is cancelled.
    """
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL if says is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment(), **(env or {})},
        start_new_session=True,
    )
    try:
        output, errors = await process.communicate(None if says is None else says.encode())
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    code = process.returncode if process.returncode is not None else -1
    if code not in accept:
        raise GitFailed(arguments, code, errors.decode(errors="surrogateescape"))
    return output
