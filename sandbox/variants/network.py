"""Set-ups of networks: tasks in public subnets, endpoints, ACLs of one's own."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.faults.common import peered_cache
from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import region, service, where


@variant("tasks-in-public-subnets")
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


@variant("endpoint-with-private-dns")
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


@variant("cache-in-another-network")
def cache_in_another_network(sandbox: Sandbox) -> Iterator[None]:
    """The cache stands in a VPC of its own, peered with that of the tasks, behind a group of the usual name."""
    with peered_cache(sandbox):
        yield
