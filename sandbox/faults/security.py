"""Faults of security groups and routes: access that is too wide, in every notation, and access that is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import api_ecs, api_ecs_service, peered_cache
from sandbox.site import required

_DATABASE, _CACHE, _BROKER, _CONSOLE = 5432, 6379, 5671, 15671
_STRANGER, _STRANGERS_V6 = "203.0.113.7/32", "2001:db8::/64"
_WORLD, _WORLD_V6 = "0.0.0.0/0", "::/0"


def _tcp(first: int, last: int | None = None, **sources: Any) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": first, "ToPort": last or first, **sources}


def _v4(block: str) -> dict[str, Any]:
    return {"IpRanges": [{"CidrIp": block}]}


def _v6(block: str) -> dict[str, Any]:
    return {"Ipv6Ranges": [{"CidrIpv6": block}]}


def _id(sandbox: Sandbox, name: str) -> str:
    filters = [{"Name": "group-name", "Values": [name]}]
    return str(sandbox.aws("ec2").describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"])


def _group(sandbox: Sandbox, name: str) -> dict[str, Any]:
    return {"UserIdGroupPairs": [{"GroupId": _id(sandbox, name)}]}


@contextmanager
def _opened(sandbox: Sandbox, name: str, permission: dict[str, Any]) -> Iterator[None]:
    """Add an ingress permission to a security group."""
    ec2, change = sandbox.aws("ec2"), {"GroupId": _id(sandbox, name), "IpPermissions": [permission]}
    ec2.authorize_security_group_ingress(**change)
    try:
        yield
    finally:
        ec2.revoke_security_group_ingress(**change)


@contextmanager
def _closed(sandbox: Sandbox, name: str, permission: dict[str, Any]) -> Iterator[None]:
    """Remove an ingress permission from a security group."""
    ec2, change = sandbox.aws("ec2"), {"GroupId": _id(sandbox, name), "IpPermissions": [permission]}
    ec2.revoke_security_group_ingress(**change)
    try:
        yield
    finally:
        ec2.authorize_security_group_ingress(**change)


def _database(sandbox: Sandbox) -> str:
    return required(sandbox.environment.database).instance


def _cache(sandbox: Sandbox) -> str:
    return required(sandbox.environment.cache).security_group


def _broker_group(sandbox: Sandbox) -> str:
    return required(required(sandbox.environment.broker).security_group)


def _balancer(sandbox: Sandbox) -> str:
    return required(sandbox.environment.load_balancer).name


def _only_of(wider: Sequence[str], narrower: Sequence[str]) -> str:
    """The only group that is in `wider` and not in `narrower`."""
    return next(name for name in wider if name not in narrower)


@fault("database-open-to-an-address", turns_red=["sg-db-ingress"])
def database_open_to_an_address(sandbox: Sandbox) -> Iterator[None]:
    """The database is open to a single address."""
    with _opened(sandbox, _database(sandbox), _tcp(_DATABASE, **_v4(_STRANGER))):
        yield


@fault("database-open-over-ipv6", turns_red=["sg-db-ingress"])
def database_open_over_ipv6(sandbox: Sandbox) -> Iterator[None]:
    """The database is open to an IPv6 network."""
    with _opened(sandbox, _database(sandbox), _tcp(_DATABASE, **_v6(_STRANGERS_V6))):
        yield


@fault("database-open-by-a-range", turns_red=["sg-db-ingress"])
def database_open_by_a_range(sandbox: Sandbox) -> Iterator[None]:
    """A port range that is open to an address contains the database's port."""
    with _opened(sandbox, _database(sandbox), _tcp(5000, 6000, **_v4(_STRANGER))):
        yield


@fault("database-open-to-any-protocol", turns_red=["sg-db-ingress"])
def database_open_to_any_protocol(sandbox: Sandbox) -> Iterator[None]:
    """The database's group is open to an address for all protocols, a rule without ports."""
    with _opened(sandbox, _database(sandbox), {"IpProtocol": "-1", **_v4(_STRANGER)}):
        yield


