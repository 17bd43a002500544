"""Credentials in variables, files and parameters; servers that others provide; and how they migrate."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import psycopg.sql
import pytest
from test_parts import another

from conftest import ROOT, Sandbox
from gli.config import environments
from gli.config.data_tier import MigrationRecord
from gli.observe.data.postgres import DatabaseState, database_state
from gli.observe.engine.observatory import Observatory
from gli.observe.engine.sql import DATABASE_STATES
from gli.observe.release.code_migrations import CodeSchema
from gli.observe.release.migrations import alembic_heads, difference, flyway_versions, recorded_names
from tests_smoke.test_database import test_db_migrations_applied as judge_migrations

SELF_HOSTED = """
[shop.aws]
absent = "the shop runs on its own machines"
[shop.database]
instance = ""
secret = "env:SHOP_DATABASE_URL"
verify_secret = "file:verify.json"
migrations = ""
[shop.cache]
replication_group = ""
secret = "file:cache.env"
verify_secret = "file:verify-cache.env"
fields = { url = "REDIS_URL" }
[shop.broker]
amazon_mq = ""
secret = "env:"
fields = { host = "MQ_HOST", username = "MQ_USER", password = "MQ_PASSWORD", vhost = "MQ_VHOST" }
"""
IN_PARAMETERS = """
[shop.database]
secret = "ssm:/shop/database-url"
verify_secret = "ssm:/shop/verify/"
"""
CHECKED = ("-k", "test_db_credentials_valid or test_db_blocking_locks or test_db_migrations_applied")


def login(sandbox: Sandbox, name: str) -> dict[str, Any]:
    """The credentials that the sandbox keeps in Secrets Manager."""
    answer = sandbox.aws("secretsmanager").get_secret_value(SecretId=name)
    found: dict[str, Any] = json.loads(answer["SecretString"])
    return found


def url(scheme: str, user: dict[str, Any]) -> str:
    who = f"{quote(user['username'], safe='')}:{quote(user['password'], safe='')}"
    return f"{scheme}://{who}@{user['host']}:{user['port']}/{user.get('dbname', 0)}"


def test_self_hosted_servers_are_reached_by_variables_and_files_without_an_account(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, cache, broker = (login(sandbox, f"stg/gli/{n}") for n in ("database", "redis", "rabbitmq"))
    monkeypatch.setenv("SHOP_DATABASE_URL", url("postgresql+psycopg", database))
    for name, field in (("HOST", "host"), ("USER", "username"), ("PASSWORD", "password"), ("VHOST", "vhost")):
        monkeypatch.setenv(f"MQ_{name}", broker[field])
    (tmp_path / "verify.json").write_text(json.dumps(login(sandbox, "stg/gli/verify-database")))
    looker = url("rediss", login(sandbox, "stg/gli/verify-redis"))
    (tmp_path / "verify-cache.env").write_text(f"{looker}\n")  # a lone URL needs no name
    (tmp_path / "cache.env").write_text(f"# the shop's cache\nexport REDIS_URL='{url('rediss', cache)}'\n")
    ran = another(sandbox, SELF_HOSTED, tmp_path)
    assert ran.verdict is not None, ran.output
    about = {c["id"]: c["outcome"] for c in ran.verdict["checks"] if c["id"].startswith(("db-", "redis-", "mq-"))}
    installed = "passed" if about["mq-amqp-login"] != "not-applicable" else "not-applicable"
    assert {c["target"] for c in ran.verdict["checks"] if c["id"] == "mq-amqp-login"} == {"broker"}
    assert about == {
        **dict.fromkeys(("db-tcp-reachable", "db-credentials-valid", "db-tls-in-use", "db-invalid-indexes"), "passed"),
        **dict.fromkeys(("db-connection-headroom", "db-long-transactions", "db-blocking-locks"), "passed"),
        **dict.fromkeys(("db-schema-expected", "db-app-grants", "db-writable", "db-sequence-headroom"), "passed"),
        **dict.fromkeys(("db-inserts-accepted", "db-vacuum-runs", "db-collation-current"), "passed"),
        **dict.fromkeys(("db-password-lasts", "db-txid-age", "db-replication-slots", "db-next-migration"), "passed"),
        **dict.fromkeys(("redis-writable-by-app", "redis-app-rights"), "passed"),
        **dict.fromkeys(("redis-ping", "redis-role-writable", "redis-memory", "redis-clients"), "passed"),
        **dict.fromkeys(("mq-amqp-login", "mq-consumers", "mq-queue-depth", "mq-dlq-empty"), installed),
    }
    assert ran.code == 0, ran.output
    assert ran.folder is not None
    written = "".join(path.read_text(encoding="utf-8") for path in ran.folder.glob("*.*"))
    for secret in (database["password"], cache["password"], broker["password"]):
        assert secret not in written + ran.output
        assert quote(secret, safe="") not in written + ran.output


def test_credentials_may_be_parameters_of_ssm(sandbox: Sandbox, tmp_path: Path) -> None:
    ssm, user = sandbox.aws("ssm"), login(sandbox, "stg/gli/verify-database")
    values = {"/shop/database-url": url("postgres", login(sandbox, "stg/gli/database"))}
    values |= {f"/shop/verify/{field}": str(value) for field, value in user.items()}
    for name, value in values.items():
        ssm.put_parameter(Name=name, Value=value, Type="SecureString")
    try:
        ran = another(sandbox, IN_PARAMETERS, tmp_path, *CHECKED)
    finally:
        ssm.delete_parameters(Names=[*values])
    assert ran.outcomes("passed") == {"db-credentials-valid", "db-blocking-locks", "db-migrations-applied"}, ran.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the secret env:SHOP_DATABASE_URL: it does not exist"),
        ("hunter2", "it holds no JSON object, no URL and no lines NAME=VALUE"),
    ],
)
def test_credentials_that_cannot_be_had_are_unknown(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, said: str
) -> None:
    if content is not None:
        monkeypatch.setenv("SHOP_DATABASE_URL", content)
    ran = another(sandbox, '[shop.database]\nsecret = "env:SHOP_DATABASE_URL"\n', tmp_path, *CHECKED)
    assert ran.verdict is not None, ran.output
    login = next(c for c in ran.verdict["checks"] if c["id"] == "db-credentials-valid")
    assert (login["outcome"], said in login["message"]) == ("unknown", True), login
    assert ran.code == 1


REVISIONS = {
    "one": 'revision = "1975ea83b712"\ndown_revision = None\n',
    "two": "revision: str = 'ae1027a6acf'\ndown_revision: Union[str, None] = '1975ea83b712'\n",
    "branch": 'revision = "27c6a30d7c24"\ndown_revision = "1975ea83b712"\n',
    "merge": 'revision = "53fffde5ad5"\ndown_revision = (\n    "ae1027a6acf",\n    "27c6a30d7c24",\n)\n',
}


@pytest.mark.parametrize(
    ("files", "heads"),
    [
        ([], []),
        (["one"], ["1975ea83b712"]),
        (["two", "one"], ["ae1027a6acf"]),
        (["one", "two", "branch"], ["27c6a30d7c24", "ae1027a6acf"]),
        (["one", "two", "branch", "merge"], ["53fffde5ad5"]),
    ],
)
def test_alembics_heads_are_the_revisions_that_nothing_builds_on(files: list[str], heads: list[str]) -> None:
    assert alembic_heads(REVISIONS[name] for name in files) == heads


def test_a_role_that_may_not_read_the_migrations_leaves_the_other_checks_asked(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    verify = login(sandbox, "stg/gli/verify-database")["username"]
    role = psycopg.sql.Identifier(verify)
    with psycopg.connect(sandbox.status["postgres_dsn"], autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("REVOKE SELECT ON django_migrations FROM {}").format(role))
        connection.execute("ALTER TABLE notices_notice RENAME published TO made")
        try:
            ran = another(sandbox, "", tmp_path)
        finally:
            connection.execute("ALTER TABLE notices_notice RENAME made TO published")
            connection.execute(psycopg.sql.SQL("GRANT SELECT ON django_migrations TO {}").format(role))
    assert ran.verdict is not None, ran.output
    assert ran.outcomes("unknown") == {"db-migrations-applied", "db-app-grants"}
    assert ran.outcomes("failed") >= {"db-schema-expected"}
    said = " ".join(root["message"] for root in ran.verdict["root_causes"])
    denied = next(c for c in ran.verdict["checks"] if c["id"] == "db-migrations-applied")
    assert denied["hint"] == "Grant this run the right that the message names, and run it again."
    assert "can't read which migrations were applied (permission denied for table django_migrations)" in said


FLYWAY = """
CREATE TABLE flyway_schema_history (
  installed_rank int PRIMARY KEY, version varchar(50), description varchar(200) NOT NULL,
  type varchar(20) NOT NULL, script varchar(1000) NOT NULL, checksum int, installed_by varchar(100) NOT NULL,
  installed_on timestamp NOT NULL DEFAULT now(), execution_time int NOT NULL, success boolean NOT NULL)
