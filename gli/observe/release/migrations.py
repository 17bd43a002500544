"""Migrations in the code: Django's and Flyway's by their paths, Alembic's by what is in the files.

`notices/migrations/0001_initial.py` is (`notices`, `0001_initial`). An Alembic file names its own revision and the one
below it; a database has only the newest revisions on record. `V1_2__add_orders.sql` is version 1.2 of Flyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gli.config.data_tier import MigrationRecord
from gli.observe.engine.observation import Observation

Migration = tuple[str, str]
_SQUASHED = re.compile(r"(\d{4})_squashed_(\d{4})_")
_FILE = re.compile(r"(?:^|/)(?P<app>\w+)/migrations/(?P<name>\d{4}_\w+)\.py$")


def in_paths(paths: Iterable[str]) -> tuple[Migration, ...]:
    """(app, migration) of every path that is a migration file, sorted."""
    return tuple(sorted((m["app"], m["name"]) for path in paths if (m := _FILE.search(path))))


class Squash(Observation):
    """A squashed migration, and those that it stands for."""

    app: str
    name: str
    replaces: tuple[Migration, ...]


def difference(
    code: Sequence[Migration],
    applied: Sequence[Migration],
    squashes: Iterable[Squash] = (),
    *,
    newest_only: bool = False,
) -> tuple[list[str], list[str]]:
    """(pending, unknown), as sorted names `app.migration`.

    Pending migrations are in the code and not in the database. Unknown ones are in the database and not in the code;
    apps of which the code has no migration (Django's own) are left out. A squashed migration is not pending where all
    that it replaces were applied; their rows stay in the database for ever, and are not unknown. What is not newer than
    a baseline of Flyway is applied. Numbers are compared without zeros before them; a record may begin with number 0,
    as that of goose does. `newest_only`: the record holds the newest number, and all smaller ones are applied.
    """
    code, applied = _plain_numbers(code), _plain_numbers(applied)
    if newest_only:
        newest = max((int(name) for _, name in applied if name.isdecimal()), default=-1)
        applied = [*applied, *((app, name) for app, name in code if name.isdecimal() and int(name) <= newest)]
    baselines = [_parts(version) for app, version in applied if app == FLYWAY_BASELINE]
    code = [(app, name) for app, name in code if app != FLYWAY or all(_parts(name) > b for b in baselines)]
    applied = [(app, _spelt(name) if app == FLYWAY else name) for app, name in applied]
    applied = [(app, name) for app, name in applied if app != FLYWAY or all(_parts(name) > b for b in baselines)]
    own = {app for app, _ in code}
    in_code, in_database = set(code), {(app, name) for app, name in applied if app in own}
    done = {(s.app, s.name) for s in squashes if s.replaces and in_database.issuperset(s.replaces)}
    old = {migration for s in squashes for migration in s.replaces} | _squashed_by_name(in_code, in_database)
    starts = {(app, "0") for app in own}
    pending, unknown = in_code - in_database - done, in_database - in_code - old - starts
    return [f"{app}.{name}" for app, name in sorted(pending)], [f"{app}.{name}" for app, name in sorted(unknown)]


def _plain_numbers(migrations: Sequence[Migration]) -> list[Migration]:
    return [(app, str(int(name)) if name.isdecimal() else name) for app, name in migrations]


def _squashed_by_name(code: Iterable[Migration], applied: Iterable[Migration]) -> set[Migration]:
    """The applied migrations whose number a migration `0001_squashed_0004_…` of their app covers: people remove its
    `replaces` after some time."""
    ranges = [(app, m[1], m[2]) for app, name in code if (m := _SQUASHED.match(name))]
    return {(a, n) for a, n in applied for app, first, last in ranges if a == app and first <= n[:4] <= last}


def flyway_versions(paths: Iterable[str]) -> tuple[Migration, ...]:
    """(`flyway`, version) of every versioned migration, by version. Repeatable ones (`R__`) have no version."""
    found = {_spelt(m[1]) for path in paths if (m := _VERSIONED.search(path))}
    return tuple((FLYWAY, version) for version in sorted(found, key=_parts))


def recorded_names(record: MigrationRecord, paths: Iterable[str]) -> tuple[Migration, ...]:
    """(table of the record, what its column holds) of every path that is a migration of another tool, sorted."""
    found = {match[min(match.re.groups, 1)] for path in paths if (match := re.search(record.files, path))}
    return tuple((record.table, name) for name in sorted(found))


def _parts(version: str) -> tuple[int, ...]:
    """A version of Flyway to compare by: `1.0` is `1`, and `1.10` is newer than `1.9`."""
    parts = [int(part) for part in re.split(r"[._]", version) if part.isdigit()]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _spelt(version: str) -> str:
    return ".".join(map(str, _parts(version)))


def alembic_heads(texts: Iterable[str]) -> list[str]:
    """The revisions that no other revision builds on, sorted: what `alembic heads` prints."""
    found = [{m[1]: re.findall(r"""["']([^"']+)["']""", m[2]) for m in _REVISION.finditer(text)} for text in texts]
    own = {revision for one in found for revision in one.get("revision", [])}
    return sorted(own - {below for one in found for below in one.get("down_revision", [])})


FLYWAY, FLYWAY_BASELINE = "flyway", "flyway baseline"
_VERSIONED = re.compile(r"^(?!(?:.*/)?tests?/)(?:.*/)?V(\d+(?:[._]\d+)*)__[^/]+\.(?:sql|java|kt)$")
ALEMBIC = re.compile(r"(?:^|/)versions/[^/]+\.py$")
_REVISION = re.compile(r"^(revision|down_revision)\s*(?::[^=\n]*)?=\s*(\([^)]*\)|[^\n]*)", re.MULTILINE)
