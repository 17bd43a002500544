"""Faults of log groups, and of the API's log lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.aws.seed_watching import seed_log_group, seed_log_stream
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import api_service, logged
from sandbox.site import required

_ERROR_LINES = 40
_FEW_LINES = 4
_AN_HOUR_MS = 3_600_000


@fault("log-group-silent", turns_red=["logs-recent-ingestion"])
def log_group_silent(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks have not written a line for an hour."""
    logs, group = sandbox.aws("logs"), required(api_service(sandbox).log_group)
    names = [s["logStreamName"] for s in logs.describe_log_streams(logGroupName=group)["logStreams"]]
    for name in names:
        logs.delete_log_stream(logGroupName=group, logStreamName=name)
    seed_log_stream(sandbox.account, group, "task/0", age_ms=_AN_HOUR_MS)
    undo = sandbox.aws_overlay("log-group", region=required(sandbox.environment.aws).region, name=group, silent=True)
    yield
    sandbox.aws_overlay("log-group", **undo)
    logs.delete_log_stream(logGroupName=group, logStreamName="task/0")
    for name in names:
        seed_log_stream(sandbox.account, group, name)


@fault("errors-in-the-log", turns_red=["logs-error-scan", "logs-new-errors"])
def errors_in_the_log(sandbox: Sandbox) -> Iterator[None]:
    """The API logs an error that it did not log before the deploy."""
    lines = [f"ERROR order {n} could not be paid: KeyError 'currency'" for n in range(_ERROR_LINES)]
    with logged(sandbox, "task/errors", lines):
        yield


def _log_group(sandbox: Sandbox) -> str:
    return required(sandbox.environment.logs).groups[0]


@fault("log-group-missing", turns_red=["logs-groups-exist"])
def log_group_missing(sandbox: Sandbox) -> Iterator[None]:
    """The API's log group does not exist."""
    sandbox.aws("logs").delete_log_group(logGroupName=_log_group(sandbox))
    yield
    seed_log_group(sandbox.account, _log_group(sandbox))


@contextmanager
def _retention(sandbox: Sandbox, days: int | None) -> Iterator[None]:
    """Set the retention of the API's log group; None: events never expire."""
    logs, name = sandbox.aws("logs"), _log_group(sandbox)
    before = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]["retentionInDays"]
    if days is None:
        logs.delete_retention_policy(logGroupName=name)
    else:
        logs.put_retention_policy(logGroupName=name, retentionInDays=days)
    try:
        yield
    finally:
        logs.put_retention_policy(logGroupName=name, retentionInDays=before)


@fault("logs-kept-for-ever", turns_red=["logs-retention"])
def logs_kept_for_ever(sandbox: Sandbox) -> Iterator[None]:
    """Events in the API's log group never expire."""
    with _retention(sandbox, None):
        yield


@fault("logs-kept-for-a-day", turns_red=["logs-retention"])
def logs_kept_for_a_day(sandbox: Sandbox) -> Iterator[None]:
    """Events in the API's log group expire after a day."""
    with _retention(sandbox, 1):
        yield


@fault("error-of-a-new-kind", turns_red=["logs-new-errors"])
def error_of_a_new_kind(sandbox: Sandbox) -> Iterator[None]:
    """Few lines of the API's log, too few to be many, hold an error that there was not before the deploy."""
    lines = [f"ERROR refund {n} was sent twice: IntegrityError 'refund_key'" for n in range(_FEW_LINES)]
    with logged(sandbox, "task/new-errors", lines):
        yield


@fault("errors-in-lines-of-json", turns_red=["logs-error-scan", "logs-new-errors"])
def errors_in_lines_of_json(sandbox: Sandbox) -> Iterator[None]:
    """The API logs lines of JSON, and since the deploy an error in many of them; the level is in lower case."""
    lines = [json.dumps({"level": "error", "msg": f"card of order {n} refused"}) for n in range(_ERROR_LINES)]
    with logged(sandbox, "task/json", lines):
        yield
