"""Every SQL statement that a run sends, with the limits of each answer.

A statement cuts each text on the server, and asks for at most one row more than its limit: the extra row tells the
probe that the answer is incomplete. Source of truth: the PostgreSQL manual (pg_stat_activity in chapter 27, system
catalogs in chapter 52, access privilege inquiry functions in section 9.26) and the SQLite documentation (PRAGMA
integrity_check).
"""

from __future__ import annotations

from gli.common.sentences import phrase

MOST_MIGRATIONS, MOST_TABLES, MOST_COLUMNS, MOST_SESSIONS = 20_000, 20_000, 50_000, 1_000
"""How many rows the probe keeps. Sessions are those with an open transaction; indexes have the limit of sessions."""
_LONGEST = 300  # characters; Django's columns hold 255

SETTINGS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "5000",
    "lock_timeout": "500",
    "idle_in_transaction_session_timeout": "10000",
}
"""The session's first statement sets these: RDS Proxy and PgBouncer refuse the start-up parameter `options`."""
READ_ONLY_SESSION = "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in SETTINGS.items())
ANSWERS = "SELECT 1"

_MIGRATIONS = (
    "(SELECT coalesce(json_agg(json_build_array(app, name) ORDER BY app, name), '[]') FROM "
    f"(SELECT left(app::text, {_LONGEST}) AS app, left(name::text, {_LONGEST}) AS name FROM django_migrations "
    f"LIMIT {MOST_MIGRATIONS + 1}) AS m)"
)
_SESSIONS = (
    "(SELECT coalesce(json_agg(json_build_object('pid', pid, 'user', usename, 'application', application_name, "
    "'idle', coalesce(state LIKE 'idle in transaction%', false), "
    "'open_s', greatest(extract(epoch FROM clock_timestamp() - xact_start), 0), "
    "'waits_s', CASE WHEN wait_event_type = 'Lock' "
    "THEN greatest(extract(epoch FROM clock_timestamp() - query_start), 0) ELSE 0 END, "
    "'blocked_by', CASE WHEN wait_event_type = 'Lock' THEN (pg_blocking_pids(pid))[1:100] ELSE '{}' END) "
    "ORDER BY pid), '[]') "
    "FROM (SELECT * FROM pg_stat_activity WHERE xact_start IS NOT NULL AND backend_type = 'client backend' "
    f"AND pid <> pg_backend_pid() LIMIT {MOST_SESSIONS + 1}) AS s)"
)
# from pg_catalog, which lists every schema: information_schema hides tables on which the role has no right
_TABLES = (
    "(SELECT coalesce(json_agg(relname), '[]') FROM (SELECT DISTINCT relname FROM pg_class "
    "JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'f') "
    f"AND nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY relname LIMIT {MOST_TABLES + 1}) AS t)"
)
_INVALID_INDEXES = (
    "(SELECT coalesce(json_agg(name), '[]') FROM (SELECT indexrelid::regclass::text AS name FROM pg_index "
    "WHERE NOT indisvalid AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index) "
    f"LIMIT {MOST_SESSIONS + 1}) AS i)"
)
_SLOTS = (
    "(SELECT coalesce(json_agg(json_build_object('name', slot_name, 'active', active, 'state', wal_status) "
    "ORDER BY slot_name), '[]') FROM (SELECT * FROM pg_replication_slots WHERE NOT temporary "
    f"LIMIT {MOST_SESSIONS + 1}) AS s)"
)
# A transaction that was prepared for a two-phase commit has no session any more, and keeps its locks.
_PREPARED = (
    "(SELECT coalesce(json_agg(json_build_object('name', left(gid, 200), 'user', owner, "
    "'open_s', greatest(extract(epoch FROM clock_timestamp() - prepared), 0)) ORDER BY prepared), '[]') "
    "FROM (SELECT * FROM pg_prepared_xacts WHERE database = current_database() "
    f"LIMIT {MOST_SESSIONS + 1}) AS p)"
)
_AGES = (
    "(SELECT json_agg(json_build_array(datname, age) ORDER BY age DESC, datname) "
    "FROM (SELECT datname, greatest(age(datfrozenxid), mxid_age(datminmxid)) AS age FROM pg_database "
    f"ORDER BY 2 DESC LIMIT {MOST_SESSIONS + 1}) AS frozen)"
)
_COLUMNS = (
    "(SELECT coalesce(json_agg(name), '[]') FROM (SELECT DISTINCT relname || '.' || attname AS name FROM pg_attribute "
    "JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') "
    "AND attnum > 0 AND NOT attisdropped AND nspname <> 'information_schema' AND nspname !~ '^pg_' "
    f"ORDER BY 1 LIMIT {MOST_COLUMNS + 1}) AS c)"
)
_NONE = "'[]'::json"
_REVISIONS = (
    "(SELECT coalesce(json_agg(json_build_array('alembic', revision)), '[]') FROM "
    f"(SELECT left(version_num::text, {_LONGEST}) AS revision FROM alembic_version LIMIT {MOST_MIGRATIONS + 1}) AS m)"
)
# the last entry of each version: a migration may have been undone, or deleted from the record
_VERSIONS = (
    "(SELECT coalesce(json_agg(json_build_array(kind, version)), '[]') FROM (SELECT * FROM "
    "(SELECT DISTINCT ON (version) CASE WHEN type = 'BASELINE' THEN 'flyway baseline' ELSE 'flyway' END AS kind, "
    f"left(version::text, {_LONGEST}) AS version, success AND type !~ '^(UNDO|DELETE|SCHEMA)' AS applied "
    "FROM flyway_schema_history WHERE version IS NOT NULL ORDER BY version, installed_rank DESC) AS newest "
    f"WHERE applied LIMIT {MOST_MIGRATIONS + 1}) AS m)"
)
DATABASE_STATES = {
    tool: (
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
        "current_setting('max_connections')::int, " + applied + ", "
        "(SELECT count(*) FROM pg_stat_activity WHERE query = '<insufficient privilege>' "
        "AND usename IS DISTINCT FROM 'rdsadmin'), "
        + ", ".join((_SESSIONS, _TABLES, _INVALID_INDEXES, _SLOTS, _AGES, columns, _PREPARED))
    )
    for tool, applied, columns in (
        *(("django", _MIGRATIONS, _COLUMNS), ("alembic", _REVISIONS, _NONE), ("flyway", _VERSIONS, _NONE)),
        *(("django, record unread", _NONE, _COLUMNS), ("nothing", _NONE, _NONE)),
    )
}
"""The tool that migrates the database to the statement that reads the state of its migrations; `nothing`: no migration
is compared.
"""
DATABASE_STATE = DATABASE_STATES["django"]
RECORD_TABLES = {"django": "django_migrations", "alembic": "alembic_version", "flyway": "flyway_schema_history"}
"""The tool to the table with its record of migrations."""
RECORDS = {
    tool: "SELECT " + applied.replace(f"FROM {RECORD_TABLES[tool]}", "FROM {}")
    for tool, applied in (("django", _MIGRATIONS), ("alembic", _REVISIONS), ("flyway", _VERSIONS))
}
"""The templates of the record alone, for a record in a schema of its own."""
OTHER_RECORD = (
    "SELECT coalesce(json_agg(name), '[]') FROM "
    f"(SELECT left({{}}::text, {_LONGEST}){{}} AS name FROM {{}}{{}} LIMIT {MOST_MIGRATIONS + 1}) AS m"
)
DIRTY = " (dirty)"
"""Stands behind the name of a migration that is applied in part."""
IS_DIRTY = f" || CASE WHEN coalesce({{}}::text, 'false') IN ('false', '0') THEN '' ELSE '{DIRTY}' END"
IS_DONE = " WHERE coalesce({}::text, 'false') NOT IN ('false', '0')"
"""The templates of the record of another tool."""
OUTGROWN_COLLATIONS = (
    "SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM (SELECT 'of the database' AS name "
    "FROM pg_catalog.pg_database WHERE datname = current_database() "
    "AND datcollversion <> pg_database_collation_actual_version(oid) "
    "UNION SELECT c.collname FROM pg_collation c WHERE c.collversion <> pg_collation_actual_version(c.oid) "
    "AND c.oid IN (SELECT unnest(indcollation) FROM pg_index) "
    f"LIMIT {MOST_SESSIONS}) AS outgrown"
)
"""Needs PostgreSQL 15, the first that keeps the version of a database's collation."""
FIRST_WITH_COLLATION_VERSIONS = 150_000
DATABASE_STATE_LIMITS = {
    2: (MOST_MIGRATIONS, phrase("migrations")),
    4: (MOST_SESSIONS, phrase("open transactions")),
    5: (MOST_TABLES, phrase("tables")),
    6: (MOST_SESSIONS, phrase("invalid indexes")),
    7: (MOST_SESSIONS, phrase("replication slots")),
    8: (MOST_SESSIONS, phrase("databases")),
    9: (MOST_COLUMNS, phrase("columns")),
    10: (MOST_SESSIONS, phrase("prepared transactions")),
}
"""Column of the answer to how many entries the probe keeps, and what they are."""

