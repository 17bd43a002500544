"""Whether a TCP connection gets through a VPC, and the first hop that refuses it. Pure: facts in, a refusal out.

A packet leaves its interface through the security groups and the subnet's network ACL, follows the most specific
route, and arrives through the other subnet's ACL and groups. Groups let answers pass; ACLs do not, so the answer's
way back is followed too. Source of truth: the VPC user guide, "Security groups", "Network ACLs", "Route tables" and
"NAT gateways".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Literal

from gli.common.network import Interface, NatGateway, Network, Ports, Route, Rule, Subnet, contains
from gli.common.sentences import phrase

LINUX_PORTS: Ports = (32768, 60999)
"""The ports that a Linux task calls from (net.ipv4.ip_local_port_range); answers come back to them."""
ANY_PORTS: Ports = (1024, 65535)
"""The ports that a NAT gateway or a client on the internet calls from."""


Kind = Literal["egress", "ingress", "acl", "route", "nat", "endpoint"]


@dataclass(frozen=True)
class Refusal:
    """The first hop that refuses a connection, or whose rules are not among the facts."""

    hop: str
    """What refuses: `security group sg-1 (stg-gli-api-tasks)`, `network ACL acl-1`, `route table of subnet-1`."""
    why: str
    certain: bool = True
    """False where the way leads out of the VPC's own facts: a transit gateway, a peering, an unread prefix list."""
    kind: Kind = "route"
    """The part that refuses: what leaves a group, what enters one, an ACL, a route, a NAT gateway, an endpoint."""

    def __str__(self) -> str:
        return phrase("{}: {}", self.hop, self.why)


def between(network: Network, source: Interface, target: Interface, port: int) -> Refusal | None:
    """The refusal of a connection between two interfaces of one VPC; None where it gets through."""
    here, there = network.subnets[source.subnet], network.subnets[target.subnet]
    refusal = _leaves(network, source, target.address, target.groups, port)
    if refusal or here.id == there.id:  # inside one subnet, neither ACLs nor routes apply
        return refusal or _enters(network, target, source.address, source.groups, port)
    return (
        _acl(network, here, target.address, (port, port), egress=True)
        or _acl(network, there, source.address, (port, port), egress=False)
        or _enters(network, target, source.address, source.groups, port)
        or _acl(network, there, source.address, LINUX_PORTS, egress=True)
        or _acl(network, here, target.address, LINUX_PORTS, egress=False)
    )


def to_internet(network: Network, source: Interface, address: str, port: int) -> Refusal | None:
    """The refusal of a connection from an interface to a public address; None where it gets through."""
    here = network.subnets[source.subnet]
    refusal = _leaves(network, source, address, (), port) or _acl(network, here, address, (port, port), egress=True)
    if refusal:
        return refusal
    route = _route(network, here.routes, address)
    refusal = _gateway(network, here, source, route, address, port)
    return refusal or _acl(network, here, address, LINUX_PORTS, egress=False)


def from_internet(network: Network, target: Interface, address: str, port: int) -> Refusal | None:
    """The refusal of a connection from a public address to an interface, as a load balancer's; None where it gets
    through."""
    there = network.subnets[target.subnet]
    if not target.public:
        return Refusal(target.name, phrase("has no public address"))
    route = _route(network, there.routes, address)
    if route is None or not route.target.startswith("igw-") or not route.alive:
        return Refusal(
            phrase("route table of {}", there.id), phrase("{} is not routed to an internet gateway", address)
        )
    return (
        _acl(network, there, address, (port, port), egress=False)
        or _enters(network, target, address, (), port)
        or _acl(network, there, address, ANY_PORTS, egress=True)
    )


