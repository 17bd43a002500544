"""The path of a TCP connection through a VPC: by examples, and compared with a simulation of single packets."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gli.common.network import AclEntry, Endpoint, Group, Interface, NatGateway, Network, Route, Rule, Subnet
from gli.judge.path import ANY_PORTS, LINUX_PORTS, Refusal, between, from_internet, to_internet, to_service

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
    """The healthy network with some of its parts replaced."""
    network = healthy()
    return network.model_copy(update={k: {**getattr(network, k), **v} for k, v in parts.items()})  # type: ignore[dict-item]


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


def test_an_unreadable_part_makes_the_path_uncertain() -> None:
    rules = (Rule(peer="pl-unread", ports=(5432, 5432)),)
    network = changed(groups={"sg-data": Group(id="sg-data", name="data", ingress=rules)})
    refusal = between(network, TASK, DATABASE, 5432)
    assert refusal is not None
    assert not refusal.certain


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
