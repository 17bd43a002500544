"""The parts of an environment beside its services and its data tier, as environments.toml describes them."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator
from pydantic import Field as Bounded

from gli.common.github import GITHUB
from gli.config.toml_models import Table
from gli.config.values import (
    Days,
    Folder,
    Hours,
    Least,
    Minutes,
    NonBlank,
    Percent,
    RepositoryName,
    Resolver,
    RoleArn,
    Timezone,
    Url,
)
from gli.git import name_rules
from gli.git.branches import BRANCHES

PARTS = (
    *("environment", "aws", "dns", "tls", "load_balancer", "services", "websockets", "ecs", "frontends"),
    *("database", "cache", "broker", "secrets", "logs", "alarms", "git", "github", "counterpart"),
)
"""What an environment may consist of. `[ENV.PART] absent = "why"` says that it has no such part."""


def _part(name: str) -> str:
    if name not in PARTS:
        raise ValueError(f"one of {', '.join(PARTS)}")
    return name


PartName = Annotated[str, AfterValidator(_part)]
_MOMENT = r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun|[0-9]{4}-[0-9]{2}-[0-9]{2}) ([01][0-9]|2[0-3]):[0-5][0-9]$"


class Repository(Table):
    name: RepositoryName
    path: Folder | None = None
    first: bool = False
    workflow: str | None = None
    steps: tuple[tuple[str, ...], ...] = ()
    migrate: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()


class Roles(Table):
    """The role to assume for each part that lies in an account of its own."""

    counterpart: RoleArn | None = None
    dns: RoleArn | None = None
    images: RoleArn | None = None

    def get(self, part: str) -> str | None:
        """The ARN of a part's role; None if the part lies in the environment's own account."""
        found: str | None = getattr(self, part)
        return found


class Aws(Table):
    region: str
    role: str = "*"
    roles: Roles = Roles()
    account_id: Annotated[str, Bounded(pattern=r"^[0-9]{12}$")] | None = None
    profile: str | None = None
    endpoint_url: Url | None = None
    credentials_file: str | None = None

    @property
    def name(self) -> str:
        return self.region


class Freeze(Table):
    """A time without promotions to production: weekly (`Fri 17:00`) or dated (`2026-12-20 00:00`)."""

    reason: str
    begins: Annotated[str, Bounded(pattern=_MOMENT)]
    ends: Annotated[str, Bounded(pattern=_MOMENT)]
    """The first minute that is free again."""
    timezone: Timezone = "UTC"

    @model_validator(mode="after")
    def _is_a_window(self) -> Freeze:
        dated = self.begins[:1].isdigit()
        if dated != self.ends[:1].isdigit() or self.begins == self.ends:
            raise ValueError("begins and ends must be two different moments, both of the week or both with a date")
        if dated and datetime.fromisoformat(self.begins) > datetime.fromisoformat(self.ends):
            raise ValueError("begins is after ends; mend one of them")
        return self


class Git(Table):
    remote: Annotated[str, AfterValidator(name_rules.remote)]
    deploy_tag: Annotated[str, AfterValidator(name_rules.deploy_tag)] = ""
    """The tag of a deployment; empty: no check asks for tags."""
    log_repository: RepositoryName | None = None
    log_branch: Annotated[str, AfterValidator(name_rules.log_branch)] = "deployments"
    log_path: Annotated[str, AfterValidator(name_rules.log_path)] = "deployment.log"
    branches: Annotated[tuple[str, ...], AfterValidator(name_rules.branches)] = BRANCHES
    """The branches that a release moves through, the live one last."""
    backmerge_hours: Hours = 24
    connections: Least = 8
    workspace: Folder = ".."
    state: Folder = ".release"
    timezone: Timezone = "UTC"
    freeze: tuple[Freeze, ...] = ()

    @model_validator(mode="after")
    def _keeps_the_log_apart(self) -> Git:
        try:
            name_rules.apart(self.log_branch, self.branches)
        except ValueError as e:
            raise ValueError(f"log_branch = {self.log_branch!r} should be {e}; mend the value") from None
        return self

    @property
    def live(self) -> str:
        """The branch of production."""
        return self.branches[-1]

    @property
    def staged(self) -> str:
        """The branch that is merged into the live one; empty where there is one branch only."""
        return self.branches[-2] if len(self.branches) > 1 else ""

    @property
    def developed(self) -> str:
        """The branch that is merged into the staged one; empty where there are two branches."""
        return self.branches[-3] if len(self.branches) > 2 else ""

    @property
    def deployed(self) -> tuple[str, ...]:
        """The staged and the live branch, as far as there are both."""
        return self.branches[-2:]

    def of(self, repository: str) -> str:
        """The remote of one repository."""
        return self.remote.replace("{repository}", repository)


class Github(Table):
    owner: str
    environment: str
    api_url: Url = GITHUB
    token_variable: str | None = None
    status_variable: str | None = None


class Dns(Table):
    zone: str | None = None
    resolvers: tuple[Resolver, ...] = ()


class Tls(Table):
    block_below_days: Days = 7
    least_hsts_days: Days = 180
    ca_file: str | None = None
    database_ca_file: str | None = None
    cache_ca_file: str | None = None
    broker_ca_file: str | None = None

    @property
    def ca_files(self) -> dict[str, str]:
        """The files of CAs, by their key."""
        keys = ("ca_file", "database_ca_file", "cache_ca_file", "broker_ca_file")
        return {key: path for key in keys if (path := getattr(self, key)) is not None}

    def below(self, root: Path) -> Tls:
        """The same with the paths of CAs resolved against `root`."""
        return self.model_copy(update={key: str(root / path) for key, path in self.ca_files.items()})

    def ca_file_of(self, part: Literal["database", "cache", "broker"]) -> str | None:
        """The CA of a part of the data tier, to trust beside the system's roots; None where it has none of its own."""
        return {"database": self.database_ca_file, "cache": self.cache_ca_file, "broker": self.broker_ca_file}[part]


