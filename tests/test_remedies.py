"""The remedy of a check, followed as it is written, ends in GO while its fault is still there to be healed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
import redis
from fault_groups import STAGING
from psycopg import sql

from conftest import Sandbox, sampled

OF_POSTGRES: Mapping[str, tuple[str, ...]] = {
    "application-may-not-write": ("GRANT SELECT, INSERT, UPDATE, DELETE ON notices_notice TO gli_app",),
    "row-security-hides-all": ("ALTER TABLE notices_notice DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",),
    "database-read-only": (
        "SET default_transaction_read_only = off",
        "ALTER DATABASE gli RESET default_transaction_read_only",
    ),
    "sequence-behind": (
        "SELECT setval(pg_get_serial_sequence('notices_notice', 'id'), (SELECT max(id) FROM notices_notice))",
    ),
    "database-password-ends": ("ALTER ROLE gli_app VALID UNTIL 'infinity'",),
}
"""Fault to the statements that its remedy names."""
OF_REDIS: Mapping[str, tuple[str, ...]] = {
    "cache-user-without-channels": ("ACL", "SETUSER", "gli_app", "&gli:*"),
}
"""Fault to the command that its remedy names."""


@pytest.mark.parametrize("fault", sampled([*OF_POSTGRES, *OF_REDIS], every=99))
def test_a_remedy_ends_in_go(sandbox: Sandbox, tmp_path: Path, fault: str) -> None:
    sandbox.ask("break", fault)
    try:
        red = STAGING[fault].turns_red
        assert sandbox.verify_some(*red, reports=tmp_path).outcomes("failed")
        with psycopg.connect(sandbox.status["postgres_dsn"], autocommit=True) as connection:
            for statement in OF_POSTGRES.get(fault, ()):
                connection.execute(sql.SQL(statement))  # type: ignore[arg-type]
        if fault in OF_REDIS:
            with redis.Redis.from_url(sandbox.status["redis_url"]) as client:
                client.execute_command(*OF_REDIS[fault])
        ran = sandbox.verify_often(reports=tmp_path)
        assert (ran.red, ran.last_line) == (set(), "VERDICT sandbox: GO"), ran.output
    finally:
        sandbox.ask("heal")
