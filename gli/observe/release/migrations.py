"""Migrations in the code: Django's by their paths, Alembic's by what is in the files.

`notices/migrations/0001_initial.py` is (`notices`, `0001_initial`). An Alembic file names its own revision and the one
below it; a database has only the newest revisions on record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Migration = tuple[str, str]
_FILE = re.compile(r"(?:^|/)(?P<app>\w+)/migrations/(?P<name>\d{4}_\w+)\.py$")


def in_paths(paths: Iterable[str]) -> tuple[Migration, ...]:
    """(app, migration) of every path that is a migration file, sorted."""
    return tuple(sorted((m["app"], m["name"]) for path in paths if (m := _FILE.search(path))))


def difference(code: Iterable[Migration], applied: Iterable[Migration]) -> tuple[list[str], list[str]]:
    """(pending, unknown), as sorted names `app.migration`.

    Pending migrations are in the code and not in the database. Unknown ones are in the database and not in the code;
    apps of which the code has no migration (Django's own) are left out.
    """
    in_code = {f"{app}.{name}" for app, name in code}
    own = {app for app, _ in code}
    in_database = {f"{app}.{name}" for app, name in applied if app in own}
    return sorted(in_code - in_database), sorted(in_database - in_code)


def alembic_heads(texts: Iterable[str]) -> list[str]:
    """The revisions that no other revision builds on, sorted: what `alembic heads` prints."""
    found = [{m[1]: re.findall(r"""["']([^"']+)["']""", m[2]) for m in _REVISION.finditer(text)} for text in texts]
    own = {revision for one in found for revision in one.get("revision", [])}
    return sorted(own - {below for one in found for below in one.get("down_revision", [])})


ALEMBIC = re.compile(r"(?:^|/)versions/[^/]+\.py$")
_REVISION = re.compile(r"^(revision|down_revision)\s*(?::[^=\n]*)?=\s*(\([^)]*\)|[^\n]*)", re.MULTILINE)
