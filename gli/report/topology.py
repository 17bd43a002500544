"""What an environment consists of, as a drawing shows it: DNS, the edge, services, data, and what stands around them.

Made from `environments.toml` and the catalogue alone. Every case of a run belongs to exactly one node, so that the
health of the nodes adds up to the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gli.config.check import Case
from gli.config.data_tier import Broker, Cache, Database
from gli.config.environments import Environment
from gli.config.services import Service

Tier = Literal["zone", "host", "edge", "service", "data", "around"]
TIERS: tuple[Tier, ...] = ("zone", "host", "edge", "service", "data")
"""The tiers from a user to the data. Parts on no such path (`around`) stand below."""
Kind = Literal[
    "zone",
    "host",
    "balancer",
    "cdn",
    "service",
    "frontend",
    "bucket",
    "database",
    "cache",
    "broker",
    "target",
    "secrets",
    "registry",
    "release",
    "pipelines",
    "logs",
    "alarms",
    "parity",
    "other",
]

# The node for a layer of the catalogue whose cases do not belong to a node of their target.
_AROUND: dict[str, Kind] = {
    "vantage": "target",
    "tls": "target",
    "secrets": "secrets",
    "registry": "registry",
    "release": "release",
    "pipeline": "pipelines",
    "logs": "logs",
    "metrics": "alarms",
    "alarms": "alarms",
    "parity": "parity",
}
_NEVER_ON_THE_PATH = ("registry", "logs", "metrics", "release", "pipeline", "secrets")


class Node(BaseModel):
    """One part of the environment, and the cases that are about it."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Kind
    name: str
    """Its name in `environments.toml`; empty for a part that stands around."""
    tier: Tier
    cases: tuple[str, ...] = ()
    """Labels, `api-health[api]`."""


class Topology(BaseModel):
    """The nodes, tier by tier, and what passes requests on to what."""

    model_config = ConfigDict(frozen=True)

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    """The connections, as pairs of node ids."""


def topology(environment: Environment, cases: Sequence[Case]) -> Topology:
    """The drawing of an environment: its parts with the cases that are about each."""
    parts = {node.id: node for node in _parts(environment)}
    labels: dict[str, list[str]] = {}
    for case in cases:
        node = _node_of(case, environment, parts)
        parts.setdefault(node.id, node)
        labels.setdefault(node.id, []).append(str(case.key))
    nodes = [node.model_copy(update={"cases": tuple(labels.get(node.id, ()))}) for node in parts.values()]
    known = {node.id for node in nodes}
    edges = [(a, b) for a, b in dict.fromkeys(_edges(environment)) if a in known and b in known]
    return Topology(nodes=tuple(nodes), edges=tuple(edges))


def _node(kind: Kind, name: str, tier: Tier) -> Node:
    return Node(id=f"{kind}:{name}", kind=kind, name=name, tier=tier)


def _parts(environment: Environment) -> Iterator[Node]:
    if environment.dns.zone:
        yield _node("zone", environment.dns.zone, "zone")
    for _, _, host in _hosts(environment):
        if host in environment.secure_hosts:
            yield _node("host", host, "host")
    for name in environment.balancers:
        yield _node("balancer", name, "edge")
    for service in environment.services.values():
        yield _node("service", service.name, "service")
    for frontend in environment.frontends.values():
        if frontend.bucket:
            yield _node("cdn", frontend.name, "edge")
            yield _node("bucket", frontend.bucket, "service")
        else:
            yield _node("frontend", frontend.name, "service")
    for kind, part in _data(environment):
        yield _node(kind, part.name, "data")
    if environment.sqlite:
        yield _node("database", environment.sqlite.name, "data")


def _data(environment: Environment) -> Iterator[tuple[Kind, Database | Cache | Broker]]:
    if environment.database:
        yield "database", environment.database
    if environment.cache:
        yield "cache", environment.cache
    if environment.broker:
        yield "broker", environment.broker


def _node_of(case: Case, environment: Environment, parts: dict[str, Node]) -> Node:
    """The node of a case: the part that is its target, or else a part that stands around."""
    if case.check.layer not in _NEVER_ON_THE_PATH:
        for id_ in _candidates(case, environment):
            if id_ in parts:
                return parts[id_]
    kind = "release" if case.check.each == "migrations" else _AROUND.get(case.check.layer, "target")
    return _node(kind, "", "around")


def _candidates(case: Case, environment: Environment) -> Iterable[str]:
    name = case.target
    frontend = environment.frontends.get(name)
    if case.check.each in ("hosts", "secure-hosts", "redirected-hosts", "placed-hosts"):
        # a host without TLS has no node of its own: its checks are about what answers there
        return (f"host:{name}", *(f"{kind}:{n}" for kind, n, host in _hosts(environment) if host == name))
    if frontend is not None and case.check.each in ("frontends", "secure-pages"):
        return (f"bucket:{frontend.bucket}",) if case.check.layer == "storage" else (f"cdn:{name}", f"frontend:{name}")
    kinds = ("service", "balancer", "database", "cache", "broker", "zone")
    return [f"{kind}:{name}" for kind in kinds]


def _hosts(environment: Environment) -> Iterator[tuple[Kind, str, str]]:
    """Each host to the parts that answer under its name."""
    for service in environment.services.values():
        if service.url:
            yield "service", service.name, service.host
    for frontend in environment.frontends.values():
        yield ("cdn" if frontend.bucket else "frontend"), frontend.name, frontend.host


def _edges(environment: Environment) -> Iterator[tuple[str, str]]:
    for service in environment.services.values():
        balancer = f"balancer:{service.load_balancer.name}" if service.load_balancer else None
        yield f"zone:{environment.dns.zone}", f"host:{service.host}"
        yield f"host:{service.host}", balancer or f"service:{service.name}"
        if balancer:
            yield balancer, f"service:{service.name}"
        yield from ((f"service:{service.name}", part) for part in _used_by(service, environment))
    for frontend in environment.frontends.values():
        yield f"zone:{environment.dns.zone}", f"host:{frontend.host}"
        yield f"host:{frontend.host}", (f"cdn:{frontend.name}" if frontend.bucket else f"frontend:{frontend.name}")
        yield f"cdn:{frontend.name}", f"bucket:{frontend.bucket}"


def _used_by(service: Service, environment: Environment) -> Iterator[str]:
    """The data that a service may reach: those whose `ingress_from` names its tasks' security group."""
    own = service.ecs.service if service.ecs else None
    for kind, part in _data(environment):
        if own is None or not part.ingress_from or any(group.startswith(own) for group in part.ingress_from):
            yield f"{kind}:{part.name}"
    if environment.sqlite:
        yield f"database:{environment.sqlite.name}"
