"""Whether the machines of the VPC find names. Source of truth: ec2 DescribeVpcAttribute, DescribeVpcs and
DescribeDhcpOptions; Amazon VPC's user guide, "DNS attributes for your VPC"."""

from __future__ import annotations

from typing import Any

from gli.observe.aws.ec2_security_groups import security_groups
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe


class VpcNames(Observation):
    """How the machines of a VPC resolve names."""

    vpc: str
    resolver: bool
    """Amazon's resolver answers."""
    hostnames: bool
    """Machines have names; private names of endpoints need this and Amazon's resolver."""
    servers: tuple[str, ...] = ()
    """The name servers of one's own that machines ask, where Amazon's resolver is off."""


@probe(deadline=20)
async def vpc_names(observer: Observer) -> VpcNames:
    """The DNS attributes of the environment's VPC: two calls, and two more where Amazon's resolver is off."""
    id_ = (await observer.see(security_groups)).vpc

    async def attribute(name: str) -> bool:
        answer = await observer.aws.call(observer, "ec2", "describe_vpc_attribute", VpcId=id_, Attribute=name)
        return bool(answer[name[0].upper() + name[1:]]["Value"])

    resolver, hostnames = await attribute("enableDnsSupport"), await attribute("enableDnsHostnames")
    servers = () if resolver else await _own_servers(observer, id_)
    return VpcNames(vpc=id_, resolver=resolver, hostnames=hostnames, servers=servers)


async def _own_servers(observer: Observer, vpc: str) -> tuple[str, ...]:
    within: dict[str, Any] = {"VpcIds": [vpc]}
    answer = await observer.aws.call(observer, "ec2", "describe_vpcs", **within)
    options = answer["Vpcs"][0]["DhcpOptionsId"]
    if options == "default":
        return ()
    answer = await observer.aws.call(observer, "ec2", "describe_dhcp_options", DhcpOptionsIds=[options])
    configured = [
        c for o in answer["DhcpOptions"] for c in o["DhcpConfigurations"] if c["Key"] == "domain-name-servers"
    ]
    servers = {v["Value"] for c in configured for v in c["Values"]}
    return tuple(sorted(servers - {"AmazonProvidedDNS"}))
