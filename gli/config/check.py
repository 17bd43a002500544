"""A check as its row in `checklists/checks.toml` describes it, and a case: one check on one target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gli.common.case_key import CaseKey
from gli.common.sentences import phrase
from gli.config.cells import Cell, Vantage
from gli.config.checklists import Text
from gli.config.data_tier import Stored
from gli.config.environments import Environment
from gli.config.phases import PAUSED
from gli.config.services import Frontend, LoadBalancer, Reachable, Service
from gli.config.targets import GROUPS, Absent
from gli.config.toml_models import Table
from gli.config.values import LOCAL

_OF_NEW_TASKS = frozenset({"vantage", "http", "websocket", "secrets", "database", "cache", "broker"})
"""The layers that the new tasks answer for. The others show the deployment in progress, or what it does not touch."""
Severity = Literal["block", "block-prod", "warn"]
_WRITTEN_AS = {
    "placed_hosts": "load_balancer, or a frontend with a bucket",
    "other": "counterpart",
    "in_aws": "database.instance or cache.replication_group",
    "git.staged": "two names in git.branches",
    "git.developed": "three names in git.branches",
    "conversation": "echo or talk",
    "used": "keys, channels or commands",
}
"""What to write in `environments.toml` for a need that follows from other keys."""


class Proves(Table):
    """What a check proves, in each language other than English (the docstring holds the English)."""

    ko: str = ""


class Check(Table):
    """One row of the catalogue."""

    id: str
    layer: str
    phase: Literal["pre-deploy", "post-deploy", "both", "on-call"]
    severity: Severity
    vantage: Vantage
    each: str
    """The group of targets that it is asked of, one case each."""
    needs: tuple[str, ...] = ()
    """Keys that a target must have to be asked at all; `environment.KEY` is a key of the environment, and `KEY=VALUE`
    wants this value."""
    causes: tuple[str, ...] = ()
    """Checks that explain this one: if one of them is red, a red of this check is a symptom."""
    remedy: Text
    """What to do when the check is red: one sentence for a tired person."""
    proves: Proves = Proves()
    iam: tuple[str, ...] = ()
    """The IAM actions that its observations need."""
    may_not_apply: bool = False
    """Whether the check itself may find that it does not apply, from what it observed."""

    @property
    def function(self) -> str:
        return "test_" + self.id.replace("-", "_")

    @property
    def part(self) -> str:
        """The part of an environment that it is about, one of `parts.PARTS`."""
        own = GROUPS[self.each].part
        return self.needs[0] if own == "environment" and self.needs else own

    def lacks(self, table: Any, environment: Environment) -> str | None:
        """The first key that a target lacks to be asked, as `environments.toml` spells it; None where it lacks none.

        A check that takes IAM actions needs an AWS account.
        """
        for need in (*self.needs, *(["environment.aws"] if self._asks_aws(table, environment) else [])):
            place, _, key = need.rpartition("environment.")
            part, (path, _, value) = key.partition(".")[0], key.partition("=")
            found = _get(environment if need.startswith("environment.") else table, path or place)
            if not found or value not in ("", found):
                why = environment.absent.get(part)
                return f"{key} (absent: {why})" if why else _WRITTEN_AS.get(key, key)
        return None

    def _asks_aws(self, table: Any, environment: Environment) -> bool:
        """Whether its observations of a target ask AWS: for more than credentials, or for credentials in AWS. Of a
        repository, for the images that ECS runs.
        """
        if self.each == "repositories":
            return bool(self.iam) and any(s.repository == table and s.image for s in environment.ecs)
        if any(not action.startswith("secretsmanager:") for action in self.iam):
            return True
        named = [getattr(table, key, None) for key in ("credentials", "deep_health_secret")]
        if not self.iam or not hasattr(table, "name"):
            return bool(self.iam)
        sources = [*(named[0] or ()), *([named[1]] if named[1] else [])]
        return any(not source.startswith(LOCAL) for source in sources)

    def severity_in(self, environment: Environment) -> Literal["block", "warn"]:
        """The severity in this environment: `block-prod` blocks in production and warns elsewhere."""
        if self.severity == "block-prod":
            return "block" if environment.production else "warn"
        return self.severity

    def runs_in(self, phase: str | None) -> bool:
        """Whether the check belongs to the phase. A check without a phase belongs to every phase; the on-call phase has
        every check. The phase of a paused deployment has what must be true after it, of the layers of its new tasks.
        """
        if phase == PAUSED:
            return self.phase in ("post-deploy", "both") and self.layer in _OF_NEW_TASKS
        return phase in (None, "on-call") or self.phase in (phase, "both")


@dataclass(frozen=True)
class Case:
    """One check on one target: what must report an outcome."""

    check: Check
    target: str
    severity: Literal["block", "warn"]
    """What the check's severity comes to in this environment."""
    subjects: frozenset[str]
    """Every name of the target; empty if the whole environment shares the target. A repository is named
    `repository NAME`: two services that share one are not about the same thing."""
    uses: frozenset[str] = frozenset()
    """The names of what the target needs, whose failures can explain this case: the services of a frontend, and the
    secrets that hold its credentials."""
    not_applicable: str | None = None
    """Why the case can't be judged here, by the environment's own declaration."""
    owner: str | None = None
    """Who declared it, where an entry of `not_applicable` does."""

    @property
    def key(self) -> CaseKey:
        return CaseKey(self.check.id, self.target)

    def seen_by(self, cell: Cell) -> bool:
        """Whether a run of this cell can judge it."""
        return cell.can_see(self.check.vantage, self.check.layer, self.target)


