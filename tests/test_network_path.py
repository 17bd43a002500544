"""The path of a TCP connection through a VPC: by examples, and compared with a simulation of single packets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import FrozenInstanceError
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gli.common.network import AclEntry, Endpoint, Group, Interface, NatGateway, Network, Route, Rule, Subnet
from gli.judge.legs import HTTPS as HTTPS_PORT
from gli.judge.legs import NEEDED_TO_START, Leg, Part, of_kind, of_tasks, of_users, to_tasks
from gli.judge.path import ANY_PORTS, LINUX_PORTS, Refusal, between, from_internet, to_internet, to_service
from gli.observe.aws.vpc import Places, Vpc
from gli.observe.engine.observation import Unobserved
from tests_infra import test_paths as paths

VPC = "10.0.0.0/16"
WORLD = "0.0.0.0/0"
INTERNET = "203.0.113.9"
OPEN = tuple(AclEntry(number=100, egress=egress, allow=True, block=WORLD) for egress in (False, True))
LOCAL = Route(destination=VPC, target="local")
TASK = Interface(name="a task of api", subnet="subnet-task", address="10.0.1.10", groups=("sg-task",))
DATABASE = Interface(name="the database", subnet="subnet-data", address="10.0.2.20", groups=("sg-data",))
BALANCER = Interface(name="the balancer", subnet="subnet-edge", address="10.0.0.5", groups=("sg-edge",), public=True)


def healthy() -> Network:
    """Tasks and database in private subnets, a balancer and a NAT gateway in a public one."""
    nat, igw = (Route(destination=WORLD, target=target) for target in ("nat-1", "igw-1"))
    return Network(
        subnets={
            "subnet-edge": Subnet(id="subnet-edge", block="10.0.0.0/24", routes=(LOCAL, igw), acl="acl-1"),
            "subnet-task": Subnet(id="subnet-task", block="10.0.1.0/24", routes=(LOCAL, nat), acl="acl-1"),
            "subnet-data": Subnet(id="subnet-data", block="10.0.2.0/24", routes=(LOCAL,), acl="acl-1"),
        },
        groups={
            "sg-edge": Group(id="sg-edge", name="edge", ingress=(Rule(peer=WORLD, ports=(443, 443)),)),
            "sg-task": Group(id="sg-task", name="tasks", egress=(Rule(peer=WORLD),)),
            "sg-data": Group(id="sg-data", name="data", ingress=(Rule(peer="sg-task", ports=(5432, 5432)),)),
        },
        acls={"acl-1": OPEN},
        nat_gateways={"nat-1": NatGateway(id="nat-1", subnet="subnet-edge", address="10.0.0.9", state="available")},
    )


def changed(**parts: object) -> Network:
    """The healthy network with some of its parts replaced, or taken out by None."""
    network = healthy()
    merged = {k: {**getattr(network, k), **v} for k, v in parts.items()}  # type: ignore[dict-item]
    return network.model_copy(update={k: {n: p for n, p in v.items() if p is not None} for k, v in merged.items()})


def subnet(name: str, **change: object) -> dict[str, Subnet]:
    return {name: healthy().subnets[name].model_copy(update=change)}


def test_a_healthy_network_allows_every_path() -> None:
    network = healthy()
    assert between(network, TASK, DATABASE, 5432) is None
    assert to_internet(network, TASK, INTERNET, 443) is None
    assert from_internet(network, BALANCER, INTERNET, 443) is None
    assert to_service(network, TASK, "secretsmanager", INTERNET) is None


DENY_BACK = (AclEntry(number=50, egress=False, allow=False, block=WORLD, ports=(40000, 41000)), *OPEN)
TO_DATABASE = {
    "the task's group has no egress": (
        {"groups": {"sg-task": Group(id="sg-task", name="tasks")}},
        "security group sg-task (tasks): lets nothing out to 10.0.2.20 port 5432",
    ),
    "the database's group knows another group": (
        {"groups": {"sg-data": Group(id="sg-data", name="data", ingress=(Rule(peer="sg-old", ports=(5432, 5432)),))}},
        "security group sg-data (data): lets nothing in from 10.0.1.10 port 5432",
    ),
    "the ACL lets nothing in": (
        {"acls": {"acl-2": OPEN[1:]}, "subnets": subnet("subnet-data", acl="acl-2")},
        "network ACL acl-2 of subnet-data: allows nothing in from 10.0.1.10 port 5432",
    ),
    "the ACL lets no answer out": (
        {"acls": {"acl-2": OPEN[:1]}, "subnets": subnet("subnet-data", acl="acl-2")},
        "network ACL acl-2 of subnet-data: allows nothing out to 10.0.1.10 port 32768-60999",
    ),
    "the ACL denies some of the ports that answers go to": (
        {"acls": {"acl-2": DENY_BACK}, "subnets": subnet("subnet-task", acl="acl-2")},
        "network ACL acl-2 of subnet-task, entry 50: denies in from 10.0.2.20 port 40000-41000",
    ),
}


@pytest.mark.parametrize("name", TO_DATABASE)
def test_the_first_hop_that_refuses_the_database_is_named(name: str) -> None:
    parts, refusal = TO_DATABASE[name]
    assert str(between(changed(**parts), TASK, DATABASE, 5432)) == refusal


EDGE_ONLY_LOCAL = subnet("subnet-edge", routes=(LOCAL,))
FAILED = NatGateway(id="nat-1", subnet="subnet-edge", address="10.0.0.9", state="failed")
OUTSIDE = {
    "no route": ({"subnets": subnet("subnet-task", routes=(LOCAL,))}, "route table of subnet-task: no route leads"),
    "a route to what is gone": (
        {"subnets": subnet("subnet-task", routes=(LOCAL, Route(destination=WORLD, target="nat-0", alive=False)))},
        "leads to nat-0, which is gone",
    ),
    "an internet gateway without a public address": (
        {"subnets": subnet("subnet-task", routes=(LOCAL, Route(destination=WORLD, target="igw-1")))},
        "igw-1: a task of api has no public address",
    ),
    "a NAT gateway that failed": ({"nat_gateways": {"nat-1": FAILED}}, "NAT gateway nat-1: its state is failed"),
    "a NAT gateway in a private subnet": ({"subnets": EDGE_ONLY_LOCAL}, "NAT gateway nat-1 has no way to the internet"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_first_hop_that_refuses_the_internet_is_named(name: str) -> None:
    parts, refusal = OUTSIDE[name]
    assert refusal in str(to_internet(changed(**parts), TASK, INTERNET, 443))


def test_a_more_specific_route_wins() -> None:
    away = Route(destination="203.0.113.0/24", target="tgw-1")
    routes = (*healthy().subnets["subnet-task"].routes, away)
    refusal = to_internet(changed(subnets=subnet("subnet-task", routes=routes)), TASK, INTERNET, 443)
    assert refusal is not None
    assert (refusal.hop, refusal.certain) == ("tgw-1", False)


ENDPOINT = Endpoint(
    id="vpce-1",
    service="secretsmanager",
    state="available",
    private_dns=True,
    subnets=("subnet-data",),
    groups=("sg-endpoint",),
)


@pytest.mark.parametrize(("peer", "lets_in"), [("sg-task", True), ("sg-other", False)])
def test_an_endpoint_with_private_dns_replaces_the_public_name(peer: str, lets_in: bool) -> None:
    """The path through the NAT gateway would be open, but the name leads to the endpoint."""
    group = Group(id="sg-endpoint", name="endpoints", ingress=(Rule(peer=peer, ports=(443, 443)),))
    network = changed(endpoints={"vpce-1": ENDPOINT}, groups={"sg-endpoint": group})
    assert (to_service(network, TASK, "secretsmanager", INTERNET) is None) is lets_in
    assert to_service(network, TASK, "ecr.api", INTERNET) is None


HTTPS = Rule(peer="sg-task", ports=(443, 443))
CLOSED_ENDPOINT = Group(id="sg-endpoint", name="endpoints")
OPEN_ENDPOINT = Group(id="sg-endpoint", name="endpoints", ingress=(HTTPS,))
ENDPOINTS = {
    "is not there yet": ({"state": "pending"}, OPEN_ENDPOINT, "its state is pending", "endpoint"),
    "has a policy that refuses": (
        {"refuses": ("ecr:Get", "ecr:Put")},
        OPEN_ENDPOINT,
        "its policy does not allow ecr:Get, ecr:Put",
        "endpoint",
    ),
    "stands nowhere": ({"subnets": ("subnet-gone",)}, OPEN_ENDPOINT, "stands in no subnet of this network", "endpoint"),
    "lets no task in": ({}, CLOSED_ENDPOINT, "lets nothing in from 10.0.1.10 port 443", "endpoint"),
    "stands behind an ACL": (
        {"subnets": ("subnet-gone", "subnet-data")},
        OPEN_ENDPOINT,
        "network ACL acl-2 of subnet-data: allows nothing in from 10.0.1.10 port 443",
        "acl",
    ),
}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_refuses(name: str) -> None:
    changes, group, why, kind = ENDPOINTS[name]
    acls = {"acl-2": OPEN[1:]} if kind == "acl" else {}
    network = changed(
        endpoints={"vpce-1": ENDPOINT.model_copy(update=changes)},
        groups={"sg-endpoint": group},
        acls=acls,
        subnets=subnet("subnet-data", acl="acl-2" if acls else "acl-1"),
    )
    refusal = to_service(network, TASK, "secretsmanager", INTERNET)
    assert refusal is not None
    assert why in str(refusal)
    assert (refusal.kind, refusal.certain) == (kind, True)


def test_an_endpoint_without_private_dns_takes_nothing_over() -> None:
    apart = ENDPOINT.model_copy(update={"private_dns": False, "state": "failed"})
    assert to_service(changed(endpoints={"vpce-1": apart}), TASK, "secretsmanager", INTERNET) is None


GATE = Endpoint(id="vpce-s3", service="s3", state="available", gateway=True, private_dns=True)
S3 = {"pl-s3": ("203.0.113.0/24",)}
TO_S3 = Group(id="sg-task", name="tasks", egress=(Rule(peer="pl-s3", ports=(443, 443)),))


def gate(**changes: object) -> dict[str, Endpoint]:
    return {"vpce-s3": GATE.model_copy(update=changes)}


def with_gate(alive: bool = True, **parts: Any) -> Network:
    """A task that reaches S3 through a gateway endpoint, and nothing else."""
    routes = (LOCAL, Route(destination="pl-s3", target="vpce-s3", alive=alive))
    whole = {"endpoints": gate(), "prefix_lists": S3, "groups": {"sg-task": TO_S3}}
    return changed(**{**whole, "subnets": subnet("subnet-task", routes=routes), **parts})


@pytest.mark.parametrize(
    ("network", "why", "kind"),
    [
        (
            with_gate(endpoints={"vpce-s3": GATE.model_copy(update={"state": "failed"})}),
            "its state is failed",
            "endpoint",
        ),
        (
            with_gate(endpoints={"vpce-s3": GATE.model_copy(update={"refuses": ("s3:Get",)})}),
            "allow s3:Get",
            "endpoint",
        ),
        (with_gate(groups={"sg-task": CLOSED_ENDPOINT}), "lets nothing out to 203.0.113.9 port 443", "egress"),
        (with_gate(acls={"acl-1": OPEN[:1]}), "allows nothing out to 203.0.113.9 port 443", "acl"),
        (with_gate(acls={"acl-1": OPEN[1:]}), "allows nothing in from 203.0.113.9 port 32768-60999", "acl"),
        (with_gate(alive=False), "the route to 203.0.113.9 leads to vpce-s3, which is gone", "route"),
    ],
)
def test_a_gateway_endpoint_is_a_route_that_may_refuse(network: Network, why: str, kind: str) -> None:
    assert to_service(with_gate(), TASK, "s3", INTERNET) is None
    refusal = to_service(network, TASK, "s3", INTERNET)
    assert refusal is not None
    assert why in str(refusal)
    assert (refusal.kind, refusal.certain) == (kind, True)


def test_a_gateway_endpoint_takes_what_else_is_sent_to_its_addresses() -> None:
    assert to_internet(with_gate(), TASK, INTERNET, 443) is None
    failed = with_gate(endpoints=gate(state="failed"))
    refusal = to_internet(failed, TASK, INTERNET, 443)
    assert refusal is not None and (str(refusal), refusal.kind) == ("endpoint vpce-s3: its state is failed", "endpoint")


PARTS_UNREAD = {
    "a prefix list": (
        {
            "groups": {
                "sg-data": Group(id="sg-data", name="data", ingress=(Rule(peer="pl-unread", ports=(5432, 5432)),))
            }
        },
        "security group sg-data (data): has rules that could not be read",
    ),
    "a group": (
        {"groups": {"sg-data": None}},
        "security group sg-data: has rules that could not be read",
    ),
    "an ACL": (
        {"subnets": subnet("subnet-data", acl="acl-unread")},
        "network ACL acl-unread of subnet-data: could not be read",
    ),
}


@pytest.mark.parametrize("name", PARTS_UNREAD)
def test_an_unreadable_part_makes_the_path_uncertain(name: str) -> None:
    parts, why = PARTS_UNREAD[name]
    refusal = between(changed(**parts), TASK, DATABASE, 5432)
    assert refusal is not None
    assert (str(refusal), refusal.certain) == (why, False)


WAYS_UNREAD = {
    "vpce-9": ({}, "vpce-9: is an endpoint that could not be read", "endpoint"),
    "nat-9": ({}, "nat-9: is a NAT gateway that could not be read", "nat"),
    "nat-8": (
        {
            "nat_gateways": {
                "nat-8": FAILED.model_copy(update={"id": "nat-8", "subnet": "subnet-9", "state": "available"})
            }
        },
        "NAT gateway nat-8: stands in subnet-9, which could not be read",
        "nat",
    ),
    "pcx-1": ({}, "pcx-1: leads out of this network, so the way can't be followed", "route"),
}


@pytest.mark.parametrize("target", WAYS_UNREAD)
def test_a_way_that_cannot_be_followed_is_uncertain(target: str) -> None:
    parts, why, kind = WAYS_UNREAD[target]
    routes = subnet("subnet-task", routes=(LOCAL, Route(destination=WORLD, target=target)))
    refusal = to_internet(changed(**parts, subnets=routes), TASK, INTERNET, 443)
    assert refusal is not None
    assert (str(refusal), refusal.kind, refusal.certain) == (why, kind, False)


def test_a_rule_for_some_public_addresses_may_be_enough() -> None:
    some = Group(id="sg-task", name="tasks", egress=(Rule(peer="198.51.100.0/24", ports=(443, 443)),))
    public = "8.8.8.8"
    for ports, blocks, certain in (
        ((443, 443), "9.9.9.0/24", False),
        ((80, 80), "9.9.9.0/24", True),
        ((443, 443), VPC, True),
    ):
        group = some.model_copy(update={"egress": (Rule(peer=blocks, ports=ports),)})
        refusal = to_internet(changed(groups={"sg-task": group}), TASK, public, 443)
        assert refusal is not None
        assert (refusal.kind, refusal.certain) == ("egress", certain)


def test_a_dead_route_names_the_kind_of_what_is_gone() -> None:
    for target, kind in (("nat-0", "nat"), ("igw-0", "route")):
        routes = subnet("subnet-task", routes=(LOCAL, Route(destination=WORLD, target=target, alive=False)))
        refusal = to_internet(changed(subnets=routes), TASK, INTERNET, 443)
        assert refusal is not None and refusal.kind == kind


def test_an_interface_without_a_group_is_named() -> None:
    bare = TASK.model_copy(update={"groups": ()})
    assert str(between(healthy(), bare, DATABASE, 5432)).startswith("a task of api (without a security group): lets")


def test_answers_come_back_to_the_ports_that_clients_call_from() -> None:
    assert (LINUX_PORTS, ANY_PORTS) == ((32768, 60999), (1024, 65535))


def test_a_refusal_never_changes() -> None:
    refusal = Refusal("here", "it is closed")
    assert (refusal.certain, refusal.kind) == (True, "route")
    with pytest.raises(FrozenInstanceError):
        refusal.certain = False  # type: ignore[misc]


PART = Part(name="the database", stands=(DATABASE,), port=5432, takes=("tasks",))


def refused(legs: Iterable[Leg]) -> list[str]:
    return [f"{leg.source} to {leg.target}: {leg.refusal.kind}" for leg in legs]


def test_the_ways_of_tasks_are_those_to_their_parts_and_to_what_a_start_needs() -> None:
    assert refused(of_tasks(healthy(), [TASK], [PART])) == []
    closed = changed(groups={"sg-data": Group(id="sg-data", name="data")})
    assert refused(of_tasks(closed, [TASK], [PART])) == ["a task of api to the database: ingress"]
    other = Part(name="the database", stands=(DATABASE,), port=5432, takes=("others",))
    assert refused(of_tasks(closed, [TASK], [other])) == [], "the part takes other tasks"
    alone = changed(subnets=subnet("subnet-task", routes=(LOCAL,)))
    assert refused(of_tasks(alone, [TASK], [])) == [f"a task of api to {s}: route" for s in NEEDED_TO_START]
    unread = changed(subnets=subnet("subnet-task", acl="acl-unread"))
    assert refused(of_tasks(unread, [TASK], [PART])) == [], "nobody knows"
    stranger = TASK.model_copy(update={"groups": ("sg-unread",)})
    assert refused(of_tasks(healthy(), [stranger], [PART])) == []
    assert (443, Part("the database", (DATABASE,), 5432, ("tasks",))) == (HTTPS_PORT, PART)


def test_the_ways_to_tasks_and_of_users_name_both_ends() -> None:
    edge = Group(id="sg-edge", name="edge", ingress=(Rule(peer=WORLD),), egress=(Rule(peer="sg-task"),))
    tasks = Group(id="sg-task", name="tasks", ingress=(Rule(peer="sg-edge", ports=(8000, 8000)),))
    groups = {"sg-edge": edge, "sg-task": tasks}
    assert refused(to_tasks(changed(groups=groups), [BALANCER], [TASK], 8000)) == []
    closed = changed(groups={"sg-edge": edge})
    assert refused(to_tasks(closed, [BALANCER], [TASK], 8000)) == ["the balancer to a task of api: ingress"]
    unread = changed(groups=groups, subnets=subnet("subnet-task", acl="acl-unread"))
    assert refused(to_tasks(unread, [BALANCER], [TASK], 8000)) == []
    assert refused(of_users(healthy(), [BALANCER], [443])) == []
    private = BALANCER.model_copy(update={"public": False})
    assert refused(of_users(healthy(), [private], [80, 443])) == ["the internet to the balancer: route"] * 2
    unread = changed(subnets=subnet("subnet-edge", acl="acl-unread"))
    assert refused(of_users(unread, [BALANCER], [443])) == []


def test_ways_of_some_kinds_are_told_once_for_each_hop() -> None:
    hop = Refusal("the wall", "it is closed", kind="acl")
    legs = [Leg("one", "two", hop), Leg("three", "two", hop), Leg("one", "six", Refusal("a door", "shut", kind="nat"))]
    assert of_kind(legs, "acl", "route") == ["three to two: the wall: it is closed"]
    assert of_kind(legs, "nat") == ["one to six: a door: shut"]
    with pytest.raises(FrozenInstanceError):
        legs[0].source = "another"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        PART.port = 1  # type: ignore[misc]


# The simulation: packet by packet, each through device by device.

Packet = tuple[str, str, int]
"""From, to, and the port that it goes to."""


def acl_passes(network: Network, subnet_id: str, packet: Packet, *, egress: bool) -> bool:
    peer = packet[1] if egress else packet[0]
    entries = [e for e in network.acls[network.subnets[subnet_id].acl] if e.egress == egress]
    for entry in sorted(entries, key=lambda e: e.number):
        if ip_address(peer) in ip_network(entry.block) and entry.ports[0] <= packet[2] <= entry.ports[1]:
            return entry.allow
    return False


def groups_pass(network: Network, guarded: Interface, other: Interface | str, port: int, *, egress: bool) -> bool:
    address, members = (other, ()) if isinstance(other, str) else (other.address, other.groups)
    for id_ in guarded.groups:
        for rule in network.groups[id_].egress if egress else network.groups[id_].ingress:
            by_group = rule.peer in members
            by_block = not rule.peer.startswith("sg-") and ip_address(address) in ip_network(rule.peer)
            if (by_group or by_block) and rule.ports[0] <= port <= rule.ports[1]:
                return True
    return False


def client_ports(network: Network, first: int, last: int) -> list[int]:
    """Every port at which an ACL's decision may change."""
    edges = {p + step for entries in network.acls.values() for e in entries for p in e.ports for step in (-1, 0, 1)}
    return sorted({first, last} | {p for p in edges if first <= p <= last})


