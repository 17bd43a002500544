"""PostgreSQL: the application's own login, and the server's state as a least-privilege role sees it.

Every session is read-only, with a statement timeout; every statement is one of `gli.observe.engine.sql`. Source of
truth: the PostgreSQL manual (error codes in appendix A).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gli.common.sentences import Said, phrase
from gli.config import rds_roots
from gli.config.data_tier import Database
from gli.observe.data.places import database_place
from gli.observe.data.secrets import credentials, secrets
from gli.observe.edge.tcp import TcpConnection, answering_port
from gli.observe.engine.guard import refuse_sql_writes
from gli.observe.engine.observation import Cause, Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.engine.sql import (
    ANSWERS,
    DATABASE_STATE_LIMITS,
    DATABASE_STATES,
    FIRST_WITH_COLLATION_VERSIONS,
    IS_DIRTY,
    IS_DONE,
    OTHER_RECORD,
    OUTGROWN_COLLATIONS,
    READ_ONLY_SESSION,
    RECORD_TABLES,
    RECORDS,
)

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Composed

_TIMEOUT_S = 5
_LEAST = 19  # of a thread's share of the processor: setpriority(2)
_NOT_ALLOWED, _NO_RECORD = "42501", ("42P01", "42703")  # the table or the column is not there
_MEANING = {
    "28P01": phrase("wrong password"),
    "28000": phrase("the server refuses this user, host or a session without TLS (pg_hba)"),
    "3D000": phrase("the database does not exist"),
    "53300": phrase("too many connections"),
    "42501": phrase("the role may not connect"),
    "57P03": phrase("the server is starting up or shutting down"),
}


class Login(Observation):
    """The result of a login."""

    secret: str
    user: str
    ok: bool
    encrypted: bool = False
    sqlstate: str | None = None
    error: Said | None = None


class Session(Observation):
    """A client's session that has a transaction open, or waits for a lock."""

    pid: int
    user: str | None
    application: str | None
    idle: bool
    """The session is idle in a transaction: it holds locks and does nothing."""
    open_s: float
    """Seconds since its transaction began."""
    waits_s: float
    """Seconds that it has waited for a lock; 0: it does not wait."""
    blocked_by: tuple[int, ...] = ()

    def __str__(self) -> str:
        return phrase("pid {} ({}, {})", self.pid, self.user, self.application or phrase("no application name"))


class Slot(Observation):
    """A replication slot, which keeps the write-ahead log until its reader has read it."""

    name: str
    active: bool
    state: str | None = None
    """`wal_status`: `reserved`, `extended`, `unreserved` or `lost`; None: the slot keeps nothing."""

    def __str__(self) -> str:
        return f"{self.name} ({self.state})" if self.state else self.name


class Prepared(Observation):
    """A transaction that was prepared for a two-phase commit, and was neither committed nor rolled back since."""

    name: str
    user: str | None
    open_s: float
    """Seconds since it was prepared."""


class DatabaseState(Observation):
    """The server's state, as the suite's own role sees it."""

    connections: int
    max_connections: int
    recorded: tuple[tuple[str, str], ...] | None
    """(app, migration) of every migration that the database has on record, sorted; None: see `unread`."""
    unread: Said = ""
    """Why the record of migrations could not be read."""
    without_record: bool = False
    """The role finds no table with the record of migrations."""
    hidden: int
    """How many sessions the suite's role may not see, without those of `rdsadmin`, AWS's own user."""
    sessions: tuple[Session, ...]
    tables: tuple[str, ...]
    """The names of all tables and views, sorted, without those of PostgreSQL itself."""
    invalid_indexes: tuple[str, ...]
    """Indexes that PostgreSQL updates but never uses, without those that are being built now."""
    slots: tuple[Slot, ...] = ()
    """The replication slots that outlive a session, sorted by name."""
    ages: tuple[tuple[str, int], ...] = ()
    """(database, age of its oldest transaction or multixact id that is not frozen), the oldest first."""
    columns: tuple[str, ...] = ()
    """`table.column` of every table, sorted; empty where another tool than Django migrates."""
    outgrown: tuple[str, ...] = ()
    """The collations whose rules changed since the indexes were built, by a newer library of the operating system:
    `of the database`, or the name of one that an index uses. Before PostgreSQL 15, nobody can tell.
    """
    prepared: tuple[Prepared, ...] = ()
    """The prepared transactions of this database, the oldest first: they keep locks without a session."""

    @property
    def applied(self) -> tuple[tuple[str, str], ...]:
        """The migrations on record. Raises `Unobserved` where the suite's role can't read them."""
        if self.recorded is None:
            raise unknown("not-found" if self.without_record else "access-denied", self.unread)
        return self.recorded


@probe(deadline=8, after=[secrets])
async def database_port(observer: Observer, database: Database) -> TcpConnection:
    """Whether the database's port opens, at the address in the application's secret."""
    place = await database_place(observer, database, database.secret)
    return await answering_port(observer, place.host, place.port)


