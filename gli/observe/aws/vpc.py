"""The environment's VPC as facts for `gli.judge.path`, and where the parts of the environment stand in it.

Source of truth: ec2 DescribeSubnets, DescribeRouteTables, DescribeNetworkAcls, DescribeNatGateways and
DescribeVpcEndpoints; rds DescribeDBInstances, elasticache DescribeCacheSubnetGroups, mq DescribeBroker, elbv2
DescribeLoadBalancers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from gli.common.network import ALL_PORTS, AclEntry, Endpoint, Group, Interface, NatGateway, Network, Route, Rule, Subnet
from gli.common.partitions import partition_of
from gli.common.sentences import phrase
from gli.observe.aws.ec2_security_groups import Opening, security_groups
from gli.observe.aws.ecs_services import ecs_services
from gli.observe.aws.elasticache import cache_groups, cache_subnets, replication_group
from gli.observe.aws.iam_statements import policy_allows
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.mq import broker_network
from gli.observe.aws.rds import database_instance
from gli.observe.engine.observation import Observation, one_of, told, unknown
from gli.observe.engine.probe import Observer, probe

_TARGETS = (
    *("NatGatewayId", "GatewayId", "TransitGatewayId", "NetworkInterfaceId", "InstanceId", "VpcPeeringConnectionId"),
    *("CoreNetworkArn", "LocalGatewayId", "CarrierGatewayId", "OdbNetworkArn", "EgressOnlyInternetGatewayId"),
)
_TCP = ("6", "-1")
_ACL_ACTIONS = frozenset({"allow", "deny"})
_ROUTE_STATES = frozenset({"active", "blackhole", "filtered"})
_NAT_STATES = frozenset({"pending", "failed", "available", "deleting", "deleted"})


class Vpc(Observation):
    """A VPC: what decides whether a packet arrives, and the number of free addresses of each subnet."""

    id: str
    network: Network
    free: dict[str, int]


class Places(Observation):
    """Where the parts of the environment stand: one interface for each subnet that a part may stand in."""

    tasks: dict[str, tuple[Interface, ...]]
    """Service name to its tasks' interfaces."""
    database: tuple[Interface, ...] = ()
    database_port: int = 5432
    cache: tuple[Interface, ...] = ()
    broker: tuple[Interface, ...] = ()
    balancers: Mapping[str, tuple[Interface, ...]] = {}
    """Load balancer to its nodes' interfaces."""
    public: tuple[str, ...] = ()
    """The load balancers that face the internet."""
    elsewhere: tuple[str, ...] = ()
    """The parts of the data tier that stand in another network."""


@probe(deadline=20)
async def vpc(observer: Observer) -> Vpc:
    """The environment's VPC. Five calls, and that for the security groups."""
    groups = await observer.see(security_groups)
    id_ = groups.vpc
    within = [{"Name": "vpc-id", "Values": [id_]}]

    async def asked(operation: str, key: str, filters: str = "Filters") -> list[dict[str, Any]]:
        parameters: dict[str, Any] = {filters: within}
        answer = await observer.aws.call(observer, "ec2", operation, **parameters)
        return [each for each in answer[key] if each["VpcId"] == id_]

    subnets, tables, acls, gateways, endpoints = await asyncio.gather(
        asked("describe_subnets", "Subnets"),
        asked("describe_route_tables", "RouteTables"),
        asked("describe_network_acls", "NetworkAcls"),
        asked("describe_nat_gateways", "NatGateways", "Filter"),
        asked("describe_vpc_endpoints", "VpcEndpoints"),
    )
    subnets = [s for s in subnets if not s.get("Ipv6Native")]  # without a block of IPv4, which alone is followed
    acl_of = {a["SubnetId"]: acl["NetworkAclId"] for acl in acls for a in acl["Associations"]}
    return Vpc(
        id=id_,
        network=Network(
            subnets={s["SubnetId"]: _subnet(s, tables, acl_of) for s in subnets},
            groups={
                g.id: Group(id=g.id, name=g.name, ingress=_rules(g.openings), egress=_rules(g.ways_out))
                for g in groups.groups
            },
            acls={acl["NetworkAclId"]: _entries(acl) for acl in acls},
            nat_gateways={g["NatGatewayId"]: _nat_gateway(g, tables) for g in gateways},
            endpoints={e["VpcEndpointId"]: _endpoint(e) for e in endpoints if _named(e)},
        ),
        free={s["SubnetId"]: s["AvailableIpAddressCount"] for s in subnets},
    )