class Logs(Table):
    groups: tuple[str, ...]
    minimum_retention_days: Days = 7


class Metrics(Table):
    window_minutes: Minutes = 15
    least_requests: Least = 100
    too_few: Literal["unknown", "not-applicable"] = "unknown"
    """What a case of errors, latency or traffic comes to where there were fewer requests."""
    most_cpu_percent: Percent = 70.0
    most_memory_percent: Percent = 80.0


class MetricFilter(Table):
    """A metric that is counted from the lines of a log group, and lines of the application to try the filter with."""

    metric: str
    group: str
    counts: Annotated[tuple[str, ...], Bounded(min_length=1)]
    ignores: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.metric


class Alarms(Table):
    prefix: str
    topics: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    subscribers: tuple[Annotated[tuple[str, ...], Bounded(min_length=1)], ...] = (("email",), ("https", "lambda"))
    """The protocols of subscriptions that a topic needs: one of each group."""
    dashboards: tuple[str, ...] = ()
    metric_filters: tuple[MetricFilter, ...] = ()

    @property
    def name(self) -> str:
        return self.prefix


class Signatures(Table):
    allowed_signers: str
    required: bool = False


class Notify(Table):
    """Who is told of a NO-GO, a recovery and a deployment (`gli.report.notify`)."""

    url_variables: tuple[str, ...]
    quiet_minutes: Annotated[int, Bounded(ge=0, le=525_600)] = 60
    most_per_hour: Least = 6


class Gate(Table):
    """How much a verdict must cover for the gate to accept it."""

    least_coverage_percent: Annotated[int, Bounded(ge=0, le=100)] = 0
    """The share of the checks that were judged, without those that do not apply."""
    verified_parts: tuple[PartName, ...] = ()
    """Parts of which at least one check must have passed."""


class Retention(Table):
    """Which runs `gli reports prune` keeps."""

    keep_days: Days = 30
    keep_failures_days: Days = 90
    keep_runs: Least = 50


class NotApplicable(Table):
    """Cases that somebody declared not to be applicable, for good: a waiver accepts a failure, and expires."""

    check: NonBlank
    """The id of a check; `*`, `?` and `[...]` stand for characters, as in file names."""
    target: NonBlank = "*"
    reason: NonBlank
    owner: NonBlank

    def covers(self, check: str, target: str) -> bool:
        return fnmatchcase(check, self.check) and fnmatchcase(target, self.target)