@contextmanager
def _prefix_list(sandbox: Sandbox, *blocks: str) -> Iterator[dict[str, Any]]:
    """Create a managed prefix list of CIDR blocks; yields a permission source that refers to it."""
    ec2 = sandbox.aws("ec2")
    id_ = ec2.create_managed_prefix_list(
        PrefixListName="offices", MaxEntries=len(blocks), AddressFamily="IPv4", Entries=[{"Cidr": b} for b in blocks]
    )["PrefixList"]["PrefixListId"]
    try:
        yield {"PrefixListIds": [{"PrefixListId": id_}]}
    finally:
        ec2.delete_managed_prefix_list(PrefixListId=id_)


@fault("database-open-to-a-prefix-list", turns_red=["sg-db-ingress"])
def database_open_to_a_prefix_list(sandbox: Sandbox) -> Iterator[None]:
    """The database is open to a prefix list."""
    with (
        _prefix_list(sandbox, _STRANGER) as offices,
        _opened(sandbox, _database(sandbox), _tcp(_DATABASE, **offices)),
    ):
        yield


@fault("database-open-to-another-group", turns_red=["sg-db-ingress"])
def database_open_to_another_group(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server's tasks may reach the database."""
    cache, database = required(sandbox.environment.cache), required(sandbox.environment.database)
    stranger = _only_of(cache.ingress_from, database.ingress_from)
    with _opened(sandbox, _database(sandbox), _tcp(_DATABASE, **_group(sandbox, stranger))):
        yield


@fault("database-closed-to-the-api", turns_red=["sg-db-ingress"])
def database_closed_to_the_api(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks may no longer reach the database."""
    api = required(sandbox.environment.database).ingress_from[0]
    with _closed(sandbox, _database(sandbox), _tcp(_DATABASE, **_group(sandbox, api))):
        yield


@fault("database-open-to-the-world", turns_red=["sg-db-ingress", "sg-no-world-ports"])
def database_open_to_the_world(sandbox: Sandbox) -> Iterator[None]:
    """The database is open to the world."""
    with _opened(sandbox, _database(sandbox), _tcp(_DATABASE, **_v4(_WORLD))):
        yield


@fault("cache-open-to-an-address", turns_red=["sg-redis-ingress"])
def cache_open_to_an_address(sandbox: Sandbox) -> Iterator[None]:
    """Redis is open to a single address."""
    with _opened(sandbox, _cache(sandbox), _tcp(_CACHE, **_v4(_STRANGER))):
        yield


@fault("cache-closed-to-the-websocket", turns_red=["sg-redis-ingress"])
def cache_closed_to_the_websocket(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server's tasks may no longer reach Redis."""
    cache, database = required(sandbox.environment.cache), required(sandbox.environment.database)
    websocket = _only_of(cache.ingress_from, database.ingress_from)
    with _closed(sandbox, _cache(sandbox), _tcp(_CACHE, **_group(sandbox, websocket))):
        yield


@contextmanager
def _another_group(sandbox: Sandbox, like: str, permission: dict[str, Any]) -> Iterator[str]:
    """Create a copy of a security group with one more ingress permission; yields the new group's id."""
    ec2 = sandbox.aws("ec2")
    before = ec2.describe_security_groups(GroupIds=[_id(sandbox, like)])["SecurityGroups"][0]
    new = ec2.create_security_group(GroupName=f"{like}-new", Description="a trial", VpcId=before["VpcId"])["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=new, IpPermissions=[*before["IpPermissions"], permission])
    try:
        yield str(new)
    finally:
        ec2.delete_security_group(GroupId=new)


@fault("cache-in-another-group", turns_red=["sg-redis-ingress"])
def cache_in_another_group(sandbox: Sandbox) -> Iterator[None]:
    """The cache has a second security group, which is open to an address; its usual group is unchanged."""
    aws, cache = required(sandbox.environment.aws), required(sandbox.environment.cache)
    with _another_group(sandbox, _cache(sandbox), _tcp(_CACHE, **_v4(_STRANGER))) as another:
        groups = [_id(sandbox, _cache(sandbox)), another]
        undo = sandbox.aws_overlay(
            "replication-group", region=aws.region, name=cache.replication_group, security_group_ids=groups
        )
        yield
        sandbox.aws_overlay("replication-group", **undo)


@fault("cache-in-another-network", turns_red=["sg-redis-ingress"])
def cache_in_another_network(sandbox: Sandbox) -> Iterator[None]:
    """The cache stands in a VPC of its own, and its security group there is open to an address."""
    with peered_cache(sandbox, _tcp(_CACHE, **_v4(_STRANGER))):
        yield


@contextmanager
def _broker_behind(sandbox: Sandbox, *groups: str) -> Iterator[None]:
    """Give the broker these security groups, by id."""
    mq, name = sandbox.aws("mq"), required(sandbox.environment.broker).amazon_mq
    broker = next(b["BrokerId"] for b in mq.list_brokers()["BrokerSummaries"] if b["BrokerName"] == name)
    before = mq.describe_broker(BrokerId=broker)["SecurityGroups"]
    mq.update_broker(BrokerId=broker, SecurityGroups=list(groups))
    try:
        yield
    finally:
        mq.update_broker(BrokerId=broker, SecurityGroups=before)


@fault("broker-in-another-group", turns_red=["sg-mq-ingress"])
def broker_in_another_group(sandbox: Sandbox) -> Iterator[None]:
    """The broker has a second security group, which is open to an address; its usual group is unchanged."""
    named = _id(sandbox, _broker_group(sandbox))
    with (
        _another_group(sandbox, _broker_group(sandbox), _tcp(_BROKER, **_v4(_STRANGER))) as another,
        _broker_behind(sandbox, named, another),
    ):
        yield


@fault("broker-without-its-group", turns_red=["sg-mq-ingress"])
def broker_without_its_group(sandbox: Sandbox) -> Iterator[None]:
    """The broker uses the cache's security group instead of its own."""
    with _broker_behind(sandbox, _id(sandbox, _cache(sandbox))):
        yield


@fault("broker-open-to-an-address", turns_red=["sg-mq-ingress"])
def broker_open_to_an_address(sandbox: Sandbox) -> Iterator[None]:
    """The broker is open to a single address."""
    with _opened(sandbox, _broker_group(sandbox), _tcp(_BROKER, **_v4(_STRANGER))):
        yield


@fault("broker-public", turns_red=["sg-mq-ingress"])
def broker_public(sandbox: Sandbox) -> Iterator[None]:
    """The broker has public addresses: Amazon MQ lets everybody in there, whatever its security group says."""
    aws, broker = required(sandbox.environment.aws), required(sandbox.environment.broker)
    undo = sandbox.aws_overlay("amazon-mq", region=aws.region, name=broker.amazon_mq, publicly_accessible=True)
    yield
    sandbox.aws_overlay("amazon-mq", **undo)


@fault("broker-console-open", turns_red=["sg-mq-ingress"])
def broker_console_open(sandbox: Sandbox) -> Iterator[None]:
    """The broker's web console is open to a single address."""
    with _opened(sandbox, _broker_group(sandbox), _tcp(_CONSOLE, **_v4(_STRANGER))):
        yield


@fault("broker-closed-to-the-api", turns_red=["sg-mq-ingress"])
def broker_closed_to_the_api(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks may no longer reach the broker."""
    api = required(sandbox.environment.broker).ingress_from[0]
    with _closed(sandbox, _broker_group(sandbox), _tcp(_BROKER, **_group(sandbox, api))):
        yield


@fault("ssh-open-to-the-world", turns_red=["sg-no-world-ports"])
def ssh_open_to_the_world(sandbox: Sandbox) -> Iterator[None]:
    """A port range that contains 22 is open to every IPv6 address."""
    verify = required(sandbox.environment.database).ingress_from[-1]
    with _opened(sandbox, verify, _tcp(20, 30, **_v6(_WORLD_V6))):
        yield


@fault("docker-open-to-the-world", turns_red=["sg-no-world-ports"])
def docker_open_to_the_world(sandbox: Sandbox) -> Iterator[None]:
    """Docker's API port is open to the world."""
    verify = required(sandbox.environment.database).ingress_from[-1]
    with _opened(sandbox, verify, _tcp(2375, **_v4(_WORLD))):
        yield


@fault("ssh-open-to-a-list-of-the-world", turns_red=["sg-no-world-ports"])
def ssh_open_to_a_list_of_the_world(sandbox: Sandbox) -> Iterator[None]:
    """SSH is open to a prefix list that contains an office's network and 0.0.0.0/0."""
    verify = required(sandbox.environment.database).ingress_from[-1]
    with _prefix_list(sandbox, _STRANGER, _WORLD) as everybody, _opened(sandbox, verify, _tcp(22, **everybody)):
        yield


@fault("balancer-opens-another-port", turns_red=["sg-alb-ingress"])
def balancer_opens_another_port(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer's group opens another port to the world, beside HTTP and HTTPS."""
    with _opened(sandbox, _balancer(sandbox), _tcp(9090, **_v4(_WORLD))):
        yield


@fault("test-listener-open-to-the-world", turns_red=["sg-alb-ingress"])
def test_listener_open_to_the_world(sandbox: Sandbox) -> Iterator[None]:
    """The test listener is open to the world: anybody can reach a revision before it is verified."""
    with _opened(sandbox, _balancer(sandbox), _tcp(8443, **_v4(_WORLD))):
        yield


@fault("balancer-closed", turns_red=["sg-alb-ingress"])
def balancer_closed(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer's group no longer allows HTTPS from the world."""
    with _closed(sandbox, _balancer(sandbox), _tcp(443, **_v4(_WORLD), **_v6(_WORLD_V6))):
        yield


@fault("balancer-open-to-the-office-alone", turns_red=["sg-alb-ingress"])
def balancer_open_to_the_office_alone(sandbox: Sandbox) -> Iterator[None]:
    """After a test, the load balancer's group takes HTTPS from the office alone: a runner there sees nothing."""
    office = _tcp(443, **_v4("203.0.113.7/32"))
    group, ec2 = _balancer(sandbox), sandbox.aws("ec2")
    with _closed(sandbox, group, _tcp(443, **_v4(_WORLD), **_v6(_WORLD_V6))):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[office])
        yield
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[office])


@fault("balancer-closed-over-ipv6", turns_red=["sg-alb-ingress"])
def balancer_closed_over_ipv6(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer has IPv6 addresses, and its group takes HTTPS over IPv4 alone."""
    elbv2, name = sandbox.aws("elbv2"), required(sandbox.environment.load_balancer).name
    arn = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    elbv2.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="dualstack")
    with _closed(sandbox, _balancer(sandbox), _tcp(443, **_v6(_WORLD_V6))):
        yield
    elbv2.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")


def _tasks_group(sandbox: Sandbox) -> str:
    groups = api_ecs_service(sandbox)["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"]
    return str(groups[0])


@fault("tasks-open-to-a-stranger", turns_red=["sg-tasks-ingress-alb-only"])
def tasks_open_to_a_stranger(sandbox: Sandbox) -> Iterator[None]:
    """A home address can still reach the API's tasks past the load balancer, after a debugging session."""
    port, ec2 = api_ecs(sandbox).port, sandbox.aws("ec2")
    permission = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": _STRANGER}]}
    change = {"GroupId": _tasks_group(sandbox), "IpPermissions": [permission]}
    ec2.authorize_security_group_ingress(**change)
    yield
    ec2.revoke_security_group_ingress(**change)


@fault("tasks-closed-to-the-balancer", turns_red=["sg-tasks-ingress-alb-only"])
def tasks_closed_to_the_balancer(sandbox: Sandbox) -> Iterator[None]:
    """The group of the API's tasks no longer allows connections from the load balancer."""
    group, ec2 = _tasks_group(sandbox), sandbox.aws("ec2")
    before = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=before)
    yield
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=before)


@fault("database-subnet-public", turns_red=["net-private-subnets"])
def database_subnet_public(sandbox: Sandbox) -> Iterator[None]:
    """The database's subnets have a route to the internet gateway."""
    ec2, instance = sandbox.aws("ec2"), required(sandbox.environment.database).instance
    group = sandbox.aws("rds").describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"][0]["DBSubnetGroup"]
    subnet = group["Subnets"][0]["SubnetIdentifier"]
    tables = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["RouteTables"]
    gateways = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [group["VpcId"]]}])
    gateway = gateways["InternetGateways"][0]["InternetGatewayId"]
    route = {"RouteTableId": tables[0]["RouteTableId"], "DestinationCidrBlock": "198.51.100.0/24"}
    ec2.create_route(**route, GatewayId=gateway)
    yield
    ec2.delete_route(**route)