def to_service(network: Network, source: Interface, service: str, address: str) -> Refusal | None:
    """The refusal of HTTPS from an interface to a service of AWS (`ecr.api`), whose public address is `address`.

    An interface endpoint with private DNS takes the service's name over, whether it works or not. A gateway endpoint
    is a route of its prefix list.
    """
    taken_over = [e for e in network.endpoints.values() if e.service == service and not e.gateway and e.private_dns]
    gates = {r.target for r in network.subnets[source.subnet].routes if r.alive}
    routed = [e for e in network.endpoints.values() if e.service == service and e.gateway and e.id in gates]
    if not taken_over and not routed:
        return to_internet(network, source, address, 443)
    endpoint = (taken_over or routed)[0]
    name = phrase("endpoint {} ({})", endpoint.id, service)
    if endpoint.state != "available":
        return Refusal(name, phrase("its state is {}", endpoint.state), kind="endpoint")
    if endpoint.refuses:
        return Refusal(name, phrase("its policy does not allow {}", ", ".join(endpoint.refuses)), kind="endpoint")
    if not taken_over:
        here = network.subnets[source.subnet]
        return (
            _leaves(network, source, address, (), 443)
            or _acl(network, here, address, (443, 443), egress=True)
            or _acl(network, here, address, LINUX_PORTS, egress=False)
        )
    nodes = [
        Interface(
            name=name,
            subnet=s,
            address=_any_address(network.subnets[s]),
            groups=endpoint.groups,
        )
        for s in endpoint.subnets
        if s in network.subnets
    ]
    if not nodes:
        return Refusal(name, phrase("stands in no subnet of this network"), kind="endpoint")
    refusals = [between(network, source, node, 443) for node in nodes]  # the name can resolve to any of them
    refusal = next((refusal for refusal in refusals if refusal), None)
    return replace(refusal, kind="endpoint") if refusal and refusal.kind == "ingress" else refusal


def _gateway(
    network: Network, here: Subnet, source: Interface, route: Route | None, address: str, port: int
) -> Refusal | None:
    table = phrase("route table of {}", here.id)
    if route is None:
        return Refusal(table, phrase("no route leads to {}", address))
    if not route.alive:
        kind: Kind = "nat" if route.target.startswith("nat-") else "route"
        return Refusal(table, phrase("the route to {} leads to {}, which is gone", address, route.target), kind=kind)
    if route.target.startswith("igw-"):
        return None if source.public else Refusal(route.target, phrase("{} has no public address", source.name))
    if route.target.startswith("vpce-"):
        return _gateway_endpoint(network, route.target)
    if route.target.startswith("nat-"):
        return _nat(network, source, network.nat_gateways.get(route.target), route.target, address, port)
    return Refusal(route.target, phrase("leads out of this network, so the way can't be followed"), certain=False)


def _gateway_endpoint(network: Network, id_: str) -> Refusal | None:
    endpoint = network.endpoints.get(id_)
    if endpoint is None:
        return Refusal(id_, phrase("is an endpoint that could not be read"), certain=False, kind="endpoint")
    if endpoint.state == "available":
        return None
    return Refusal(phrase("endpoint {}", id_), phrase("its state is {}", endpoint.state), kind="endpoint")


def _nat(
    network: Network, source: Interface, gateway: NatGateway | None, id_: str, address: str, port: int
) -> Refusal | None:
    """Through a NAT gateway: into its subnet, out to the internet from there, and both ways back."""
    if gateway is None:
        return Refusal(id_, phrase("is a NAT gateway that could not be read"), certain=False, kind="nat")
    name = phrase("NAT gateway {}", id_)
    if gateway.state != "available":
        return Refusal(name, phrase("its state is {}", gateway.state), kind="nat")
    if gateway.subnet is None:
        if gateway.routes is None:
            return Refusal(name, phrase("has a route table that could not be read"), certain=False, kind="nat")
        return _behind_nat(_route(network, gateway.routes, address), name, phrase("route table of {}", id_))
    if gateway.subnet not in network.subnets:
        return Refusal(name, phrase("stands in {}, which could not be read", gateway.subnet), certain=False, kind="nat")
    there = network.subnets[gateway.subnet]  # another than the source's: there this route leads to the gateway itself
    return (
        _behind_nat(_route(network, there.routes, address), name, phrase("route table of {}", there.id))
        or _acl(network, there, source.address, (port, port), egress=False)
        or _acl(network, there, address, (port, port), egress=True)
        or _acl(network, there, address, ANY_PORTS, egress=False)
        or _acl(network, there, source.address, LINUX_PORTS, egress=True)
    )


def _behind_nat(route: Route | None, gateway: str, table: str) -> Refusal | None:
    """The refusal of the route that a NAT gateway uses: it leads to the internet, or out of this network."""
    if route is None or not route.alive or route.target == "local" or route.target.startswith("nat-"):
        return Refusal(table, phrase("{} has no way to the internet", gateway), kind="nat")
    if route.target.startswith("igw-"):
        return None
    return Refusal(route.target, phrase("leads out of this network, so the way can't be followed"), certain=False)


