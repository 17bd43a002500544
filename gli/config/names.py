"""The names that belong to one environment, and those of another one in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from gli.config.environments import Environment

_SHORTEST = 6
"""A shorter name, or one of a single word, may be anything."""


class NamesOfAnother:
    """Finds in a text the names that belong to `other` and not to `own`."""

    def __init__(self, own: Environment, other: Environment) -> None:
        mine = {*_names(own), *own.hosts}
        self._mine = sorted({name.lower() for name in mine}, key=len, reverse=True)
        self._names = sorted({n for n in _names(other) if len(n) >= _SHORTEST and re.search(r"[-/._]", n)} - mine)
        hosts = {s.host for s in other.services.values() if s.url} - mine
        # A frontend's host is left out: a link to production's page is no mistake. `api.example.com` is not a part of
        # `stg-api.example.com`, but `prod-gli-database` is a part of its own endpoint.
        self._patterns = {name: re.compile(rf"(?<![\w-]){re.escape(name.lower())}(?!\w)") for name in self._names}
        prefix = other.alarms.prefix if other.alarms else ""
        if prefix.endswith("-") and not (own.alarms and own.alarms.prefix.startswith(prefix)):
            self._patterns[prefix] = re.compile(rf"(?<![\w-]){re.escape(prefix.lower())}(?=\w)")
        self._patterns |= {h: re.compile(rf"(?<![\w.@-]){re.escape(h.lower())}(?![\w-])") for h in sorted(hosts)}

    def within(self, text: str) -> Iterator[str]:
        """The names in the text, also in capitals or percent-encoded as in a URL. A name of our own that contains one
        of theirs is not counted."""
        text = unquote(text).lower()
        for name in self._mine:
            text = text.replace(name, " ")
        yield from (name for name, pattern in self._patterns.items() if pattern.search(text))


def _names(environment: Environment) -> Iterator[str]:
    """The names of the environment's parts in AWS."""
    yield from environment.secrets
    for service in environment.services.values():
        yield from filter(None, (service.ecs and service.ecs.service, service.log_group))
    yield from (f.bucket for f in environment.frontends.values() if f.bucket)
    database, cache, broker = environment.database, environment.cache, environment.broker
    if database:
        yield database.instance
    if cache:
        yield cache.replication_group
    if broker and broker.amazon_mq:
        yield broker.amazon_mq
    yield from environment.balancers
    yield from environment.logs.groups if environment.logs else ()
    if environment.alarms:
        yield from environment.alarms.topics