@probe(deadline=10, after=[secrets])
async def application_login(observer: Observer, database: Database) -> Login:
    """A login with the application's own credentials, and `SELECT 1`."""
    return await _login(observer, database, database.secret, ANSWERS)


@probe(deadline=10, after=[secrets])
async def database_state(observer: Observer, database: Database) -> DatabaseState:
    """Connections, migrations, open transactions and the schema, in one statement, with the suite's credentials.
    Where the role can't read the record of migrations, everything else is asked.
    """
    import psycopg

    unread: Said = ""
    without_record = False
    try:
        async with await connect(observer, database, database.verify_secret) as connection:
            try:
                row = await _whole_state(observer, connection, database)
            except psycopg.Error as e:
                if e.sqlstate not in (_NOT_ALLOWED, *_NO_RECORD):
                    raise
                without_record = e.sqlstate in _NO_RECORD
                row = await row_of(observer, connection, DATABASE_STATES[_without_record(database)])
                unread = _why_unread(database, e, row[5])
            outgrown: tuple[str, ...] = ()
            if connection.info.server_version >= FIRST_WITH_COLLATION_VERSIONS:
                outgrown = tuple((await row_of(observer, connection, OUTGROWN_COLLATIONS))[0])
    except psycopg.Error as e:
        state, why = _told_apart(e)
        await _refuse_without_roots(observer, database, database.verify_secret, why)
        cause: Cause = "access-denied" if state in ("28P01", "28000", "42501") else "unreachable"
        raise unknown(
            cause, phrase("the suite's own role ({}) could not look: {}", database.verify_secret, why)
        ) from None
    refuse_cut(database.verify_secret, row, DATABASE_STATE_LIMITS)
    return DatabaseState(
        connections=row[0],
        max_connections=row[1],
        recorded=None if unread else tuple((str(app), str(name)) for app, name in row[2]),
        unread=unread,
        without_record=without_record,
        hidden=row[3],
        sessions=tuple(Session.model_validate(session) for session in row[4]),
        tables=tuple(row[5]),
        invalid_indexes=tuple(row[6]),
        slots=tuple(Slot.model_validate(slot) for slot in row[7]),
        ages=tuple((str(name), int(age)) for name, age in row[8]),
        columns=tuple(row[9]),
        outgrown=outgrown,
        prepared=tuple(Prepared.model_validate(each) for each in row[10]),
    )


async def _whole_state(observer: Observer, connection: psycopg.AsyncConnection[Any], database: Database) -> list[Any]:
    """The row of a state with the record of migrations: in one statement, if the role's search_path finds its table."""
    if not database.migrations:
        return list(await row_of(observer, connection, DATABASE_STATES["nothing"]))
    if not (database.record or database.migrations_schema):
        return list(await row_of(observer, connection, DATABASE_STATES[database.migrated_by]))
    (found,) = await row_of(observer, connection, _record(database))
    row = list(await row_of(observer, connection, DATABASE_STATES[_without_record(database)]))
    row[2] = [(database.record.table, name) for name in found] if database.record else found
    return row


def _without_record(database: Database) -> str:
    return "django, record unread" if database.by_django and database.migrations else "nothing"


def _table(database: Database) -> str:
    return database.record.table if database.record else RECORD_TABLES[database.migrated_by]


def _record(database: Database) -> Composed:
    """The statement that reads the record of migrations, in its own schema or of another tool."""
    from psycopg import sql

    table = sql.Identifier(*filter(None, (database.migrations_schema, _table(database))))
    if (record := database.record) is None:
        return sql.SQL(RECORDS[database.migrated_by]).format(table)
    done = sql.SQL(IS_DONE).format(sql.Identifier(record.done)) if record.done else sql.SQL("")
    dirty = sql.SQL(IS_DIRTY).format(sql.Identifier(record.dirty)) if record.dirty else sql.SQL("")
    return sql.SQL(OTHER_RECORD).format(sql.Identifier(record.column), dirty, table, done)


def _why_unread(database: Database, error: psycopg.Error, tables: Sequence[str]) -> Said:
    who, why = database.verify_secret, error.diag.message_primary or ""
    if error.sqlstate == _NOT_ALLOWED:
        return phrase(
            "the role of {} can't read which migrations were applied ({}): grant it SELECT on their table", who, why
        )
    if error.sqlstate == _NO_RECORD[0] and _table(database) in tables and not database.migrations_schema:
        return phrase(
            "the role of {} finds no record of the migrations ({}): its schema is not in the role's search_path; "
            "name it in database.migrations_schema",
            *(who, why),
        )
    return phrase("the role of {} finds no record of the migrations ({})", who, why)


def refuse_cut(secret_id: str, row: Sequence[Any], limits: Mapping[int, tuple[int, str]]) -> None:
    """Raises `Unobserved` if the database holds more than a statement takes: a column is longer than its limit."""
    for column, (most, what) in limits.items():
        if len(row[column]) > most:
            said = phrase("the database of {} has more than {} {}", secret_id, most, what)
            raise unknown("too-little-data", said)