def _leaves(network: Network, source: Interface, address: str, groups: Sequence[str], port: int) -> Refusal | None:
    rules = [rule for id_ in source.groups if id_ in network.groups for rule in network.groups[id_].egress]
    refusal = _groups(network, source, rules, address, groups, port, phrase("lets nothing out to"))
    # Which of its many public addresses a service answers from is not known: a rule for some of them may be enough.
    if refusal and ip_address(address).is_global and any(_public(r) and _covers(r, port) for r in rules):
        refusal = replace(refusal, certain=False)
    return replace(refusal, kind="egress") if refusal else None


def _enters(network: Network, target: Interface, address: str, groups: Sequence[str], port: int) -> Refusal | None:
    rules = [rule for id_ in target.groups if id_ in network.groups for rule in network.groups[id_].ingress]
    refusal = _groups(network, target, rules, address, groups, port, phrase("lets nothing in from"))
    return replace(refusal, kind="ingress") if refusal else None


def _covers(rule: Rule, port: int) -> bool:
    return rule.ports[0] <= port <= rule.ports[1]


def _public(rule: Rule) -> bool:
    return "/" in rule.peer and not ip_network(rule.peer, strict=False).is_private


def _groups(
    network: Network,
    guarded: Interface,
    rules: Iterable[Rule],
    address: str,
    groups: Sequence[str],
    port: int,
    refuses: str,
) -> Refusal | None:
    unread = False
    for rule in rules:
        if not _covers(rule, port):
            continue
        if rule.peer in groups or any(contains(block, address) for block in _blocks(network, rule.peer)):
            return None
        unread = unread or (rule.peer.startswith("pl-") and rule.peer not in network.prefix_lists)
    named = [f"{i} ({network.groups[i].name})" if i in network.groups else i for i in guarded.groups]
    hop = (
        phrase("security group {}", ", ".join(named))
        if named
        else phrase("{} (without a security group)", guarded.name)
    )
    if unread or any(i not in network.groups for i in guarded.groups):
        return Refusal(hop, phrase("has rules that could not be read"), certain=False)
    return Refusal(hop, phrase("{} {} port {}", refuses, address, port))


def _blocks(network: Network, peer: str) -> tuple[str, ...]:
    if peer.startswith("pl-"):
        return network.prefix_lists.get(peer, ())
    return () if peer.startswith("sg-") else (peer,)


def _acl(network: Network, subnet: Subnet, address: str, ports: Ports, *, egress: bool) -> Refusal | None:
    """Every port of the range has to get through: answers come back to any of them."""
    name = phrase("network ACL {} of {}", subnet.acl, subnet.id)
    if subnet.acl not in network.acls:
        return Refusal(name, phrase("could not be read"), False, "acl")
    way = phrase("out to") if egress else phrase("in from")
    left = [ports]
    for entry in sorted(network.acls[subnet.acl], key=lambda e: e.number):
        if entry.egress != egress or not contains(entry.block, address):
            continue
        met = [common for part in left if (common := _common(part, entry.ports))]
        if met and not entry.allow:
            hop = phrase("{}, entry {}", name, entry.number)
            return Refusal(hop, phrase("denies {} {} port {}", way, address, _shown(met[0])), kind="acl")
        left = [rest for part in left for rest in _without(part, entry.ports)]
    if left:
        why = phrase("allows nothing {} {} port {}", way, address, _shown(left[0]))
        return Refusal(name, why, kind="acl")
    return None


def _common(one: Ports, other: Ports) -> Ports | None:
    first, last = max(one[0], other[0]), min(one[1], other[1])
    return (first, last) if first <= last else None


def _without(whole: Ports, part: Ports) -> list[Ports]:
    if _common(whole, part) is None:
        return [whole]
    rests = [(whole[0], part[0] - 1), (part[1] + 1, whole[1])]
    return [rest for rest in rests if rest[0] <= rest[1]]


def _shown(ports: Ports) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


def _route(network: Network, routes: Iterable[Route], address: str) -> Route | None:
    """The most specific route; a prefix list's routes compare by their blocks."""
    matching = [
        (ip_network(block, strict=False).prefixlen, route)
        for route in routes
        for block in _blocks(network, route.destination)
        if contains(block, address)
    ]
    return max(matching, key=lambda found: found[0])[1] if matching else None


def _any_address(subnet: Subnet) -> str:
    """An address of the subnet: where its endpoint stands exactly does not matter to rules of blocks."""
    return str(next(ip_network(subnet.block).hosts()))