@fault("tasks-without-a-way-out", turns_red=["net-task-egress"])
def tasks_without_a_way_out(sandbox: Sandbox) -> Iterator[None]:
    """The default route of the tasks' subnets is missing: running tasks continue, but new ones can't start."""
    ec2, subnets = (
        sandbox.aws("ec2"),
        api_ecs_service(sandbox)["networkConfiguration"]["awsvpcConfiguration"]["subnets"],
    )
    tables = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": subnets}])["RouteTables"]
    default = next(r for r in tables[0]["Routes"] if r["DestinationCidrBlock"] == "0.0.0.0/0")
    route = {"RouteTableId": tables[0]["RouteTableId"], "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.delete_route(**route)
    yield
    ec2.create_route(**route, NatGatewayId=default["NatGatewayId"])


def _task_subnets(sandbox: Sandbox) -> list[str]:
    found: list[str] = api_ecs_service(sandbox)["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    return found


def _public_subnets(sandbox: Sandbox) -> list[str]:
    name = required(sandbox.environment.load_balancer).name
    zones = sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]["AvailabilityZones"]
    return [z["SubnetId"] for z in zones]


def _vpc(sandbox: Sandbox) -> str:
    subnets = sandbox.aws("ec2").describe_subnets(SubnetIds=_task_subnets(sandbox))["Subnets"]
    return str(subnets[0]["VpcId"])


@contextmanager
def _guarded_by(sandbox: Sandbox, subnets: Sequence[str], *entries: dict[str, Any]) -> Iterator[None]:
    """Put the subnets behind a new network ACL with these entries; it denies all else."""
    ec2 = sandbox.aws("ec2")
    new = ec2.create_network_acl(VpcId=_vpc(sandbox))["NetworkAcl"]["NetworkAclId"]
    for number, entry in enumerate(entries, start=100):
        ec2.create_network_acl_entry(NetworkAclId=new, RuleNumber=number, RuleAction="allow", CidrBlock=_WORLD, **entry)

    def moved(to: str | None) -> dict[str, str]:
        """Associate each subnet with an ACL, or with its earlier one; returns the earlier ones."""
        before = {}
        for acl in ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [_vpc(sandbox)]}])["NetworkAcls"]:
            for a in acl["Associations"]:
                if a["SubnetId"] in subnets:
                    before[a["SubnetId"]] = acl["NetworkAclId"]
                    target = to or was[a["SubnetId"]]
                    ec2.replace_network_acl_association(AssociationId=a["NetworkAclAssociationId"], NetworkAclId=target)
        return before

    was = moved(new)
    try:
        yield
    finally:
        moved(None)
        ec2.delete_network_acl(NetworkAclId=new)


