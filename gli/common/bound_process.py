"""Child processes: how they end is heard, and they end with their starter, even if SIGKILL kills it.

A shell watches each started process. The starter alone holds the other end of the shell's standard input open, and the
kernel closes this pipe when the starter ends. This needs POSIX (sh, pipe, kill). It was tried on Linux; on macOS it was
not tried.
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


def hear_children() -> None:
    """Makes the system tell this process how its children end.

    A program that ignores SIGCHLD hands that on to the programs that it starts. Python's `subprocess` then says 0 for
    the exit code of every child: waitpid(2), NOTES.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


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
        """Stop the watcher without a signal to the command: its process id may belong to another process by now."""
        with suppress(BrokenPipeError):  # the watcher was killed from outside
            os.write(self._held, b"released\n")
        os.close(self._held)
