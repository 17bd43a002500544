"""The ways that a service's packets take: to the data tier, to AWS, and from the load balancer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gli.common.network import Interface, Network
from gli.common.sentences import Said, phrase
from gli.judge.path import Kind, Refusal, between, from_internet, to_service

NEEDED_TO_START = ("ecr.api", "ecr.dkr", "s3", "logs", "secretsmanager")
"""The services of AWS that a task needs before its container runs."""
PUBLIC = "52.95.110.1"
"""Stands for the public addresses of AWS's services."""
ANYBODY = "93.184.216.34"
"""Stands for a user on the internet."""
HTTPS = 443


@dataclass(frozen=True)
class Part:
    """A part of the data tier: where it stands, its port, and the names of the groups that may reach it."""

    name: str
    stands: tuple[Interface, ...]
    port: int
    takes: tuple[str, ...]


@dataclass(frozen=True)
class Leg:
    """One refused way of a packet."""

    source: str
    target: str
    refusal: Refusal

    def __str__(self) -> Said:
        return phrase("{} to {}: {}", self.source, self.target, self.refusal)


def of_tasks(network: Network, tasks: Iterable[Interface], parts: Iterable[Part]) -> Iterator[Leg]:
    """The refused ways of a service's tasks to the parts that take them, and to the services of AWS."""
    kept = list(parts)
    for task in tasks:
        names = {network.groups[g].name for g in task.groups if g in network.groups}
        for part in kept:
            refusals = [between(network, task, stands, part.port) for stands in part.stands]
            if names & {*part.takes}:
                yield from (Leg(task.name, part.name, r) for r in refusals if r and r.certain)
        for service in NEEDED_TO_START:
            refusal = to_service(network, task, service, PUBLIC)
            if refusal and refusal.certain:
                yield Leg(task.name, service, refusal)


def to_tasks(network: Network, nodes: Iterable[Interface], tasks: Iterable[Interface], port: int) -> Iterator[Leg]:
    """The refused ways of the load balancer's nodes to a service's tasks."""
    there = list(tasks)
    for node in nodes:
        for task in there:
            refusal = between(network, node, task, port)
            if refusal and refusal.certain:
                yield Leg(node.name, task.name, refusal)


def of_users(network: Network, nodes: Iterable[Interface], ports: Iterable[int]) -> Iterator[Leg]:
    """The refused ways of users on the internet to the load balancer's nodes."""
    wanted = list(ports)
    for node in nodes:
        for port in wanted:
            refusal = from_internet(network, node, ANYBODY, port)
            if refusal and refusal.certain:
                yield Leg(phrase("the internet"), node.name, refusal)


def of_kind(legs: Iterable[Leg], *kinds: Kind) -> list[Said]:
    """The refused ways of these kinds as sentences, one for each hop that refuses."""
    return list({leg.refusal.hop: str(leg) for leg in legs if leg.refusal.kind in kinds}.values())
