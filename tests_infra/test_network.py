"""Security groups and subnets: who may reach which port. Every kind of rule counts as an opening."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.aws.ec2_security_groups import Opening, SecurityGroup, SecurityGroups, is_world
from gli.observe.engine.observation import told, unknown

if TYPE_CHECKING:
    from gli.config.data_tier import Broker, Cache, Database
    from gli.config.services import LoadBalancer, Service
    from gli.observe.aws.load_balancer import Balancer
    from gli.observe.aws.mq import BrokerNetwork
    from gli.observe.aws.rds import DatabaseInstance
    from gli.observe.aws.subnets import Subnets, TaskIngress

_CONSOLES = (443, 15671)  # the ports of RabbitMQ's console: in Amazon MQ, in RabbitMQ itself
SENSITIVE_PORTS = (
    *(20, 21, 22, 23, 445, 2049, 3389, 5900, 5985, 5986),  # files and shells
    *(1433, 1521, 3306, 5432, 5984, 6379, 7000, 7001, 9042, 9200, 9300, 11211, 27017, 27018, 27019),  # data
    *(1883, 4369, 5671, 5672, 9092, 15671, 15672, 25672, 61616),  # brokers
    *(2375, 2376, 2379, 2380, 6443, 10250),  # Docker, etcd, Kubernetes
    *(8000, 8080),  # the containers
)


def test_sg_db_ingress(security_groups: SecurityGroups, database_instance: DatabaseInstance, target: Database) -> None:
    """Only the groups that the environment names can reach the database's port."""
    groups = [security_groups.with_id(i) for i in database_instance.security_groups]
    port = told(database_instance.port, phrase("the port of {}", database_instance.id))
    _only_from(groups, port, target.ingress_from)


def test_sg_redis_ingress(security_groups: SecurityGroups, cache_groups: Sequence[str], target: Cache) -> None:
    """Only the groups that the environment names can reach the cache's port, whatever groups are attached."""
    groups = [security_groups.with_id(i) for i in cache_groups]
    _attached(groups, target.security_group)
    _only_from(groups, 6379, target.ingress_from)


def test_sg_mq_ingress(
    security_groups: SecurityGroups,
    broker_groups: Sequence[str] | None,
    broker_network: BrokerNetwork | None,
    target: Broker,
) -> None:
    """Only the groups that the environment names can reach the broker's port and its console: it has no public address,
    where Amazon MQ lets everybody in.
    """
    name = str(target.security_group)
    if broker_network is not None:
        assert not told(broker_network.public, phrase("whether {} has a public address", target.amazon_mq)), saw(
            phrase("a public address"), expected=phrase("{} in the network alone", target.amazon_mq)
        )
    if broker_groups is None:  # GLI runs RabbitMQ itself: only environments.toml names its group
        groups = [security_groups.named(name)]
    else:
        groups = [security_groups.with_id(i) for i in broker_groups]
        _attached(groups, name)
    _only_from(groups, 5671, target.ingress_from)
    for console in _CONSOLES:
        openings = [o for g in groups for o in g.reaching(console)]
        strangers = [o for o in openings if not _is_group(o) or o.source not in target.ingress_from]
        assert not strangers, saw(
            phrase("{} open to {}", console, listed(strangers)),
            expected=phrase("{} to take only {}", name, listed(target.ingress_from)),
        )


def test_sg_no_world_ports(security_groups: SecurityGroups, prefix_lists: Mapping[str, Sequence[str]]) -> None:
    """No sensitive port is open to everybody: shells, databases, brokers, containers and what runs them. Nor is one
    open to a prefix list that contains everybody or can't be read.
    """
    open_ports = [
        phrase("{} takes {}", group.name, opening)
        for group in (*security_groups.groups, *security_groups.elsewhere)
        for opening in group.openings
        if any(opening.reaches(port) for port in SENSITIVE_PORTS) and _open_to_the_world(opening, prefix_lists)
    ]
    assert not open_ports, saw(listed(open_ports), expected=phrase("no sensitive port open to everybody"))


