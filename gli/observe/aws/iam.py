"""IAM roles of the tasks, of this run and of the deploys: who may assume them, and what they allow.

Policies are evaluated as IAM does, without a real request: an action on a resource is allowed if a statement allows
it and no statement denies it. The condition of an Allow counts as met, the condition of a Deny as not met. Service
control policies are not read: they can't be seen from inside an account. Source of truth: iam
GetAccountAuthorizationDetails, one paged call for all roles and the policies attached to them; kms GetKeyPolicy.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from gli.common.sentences import Said, listed, phrase
from gli.config.environments import Environment
from gli.config.services import Service
from gli.observe.aws.iam_statements import (
    Statement,
    allows_action,
    matches,
    principals_of,
    read_statement,
    required_values,
)
from gli.observe.aws.identity import Identity, caller_identity
from gli.observe.aws.policy_documents import statements_of, values_of
from gli.observe.aws.task_definitions import TaskDefinition, task_definition
from gli.observe.data.secrets import customer_key, listed_secrets, secret_states
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe

TASKS = "ecs-tasks.amazonaws.com"
_PER_PAGE = 200
_PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_LOG = ("logs:CreateLogStream", "logs:PutLogEvents")
_GITHUB = "token.actions.githubusercontent.com"
_FOR_TASKS = "AmazonECSTaskExecutionRolePolicy"  # AWS's own policy: pulls and logs, on every resource
_LOOKING = re.compile(
    r"[a-z0-9-]+:(?:batchdescribe|batchget|describe|get|head|list|lookup|search|view)[a-z0-9*?]*", re.IGNORECASE
)
_FOR_ADMINISTRATORS = frozenset({"AdministratorAccess", "PowerUserAccess"})
_TO_LOOK = re.compile(r"arn:[^:]+:iam::aws:policy/(?:job-function/)?(?:ReadOnlyAccess|ViewOnlyAccess|SecurityAudit)")
"""AWS's managed read-only policies. None of them allows reading a secret's value."""
_READS_A_SECRET = "secretsmanager:GetSecretValue"
_DEPLOYS = ("ecs:UpdateService", "ecs:RunTask", "ecr:PutImage", "s3:PutObject", _READS_A_SECRET)


class Role(Observation):
    """An IAM role. `exists` is false if IAM has no role with this ARN."""

    arn: str
    exists: bool
    trusted: tuple[str, ...] = ()
    """The services that may assume the role."""
    attached: tuple[str, ...] = ()
    """Names of the managed policies attached to it."""
    unread: tuple[str, ...] = ()
    """Names of the attached policies and of the boundary whose content IAM does not show."""
    statements: tuple[Statement, ...] = ()
    boundary: tuple[Statement, ...] | None = None
    """The statements of its permissions boundary; None: it has no boundary."""

    @property
    def name(self) -> str:
        return self.arn.rpartition("/")[2]

    @property
    def administrative(self) -> tuple[str, ...]:
        """What gives the role nearly all rights: administrators' policies, and wildcard actions on every resource."""
        attached = [name for name in self.attached if name in _FOR_ADMINISTRATORS]
        return tuple(attached + [action for statement in self.statements for action in statement.wide])

    def may(self, action: str, resource: str) -> bool:
        """Whether the role's policies and its boundary allow this action on this resource."""
        by_aws = _FOR_TASKS in self.attached and action.startswith(("ecr:", "logs:"))
        within = self.boundary is None or allows_action(self.boundary, action, resource)
        return within and allows_action(self.statements, action, resource, otherwise=by_aws)

    def beyond(self, known: Collection[str]) -> tuple[str, ...]:
        """The allowed actions that are neither `known` nor reads by their verb (Get, List, ...); sorted.

        A denied action is left out. A pattern is not, even if other statements deny some of its actions.
        """
        looked = {action.lower() for action in known}
        allowing = [s for s in self.statements if s.allows and not s.to_look and not s.opens_secrets]
        found = {a for s in allowing for a in s.actions if a.lower() not in looked and not _LOOKING.fullmatch(a)}
        found |= {phrase("all but {}", a) for s in allowing for a in s.except_actions}
        return tuple(sorted(action for action in found if not self._denies(action)))

    def resources(self, action: str) -> tuple[str, ...]:
        """The resource patterns on which the role's policies allow this action; sorted."""
        about = [s for s in self.statements if s.allows and s.names(action)]
        found = {r for s in about for r in s.resources} | {
            phrase("all but {}", r) for s in about for r in s.except_resources
        }
        return tuple(sorted(found))

    def _denies(self, action: str) -> bool:
        denying = [s for s in self.statements if not s.allows and not s.conditional and "*" in s.resources]
        return not {"*", "?", " "} & set(action) and any(s.names(action) for s in denying)


