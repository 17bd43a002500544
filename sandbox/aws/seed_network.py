"""The network of one environment: VPC, subnets in two zones, routes, security groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gli.config.environments import Environment
from sandbox.aws.account import Account
from sandbox.site import required

_WORLD = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
DATABASE_PORT, CACHE_PORT, BROKER_PORT = 5432, 6379, 5671
_PRIVATE = 10
_NAT = "198.51.100.10/32"


@dataclass(frozen=True)
class Network:
    """Ids of the network's resources, for the other parts of the stack."""

    octet: int
    vpc: str
    public: Sequence[str]
    private: Sequence[str]
    groups: Mapping[str, str]
    """Security group name to id."""

    def addresses(self, host: int) -> list[str]:
        """The address with this host number in each private subnet."""
        return [f"10.{self.octet}.{_PRIVATE + n}.{host}" for n in range(len(self.private))]


def seed(account: Account, environment: Environment, octet: int) -> Network:
    """Make the network `10.<octet>.0.0/16`."""
    ec2 = account("ec2")
    vpc = ec2.create_vpc(CidrBlock=f"10.{octet}.0.0/16", TagSpecifications=_named("vpc", environment, "vpc"))["Vpc"][
        "VpcId"
    ]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    zones = [f"{account.region}a", f"{account.region}c"]

    def subnet(kind: str, third: int, zone: str) -> str:
        answer = ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=f"10.{octet}.{third}.0/24",
            AvailabilityZone=zone,
            TagSpecifications=_named("subnet", environment, f"{kind}-{zone[-1]}"),
        )
        return str(answer["Subnet"]["SubnetId"])

    public = [subnet("public", n, zone) for n, zone in enumerate(zones)]
    private = [subnet("private", _PRIVATE + n, zone) for n, zone in enumerate(zones)]
    _route(ec2, environment, vpc, public, private)
    return Network(octet, vpc, public, private, _security_groups(ec2, environment, vpc))


def _route(ec2: Any, environment: Environment, vpc: str, public: Sequence[str], private: Sequence[str]) -> None:
    """Route public subnets to the internet through a gateway, private ones through NAT."""
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=public[0], AllocationId=address)["NatGateway"]["NatGatewayId"]
    for kind, subnets, target in (
        ("public", public, {"GatewayId": gateway}),
        ("private", private, {"NatGatewayId": nat}),
    ):
        table = ec2.create_route_table(VpcId=vpc, TagSpecifications=_named("route-table", environment, kind))
        identifier = table["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=identifier, DestinationCidrBlock="0.0.0.0/0", **target)
        for subnet in subnets:
            ec2.associate_route_table(RouteTableId=identifier, SubnetId=subnet)


def _security_groups(ec2: Any, environment: Environment, vpc: str) -> dict[str, str]:
    prefix = required(environment.alarms).prefix
    balancer = required(environment.load_balancer)
    database, cache = required(environment.database), required(environment.cache)
    tasks = [(f"{prefix}{s.name}-tasks", required(required(s.ecs).port)) for s in environment.services.values()]
    broker = required(environment.broker)
    guarded = required(broker.security_group)
    names = {balancer.name, database.instance, cache.security_group, guarded, *(name for name, _ in tasks)}
    names |= {*database.ingress_from, *cache.ingress_from, *broker.ingress_from}
    groups = {
        name: str(ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"])
        for name in sorted(names)
    }

    def allow(name: str, *permissions: dict[str, Any]) -> None:
        ec2.authorize_security_group_ingress(GroupId=groups[name], IpPermissions=list(permissions))

    def from_groups(port: int, sources: Sequence[str]) -> dict[str, Any]:
        return {**_port(port), "UserIdGroupPairs": [{"GroupId": groups[source]} for source in sources]}

    allow(balancer.name, *({**_port(port), **_WORLD} for port in balancer.ports_open_to_the_world))
    if balancer.test_port:  # allows the suite's runner, whose source is the NAT gateway
        allow(balancer.name, {**_port(balancer.test_port), "IpRanges": [{"CidrIp": _NAT}]})
    for name, port in tasks:
        allow(name, from_groups(port, [balancer.name]))
    allow(database.instance, from_groups(DATABASE_PORT, database.ingress_from))
    allow(cache.security_group, from_groups(CACHE_PORT, cache.ingress_from))
    allow(guarded, from_groups(BROKER_PORT, broker.ingress_from))
    return groups


def _port(port: int) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}


def _named(kind: str, environment: Environment, name: str) -> list[dict[str, Any]]:
    tags = [{"Key": "Name", "Value": required(environment.alarms).prefix + name}]
    return [{"ResourceType": kind, "Tags": [*tags, {"Key": "Environment", "Value": environment.name}]}]
