"""Task definitions: the containers of a service's tasks, and whether the tasks can start.

The observation never has the values of environment variables. A variable whose value looks like a secret is named
only. Source of truth: ecs DescribeTaskDefinition; for the targets of `secrets`, secretsmanager ListSecrets and ssm
DescribeParameters; for environment files s3 ListObjectsV2.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from gli.common.sentences import Said, phrase
from gli.config.environments import Environment
from gli.config.names import NamesOfAnother
from gli.config.services import Service
from gli.observe.aws.ecs_services import ecs_service
from gli.observe.aws.plain_secrets import is_secret
from gli.observe.data.secrets import Secret, listed_secrets, secret, secret_states, versions
from gli.observe.engine.aws_session import AwsError, Part
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

_PARAMETERS_PER_FILTER = 50  # the most names that ssm DescribeParameters accepts
_REGISTRY = re.compile(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)/")


class Reference(Observation):
    """A secret or parameter that ECS puts into an environment variable when a task starts."""

    variable: str
    value_from: str

    @property
    def arn(self) -> str:
        """The ARN without a JSON key, stage or version behind it."""
        return ":".join(self.value_from.split(":")[:7])

    @property
    def field(self) -> str | None:
        """The key of the secret's JSON object that becomes the value; None: the whole secret does."""
        parts = self.value_from.split(":")
        return (parts[7] or None) if self.secret and len(parts) > 7 else None

    @property
    def version(self) -> tuple[str, str]:
        """The staging label and the id of the secret's version; ECS takes AWSCURRENT where none is named."""
        label, id_ = (*self.value_from.split(":")[8:10], "", "")[:2]
        return label or ("" if id_ else "AWSCURRENT"), id_

    @property
    def parameter(self) -> str | None:
        """The name of the parameter in Systems Manager, from its ARN or given alone (`/stg/gli/key`); else None."""
        parts = self.value_from.split(":")
        if parts[0] != "arn":
            return parts[0]
        if len(parts) < 6 or parts[2] != "ssm" or not parts[5].startswith("parameter/"):
            return None
        name = parts[5].removeprefix("parameter")
        return name if name.count("/") > 1 else name.removeprefix("/")  # `key` and `/key` have the same ARN

    @property
    def secret(self) -> str | None:
        """The name of the secret in Secrets Manager, without the six characters that AWS adds to an ARN; else None."""
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
    log_region: str | None = None
    """The region of its log group, with the driver awslogs."""
    ports: tuple[int, ...] = ()
    """The ports that it listens on, as its port mappings say."""
    routes_logs: bool = False
    """The container is FireLens' log router: the task's other containers may log through it."""
    references: tuple[Reference, ...] = ()
    variables: tuple[str, ...] = ()
    """Names of all environment variables, both plain ones and those from secrets, sorted."""
    plain_secrets: tuple[str, ...] = ()
    """Names of the environment variables with a secret in plain text."""
    environment_files: tuple[str, ...] = ()
    """The ARNs of the objects in S3 from which ECS reads environment variables when a task starts."""
    regions: tuple[str, ...] = ()
    """The regions of AWS that its environment variables name for AWS's own libraries."""
    debugs: tuple[str, ...] = ()
    """Names of the environment variables that switch a debug mode on."""
    essential: bool = True
    stop_s: int | None = None
    """Seconds from SIGTERM to SIGKILL; None: ECS's 30."""

    @property
    def registry(self) -> tuple[str, str] | None:
        """(account, region) of the ECR registry that the image's address names; None if it names another registry."""
        named = _REGISTRY.match(self.image)
        return (named[1], named[2]) if named else None


class TaskDefinition(Observation):
    """The task definition of a service's PRIMARY deployment."""

    arn: str
    network_mode: str
    """ECS leaves out the mode of a definition that names none: it is `bridge`, or `default` on Windows."""
    compatibilities: tuple[str, ...]
    execution_role: str | None
    task_role: str | None
    containers: tuple[Container, ...]
    status: str | None = None
    """ACTIVE; INACTIVE once somebody deregistered it; None: ECS does not tell."""
    architecture: str = "X86_64"
    """The CPU architecture of its tasks: X86_64 or ARM64."""
    cpu_units: int | None = None
    """The CPU of one task, in 1/1024 of a vCPU; None: the definition does not say, as on instances of EC2."""
    stuck: tuple[Said, ...] = ()
    """What containers wait for that never comes (`dependsOn`): the health of one without a health check, the end of one
    whose end is that of the task. A health check that always fails; a command that waits for ever; fewer open files
    than a server needs."""
    at_home: tuple[str, ...] = ()
    """The variables with the address of a database, cache or broker inside the task, where no other container may run
    one: those of a developer's machine; sorted."""
    foreign: tuple[str, ...] = ()
    """`VARIABLE: NAME` for each variable, secret, role or log that names a part of the counterpart; sorted."""

    @property
    def name(self) -> str:
        """Family and revision, for example `stg-gli-api:7`."""
        return self.arn.rpartition("/")[2]

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(reference for container in self.containers for reference in container.references)

    def container(self, name: str) -> Container:
        """The container with this name. Raises `Unobserved` if there is none."""
        for container in self.containers:
            if container.name == name:
                return container
        raise unknown(
            "not-found",
            phrase("{} has no container {}; it has {}", self.name, name, ", ".join(c.name for c in self.containers)),
        )


