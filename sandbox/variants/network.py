"""Set-ups of networks: tasks in public subnets, endpoints, ACLs of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sandbox.faults.common import peered_cache
from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import alias_zone, change_records, region, service, where


@variant("tasks-in-public-subnets", tries=["net-private-subnets"])
def tasks_in_public_subnets(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks stand in public subnets with public addresses: no NAT gateway is paid for."""
    ecs, place, before = sandbox.aws("ecs"), where(sandbox), service(sandbox)["networkConfiguration"]
    name = required(sandbox.environment.load_balancer).name
    zones = sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]["AvailabilityZones"]
    public = {"subnets": [z["SubnetId"] for z in zones], "assignPublicIp": "ENABLED"}
    network = {"awsvpcConfiguration": {**before["awsvpcConfiguration"], **public}}
    ecs.update_service(cluster=place.cluster, service=place.service, networkConfiguration=network)
    yield
    ecs.update_service(cluster=place.cluster, service=place.service, networkConfiguration=before)


@variant("endpoint-with-private-dns", tries=["net-names-resolve", "sg-db-ingress", "sg-mq-ingress"])
def endpoint_with_private_dns(sandbox: Sandbox) -> Iterator[None]:
    """The tasks reach Secrets Manager by an endpoint in their subnets, whose group takes the whole network on 443."""
    ec2, subnets = sandbox.aws("ec2"), service(sandbox)["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    vpc = ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
    block = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["CidrBlock"]
    group = ec2.create_security_group(GroupName="endpoints", Description="endpoints", VpcId=vpc)["GroupId"]
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": block}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[https])
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName=f"com.amazonaws.{region(sandbox)}.secretsmanager",
        VpcEndpointType="Interface",
        SubnetIds=subnets,
        SecurityGroupIds=[group],
        PrivateDnsEnabled=True,
    )["VpcEndpoint"]["VpcEndpointId"]
    yield
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    ec2.delete_security_group(GroupId=group)


@variant("network-without-hostnames")
def network_without_hostnames(sandbox: Sandbox) -> Iterator[None]:
    """enableDnsHostnames of the VPC is off, as EC2 makes a VPC: no endpoint needs a private name."""
    ec2, subnets = sandbox.aws("ec2"), service(sandbox)["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    vpc = ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})
    yield
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})


@variant("cache-in-another-network", tries=["sg-redis-ingress"])
def cache_in_another_network(sandbox: Sandbox) -> Iterator[None]:
    """The cache stands in a VPC of its own, peered with that of the tasks, behind a group of the usual name."""
    with peered_cache(sandbox):
        yield


@variant("acls-of-ones-own", tries=["net-acl-open", "net-alb-reachable", "sg-alb-egress", "sg-task-egress"])
def acls_of_ones_own(sandbox: Sandbox) -> Iterator[None]:
    """Network ACLs let in and out what the stack needs alone: its own network, HTTPS, and answers to high ports."""
    inside = _block(sandbox)
    private = [
        _entry("in", inside),
        _entry("out", inside),
        _entry("out", _WORLD, 443, 443),
        _entry("in", _WORLD, 32768, 60999),
    ]
    public = [
        *(_entry("in", _WORLD, port, port) for port in (80, 443, 8443)),
        *(_entry("in", inside), _entry("out", inside), _entry("out", _WORLD, 443, 443)),
        *(_entry("in", _WORLD, 1024, 65535), _entry("out", _WORLD, 1024, 65535)),
    ]
    with _behind(sandbox, _subnets(sandbox), private), _behind(sandbox, _public_subnets(sandbox), public):
        yield


@variant("way-out-by-a-transit-gateway", tries=["net-nat-alive", "net-task-egress"])
def way_out_by_a_transit_gateway(sandbox: Sandbox) -> Iterator[None]:
    """The tasks' default route leads to a transit gateway: another account filters what goes to the internet."""
    ec2 = sandbox.aws("ec2")
    gateway = ec2.create_transit_gateway(Description="egress")["TransitGateway"]["TransitGatewayId"]
    with _default_route(sandbox, {"TransitGatewayId": gateway}):
        yield
    ec2.delete_transit_gateway(TransitGatewayId=gateway)


