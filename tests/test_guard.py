"""Read only: each guard refuses every operation that is not a read, tried on the real part."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import ROOT, Sandbox
from gli.config import environments
from gli.observe.engine import guard
from gli.observe.engine.dial import Dial
from gli.observe.engine.guard import WriteRefused
from gli.observe.engine.http_client import Answer, HttpClient
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
    ["DELETE FROM django_migrations", "SELECT 1; DROP TABLE x", "WITH x AS (DELETE FROM y) SELECT 1", "SET x = 1", ""],
)
def test_a_statement_other_than_a_single_read_is_refused(statement: str) -> None:
    with pytest.raises(WriteRefused, match="not a single SELECT or SHOW"):
        guard.refuse_sql_writes(statement)


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


@pytest.mark.parametrize("command", ["FLUSHALL", "SET", "KEYS", "CONFIG", "DEL", "EVAL"])
def test_a_redis_command_outside_the_list_of_reads_is_refused(command: str) -> None:
    with pytest.raises(WriteRefused, match="is not on the list of reads"):
        guard.refuse_redis_writes(command)


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


def test_a_run_changes_nothing_in_its_target(sandbox: Sandbox, tmp_path: Path) -> None:
    """Every row, object, ref and security group is unchanged after a run."""
    before = _state(sandbox)
    assert sandbox.verify(reports=tmp_path).code == 0
    assert _state(sandbox) == before


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