class Federation(Observation):
    """A role that GitHub workflows may assume, and which workflows may."""

    role: str
    audiences: tuple[str, ...]
    subjects: tuple[str, ...]
    """Patterns such as `repo:OWNER/NAME:environment:staging`. Empty: any repository of any owner."""
    reaches: tuple[str, ...] = ()
    """The actions of deploys and secret reads that the role may do in this environment."""

    @property
    def deploys(self) -> bool:
        """Whether the role may change something here."""
        return bool({*self.reaches} - {_READS_A_SECRET})

    def about(self, repository: str) -> tuple[str, ...]:
        """What it wants of the tokens of a repository (`OWNER/NAME`), as in `environment:staging`; patterns."""
        parts = [subject.split(":", 2) for subject in self.subjects]
        return tuple(p[2] for p in parts if len(p) == 3 and matches(f"repo:{repository}", (":".join(p[:2]),)))


class Roles(Observation):
    """The roles of the account that matter to the environment."""

    of_tasks: dict[str, Role]
    """Every role that a task definition names, by ARN."""
    own: Role | None
    """The role of this run; None if its credentials are not those of a role."""
    federations: tuple[Federation, ...]


class ExecutionRole(Observation):
    """The role with which ECS starts a service's tasks, and the rights that it lacks."""

    definition: str
    role: Role | None
    missing: tuple[Said, ...]
    """`action on resource` for everything that the task definition needs and the role does not allow."""


@probe(deadline=80)
async def iam_roles(observer: Observer) -> Roles:
    """The roles of the tasks, of this run, and of the deploys from GitHub. One call for every 200 roles.

    For a large account, the answer has megabytes and IAM needs many seconds.
    """
    definitions = []
    for service in observer.environment.services.values():
        with suppress(Unobserved):  # checks of this service's roles observe its definition too
            definitions += [await observer.see(task_definition, service)] if service.ecs else []
    wanted = sorted({arn for d in definitions for arn in (d.execution_role, d.task_role) if arn})
    answer = await observer.aws.call(
        observer,
        "iam",
        "get_account_authorization_details",
        Filter=["Role", "LocalManagedPolicy", "AWSManagedPolicy"],
        PaginationConfig={"PageSize": _PER_PAGE},
    )
    found = {role["Arn"]: role for role in answer["RoleDetailList"]}
    policies = {policy["Arn"]: policy for policy in answer["Policies"]}
    identity = await observer.see(caller_identity)
    own = _assumed(identity.arn, found)
    parts = _parts(observer.environment, identity)
    return Roles(
        of_tasks={arn: read_role(arn, found.get(arn), policies) for arn in wanted},
        own=read_role(own, found[own], policies) if own else None,
        federations=tuple(
            f.model_copy(update={"reaches": _reached(read_role(arn, found[arn], policies), parts)})
            for arn in sorted(found)
            for f in _federations(found[arn])
        ),
    )


def _parts(environment: Environment, identity: Identity) -> list[str]:
    """The ARNs of the resources that a deploy changes, and of the secrets."""
    partition, account = identity.arn.split(":")[1], identity.account
    here = f"{identity.region}:{account}"
    ecs = [(s.ecs.cluster, s.ecs.service) for s in environment.services.values() if s.ecs]
    arns = [f"arn:{partition}:ecs:{here}:service/{cluster}/{service}" for cluster, service in ecs]
    arns += [f"arn:{partition}:ecr:{here}:repository/{s.image}" for s in environment.services.values() if s.image]
    arns += [f"arn:{partition}:s3:::{f.bucket}/index.html" for f in environment.frontends.values() if f.bucket]
    return arns + [f"arn:{partition}:secretsmanager:{here}:secret:{name}-AbCdEf" for name in environment.secrets]


