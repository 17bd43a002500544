"""Django's migration files by their paths: `notices/migrations/0001_initial.py` is (`notices`, `0001_initial`)."""

from __future__ import annotations

import re
from collections.abc import Iterable

Migration = tuple[str, str]
_FILE = re.compile(r"(?:^|/)(?P<app>\w+)/migrations/(?P<name>\d{4}_\w+)\.py$")


def in_paths(paths: Iterable[str]) -> tuple[Migration, ...]:
    """(app, migration) of every path that is a migration file, sorted."""
    return tuple(sorted((m["app"], m["name"]) for path in paths if (m := _FILE.search(path))))


def difference(code: Iterable[Migration], applied: Iterable[Migration]) -> tuple[list[str], list[str]]:
    """(pending, unknown): what the code has and the database lacks, and the other way round for the code's own apps."""
    in_code = {f"{app}.{name}" for app, name in code}
    own = {app for app, _ in code}
    in_database = {f"{app}.{name}" for app, name in applied if app in own}
    return sorted(in_code - in_database), sorted(in_database - in_code)
