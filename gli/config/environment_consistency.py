"""Whether the description of an environment is consistent: no name of the counterpart, nothing named twice.

The functions are pure: they read models, and touch no file and no network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from gli.common.sentences import phrase
from gli.config.environments import Environment

_SHARED = frozenset({"dns.zone"})
"""Keys whose value both environments may have, though it names a host of one: the zone's apex is production's."""
_NOT_ITS_PARTS = {"shared", "absent", "not_applicable", "repositories", "git", "tls", "signatures", "reports", "notify"}
"""Tables that name no part of an environment: one release moves through all, and a file's path is this machine's."""
_SAME_IN_BOTH = {"image", "tag", "container", "cluster", "repository", "migrations", "mount", "paths"}
"""Keys whose value both environments may have, though the counterpart has a part of that name."""


def objections(environment: Environment) -> tuple[str, ...]:
    """What is wrong with the environment as `environments.toml` and its overlay describe it, one sentence for each
    problem.
    """
    found = [*_outside_the_zone(environment), *_named_twice(environment)]
    if environment.other is not None:
        found += [*_not_a_pair(environment, environment.other), *_foreign(environment, environment.other)]
    return tuple(found)


def _outside_the_zone(environment: Environment) -> Iterator[str]:
    zone = environment.dns.zone
    for host in environment.hosts if zone else ():
        if host != zone and not host.endswith(f".{zone}"):
            yield phrase("{} is not in the zone {}", host, zone)


def _named_twice(environment: Environment) -> Iterator[str]:
    services, pages = environment.services.values(), environment.frontends.values()
    ecs = [s.ecs for s in environment.services.values() if s.ecs]
    names = [  # a page and its API may have one origin
        ("url", [s.url.rstrip("/") for s in services if s.url]),
        ("url", [p.url.rstrip("/") for p in pages]),
        ("bucket", [f"{p.bucket}{p.origin_path}" for p in pages if p.bucket]),
        (phrase("ECS service"), [f"{e.cluster}/{e.service}" for e in ecs]),
    ]
    for kind, values in names:
        yield from (phrase("two parts have the {} {}", kind, value) for value, n in Counter(values).items() if n > 1)


def _not_a_pair(environment: Environment, other: Environment) -> Iterator[str]:
    if _runs(environment) == _runs(other):
        yield phrase("branch = {!r} is {}'s branch too", environment.branch, other.name)
    if environment.production == other.production:
        yield phrase("production = {} here and in {}", str(environment.production).lower(), other.name)


def _runs(environment: Environment) -> tuple[str, str, dict[str, str]]:
    """The branch that an environment runs, and its series of release tags."""
    series = {name: each.release_tag for name, each in environment.services.items()}
    series |= {name: each.release_tag for name, each in environment.frontends.items()}
    return environment.branch, environment.release_tag, {name: form for name, form in series.items() if form}


def _foreign(environment: Environment, other: Environment) -> Iterator[str]:
    """Every value and every key that names something of the counterpart."""
    of_other = {*_texts(_parts(other), "")}
    names = "|".join(map(re.escape, sorted(own_names(other) - {*environment.shared}, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![\w.-])(?:{names})(?![\w-]|\.\w)")
    own = _parts(environment)
    own["connect_to"] = dict({*environment.connect_to.items()} - {*other.connect_to.items()})  # the rest was inherited
    for path, text in _texts(own, ""):
        match = None if path in _SHARED or text.startswith("file:") else pattern.search(text)
        same = path.rpartition(".")[2] in _SAME_IN_BOTH and (path, text) in of_other
        if match and not same:
            yield phrase("{} names {}, which is {}'s", path, match[0], other.name)


def _parts(environment: Environment) -> dict[str, object]:
    """The environment as plain values; a load balancer that all services share stands there once."""
    whole = environment.model_dump(exclude=_NOT_ITS_PARTS)
    for name, service in environment.services.items():
        if service.load_balancer == environment.load_balancer:
            del whole["services"][name]["load_balancer"]
    return whole


def own_names(environment: Environment) -> set[str]:
    """The names that belong to this environment alone."""
    e = environment
    names: list[str | None] = [*e.hosts, *e.secrets, *(e.logs.groups if e.logs else ())]
    names += [source for source in e.credentials if source.startswith("ssm:")]
    names += [s.ecs.service for s in e.services.values() if s.ecs]
    names += [f.bucket for f in e.frontends.values() if f.bucket]
    names += e.balancers
    names += [e.database.instance, *e.database.ingress_from] if e.database else []
    names += [e.cache.replication_group, e.cache.security_group, *e.cache.ingress_from] if e.cache else []
    names += [e.broker.amazon_mq, e.broker.security_group, *e.broker.ingress_from] if e.broker else []
    names += [e.alarms.prefix, *e.alarms.topics, *e.alarms.dashboards] if e.alarms else []
    return {name for name in names if name} - {*e.shared}


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Every text in a dumped model, with its path. A key counts as a text of its table."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield path, str(key)
            yield from _texts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _texts(inner, path)