def _reached(role: Role, parts: Iterable[str]) -> tuple[str, ...]:
    found = {action for part in parts for action in _DEPLOYS if action.split(":")[0] == part.split(":")[2]}
    may = {action for action in found for part in parts if role.may(action, part)}
    return tuple(sorted({*may, *role.administrative}))


@probe(deadline=20)
async def execution_role(observer: Observer, service: Service) -> ExecutionRole:
    """The execution role of the service's tasks, and the rights that it lacks to start them."""
    definition = await observer.see(task_definition, service)
    if definition.execution_role is None:
        return ExecutionRole(definition=definition.name, role=None, missing=())
    role = (await observer.see(iam_roles)).of_tasks[definition.execution_role]
    needs = dict.fromkeys(_needs(definition))
    missing = [phrase("{} on {}", action, resource) for action, resource in needs if not role.may(action, resource)]
    if role.unread and (missing or role.boundary is not None):
        raise unknown("not-found", phrase("IAM does not say what {} allows, of {}", listed(role.unread), role.name))
    for key in await _keys(observer, definition):
        if not await _may_decrypt(observer, role, key):
            missing.append(phrase("{} on {}", "kms:Decrypt", key))
    return ExecutionRole(definition=definition.name, role=role, missing=tuple(missing))


async def _keys(observer: Observer, definition: TaskDefinition) -> list[str]:
    """The customer's own keys that encrypt the secrets of the definition."""
    names = {str(r.secret) for r in definition.references if r.secret}
    states = await observer.see(secret_states)
    keys = {states[n].key for n in names & states.keys()}
    strangers = sorted(names - states.keys())
    if strangers:
        keys |= {customer_key(s) for s in await listed_secrets(observer, strangers) if s["Name"] in strangers}
    return sorted({await _without_alias(observer, key) for key in keys if key})


async def _without_alias(observer: Observer, key: str) -> str:
    """The ARN of the key that an alias stands for: policies name keys, and GetKeyPolicy accepts no alias."""
    if ":alias/" not in key:
        return key
    answer = await observer.aws.call(observer, "kms", "describe_key", KeyId=key)
    return str(answer["KeyMetadata"]["Arn"])


async def _may_decrypt(observer: Observer, role: Role, key: str) -> bool:
    """Whether the key's policy and IAM let the role decrypt with a key.

    A key's policy may name the role, or leave the decision to IAM by naming the account. A denial in it always counts.
    """
    answer = await observer.aws.call(observer, "kms", "get_key_policy", KeyId=key, PolicyName="default")
    partition, account = role.arn.split(":")[1], role.arn.split(":")[4]
    named, account_itself = {role.arn, "*"}, {f"arn:{partition}:iam::{account}:root", account}
    allowed: set[str] = set()
    for statement in statements_of(answer["Policy"]):
        about = read_statement(statement | {"Resource": "*"})
        principals = principals_of(statement)
        if not about.names("kms:Decrypt"):
            continue
        if about.allows:
            allowed |= principals
        elif not about.conditional and principals & (named | account_itself):
            return False
    return bool(allowed & named) or (bool(allowed & account_itself) and role.may("kms:Decrypt", key))


@probe(deadline=20)
async def task_role(observer: Observer, service: Service) -> Role | None:
    """The role of the service's own code; None if its task definition names none."""
    arn = (await observer.see(task_definition, service)).task_role
    return (await observer.see(iam_roles)).of_tasks[arn] if arn else None


