"""The subnets of the data tier and of the tasks: their routes and their free addresses.

Source of truth: ec2 DescribeSubnets and DescribeRouteTables, read by `gli.observe.aws.vpc`.
"""

from __future__ import annotations

from gli.common.network import Subnet as NetworkSubnet
from gli.common.sentences import listed, phrase
from gli.config.services import Service
from gli.observe.aws.ec2_security_groups import Opening, security_groups
from gli.observe.aws.ecs_services import ecs_service, ecs_services
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.rds import database_instance
from gli.observe.aws.vpc import vpc
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe


class Subnet(Observation):
    """One subnet."""

    id: str
    free: int
    """The number of free addresses."""
    gateway: str | None
    """The internet gateway of its routes; None: the subnet can't be reached from the internet."""


class Subnets(Observation):
    """The subnets of the environment's network, by their use."""

    database: tuple[Subnet, ...]
    tasks: tuple[Subnet, ...]
    desired: int
    """How many tasks should run with addresses of their own (network mode awsvpc)."""


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
    seen = await observer.see(vpc)
    known = {id_: _subnet(subnet, seen.free[id_]) for id_, subnet in seen.network.subnets.items()}
    unread = sorted({*instance.subnets} - known.keys())
    if unread:
        raise unknown("too-little-data", phrase("EC2 does not describe {}", listed(unread)))
    wanted = sorted({subnet for service in services.values() for subnet in service.subnets})
    tasks = tuple(known[i] for i in wanted if i in known)
    return Subnets(
        database=tuple(known[i] for i in instance.subnets),
        tasks=tasks,
        desired=sum(services[s.name].desired for s in observer.environment.on_awsvpc),
    )


@probe(deadline=15)
async def task_ingress(observer: Observer, service: Service) -> TaskIngress:
    """The openings in the security groups of the service's tasks for the service's port."""
    load_balancer = service.load_balancer
    assert service.ecs and service.ecs.port and load_balancer, "asked only of services behind a load balancer"
    described, known = await observer.see(ecs_service, service), await observer.see(security_groups)
    groups = [known.with_id(i) for i in described.security_groups]
    return TaskIngress(
        groups=tuple(g.name for g in groups),
        port=service.ecs.port,
        openings=tuple(opening for group in groups for opening in group.reaching(service.ecs.port)),
        balancer_groups=(await observer.see(balancer, load_balancer)).security_groups,
    )


def _subnet(subnet: NetworkSubnet, free: int) -> Subnet:
    gateways = [route.target for route in subnet.routes if route.target.startswith("igw-")]
    return Subnet(id=subnet.id, free=free, gateway=next(iter(gateways), None))
