"""Whether packets arrive: from tasks to the data tier and AWS, from the load balancer to tasks, from users to it.

The way is followed over the facts of the VPC, whatever the runner's own place is; the first hop that refuses is named.
What leads out of the VPC (a transit gateway, a peering) can't be followed: `net-task-egress` says which part stands
elsewhere, and the checks of the part's port tell whether it is reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.judge.legs import Leg, Part, of_kind, of_tasks, of_users, to_tasks
from gli.observe.engine.observation import unknown

if TYPE_CHECKING:
    from gli.common.network import Interface
    from gli.config.environments import Environment
    from gli.config.services import LoadBalancer, Service
    from gli.observe.aws.vpc import Places, Vpc
    from gli.observe.aws.vpc_names import VpcNames

_CACHE, _BROKER = 6379, 5671


def test_net_acl_open(vpc: Vpc, places: Places, environment: Environment, target: Service) -> None:
    """No network ACL refuses what the service's tasks send or what comes back: data tier, AWS, load balancer."""
    legs = [*_ways(vpc, places, environment, target), *_from_balancer(vpc, places, target)]
    refused = of_kind(legs, "acl")
    assert not refused, saw(listed(refused), expected=phrase("network ACLs that let {} work", target.name))


def test_sg_task_egress(vpc: Vpc, places: Places, environment: Environment, target: Service) -> None:
    """The security groups of the service's tasks let them out to the data tier and to AWS."""
    refused = of_kind(_ways(vpc, places, environment, target), "egress")
    assert not refused, saw(listed(refused), expected=phrase("groups that let {} out", target.name))


def test_net_nat_alive(vpc: Vpc, places: Places, environment: Environment, target: Service) -> None:
    """The NAT gateway on the way of the service's tasks is available, and has itself a way to the internet."""
    refused = of_kind(_ways(vpc, places, environment, target), "nat")
    assert not refused, saw(listed(refused), expected=phrase("a NAT gateway that carries {} to AWS", target.name))


def test_net_endpoints_usable(vpc: Vpc, places: Places, environment: Environment, target: Service) -> None:
    """An endpoint that took a service's name over is available, takes the tasks in, and its policy allows the start."""
    refused = of_kind(_ways(vpc, places, environment, target), "endpoint")
    assert not refused, saw(listed(refused), expected=phrase("endpoints that serve {}", target.name))


def test_net_names_resolve(vpc_names: VpcNames, vpc: Vpc) -> None:
    """A new task finds the names of the registry, its secrets and the database: the network's resolver answers, and
    endpoints get their private names.
    """
    assert vpc_names.resolver or vpc_names.servers, saw(
        phrase("enableDnsSupport off"), expected=phrase("a resolver for the tasks in {}", vpc_names.vpc)
    )
    private = [e.id for e in vpc.network.endpoints.values() if e.private_dns]
    assert not private or (vpc_names.resolver and vpc_names.hostnames), saw(
        phrase("enableDnsHostnames off"),
        expected=phrase("private names of {} in {}", listed(private), vpc_names.vpc),
    )


def test_net_task_egress(vpc: Vpc, places: Places, environment: Environment) -> None:
    """Routes lead a new task to the registry, its secrets and its log; to an internet gateway with a public address."""
    services = environment.on_awsvpc
    if not services:
        raise unknown("not-applicable", phrase("the tasks use the interfaces of their instances"))
    assert any(places.tasks.values()), saw(phrase("none"), expected=phrase("subnets of the tasks"))
    refused = [leg for s in services for leg in _ways(vpc, places, environment, s)]
    assert not of_kind(refused, "route"), saw(
        listed(of_kind(refused, "route")), expected=phrase("a way from the tasks' subnets to AWS")
    )
    if places.elsewhere:
        raise unknown(
            "not-applicable",
            phrase("the {} stands in another network: the way there can't be followed", listed(places.elsewhere)),
        )


def test_sg_alb_egress(vpc: Vpc, places: Places, target: Service) -> None:
    """The load balancer's security groups let it out to the tasks: without that every target is unhealthy."""
    refused = of_kind(_from_balancer(vpc, places, target), "egress")
    assert not refused, saw(listed(refused), expected=phrase("groups that let the load balancer reach {}", target.name))


def test_net_alb_reachable(vpc: Vpc, places: Places, target: LoadBalancer) -> None:
    """A user's packet reaches every node of the load balancer, and the answer finds the way back."""
    if target.name not in places.public:
        return
    refused = of_kind(of_users(vpc.network, _nodes(places, target), target.ports_open_to_the_world), "route", "acl")
    assert not refused, saw(listed(refused), expected=phrase("every node of {} open to users", target.name))


def _ways(vpc: Vpc, places: Places, environment: Environment, service: Service) -> list[Leg]:
    database, cache, broker = environment.database, environment.cache, environment.broker
    parts = []
    if database:
        parts.append(Part(database.instance, places.database, places.database_port, database.ingress_from))
    if cache:
        parts.append(Part(cache.replication_group, places.cache, _CACHE, cache.ingress_from))
    if broker:
        parts.append(Part(broker.amazon_mq or broker.secret, places.broker, _BROKER, broker.ingress_from))
    return list(of_tasks(vpc.network, _tasks(places, service), parts))


def _from_balancer(vpc: Vpc, places: Places, service: Service) -> list[Leg]:
    if service.ecs is None or service.load_balancer is None:
        return []
    nodes = _nodes(places, service.load_balancer)
    return list(to_tasks(vpc.network, nodes, _tasks(places, service), service.ecs.port))


def _tasks(places: Places, service: Service) -> tuple[Interface, ...]:
    """Where the service's tasks stand. Raises `Unobserved` if ECS runs the service in no subnet of the network."""
    tasks = places.tasks.get(service.name, ())
    if service.ecs is not None and not tasks:
        raise unknown("too-little-data", phrase("ECS names no subnet of {} in this network", service.ecs.service))
    return tasks


def _nodes(places: Places, load_balancer: LoadBalancer) -> tuple[Interface, ...]:
    """Where the load balancer stands. Raises `Unobserved` if it stands in no subnet of the network."""
    nodes = places.balancers.get(load_balancer.name, ())
    if not nodes:
        raise unknown("too-little-data", phrase("{} stands in no subnet of this network", load_balancer.name))
    return nodes
