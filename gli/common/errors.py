"""The one exception for what the caller can mend: a wrong option, a broken file, a missing credential."""


class DiskError(Exception):
    """A file could not be written for want of room, or because the disk failed. Exit code 3: what was under way is told
    by whoever catches it."""


class UsageError(Exception):
    """One clear sentence: which file, which key, what to do. Exit code 2 (pytest: 4), never a traceback."""
