"""Who gets each login of the application: the services of ECS whose tasks start with it, or may read it themselves.

Source of truth: ecs DescribeTaskDefinition; iam GetAccountAuthorizationDetails for tasks that read secrets by
themselves; ec2 DescribeSecurityGroups for which service is a client of which part.
"""

from __future__ import annotations

from gli.config.data_tier import Stored
from gli.config.services import Service
from gli.observe.aws.ec2_security_groups import security_groups
from gli.observe.aws.ecs_services import ecs_service
from gli.observe.aws.iam import task_role
from gli.observe.aws.task_definitions import TaskDefinition, reads, task_definition
from gli.observe.data.secrets import Secret, secret_state
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_WITHOUT_A_PASSWORD = ("rds-db:connect", "elasticache:Connect")


class SecretReaders(Observation):
    """The services that should get a secret of the application, and those that do not."""

    id: str
    without: tuple[str, ...]
    """The services that should get it and do not; sorted."""


@probe(deadline=20)
async def secret_readers(observer: Observer, secret_id: str) -> SecretReaders | None:
    """The services without the secret; None where that can't be told, or is not asked.

    Asked only of the application's own logins, where ECS runs every service. The suite's own logins go to no service.
    """
    environment, services = observer.environment, observer.environment.ecs
    if not services or len(services) < len(environment.services):
        return None
    circles = [[s] for s in services if s.deep_health_secret == secret_id]
    for part in environment.stored:
        if part.secret == secret_id:
            circles += await _circles(observer, part)
    state = await observer.see(secret_state, secret_id)
    if not circles or not state.usable:
        return None
    without: set[str] = set()
    for circle in circles:
        if not any([await _gets(observer, service, state) for service in circle]):
            without.update(service.name for service in circle)
    return SecretReaders(id=secret_id, without=tuple(sorted(without)))


async def _circles(observer: Observer, part: Stored) -> list[list[Service]]:
    """Sets of services, of each of which one at least logs in to this part.

    The part's security group lets the groups of its clients in: of the services in such a group, one is a client. Where
    the part names no groups, one of all services is.
    """
    services = observer.environment.ecs
    admitted = getattr(part, "ingress_from", ())
    if not admitted:
        return [list(services)]
    named = {g.id: g.name for g in (await observer.see(security_groups)).groups}
    groups = {
        s.name: {named.get(id_) for id_ in (await observer.see(ecs_service, s)).security_groups} for s in services
    }
    circles = [[s for s in services if group in groups[s.name]] for group in admitted]
    return [circle for circle in circles if circle]


async def _gets(observer: Observer, service: Service, secret: Secret) -> bool:
    definition = await observer.see(task_definition, service)
    if reads(definition, secret) or _by_another_way(definition):
        return True
    role = await observer.see(task_role, service)
    return role is not None and (
        role.may("secretsmanager:GetSecretValue", str(secret.arn))
        or any(role.resources(action) for action in _WITHOUT_A_PASSWORD)
    )


def _by_another_way(definition: TaskDefinition) -> bool:
    """Whether its tasks read parameters or files, whose values are not opened: they may hold any login."""
    return any(r.parameter for r in definition.references) or any(c.environment_files for c in definition.containers)
