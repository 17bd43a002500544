"""What tasks write to their log groups: whether anything arrives, and errors since the deploy.

Only what an error has in common with others of its kind is kept: names, numbers and quoted texts are the users'.
Source of truth: logs DescribeLogStreams (its lastEventTimestamp may be an hour late) and FilterLogEvents.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.config.environments import Service
from gli.observe.aws.ecs_services import ecs_service
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

FRESH = timedelta(minutes=10)
_WINDOW = timedelta(minutes=60)
_LEAST_MINUTES = 1.0
_PAGES, _PER_PAGE = 3, 10_000
_ERRORS = ("ERROR", "CRITICAL", "Traceback")
_PARTICULARS = re.compile(r"""'[^']*'|"[^"]*"|\S*[\d@/]\S*""")


class LogTail(Observation):
    """The newest event of a log group."""

    group: str
    age_s: float | None = None
    """None: there is none, or it is older than what was looked through."""


class LogErrors(Observation):
    """Lines that tell of errors since the deploy, at most an hour, and in the hour before."""

    group: str
    since: datetime
    lines: int
    per_minute: float
    per_minute_before: float
    new: tuple[str, ...] = ()
    """Kinds of errors that were not there before, the most frequent first."""
    complete: bool = True
    """False: there was more than three pages."""


@probe(deadline=15)
async def log_tail(observer: Observer, service: Service) -> LogTail:
    """How old the newest event of the service's log group is; asked again where the streams' own answer is late."""
    group, taken = str(service.log_group), now()
    try:
        answer = await observer.aws.page(
            observer,
            "logs",
            "describe_log_streams",
            logGroupName=group,
            orderBy="LastEventTime",
            descending=True,
            limit=1,
        )
    except AwsError as e:
        if e.code == "ResourceNotFoundException":
            return LogTail(group=group)
        raise
    newest = max((s.get("lastEventTimestamp", 0) for s in answer["logStreams"]), default=0)
    if newest < _ms(taken - FRESH):
        events, _ = await _events(observer, group, taken - FRESH, None, pattern="", limit=100)
        newest = max((e["timestamp"] for e in events), default=newest)
    return LogTail(group=group, age_s=max(0.0, (_ms(taken) - newest) / 1000) if newest else None)


@probe(deadline=30)
async def log_errors(observer: Observer, service: Service) -> LogErrors:
    """Error lines since the newest deploy, beside those before it."""
    group, taken = str(service.log_group), now()
    deployed = (await observer.see(ecs_service, service)).primary.created
    since = taken - _WINDOW
    if deployed is not None and since < deployed <= taken:
        since = deployed
    try:
        events, complete = await _errors(observer, group, since, None)
        before, _ = await _errors(observer, group, since - _WINDOW, since) if events else ([], True)
    except AwsError as e:
        if e.code == "ResourceNotFoundException":
            return LogErrors(group=group, since=since, lines=0, per_minute=0, per_minute_before=0)
        raise
    kinds, known = Counter(map(_kind, events)), set(map(_kind, before))
    return LogErrors(
        group=group,
        since=since,
        lines=len(events),
        per_minute=len(events) / max(_LEAST_MINUTES, (taken - since) / timedelta(minutes=1)),
        per_minute_before=len(before) / (_WINDOW / timedelta(minutes=1)),
        new=tuple(kind for kind, _ in kinds.most_common() if kind not in known)[:5],
        complete=complete,
    )


async def _errors(observer: Observer, group: str, start: datetime, end: datetime | None) -> tuple[list[str], bool]:
    """The messages that hold one of the words, looked at again here: not every server takes the pattern."""
    pattern = " ".join(f"?{word}" for word in _ERRORS)
    events, complete = await _events(observer, group, start, end, pattern=pattern, limit=_PER_PAGE)
    return [e["message"] for e in events if any(word in e["message"] for word in _ERRORS)], complete


async def _events(
    observer: Observer, group: str, start: datetime, end: datetime | None, *, pattern: str, limit: int
) -> tuple[list[dict[str, Any]], bool]:
    """(events, whether these are all): a page may be empty and still not be the last."""
    asked: dict[str, Any] = {"logGroupName": group, "startTime": _ms(start), "limit": limit}
    asked |= {"endTime": _ms(end) - 1} if end else {}
    asked |= {"filterPattern": pattern} if pattern else {}
    events: list[dict[str, Any]] = []
    for _ in range(_PAGES):
        page = await observer.aws.page(observer, "logs", "filter_log_events", **asked)
        events += page["events"]
        if not page.get("nextToken"):
            return events, True
        asked["nextToken"] = page["nextToken"]
    return events, False


def _kind(message: str) -> str:
    """What a line has in common with others of its kind: its first words, without what is particular to one event."""
    line = message.strip().partition("\n")[0]
    return " ".join(_PARTICULARS.sub("…", line).split())[:100]


def _ms(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)