def next_hop(network: Network, subnet_id: str, address: str) -> str | None:
    found = [r for r in network.subnets[subnet_id].routes if ip_address(address) in ip_network(r.destination)]
    best = max(found, key=lambda r: ip_network(r.destination).prefixlen, default=None)
    return best.target if best is not None and best.alive else None


def devices_between(network: Network, source: Interface, target: Interface, port: int) -> Iterator[bool]:
    request: Packet = (source.address, target.address, port)
    crossing = source.subnet != target.subnet
    yield groups_pass(network, source, target, port, egress=True)
    if crossing:
        yield acl_passes(network, source.subnet, request, egress=True)
        yield acl_passes(network, target.subnet, request, egress=False)
    yield groups_pass(network, target, source, port, egress=False)
    for client_port in client_ports(network, *LINUX_PORTS) if crossing else ():
        answer: Packet = (target.address, source.address, client_port)
        yield acl_passes(network, target.subnet, answer, egress=True)
        yield acl_passes(network, source.subnet, answer, egress=False)


def devices_outwards(network: Network, source: Interface, address: str, port: int) -> Iterator[bool]:
    yield groups_pass(network, source, address, port, egress=True)
    yield acl_passes(network, source.subnet, (source.address, address, port), egress=True)
    hop = next_hop(network, source.subnet, address)
    yield hop is not None and hop != "local"
    if hop == "igw-1":
        yield source.public
    elif hop == "nat-1":
        nat = network.nat_gateways["nat-1"]
        crossing = nat.subnet != source.subnet
        yield nat.state == "available"
        yield next_hop(network, nat.subnet, address) == "igw-1"
        if crossing:
            yield acl_passes(network, nat.subnet, (source.address, address, port), egress=False)
        yield acl_passes(network, nat.subnet, (nat.address, address, port), egress=True)
        for nat_port in client_ports(network, *ANY_PORTS):
            yield acl_passes(network, nat.subnet, (address, nat.address, nat_port), egress=False)
        for client_port in client_ports(network, *LINUX_PORTS) if crossing else ():
            yield acl_passes(network, nat.subnet, (address, source.address, client_port), egress=True)
    for client_port in client_ports(network, *LINUX_PORTS):
        yield acl_passes(network, source.subnet, (address, source.address, client_port), egress=False)


