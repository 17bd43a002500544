"""The logs of the tasks: whether lines arrive, and the errors since the deploy.

Of an error line, only the general part is kept: names, numbers and quoted texts may be users' data. Source of truth:
logs DescribeLogStreams (its lastEventTimestamp may be an hour late) and FilterLogEvents (an empty page may not be the
last one). FilterLogEvents does not work for groups of the class INFREQUENT_ACCESS or DELIVERY.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.common.sentences import phrase
from gli.config.services import Service
from gli.observe.aws.cloudwatch_alarms import LogGroup, log_groups
from gli.observe.aws.ecs_services import ecs_service
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

FRESH = timedelta(minutes=10)
LATE = timedelta(hours=1)
"""How late the time of a stream's last event may be (CloudWatch Logs API Reference, LogStream)."""
_WINDOW = timedelta(minutes=60)
_LEAST_MINUTES = 1.0
_SEVERAL = 3
_PER_PAGE = 10_000
_MOST_PAGES = 15
"""The most pages of one search: a page of a busy group may take seconds."""
_LEVELS = ("error", "critical", "fatal")
_ERRORS = (
    *("ERROR", "CRITICAL", "FATAL", "Traceback"),
    *(f'"level":{gap}"{level}"' for level in _LEVELS for gap in ("", " ")),
    *(f'"severity":{gap}"{level}"' for level in _LEVELS for gap in ("", " ")),
    *(f"level={level}" for level in _LEVELS),
    *('"level":50', '"level":60'),
)
"""How a line of text, of JSON or of logfmt tells an error; the numbers are pino's."""
_TEXTS = ("message", "msg", "event", "error", "err")
"""The keys of JSON that hold the text of a line."""
_PARTICULARS = re.compile(r"""'[^']*'|"[^"]*"|[^\s\d@/'"]*+[\d@/]\S*+|(?P<word>[^\s'"]++|['"])""")
"""What differs between events: what stands in quotes, and words with digits. The time grows only with the text."""


class LogTail(Observation):
    """The newest event of a log group."""

    group: str
    age_s: float | None = None
    """Seconds since the newest event; None: the group has no events."""
    fresh_s: float = FRESH.total_seconds()
    """The most seconds that count as fresh. Longer if AWS reports the newest event late."""


class LogErrors(Observation):
    """Error lines since the deploy (of the last hour at most), and in the hour before."""

    group: str
    since: datetime
    lines: int
    per_minute: float
    per_minute_before: float
    new: tuple[str, ...] = ()
    """Kinds of errors that did not occur before, the most frequent first."""
    repeated: tuple[tuple[str, int], ...] = ()
    """(kind, number of lines) of the new kinds that occurred several times, the most frequent first."""
    complete: bool = True
    """False: the search since the deploy stopped before its end, so there may be more lines."""
    complete_before: bool = True
    """False: the search of the hour before stopped before its end."""


@probe(deadline=75)
async def log_tail(observer: Observer, service: Service) -> LogTail:
    """The age of the newest event in the service's log group. Searches the events if the streams' times are late."""
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
        newest = max((s.get("lastEventTimestamp") or 0 for s in answer["logStreams"]), default=0)
        if newest >= _ms(taken - FRESH):
            return _tail(group, taken, newest)
        if not (await _class_of(observer, group)).searchable:
            arrived = max((s.get("lastIngestionTime") or 0 for s in answer["logStreams"]), default=0)
            return _tail(group, taken, max(newest, arrived), fresh=FRESH + LATE)
        search = _Search(observer, group, taken - FRESH, None, pattern="", limit=100)
        async for events in search.pages():
            if events:  # one is enough
                return _tail(group, taken, max(newest, *(e["timestamp"] for e in events)))
    except AwsError as e:
        if e.code == "ResourceNotFoundException":
            return LogTail(group=group)
        raise
    if not search.complete:
        minutes = FRESH // timedelta(minutes=1)
        raise unknown(
            "too-little-data",
            phrase("{}: whether {} has an event of the last {} min is not known", search.told, group, minutes),
        )
    return _tail(group, taken, newest)


