"""A VPC as facts: subnets, routes, network ACLs, security groups, NAT gateways and endpoints. IPv4 and TCP only.

`gli.observe.aws` fills it, `gli.judge.path` follows packets through it. Source of truth: ec2 DescribeSubnets,
DescribeRouteTables, DescribeNetworkAcls, DescribeSecurityGroups, DescribeNatGateways and DescribeVpcEndpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

from pydantic import BaseModel, ConfigDict

Ports = tuple[int, int]
"""First and last port, both included."""
ALL_PORTS: Ports = (0, 65535)


class Fact(BaseModel):
    """A frozen part of the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(Fact):
    """One permission of a security group: TCP or any protocol, to or from a peer."""

    peer: str
    """A CIDR block, a security group's id (`sg-…`), or a prefix list's id (`pl-…`)."""
    ports: Ports = ALL_PORTS


class Group(Fact):
    """A security group. It refuses what no rule allows; answers to allowed packets always pass."""

    id: str
    name: str
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


class AclEntry(Fact):
    """One numbered entry of a network ACL: the lowest number that matches a packet decides."""

    number: int
    egress: bool
    allow: bool
    block: str
    ports: Ports = ALL_PORTS


class Route(Fact):
    """One route: packets to `destination` (a CIDR block or `pl-…`) go to `target`."""

    destination: str
    target: str
    """`local`, or the id of a gateway: `igw-…`, `nat-…`, `vpce-…`, `tgw-…`, `pcx-…`, `eni-…`."""
    alive: bool = True
    """False where the target is gone (state `blackhole`)."""


class Subnet(Fact):
    """A subnet with its own or the main route table, and its network ACL."""

    id: str
    block: str
    routes: tuple[Route, ...]
    acl: str


class NatGateway(Fact):
    """A NAT gateway: it sends packets on from its own subnet, or by its own route table if it is a regional one."""

    id: str
    subnet: str | None
    """None: it is regional, and stands in no subnet."""
    address: str
    """Its private address."""
    state: str
    routes: tuple[Route, ...] | None = None
    """The routes of a regional one; None: they could not be read."""


class Endpoint(Fact):
    """A VPC endpoint of an AWS service."""

    id: str
    service: str
    """The service's name without the region: `ecr.api`, `secretsmanager`, `s3`."""
    state: str
    gateway: bool = False
    """A gateway endpoint is a route; an interface endpoint is an address in a subnet."""
    private_dns: bool = False
    """Whether the service's ordinary name leads to the endpoint."""
    subnets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    """What a starting task asks of the service and the endpoint's policy does not allow."""


class Interface(Fact):
    """A network interface, or the place where one will be created: a task, a database, a node of a load balancer."""

    name: str
    subnet: str
    address: str
    groups: tuple[str, ...]
    public: bool = False
    """Whether it has a public address."""


class Network(Fact):
    """Everything that decides whether a packet arrives."""

    subnets: Mapping[str, Subnet]
    groups: Mapping[str, Group] = {}
    acls: Mapping[str, tuple[AclEntry, ...]] = {}
    nat_gateways: Mapping[str, NatGateway] = {}
    endpoints: Mapping[str, Endpoint] = {}
    prefix_lists: Mapping[str, tuple[str, ...]] = {}
    """The CIDR blocks of each prefix list that could be read."""


def contains(block: str, address: str) -> bool:
    """Whether a CIDR block holds an IPv4 address; an IPv6 block holds none."""
    network = ip_network(block, strict=False)
    return isinstance(network, IPv4Network) and IPv4Address(ip_address(address)) in network
