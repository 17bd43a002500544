"""The standard streams of this process. Its starter may have closed them, as `gli ... >&-` in a shell does."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

from gli.common.errors import FULL

CLOSED = "standard output is closed, so nobody would see the result; leave `>&-` out, or write to a file"


def leave_output() -> None:
    """Send nowhere what is still to be printed: nobody reads it any more, or its disk is full. Python would else try
    again at its end, and fail with an exit code of its own.
    """
    with (
        suppress(io.UnsupportedOperation),  # it is no file
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123 - as in Python's documentation
    ):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def has_no_room(error: OSError) -> bool:
    """Whether the output could not be written, because its disk is full: an error of another file names the file."""
    return error.filename is None and error.errno in FULL


def output_is_open() -> bool:
    """Whether this process has a standard output. A closed input or error stream becomes an empty one: otherwise the
    next file that the process opens would take its number, and a message would be written into that file.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    return sys.stdout is not None
