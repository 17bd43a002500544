"""The statements of IAM policies, and of the policies of resources: what they allow, and to whom.

Source of truth: the IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements reference".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from gli.common.sentences import phrase
from gli.observe.aws.policy_documents import statements_of, values_of
from gli.observe.engine.observation import Observation

_ASKING = frozenset({"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike"})
_EVERY_ACTION = re.compile(r"\*+|[^:]*:\*+")
_EVERY_RESOURCE = re.compile(r"[*?]+|arn(?::[^:]*){0,4}:[*?]+")  # or every resource of one service


class Statement(Observation):
    """One statement of a policy."""

    allows: bool
    actions: tuple[str, ...]
    except_actions: tuple[str, ...] = ()
    resources: tuple[str, ...]
    except_resources: tuple[str, ...] = ()
    conditional: bool = False
    via: tuple[str, ...] = ()
    """The services through which the request must come (the condition `kms:ViaService`), if there is this condition."""
    to_look: bool = False
    """The statement is part of one of AWS's read-only policies."""

    def covers(self, action: str, resource: str) -> bool:
        """Whether the statement applies to this action on this resource."""
        there = matches(resource, self.resources) if self.resources else not matches(resource, self.except_resources)
        return self.names(action) and there

    def names(self, action: str) -> bool:
        """Whether the statement applies to this action, on any resource."""
        return matches(action, self.actions) if self.actions else not matches(action, self.except_actions)

    @property
    def opens_secrets(self) -> bool:
        """Whether the statement allows only kms:Decrypt, with named keys or through Secrets Manager only."""
        decrypts = {a.lower() for a in self.actions} == {"kms:decrypt"}
        named = bool(self.resources) and not any(_EVERY_RESOURCE.fullmatch(r) for r in self.resources)
        asked = bool(self.via) and all(service.startswith("secretsmanager.") for service in self.via)
        return decrypts and (named or asked)

    @property
    def wide(self) -> tuple[str, ...]:
        """The allowed wildcards for all actions, or all actions of a service, on every resource; sorted."""
        if not self.allows or self.conditional or not (self.except_resources or any(map(_every, self.resources))):
            return ()
        named = [a for a in self.actions if _EVERY_ACTION.fullmatch(a)]
        return tuple(sorted(named + [phrase("all but {}", a) for a in self.except_actions]))


def refuses(statement: Mapping[str, Any], action: str, role: str) -> bool:
    """Whether a statement of a resource's own policy denies an action to a role, whatever else allows it.

    The condition of a Deny counts as not met, as everywhere here.
    """
    partition, account = role.split(":")[1], role.split(":")[4]
    about = read_statement({**statement, "Resource": "*"})
    named = {role, "*", f"arn:{partition}:iam::{account}:root", account}
    excepted = statement.get("NotPrincipal")
    within = (
        bool(principals_of(statement) & named)
        if excepted is None
        else not principals_of({"Principal": excepted}) & named
    )
    return not about.allows and not about.conditional and about.names(action) and within


def principals_of(statement: Mapping[str, Any]) -> set[str]:
    """The AWS principals of a statement; `*` is everybody."""
    principal = statement.get("Principal")
    return set(values_of(principal.get("AWS")) if isinstance(principal, dict) else values_of(principal))


def allows_action(statements: Iterable[Statement], action: str, resource: str, *, otherwise: bool = False) -> bool:
    """Whether a statement (or `otherwise`) allows an action on a resource, and no statement denies it."""
    about = [s for s in statements if s.covers(action, resource)]
    if any(not s.allows and not s.conditional for s in about):
        return False
    return otherwise or any(s.allows for s in about)


def policy_allows(document: Any, action: str, resource: str) -> bool:
    """Whether a resource's own policy, such as an endpoint's, allows an action to somebody."""
    return allows_action([read_statement(s) for s in statements_of(document)], action, resource)


def required_values(statement: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The values that a statement's conditions accept for a key."""
    conditions = (statement.get("Condition") or {}).items()
    asking = [values for operator, values in conditions if operator.rpartition(":")[2] in _ASKING]
    return tuple(
        sorted(
            v for values in asking for name in values if name.lower() == key.lower() for v in values_of(values[name])
        )
    )


def read_statement(statement: Mapping[str, Any]) -> Statement:
    return Statement(
        allows=statement.get("Effect") == "Allow",
        actions=values_of(statement.get("Action")),
        except_actions=values_of(statement.get("NotAction")),
        resources=values_of(statement.get("Resource")),
        except_resources=values_of(statement.get("NotResource")),
        conditional=bool(statement.get("Condition")),
        via=required_values(statement, "kms:viaservice"),
    )


def _every(resource: str) -> bool:
    """Whether a pattern matches every resource."""
    return _EVERY_RESOURCE.fullmatch(resource) is not None


def matches(text: str, patterns: tuple[str, ...]) -> bool:
    """Matches IAM's wildcards, * and ?. Ignores case: right for actions, and ARNs rarely differ only in case."""
    return any(fnmatchcase(text.lower(), pattern.lower().replace("[", "[[]")) for pattern in patterns)
