"""Compares an environment with its counterpart: the names of their tasks' variables (never a value), and the settings
of their load balancers and distributions.

The counterpart may lie in another account (`aws.roles`). Source of truth: of both, ecs DescribeServices and
DescribeTaskDefinition, elbv2 DescribeListeners, cloudfront GetDistribution.
"""

from __future__ import annotations

import asyncio

from gli.common.sentences import Said, phrase
from gli.config.environments import Environment
from gli.config.services import Frontend, Service
from gli.observe.aws.cloudfront import Distribution, distributions, other_distributions, serving
from gli.observe.aws.ecs_services import described_services
from gli.observe.aws.load_balancer import Listener, balancer
from gli.observe.aws.task_definitions import TaskDefinition, described_definition, task_definition
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

LOAD_BALANCER = "load balancer"


class Configuration(Observation):
    """The variables of a service's container in two environments."""

    service: str
    own: tuple[str, ...]
    """Names of environment variables and secrets, sorted."""
    other: tuple[str, ...]


class Edges(Observation):
    """The settings of the load balancer and of each frontend in two environments.

    Part (`LOAD_BALANCER`, a service with a load balancer of its own, or a frontend) to its settings, without names that
    differ by environment.
    """

    own: dict[str, tuple[Said, ...]]
    other: dict[str, tuple[Said, ...]]


@probe(deadline=20)
async def configurations(observer: Observer) -> tuple[Configuration, ...]:
    """The variables of every service that both environments have."""
    other = observer.environment.other
    assert other is not None, "asked only of environments with a counterpart"
    theirs = await described_services(observer, other)

    async def compared(service: Service) -> Configuration:
        counterpart = theirs[service.name]
        if counterpart.status != "ACTIVE":
            raise unknown(
                "not-found",
                phrase(
                    "{} of {} is {} ({})",
                    counterpart.name,
                    other.name,
                    counterpart.status,
                    observer.aws.elsewhere("counterpart"),
                ),
            )
        newest = counterpart.primary.task_definition
        own, its = await asyncio.gather(
            observer.see(task_definition, service), described_definition(observer, newest, "counterpart")
        )
        return Configuration(
            service=service.name, own=_variables(own, service), other=_variables(its, other.services[service.name])
        )

    shared = [s for s in observer.environment.services.values() if s.ecs and s.name in theirs]
    return tuple(await asyncio.gather(*map(compared, shared)))


def _variables(definition: TaskDefinition, service: Service) -> tuple[str, ...]:
    assert service.ecs is not None
    return definition.container(service.ecs.container).variables


@probe(deadline=20)
async def edges(observer: Observer) -> Edges:
    """The settings of both environments' load balancers and distributions. The counterpart costs two calls for each
    load balancer and one for each distribution.
    """
    other = observer.environment.other
    assert other is not None, "asked only of environments with a counterpart"
    own, its = await asyncio.gather(_edge(observer, observer.environment), _edge(observer, other))
    return Edges(own=own, other=its)


async def _edge(observer: Observer, environment: Environment) -> dict[str, tuple[str, ...]]:
    own = environment is observer.environment
    where: str = environment.name
    if not own:
        where = phrase("{} ({})", environment.name, observer.aws.elsewhere("counterpart"))
    parts: dict[str, tuple[str, ...]] = {}
    balancers = {} if environment.load_balancer is None else {LOAD_BALANCER: environment.load_balancer}
    for service in environment.services.values():
        if service.load_balancer and service.load_balancer != environment.load_balancer:
            balancers[f"{LOAD_BALANCER} {service.name}"] = service.load_balancer
    for part, load_balancer in balancers.items():
        described = await observer.see(balancer, load_balancer)
        if described.arn is None:
            raise unknown("not-found", phrase("this account has no load balancer {} of {}", described.name, where))
        parts[part] = tuple(sorted(map(_listener, described.listeners)))
    frontends = environment.on_cloudfront
    found = await observer.see(distributions if own else other_distributions) if frontends else ()
    for frontend in frontends:
        served_by = serving(found, frontend.host)
        if served_by is None:
            raise unknown("not-found", phrase("this account has no distribution for {} of {}", frontend.host, where))
        parts[frontend.name] = _distribution(served_by, frontend)
    return parts


def _listener(listener: Listener) -> str:
    if listener.redirects_to:
        return phrase("{}:{} redirecting to {}", listener.protocol, listener.port, listener.redirects_to)
    return phrase("{}:{} with {}", listener.protocol, listener.port, listener.policy)


def _distribution(described: Distribution, page: Frontend) -> tuple[str, ...]:
    errors = [
        phrase("{} shown as {} {}, kept for {} s", e.status, e.shown_as, e.page, e.cached_s) for e in described.errors
    ]
    switches = {
        phrase("a viewer-request function"): described.serving_page(page).rewrites,
        **{phrase("compression of {}", b.path): b.compresses for b in described.behaviors},
        phrase("the root object {}", described.root_object): described.root_object is not None,
    }
    on = [name for name, there in switches.items() if there]
    viewers = [phrase("viewers of {} {}", b.path, b.viewers) for b in described.behaviors]
    return tuple(sorted([*errors, *on, *viewers, phrase("TLS {}", described.tls_policy)]))