_OF_PEOPLE = (
    "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT EXISTS (SELECT 1 FROM pg_depend "
    "WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')"
)

# A sequence fills a column that owns it, as identity (pg_depend's `i`) or serial (`a`), or whose default reads it.
_FILLS = (
    "(SELECT objid AS sequence, refobjid AS filled, refobjsubid AS number, deptype AS how FROM pg_depend "
    "WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i') "
    "UNION SELECT refobjid, adrelid, adnum, 'a' FROM pg_depend JOIN pg_attrdef f ON f.oid = objid "
    "WHERE classid = 'pg_attrdef'::regclass AND refclassid = 'pg_class'::regclass) AS d"
)
# A copy of a table in a schema outside of the application's search path is not the application's. An identity column
# needs no right to its sequence.
_LACKS = (
    "SELECT c.relname, array_remove(ARRAY["
    "CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'USAGE of its schema' END, "
    "CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END, "
    "CASE WHEN NOT has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END, "
    "CASE WHEN NOT has_table_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END, "
    "CASE WHEN NOT has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END, "
    "CASE WHEN has_schema_privilege(n.oid, 'USAGE') AND to_regclass(quote_ident(c.relname)) IS NULL "
    "THEN 'its schema in search_path' END, "
    f"CASE WHEN EXISTS (SELECT 1 FROM {_FILLS} JOIN pg_class s ON s.oid = d.sequence WHERE d.filled = c.oid "
    "AND d.how = 'a' AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') END) "
    "THEN 'USAGE of its sequence' END, "
    "CASE WHEN row_security_active(c.oid) AND EXISTS (SELECT 1 FROM unnest(ARRAY['r', 'a']) AS wanted(command) "
    "WHERE NOT EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = c.oid AND polpermissive "
    "AND polcmd::text IN ('*', wanted.command) "
    "AND EXISTS (SELECT 1 FROM unnest(polroles) AS r WHERE r = 0 OR pg_has_role(r, 'MEMBER')) "
    "AND coalesce(pg_get_expr(polqual, polrelid), '') <> 'false' "
    "AND coalesce(pg_get_expr(polwithcheck, polrelid), '') <> 'false')) "
    "THEN 'rows' END], NULL) AS lacks "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {_OF_PEOPLE} "
    "AND (pg_table_is_visible(c.oid) OR to_regclass(quote_ident(c.relname)) IS NULL)"
)