_OUT = {"Egress": True, "Protocol": "-1"}
_IN_LOW = {"Egress": False, "Protocol": "6", "PortRange": {"From": 1, "To": 10000}}


@fault("acl-keeps-answers-out", turns_red=["net-acl-open"])
def acl_keeps_answers_out(sandbox: Sandbox) -> Iterator[None]:
    """A new network ACL of the tasks' subnets lets everything out, and lets no answer in: it has no high ports."""
    with _guarded_by(sandbox, _task_subnets(sandbox), _OUT, _IN_LOW):
        yield


@fault("acl-of-the-balancer-closed", turns_red=["net-alb-reachable"])
def acl_of_the_balancer_closed(sandbox: Sandbox) -> Iterator[None]:
    """The network ACL of the load balancer's subnets takes 80 alone; a NAT gateway there still works for the tasks."""
    inside = {"Egress": False, "Protocol": "6", "PortRange": {"From": 1024, "To": 65535}}
    plain = {"Egress": False, "Protocol": "6", "PortRange": {"From": 80, "To": 80}}
    to_tasks: dict[str, Any] = {"Egress": False, "Protocol": "6", "PortRange": {"From": 443, "To": 443}}
    ec2 = sandbox.aws("ec2")
    block = ec2.describe_vpcs(VpcIds=[_vpc(sandbox)])["Vpcs"][0]["CidrBlock"]
    with _guarded_by(sandbox, _public_subnets(sandbox), _OUT, inside, plain):
        acl = ec2.describe_network_acls(
            Filters=[{"Name": "association.subnet-id", "Values": _public_subnets(sandbox)}]
        )["NetworkAcls"][0]["NetworkAclId"]
        ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=200, RuleAction="allow", CidrBlock=block, **to_tasks)
        yield


