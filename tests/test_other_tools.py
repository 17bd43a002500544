"""Changes made with other tools, at the addresses that `gli sandbox status --json` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from conftest import Sandbox, exhaustive


@contextmanager
def opened(sandbox: Sandbox, **permission: Any) -> Iterator[None]:
    """Add a permission to the database's security group."""
    ec2 = sandbox.aws("ec2")
    group = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["stg-gli-database"]}])
    change = {"GroupId": group["SecurityGroups"][0]["GroupId"], "IpPermissions": [permission]}
    ec2.authorize_security_group_ingress(**change)
    yield
    ec2.revoke_security_group_ingress(**change)


@contextmanager
def deleted_asset(sandbox: Sandbox) -> Iterator[None]:
    s3 = sandbox.aws("s3")
    listing = s3.list_objects_v2(Bucket="stg-gli-admin-frontend", Prefix="assets/")["Contents"]
    key = next(o["Key"] for o in listing if o["Key"].endswith(".css"))
    kept = s3.get_object(Bucket="stg-gli-admin-frontend", Key=key)
    body = kept["Body"].read()
    s3.delete_object(Bucket="stg-gli-admin-frontend", Key=key)
    yield
    headers = {name: kept[name] for name in ("ContentType", "CacheControl") if name in kept}
    s3.put_object(Bucket="stg-gli-admin-frontend", Key=key, Body=body, **headers)


@contextmanager
def sql(sandbox: Sandbox, breaks: str, heals: str) -> Iterator[None]:
    with psycopg.connect(sandbox.status["postgres_dsn"], autocommit=True) as connection:
        connection.execute(breaks)
        yield
        connection.execute(heals)


@contextmanager
def redis_policy(sandbox: Sandbox, policy: str) -> Iterator[None]:
    with redis.Redis.from_url(sandbox.status["redis_url"]) as connection:
        before = connection.config_get("maxmemory-policy")["maxmemory-policy"]
        connection.config_set("maxmemory-policy", policy)
        yield
        connection.config_set("maxmemory-policy", before)


CHANGES: dict[str, tuple[Callable[[Sandbox], Any], str]] = {
    "a group opened to one address": (
        lambda s: opened(s, IpProtocol="tcp", FromPort=5432, ToPort=5432, IpRanges=[{"CidrIp": "203.0.113.7/32"}]),
        "sg-db-ingress",
    ),
    "a group opened to IPv6": (
        lambda s: opened(s, IpProtocol="tcp", FromPort=0, ToPort=65535, Ipv6Ranges=[{"CidrIpv6": "::/0"}]),
        "sg-no-world-ports",
    ),
    "a group opened by protocol -1": (
        lambda s: opened(s, IpProtocol="-1", IpRanges=[{"CidrIp": "10.9.0.0/16"}]),
        "sg-db-ingress",
    ),
    "a deleted asset": (deleted_asset, "cdn-assets-resolve"),
    "a role that may not log in": (
        lambda s: sql(s, "ALTER ROLE gli_app NOLOGIN", "ALTER ROLE gli_app LOGIN"),
        "db-credentials-valid",
    ),
    "a migration rolled back behind the code's back": (
        lambda s: sql(
            s,
            "CREATE TABLE kept AS SELECT * FROM django_migrations WHERE app = 'notices'; "
            "DELETE FROM django_migrations WHERE app = 'notices'",
            "INSERT INTO django_migrations SELECT * FROM kept; DROP TABLE kept",
        ),
        "db-migrations-applied",
    ),
    "an eviction policy": (lambda s: redis_policy(s, "allkeys-random"), "redis-memory"),
}


@pytest.fixture(scope="module")
def restored(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A change that its test did not undo makes this run red."""
    yield
    checks = {check for _, check in CHANGES.values()}
    ran = sandbox.verify_some(*checks, reports=tmp_path_factory.mktemp("restored"))
    assert checks <= ran.outcomes("passed"), ran.output


# No two changes of a group turn the same check red.
TOGETHER = (
    ("a group opened to one address", "a deleted asset", "a role that may not log in", "an eviction policy"),
    ("a group opened to IPv6", "a migration rolled back behind the code's back"),
    ("a group opened by protocol -1",),
)


def test_every_change_is_in_a_group() -> None:
    assert sorted(change for group in TOGETHER for change in group) == sorted(CHANGES)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("changes", TOGETHER, ids=" and ".join)
def test_changes_made_with_another_tool_turn_the_right_checks_red(
    sandbox: Sandbox, tmp_path: Path, changes: tuple[str, ...]
) -> None:
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(CHANGES[change][0](sandbox))
        ran = sandbox.verify_some(*{check for _, check in CHANGES.values()}, reports=tmp_path)
    assert {CHANGES[change][1] for change in changes} <= ran.roots, ran.output


@exhaustive
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_made_with_another_tool_turns_the_right_check_red(
    sandbox: Sandbox, tmp_path: Path, change: str
) -> None:
    make, check = CHANGES[change]
    with make(sandbox):
        ran = sandbox.verify_often(reports=tmp_path)
    assert check in ran.roots, ran.output
    assert sandbox.verify_often(reports=tmp_path).last_line == "VERDICT sandbox: GO"