_SEQUENCES = (
    "SELECT n.nspname, c.relname, a.attname, "
    "coalesce(q.last_value, q.start_value - q.increment_by) AS last, "
    "CASE WHEN s.relkind = 'S' THEN has_sequence_privilege(s.oid, 'USAGE, SELECT') END AS seen, "
    "least(q.max_value, CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 "
    "ELSE q.max_value END) AS limit, "
    "EXISTS (SELECT 1 FROM pg_index x WHERE x.indrelid = c.oid AND x.indkey[0] = a.attnum AND x.indisvalid) "
    "AND has_column_privilege(c.oid, a.attnum, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS findable "
    f"FROM {_FILLS} JOIN pg_class s ON s.oid = d.sequence AND s.relkind = 'S' "
    "JOIN pg_namespace m ON m.oid = s.relnamespace "
    "JOIN pg_sequences q ON q.schemaname = m.nspname AND q.sequencename = s.relname "
    "JOIN pg_class c ON c.oid = d.filled JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.number "
    f"WHERE q.increment_by > 0 AND q.max_value > 0 AND NOT q.cycle AND {_OF_PEOPLE}"
)

_HASTY = (
    "(SELECT coalesce(json_agg(json_build_array(name, reset_val::bigint) ORDER BY name), '[]') FROM pg_settings "
    "WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', "
    "'idle_session_timeout', 'transaction_timeout') "
    "AND reset_val::bigint BETWEEN 1 AND CASE name WHEN 'lock_timeout' THEN 99 ELSE 499 END)"
)
# Above `read committed`, a transaction fails if it meets another one, and the application has to try again. Without
# temporary files (kB), large sorts and joins fail.
_FAILING = (
    "(SELECT coalesce(json_agg(json_build_array(name, reset_val) ORDER BY name), '[]') FROM pg_settings WHERE "
    "(name = 'default_transaction_isolation' AND reset_val IN ('repeatable read', 'serializable')) "
    "OR (name = 'temp_file_limit' AND reset_val::bigint BETWEEN 0 AND 1023))"
)
# PostgreSQL stores a rule without a condition as `<>`. A trigger that returns NULL may have put the row into another
# table, as the triggers of hand-made partitions do.
_SWALLOWED = (
    "(SELECT coalesce(json_agg(DISTINCT c.relname), '[]') FROM (SELECT ev_class AS swallows FROM pg_rewrite r "
    "WHERE r.ev_type = '3' AND r.is_instead AND r.ev_enabled <> 'D' "
    "AND pg_get_ruledef(r.oid) LIKE '%DO INSTEAD NOTHING;' AND r.ev_qual::text = '<>' "
    "UNION SELECT tgrelid FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid WHERE NOT g.tgisinternal "
    "AND g.tgenabled NOT IN ('D', 'R') AND g.tgtype & 7 = 7 AND g.tgqual IS NULL "
    r"AND p.prosrc ~* '\mreturn\s+null\M' AND p.prosrc !~* '\m(return\s+new|insert|execute|perform)\M') AS s "
    "JOIN pg_class c ON c.oid = s.swallows JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE c.relkind IN ('r', 'p') AND {_OF_PEOPLE})"
)
# A function that raises outside of any condition does so for every row.
_RAISES = (
    r"p.prosrc ~* '\mraise\M' AND p.prosrc !~* '\mraise\s+(notice|warning|log|info|debug)\M' "
    r"AND p.prosrc !~* '\m(if|case|loop|while|for|when)\M'"
)
_REFUSED = (
    "(SELECT coalesce(json_agg(DISTINCT c.relname), '[]') FROM (SELECT conrelid AS refuses FROM pg_constraint "
    "WHERE contype = 'c' AND pg_get_expr(conbin, conrelid) = 'false' "
    "UNION SELECT tgrelid FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid WHERE NOT g.tgisinternal "
    f"AND g.tgenabled NOT IN ('D', 'R') AND g.tgtype & 4 = 4 AND g.tgqual IS NULL AND {_RAISES}) AS r "
    "JOIN pg_class c ON c.oid = r.refuses JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND {_OF_PEOPLE})"
)
# For rows that exist: a rule turns their change into nothing, or a trigger refuses each change. A trigger for some
# columns only does not count.
_UNCHANGING = (
    "(SELECT coalesce(json_agg(DISTINCT c.relname), '[]') FROM (SELECT ev_class AS keeps FROM pg_rewrite r "
    "WHERE r.ev_type IN ('2', '4') AND r.is_instead AND r.ev_enabled <> 'D' "
    "AND pg_get_ruledef(r.oid) LIKE '%DO INSTEAD NOTHING;' AND r.ev_qual::text = '<>' "
    "UNION SELECT tgrelid FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid WHERE NOT g.tgisinternal "
    f"AND g.tgenabled NOT IN ('D', 'R') AND g.tgtype & 24 > 0 AND g.tgattr::text = '' AND g.tgqual IS NULL "
    f"AND {_RAISES}) AS k JOIN pg_class c ON c.oid = k.keeps JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND {_OF_PEOPLE})"
)
_FROZEN = (
    "(SELECT coalesce(json_agg(e.evtname ORDER BY e.evtname), '[]') FROM pg_event_trigger e "
    "JOIN pg_proc p ON p.oid = e.evtfoid WHERE e.evtenabled NOT IN ('D', 'R') AND e.evtevent = 'ddl_command_start' "
    f"AND (e.evttags IS NULL OR e.evttags && ARRAY['CREATE TABLE', 'ALTER TABLE']) AND {_RAISES})"
)
# For a table with partitions by time: the bound of the last partition. Other kinds of bounds are not times.
_WITHOUT_PARTITION = (
    "(SELECT coalesce(json_agg(relname ORDER BY relname), '[]') FROM (SELECT c.relname FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_partitioned_table t ON t.partrelid = c.oid "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = t.partattrs[0] "
    "JOIN pg_inherits i ON i.inhparent = c.oid JOIN pg_class part ON part.oid = i.inhrelid "
    "WHERE t.partstrat = 'r' AND t.partnatts = 1 AND t.partdefid = 0 AND pg_table_is_visible(c.oid) "
    "AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) "
    f"AND {_OF_PEOPLE} GROUP BY c.relname HAVING max(CASE "
    "WHEN pg_get_expr(part.relpartbound, part.oid) ~ 'TO [(]MAXVALUE' THEN 'infinity' "
    "ELSE substring(pg_get_expr(part.relpartbound, part.oid) FROM $of$TO [(]'([^']+)'$of$)::timestamptz END) "
    "< now() + interval '1 hour') AS ended)"
)
# A trigger before each insert may fill a column, as the default of a type does.
_DEMANDED = (
    "(SELECT coalesce(json_agg(json_build_array(relname, attname) ORDER BY relname, attname), '[]') FROM "
    "(SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid "
    "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND pg_table_is_visible(c.oid) AND a.attnum > 0 "
    "AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND t.typdefault IS NULL "
    "AND NOT EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal "
    "AND g.tgenabled <> 'D' AND g.tgtype & 7 = 7) "
    f"AND {_OF_PEOPLE} LIMIT {MOST_COLUMNS + 1}) AS demanded)"
)
_KEYLESS = (
    "(SELECT coalesce(json_agg(relname ORDER BY relname), '[]') FROM (SELECT c.relname FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition "
    "AND pg_table_is_visible(c.oid) AND NOT EXISTS (SELECT 1 FROM pg_index x WHERE x.indrelid = c.oid "
    f"AND x.indisprimary) AND {_OF_PEOPLE} LIMIT {MOST_TABLES + 1}) AS keyless)"
)
_WIDTHS = (
    "(SELECT coalesce(json_object_agg(name, width), '{}') FROM (SELECT c.relname || '.' || a.attname AS name, "
    "min(a.atttypmod - 4) AS width FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition "
    "AND pg_table_is_visible(c.oid) AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypmod > 4 "
    f"AND a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND {_OF_PEOPLE} GROUP BY 1 "
    f"LIMIT {MOST_COLUMNS}) AS narrow)"
)
# What the migrations of the code demand of the tables; a unique index of a part of the rows does not count.
_CONSTRAINTS = (
    "(SELECT json_build_object("
    "'unique', (SELECT coalesce(json_agg(json_build_array(relname, columns)), '[]') FROM (SELECT c.relname, "
    "(SELECT json_agg(a.attname) FROM unnest(x.indkey) WITH ORDINALITY AS k(number, at) "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number WHERE k.at <= x.indnkeyatts) AS columns "
    "FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL AND NOT c.relispartition "
    f"AND pg_table_is_visible(c.oid) AND {_OF_PEOPLE} LIMIT {MOST_TABLES}) AS indexes), "
    "'points', (SELECT coalesce(json_agg(name), '[]') FROM (SELECT c.relname || '.' || a.attname AS name "
    "FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey) WHERE k.contype = 'f' "
    f"AND pg_table_is_visible(c.oid) AND {_OF_PEOPLE} LIMIT {MOST_COLUMNS}) AS keys), "
    "'filled', (SELECT coalesce(json_agg(name), '[]') FROM (SELECT c.relname || '.' || a.attname AS name "
    "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull "
    "AND NOT EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal "
    "AND g.tgenabled <> 'D' AND g.tgtype & 7 = 7) "
    f"AND pg_table_is_visible(c.oid) AND {_OF_PEOPLE} LIMIT {MOST_COLUMNS}) AS demanding), "
    "'bytes', (SELECT coalesce(json_object_agg(name, size), '{}') FROM (SELECT c.relname || '.' || a.attname AS name, "
    "a.attlen AS size FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition "
    "AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid IN ('int2'::regtype, 'int4'::regtype) "
    f"AND pg_table_is_visible(c.oid) AND {_OF_PEOPLE} LIMIT {MOST_COLUMNS}) AS numbers), "
    "'types', (SELECT coalesce(json_object_agg(name, type), '{}') FROM (SELECT c.relname || '.' || a.attname AS name, "
    "format_type(a.atttypid, a.atttypmod) AS type FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid "
    "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped "
    "AND t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::regnamespace "
    f"AND pg_table_is_visible(c.oid) AND {_OF_PEOPLE} LIMIT {MOST_COLUMNS}) AS typed), "
    "'computed', (SELECT coalesce(json_agg(name), '[]') FROM (SELECT c.relname || '.' || a.attname AS name "
    "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped "
    "AND (a.attgenerated <> '' OR a.attidentity = 'a') "
    f"AND pg_table_is_visible(c.oid) AND {_OF_PEOPLE} LIMIT {MOST_COLUMNS}) AS never_given)))"
)
# Two tables of one name in the search path: a session finds the first, and its rows are in the second. The sizes need
# no right on the tables, and are asked of such pairs alone.
_SHADOWED = (
    "(SELECT coalesce(json_agg(json_build_array(relname, first, second) ORDER BY relname), '[]') FROM ("
    "SELECT c.relname, n.nspname AS first, m.nspname AS second FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class o ON o.relname = c.relname AND o.oid <> c.oid "
    "JOIN pg_namespace m ON m.oid = o.relnamespace WHERE c.relkind = 'r' AND o.relkind = 'r' "
    "AND pg_table_is_visible(c.oid) AND m.nspname = ANY (current_schemas(false)) "
    "AND CASE WHEN c.oid <> o.oid THEN pg_relation_size(c.oid) = 0 AND pg_relation_size(o.oid) > 0 END "
    f"AND {_OF_PEOPLE} LIMIT {MOST_TABLES}) AS pairs)"
)
# Who keeps the record of the migrations applies them. A table of another role, which is not a member of this one as a
# role for migrations is, was made by hand.
_MIGRATING = (
    "(SELECT json_build_object('migrates', coalesce(bool_or(pg_has_role(relowner, 'USAGE')), false), "
    "'may_create', coalesce(has_schema_privilege(current_schema(), 'CREATE'), true), "
    "'of_others', (SELECT coalesce(json_agg(relname ORDER BY relname), '[]') FROM (SELECT c.relname FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner "
    "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND pg_table_is_visible(c.oid) "
    "AND NOT pg_has_role(c.relowner, 'USAGE') AND (o.rolsuper OR NOT pg_has_role(o.oid, current_user, 'USAGE')) "
    f"AND {_OF_PEOPLE} LIMIT {MOST_TABLES}) AS made_by_others)) "
    "FROM pg_class WHERE oid IN (to_regclass('django_migrations'), to_regclass('alembic_version'), "
    "to_regclass('flyway_schema_history')))"
)
# Even without autovacuum, PostgreSQL vacuums a table whose transaction ids grow too old.
_SWITCHED_OFF = (
    "(SELECT json_build_object('settings', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings "
    "WHERE (name IN ('autovacuum', 'track_counts') AND setting = 'off') "
    "OR (name = 'session_replication_role' AND reset_val = 'replica')), "
    "'unlogged', coalesce(json_agg(relname) FILTER (WHERE relpersistence = 'u'), '[]'), "
    "'unvacuumed', coalesce(json_agg(relname) FILTER (WHERE unvacuumed), '[]'), "
    "'unenforced', coalesce(json_agg(relname) FILTER (WHERE unenforced), '[]')) FROM (SELECT c.relname, "
    "c.relpersistence, EXISTS (SELECT 1 FROM pg_options_to_table(c.reloptions) "
    "WHERE option_name = 'autovacuum_enabled' AND NOT option_value::boolean) AS unvacuumed, "
    "EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgisinternal AND g.tgenabled IN ('D', 'R')) "
    "AS unenforced FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') "
    f"AND pg_table_is_visible(c.oid) AND {_OF_PEOPLE} ORDER BY c.relname LIMIT {MOST_TABLES}) AS tables)"
)