@variant("endpoints-in-place-of-a-way-out", tries=["net-endpoints-usable"])
def endpoints_in_place_of_a_way_out(sandbox: Sandbox) -> Iterator[None]:
    """The tasks have no way to the internet: endpoints serve all of AWS that they need, some with a narrow policy."""
    ec2, vpc, at = sandbox.aws("ec2"), _vpc(sandbox), region(sandbox)
    table = _table(sandbox)["RouteTableId"]
    group = ec2.create_security_group(GroupName="endpoints-alone", Description="endpoints", VpcId=vpc)["GroupId"]
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": _block(sandbox)}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[https])
    layers = f"arn:aws:s3:::prod-{at}-starport-layer-bucket/*"
    pulls = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": layers}
    made = [
        ec2.create_vpc_endpoint(
            VpcId=vpc,
            ServiceName=f"com.amazonaws.{at}.{name}",
            VpcEndpointType="Interface",
            SubnetIds=_subnets(sandbox),
            SecurityGroupIds=[group],
            PrivateDnsEnabled=True,
        )
        for name in ("ecr.api", "ecr.dkr", "logs", "secretsmanager")
    ]
    made.append(
        ec2.create_vpc_endpoint(
            VpcId=vpc,
            ServiceName=f"com.amazonaws.{at}.s3",
            VpcEndpointType="Gateway",
            RouteTableIds=[table],
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [pulls]}),
        )
    )
    with _default_route(sandbox, None):
        yield
    ec2.delete_vpc_endpoints(VpcEndpointIds=[each["VpcEndpoint"]["VpcEndpointId"] for each in made])
    ec2.delete_security_group(GroupId=group)


@variant("dual-stack", tries=["sg-alb-ingress"])
def dual_stack(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer has addresses of IPv6 too, which its group lets in, and its hosts have AAAA records."""
    elbv2, name = sandbox.aws("elbv2"), required(sandbox.environment.load_balancer).name
    arn = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    zone = alias_zone(sandbox)
    hosts = {f"{each.host}." for each in sandbox.environment.services.values()}
    known = sandbox.aws("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    old = [r for r in known if r["Name"] in hosts and r["Type"] == "A"]
    there = {r["Name"] for r in known if r["Type"] == "AAAA"}
    new = [{**r, "Type": "AAAA"} for r in old if r["Name"] not in there]
    elbv2.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="dualstack")
    change_records(sandbox, zone, [("CREATE", record) for record in new]) if new else None
    yield
    change_records(sandbox, zone, [("DELETE", record) for record in new]) if new else None
    elbv2.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")


_WORLD = "0.0.0.0/0"


def _subnets(sandbox: Sandbox) -> list[str]:
    """The subnets of the API's tasks."""
    found: list[str] = service(sandbox)["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    return found


def _public_subnets(sandbox: Sandbox) -> list[str]:
    name = required(sandbox.environment.load_balancer).name
    found = sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]["AvailabilityZones"]
    return [zone["SubnetId"] for zone in found]


def _vpc(sandbox: Sandbox) -> str:
    return str(sandbox.aws("ec2").describe_subnets(SubnetIds=_subnets(sandbox))["Subnets"][0]["VpcId"])


def _block(sandbox: Sandbox) -> str:
    return str(sandbox.aws("ec2").describe_vpcs(VpcIds=[_vpc(sandbox)])["Vpcs"][0]["CidrBlock"])


def _table(sandbox: Sandbox) -> dict[str, Any]:
    """The route table of the tasks' subnets."""
    wanted = [{"Name": "association.subnet-id", "Values": _subnets(sandbox)}]
    found: dict[str, Any] = sandbox.aws("ec2").describe_route_tables(Filters=wanted)["RouteTables"][0]
    return found


@contextmanager
def _default_route(sandbox: Sandbox, target: dict[str, str] | None) -> Iterator[None]:
    """Lead the tasks' default route somewhere else, or take it away."""
    ec2, table = sandbox.aws("ec2"), _table(sandbox)
    usual = next(r["NatGatewayId"] for r in table["Routes"] if r.get("DestinationCidrBlock") == _WORLD)
    route = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": _WORLD}
    ec2.delete_route(**route)
    if target:
        ec2.create_route(**route, **target)
    try:
        yield
    finally:
        if target:
            ec2.delete_route(**route)
        ec2.create_route(**route, NatGatewayId=usual)


def _entry(way: str, block: str, first: int = 0, last: int = 65535) -> dict[str, Any]:
    return {
        "Egress": way == "out",
        "CidrBlock": block,
        "Protocol": "6",
        "RuleAction": "allow",
        "PortRange": {"From": first, "To": last},
    }


@contextmanager
def _behind(sandbox: Sandbox, subnets: Sequence[str], entries: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Put the subnets behind a new network ACL with these entries; it denies all else."""
    ec2, vpc = sandbox.aws("ec2"), _vpc(sandbox)
    acl = ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
    for number, entry in enumerate(entries, start=100):
        ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=number, **entry)

    def move(to: Mapping[str, str]) -> dict[str, str]:
        """Associate each subnet with an ACL; returns the earlier ones."""
        known = ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"]
        of = {
            a["SubnetId"]: (a["NetworkAclAssociationId"], n["NetworkAclId"]) for n in known for a in n["Associations"]
        }
        for subnet, target in to.items():
            ec2.replace_network_acl_association(AssociationId=of[subnet][0], NetworkAclId=target)
        return {subnet: of[subnet][1] for subnet in to}

    before = move(dict.fromkeys(subnets, acl))
    try:
        yield
    finally:
        move(before)
        ec2.delete_network_acl(NetworkAclId=acl)
