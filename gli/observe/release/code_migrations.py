"""The migrations that the deployed code expects in the database, and what they make there."""

from __future__ import annotations

from collections.abc import Mapping

from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.git_history import history, revision
from gli.observe.release.git_refs import TIMEOUT_S
from gli.observe.release.migrations import Squash


class CodeSchema(Observation):
    """What the migrations of the deployed code make in the database."""

    squashes: tuple[Squash, ...] = ()
    """The migrations that replace others."""
    columns: tuple[str, ...] = ()
    """`table.column` of every column that is certain, sorted; empty for another tool than Django."""
    whole_tables: tuple[str, ...] = ()
    """The tables of which every column is certain, sorted."""
    numbered: tuple[str, ...] = ()
    """`table.column` of those that the database numbers by itself, sorted."""
    widths: Mapping[str, int] = {}
    """`table.column` to the most characters that the code puts into it, where a migration tells."""
    bytes: Mapping[str, int] = {}
    """`table.column` to the bytes of the whole numbers that the code puts into it."""
    kinds: Mapping[str, str] = {}
    """`table.column` to the kind of the values that the code puts into it: `number`, `text`, `timestamp`."""
    digits: Mapping[str, tuple[int, int]] = {}
    """`table.column` to the digits before and after the point of the numbers that the code puts into it."""
    points: tuple[str, ...] = ()
    """`table.column` of every foreign key, sorted."""
    nullable: tuple[str, ...] = ()
    """`table.column` of every column into which the code puts NULL, sorted."""
    unique: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(table, columns) of everything that is unique, sorted; primary keys apart."""


@probe(deadline=TIMEOUT_S)
async def code_migrations(observer: Observer) -> tuple[tuple[str, str], ...]:
    """(app, migration) of every migration that the database should have, sorted."""
    assert observer.environment.database is not None, "asked only of environments with a database"
    repository = observer.environment.database.migrations
    await observer.see(revision, repository)  # raises if the branch does not exist
    return (await observer.see(history, repository)).migrations


@probe(deadline=TIMEOUT_S)
async def code_schema(observer: Observer) -> CodeSchema:
    """What the migrations of the environment's branch make: see `code_migrations`. Empty where nobody compares them."""
    assert observer.environment.database is not None, "asked only of environments with a database"
    repository = observer.environment.database.migrations
    if not repository or observer.environment.git is None:
        return CodeSchema()
    await observer.see(revision, repository)  # raises if the branch does not exist
    seen = await observer.see(history, repository)
    return CodeSchema(
        squashes=seen.squashes,
        columns=seen.columns,
        whole_tables=seen.whole_tables,
        numbered=seen.numbered,
        widths=seen.widths,
        bytes=seen.bytes,
        kinds=seen.kinds,
        digits=seen.digits,
        points=seen.points,
        nullable=seen.nullable,
        unique=seen.unique,
    )
