"""A developer's own database: a SQLite file, opened read-only.

Source of truth: the SQLite documentation (URI file names with mode=ro, PRAGMA integrity_check).
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from gli.common.sentences import Said, phrase
from gli.config.data_tier import Sqlite
from gli.observe.engine.guard import refuse_sql_writes
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.engine.sql import MOST_MIGRATIONS, SQLITE_INTEGRITY, SQLITE_MIGRATIONS
from gli.observe.release.migrations import Migration, in_paths

_BUSY_S = 2.0


class SqliteState(Observation):
    """The state of a SQLite file, or why it could not be read."""

    path: str
    error: Said | None = None
    integrity: str | None = None
    """`ok`, or the first error that PRAGMA integrity_check found."""
    applied: tuple[Migration, ...] = ()
    """(app, migration) of every row of django_migrations, sorted."""


@probe()
async def sqlite_state(observer: Observer, sqlite: Sqlite) -> SqliteState:
    """Integrity and applied migrations of the file."""
    observer.count("sqlite")
    return await asyncio.to_thread(_state, Path(sqlite.path))


@probe()
async def working_tree_migrations(observer: Observer, sqlite: Sqlite) -> tuple[Migration, ...]:
    """(app, migration) of every migration file in the developer's working tree, sorted."""
    tree = Path(sqlite.code)
    paths = await asyncio.to_thread(lambda: [p.as_posix() for p in tree.rglob("migrations/*.py")])
    return in_paths(paths)


def _state(path: Path) -> SqliteState:
    if not path.is_file():
        return SqliteState(path=str(path), error=phrase("there is no such file"))
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_S)) as connection:
            integrity = _rows(connection, SQLITE_INTEGRITY)[0][0]
            rows = _rows(connection, SQLITE_MIGRATIONS)
    except sqlite3.Error as e:
        return SqliteState(path=str(path), error=str(e))
    if len(rows) > MOST_MIGRATIONS:
        raise unknown("too-little-data", phrase("{} has more than {} {}", path, MOST_MIGRATIONS, phrase("migrations")))
    return SqliteState(path=str(path), integrity=integrity, applied=tuple((str(a), str(n)) for a, n in rows))


def _rows(connection: sqlite3.Connection, statement: str) -> list[tuple[str, ...]]:
    refuse_sql_writes(statement)
    return connection.execute(statement).fetchall()
