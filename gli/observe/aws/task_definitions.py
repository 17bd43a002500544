"""Task definitions: what a service's tasks are made of, and whether it can start.

The values of environment variables stay out of the observation: one that looks like a secret is named, no more.
Source of truth: ecs DescribeTaskDefinition; secretsmanager ListSecrets for what `secrets` refer to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gli.common.sentences import Said, phrase
from gli.config.environments import Service
from gli.observe.aws.ecs_services import ecs_service
from gli.observe.data.secrets import Secret, listed_secrets, secret_states
from gli.observe.engine.aws_session import Part
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

_SECRET_NAME = re.compile(r"(?:^|_)(?:PASSWORD|PASSWD|SECRET|TOKEN|(?<!PUBLIC_)KEY)$", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


class Reference(Observation):
    """A value that ECS puts into an environment variable when a task starts."""

    variable: str
    value_from: str

    @property
    def arn(self) -> str:
        """The ARN without the JSON key, stage and version that may follow it."""
        return ":".join(self.value_from.split(":")[:7])

    @property
    def secret(self) -> str | None:
        """The name of the secret in Secrets Manager, without the six characters that AWS adds to it in an ARN."""
        parts = self.value_from.split(":")
        if len(parts) < 7 or parts[2] != "secretsmanager":
            return None
        return re.sub(r"-\w{6}$", "", parts[6])


class Container(Observation):
    """One container of a task definition."""

    name: str
    image: str
    log_driver: str | None = None
    log_group: str | None = None
    references: tuple[Reference, ...] = ()
    variables: tuple[str, ...] = ()
    """Names of all environment variables, plain and from secrets, sorted."""
    plain_secrets: tuple[str, ...] = ()
    """Environment variables that hold a secret in plain text."""


class TaskDefinition(Observation):
    """The task definition of a service's PRIMARY deployment."""

    arn: str
    network_mode: str | None
    compatibilities: tuple[str, ...]
    execution_role: str | None
    task_role: str | None
    containers: tuple[Container, ...]

    @property
    def name(self) -> str:
        """Family and revision, as in `stg-gli-api:7`."""
        return self.arn.rpartition("/")[2]

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(reference for container in self.containers for reference in container.references)

    def container(self, name: str) -> Container:
        """The container of that name; raises `Unobserved` where there is none."""
        for container in self.containers:
            if container.name == name:
                return container
        raise unknown(
            "not-found",
            phrase("{} has no container {}; it has {}", self.name, name, ", ".join(c.name for c in self.containers)),
        )


@probe(deadline=15)
async def task_definition(observer: Observer, service: Service) -> TaskDefinition:
    """What the PRIMARY deployment of the service runs."""
    return await described_definition(observer, (await observer.see(ecs_service, service)).primary.task_definition)


async def described_definition(observer: Observer, arn: str, part: Part | None = None) -> TaskDefinition:
    """One task definition, asked for."""
    answer = await observer.aws.call(observer, "ecs", "describe_task_definition", part=part, taskDefinition=arn)
    described = answer["taskDefinition"]
    compatible = {*(described.get("compatibilities") or []), *(described.get("requiresCompatibilities") or [])}
    return TaskDefinition(
        arn=described["taskDefinitionArn"],
        network_mode=described.get("networkMode"),
        compatibilities=tuple(sorted(compatible)),
        execution_role=described.get("executionRoleArn"),
        task_role=described.get("taskRoleArn"),
        containers=tuple(_container(c) for c in described["containerDefinitions"]),
    )


@probe(deadline=15)
async def dangling_references(observer: Observer, service: Service) -> dict[str, Said]:
    """Environment variable to what is wrong with the secret that it should be filled from.

    Whether the environment's own secrets exist is another check's: here they must be the ones that are referred to.
    """
    references = [r for r in (await observer.see(task_definition, service)).references if r.secret]
    states = await observer.see(secret_states)
    strangers = sorted({str(r.secret) for r in references} - set(states))
    others = await _listed(observer, strangers) if strangers else {}
    dangling: dict[str, str] = {}
    problem: str | None
    for reference in references:
        own = states.get(str(reference.secret))
        if own is not None:
            wrong = own.exists and not _same(reference, str(own.arn))
            problem = phrase("refers to {}, but {} is {}", reference.arn, own.id, own.arn) if wrong else None
        else:
            problem = _problem(reference, others)
        if problem:
            dangling[reference.variable] = problem
    return dangling


async def _listed(observer: Observer, names: list[str]) -> Mapping[str, Any]:
    """What Secrets Manager lists under names that environments.toml does not have, by ARN."""
    return {s["ARN"]: s for s in await listed_secrets(observer, names)}


def _problem(reference: Reference, listed: Mapping[str, Any]) -> str | None:
    found = next((secret for arn, secret in listed.items() if _same(reference, arn)), None)
    if found is None:
        return phrase("refers to {}, which does not exist", reference.secret)
    if found.get("DeletedDate"):
        return phrase("refers to {}, which is scheduled for deletion", reference.secret)
    return None


def _same(reference: Reference, arn: str) -> bool:
    """Whether a reference leads to that secret; it may leave out the six characters at the end."""
    return reference.arn in (arn, arn[:-7])


def reads(definition: TaskDefinition, secret: Secret) -> bool:
    """Whether tasks of the definition are filled from that secret."""
    return secret.arn is not None and any(_same(r, secret.arn) for r in definition.references)


def _container(container: Mapping[str, Any]) -> Container:
    logging = container.get("logConfiguration") or {}
    variables = {v["name"]: str(v.get("value") or "") for v in container.get("environment") or []}
    return Container(
        name=container["name"],
        image=container["image"],
        log_driver=logging.get("logDriver"),
        log_group=(logging.get("options") or {}).get("awslogs-group"),
        references=tuple(
            Reference(variable=s["name"], value_from=s["valueFrom"]) for s in container.get("secrets") or []
        ),
        variables=tuple(sorted({*variables, *(s["name"] for s in container.get("secrets") or [])})),
        plain_secrets=tuple(sorted(name for name, value in variables.items() if _is_secret(name, value))),
    )


def _is_secret(name: str, value: str) -> bool:
    """By its name, unless it only says where the secret lies; or by a password inside a URL."""
    if not value or value.startswith("arn:"):
        return False
    return bool(_SECRET_NAME.search(name) or _LOGIN_IN_URL.search(value))
