"""PostgreSQL as the application reaches it: the port, the application's own login, the schema, the free connections."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.engine.sql import DIRTY
from gli.observe.release.migrations import Migration, difference

if TYPE_CHECKING:
    from gli.config.data_tier import Database
    from gli.observe.data.postgres import DatabaseState, Login, Session
    from gli.observe.data.postgres_application import ApplicationRights, Constraints
    from gli.observe.edge.tcp import TcpConnection
    from gli.observe.release.code_migrations import CodeSchema

MOST_USED = 0.7
MOST_NUMBERS = 0.9
OLDEST = 1_000_000_000
"""The age of a transaction id at which AWS advises to act; at 2**31 PostgreSQL takes no writes any more."""
PASSWORD_LASTS = timedelta(days=7)
_NOT_FOUND = "its schema in search_path"
_REPLICA = "session_replication_role"
_HISTORY = "django_migrations"
"""The history of migrations may belong to the role that migrates alone."""


def test_db_tcp_reachable(database_port: TcpConnection) -> None:
    """The database's port opens from where the application runs."""
    assert database_port.opened, saw(
        database_port.error, expected=phrase("a connection to {}:{}", database_port.host, database_port.port)
    )


def test_db_credentials_valid(application_login: Login) -> None:
    """The credentials that the application finds in Secrets Manager really log in."""
    assert application_login.ok, saw(
        application_login.error,
        expected=phrase("{} to log in with {}", application_login.user, application_login.secret),
    )


def test_db_tls_in_use(application_login: Login) -> None:
    """The application's session is encrypted."""
    assert application_login.encrypted, saw(
        application_login.error or phrase("a plain session"), expected=phrase("a session encrypted with TLS")
    )


def test_db_migrations_applied(
    database_state: DatabaseState, code_migrations: Sequence[Migration], code_schema: CodeSchema, target: Database
) -> None:
    """The database has every migration of the deployed code, whole, and none that the code lacks."""
    assert code_migrations, saw(phrase("none"), expected=phrase("migrations in the code"))
    halves = [f"{app}.{name}" for app, name in database_state.applied if name.endswith(DIRTY)]
    assert not halves, saw(listed(halves), expected=phrase("no migration that is half applied"))
    newest_only = target.record is not None and target.record.newest_only
    pending, unknown = difference(
        code_migrations, database_state.applied, code_schema.squashes, newest_only=newest_only
    )
    assert not pending, saw(
        phrase("{} pending", listed(pending)), expected=phrase("every migration of the code applied")
    )
    assert not unknown, saw(
        phrase("{}, which the code lacks", listed(unknown)), expected=phrase("only migrations of the code")
    )


def test_db_schema_expected(
    database_state: DatabaseState, application_rights: ApplicationRights, code_schema: CodeSchema, target: Database
) -> None:
    """The expected tables exist, with a primary key and each column of the code's migrations, as long as they make it
    and of its type, and with their unique constraints and foreign keys: a migration can be on record without having run
    (--fake). The tables survive a crash, and their foreign keys are in force.
    """
    missing = sorted(set(target.tables) - set(database_state.tables))
    assert not missing, saw(phrase("no {}", listed(missing)), expected=phrase("the tables of {}", target.instance))
    there, made = set(database_state.columns), {column.partition(".")[0] for column in database_state.columns}
    lost = [column for column in code_schema.columns if column.partition(".")[0] in made and column not in there]
    assert not lost, saw(
        phrase("no {}", listed(lost)), expected=phrase("the columns that the migrations of the code make")
    )
    widths = application_rights.widths
    narrow = [
        phrase("{} takes {} characters", column, widths[column])
        for column, most in sorted(code_schema.widths.items())
        if widths.get(column, most) < most and column in code_schema.columns
    ]
    assert not narrow, saw(listed(narrow), expected=phrase("columns as long as the migrations of the code make them"))
    rights = application_rights
    found = {column.partition(".")[0] for column in rights.constraints.types} | {each.table for each in rights.denied}
    unfound = sorted(({column.partition(".")[0] for column in there} & {*target.tables}) - found)
    assert not unfound, saw(
        phrase("no {} in its database", listed(unfound)),
        expected=phrase("{} to find the application's tables", rights.user),
    )
    known = {*target.tables, *code_schema.whole_tables}
    shadowed = [phrase("{} empty in {}, and filled in {}", *s) for s in application_rights.shadowed if s[0] in known]
    assert not shadowed, saw(listed(shadowed), expected=phrase("one table of each name in search_path"))
    hidden = {denied.table for denied in application_rights.denied if _NOT_FOUND in denied.lacks}
    _typed(application_rights.constraints, code_schema)
    _constrained(application_rights.constraints, code_schema, made - hidden)
    keyless = sorted(set(application_rights.keyless) & set(code_schema.whole_tables))
    assert not keyless, saw(
        phrase("none on {}", listed(keyless)), expected=phrase("the primary key of each table of the migrations")
    )
    _whole(application_rights, code_schema)


