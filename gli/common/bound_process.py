"""Processes that end with the process that started them, also where that one is killed by SIGKILL.

A shell watches each started process. The shell's standard input is a pipe that only the starter holds open, and the
kernel closes the pipe with the starter. POSIX alone (sh, pipe, kill): tried on Linux, written for macOS and not tried
there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# The watcher is the background part; `exec` makes the shell the command, so `$$` is the command's process id.
_WATCHED = """
exec 3<&0 </dev/null
{ read -r released || kill -s "$1" $$; } <&3 3<&- >/dev/null 2>&1 &
exec 3<&-
shift
exec "$@"
"""


class Bond:
    """Ties one command to this process.

    Start `command(argv)` with `stdin=bond.stdin`, then call `started`. Call `release` when the command has ended.
    """

    def __init__(self, sign: signal.Signals) -> None:
        self._sign = sign.name.removeprefix("SIG")
        self.stdin, self._held = os.pipe()

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        """`argv`, which gets the signal when this process ends."""
        return ["/bin/sh", "-c", _WATCHED, "sh", self._sign, *map(str, argv)]

    def started(self) -> None:
        """Close this process's copy of the command's standard input."""
        os.close(self.stdin)

    def release(self) -> None:
        """End the watcher without a signal to the command, whose process id may be another process's by now."""
        with suppress(BrokenPipeError):  # somebody ended the watcher
            os.write(self._held, b"released\n")
        os.close(self._held)