APPLICATION_RIGHTS = (
    "SELECT current_user::text, pg_is_in_recovery(), "
    "(SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only') = 'on', clock_timestamp(), "
    "(SELECT CASE WHEN isfinite(rolvaliduntil) THEN rolvaliduntil END FROM pg_roles WHERE rolname = current_user), "
    "(SELECT coalesce(json_agg(json_build_object('table', relname, 'lacks', lacks) ORDER BY relname), '[]') "
    f"FROM (SELECT * FROM ({_LACKS}) AS t WHERE cardinality(lacks) > 0 LIMIT {MOST_TABLES + 1}) AS tables), "
    "(SELECT coalesce(json_agg(json_build_object('schema_name', nspname, 'table', relname, 'column', attname, "
    "'last', last, 'limit', \"limit\", 'seen', seen, 'findable', findable) ORDER BY nspname, relname, attname), '[]') "
    f"FROM ({_SEQUENCES} LIMIT {MOST_TABLES + 1}) AS numbered), "
    "(SELECT json_build_array(rolconnlimit, (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user)) "
    "FROM pg_roles WHERE rolname = current_user), "
    "(SELECT json_build_array(datconnlimit, (SELECT count(*) FROM pg_stat_activity a WHERE a.datname = d.datname)) "
    "FROM pg_database d WHERE datname = current_database()), "
    "current_setting('synchronous_standby_names') <> '' AND NOT EXISTS (SELECT 1 FROM pg_stat_replication) "
    "AND current_setting('synchronous_commit') NOT IN ('off', 'local'), "
    f"{_HASTY}, {_SWALLOWED}, {_DEMANDED}, {_KEYLESS}, {_SWITCHED_OFF}, {_REFUSED}, {_FROZEN}, {_WITHOUT_PARTITION}, "
    f"{_FAILING}, {_UNCHANGING}, {_WIDTHS}, {_CONSTRAINTS}, {_MIGRATING}, {_SHADOWED}"
)
"""`reset_val` is the value at the start of a session of this role: the suite's own `read only` does not change it."""

TAKEN, LARGEST = "(SELECT count(*) FROM {} WHERE {} > {} AND {} <= {})", "(SELECT coalesce(max({}), 0) FROM {})"
NUMBERS, COMMA = "SELECT ARRAY[{}]::bigint[]", ", "
"""The templates of the one statement whose tables and columns come from the server's catalogue."""

SQLITE_INTEGRITY = "PRAGMA integrity_check(1)"
SQLITE_MIGRATIONS = (
    f"SELECT substr(app, 1, {_LONGEST}), substr(name, 1, {_LONGEST}) FROM django_migrations ORDER BY app, name "
    f"LIMIT {MOST_MIGRATIONS + 1}"
)

SQL_READS = frozenset(
    {READ_ONLY_SESSION, ANSWERS, *DATABASE_STATES.values(), OUTGROWN_COLLATIONS, APPLICATION_RIGHTS}
    | {SQLITE_INTEGRITY, SQLITE_MIGRATIONS}
)
SQL_PIECES = frozenset(
    text
    for each in (TAKEN, LARGEST, NUMBERS, COMMA, *RECORDS.values(), OTHER_RECORD, IS_DONE, IS_DIRTY)
    for text in each.split("{}")
)
"""What may stand between the names and numbers of a composed statement."""
