"""The subnets of the data tier and of the tasks: their routes and their free addresses.

Source of truth: ec2 DescribeSubnets, DescribeRouteTables and DescribeVpcEndpoints.
"""

from __future__ import annotations

from typing import Any

from gli.common.sentences import phrase
from gli.config.environments import Service
from gli.observe.aws.ec2_security_groups import Opening, security_groups
from gli.observe.aws.ecs_services import ecs_service, ecs_services
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.rds import database_instance
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

_TARGETS = (
    "NatGatewayId",
    "GatewayId",
    "TransitGatewayId",
    "NetworkInterfaceId",
    "InstanceId",
    "VpcPeeringConnectionId",
    "CoreNetworkArn",
    "LocalGatewayId",
    "CarrierGatewayId",
)


class Subnet(Observation):
    """One subnet."""

    id: str
    free: int
    """The number of free addresses."""
    gateway: str | None
    """The internet gateway of its routes; None: the subnet can't be reached from the internet."""
    way_out: str | None
    """The target of its default route, such as a NAT gateway; None: no default route, or its target was deleted."""


class Subnets(Observation):
    """The subnets of the environment's network, by their use."""

    database: tuple[Subnet, ...]
    tasks: tuple[Subnet, ...]
    desired: int
    """How many tasks all services of the environment should run."""
    endpoints: tuple[str, ...] = ()
    """AWS services with an endpoint in the VPC, for example `ecr.api`. Read only if a task's subnet has no way out."""


class TaskIngress(Observation):
    """The sources that can reach the port of a service's containers."""

    groups: tuple[str, ...]
    """The security groups of the tasks, by name."""
    port: int
    openings: tuple[Opening, ...]
    balancer_groups: tuple[str, ...]
    """The security groups of the load balancer, by id."""


@probe(deadline=15)
async def network_subnets(observer: Observer) -> Subnets:
    """The subnets of the database and of the tasks."""
    database = observer.environment.database
    assert database is not None, "asked only of environments with a database"
    instance, services = await observer.see(database_instance, database), await observer.see(ecs_services)
    if instance.vpc is None:
        raise unknown("dependency", phrase("{} stands in no VPC that RDS names", database.instance))
    filters = [{"Name": "vpc-id", "Values": [instance.vpc]}]
    found = (await observer.aws.call(observer, "ec2", "describe_subnets", Filters=filters))["Subnets"]
    tables = (await observer.aws.call(observer, "ec2", "describe_route_tables", Filters=filters))["RouteTables"]
    known = {s["SubnetId"]: _subnet(s, _table_of(s["SubnetId"], tables)) for s in found}
    wanted = sorted({subnet for service in services.values() for subnet in service.subnets})
    tasks = tuple(known[i] for i in wanted if i in known)
    return Subnets(
        database=tuple(known[i] for i in instance.subnets if i in known),
        tasks=tasks,
        desired=sum(service.desired for service in services.values()),
        endpoints=() if all(s.way_out for s in tasks) else await _endpoints(observer, filters),
    )


async def _endpoints(observer: Observer, filters: list[dict[str, Any]]) -> tuple[str, ...]:
    found = (await observer.aws.call(observer, "ec2", "describe_vpc_endpoints", Filters=filters))["VpcEndpoints"]
    # An endpoint for a resource or a service network has no service name.
    live = [e["ServiceName"] for e in found if e["State"].lower() == "available" and e.get("ServiceName")]
    return tuple(sorted(name.split(".", 3)[3] for name in live if name.startswith("com.amazonaws.")))


def _subnet(described: dict[str, Any], table: dict[str, Any]) -> Subnet:
    return Subnet(
        id=described["SubnetId"],
        free=described["AvailableIpAddressCount"],
        gateway=_gateway(table),
        way_out=_way_out(table),
    )


@probe(deadline=15)
async def task_ingress(observer: Observer, service: Service) -> TaskIngress:
    """The openings in the security groups of the service's tasks for the service's port."""
    load_balancer = observer.environment.load_balancer
    assert service.ecs is not None and load_balancer is not None, "asked only of services behind a load balancer"
    described, known = await observer.see(ecs_service, service), await observer.see(security_groups)
    groups = [known.with_id(i) for i in described.security_groups]
    return TaskIngress(
        groups=tuple(g.name for g in groups),
        port=service.ecs.port,
        openings=tuple(opening for group in groups for opening in group.reaching(service.ecs.port)),
        balancer_groups=(await observer.see(balancer, load_balancer)).security_groups,
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


def _gateway(table: dict[str, Any]) -> str | None:
    gateways = [str(route.get("GatewayId") or "") for route in table.get("Routes", [])]
    return next((g for g in gateways if g.startswith("igw-")), None)


def _way_out(table: dict[str, Any]) -> str | None:
    defaults = [r for r in table.get("Routes", []) if r.get("DestinationCidrBlock") == "0.0.0.0/0"]
    live = [r for r in defaults if r.get("State") == "active"]  # a route with a deleted target has the state blackhole
    return next((str(r[key]) for r in live for key in _TARGETS if r.get(key)), None)