@probe(deadline=10)
async def sessions(observer: Observer, database: Database) -> tuple[Session, ...]:
    """Every client's session with an open transaction. Raises `Unobserved` if the suite's role can't see them all."""
    state = await observer.see(database_state, database)
    if state.hidden:
        raise unknown(
            "access-denied",
            phrase(
                "the role of {} sees nothing of {} sessions: grant it pg_monitor", database.verify_secret, state.hidden
            ),
        )
    return state.sessions


async def _login(observer: Observer, database: Database, secret_id: str, statement: str) -> Login:
    import psycopg

    user = (await credentials(observer, database, secret_id)).get("username", "")
    try:
        async with await connect(observer, database, secret_id) as connection:
            await row_of(observer, connection, statement)
            return Login(secret=secret_id, user=user, ok=True, encrypted=bool(connection.pgconn.ssl_in_use))
    except psycopg.Error as e:
        state, why = _told_apart(e)
        await _refuse_without_roots(observer, database, secret_id, why)
        return Login(secret=secret_id, user=user, ok=False, sqlstate=state, error=why)


async def _refuse_without_roots(observer: Observer, database: Database, secret_id: str, why: str) -> None:
    """Raises `Unobserved` if a server of RDS could not be verified because the CAs of RDS were not fetched."""
    host = (await credentials(observer, database, secret_id)).get("host", "")
    without = observer.environment.tls.database_ca_file is None and rds_roots.HOST.fullmatch(host)
    if without and "certificate verify failed" in why:
        raise unknown(
            "error",
            phrase(
                "{} can't be verified: no system holds the CAs of Amazon RDS; fetch them with `gli rds-roots` ({})",
                host,
                why,
            ),
        )


async def connect(observer: Observer, database: Database, secret_id: str) -> psycopg.AsyncConnection[Any]:
    """Opens a read-only session, whatever rights the role has."""
    import psycopg

    place = await database_place(observer, database, secret_id)
    document = await credentials(observer, database, secret_id)
    address, port = observer.dial.address(place.host, place.port)
    if address == place.host and place.name != place.host:
        address = await _resolved(place.host)
    observer.count("postgres")
    try:
        with observer.phase("connect"):
            opening = psycopg.AsyncConnection.connect(
                host=place.name,  # the name that the certificate must cover; hostaddr is the address
                hostaddr=address if address != place.name else None,
                port=port,
                user=document.get("username"),
                password=document.get("password"),
                dbname=place.database,
                sslmode="disable" if document.get("tls") == "false" else "verify-full",
                require_auth=database.require_auth,
                sslrootcert=observer.dial.roots_of("database"),
                connect_timeout=_TIMEOUT_S,
                application_name="gli-verify",
                autocommit=True,
            )
            connection = await _opened(opening)
    except psycopg.errors.ConnectionTimeout:
        observer.over(_TIMEOUT_S)
        await answering_port(observer, place.host, place.port)
        raise
    try:
        await row_of(observer, connection, READ_ONLY_SESSION)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _opened(opening: Coroutine[Any, Any, psycopg.AsyncConnection[Any]]) -> psycopg.AsyncConnection[Any]:
    """Waits for a session that a thread opens: a server may ask for any number of rounds of the password's hash, and
    libpq makes them all at once. Nothing ends such a thread, so it gives way to all others where nobody waits any more.
    """
    thread: list[int] = []

    def open_() -> psycopg.AsyncConnection[Any]:
        thread.append(threading.get_native_id())
        return asyncio.run(opening)

    try:
        return await asyncio.to_thread(open_)
    except asyncio.CancelledError:
        if sys.platform == "linux" and thread:  # elsewhere, the number may be that of another process
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread[0], _LEAST)
        raise


async def _resolved(host: str) -> str:
    """The first address of a host. Needed if the server's certificate covers another name than the host's."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as e:
        raise unknown("unreachable", phrase("{} has no address: {}", host, e.strerror)) from None
    return str(found[0][4][0])


async def row_of(observer: Observer, connection: psycopg.AsyncConnection[Any], statement: str | Composed) -> Any:
    """The first row of a statement of `gli.observe.engine.sql`."""
    refuse_sql_writes(statement)
    observer.count("postgres")
    with observer.phase("query"):
        cursor = await connection.execute(statement)
        return await cursor.fetchone()


def _told_apart(error: psycopg.Error) -> tuple[str | None, str]:
    """(SQLSTATE, sentence). libpq gives no SQLSTATE for a refused connection: the message tells it."""
    text = " ".join(str(error).split())
    state = error.sqlstate
    if state == "42501":  # of a statement: a refused session has no SQLSTATE
        return state, text
    if state is None:
        marks = {"28P01": "password authentication failed", "3D000": "does not exist", "53300": "too many"}
        marks["28000"] = "pg_hba"
        marks["42501"] = "permission denied for database"
        state = next((s for s, mark in marks.items() if mark in text), None)
    meaning = _MEANING.get(state or "")
    return state, phrase("{} ({})", meaning, text) if meaning else text
