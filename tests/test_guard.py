"""Read only: each guard refuses every operation that is not a read, tried on the real part."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import psycopg
import pytest
import redis
from pika import frame, spec
from psycopg.sql import SQL, Composed, Identifier, Literal, Placeholder

from conftest import ROOT, Sandbox
from gli.config import environments
from gli.observe.data.postgres import database_state
from gli.observe.engine import guard, sql
from gli.observe.engine.dial import Dial
from gli.observe.engine.guard import WriteRefused
from gli.observe.engine.http_client import Answer, HttpClient
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Observatory
from gli.observe.engine.remote_clocks import RemoteClocks


@pytest.fixture
def environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> environments.Environment:
    monkeypatch.setenv("GLI_SANDBOX", sandbox.name)
    return environments.load(ROOT, "sandbox")


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("ecs", "update_service", {"service": "stg-gli-api", "desiredCount": 0}),
        ("s3", "delete_object", {"Bucket": "stg-gli-user-frontend", "Key": "index.html"}),
        ("ec2", "authorize_security_group_ingress", {"GroupId": "sg-1"}),
        ("secretsmanager", "put_secret_value", {"SecretId": "stg/gli/database", "SecretString": "x"}),
        ("sts", "get_session_token", {}),
        ("ecr", "get_authorization_token", {}),
    ],
)
def test_an_aws_operation_outside_the_list_of_reads_is_not_sent(
    environment: environments.Environment, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    from gli.observe.engine.aws_session import AwsSession

    client = AwsSession(environment, RemoteClocks())._client(service, "ap-northeast-2")
    with pytest.raises(WriteRefused, match=f"{service}:.* is not on the list of reads"):
        getattr(client, operation)(**parameters)


def test_every_listed_read_exists_in_aws() -> None:
    import botocore.session

    session = botocore.session.get_session()
    for service, operations in guard.AWS_READS.items():
        assert operations <= set(session.get_service_model(service).operation_names), service


@pytest.mark.parametrize("service", guard.AWS_READS)
def test_a_reduced_model_describes_every_read_like_the_full_model(service: str) -> None:
    import botocore.session

    from gli.observe.engine import aws_models

    whole, cut = botocore.session.Session(), botocore.session.Session()
    # A fresh loader, not the shared one: botocore changes a model in place when a client of this process has used it.
    cut.register_component("data_loader", aws_models.loader.__wrapped__())
    one, other = whole.get_service_model(service), cut.get_service_model(service)
    assert other.metadata == one.metadata
    assert other.operation_names == one.operation_names, "the guard sees and refuses each of the others by its name"
    assert {shape.name for shape in other.error_shapes} <= {shape.name for shape in one.error_shapes}, "asked on errors"
    for name in guard.AWS_READS[service]:
        assert described(other.operation_model(name)) == described(one.operation_model(name))


def described(operation: Any) -> Any:
    """The parts of a model that build a request and parse an answer."""
    shapes: dict[str, Any] = {}
    waiting = [s for s in (operation.input_shape, operation.output_shape, *operation.error_shapes) if s is not None]
    while waiting:
        shape = waiting.pop()
        if shape.name not in shapes:
            inner = [shape.key, shape.value] if shape.type_name == "map" else []
            inner += [shape.member] if shape.type_name == "list" else []
            inner += shape.members.values() if shape.type_name == "structure" else []
            shapes[shape.name] = (shape.type_name, shape.serialization, shape.metadata, [s.name for s in inner])
            waiting += inner
    return operation.http, operation.auth_type, operation.endpoint, shapes


@pytest.mark.parametrize(
    "statement",
    [
        *("DELETE FROM django_migrations", "SELECT 1; DROP TABLE x", "WITH x AS (DELETE FROM y) SELECT 1", "SET x = 1"),
        *("SELECT pg_terminate_backend(1)", "SELECT set_config('x', 'y', false)", "SELECT 1 INTO x", "select 1", ""),
        *("SELECT nextval('x')", "SELECT lo_unlink(1)", "SELECT * FROM x FOR UPDATE", "SELECT 1 ", "SHOW ALL"),
    ],
)
def test_a_statement_that_is_not_on_the_list_is_refused(statement: str) -> None:
    with pytest.raises(WriteRefused, match="the statement is not on the list of reads"):
        guard.refuse_sql_writes(statement)


@pytest.mark.parametrize(
    "composed",
    [
        SQL("SELECT {}").format(Literal(1)),
        SQL(sql.NUMBERS).format(SQL("lo_unlink(1)")),
        SQL(sql.NUMBERS).format(Literal("text")),
        SQL(sql.NUMBERS).format(Placeholder()),
        SQL(sql.NUMBERS).format(SQL(sql.LARGEST).format(SQL("lo_unlink(1)"), Identifier("x"))),
    ],
)
def test_a_statement_composed_of_other_pieces_is_refused(composed: Composed) -> None:
    with pytest.raises(WriteRefused, match="the statement is not on the list of reads"):
        guard.refuse_sql_writes(composed)


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE x ()", "DELETE FROM django_migrations", "UPDATE django_migrations SET name = name"]
)
def test_the_suites_own_role_cannot_write_even_without_the_guard(sandbox: Sandbox, statement: str) -> None:
    secret = sandbox.aws("secretsmanager").get_secret_value(SecretId="stg/gli/verify-database")["SecretString"]
    known = psycopg.conninfo.conninfo_to_dict(sandbox.status["postgres_dsn"])
    role = json.loads(secret)
    with (
        psycopg.connect(
            host=known["host"],
            port=known["port"],
            dbname="gli",
            user=role["username"],
            password=role["password"],
            options="-c default_transaction_read_only=off",
        ) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


@pytest.mark.parametrize("command", ["FLUSHALL", "SET", "KEYS", "CONFIG", "DEL", "EVAL", "ping"])
def test_a_redis_command_outside_the_list_of_reads_is_refused(command: str) -> None:
    with pytest.raises(WriteRefused, match="is not on the list of reads"):
        guard.refuse_redis_writes(command)


@pytest.mark.parametrize(
    "method",
    [
        spec.Basic.Publish(),
        spec.Basic.Get("q"),
        spec.Queue.Purge("q"),
        spec.Queue.Declare("q"),
        spec.Exchange.Declare(),
    ],
    ids=lambda method: method.NAME,
)
def test_an_amqp_method_outside_the_list_of_reads_is_refused(method: Any) -> None:
    with pytest.raises(WriteRefused, match="is not on the list of reads"):
        guard.refuse_amqp_writes(method)


@pytest.mark.parametrize("command", ["push", "config", "update-ref", "-c", "archive"])
def test_a_git_command_outside_the_list_of_reads_is_refused(command: str) -> None:
    with pytest.raises(WriteRefused, match="is not on the list of reads"):
        guard.refuse_git_writes(command)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_an_http_method_that_may_change_something_is_not_sent(
    environment: environments.Environment, method: str
) -> None:
    async def send() -> Answer:
        client = HttpClient(Dial(environment), RemoteClocks())
        try:
            return await client.request(method, "https://stg-api.glibiz.com/api/v1/notices/", limit=1000)
        finally:
            await client.close()

    with pytest.raises(WriteRefused, match=f"HTTP method {method} may change the target"):
        asyncio.run(send())


def test_a_huge_table_is_cut_by_the_server_and_unknown(sandbox: Sandbox, environment: environments.Environment) -> None:
    """One text of 50 MB, and more rows than are taken: the answer is small, and it is called incomplete."""
    assert environment.database is not None
    secret = sandbox.aws("secretsmanager").get_secret_value(SecretId="stg/gli/verify-database")["SecretString"]
    user = json.loads(secret)["username"]
    with psycopg.connect(sandbox.status["postgres_dsn"], autocommit=True) as connection:
        connection.execute("CREATE SCHEMA hostile")
        connection.execute(
            "CREATE VIEW hostile.django_migrations AS SELECT n::text AS name, "
            "CASE n WHEN 1 THEN repeat('x', 50000000) ELSE 'x' END AS app FROM generate_series(1, 30000) AS n"
        )
        connection.execute(f'GRANT USAGE ON SCHEMA hostile TO "{user}"')
        connection.execute(f'GRANT SELECT ON hostile.django_migrations TO "{user}"')
        connection.execute(f'ALTER ROLE "{user}" SET search_path = hostile, public')
        observatory = Observatory(environment)
        tracemalloc.start()
        try:
            with pytest.raises(Unobserved, match="has more than 20000 migrations"):
                observatory.wait(database_state, environment.database)
            assert tracemalloc.get_traced_memory()[1] < 60_000_000
        finally:
            tracemalloc.stop()
            observatory.close()
            connection.execute(f'ALTER ROLE "{user}" RESET search_path')
            connection.execute("DROP SCHEMA hostile CASCADE")


PAGE = {
    *("GET /", "GET /assets/LoginView-*.js", "GET /assets/gli-*.woff2", "GET /assets/gli-verify-*.js"),
    *("GET /assets/index-*.js", "GET /assets/index-*.js.map", "GET /assets/index-*.css"),
    *("GET /assets/vendor-*.js", "GET /assets/vendor-*.js.map"),
}
HTTP = {
    "admin": PAGE | {"GET /users"},
    "user": PAGE | {"GET /login"},
    "api": {
        *("GET /health/", "GET /health/deep", "GET /version", "GET /api/v1/status/", "GET /api/v1/session/"),
        *("GET /api/v1/me/", "GET /api/v1/no-such-page-4c1f/"),
        *("GET /api/v1/notices/", "OPTIONS /api/v1/notices/"),
    },
    "websocket": {"GET /ws/", "GET /ws/me/"},
    "http": {"GET /"},
    "s3": {"GET /index.html"},
}
"""What a whole run asks each server of the sandbox over HTTP, with a star for the hashes and chances in names."""
AMQP = {
    *("Connection.StartOk", "Connection.TuneOk", "Connection.Open", "Connection.Close"),
    *("Channel.Open", "Channel.Close", "Queue.Declare"),
}
NOT_IN_THE_SANDBOX = {
    *("codedeploy:GetDeployment", "codedeploy:GetDeploymentGroup", "ec2:GetManagedPrefixListEntries"),
    *("ecs:DescribeServiceRevisions", "elasticache:DescribeServerlessCaches", "kms:DescribeKey", "kms:GetKeyPolicy"),
    *("rds:DescribeDBClusterSnapshots", "rds:DescribeDBClusters", "rds:DescribeDBProxies"),
    *("ec2:DescribeDhcpOptions", "ec2:DescribeVpcs", "s3:ListObjectsV2"),
    *("rds:DescribeDBProxyEndpoints", "rds:DescribeDBProxyTargets", "s3control:GetPublicAccessBlock"),
    *("ssm:DescribeParameters", "ssm:GetParameters", "ssm:GetParametersByPath"),
    "service-quotas:GetAWSDefaultServiceQuota",
}
"""Operations on parts that the sandbox has only in variants, or that only some accounts need."""


def test_a_run_asks_only_what_is_on_the_lists_and_changes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """The servers themselves say what they were asked. Every row, object, ref and security group stays as it was."""
    before = _state(sandbox)
    sandbox.asked(), sandbox.aws_asked()
    with _statements(sandbox) as statements, _commands(sandbox) as commands:
        ran = sandbox.verify_often(reports=tmp_path, env={"GIT_TRACE2_EVENT": str(tmp_path / "git")})
    assert ran.code == 0, ran.output
    assert _state(sandbox) == before
    composed = {one for one in statements if one.startswith(sql.NUMBERS.partition("{}")[0])}
    assert len(composed) == 1
    asked_alike = {sql.ANSWERS, sql.DATABASE_STATE, sql.OUTGROWN_COLLATIONS, sql.APPLICATION_RIGHTS}
    assert statements - composed == asked_alike | {sql.READ_ONLY_SESSION}
    assert commands == guard.REDIS_READS - {"ACL DRYRUN"} | {"AUTH"}  # MONITOR hides administrative commands
    assert {"fetch", "ls-remote"} <= _git_commands(tmp_path / "git") <= guard.GIT_READS
    asked = sandbox.asked()
    hashes = re.compile(r"-[0-9a-f]{8,12}\.")
    assert {server: {hashes.sub("-*.", one) for one in found} for server, found in asked["http"].items()} == HTTP
    assert _methods(asked["amqp"]) == (AMQP if sandbox.status["amqp_url"] else set())
    operations = {f"{service}:{_operation(service, *how)}" for service, *how in sandbox.aws_asked()}
    assert operations == {f"{s}:{o}" for s, listed in guard.AWS_READS.items() for o in listed} - NOT_IN_THE_SANDBOX


def _operation(service: str, action: str, method: str, target: str) -> str:
    """The operation of a request; by method, path and keys of the query, where the request does not name it."""
    import botocore.session

    if action:
        return action
    path, _, query = target.partition("?")
    model = botocore.session.get_session().get_service_model(service)
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        template, _, fixed = http["requestUri"].partition("?")
        pattern = "".join(
            re.escape(p) if n % 2 == 0 else ".+" if p.endswith("+") else "[^/]+" for n, p in _split(template)
        )
        keys = dict(parse_qsl(fixed, keep_blank_values=True)).keys()
        if http["method"] == method and re.fullmatch(pattern, path) and keys <= dict(parse_qsl(query, True)).keys():
            found.append((len(keys), name))
    return max(found)[1]


def _split(template: str) -> Iterator[tuple[int, str]]:
    """The pieces of a path; those with an odd number are names in braces."""
    return enumerate(re.split(r"\{([^}]+)\}", template))


def _methods(sessions: list[str]) -> set[str]:
    """The methods in what the clients of the broker sent: AMQP 0-9-1, section 4.2."""
    found = set()
    for session in map(bytes.fromhex, sessions):
        rest = session[len(frame.ProtocolHeader().marshal()) :]
        while rest:
            size, one = frame.decode_frame(rest)
            assert size, "a frame was cut"
            found |= {one.method.NAME} if isinstance(one, frame.Method) else {type(one).__name__}
            rest = rest[size:]
    return found


@contextmanager
def _statements(sandbox: Sandbox) -> Iterator[set[str]]:
    """Yields a set that holds, after the block, every statement of the suite in PostgreSQL's own log."""
    found: set[str] = set()
    with psycopg.connect(sandbox.status["postgres_dsn"], autocommit=True) as connection:
        asked = connection.execute("SELECT current_setting('data_directory')").fetchone()
        assert asked is not None
        log = Path(asked[0]).parent / "log"
        before = log.stat().st_size
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("ALTER SYSTEM SET log_line_prefix = '<%a> '")
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield found
        finally:
            connection.execute("ALTER SYSTEM RESET ALL")
            connection.execute("SELECT pg_reload_conf()")
    lines = log.read_bytes()[before:].decode().splitlines()
    found |= {m[1] for line in lines if (m := re.match(r"<gli-verify> LOG:  (?:statement|execute [^:]*): (.*)", line))}