def _subjects(check: Check, table: Any, environment: Environment) -> frozenset[str]:
    """The names of a target: the name and the host of a service, and the bucket of a frontend; of one load balancer
    among several the services behind it. Other targets are shared and have no names.
    """
    if isinstance(table, LoadBalancer) and len(environment.balancers) > 1:
        behind = [s for s in environment.services.values() if s.load_balancer == table]
        return frozenset({table.name, *(s.name for s in behind), *(s.host for s in behind)})
    if isinstance(table, str):
        of_a_repository = check.each in ("repositories", "built-repositories", "migrations", "deployment-log")
        return frozenset({f"repository {table}" if of_a_repository else table})
    if check.each == "pipelines":
        return frozenset({f"repository {table.name}"})
    if check.each in ("apis", "websockets", "services", "frontends", "secure-pages"):
        keys = ("name", "host", "bucket", "log_group")
        names = [getattr(table, key, None) for key in keys]
        names += [f"repository {table.repository}"] if table.repository else []
        return frozenset(str(n) for n in names if n)
    return frozenset()


def _uses(check: Check, table: Any, environment: Environment) -> frozenset[str]:
    """The names of the services that a frontend calls, of the secrets that hold a target's credentials, and of the
    services whose tasks get a secret.

    Not the hosts of the services: a failure of a host is seen at its service.
    """
    if check.each == "secrets":
        held = any(part.secret == table for part in environment.stored)
        return frozenset(s.name for s in environment.ecs if held or s.deep_health_secret == table)
    if isinstance(table, Stored):
        return frozenset(table.credentials)
    if not isinstance(table, Reachable):
        return frozenset()
    needed = {login.source for login in table.authorizations}
    if isinstance(table, Service) and table.deep_health_secret:
        needed.add(table.deep_health_secret)
    if isinstance(table, Frontend) and check.each == "frontends":
        needed.update(environment.services if table.calls is None else table.calls)
    return frozenset(needed)


def case_of(check: Check, name: str, table: Any, environment: Environment) -> Case:
    severity = check.severity_in(environment)
    if isinstance(table, Absent):
        return Case(check, name, severity, frozenset(), not_applicable=table.why)
    subjects, uses = _subjects(check, table, environment), _uses(check, table, environment)
    declared = next((entry for entry in environment.not_applicable if entry.covers(check.id, name)), None)
    if declared is None:
        return Case(check, name, severity, subjects, uses)
    said = phrase("{} (declared by {})", declared.reason, declared.owner)
    return Case(check, name, severity, subjects, uses, not_applicable=said, owner=declared.owner)


def _get(table: Any, path: str) -> Any:
    """The value under a dotted path; None where one of its parts is missing."""
    for key in path.split("."):
        table = getattr(table, key, None)
    return table
