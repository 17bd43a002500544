"""Security groups: who may reach which port.

Every kind of rule counts as an opening: an IPv4 or IPv6 range, a port range that contains the port, protocol -1, a
prefix list, another security group. Source of truth: ec2 DescribeSecurityGroups and GetManagedPrefixListEntries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from gli.common.sentences import listed, phrase
from gli.observe.aws.ecs_services import ecs_services
from gli.observe.aws.elasticache import cache_groups
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.mq import broker_groups
from gli.observe.aws.rds import database_instance
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe

ALL_PORTS = (0, 65535)
_PRIVATE = re.compile(r"10\.|f[cd][0-9a-f]{2}:", re.IGNORECASE)
"""How addresses of the private blocks 10.0.0.0/8 (RFC 1918) and fc00::/7 (RFC 4193) begin: the others are smaller."""
_MOST_LISTS = 5
"""The most prefix lists that are read: each costs a call, and a run may make a hundred calls."""


def is_world(block: str) -> bool:
    """Whether a CIDR block covers all of IPv4 or IPv6, or nearly all. A block of private addresses does not."""
    network, _, bits = block.partition("/")
    most, of_private = (16, 7) if ":" in network else (8, 8)
    if not bits.isdigit() or int(bits) > most:
        return False
    return int(bits) < of_private or _PRIVATE.match(network) is None


class Opening(Observation):
    """One source that a security group allows, with its ports."""

    source: str
    """A CIDR block, the name of a security group, or `prefix list pl-…`."""
    source_id: str
    """The source's id in AWS: the block itself, `sg-…` or `pl-…`."""
    protocol: str
    """`tcp`, `udp`, `icmp`, or `any` for -1."""
    first_port: int
    last_port: int

    def reaches(self, port: int) -> bool:
        """Whether the opening allows TCP to `port`."""
        return self.protocol in ("tcp", "any") and self.first_port <= port <= self.last_port

    @property
    def world(self) -> bool:
        """Whether the source is everybody: all of IPv4 or IPv6, or nearly all."""
        return is_world(self.source_id)

    @property
    def prefix_list(self) -> bool:
        """Whether the source is a prefix list. Its blocks are read with `prefix_lists`."""
        return self.source_id.startswith("pl-")

    def __str__(self) -> str:
        if (self.first_port, self.last_port) == ALL_PORTS:
            ports: str = phrase("all ports")
        elif self.first_port == self.last_port:
            ports = str(self.first_port)
        else:
            ports = f"{self.first_port}-{self.last_port}"
        return phrase("{} to {} of any protocol" if self.protocol == "any" else "{} to {}", self.source, ports)


class SecurityGroup(Observation):
    """A security group and its openings."""

    id: str
    name: str
    openings: tuple[Opening, ...]
    ways_out: tuple[Opening, ...] = ()
    """Where its members may connect to: the rules for what leaves, with the target in place of the source."""

    def reaching(self, port: int) -> tuple[Opening, ...]:
        """The openings that allow TCP to `port`."""
        return tuple(o for o in self.openings if o.reaches(port))


