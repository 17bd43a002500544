"""IAM roles: tasks can start and do no harm, this run can only read, GitHub's roles can only deploy this project."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.aws.iam import TASKS, ExecutionRole, Role, Roles
from gli.observe.aws.iam_statements import matches
from gli.observe.engine.aws_session import iam_action
from gli.observe.engine.guard import AWS_READS
from gli.observe.engine.observation import unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.parts import Repository
    from gli.observe.aws.kms import Key
    from gli.observe.release.workflow import Workflow

_ANYBODY = re.compile(r"[^/]*[*?]|[^/:]*$")
"""Matches a subject that does not name the owner of the repository."""
_PLACES = ("environment:", "ref:")
_ASKED = frozenset(iam_action(service, operation) for service, all_ in AWS_READS.items() for operation in all_)


def test_iam_execution_role(execution_role: ExecutionRole) -> None:
    """ECS may use the execution role, and the role may pull the image, write the log and read every
    referenced secret.
    """
    role = execution_role.role
    assert role is not None, saw(phrase("none"), expected=phrase("an execution role for {}", execution_role.definition))
    assert role.exists, saw(
        phrase("no such role"), expected=phrase("the execution role {} of {}", role.name, execution_role.definition)
    )
    assert TASKS in role.trusted, saw(listed(role.trusted), expected=phrase("{} to trust {}", role.name, TASKS))
    assert not execution_role.missing, saw(
        phrase("no {}", listed(execution_role.missing, most=2)),
        expected=phrase("{} to allow what {} needs", role.name, execution_role.definition),
    )


def test_kms_keys_usable(keys: Sequence[Key]) -> None:
    """Every key of a secret, the database, a bucket or a topic is enabled: a disabled or dying one closes what it
    encrypts.
    """
    unusable = [phrase("{} {}, which opens {}", k.arn, k.state, listed(k.opens)) for k in keys if not k.usable]
    assert not unusable, saw(listed(unusable), expected=phrase("every key enabled"))


def test_iam_task_role_least(task_role: Role | None) -> None:
    """The service has its own role, which is not an administrator's: no wildcard action on every resource."""
    assert task_role is not None, saw(phrase("none"), expected=phrase("a task role"))
    assert task_role.exists, saw(phrase("no such role"), expected=phrase("the task role {}", task_role.name))
    assert not task_role.administrative, saw(
        listed(task_role.administrative),
        expected=phrase("{} to allow single actions on named resources", task_role.name),
    )
    if task_role.unread:
        raise unknown(
            "not-found",
            phrase("IAM does not say what {} allows, attached to {}", listed(task_role.unread), task_role.name),
        )


def test_suite_role_readonly(iam_roles: Roles, environment: Environment) -> None:
    """The role of this run may only read, and may read only this environment's secrets: stolen keys do no harm. Reading
    means what `gli iam-policy` prints, and every action called Get, List, Describe or Head; AWS's ReadOnlyAccess,
    ViewOnlyAccess and SecurityAudit count too. `NAME-*` allows more than the secret NAME: every secret whose name
    begins so.
    """
    own = iam_roles.own
    if own is None:
        raise unknown(
            "not-found", phrase("these credentials belong to no role of the account, so what they may do is not known")
        )
    assert environment.aws is not None
    taken = {environment.aws.roles.get(part) for part in ("counterpart", "dns", "images")} - {None}
    beyond = [a for a in own.beyond(_ASKED) if a != "sts:AssumeRole" or not set(own.resources(a)) <= taken]
    assert not beyond, saw(
        phrase("it allowed {}", listed(beyond)), expected=phrase("{} to look and nothing else", own.name)
    )
    names = "|".join(map(re.escape, environment.secrets))
    own_secret = re.compile(rf"arn:[^:]+:secretsmanager:[^:]*:[^:]*:secret:(?:{names})-(?:\?{{6}}|\w{{6}})")
    others = [arn for arn in own.resources("secretsmanager:GetSecretValue") if not own_secret.fullmatch(arn)]
    assert not others, saw(
        phrase("it allowed the values of {}", listed(others)),
        expected=phrase("{} to read the secrets of {}", own.name, environment.name),
    )
    if own.unread:
        raise unknown(
            "not-found", phrase("IAM does not say what {} allows, attached to {}", listed(own.unread), own.name)
        )


def test_iam_github_oidc(iam_roles: Roles, environment: Environment) -> None:
    """GitHub's workflows may take a role only from this project's repositories, for a place that deploys.

    Such a place is a branch or an environment of this pair.

    An environment that verifies (`verify-stg`) counts too. Another team's role is left alone where it names whose
    repositories may take it, and may neither deploy here nor read the secrets.
    """
    pair = [e for e in (environment, environment.other) if e is not None]
    owner = "|".join(sorted({re.escape(e.github.owner) for e in pair if e.github}))
    places = [f"environment:{re.escape(e.github.environment)}" for e in pair if e.github]
    places += [f"environment:verify-{re.escape(e.name)}" for e in pair]
    places += [f"ref:refs/heads/{re.escape(e.branch)}" for e in pair]
    own = re.compile(rf"repo:({owner})/[^:]+:({'|'.join(places)})")
    ours = [f"repo:{e.github.owner}/{r.name}" for e in pair if e.github for r in e.repositories]
    for federation in iam_roles.federations:
        subjects = federation.subjects
        near = [s for s in subjects if any(fnmatchcase(name, ":".join(s.split(":")[:2])) for name in ours)]
        judged = subjects if federation.reaches else [s for s in subjects if s in near or _ANYBODY.match(s)]
        if not subjects or judged:
            assert federation.audiences == ("sts.amazonaws.com",), saw(
                listed(federation.audiences),
                expected=phrase("{} to ask for the audience sts.amazonaws.com", federation.role),
            )
        wide = [s for s in judged if not own.fullmatch(s)] if subjects else [phrase("any subject")]
        assert not wide, saw(
            listed(wide),
            expected=phrase("{} to name repositories of this project with a branch or an environment", federation.role),
        )


def test_iam_deploy_role(workflow: Workflow, iam_roles: Roles, environment: Environment, target: Repository) -> None:
    """The next push gets its role: the roles that trust this repository and may deploy here take the token of the
    branch's own jobs, for their GitHub environment or for the branch. No repository of a stranger gets one.

    A repository that no such role names is not judged: its role may be in another account. Nor are subjects of a form
    of one's own.
    """
    assert environment.github is not None
    repository = f"{environment.github.owner}/{target.name}"
    open_ = [f.role for f in iam_roles.federations if f.reaches and (not f.subjects or any(map(_is_open, f.subjects)))]
    assert not open_, saw(
        phrase("any repository of GitHub for {}", listed(sorted({*open_}))),
        expected=phrase("repositories of {} alone", environment.github.owner),
    )
    trusted = [about for f in iam_roles.federations if f.deploys for about in f.about(repository)]
    if not trusted or not all(about.startswith((*_PLACES, "pull_request", "*")) for about in trusted):
        return
    tokens = {token for goes in workflow.targets if goes.branch == environment.branch for token in goes.tokens}
    refused = sorted(token for token in tokens if not matches(token, tuple(trusted)))
    assert not refused, saw(
        phrase("roles for {} alone", listed(sorted({*trusted}))),
        expected=phrase("a role for {} of {}", listed(refused), repository),
    )


def _is_open(subject: str) -> bool:
    """Whether a pattern takes the repositories of any owner."""
    return matches("repo:nobody-of-ours/x", (":".join(subject.split(":")[:2]),))
