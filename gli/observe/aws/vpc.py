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
from gli.observe.aws.ec2_security_groups import Opening, security_groups
from gli.observe.aws.ecs_services import ecs_services
from gli.observe.aws.elasticache import cache_groups, cache_subnets
from gli.observe.aws.iam import policy_allows
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.mq import broker_network
from gli.observe.aws.rds import database_instance
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_TARGETS = (
    *("NatGatewayId", "GatewayId", "TransitGatewayId", "NetworkInterfaceId", "InstanceId", "VpcPeeringConnectionId"),
    *("CoreNetworkArn", "LocalGatewayId", "CarrierGatewayId"),
)
_TCP = ("6", "-1")


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


@probe(deadline=20)
async def vpc(observer: Observer) -> Vpc:
    """The environment's VPC. Five calls, and that for the security groups."""
    groups = await observer.see(security_groups)
    id_ = groups.vpc
    within = [{"Name": "vpc-id", "Values": [id_]}]

    def asked(operation: str, **parameters: Any) -> Any:
        return observer.aws.call(observer, "ec2", operation, **(parameters or {"Filters": within}))

    subnets, tables, acls, gateways, endpoints = await asyncio.gather(
        asked("describe_subnets"),
        asked("describe_route_tables"),
        asked("describe_network_acls"),
        asked("describe_nat_gateways", Filter=within),
        asked("describe_vpc_endpoints"),
    )
    acl_of = {a["SubnetId"]: acl["NetworkAclId"] for acl in acls["NetworkAcls"] for a in acl.get("Associations") or []}
    return Vpc(
        id=id_,
        network=Network(
            subnets={s["SubnetId"]: _subnet(s, tables["RouteTables"], acl_of) for s in subnets["Subnets"]},
            groups={
                g.id: Group(id=g.id, name=g.name, ingress=_rules(g.openings), egress=_rules(g.ways_out))
                for g in groups.groups
            },
            acls={acl["NetworkAclId"]: _entries(acl) for acl in acls["NetworkAcls"]},
            nat_gateways={g["NatGatewayId"]: _nat_gateway(g) for g in gateways["NatGateways"]},
            endpoints={e["VpcEndpointId"]: _endpoint(e) for e in endpoints["VpcEndpoints"] if _named(e)},
        ),
        free={s["SubnetId"]: s["AvailableIpAddressCount"] for s in subnets["Subnets"]},
    )


@probe(deadline=20)
async def places(observer: Observer) -> Places:
    """Where tasks, data tier and load balancer stand."""
    environment = observer.environment
    network = (await observer.see(vpc)).network

    def at(name: str, subnets: Iterable[str], groups: tuple[str, ...], public: bool = False) -> tuple[Interface, ...]:
        return tuple(
            Interface(name=name, subnet=s, address=_address(network.subnets[s]), groups=groups, public=public)
            for s in sorted(subnets)
            if s in network.subnets
        )

    found: dict[str, Any] = {"tasks": {}}
    for name, service in (await observer.see(ecs_services)).items():
        task = f"a task of {service.name}"
        found["tasks"][name] = at(task, service.subnets, service.security_groups, service.public_address)
    if environment.database and environment.database.instance:
        instance = await observer.see(database_instance, environment.database)
        found["database"] = at(instance.id, instance.subnets, instance.security_groups)
        found["database_port"] = instance.port or 5432
    if (cache := environment.cache) and cache.replication_group:
        stands = await observer.see(cache_subnets, cache)
        found["cache"] = at(cache.replication_group, stands, await observer.see(cache_groups, cache) if stands else ())
    broker = environment.broker
    if broker and (attached := await observer.see(broker_network, broker)):
        found["broker"] = at(str(broker.amazon_mq), attached.subnets, attached.groups)
    nodes = [await observer.see(balancer, each) for each in environment.balancers.values()]
    found["public"] = tuple(node.name for node in nodes if node.public)
    found["balancers"] = {n.name: at(n.name, n.subnets, n.security_groups, n.public) for n in nodes}
    return Places(**found)


def _address(subnet: Subnet) -> str:
    """An address of the subnet: rules of blocks and groups treat all of them alike, but for blocks inside a subnet."""
    return str(list(ip_network(subnet.block).hosts())[9])


