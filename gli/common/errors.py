"""The exceptions for problems that the caller can fix: a wrong option, a broken file, a missing credential."""

from __future__ import annotations

import errno

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The error numbers of a disk that is full or fails."""


class DiskError(Exception):
    """A file could not be written because the disk is full or failed. Exit code 3. The code that catches this exception
    says what was interrupted.
    """


class UsageError(Exception):
    """One clear sentence: which file, which key, what to do. Exit code 2 (pytest: 4), never a traceback."""