_TAKES = {
    "number": ("smallint", "integer", "bigint", "numeric"),
    "text": ("character varying", "text", "character", '"char"', "name"),
    "boolean": ("boolean",),
    "date": ("date",),
    "timestamp": ("timestamp with time zone", "timestamp without time zone"),
    "time": ("time without time zone", "time with time zone"),
    "interval": ("interval",),
    "decimal": ("numeric",),
    "float": ("double precision", "numeric", "real"),
    "uuid": ("uuid",),
    "json": ("jsonb", "json"),
    "bytes": ("bytea",),
    "address": ("inet", "cidr"),
}
"""The kind of what Django puts into a column to PostgreSQL's own types that take all of its values."""
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")


def _typed(there: Constraints, code: CodeSchema) -> None:
    """Asserts that each column has a type that takes what the code puts into it. A type of somebody's own may."""
    own = set(code.columns)
    strange = [
        phrase("{} is {}", column, there.types[column])
        for column, kind in sorted(code.kinds.items())
        if column in own and column in there.types and re.sub(r"\(.*?\)", "", there.types[column]) not in _TAKES[kind]
    ]
    assert not strange, saw(
        listed(strange), expected=phrase("columns of the types that the migrations of the code make")
    )
    narrow = [
        phrase("{} is {}", column, there.types[column])
        for column, (before, after) in sorted(code.digits.items())
        if column in own
        and (found := _NUMERIC.fullmatch(there.types.get(column, "")))
        and (int(found[1]) - int(found[2]) < before or int(found[2]) < after)
    ]
    assert not narrow, saw(listed(narrow), expected=phrase("columns as long as the migrations of the code make them"))


def _constrained(there: Constraints, code: CodeSchema, made: Collection[str]) -> None:
    """Asserts that the database demands of rows what the migrations say, and takes NULL where the code has it."""
    own = set(code.columns)
    small = [
        phrase("{} has {} bytes", column, there.bytes[column])
        for column, size in sorted(code.bytes.items())
        if there.bytes.get(column, size) < size and column in own
    ]
    assert not small, saw(listed(small), expected=phrase("columns as long as the migrations of the code make them"))
    indexes = [(table, set(columns)) for table, columns in there.unique]
    loose = [
        f"{table} ({', '.join(columns)})"
        for table, columns in code.unique
        if table in made and not any(table == other and has <= set(columns) for other, has in indexes)
    ]
    assert not loose, saw(
        phrase("not unique: {}", listed(loose)), expected=phrase("the unique constraints of the code's migrations")
    )
    open_ends = sorted(p for p in set(code.points) - set(there.points) if p.partition(".")[0] in made)
    assert not open_ends, saw(
        phrase("none on {}", listed(open_ends)), expected=phrase("the foreign keys of the code's migrations")
    )
    strict = sorted(set(code.nullable) & set(there.filled))
    assert not strict, saw(
        phrase("NOT NULL: {}", listed(strict)), expected=phrase("columns that may be NULL, as the migrations say")
    )


def _whole(rights: ApplicationRights, code: CodeSchema) -> None:
    """Asserts that PostgreSQL keeps the rows of the migrations' tables, and enforces their foreign keys."""
    off, own = rights.switched_off, set(code.whole_tables)
    unlogged, unenforced = sorted({*off.unlogged} & own), sorted({*off.unenforced} & own)
    assert not unlogged, saw(
        phrase("{} UNLOGGED", listed(unlogged)), expected=phrase("tables that a crash does not empty")
    )
    assert not unenforced, saw(
        phrase("triggers of {} disabled", listed(unenforced)), expected=phrase("foreign keys that are in force")
    )
    assert _REPLICA not in off.settings, saw(
        phrase("session_replication_role is replica"), expected=phrase("foreign keys that are in force")
    )


def test_db_vacuum_runs(application_rights: ApplicationRights, code_schema: CodeSchema) -> None:
    """PostgreSQL cleans the application's tables by itself and knows their sizes: without autovacuum they grow, and
    queries are planned by old numbers.
    """
    off = application_rights.switched_off
    settings = [name for name in off.settings if name != _REPLICA]
    assert not settings, saw(phrase("{} off", listed(settings)), expected=phrase("a server that vacuums"))
    tables = sorted({*off.unvacuumed} & {*code_schema.whole_tables})
    assert not tables, saw(
        phrase("autovacuum off on {}", listed(tables)), expected=phrase("autovacuum on each table of the migrations")
    )


