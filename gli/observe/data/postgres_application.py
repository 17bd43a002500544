"""What the application's own role may do in PostgreSQL, from the server's catalogues: nothing is written.

A session of the suite is read-only, which hides a database that takes no writes. So each fact is a setting or a
right of the role, not a trial. Source of truth: the PostgreSQL manual (access privilege inquiry functions in section
9.26, pg_settings in 53.25, pg_sequences in 53.21, pg_depend in 51.18).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Several
from datetime import datetime
from typing import TYPE_CHECKING

from gli.common.sentences import phrase
from gli.config.data_tier import Database
from gli.observe.data.postgres import application_login, connect, refuse_cut, row_of
from gli.observe.data.secrets import secrets
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.engine.sql import APPLICATION_RIGHTS, COMMA, LARGEST, MOST_COLUMNS, MOST_TABLES, NUMBERS, TAKEN

if TYPE_CHECKING:
    from psycopg.sql import Composed

_NEXT = 1000
"""How many of a sequence's next numbers must be free in its column."""


_LIMITS = {
    5: (MOST_TABLES, phrase("tables")),
    6: (MOST_TABLES, phrase("sequences")),
    12: (MOST_COLUMNS, phrase("columns")),
    13: (MOST_TABLES, phrase("tables")),
}


class Denied(Observation):
    """A table on which the application's role lacks rights."""

    table: str
    """The name without its schema, as the application's migrations know it."""
    lacks: tuple[str, ...]
    """The privileges that the role lacks; `rows`: row security hides every row; `its schema in search_path`: a new
    session does not find the table by its name."""


class NumberSequence(Observation):
    """A sequence that fills a column."""

    schema_name: str
    table: str
    column: str
    last: int
    """The last number that it gave, or that before the first; if the role may not see it, its column's largest."""
    limit: int
    """The largest number that both the sequence and the column's type allow."""
    taken: bool = False
    """One of its next numbers is in the column already: an insert will fail."""

    @property
    def used(self) -> float:
        """The used share of its numbers, 0 to 1."""
        return self.last / self.limit


class SwitchedOff(Observation):
    """What PostgreSQL does for every table by itself, and somebody switched off. Tables are sorted by name."""

    settings: tuple[str, ...] = ()
    """`autovacuum` or `track_counts` that are off; `session_replication_role` if new sessions of the application fire
    neither triggers nor foreign keys."""
    unlogged: tuple[str, ...] = ()
    """The tables that a crash empties, and that no standby has."""
    unvacuumed: tuple[str, ...] = ()
    """The tables without autovacuum."""
    unenforced: tuple[str, ...] = ()
    """The tables whose foreign keys are not enforced: DISABLE TRIGGER ALL."""


class Constraints(Observation):
    """What the tables demand of their rows."""

    unique: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(table, columns) of each unique index of all rows."""
    points: tuple[str, ...] = ()
    """`table.column` of each foreign key."""
    filled: tuple[str, ...] = ()
    """`table.column` of each column that takes no NULL, and that no trigger may fill."""
    bytes: Mapping[str, int] = {}
    """`table.column` of each whole number of less than 8 bytes to its bytes."""
    types: Mapping[str, str] = {}
    """`table.column` to its type, as in `numeric(8,2)`, for each column of a type that PostgreSQL itself has."""
    computed: tuple[str, ...] = ()
    """`table.column` of each column that takes no value: PostgreSQL computes or numbers it always."""


class Migrating(Observation):
    """Whether the application's role applies the migrations, and what keeps it from the next one."""

    migrates: bool = False
    """It owns the record of the migrations."""
    may_create: bool = True
    """It may make tables in the schema where new ones are made."""
    of_others: tuple[str, ...] = ()
    """The tables that it may not alter, as a role that is not a member of it owns them; sorted."""