@contextmanager
def _commands(sandbox: Sandbox) -> Iterator[set[str]]:
    """Yields a set that holds, after the block, every command of the suite to the cache, as MONITOR shows them."""
    found: set[str] = set()
    client = redis.Redis.from_url(sandbox.status["redis_url"])
    of_sessions: dict[str, set[str]] = {}
    of_others = {session["addr"] for session in client.client_list()}  # sessions that the API holds open
    with client.monitor() as monitor:
        yield found
        client.echo("the end")
        while "the end" not in (seen := monitor.next_command())["command"]:
            name = seen["command"].split()[0].upper()
            of_sessions.setdefault(f"{seen['client_address']}:{seen['client_port']}", set()).add(name)
    for session in of_others & of_sessions.keys():
        del of_sessions[session]
    # The API says which library it uses (CLIENT SETINFO). The suite does not.
    found |= {name for names in of_sessions.values() if "CLIENT" not in names for name in names}


def _git_commands(trace: Path) -> set[str]:
    """The commands of git that the suite started. Each process of git writes its events; the suite's have no parent."""
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    return {e["name"] for e in events if e["event"] == "cmd_name" and "/" not in e["sid"]}


def _state(sandbox: Sandbox) -> dict[str, Any]:
    with psycopg.connect(sandbox.status["postgres_dsn"], autocommit=True) as connection:
        tables = [row[0] for row in connection.execute("SELECT relname FROM pg_stat_user_tables ORDER BY relname")]
        rows = [connection.execute(f'SELECT * FROM "{table}" ORDER BY 1').fetchall() for table in tables]
    s3, ec2 = sandbox.aws("s3"), sandbox.aws("ec2")
    objects = [
        (b["Name"], o["Key"], o["ETag"])
        for b in s3.list_buckets()["Buckets"]
        for o in s3.list_objects_v2(Bucket=b["Name"]).get("Contents", [])
    ]
    refs = [
        subprocess.run(["git", "--git-dir", path, "for-each-ref"], capture_output=True, text=True, check=True).stdout
        for path in sandbox.status["git_remotes"].values()
    ]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    return {"rows": rows, "objects": objects, "refs": refs, "groups": groups}
