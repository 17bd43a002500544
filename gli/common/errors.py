"""The one exception for what the caller can mend: a wrong option, a broken file, a missing credential."""


class UsageError(Exception):
    """One clear sentence: which file, which key, what to do. Exit code 2 (pytest: 4), never a traceback."""