@probe(deadline=90)
async def log_errors(observer: Observer, service: Service) -> LogErrors:
    """The error lines since the newest deploy, and those before it."""
    group, taken = str(service.log_group), now()
    deployed = (await observer.see(ecs_service, service)).primary.created
    since = taken - _WINDOW
    if deployed is not None and since < deployed <= taken:
        since = deployed
    if not (kind := await _class_of(observer, group)).searchable:
        raise unknown(
            "vantage", phrase("{} is of the class {}, which CloudWatch does not search by lines", group, kind.log_class)
        )
    try:
        events, complete = await _errors(observer, group, since, None)
        before, complete_before = await _errors(observer, group, since - _WINDOW, since) if events else ([], True)
    except AwsError as e:
        if e.code == "ResourceNotFoundException":
            return LogErrors(group=group, since=since, lines=0, per_minute=0, per_minute_before=0)
        raise
    known = set(map(_kind, before))
    new = [(kind, n) for kind, n in Counter(map(_kind, events)).most_common() if kind not in known]
    return LogErrors(
        group=group,
        since=since,
        lines=len(events),
        per_minute=len(events) / max(_LEAST_MINUTES, (taken - since) / timedelta(minutes=1)),
        per_minute_before=len(before) / (_WINDOW / timedelta(minutes=1)),
        new=tuple(kind for kind, _ in new[:5]),
        repeated=tuple((kind, n) for kind, n in new[:5] if n >= _SEVERAL),
        complete=complete,
        complete_before=complete_before,
    )


class _Search:
    """A search with FilterLogEvents, page by page, until the last page or the most pages."""

    def __init__(
        self, observer: Observer, group: str, start: datetime, end: datetime | None, *, pattern: str, limit: int
    ) -> None:
        self._observer = observer
        self._asked: dict[str, Any] = {"logGroupName": group, "startTime": _ms(start), "limit": limit}
        self._asked |= {"endTime": _ms(end) - 1} if end else {}
        self._asked |= {"filterPattern": pattern} if pattern else {}
        self.complete = False
        self._pages = 0

    @property
    def told(self) -> str:
        """A sentence: after how many pages the search stopped."""
        return phrase("the search stopped after {} pages", self._pages)

    async def pages(self) -> AsyncIterator[list[dict[str, Any]]]:
        """The events of each page. An empty page may not be the last one."""
        while self._pages < _MOST_PAGES:
            page = await self._observer.aws.page(self._observer, "logs", "filter_log_events", **self._asked)
            self._pages += 1
            token = page.get("nextToken")
            self.complete = not token
            yield page["events"]
            if self.complete or token == self._asked.get("nextToken"):
                return
            self._asked["nextToken"] = token


async def _errors(observer: Observer, group: str, start: datetime, end: datetime | None) -> tuple[list[str], bool]:
    """(messages with one of the error words, whether these are all).

    The words are searched here again: some servers ignore the pattern.
    """
    pattern = " ".join(f"?{_term(word)}" for word in _ERRORS)
    search = _Search(observer, group, start, end, pattern=pattern, limit=_PER_PAGE)
    found = [
        event["message"]
        async for events in search.pages()
        for event in events
        if any(word in event["message"] for word in _ERRORS)
    ]
    return found, search.complete


def _term(word: str) -> str:
    """A term of a filter pattern; one with other signs than letters and digits stands in quotation marks."""
    return word if word.isalnum() else f'"{word.replace(chr(34), chr(92) + chr(34))}"'


async def _class_of(observer: Observer, group: str) -> LogGroup:
    found = (await observer.see(log_groups)).get(group)
    return found or LogGroup(name=group, exists=False)


def _tail(group: str, taken: datetime, newest: int, *, fresh: timedelta = FRESH) -> LogTail:
    age_s = max(0.0, (_ms(taken) - newest) / 1000) if newest else None
    return LogTail(group=group, age_s=age_s, fresh_s=fresh.total_seconds())


def _kind(message: str) -> str:
    """The kind of an error line: its first words, without the parts that differ between events (numbers, names)."""
    line = _text(message.strip()).strip().partition("\n")[0]
    return " ".join(_PARTICULARS.sub(lambda part: part["word"] or "…", line).split())[:100]


def _text(message: str) -> str:
    """The text in a line of JSON; another line as it is."""
    try:
        found = json.loads(message) if message.startswith("{") else None
    except (ValueError, RecursionError):
        return message
    texts = [found[key] for key in _TEXTS if isinstance(found.get(key), str)] if isinstance(found, dict) else []
    return texts[0] if texts and texts[0].strip() else message


def _ms(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)
