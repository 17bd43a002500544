"""What an environment's tasks are configured with, beside its counterpart's: names alone, never a value.

Source of truth: ecs DescribeServices and DescribeTaskDefinition of both.
"""

from __future__ import annotations

import asyncio

from gli.environments import Service
from gli.observe.aws.compute import described_services
from gli.observe.aws.definition import TaskDefinition, described_definition, task_definition
from gli.observe.observation import Observation, unknown
from gli.observe.probe import Observer, probe


class Configuration(Observation):
    """The variables of a service's container in two environments."""

    service: str
    own: tuple[str, ...]
    """Names of environment variables and secrets, sorted."""
    other: tuple[str, ...]


@probe(deadline=20)
async def configurations(observer: Observer) -> tuple[Configuration, ...]:
    """Every service that both environments have."""
    other = observer.environment.other
    assert other is not None, "asked only of environments with a counterpart"
    theirs = await described_services(observer, other)

    async def compared(service: Service) -> Configuration:
        counterpart = theirs[service.name]
        if counterpart.status != "ACTIVE":
            raise unknown("not-found", f"{counterpart.name} of {other.name} is {counterpart.status}")
        own, its = await asyncio.gather(
            observer.see(task_definition, service),
            described_definition(observer, counterpart.primary.task_definition),
        )
        return Configuration(
            service=service.name, own=_variables(own, service), other=_variables(its, other.services[service.name])
        )

    shared = [s for s in observer.environment.services.values() if s.ecs and s.name in theirs]
    return tuple(await asyncio.gather(*map(compared, shared)))


def _variables(definition: TaskDefinition, service: Service) -> tuple[str, ...]:
    assert service.ecs is not None
    return definition.container(service.ecs.container).variables
