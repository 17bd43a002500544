"""Networks of real accounts that moto's have not: regional and chained NAT gateways, subnets of IPv6 alone."""

from __future__ import annotations

from typing import Any

import pytest
from aws_rig import staging
from test_aws_answers import network, see, services

from gli.common.network import Interface, NatGateway, Network
from gli.judge.path import Refusal, to_internet
from gli.observe.aws import subnets, vpc
from gli.observe.aws.ec2_security_groups import is_world
from gli.observe.engine.observation import Unobserved
from tests_infra import test_network, test_paths

WORLD, PUBLIC = "0.0.0.0/0", "8.8.8.8"
TO_NAT = {"DestinationCidrBlock": WORLD, "NatGatewayId": "nat-1", "State": "active"}
OPEN = [
    {"RuleNumber": 100, "Egress": egress, "RuleAction": "allow", "CidrBlock": WORLD, "Protocol": "-1"}
    for egress in (True, False)
]
GROUP = {
    "VpcId": "vpc-1",
    "GroupId": "sg-1",
    "GroupName": "tasks",
    "IpPermissions": [],
    "IpPermissionsEgress": [
        {
            "IpProtocol": "-1",
            "IpRanges": [{"CidrIp": WORLD}],
            "Ipv6Ranges": [],
            "PrefixListIds": [],
            "UserIdGroupPairs": [],
        }
    ],
}


def answers(gateway: dict[str, Any], *tables: dict[str, Any], more: tuple[dict[str, Any], ...] = ()) -> Any:
    """A VPC whose one subnet has a route to a NAT gateway, which is in another subnet or in none."""
    found: Any = network(routes=[TO_NAT])
    there = {**found["ec2.DescribeSubnets"]["Subnets"][0], "SubnetId": "subnet-2", "CidrBlock": "10.0.1.0/24"}
    acl = {"VpcId": "vpc-1", "NetworkAclId": "acl-1", "Entries": OPEN}
    acl["Associations"] = [{"SubnetId": id_} for id_ in ("subnet-1", "subnet-2", "subnet-6")]
    return found | {
        "ec2.DescribeSubnets": {"Subnets": [*found["ec2.DescribeSubnets"]["Subnets"], there, *more]},
        "ec2.DescribeRouteTables": {"RouteTables": [*found["ec2.DescribeRouteTables"]["RouteTables"], *tables]},
        "ec2.DescribeNetworkAcls": {"NetworkAcls": [acl]},
        "ec2.DescribeSecurityGroups": {"SecurityGroups": [GROUP]},
        "ec2.DescribeNatGateways": {
            "NatGateways": [{"VpcId": "vpc-1", "NatGatewayId": "nat-1", "State": "available", **gateway}]
        },
    }


def table(id_: str, subnet: str | None, **target: str) -> dict[str, Any]:
    """A route table with a default route, or without."""
    routes = [{"DestinationCidrBlock": WORLD, "State": "active", **target}] if target else []
    associations = [{"SubnetId": subnet, "Main": False}] if subnet else []
    return {"VpcId": "vpc-1", "RouteTableId": id_, "Associations": associations, "Routes": routes}


def out(seen: Network) -> Refusal | None:
    """What keeps a task from the internet."""
    task = Interface(name="a task", subnet="subnet-1", address="10.0.0.9", groups=("sg-1",))
    return to_internet(seen, task, PUBLIC, 443)


REGIONAL = {"AvailabilityMode": "regional", "RouteTableId": "rtb-nat"}


