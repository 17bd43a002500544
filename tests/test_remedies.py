"""The remedy of a check, followed as it is written, ends in GO while its fault is still there to be healed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
import redis
import restored
from fault_groups import STAGING
from psycopg import sql

from conftest import Sandbox, sampled

OF_POSTGRES: Mapping[str, tuple[str, ...]] = {
    "application-may-not-write": (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON notices_notice TO gli_app",
        "ALTER TABLE notices_notice OWNER TO gli_app",
    ),
    "row-security-hides-all": ("ALTER TABLE notices_notice DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",),
    "database-read-only": (
        "SET default_transaction_read_only = off",
        "ALTER DATABASE gli RESET default_transaction_read_only",
    ),
    "sequence-behind": (
        "SELECT setval(pg_get_serial_sequence('notices_notice', 'id'), (SELECT max(id) FROM notices_notice))",
    ),
    "column-that-the-code-does-not-fill": ("ALTER TABLE notices_notice ALTER COLUMN audience SET DEFAULT ''",),
    "row-rule-swallows-inserts": ("DROP RULE frozen ON notices_notice",),
    "row-rule-keeps-deleted-rows": ("DROP RULE frozen ON notices_notice",),
    "row-trigger-refuses-updates": ("DROP TRIGGER frozen ON notices_notice",),
    "column-too-short": ("ALTER TABLE notices_notice ALTER COLUMN title TYPE varchar(200)",),
    "row-constraint-refuses-inserts": ("ALTER TABLE notices_notice DROP CONSTRAINT frozen",),
    "row-trigger-refuses-inserts": ("DROP TRIGGER frozen ON notices_notice",),
    "row-security-refuses-inserts": ("CREATE POLICY adding ON notices_notice FOR INSERT WITH CHECK (true)",),
    "table-without-a-partition-for-now": (
        "CREATE TABLE notices_event_2 PARTITION OF notices_event FOR VALUES FROM ('2020-02-01') TO (MAXVALUE)",
        "ALTER TABLE notices_event_2 OWNER TO gli_app",
    ),
    "schema-frozen": ("DROP EVENT TRIGGER frozen",),
    "unique-constraint-dropped": ("CREATE UNIQUE INDEX CONCURRENTLY again ON notices_topic (name)",),
    "foreign-key-dropped": ("ALTER TABLE notices_topic ADD FOREIGN KEY (parent_id) REFERENCES notices_topic",),
    "column-takes-no-null": ("ALTER TABLE notices_topic ALTER COLUMN parent_id DROP NOT NULL",),
    "numbers-too-short": ("ALTER TABLE notices_topic ALTER COLUMN id TYPE bigint",),
    "migrator-may-not-create": ("GRANT CREATE ON SCHEMA public TO gli_app",),
    "table-of-another-owner": ("ALTER TABLE notices_topic OWNER TO gli_app",),
    "collation-outgrown": ("REINDEX DATABASE", "ALTER DATABASE gli REFRESH COLLATION VERSION"),
    "application-may-not-wait": ("ALTER DATABASE gli RESET lock_timeout",),
    "database-password-ends": ("ALTER ROLE gli_app VALID UNTIL 'infinity'",),
}
"""Fault to the statements that its remedy names."""
OF_REDIS: Mapping[str, tuple[str, ...]] = {
    "cache-user-without-channels": ("ACL", "SETUSER", "gli_app", "&gli:*"),
    "cache-user-without-hashes": ("ACL", "SETUSER", "gli_app", "+@hash"),
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


OF_A_TEMPLATE: tuple[tuple[str, ...], ...] = (
    (
        "service-scaled-to-zero",
        "cdn-blanket-fallback",
        "database-open-by-a-range",
        "broker-closed-to-the-api",
        "docker-open-to-the-world",
    ),
    ("scaling-at-its-limit", "cdn-disabled", "alarm-missing", "dns-crossed-with-production", "deregistration-at-once"),
    (
        "bucket-forgets-versions",
        "secret-key-missing",
        "database-open-over-ipv6",
        "test-listener-open-to-the-world",
        "logs-kept-for-a-day",
    ),
    (
        "bucket-in-the-clear",
        "taskdef-calls-production",
        "database-open-to-an-address",
        "balancer-may-not-leave",
        "logs-kept-for-ever",
    ),
    (
        "bucket-may-be-public",
        "taskdef-command-of-production",
        "database-open-to-any-protocol",
        "broker-console-open",
        "scaling-minimum-overridden",
    ),
    (
        "bucket-open-to-the-world",
        "taskdef-logs-of-production",
        "tasks-may-not-leave",
        "broker-open-to-an-address",
        "ssh-open-to-the-world",
    ),
    (
        "bucket-readable-by-the-world",
        "taskdef-plain-secret",
        "alarm-on-a-ghost",
        "health-check-too-deep",
        "database-unprotected",
    ),
    (
        "cdn-errors-kept",
        "taskdef-secret-of-production",
        "dns-alias-of-a-ghost",
        "tasks-closed-to-the-balancer",
        "idle-timeout-short",
    ),
    ("cdn-one-country-only", "taskdef-unknown-secret", "dns-record-deleted", "tasks-open-to-a-stranger"),
    ("cdn-origin-without-access-control", "database-stopped", "scaling-suspended", "cache-closed-to-the-websocket"),
    ("cdn-serves-a-path-over-plain-http", "circuit-breaker-off", "balancer-closed", "cache-open-to-an-address"),
    ("cdn-serves-plain-http", "database-closed-to-the-api", "balancer-opens-another-port", "database-public"),
    (
        "cdn-routes-lost",
        "alarm-of-other-dimensions",
        "balancer-open-to-the-office-alone",
        "deployment-alarm-gone",
        "dns-https-record-of-a-ghost",
    ),
    ("cdn-reads-another-folder", "taskdef-debug-mode", "dns-record-of-one-country"),
    (
        *("scaling-waits-too-long", "alarm-a-day-late", "database-open-to-the-world", "taskdef-left-asleep"),
        *("health-check-by-another-protocol", "dns-crossed-by-weight", "bucket-closed-to-the-cdn"),
    ),
    (
        *("scaling-grows-once-a-day", "alarm-muted", "database-open-to-another-group", "taskdef-without-its-secrets"),
        *("health-check-on-another-port", "dns-crossed-over-ipv6", "cdn-wants-signed-urls"),
    ),
    (
        *("scaling-policy-gone", "alarm-out-of-reach", "taskdef-of-a-developers-machine"),
        *("page-kept-by-the-cdn",),
    ),
    (
        *("scaling-to-nothing", "alarm-the-wrong-way-round", "taskdef-without-one-secret"),
        *("cdn-keeps-answers-of-users",),
    ),
    ("deploy-without-room", "health-check-too-patient"),
)
"""Faults whose remedy restores a setting of AWS, in groups of different places: no member hides another."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("faults", OF_A_TEMPLATE, ids=lambda faults: f"{faults[0]}-and-{len(faults) - 1}-more")
def test_restoring_settings_ends_in_go(sandbox: Sandbox, tmp_path: Path, faults: tuple[str, ...]) -> None:
    healthy = restored.read(sandbox)
    sandbox.ask("break", *faults)
    broken = restored.read(sandbox)
    try:
        assert broken != healthy
        restored.write(sandbox, healthy)
        ran = sandbox.verify_often(reports=tmp_path)
        assert (ran.red, ran.last_line) == (set(), "VERDICT sandbox: GO"), ran.output
    finally:
        restored.write(sandbox, broken)
        sandbox.ask("heal")