def test_db_invalid_indexes(database_state: DatabaseState) -> None:
    """No index was left half built: every write pays for it, and no query uses it."""
    invalid = database_state.invalid_indexes
    assert not invalid, saw(
        phrase("{} invalid", listed(invalid)), expected=phrase("indexes that were built to their end")
    )


def test_db_collation_current(database_state: DatabaseState) -> None:
    """The server sorts texts as it did when their indexes were built. Otherwise an index no longer finds some rows, and
    a unique one takes the same value twice.
    """
    assert not database_state.outgrown, saw(
        phrase("another version of the collation: {}", listed(database_state.outgrown)),
        expected=phrase("indexes that were built with the collations of this server"),
    )


def test_db_connection_headroom(database_state: DatabaseState, application_rights: ApplicationRights) -> None:
    """The server, the database and the application's role have room for a rolling deploy, which doubles the tasks."""
    limits = [(database_state.max_connections, database_state.connections)]
    limits += [application_rights.role_connections, application_rights.database_connections]
    full = [phrase("{} of {}", used, most) for most, used in limits if most >= 0 and used > most * MOST_USED]
    assert not full, saw(listed(full), expected=phrase("at most {:.0%} of the connections in use", MOST_USED))


def test_db_long_transactions(sessions: Sequence[Session], database_state: DatabaseState, target: Database) -> None:
    """No transaction is open for so long that a migration would wait for it, and all other queries for
    the migration; none was prepared for a two-phase commit and forgotten.
    """
    most = {True: target.longest_idle_transaction_s, False: target.longest_transaction_s}
    old = [
        phrase("{}, {:.0f} s and idle" if s.idle else "{}, {:.0f} s", s, s.open_s)
        for s in sessions
        if s.open_s > most[s.idle]
    ]
    old += [
        phrase("{} of {}, prepared {:.0f} s ago", p.name, p.user, p.open_s)
        for p in database_state.prepared
        if p.open_s > most[True]
    ]
    assert not old, saw(
        listed(old),
        expected=phrase("no transaction open for {:.0f} s, or idle and open for {:.0f} s", most[False], most[True]),
    )


def test_db_blocking_locks(sessions: Sequence[Session], target: Database) -> None:
    """No session waits for the lock of another session."""
    stuck = [
        phrase("{} waits for {} since {:.0f} s", s, listed(phrase("pid {}", pid) for pid in s.blocked_by), s.waits_s)
        for s in sessions
        if s.waits_s > target.longest_lock_wait_s
    ]
    assert not stuck, saw(
        listed(stuck), expected=phrase("nobody to wait {:.0f} s for a lock", target.longest_lock_wait_s)
    )


def test_db_next_migration(application_rights: ApplicationRights, code_schema: CodeSchema) -> None:
    """The next migration can run: the role that keeps the record of the migrations may make tables, and owns those that
    the migrations made. Where another role migrates, nothing is judged.
    """
    migrating, user = application_rights.migrating, application_rights.user
    if not migrating.migrates:
        return
    assert migrating.may_create, saw(
        phrase("no right to CREATE in its schema"), expected=phrase("{}, which migrates, to make new tables", user)
    )
    own = {column.partition(".")[0] for column in code_schema.columns}
    foreign = [table for table in migrating.of_others if table in own]
    assert not foreign, saw(
        phrase("{} of another role", listed(foreign)), expected=phrase("{}, which migrates, to own its tables", user)
    )


def test_db_app_grants(application_rights: ApplicationRights, database_state: DatabaseState, target: Database) -> None:
    """The application may read and write every table that its migrations made, and use their sequences.

    A table is the application's own if `tables` names it, or if its name begins with that of a migrated Django app.
    """
    begins = tuple({f"{app}_" for app, _ in database_state.applied} | {"django_"})
    lacking = [
        phrase("no {} on {}", listed(t.lacks), t.table)
        for t in application_rights.denied
        if t.table != _HISTORY
        and (t.table in target.tables or (t.table.startswith(begins) and t.lacks != (_NOT_FOUND,)))
    ]
    assert not lacking, saw(
        listed(lacking), expected=phrase("{} to read and write the application's tables", application_rights.user)
    )