@contextmanager
def _without_egress(sandbox: Sandbox, group: str) -> Iterator[None]:
    ec2 = sandbox.aws("ec2")
    before = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissionsEgress"]
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=before)
    try:
        yield
    finally:
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=before)


@fault("tasks-may-not-leave", turns_red=["sg-task-egress"])
def tasks_may_not_leave(sandbox: Sandbox) -> Iterator[None]:
    """The egress rule of the API's tasks is gone: a new task reaches neither the registry nor the database."""
    with _without_egress(sandbox, _tasks_group(sandbox)):
        yield


@fault("balancer-may-not-leave", turns_red=["sg-alb-egress"])
def balancer_may_not_leave(sandbox: Sandbox) -> Iterator[None]:
    """The egress rule of the load balancer's group is gone."""
    with _without_egress(sandbox, _id(sandbox, _balancer(sandbox))):
        yield


@contextmanager
def _routed(sandbox: Sandbox, target: dict[str, str]) -> Iterator[None]:
    """Lead the default route of the tasks' subnets somewhere else."""
    ec2, wanted = sandbox.aws("ec2"), [{"Name": "association.subnet-id", "Values": _task_subnets(sandbox)}]
    table = ec2.describe_route_tables(Filters=wanted)["RouteTables"][0]
    default = next(r for r in table["Routes"] if r["DestinationCidrBlock"] == _WORLD)
    route = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": _WORLD}
    ec2.replace_route(**route, **target)
    try:
        yield
    finally:
        ec2.replace_route(**route, NatGatewayId=default["NatGatewayId"])