@pytest.mark.parametrize(
    ("tables", "certain"),
    [
        ([table("rtb-nat", None, GatewayId="igw-1")], None),
        ([table("rtb-nat", None)], True),
        ([], False),
    ],
    ids=["open", "without-a-route", "its-table-is-not-told"],
)
def test_a_regional_nat_gateway_has_no_subnet_but_a_route_table(
    tables: list[dict[str, Any]], certain: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = see(vpc.vpc, None, answers(REGIONAL, *tables), monkeypatch).network
    refusal = out(seen)
    assert (refusal.certain if refusal else None) is certain


@pytest.mark.parametrize(
    ("target", "certain"),
    [
        ({"GatewayId": "igw-1"}, None),
        ({"TransitGatewayId": "tgw-1"}, False),
        ({"NatGatewayId": "nat-1"}, True),
        ({}, True),
    ],
    ids=["internet", "another-network", "itself", "none"],
)
def test_a_nat_gateway_may_send_packets_to_another_network(
    target: dict[str, str], certain: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = {"SubnetId": "subnet-2", "AvailabilityMode": "zonal"}
    seen = see(vpc.vpc, None, answers(gateway, table("rtb-2", "subnet-2", **target)), monkeypatch).network
    refusal = out(seen)
    assert (refusal.certain if refusal else None) is certain


def test_a_subnet_of_ipv6_alone_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a subnet has no block of IPv4; it may stand anywhere in the VPC."""
    alone = {"VpcId": "vpc-1", "SubnetId": "subnet-6", "Ipv6Native": True, "AvailableIpAddressCount": 0}
    found = answers({"SubnetId": "subnet-2"}, table("rtb-2", "subnet-2", GatewayId="igw-1"), more=(alone,))
    seen = see(vpc.vpc, None, found, monkeypatch)
    assert {*seen.network.subnets} == {*seen.free} == {"subnet-1", "subnet-2"}
    assert seen.network.nat_gateways["nat-1"] == NatGateway(
        id="nat-1", subnet="subnet-2", address="", state="available"
    )


def test_a_prefix_list_of_ipv6_may_lead_to_an_egress_only_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    route = {"DestinationPrefixListId": "pl-6", "EgressOnlyInternetGatewayId": "eigw-1", "State": "active"}
    seen = see(vpc.vpc, None, network(routes=[route]), monkeypatch)
    assert [r.target for r in seen.network.subnets["subnet-1"].routes] == ["local", "eigw-1"]


def test_large_private_blocks_are_not_the_world() -> None:
    private = ("10.0.0.0/8", "fc00::/7", "fd00::/8", "FD12::/16", "172.16.0.0/12")
    assert not any(map(is_world, private))
    assert all(map(is_world, ("0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "11.0.0.0/8", "2000::/3")))
    assert all(map(is_world, ("10.0.0.0/7", "fc00::/6"))), "a block that holds more than the private addresses"


ON_INSTANCES = {"launch_type": "EC2", "network": "bridge"}


def test_tasks_on_the_interfaces_of_instances_need_no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = answers({"SubnetId": "subnet-2"}, table("rtb-2", "subnet-2", GatewayId="igw-1"))
    found |= {"ecs.DescribeServices": services}
    for tables, desired in (({"api": {"ecs": ON_INSTANCES}}, 1), ({}, 2)):
        seen = see(subnets.network_subnets, None, found, monkeypatch, services=tables)
        assert (seen.tasks, seen.desired) == ((), desired)
    everywhere = {key: {"ecs": ON_INSTANCES} for key in ("api", "websocket")}
    environment = staging(services=everywhere)
    assert environment.database is not None
    free = subnets.Subnet(id="subnet-1", free=200, gateway=None)
    test_network.test_net_private_subnets(subnets.Subnets(database=(free,), tasks=(), desired=0), environment.database)
    with pytest.raises(Unobserved, match="ECS names no subnet of the tasks in this network"):
        test_network.test_net_private_subnets(
            subnets.Subnets(database=(free,), tasks=(), desired=2), environment.database
        )
    with pytest.raises(Unobserved, match="the tasks use the interfaces of their instances") as raised:
        test_paths.test_net_task_egress(see(vpc.vpc, None, found, monkeypatch), vpc.Places(tasks={}), environment)
    assert raised.value.unknown.cause == "not-applicable"