@probe(deadline=15)
async def task_definition(observer: Observer, service: Service) -> TaskDefinition:
    """The task definition of the service's PRIMARY deployment."""
    return await described_definition(observer, (await observer.see(ecs_service, service)).primary.task_definition)


async def described_definition(observer: Observer, arn: str, part: Part | None = None) -> TaskDefinition:
    """Fetches one task definition."""
    answer = await observer.aws.call(observer, "ecs", "describe_task_definition", part=part, taskDefinition=arn)
    described = answer["taskDefinition"]
    compatible = {*(described.get("compatibilities") or []), *(described.get("requiresCompatibilities") or [])}
    return TaskDefinition(
        arn=described["taskDefinitionArn"],
        network_mode=described.get("networkMode") or ("default" if _of_windows(described) else "bridge"),
        compatibilities=tuple(sorted(compatible)),
        execution_role=described.get("executionRoleArn"),
        task_role=described.get("taskRoleArn"),
        containers=tuple(_container(c) for c in described["containerDefinitions"]),
        status=described.get("status"),
        architecture=(described.get("runtimePlatform") or {}).get("cpuArchitecture") or "X86_64",
        cpu_units=int(described["cpu"]) if str(described.get("cpu") or "").isdigit() else None,
        stuck=(*_stuck(described["containerDefinitions"]), *_doomed(described["containerDefinitions"])),
        at_home=_at_home(described["containerDefinitions"]),
        foreign=() if part else _foreign(observer.environment, described),
    )


def _of_windows(described: Mapping[str, Any]) -> bool:
    return str((described.get("runtimePlatform") or {}).get("operatingSystemFamily")).startswith("WINDOWS")


def _stuck(containers: list[Mapping[str, Any]]) -> tuple[Said, ...]:
    named = {c["name"]: c for c in containers}
    waits = [(c["name"], d["containerName"], d["condition"]) for c in containers for d in c.get("dependsOn") or []]
    return tuple(
        phrase("{}, which waits for {} to be {}", one, other, condition)
        for one, other, condition in waits
        if (condition == "HEALTHY" and not named.get(other, {}).get("healthCheck"))
        or (condition in ("COMPLETE", "SUCCESS") and named.get(other, {}).get("essential", True))
    )


_FAILS = re.compile(r"(?:CMD-SHELL|CMD)?\s*(?:exit [1-9]\d*|(?:/usr)?(?:/bin/)?false)\s*")
_WAITS = re.compile(r"(?:(?:/bin/)?(?:ba)?sh -c )?(?:sleep (?:infinity|\d+\w?)|tail -f /dev/null)")
_LEAST_FILES = 256
"""A server with a pool of connections needs some hundred files; the system's usual limit is 1024."""


def _doomed(containers: list[Mapping[str, Any]]) -> tuple[Said, ...]:
    """The essential containers that can't be healthy, or can't serve, whatever their image does."""
    found = []
    for container in containers:
        if not container.get("essential", True):
            continue
        command = " ".join((container.get("healthCheck") or {}).get("command") or [])
        if _FAILS.fullmatch(command):
            found.append(phrase("{}, whose health check always fails: {}", container["name"], command))
        command = " ".join([*(container.get("entryPoint") or []), *(container.get("command") or [])])
        if container.get("portMappings") and _WAITS.fullmatch(command):  # a helper may wait for its people
            found.append(phrase("{}, which runs nothing: {}", container["name"], command))
        found += [
            phrase("{}, which may open {} files", container["name"], limit["hardLimit"])
            for limit in container.get("ulimits") or []
            if limit["name"] == "nofile" and limit["hardLimit"] < _LEAST_FILES
        ]
    return tuple(found)