@fault("nat-in-a-private-subnet", turns_red=["net-nat-alive"])
def nat_in_a_private_subnet(sandbox: Sandbox) -> Iterator[None]:
    """The tasks' default route leads to a new NAT gateway, which stands in their own subnet and finds no way out."""
    ec2 = sandbox.aws("ec2")
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    made = ec2.create_nat_gateway(SubnetId=_task_subnets(sandbox)[0], AllocationId=address)
    nat = made["NatGateway"]["NatGatewayId"]
    with _routed(sandbox, {"NatGatewayId": nat}):
        yield
    ec2.delete_nat_gateway(NatGatewayId=nat)
    ec2.release_address(AllocationId=address)


@fault("tasks-in-public-subnets-without-address", turns_red=["net-task-egress"])
def tasks_in_public_subnets_without_address(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks stand in public subnets and get no public address: the internet gateway drops their packets."""
    ecs, where = sandbox.aws("ecs"), api_ecs(sandbox)
    before = api_ecs_service(sandbox)["networkConfiguration"]

    def move(network: dict[str, Any]) -> None:
        ecs.update_service(cluster=where.cluster, service=where.service, networkConfiguration=network)

    move({"awsvpcConfiguration": {**before["awsvpcConfiguration"], "subnets": _public_subnets(sandbox)}})
    yield
    move(before)


@fault("endpoint-closed-to-the-tasks", turns_red=["net-endpoints-usable"])
def endpoint_closed_to_the_tasks(sandbox: Sandbox) -> Iterator[None]:
    """An endpoint with private DNS took the name of Secrets Manager over, and its group does not take the tasks."""
    ec2, name = sandbox.aws("ec2"), f"com.amazonaws.{required(sandbox.environment.aws).region}.secretsmanager"
    group = ec2.create_security_group(GroupName="endpoints", Description="endpoints", VpcId=_vpc(sandbox))["GroupId"]
    endpoint = ec2.create_vpc_endpoint(
        VpcId=_vpc(sandbox),
        ServiceName=name,
        VpcEndpointType="Interface",
        SubnetIds=_task_subnets(sandbox),
        SecurityGroupIds=[group],
        PrivateDnsEnabled=True,
    )["VpcEndpoint"]["VpcEndpointId"]
    yield
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    ec2.delete_security_group(GroupId=group)


@fault("network-without-a-resolver", turns_red=["net-names-resolve"])
def network_without_a_resolver(sandbox: Sandbox) -> Iterator[None]:
    """enableDnsSupport of the VPC is off: a new task finds no name, and running ones only what they remember."""
    ec2 = sandbox.aws("ec2")
    subnets = api_ecs_service(sandbox)["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    vpc = ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    yield
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": True})