@probe(deadline=20)
async def places(observer: Observer) -> Places:
    """Where tasks, data tier and load balancer stand."""
    environment = observer.environment
    network = (await observer.see(vpc)).network

    def at(name: str, subnets: tuple[str, ...], groups: tuple[str, ...], public: bool = False) -> tuple[Interface, ...]:
        if not subnets:
            raise unknown("too-little-data", phrase("AWS names no subnet of {}", name))
        return tuple(
            Interface(name=name, subnet=s, address=_address(network.subnets[s]), groups=groups, public=public)
            for s in sorted(subnets)
            if s in network.subnets
        )

    found: dict[str, Any] = {"tasks": {}}
    for name, service in (await observer.see(ecs_services)).items():
        task = f"a task of {service.name}"
        found["tasks"][name] = (
            at(task, service.subnets, service.security_groups, service.public_address) if service.subnets else ()
        )
    if environment.database and environment.database.instance:
        instance = await observer.see(database_instance, environment.database)
        if instance.status != "missing":
            found["database"] = at(instance.id, instance.subnets, instance.security_groups)
            found["database_port"] = told(instance.port, phrase("the port of {}", instance.id))
    if (cache := environment.cache) and cache.replication_group:
        described = await observer.see(replication_group, cache)
        if described.status != "missing":
            stands, groups_of_cache = await observer.see(cache_subnets, cache), await observer.see(cache_groups, cache)
            found["cache"] = at(cache.replication_group, stands, groups_of_cache)
    broker = environment.broker
    if broker and (attached := await observer.see(broker_network, broker)):
        found["broker"] = at(str(broker.amazon_mq), attached.subnets, attached.groups)
    nodes = [await observer.see(balancer, each) for each in environment.balancers.values()]
    found["public"] = tuple(node.name for node in nodes if node.public)
    stored = ("database", "cache", "broker")
    found["elsewhere"] = tuple(part for part in stored if part in found and not found[part])
    there = [n for n in nodes if n.arn]
    found["balancers"] = {n.name: at(n.name, n.subnets, n.security_groups, n.public) for n in there}
    return Places(**found)


def _address(subnet: Subnet) -> str:
    """An address of the subnet: rules of blocks and groups treat all of them alike, but for blocks inside a subnet."""
    return str(list(ip_network(subnet.block).hosts())[9])


def _subnet(described: Mapping[str, Any], tables: list[dict[str, Any]], acl_of: Mapping[str, str]) -> Subnet:
    id_ = described["SubnetId"]
    table = _table_of(id_, tables)
    if table is None:
        raise unknown("too-little-data", phrase("EC2 names no route table of {}", id_))
    if id_ not in acl_of:
        raise unknown("too-little-data", phrase("EC2 names no network ACL of {}", id_))
    return Subnet(id=id_, block=described["CidrBlock"], routes=_routes(table), acl=acl_of[id_])