def _subnet(described: Mapping[str, Any], tables: list[dict[str, Any]], acl_of: Mapping[str, str]) -> Subnet:
    id_ = described["SubnetId"]
    routes = (_route(r) for r in _table_of(id_, tables).get("Routes") or [])
    return Subnet(
        id=id_, block=described["CidrBlock"], routes=tuple(r for r in routes if r), acl=acl_of.get(id_, "none")
    )


def _table_of(subnet: str, tables: list[dict[str, Any]]) -> dict[str, Any]:
    """The route table of the subnet, or else the VPC's main route table."""
    main: dict[str, Any] = {}
    for table in tables:
        for association in table.get("Associations", []):
            if association.get("SubnetId") == subnet:
                return table
            if association.get("Main"):
                main = table
    return main


def _route(described: Mapping[str, Any]) -> Route | None:
    """One route; None for a route of IPv6, which no check follows."""
    destination = described.get("DestinationCidrBlock") or described.get("DestinationPrefixListId")
    if not destination:
        return None
    target = next((str(described[key]) for key in _TARGETS if described.get(key)), "")
    return Route(destination=destination, target=target, alive=described.get("State", "active") == "active")


def _rules(openings: Iterable[Opening]) -> tuple[Rule, ...]:
    taken = (o for o in openings if o.protocol in ("tcp", "any"))
    return tuple(Rule(peer=o.source_id, ports=(o.first_port, o.last_port)) for o in taken)


def _entries(acl: Mapping[str, Any]) -> tuple[AclEntry, ...]:
    found = [e for e in acl.get("Entries") or [] if str(e["Protocol"]) in _TCP and e.get("CidrBlock")]
    return tuple(
        AclEntry(
            number=e["RuleNumber"],
            egress=bool(e["Egress"]),
            allow=e["RuleAction"] == "allow",
            block=e["CidrBlock"],
            ports=(e["PortRange"]["From"], e["PortRange"]["To"]) if e.get("PortRange") else ALL_PORTS,
        )
        for e in found
    )


def _nat_gateway(described: Mapping[str, Any]) -> NatGateway:
    addresses = [a.get("PrivateIp") for a in described.get("NatGatewayAddresses") or []]
    return NatGateway(
        id=described["NatGatewayId"],
        subnet=described["SubnetId"],
        address=next((a for a in addresses if a), ""),
        state=described["State"],
    )


def _named(endpoint: Mapping[str, Any]) -> bool:
    """Whether an endpoint is that of a service of AWS, and is there: AWS still shows one that was just deleted."""
    return (
        str(endpoint.get("ServiceName") or "").startswith("com.amazonaws.") and endpoint["State"].lower() != "deleted"
    )


_ASKED = {
    "ecr.api": (("ecr:GetAuthorizationToken", "*"),),
    "ecr.dkr": (("ecr:BatchGetImage", "*"), ("ecr:GetDownloadUrlForLayer", "*")),
    "s3": (("s3:GetObject", "arn:aws:s3:::prod-{region}-starport-layer-bucket/*"),),
    "logs": (("logs:PutLogEvents", "*"),),
    "secretsmanager": (("secretsmanager:GetSecretValue", "*"),),
}
"""What a starting task asks of each service. The layers of ECR's images lie in a bucket of AWS."""


def _endpoint(described: Mapping[str, Any]) -> Endpoint:
    region, service = str(described["ServiceName"]).split(".", 3)[2:4]
    policy = described.get("PolicyDocument")
    asked = [(action, resource.format(region=region)) for action, resource in _ASKED.get(service, ())]
    return Endpoint(
        id=described["VpcEndpointId"],
        service=service,
        state=described["State"].lower(),
        gateway=described.get("VpcEndpointType") == "Gateway",
        private_dns=bool(described.get("PrivateDnsEnabled")),
        subnets=tuple(sorted(described.get("SubnetIds") or [])),
        groups=tuple(sorted(g["GroupId"] for g in described.get("Groups") or [])),
        refuses=tuple(action for action, on in asked if policy and not policy_allows(policy, action, on)),
    )