"""
FILES = ("db/V1__first.sql", "db/V001.2__second.sql", "db/V1_10__third.sql", "db/R__views.sql", "src/test/V9__x.sql")


@pytest.mark.parametrize(
    ("rows", "pending", "unknown"),
    [
        ([("1", "SQL", True), ("1.2", "SQL", True), ("1.10", "SQL", True), (None, "SQL", True)], [], []),
        ([("1", "SQL", True), ("001.2", "SQL", True)], ["flyway.1.10"], []),
        ([("1.2", "BASELINE", True), ("1.10", "SQL", True)], [], []),
        ([("1", "SQL", True), ("1.2", "SQL", True), ("1.10", "SQL", False)], ["flyway.1.10"], []),
        ([("1.2", "BASELINE", True), ("1.10", "SQL", True), ("1.10", "UNDO_SQL", True)], ["flyway.1.10"], []),
        ([("1.2", "BASELINE", True), ("1.10", "SQL", True), ("2.0", "SQL", True)], [], ["flyway.2"]),
        ([], ["flyway.1", "flyway.1.10", "flyway.1.2"], []),
    ],
)
def test_flyways_history_is_compared_with_its_files(
    sandbox: Sandbox, rows: list[tuple[str | None, str, bool]], pending: list[str], unknown: list[str]
) -> None:
    assert [version for _, version in flyway_versions(FILES)] == ["1", "1.2", "1.10"]
    with psycopg.connect(sandbox.status["postgres_dsn"]) as connection:
        connection.execute(FLYWAY)
        for rank, row in enumerate(rows):
            connection.execute(
                "INSERT INTO flyway_schema_history VALUES (%s, %s, '', %s, '', 0, 'shop', now(), 1, %s)", (rank, *row)
            )
        (applied,) = (connection.execute(DATABASE_STATES["flyway"]).fetchone() or ())[2:3]
        connection.rollback()
    assert difference(flyway_versions(FILES), [(app, name) for app, name in applied]) == (pending, unknown)


KNEX = MigrationRecord(table="knex_migrations", column="name", files=r"^db/migrations/(.+\.js)$", done="ended")
LEDGER = """
CREATE SCHEMA ledger;
CREATE TABLE ledger.knex_migrations (name text, ended timestamptz);
INSERT INTO ledger.knex_migrations VALUES ('1_first.js', now()), ('2_second.js', NULL), ('0_gone.js', now());
CREATE TABLE ledger.alembic_version (version_num text);
INSERT INTO ledger.alembic_version VALUES ('2s');
CREATE TABLE ledger.schema_migrations (version bigint, dirty boolean);
INSERT INTO ledger.schema_migrations VALUES (12, false)
"""
GOLANG = MigrationRecord(
    table="schema_migrations", column="version", files=r"^db/(\d+)_.+\.up\.sql$", dirty="dirty", newest_only=True
)


@pytest.mark.parametrize(
    ("recorded", "pending", "unknown"),
    [
        (["12"], [], []),
        (["9"], ["12"], []),
        ([], ["2", "9", "12"], []),
        (["13"], [], ["13"]),
        (["10"], ["12"], ["10"]),
    ],
)
def test_a_record_of_the_newest_number_stands_for_all_before_it(
    recorded: list[str], pending: list[str], unknown: list[str]
) -> None:
    files = recorded_names(GOLANG, [f"db/{n:06}_x.{way}.sql" for n in (2, 9, 12) for way in ("up", "down")])
    told = difference(files, [("schema_migrations", n) for n in recorded], newest_only=True)
    named = [sorted(f"schema_migrations.{n}" for n in names) for names in (pending, unknown)]
    assert [sorted(names) for names in told] == named


def test_a_record_may_begin_with_a_row_of_number_0() -> None:
    goose = MigrationRecord(table="goose_db_version", column="version_id", files=r"^db/(\d+)_.+\.sql$")
    applied = [("goose_db_version", number) for number in ("0", "1")]
    assert difference(recorded_names(goose, ["db/00001_a.sql"]), applied) == ([], [])


def test_the_record_of_any_tool_is_read_in_a_schema_of_its_own(sandbox: Sandbox) -> None:
    overlay = ROOT / ".sandbox" / sandbox.name / "environment.toml"
    environment = environments.load(ROOT, "sandbox", overlay=tomllib.loads(overlay.read_text()))
    user = login(sandbox, "stg/gli/verify-database")["username"]
    assert environment.database is not None

    def seen(**keys: Any) -> DatabaseState:
        assert environment.database is not None
        observatory = Observatory(environment)
        try:
            return observatory.wait(database_state, environment.database.model_copy(update=keys))
        finally:
            observatory.close()

    with psycopg.connect(sandbox.status["postgres_dsn"], autocommit=True) as connection:
        connection.execute(LEDGER)
        connection.execute(f'GRANT USAGE ON SCHEMA ledger TO "{user}"')
        connection.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO "{user}"')
        try:
            knex = seen(record=KNEX, migrations_schema="ledger")
            alembic = seen(migrated_by="alembic", migrations_schema="ledger")
            golang = seen(record=GOLANG, migrations_schema="ledger")
            connection.execute("UPDATE ledger.schema_migrations SET dirty = true")
            half = seen(record=GOLANG, migrations_schema="ledger")
            lost = seen(migrated_by="alembic")
        finally:
            connection.execute("DROP SCHEMA ledger CASCADE")
    files = recorded_names(KNEX, ["db/migrations/1_first.js", "db/migrations/2_second.js", "db/x/3.js", "README.md"])
    differs = (["knex_migrations.2_second.js"], ["knex_migrations.0_gone.js"])
    assert difference(files, knex.applied) == differs
    assert alembic.applied == (("alembic", "2s"),)
    assert (golang.applied, half.applied) == (
        (("schema_migrations", "12"),),
        (("schema_migrations", "12 (dirty)"),),
    )
    target = environment.database.model_copy(update={"record": GOLANG})
    code = recorded_names(GOLANG, ["db/12_x.up.sql"])
    judge_migrations(golang, code, CodeSchema(), target)
    with pytest.raises(AssertionError, match=r"half applied, saw schema_migrations\.12 \(dirty\)"):
        judge_migrations(half, code, CodeSchema(), target)
    assert "is not in the role's search_path; name it in database.migrations_schema" in lost.unread
    assert knex.max_connections == lost.max_connections > 0
