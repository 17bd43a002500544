"""Which targets an environment has, by group, and which part of the environment each group is about.

A check is asked of the targets of one group (`each` of its row). A part is what `environments.toml` describes in one
place: its services, its database, its account. `[ENV.PART] absent = "why"` declares that there is no such part: its
groups then have one stand-in each, whose cases are not applicable and say why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gli.config.environments import Environment


@dataclass(frozen=True)
class Absent:
    """What stands for the targets of a part that the environment declares to have none of."""

    name: str
    why: str


@dataclass(frozen=True)
class Group:
    """A set of targets of one kind, by name."""

    part: str
    """One of `parts.PARTS`."""
    missing: str
    """What to write where an environment has no such target."""
    members: Callable[[Environment], Mapping[str, Any]]

    def of(self, environment: Environment) -> Mapping[str, Any]:
        """The targets of an environment; one `Absent` where their part is declared absent."""
        why = environment.absent.get(self.part)
        return {self.part: Absent(self.part, why)} if why else self.members(environment)


GROUPS: Mapping[str, Group] = {
    "environment": Group("environment", "", lambda e: {e.name: e}),
    "counterpart": Group("counterpart", "counterpart = NAME", lambda e: {e.other.name: e.other} if e.other else {}),
    "account": Group("aws", "[{}.aws]", lambda e: {e.aws.region: e.aws} if e.aws else {}),
    "hosts": Group("dns", "a url of a service or frontend", lambda e: {h: h for h in e.hosts}),
    "placed-hosts": Group(
        *("dns", "[{}.load_balancer], or a frontend with a bucket; and a url with https:// or wss://"),
        lambda e: {h: h for h in e.placed_hosts},
    ),
    "secure-hosts": Group("tls", "a url with https:// or wss://", lambda e: {h: h for h in e.secure_hosts}),
    "redirected-hosts": Group("tls", "a url with https:// or wss://", lambda e: {h: h for h in e.redirected_hosts}),
    "zone": Group("dns", "[{}.dns] zone", lambda e: {e.dns.zone: e.dns} if e.dns.zone else {}),
    "apis": Group(
        *("services", "a service with http:// or https://"),
        lambda e: {s.name: s for s in e.services.values() if s.url and not s.websocket},
    ),
    "websockets": Group(
        *("websockets", "a service with ws:// or wss://"),
        lambda e: {s.name: s for s in e.services.values() if s.websocket},
    ),
    "services": Group("ecs", "[{}.services.NAME]", lambda e: dict(e.services)),
    "frontends": Group("frontends", "[{}.frontends.NAME]", lambda e: dict(e.frontends)),
    "secure-pages": Group(
        *("tls", "a url with https://"),
        lambda e: {n: p for n, p in {**e.services, **e.frontends}.items() if p.secure and not p.websocket},
    ),
    "load-balancer": Group(
        *("load_balancer", "[{}.load_balancer]"),
        lambda e: dict(e.balancers),
    ),
    "sqlite": Group("database", "[{}.sqlite]", lambda e: {e.sqlite.name: e.sqlite} if e.sqlite else {}),
    "database": Group("database", "[{}.database]", lambda e: {e.database.name: e.database} if e.database else {}),
    "cache": Group("cache", "[{}.cache]", lambda e: {e.cache.name: e.cache} if e.cache else {}),
    "broker": Group("broker", "[{}.broker]", lambda e: {e.broker.name: e.broker} if e.broker else {}),
    "secrets": Group("secrets", "a key that names a secret", lambda e: {s: s for s in e.secrets}),
    "log-groups": Group("logs", "[{}.logs] groups", lambda e: {g: g for g in e.logs.groups} if e.logs else {}),
    "alarms": Group("alarms", "[{}.alarms]", lambda e: {e.alarms.prefix: e.alarms} if e.alarms else {}),
    "topics": Group("alarms", "[{}.alarms] topics", lambda e: {t: t for t in e.alarms.topics} if e.alarms else {}),
    "metric-filters": Group(
        *("alarms", "[[{}.alarms.metric_filters]]"),
        lambda e: {f.metric: f for f in e.alarms.metric_filters} if e.alarms else {},
    ),
    "repositories": Group(
        "git", "[{}.git] and [[repositories]]", lambda e: {r.name: r.name for r in e.repositories} if e.git else {}
    ),
    "built-repositories": Group(
        "git", "[{}.git] and a version_path, image or bucket", lambda e: {r: r for r in e.built} if e.git else {}
    ),
    "pipelines": Group(
        *("github", "[{}.git], [{}.github] and a repository with a workflow"),
        lambda e: {r.name: r for r in e.repositories if r.workflow} if e.git and e.github else {},
    ),
    "deployment-log": Group(
        *("git", "[{}.git] log_repository"),
        lambda e: {e.git.log_repository: e.git.log_repository} if e.git and e.git.log_repository else {},
    ),
    "migrations": Group(
        *("database", "[{}.git] and [{}.database] migrations"),
        lambda e: (
            {e.database.migrations: e.database.migrations}
            if e.git and e.database and e.database.migrations and e.database.by_django
            else {}
        ),
    ),
}