class ApplicationRights(Observation):
    """What the application's role may do, as a new session of this role finds it."""

    user: str
    recovering: bool
    """The server is a standby: it takes no writes."""
    read_only: bool
    """New sessions of the application begin read-only, by a setting of the server, the database or the role."""
    taken: datetime
    """The server's time."""
    valid_until: datetime | None
    """When the role's password ends; None: never."""
    denied: tuple[Denied, ...]
    """Tables of all schemas, sorted by name, on which it lacks a right, without PostgreSQL's own and extensions'."""
    role_connections: tuple[int, int] = (-1, 0)
    """(the most sessions that the role may have, those that it has); -1: no limit of its own."""
    database_connections: tuple[int, int] = (-1, 0)
    """The same for the database."""
    waits_for_standby: bool = False
    """Each commit waits for a standby by name (`synchronous_standby_names`), and no standby is connected."""
    hasty: tuple[tuple[str, int], ...] = ()
    """(setting, milliseconds) of each time limit of its sessions that is too short for a statement."""
    failing: tuple[tuple[str, str], ...] = ()
    """(setting, value) of each setting with which statements fail that are right: a stricter isolation than `read
    committed`, no room for temporary files."""
    swallowed: tuple[str, ...] = ()
    """The tables whose inserts a rule or a trigger replaces by nothing: the server says that all is well."""
    refused: tuple[str, ...] = ()
    """The tables that refuse every insert: CHECK (false), or a trigger that raises whatever the row holds."""
    unchanging: tuple[str, ...] = ()
    """The tables whose rows nobody may change or delete: a trigger refuses, or a rule makes nothing of that."""
    frozen: tuple[str, ...] = ()
    """The event triggers that refuse every change of the schema."""
    without_partition: tuple[str, ...] = ()
    """The tables partitioned by time that have no partition for the hour to come, and no default."""
    demanded: tuple[tuple[str, str], ...] = ()
    """(table, column) of each column that every insert must name: NOT NULL, and nothing fills it."""
    widths: Mapping[str, int] = {}
    """`table.column` to the most characters that it takes, for each column that has a limit."""
    keyless: tuple[str, ...] = ()
    """The tables without a primary key, sorted."""
    switched_off: SwitchedOff = SwitchedOff()
    constraints: Constraints = Constraints()
    migrating: Migrating = Migrating()
    shadowed: tuple[tuple[str, str, str], ...] = ()
    """(table, schema, schema) of each name under which a session finds an empty table in the first schema, while the
    table in the second, later in the search path, has rows."""
    sequences: tuple[NumberSequence, ...]
    """Those whose column an index can search, and which the role may read."""


@probe(deadline=15, after=[secrets])
async def application_rights(observer: Observer, database: Database) -> ApplicationRights:
    """The application's rights, from a session with its own credentials. Raises `Unobserved` if it can't log in."""
    import psycopg

    login = await observer.see(application_login, database)
    if not login.ok:
        raise unknown("dependency", phrase("{} could not log in: {}", login.user, login.error))
    try:
        async with await connect(observer, database, database.secret) as connection:
            row = await row_of(observer, connection, APPLICATION_RIGHTS)
            user, recovering, read_only, taken, until, denied, numbered, of_role, of_database, waits, *inserts = row
            refuse_cut(database.secret, row, _LIMITS)
            numbered = [number for number in numbered if number.pop("findable")]
            if numbered:
                in_columns, *_ = await row_of(observer, connection, _in_columns(numbered))
                for number, found in zip(numbered, in_columns, strict=True):
                    number["taken"] = number["seen"] and found > 0
                    number["last"] = number["last"] if number.pop("seen") else found
    except psycopg.Error as e:
        text = " ".join(str(e).split())
        raise unknown("error", phrase("the rights of {} could not be read: {}", login.user, text)) from None
    return ApplicationRights(
        user=user,
        recovering=recovering,
        read_only=read_only,
        taken=taken,
        valid_until=until,
        denied=tuple(Denied.model_validate(table) for table in denied),
        role_connections=tuple(of_role),
        database_connections=tuple(of_database),
        waits_for_standby=waits,
        hasty=tuple((name, limit) for name, limit in inserts[0]),
        swallowed=tuple(inserts[1]),
        demanded=tuple((table, column) for table, column in inserts[2]),
        keyless=tuple(inserts[3]),
        switched_off=SwitchedOff.model_validate(inserts[4]),
        refused=tuple(inserts[5]),
        frozen=tuple(inserts[6]),
        without_partition=tuple(inserts[7]),
        failing=tuple((name, value) for name, value in inserts[8]),
        unchanging=tuple(inserts[9]),
        widths=inserts[10],
        constraints=Constraints.model_validate(inserts[11]),
        migrating=Migrating.model_validate(inserts[12]),
        shadowed=tuple((table, first, second) for table, first, second in inserts[13]),
        sequences=tuple(NumberSequence.model_validate(number) for number in numbered),
    )


def _in_columns(numbered: Several[dict[str, object]]) -> Composed:
    """For each sequence, how many of its next numbers its column holds. An index answers it.

    For a sequence that the role may not see (another role owns the identity column), the column's largest number.
    """
    from psycopg import sql

    asked = []
    for n in numbered:
        table, column = sql.Identifier(str(n["schema_name"]), str(n["table"])), sql.Identifier(str(n["column"]))
        if n["seen"]:
            first, last = sql.Literal(n["last"]), sql.Literal(int(str(n["last"])) + _NEXT)
            asked.append(sql.SQL(TAKEN).format(table, column, first, column, last))
        else:
            asked.append(sql.SQL(LARGEST).format(column, table))
    return sql.SQL(NUMBERS).format(sql.SQL(COMMA).join(asked))
