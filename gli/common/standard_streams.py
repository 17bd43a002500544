"""The standard streams of this process. Its starter may have closed them, as `gli ... >&-` in a shell does."""

from __future__ import annotations

import os
import sys

CLOSED = "standard output is closed, so nobody would see the result; leave `>&-` out, or write to a file"


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