def test_db_writable(application_rights: ApplicationRights) -> None:
    """The database takes the application's writes and the next release's migrations: it is no standby, no setting makes
    sessions read-only, no commit waits for a standby that is gone, and no event trigger refuses changes of the schema.
    """
    assert not application_rights.recovering, saw(phrase("a standby"), expected=phrase("a server that takes writes"))
    assert not application_rights.read_only, saw(
        phrase("default_transaction_read_only is on"),
        expected=phrase("sessions of {} that may write", application_rights.user),
    )
    assert not application_rights.waits_for_standby, saw(
        phrase("synchronous_standby_names, and no standby"), expected=phrase("commits that do not wait for a standby")
    )
    assert not application_rights.frozen, saw(
        phrase("the event trigger {}", listed(application_rights.frozen)),
        expected=phrase("a schema that migrations may change"),
    )


def test_db_inserts_accepted(application_rights: ApplicationRights, code_schema: CodeSchema) -> None:
    """The application's inserts go through: no column wants a value that neither its code nor the database gives, or
    refuses the code's; no rule, trigger or constraint refuses them or makes nothing of them, each has its partition,
    and no setting of its sessions lets statements fail. Rows of the migrations' tables can be changed, unless a
    migration itself forbids it.
    """
    known = set(code_schema.columns)
    strange = [
        f"{table}.{column}"
        for table, column in application_rights.demanded
        if (table in code_schema.whole_tables and f"{table}.{column}" not in known)
        or f"{table}.{column}" in code_schema.numbered
    ]
    assert not strange, saw(
        phrase("{} is NOT NULL and nothing fills it", listed(strange)),
        expected=phrase("tables whose columns the code of this release fills"),
    )
    assert not application_rights.swallowed, saw(
        phrase("a rule or a trigger that makes nothing of it on {}", listed(application_rights.swallowed)),
        expected=phrase("every INSERT to reach its table"),
    )
    assert not application_rights.refused, saw(
        phrase("a rule of {} that refuses every row", listed(application_rights.refused)),
        expected=phrase("every INSERT to reach its table"),
    )
    computed = sorted({*application_rights.constraints.computed} & known - {*code_schema.numbered})
    assert not computed, saw(
        phrase("{} GENERATED ALWAYS", listed(computed)), expected=phrase("columns that take the values of the code")
    )
    kept = sorted({*application_rights.unchanging} & {*code_schema.whole_tables})
    assert not kept, saw(
        phrase("a rule or a trigger that lets no row of {} be changed", listed(kept)),
        expected=phrase("every UPDATE and DELETE to reach its table"),
    )
    assert not application_rights.without_partition, saw(
        phrase("no partition of {} for now", listed(application_rights.without_partition)),
        expected=phrase("a partition for each row of the hour to come"),
    )
    assert not application_rights.hasty, saw(
        listed(phrase("{} {} ms", *each) for each in application_rights.hasty),
        expected=phrase("sessions of {} that have time for a statement", application_rights.user),
    )
    assert not application_rights.failing, saw(
        listed(phrase("{} is {}", *each) for each in application_rights.failing),
        expected=phrase("settings of {} with which its statements work", application_rights.user),
    )


def test_db_sequence_headroom(application_rights: ApplicationRights) -> None:
    """No insert fails for its number: no sequence is near its end, or behind the numbers in its column."""
    faults = [
        phrase("the next numbers of {}.{} are taken", s.table, s.column)
        if s.taken
        else phrase("{:.0%} of the numbers of {}.{} used", s.used, s.table, s.column)
        for s in application_rights.sequences
        if s.taken or s.used > MOST_NUMBERS
    ]
    assert not faults, saw(
        listed(faults), expected=phrase("free numbers, and at most {:.0%} of them used", MOST_NUMBERS)
    )


def test_db_password_lasts(application_rights: ApplicationRights) -> None:
    """The password of the application's role does not end this week: from then on no task can log in."""
    until = application_rights.valid_until
    assert until is None or until - application_rights.taken >= PASSWORD_LASTS, saw(
        phrase("valid until {:%Y-%m-%d %H:%M}", until),
        expected=phrase(
            "the password of {} to be valid for {} days more", application_rights.user, PASSWORD_LASTS.days
        ),
    )


def test_db_txid_age(database_state: DatabaseState) -> None:
    """Vacuum keeps up: no database comes near the age at which PostgreSQL takes no writes any more."""
    old = [phrase("{}: {}", name, age) for name, age in database_state.ages if age > OLDEST]
    assert not old, saw(listed(old), expected=phrase("no transaction id older than {}", OLDEST))


def test_db_replication_slots(database_state: DatabaseState) -> None:
    """Somebody reads each replication slot: a slot without a reader keeps the log until the disk is full.

    A slot that was made without a place in the log keeps nothing.
    """
    idle = [slot for slot in database_state.slots if slot.state and (not slot.active or slot.state == "lost")]
    assert not idle, saw(listed(idle), expected=phrase("a reader for each replication slot"))