def test_sg_alb_ingress(
    security_groups: SecurityGroups,
    balancer: Balancer,
    target: LoadBalancer,
    prefix_lists: Mapping[str, Sequence[str]],
) -> None:
    """The load balancer accepts its public ports and no others; its test port accepts named sources, not the world.
    ICMP has no port.

    A network load balancer without security groups accepts whatever it has a listener for.
    """
    openings = [o for i in balancer.security_groups for o in security_groups.with_id(i).openings]
    allowed, listening = set(target.ports_open_to_the_world), {x.port for x in balancer.listeners}
    if not target.application and not balancer.security_groups:
        assert listening == allowed, saw(
            phrase("{} open", listed(sorted(listening))), expected=phrase("{} open", listed(sorted(allowed)))
        )
        return
    world = [o for o in openings if _open_to_the_world(o, prefix_lists)]
    for protocol in (4, 6) if balancer.dual_stack else (4,):
        of_protocol = [o for o in world if o.prefix_list or (":" in o.source_id) == (protocol == 6)]
        closed = sorted(port for port in allowed if not any(o.reaches(port) for o in of_protocol))
        assert not closed, saw(
            phrase("{} closed over IPv{}", listed(closed), protocol),
            expected=phrase("{} open", listed(sorted(allowed))),
        )
    tests = listening | {target.test_port}
    openings = [o for o in openings if not o.protocol.startswith("icmp")]  # AWS advises it: path MTU discovery
    named = [o for o in openings if _single(o) in tests and not _open_to_the_world(o, prefix_lists)]
    strange = [o for o in openings if _single(o) not in allowed and o not in named]
    assert not strange, saw(listed(strange), expected=phrase("nothing open but {}", listed(sorted(allowed))))


def test_sg_tasks_ingress_alb_only(task_ingress: TaskIngress, target: Service) -> None:
    """The containers' port accepts the load balancer's security group, and nobody else."""
    groups = listed(task_ingress.groups) or target.name
    strangers = [o for o in task_ingress.openings if o.source_id not in task_ingress.balancer_groups]
    expected = phrase("{} to take only the load balancer's security group on {}", groups, task_ingress.port)
    assert not strangers, saw(phrase("open to {}", listed(strangers)), expected=expected)
    assert task_ingress.openings, saw(phrase("open to nobody"), expected=expected)


def test_net_private_subnets(network_subnets: Subnets, target: Database) -> None:
    """No route leads from the internet to the data tier, and a rolling deploy has addresses for its new tasks."""
    public = [phrase("{} with a route to {}", s.id, s.gateway) for s in network_subnets.database if s.gateway]
    assert network_subnets.database, saw(phrase("none"), expected=phrase("subnets of {}", target.instance))
    assert not public, saw(listed(public), expected=phrase("{} in private subnets", target.instance))
    free, needed = sum(s.free for s in network_subnets.tasks), 2 * network_subnets.desired
    if needed and not network_subnets.tasks:
        raise unknown("too-little-data", phrase("ECS names no subnet of the tasks in this network"))
    assert free >= needed, saw(
        phrase("{} in {}", free, listed(s.id for s in network_subnets.tasks)),
        expected=phrase("{} free addresses for a deploy", needed),
    )


def _only_from(groups: list[SecurityGroup], port: int, allowed: tuple[str, ...]) -> None:
    """Asserts that exactly the security groups named `allowed` may reach `port` of the groups."""
    names = listed(g.name for g in groups)
    assert groups, saw(phrase("no security group"), expected=phrase("a security group that guards port {}", port))
    openings = [o for g in groups for o in g.reaching(port)]
    strangers = [o for o in openings if not _is_group(o) or o.source not in allowed]
    assert not strangers, saw(
        phrase("{} open to {}", port, listed(strangers)), expected=phrase("{} to take only {}", names, listed(allowed))
    )
    missing = sorted(set(allowed) - {o.source for o in openings})
    assert not missing, saw(
        phrase("{} closed to {}", port, listed(missing)), expected=phrase("{} to take {}", names, listed(allowed))
    )


def _open_to_the_world(opening: Opening, lists: Mapping[str, Sequence[str]]) -> bool:
    blocks = lists.get(opening.source_id)
    return opening.world or (opening.prefix_list and (blocks is None or any(is_world(block) for block in blocks)))


def _single(opening: Opening) -> int | None:
    """The only TCP port of an opening; None if it opens several ports or another protocol."""
    return opening.first_port if opening.protocol == "tcp" and opening.first_port == opening.last_port else None


def _attached(groups: list[SecurityGroup], name: str) -> None:
    """Asserts that the group that the environment names is one of the attached groups."""
    names = [g.name for g in groups]
    assert name in names, saw(phrase("{} attached", listed(names)), expected=phrase("the security group {}", name))


def _is_group(opening: Opening) -> bool:
    """Whether the source really is a security group, and not a CIDR block or a prefix list with the same name."""
    return opening.source_id.startswith("sg-")