_AT_HOME = re.compile(
    r"(?:postgres(?:ql)?|mysql|mongodb|rediss?|valkeys?|amqps?)(?:\+\w+)?://(?:[^/@\s]*@)?"
    r"(?:localhost|127\.0\.0\.1|\[::1\]|host\.docker\.internal|docker\.for\.mac\.localhost)(?=[:/?]|$)"
)


def _at_home(containers: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """See `TaskDefinition.at_home`. A sidecar, as of a pool of connections, answers on the task's own address."""
    if len(containers) > 1:
        return ()
    variables = [v for c in containers for v in c.get("environment") or []]
    return tuple(sorted(v["name"] for v in variables if _AT_HOME.match(str(v.get("value") or "").lower())))


def _foreign(environment: Environment, described: Mapping[str, Any]) -> tuple[str, ...]:
    if environment.other is None:
        return ()
    names = NamesOfAnother(environment, environment.other)
    texts = [("execution role", described.get("executionRoleArn")), ("task role", described.get("taskRoleArn"))]
    for container in described["containerDefinitions"]:
        texts += [(v["name"], v.get("value")) for v in container.get("environment") or []]
        texts += [(s["name"], s["valueFrom"]) for s in container.get("secrets") or []]
        texts += [("environment file", f.get("value")) for f in container.get("environmentFiles") or []]
        texts += [(key, text) for key in ("entryPoint", "command") for text in container.get(key) or []]
        texts += [("health check", text) for text in (container.get("healthCheck") or {}).get("command") or []]
        logging = container.get("logConfiguration") or {}
        texts += list((logging.get("options") or {}).items())
        texts += [(s["name"], s["valueFrom"]) for s in logging.get("secretOptions") or []]
    return tuple(sorted({f"{where}: {name}" for where, text in texts for name in names.within(str(text or ""))}))


@probe(deadline=15)
async def dangling_references(observer: Observer, service: Service) -> dict[str, Said]:
    """Environment variable to what is wrong with its secret or parameter.

    Another check proves that the environment's own secrets exist. Here a reference must have the secret's right ARN.
    """
    references = (await observer.see(task_definition, service)).references
    states = await observer.see(secret_states)
    strangers = sorted({r.secret for r in references if r.secret} - set(states))
    secrets, parameters = await asyncio.gather(
        _listed(observer, strangers),
        _parameters(observer, sorted({r.parameter for r in references if r.parameter and not _elsewhere(r, observer)})),
    )
    dangling: dict[str, str] = {}
    problem: str | None
    for reference in references:
        if reference.secret:
            problem = _of_secret(reference, states, secrets)
        elif reference.parameter and not _elsewhere(reference, observer):
            there = reference.parameter in parameters
            problem = None if there else phrase("refers to the parameter {}, which does not exist", reference.parameter)
        else:
            problem = (
                None if reference.parameter else phrase("refers to {}, which ECS can't read", reference.value_from)
            )
        if problem:
            dangling[reference.variable] = problem
    return dangling


@probe(deadline=15)
async def missing_fields(observer: Observer, service: Service) -> dict[str, Said]:
    """Environment variable to the JSON key that its secret lacks: ECS then starts no task.

    Only the environment's own secrets are opened.
    """
    wanted = [r for r in (await observer.see(task_definition, service)).references if r.field]
    missing: dict[str, Said] = {}
    for reference in wanted:
        if reference.secret in observer.environment.secrets:
            opened = await observer.see(secret, reference.secret)
            if reference.field not in opened.fields:
                missing[reference.variable] = phrase("has no key {} in {}", reference.field, opened.id)
    return missing


@probe(deadline=15)
async def missing_files(observer: Observer, service: Service) -> tuple[str, ...]:
    """The environment files of the definition that S3 does not have. One call each, which opens none of them."""
    containers = (await observer.see(task_definition, service)).containers
    wanted = sorted({file for container in containers for file in container.environment_files})
    there = await asyncio.gather(*[_is_stored(observer, file) for file in wanted])
    return tuple(file for file, stored in zip(wanted, there, strict=True) if not stored)


async def _is_stored(observer: Observer, arn: str) -> bool:
    bucket, _, key = arn.partition(":::")[2].partition("/")
    try:
        answer = await observer.aws.page(observer, "s3", "list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
    except AwsError as e:
        if e.code != "NoSuchBucket":
            raise
        return False
    return any(each["Key"] == key for each in answer.get("Contents") or [])


def _elsewhere(reference: Reference, observer: Observer) -> bool:
    """Whether the parameter is in another region, which is not observed."""
    parts, aws = reference.value_from.split(":"), observer.environment.aws
    return parts[0] == "arn" and aws is not None and parts[3] != aws.region


async def _listed(observer: Observer, names: list[str]) -> Mapping[str, Any]:
    """ARN to secret in Secrets Manager, for names that are not in environments.toml."""
    return {s["ARN"]: s for s in await listed_secrets(observer, names)}


async def _parameters(observer: Observer, names: list[str]) -> frozenset[str]:
    """The parameters that exist. No value is fetched."""
    found: set[str] = set()
    names = [*names, *(f"/{name}" for name in names if "/" not in name)]
    for n in range(0, len(names), _PARAMETERS_PER_FILTER):
        wanted = [{"Key": "Name", "Option": "Equals", "Values": names[n : n + _PARAMETERS_PER_FILTER]}]
        answer = await observer.aws.call(observer, "ssm", "describe_parameters", ParameterFilters=wanted)
        found |= {p["Name"] if p["Name"].count("/") > 1 else p["Name"].removeprefix("/") for p in answer["Parameters"]}
    return frozenset(found)


def _of_secret(reference: Reference, states: Mapping[str, Secret], listed: Mapping[str, Any]) -> str | None:
    own = states.get(str(reference.secret))
    if own is None:
        return _problem(reference, listed)
    if own.exists and not _same(reference, str(own.arn)):
        return phrase("refers to {}, but {} is {}", reference.arn, own.id, own.arn)
    return _version_problem(reference, own.versions) if own.usable else None


def _problem(reference: Reference, listed: Mapping[str, Any]) -> str | None:
    found = next((secret for arn, secret in listed.items() if _same(reference, arn)), None)
    if found is None:
        return phrase("refers to {}, which does not exist", reference.secret)
    if found.get("DeletedDate"):
        return phrase("refers to {}, which is scheduled for deletion", reference.secret)
    return _version_problem(reference, versions(found))


def _version_problem(reference: Reference, known: Mapping[str, tuple[str, ...]]) -> str | None:
    """What is wrong with the version that a reference asks for; `known` maps each version to its labels."""
    label, id_ = reference.version
    if (label and not any(label in labels for labels in known.values())) or (id_ and id_ not in known):
        return phrase("refers to {}, which has no version {}", reference.secret, label or id_)
    return None


def _same(reference: Reference, arn: str) -> bool:
    """Whether a reference names this secret's ARN, with or without the six characters at its end."""
    return reference.arn in (arn, arn[:-7])


def reads(definition: TaskDefinition, secret: Secret) -> bool:
    """Whether a container of the definition refers to this secret."""
    return secret.arn is not None and any(_same(r, secret.arn) for r in definition.references)


_REGION = frozenset({"AWS_REGION", "AWS_DEFAULT_REGION"})
_DEBUG = frozenset({"DEBUG", "APP_DEBUG", "DJANGO_DEBUG", "FLASK_DEBUG"})
_ON = frozenset({"1", "on", "true", "yes"})


def _container(container: Mapping[str, Any]) -> Container:
    logging = container.get("logConfiguration") or {}
    variables = {v["name"]: str(v.get("value") or "") for v in container["environment"]}
    secrets = container.get("secrets") or []
    registry = (container.get("repositoryCredentials") or {}).get("credentialsParameter")
    # The execution role also reads the secrets of the log driver and the registry, before the container starts.
    more = [
        *(logging.get("secretOptions") or []),
        *([{"name": "its registry", "valueFrom": registry}] if registry else []),
    ]
    return Container(
        name=container["name"],
        image=container["image"],
        log_driver=logging.get("logDriver"),
        log_group=(logging.get("options") or {}).get("awslogs-group"),
        log_region=(logging.get("options") or {}).get("awslogs-region"),
        ports=tuple(sorted(p["containerPort"] for p in container.get("portMappings") or [] if p.get("containerPort"))),
        routes_logs=bool(container.get("firelensConfiguration")),
        environment_files=tuple(f["value"] for f in container.get("environmentFiles") or []),
        essential=bool(container.get("essential", True)),
        stop_s=container.get("stopTimeout"),
        references=tuple(Reference(variable=s["name"], value_from=s["valueFrom"]) for s in [*secrets, *more]),
        variables=tuple(sorted({*variables, *(s["name"] for s in secrets)})),
        regions=tuple(sorted({value for name, value in variables.items() if name in _REGION and value})),
        debugs=tuple(sorted(n for n, v in variables.items() if n.upper() in _DEBUG and v.lower() in _ON)),
        plain_secrets=tuple(sorted(name for name, value in variables.items() if is_secret(name, value))),
    )