def devices_inwards(network: Network, target: Interface, address: str, port: int) -> Iterator[bool]:
    yield target.public
    yield next_hop(network, target.subnet, address) == "igw-1"
    yield acl_passes(network, target.subnet, (address, target.address, port), egress=False)
    yield groups_pass(network, target, address, port, egress=False)
    for client_port in client_ports(network, *ANY_PORTS):
        yield acl_passes(network, target.subnet, (target.address, address, client_port), egress=True)


BLOCKS = st.sampled_from([WORLD, VPC, "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "203.0.113.0/24", "128.0.0.0/1"])
PORTS = st.sampled_from(
    [(0, 65535), (443, 443), (5432, 5432), (1024, 65535), (32768, 60999), (1024, 40000), (50000, 65535)]
)
ENTRIES = st.builds(
    AclEntry,
    number=st.integers(1, 20),
    egress=st.booleans(),
    allow=st.sampled_from([False, False, True]),
    block=BLOCKS,
    ports=PORTS,
)
ACLS = st.lists(ENTRIES, max_size=2, unique_by=lambda e: (e.number, e.egress)).map(lambda some: (*some, *OPEN))
CLOSED = st.lists(
    st.builds(Rule, peer=st.one_of(BLOCKS, st.sampled_from(["sg-task", "sg-data"])), ports=PORTS), max_size=3
)
RULES = st.one_of(st.just([Rule(peer=WORLD)]), st.just([Rule(peer=WORLD)]), CLOSED)
TARGETS = st.sampled_from(["igw-1", "nat-1"])
ROUTES = st.lists(
    st.builds(Route, destination=st.sampled_from([WORLD, "203.0.113.0/24"]), target=TARGETS, alive=st.booleans()),
    max_size=2,
    unique_by=lambda r: r.destination,
)


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, Interface, Interface]:
    def group(name: str) -> Group:
        return Group(id=name, name=name, ingress=tuple(draw(RULES)), egress=tuple(draw(RULES)))

    network = healthy()
    kept = draw(st.lists(st.booleans(), min_size=5, max_size=5).map(lambda some: [True, *some]))
    subnets = {
        id_: known.model_copy(
            update={
                "acl": f"acl-{n}",
                "routes": known.routes if kept[n] else (LOCAL, *draw(ROUTES)),
            }
        )
        for n, (id_, known) in enumerate(network.subnets.items(), start=1)
    }
    nat = NatGateway(
        id="nat-1",
        subnet="subnet-edge" if kept[4] else draw(st.sampled_from(sorted(subnets))),
        address="10.0.0.9",
        state="available" if kept[5] else draw(st.sampled_from(["available", "failed"])),
    )
    made = Network(
        subnets=subnets,
        groups={name: group(name) for name in ("sg-task", "sg-data")},
        acls={f"acl-{n}": draw(ACLS) for n in (1, 2, 3)},
        nat_gateways={"nat-1": nat},
    )
    public = draw(st.booleans())
    target = DATABASE.model_copy(update={"subnet": draw(st.sampled_from(["subnet-data", "subnet-task"]))})
    return made, TASK.model_copy(update={"public": public}), target


@settings(max_examples=400, deadline=None)
@given(networks(), st.sampled_from([443, 5432]))
def test_the_path_agrees_with_packets_inside_the_network(made: tuple[Network, Interface, Interface], port: int) -> None:
    network, source, target = made
    assert (between(network, source, target, port) is None) == all(devices_between(network, source, target, port))


@settings(max_examples=400, deadline=None)
@given(networks(), st.sampled_from([443, 5432]))
def test_the_path_agrees_with_packets_to_the_internet(made: tuple[Network, Interface, Interface], port: int) -> None:
    network, source, _ = made
    refusal: Refusal | None = to_internet(network, source, INTERNET, port)
    assert (refusal is None) == all(devices_outwards(network, source, INTERNET, port))


@settings(max_examples=400, deadline=None)
@given(networks(), st.sampled_from([443, 5432]))
def test_the_path_agrees_with_packets_from_the_internet(made: tuple[Network, Interface, Interface], port: int) -> None:
    network, target, _ = made
    refusal = from_internet(network, target, INTERNET, port)
    assert (refusal is None) == all(devices_inwards(network, target, INTERNET, port))


def test_a_data_tier_in_another_network_is_named_and_the_ways_to_aws_are_judged() -> None:
    service = SimpleNamespace(name="api", ecs=SimpleNamespace(service="stg-api"), load_balancer=None)
    environment: Any = SimpleNamespace(
        services={"api": service},
        on_awsvpc=[service],
        cache=None,
        broker=None,
        database=SimpleNamespace(instance="stg", ingress_from=("tasks",)),
    )
    places = Places(tasks={"api": (TASK,)}, elsewhere=("database",))

    def judged(network: Network) -> None:
        paths.test_net_task_egress(Vpc(id="vpc-1", network=network, free={}), places, environment)

    with pytest.raises(Unobserved, match="the database stands in another network") as raised:
        judged(healthy())
    assert raised.value.unknown.cause == "not-applicable"
    with pytest.raises(AssertionError, match="a way from the tasks' subnets to AWS"):
        judged(changed(subnets=subnet("subnet-task", routes=(LOCAL,))))


def edge_entry(number: int, *, egress: bool, allow: bool, block: str, ports: tuple[int, int]) -> AclEntry:
    return AclEntry(number=number, egress=egress, allow=allow, block=block, ports=ports)


AT_THE_NAT_GATEWAY = {
    "in from the task": (edge_entry(50, egress=False, allow=False, block="10.0.1.0/24", ports=(443, 443)), "10.0.1.10"),
    "out to the internet": (edge_entry(50, egress=True, allow=False, block=WORLD, ports=(443, 443)), INTERNET),
    "the answer in": (edge_entry(50, egress=False, allow=False, block=f"{INTERNET}/32", ports=(1024, 1024)), INTERNET),
    "the last answer in": (
        edge_entry(50, egress=False, allow=False, block=f"{INTERNET}/32", ports=(65535, 65535)),
        INTERNET,
    ),
    "the answer out to the task": (
        edge_entry(50, egress=True, allow=False, block="10.0.1.0/24", ports=(32768, 32768)),
        "10.0.1.10",
    ),
    "the last answer out to the task": (
        edge_entry(50, egress=True, allow=False, block="10.0.1.0/24", ports=(60999, 60999)),
        "10.0.1.10",
    ),
}


@pytest.mark.parametrize("name", AT_THE_NAT_GATEWAY)
def test_the_acl_of_a_nat_gateways_subnet_refuses(name: str) -> None:
    entry, address = AT_THE_NAT_GATEWAY[name]
    network = changed(acls={"acl-2": (entry, *OPEN)}, subnets=subnet("subnet-edge", acl="acl-2"))
    way = "out to" if entry.egress else "in from"
    said = f"network ACL acl-2 of subnet-edge, entry 50: denies {way} {address} port {entry.ports[0]}"
    assert str(to_internet(network, TASK, INTERNET, 443)) == said


@pytest.mark.parametrize("ports", [(1, 32767), (61000, 65535), (443, 443), (5432, 5432)])
def test_an_acl_may_deny_the_ports_that_no_answer_goes_to(ports: tuple[int, int]) -> None:
    denies = edge_entry(50, egress=False, allow=False, block=WORLD, ports=ports)
    network = changed(acls={"acl-2": (denies, *OPEN)}, subnets=subnet("subnet-task", acl="acl-2"))
    assert between(network, TASK, DATABASE, 5432) is None


@pytest.mark.parametrize(
    ("allowed", "refusal"),
    [
        ([(32768, 60999)], None),
        ([(1024, 40000), (40001, 65535)], None),
        ([(32768, 40000), (50000, 60999), (40001, 49999)], None),
        ([(32769, 60999)], "port 32768"),
        ([(32768, 60998)], "port 60999"),
        ([(32768, 40000), (40002, 60999)], "port 40001"),
        ([(33000, 60000)], "port 32768-32999"),
        ([(1, 32767), (61000, 65535)], "port 32768-60999"),
    ],
)
def test_every_port_that_an_answer_may_go_to_has_to_be_allowed(
    allowed: list[tuple[int, int]], refusal: str | None
) -> None:
    """The entries count in the order of their numbers, wherever they stand."""
    entries = [
        edge_entry(n, egress=False, allow=True, block="10.0.2.0/24", ports=ports) for n, ports in enumerate(allowed, 1)
    ]
    last = edge_entry(1000, egress=False, allow=False, block=WORLD, ports=(0, 65535))
    out = (OPEN[1],)
    acl = (*((last,) if refusal is None else ()), *reversed(entries), *out)
    found = between(changed(acls={"acl-2": acl}, subnets=subnet("subnet-task", acl="acl-2")), TASK, DATABASE, 5432)
    said = f"network ACL acl-2 of subnet-task: allows nothing in from 10.0.2.20 {refusal}"
    assert (found and str(found)) == (refusal and said)


@pytest.mark.parametrize(
    ("ports", "open_"),
    [((5432, 5432), True), ((0, 5432), True), ((5432, 65535), True), ((0, 5431), False), ((5433, 65535), False)],
)
def test_a_rule_covers_its_first_and_its_last_port(ports: tuple[int, int], open_: bool) -> None:
    rule = Rule(peer="sg-task", ports=ports)
    network = changed(groups={"sg-data": Group(id="sg-data", name="data", ingress=(rule,))})
    assert (between(network, TASK, DATABASE, 5432) is None) == open_


@pytest.mark.parametrize(
    ("routes", "hop"),
    [
        (None, "NAT gateway nat-1: has a route table that could not be read"),
        ((Route(destination=WORLD, target="tgw-1"),), "tgw-1: leads out of this network, so the way can't be followed"),
    ],
)
def test_where_a_regional_nat_gateway_sends_packets_may_be_uncertain(
    routes: tuple[Route, ...] | None, hop: str
) -> None:
    gateway = NatGateway(id="nat-1", subnet=None, address="10.0.0.9", state="available", routes=routes)
    found = to_internet(changed(nat_gateways={"nat-1": gateway}), TASK, INTERNET, 443)
    assert found is not None and (str(found), found.certain) == (hop, False)


def test_a_group_that_lets_https_alone_out_is_enough_for_a_gateway_endpoint() -> None:
    routes = (LOCAL, Route(destination=f"{INTERNET}/32", target="vpce-s3"))
    https = Group(id="sg-task", name="tasks", egress=(Rule(peer=WORLD, ports=(443, 443)),))
    network = changed(groups={"sg-task": https}, subnets=subnet("subnet-task", routes=routes))
    network = network.model_copy(update={"endpoints": {"vpce-s3": GATE}})
    assert to_service(network, TASK, "s3", INTERNET) is None


def test_one_rule_for_public_addresses_beside_others_makes_the_way_out_uncertain() -> None:
    rules = (Rule(peer="52.95.0.0/16", ports=(443, 443)), Rule(peer="sg-data", ports=(5432, 5432)))
    network = changed(groups={"sg-task": Group(id="sg-task", name="tasks", egress=rules)})
    found = to_internet(network, TASK, "8.8.8.8", 443)
    assert found is not None and (found.kind, found.certain) == ("egress", False)