class SecurityGroups(Observation):
    """Every security group of the environment's network, and those of its parts in other networks."""

    vpc: str
    groups: tuple[SecurityGroup, ...]
    elsewhere: tuple[SecurityGroup, ...] = ()
    """The groups of the cache, the broker, the load balancers and the tasks that are in another VPC."""

    def named(self, name: str) -> SecurityGroup:
        """The group with this name. Raises `Unobserved` if there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise unknown("not-found", phrase("no security group is named {} in {}", name, self.vpc))

    def with_id(self, group_id: str) -> SecurityGroup:
        """The group with this id. Raises `Unobserved` if there is none."""
        for group in (*self.groups, *self.elsewhere):
            if group.id == group_id:
                return group
        raise unknown("not-found", phrase("no security group {} in {}", group_id, self.vpc))


@probe()
async def security_groups(observer: Observer) -> SecurityGroups:
    """The security groups of the environment's VPC, with their openings. One call, and one more where a part stands in
    another VPC.
    """
    vpc = await _vpc(observer)
    answer = await observer.aws.call(
        observer, "ec2", "describe_security_groups", Filters=[{"Name": "vpc-id", "Values": [vpc]}]
    )
    described = [g for g in answer["SecurityGroups"] if g["VpcId"] == vpc]
    missing = sorted(await _attached(observer) - {g["GroupId"] for g in described})
    others: list[dict[str, Any]] = []
    if missing:
        answer = await observer.aws.call(
            observer, "ec2", "describe_security_groups", Filters=[{"Name": "group-id", "Values": missing}]
        )
        others = [g for g in answer["SecurityGroups"] if g["GroupId"] in missing]
    return SecurityGroups(vpc=vpc, groups=groups_of(described, others), elsewhere=groups_of(others, described))


async def _attached(observer: Observer) -> set[str]:
    """The ids of the groups of the parts; those of a part that could not be observed are left out."""
    environment, found = observer.environment, set[str]()
    for load_balancer in environment.balancers.values():
        with suppress(Unobserved):
            found |= {*(await observer.see(balancer, load_balancer)).security_groups}
    if environment.ecs:
        with suppress(Unobserved):
            found |= {i for s in (await observer.see(ecs_services)).values() for i in s.security_groups}
    if environment.cache and environment.cache.replication_group:
        with suppress(Unobserved):
            found |= {*await observer.see(cache_groups, environment.cache)}
    if environment.broker and environment.broker.amazon_mq:
        with suppress(Unobserved):
            found |= {*(await observer.see(broker_groups, environment.broker) or ())}
    return found


def groups_of(described: list[dict[str, Any]], others: Sequence[dict[str, Any]] = ()) -> tuple[SecurityGroup, ...]:
    """Security groups from an answer of DescribeSecurityGroups, sorted by name. `others` may be named as sources."""
    names = {g["GroupId"]: g["GroupName"] for g in (*others, *described)}
    groups = [
        SecurityGroup(
            id=g["GroupId"],
            name=g["GroupName"],
            openings=_openings(g["IpPermissions"], names),
            ways_out=_openings(g["IpPermissionsEgress"], names),
        )
        for g in described
    ]
    return tuple(sorted(groups, key=lambda g: g.name))


async def _vpc(observer: Observer) -> str:
    """The VPC of the database, else of the load balancer, else of the security groups that the environment names."""
    environment = observer.environment
    if environment.database and environment.database.instance:
        vpc = (await observer.see(database_instance, environment.database)).vpc
        if vpc is None:
            raise unknown("dependency", phrase("{} stands in no VPC that RDS names", environment.database.instance))
        return vpc
    for load_balancer in environment.balancers.values():
        vpc = (await observer.see(balancer, load_balancer)).vpc
        if vpc is None:
            raise unknown("dependency", phrase("there is no load balancer {}", load_balancer.name))
        return vpc
    named = sorted({p.security_group for p in (environment.cache, environment.broker) if p and p.security_group})
    answer = await observer.aws.call(
        observer, "ec2", "describe_security_groups", Filters=[{"Name": "group-name", "Values": named}]
    )
    found = sorted({group["VpcId"] for group in answer["SecurityGroups"]})
    if len(found) != 1:
        raise unknown("not-found", phrase("no security group is named {} in {}", listed(named), listed(found)))
    return str(found[0])


@probe(deadline=20)
async def prefix_lists(observer: Observer) -> dict[str, tuple[str, ...]]:
    """Prefix list id to its blocks, for the lists that the groups allow. A list that can't be read is left out."""
    known = await observer.see(security_groups)
    openings = [o for group in (*known.groups, *known.elsewhere) for o in group.openings]
    found: dict[str, tuple[str, ...]] = {}
    for id_ in sorted({o.source_id for o in openings if o.prefix_list})[:_MOST_LISTS]:
        with suppress(AwsError):
            answer = await observer.aws.call(observer, "ec2", "get_managed_prefix_list_entries", PrefixListId=id_)
            found[id_] = tuple(sorted(entry["Cidr"] for entry in answer["Entries"]))
    return found


def _openings(permissions: list[dict[str, Any]], names: dict[str, str]) -> tuple[Opening, ...]:
    openings = []
    for permission in permissions:
        protocol = str(permission["IpProtocol"])
        protocol = {"-1": "any", "1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}.get(protocol, protocol)
        first, last = permission.get("FromPort"), permission.get("ToPort")
        if protocol == "any" or first is None or last is None or first == -1:
            first, last = ALL_PORTS
        sources = [(r["CidrIp"], r["CidrIp"]) for r in permission["IpRanges"]]
        sources += [(r["CidrIpv6"], r["CidrIpv6"]) for r in permission["Ipv6Ranges"]]
        lists = [p["PrefixListId"] for p in permission["PrefixListIds"]]
        sources += [(f"prefix list {i}", i) for i in lists]
        sources += [(names.get(i, i), i) for p in permission["UserIdGroupPairs"] for i in [_pair_id(p)]]
        openings += [
            Opening(source=source, source_id=source_id, protocol=protocol, first_port=first, last_port=last)
            for source, source_id in sources
        ]
    return tuple(sorted(openings, key=str))


def _pair_id(pair: dict[str, Any]) -> str:
    """The id of a source group, or its name if the answer has no id."""
    return str(pair.get("GroupId") or pair["GroupName"])