def _needs(definition: TaskDefinition) -> Iterator[tuple[str, str]]:
    """Every (action, resource) that ECS needs to start tasks of the definition."""
    partition, _, region, account = definition.arn.split(":")[1:5]
    for container in definition.containers:
        if container.registry:
            (owner, where), path = container.registry, container.image.partition("/")[2]
            yield "ecr:GetAuthorizationToken", "*"
            repository = path.partition("@")[0].partition(":")[0]
            for action in _PULL:
                yield action, f"arn:{partition}:ecr:{where}:{owner}:repository/{repository}"
        if container.log_driver == "awslogs":
            for action in _LOG:
                yield action, f"arn:{partition}:logs:{region}:{account}:log-group:{container.log_group}:log-stream:*"
        for file in container.environment_files:
            yield "s3:GetObject", file
            yield "s3:GetBucketLocation", file.partition("/")[0]
        for reference in container.references:
            if reference.secret:
                yield "secretsmanager:GetSecretValue", reference.arn
            elif not reference.value_from.startswith("arn:"):
                name = reference.value_from.removeprefix("/")
                yield "ssm:GetParameters", f"arn:{partition}:ssm:{region}:{account}:parameter/{name}"
            elif reference.value_from.split(":")[2] == "ssm":
                yield "ssm:GetParameters", reference.value_from


def read_role(arn: str, role: Mapping[str, Any] | None, policies: Mapping[str, Mapping[str, Any]]) -> Role:
    """Reads a role from IAM's description. `policies` maps ARN to managed policy, for the whole account."""
    if role is None:
        return Role(arn=arn, exists=False)
    attached = role["AttachedManagedPolicies"]
    statements = [read_statement(s) for p in role["RolePolicyList"] for s in statements_of(p["PolicyDocument"])]
    unread = []
    for policy in attached:
        to_look = _TO_LOOK.fullmatch(policy["PolicyArn"]) is not None
        held = _held(policies, policy["PolicyArn"])
        statements += [s.model_copy(update={"to_look": to_look}) for s in held or ()]
        unread += [policy["PolicyName"]] if held is None and not to_look else []
    edge = (role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn")
    boundary = _held(policies, edge) if edge else None
    if edge and boundary is None:
        unread.append(edge.rpartition("/")[2])
        boundary = ()
    return Role(
        arn=arn,
        exists=True,
        trusted=_trusted(role["AssumeRolePolicyDocument"], arn.split(":")[4]),
        attached=tuple(sorted(p["PolicyName"] for p in attached)),
        unread=tuple(sorted(unread)),
        statements=tuple(statements),
        boundary=boundary,
    )


def _held(policies: Mapping[str, Mapping[str, Any]], arn: str) -> tuple[Statement, ...] | None:
    """The statements of a managed policy; None if IAM does not show them."""
    versions = (policies.get(arn) or {}).get("PolicyVersionList") or []
    documents = [v["Document"] for v in versions if v.get("IsDefaultVersion") and v.get("Document")]
    return tuple(read_statement(s) for document in documents for s in statements_of(document)) if documents else None


def _trusted(document: Any, account: str) -> tuple[str, ...]:
    """The services that may take a role. A statement for the resources of other accounts alone counts as none."""
    allowed = []
    for statement in statements_of(document):
        of = required_values(statement, "aws:SourceAccount")
        arns = required_values(statement, "aws:SourceArn")
        own = not arns or matches(account, tuple((f"{arn}:::::".split(":"))[4] or "*" for arn in arns))
        if statement.get("Effect") == "Allow" and own and (not of or matches(account, of)):
            allowed.append(statement)
    principals = [s.get("Principal") for s in allowed]
    services = {service for p in principals if isinstance(p, dict) for service in values_of(p.get("Service"))}
    return tuple(sorted(services))


def _assumed(arn: str, roles: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The role's ARN for `arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION`, which lacks the role's path."""
    kind, _, rest = arn.rpartition(":")[2].partition("/")
    name = rest.partition("/")[0]
    return next((a for a, role in roles.items() if kind == "assumed-role" and role["RoleName"] == name), None)


def _federations(role: Mapping[str, Any]) -> Iterator[Federation]:
    """One federation for each statement of the trust policy that trusts GitHub: each alone is enough."""
    for statement in statements_of(role["AssumeRolePolicyDocument"]):
        principal = statement.get("Principal")
        providers = values_of(principal.get("Federated")) if isinstance(principal, dict) else ()
        if statement.get("Effect") == "Allow" and any(p.endswith(f"/{_GITHUB}") for p in providers):
            yield Federation(
                role=role["RoleName"],
                audiences=required_values(statement, f"{_GITHUB}:aud"),
                subjects=required_values(statement, f"{_GITHUB}:sub"),
            )