def _table_of(subnet: str, tables: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The route table of the subnet, or else the VPC's main route table."""
    main: dict[str, Any] | None = None
    for table in tables:
        for association in table["Associations"]:
            if association.get("SubnetId") == subnet:
                return table
            if association["Main"]:
                main = table
    return main


def _routes(table: Mapping[str, Any]) -> tuple[Route, ...]:
    return tuple(route for each in table["Routes"] if (route := _route(each)))


def _route(described: Mapping[str, Any]) -> Route | None:
    """One route; None for a route of IPv6, which no check follows."""
    if described.get("DestinationIpv6CidrBlock"):
        return None
    destination = described.get("DestinationCidrBlock") or described["DestinationPrefixListId"]
    target = next((str(described[key]) for key in _TARGETS if described.get(key)), "")
    alive = one_of(_ROUTE_STATES, described["State"], phrase("the state of the route to {}", destination)) == "active"
    if not target and alive:
        raise unknown("error", phrase("a route to {} has a target of a kind not known here", destination))
    return Route(destination=destination, target=target, alive=alive)


def _rules(openings: Iterable[Opening]) -> tuple[Rule, ...]:
    taken = (o for o in openings if o.protocol in ("tcp", "any"))
    return tuple(Rule(peer=o.source_id, ports=(o.first_port, o.last_port)) for o in taken)


def _entries(acl: Mapping[str, Any]) -> tuple[AclEntry, ...]:
    found = [e for e in acl["Entries"] if str(e["Protocol"]) in _TCP and not e.get("Ipv6CidrBlock")]
    what = phrase("the action of an entry of {}", acl["NetworkAclId"])
    return tuple(
        AclEntry(
            number=e["RuleNumber"],
            egress=bool(e["Egress"]),
            allow=one_of(_ACL_ACTIONS, e["RuleAction"], what) == "allow",
            block=e["CidrBlock"],
            ports=ALL_PORTS if str(e["Protocol"]) == "-1" else (e["PortRange"]["From"], e["PortRange"]["To"]),
        )
        for e in found
    )


def _nat_gateway(described: Mapping[str, Any], tables: list[dict[str, Any]]) -> NatGateway:
    """A regional NAT gateway has a route table of its own, which is listed among those of the VPC."""
    addresses = [a.get("PrivateIp") for a in described.get("NatGatewayAddresses") or []]
    regional = described.get("AvailabilityMode") == "regional"
    own = next((t for t in tables if regional and t["RouteTableId"] == described.get("RouteTableId")), None)
    return NatGateway(
        id=described["NatGatewayId"],
        subnet=None if regional else described["SubnetId"],
        address=next((a for a in addresses if a), ""),
        state=one_of(
            _NAT_STATES, described["State"], phrase("the state of the NAT gateway {}", described["NatGatewayId"])
        ),
        routes=_routes(own) if own else None,
    )


def _named(endpoint: Mapping[str, Any]) -> bool:
    """Whether an endpoint is that of a service of AWS, and is there: AWS still shows one that was just deleted."""
    if endpoint["VpcEndpointType"] not in ("Interface", "Gateway"):  # of somebody's own resources: without a service
        return False
    return _service(endpoint).startswith("com.amazonaws.") and endpoint["State"].lower() != "deleted"


def _service(endpoint: Mapping[str, Any]) -> str:
    """`com.amazonaws.REGION.SERVICE`; in China most names begin with `cn.com.amazonaws`."""
    return str(endpoint["ServiceName"]).removeprefix("cn.")


_ASKED = {
    "ecr.api": (("ecr:GetAuthorizationToken", "*"),),
    "ecr.dkr": (("ecr:BatchGetImage", "*"), ("ecr:GetDownloadUrlForLayer", "*")),
    "s3": (("s3:GetObject", "arn:{partition}:s3:::prod-{region}-starport-layer-bucket/*"),),
    "logs": (("logs:PutLogEvents", "*"),),
    "secretsmanager": (("secretsmanager:GetSecretValue", "*"),),
}
"""What a starting task asks of each service. The layers of ECR's images lie in a bucket of AWS."""


def _endpoint(described: Mapping[str, Any]) -> Endpoint:
    region, service = _service(described).split(".", 3)[2:4]
    asked = [
        (action, resource.format(region=region, partition=partition_of(region)))
        for action, resource in _ASKED.get(service, ())
    ]
    policy = described["PolicyDocument"] if asked else None
    gateway = described["VpcEndpointType"] == "Gateway"
    return Endpoint(
        id=described["VpcEndpointId"],
        service=service,
        state=described["State"].lower(),
        gateway=gateway,
        private_dns=not gateway and described["PrivateDnsEnabled"],
        subnets=() if gateway else tuple(sorted(described["SubnetIds"])),
        groups=() if gateway else tuple(sorted(g["GroupId"] for g in described["Groups"])),
        refuses=tuple(action for action, on in asked if policy and not policy_allows(policy, action, on)),
    )
