"""`environments.toml` as typed, frozen models: the only place that knows what an environment consists of.

Source of truth: the comments in `environments.toml`. An unknown key, a wrong type or a missing key raises `UsageError`
with the file, the key and the fix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, StringConstraints, model_validator

from gli.common.errors import UsageError
from gli.config import rds_roots
from gli.config.toml_models import Table, validated
from gli.config.toml_tables import FILE, extended, names, read_tables, whole
from gli.git import name_rules

__all__ = ["FILE", "Environment", "load", "names"]

Vantage = Literal["internet", "vpc"]
PARTS = (
    *("environment", "aws", "dns", "tls", "load_balancer", "services", "websockets", "ecs", "frontends"),
    *("database", "cache", "broker", "secrets", "logs", "alarms", "git", "github", "counterpart"),
)
"""What an environment may consist of. `[ENV.PART] absent = "why"` says that it has no such part."""
_STILL_USED = {"dns": ("resolvers",), "tls": ("ca_file", "database_ca_file", "cache_ca_file", "broker_ca_file")}
"""Keys that an environment uses though their part is absent."""
_MOMENT = r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun|[0-9]{4}-[0-9]{2}-[0-9]{2}) ([01][0-9]|2[0-3]):[0-5][0-9]$"
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("a URL with a host, and with a port from 1 to 65535 if any, as in https://api.example.com")
    return url


def _address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError("host:port, with a port from 1 to 65535")
    return address


def _resolver(address: str) -> str:
    return _address(address) if address.count(":") == 1 else address


def _part(name: str) -> str:
    if name not in PARTS:
        raise ValueError(f"one of {', '.join(PARTS)}")
    return name


def _role_arn(arn: str) -> str:
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+", arn):
        raise ValueError("the ARN of a role, as in arn:aws:iam::123456789012:role/gli-verify")
    return arn


# Limits. NaN and impossible values are rejected: they would silently disable the check that uses the limit.
Count = Annotated[int, Field(ge=0)]
Least = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=36_500)]
Hours = Annotated[int, Field(ge=1, le=8_760)]
Minutes = Annotated[int, Field(ge=1, le=525_600)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Percent = Annotated[float, Field(gt=0, le=100)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Url = Annotated[str, AfterValidator(_url)]
Address = Annotated[str, AfterValidator(_address)]
Resolver = Annotated[str, AfterValidator(_resolver)]
RoleArn = Annotated[str, AfterValidator(_role_arn)]
Folder = Annotated[str, AfterValidator(name_rules.folder)]
RepositoryName = Annotated[str, AfterValidator(name_rules.repository)]
Timezone = Annotated[str, AfterValidator(name_rules.timezone)]
PartName = Annotated[str, AfterValidator(_part)]
NonBlank = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


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
    account_id: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = None
    profile: str | None = None
    endpoint_url: Url | None = None
    credentials_file: str | None = None

    @property
    def name(self) -> str:
        return self.region


class Freeze(Table):
    """A time without promotions to production: weekly (`Fri 17:00`) or dated (`2026-12-20 00:00`)."""

    reason: str
    begins: Annotated[str, Field(pattern=_MOMENT)]
    ends: Annotated[str, Field(pattern=_MOMENT)]
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
    deploy_tag: Annotated[str, AfterValidator(name_rules.deploy_tag)] = "deploy-%Y%m%d-%H%M%S"
    log_repository: RepositoryName | None = None
    log_branch: Annotated[str, AfterValidator(name_rules.log_branch)] = "deployments"
    log_path: Annotated[str, AfterValidator(name_rules.log_path)] = "deployment.log"
    backmerge_hours: Hours = 24
    connections: Least = 8
    workspace: Folder = ".."
    state: Folder = ".release"
    timezone: Timezone = "UTC"
    freeze: tuple[Freeze, ...] = ()

    def of(self, repository: str) -> str:
        """The remote of one repository."""
        return self.remote.replace("{repository}", repository)


class Github(Table):
    owner: str
    environment: str
    api_url: Url = "https://api.github.com"
    token_variable: str | None = None
    status_variable: str | None = None


class Dns(Table):
    zone: str | None = None
    resolvers: tuple[Resolver, ...] = ()


class Tls(Table):
    block_below_days: Days = 7
    ca_file: str | None = None
    database_ca_file: str | None = None
    cache_ca_file: str | None = None
    broker_ca_file: str | None = None

    def ca_file_of(self, part: Literal["database", "cache", "broker"]) -> str | None:
        """The CA of a part of the data tier, to trust beside the system's roots; None where it has none of its own."""
        return {"database": self.database_ca_file, "cache": self.cache_ca_file, "broker": self.broker_ca_file}[part]


class LoadBalancer(Table):
    name: str
    ports_open_to_the_world: tuple[Port, ...] = (80, 443)
    test_port: Port | None = None
    """The listener that shows a revision before users see it; None where there is none."""


class Endpoint(Table):
    """One read-only endpoint and what it must answer."""

    path: str
    status: Annotated[int, Field(ge=100, le=599)] = 200
    content_type: str = "application/json"
    keys: tuple[str, ...] = ()


class Echo(Table):
    send: str
    expect: str


class Cookies(Table):
    path: str
    readable: tuple[str, ...] = ()


class Ecs(Table):
    cluster: str
    service: str
    container: str
    port: Port
    minimum_tasks: Least = 1


class Registry(Table):
    most_critical: Count = 0
    most_high: Count = 10
    rollback_releases: Least = 3


class Reachable(Table):
    """What a user reaches under a URL."""

    url: Url
    repository: str = ""
    """The one of `[[repositories]]` that it is built from; empty where nobody compares it with git."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or _DEFAULT_PORTS[parts.scheme]

    @property
    def secure(self) -> bool:
        return urlsplit(self.url).scheme in ("https", "wss")

    @property
    def websocket(self) -> bool:
        return urlsplit(self.url).scheme in ("ws", "wss")


class Service(Reachable):
    name: str
    image: str | None = None
    health_path: str = "/health/"
    deep_health_path: str | None = None
    deep_health_secret: str | None = None
    version_path: str | None = None
    protected_path: str | None = None
    error_path: str | None = None
    cors_path: str | None = None
    cookies: Cookies | None = None
    contract: tuple[Endpoint, ...] = ()
    origin: Url | None = None
    """The origin of its WebSocket sessions; default: that of the first frontend."""
    echo: Echo | None = None
    heartbeat_s: Annotated[int, Field(ge=1, le=86_400)] = 30
    subprotocols: tuple[str, ...] = ()
    idle_hold_s: Annotated[float, Field(gt=0, le=75)] | None = None
    """No longer than a run may take (`gli.observe.engine.observatory.RUN_DEADLINE_S`)."""
    log_group: str | None = None
    ecs: Ecs | None = None


class Frontend(Reachable):
    name: str
    bucket: str | None = None
    mount: str = "app"
    route: str | None = None
    countries: tuple[str, ...] = ()
    """Two letters each (ISO 3166-1): the countries of its users, which no geographic restriction may keep out."""


class Sqlite(Table):
    path: str
    code: str

    @property
    def name(self) -> str:
        return Path(self.path).name

    def below(self, root: Path) -> Sqlite:
        """The same with both paths resolved against `root`."""
        return self.model_copy(update={"path": str(root / self.path), "code": str(root / self.code)})


class Database(Table):
    instance: str
    secret: str
    verify_secret: str
    migrations: str
    tables: tuple[str, ...] = ()
    ingress_from: tuple[str, ...]
    minimum_backup_days: Days = 7
    require_auth: Literal["scram-sha-256", "md5", "password"] = "scram-sha-256"
    """The one way of authentication that a server may ask for (libpq's `require_auth`)."""
    longest_transaction_s: Seconds = 300.0
    longest_idle_transaction_s: Seconds = 60.0
    longest_lock_wait_s: Seconds = 5.0

    @property
    def name(self) -> str:
        return self.instance


class Cache(Table):
    replication_group: str
    secret: str
    verify_secret: str
    security_group: str
    ingress_from: tuple[str, ...]
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.replication_group


class Broker(Table):
    secret: str
    queues: tuple[str, ...] = ()
    dead_letter_queues: tuple[str, ...] = ()
    most_dead_letters: Count = 0
    amazon_mq: str | None = None
    security_group: str | None = None
    ingress_from: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.secret


class Logs(Table):
    groups: tuple[str, ...]
    minimum_retention_days: Days = 7


class Metrics(Table):
    window_minutes: Minutes = 15
    least_requests: Least = 100
    most_cpu_percent: Percent = 70.0
    most_memory_percent: Percent = 80.0


class Alarms(Table):
    prefix: str
    topics: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.prefix


class Signatures(Table):
    allowed_signers: str
    required: bool = False


class Notify(Table):
    """Who is told of a NO-GO, a recovery and a deployment (`gli.report.notify`)."""

    url_variables: tuple[str, ...]
    quiet_minutes: Annotated[int, Field(ge=0, le=525_600)] = 60
    most_per_hour: Least = 6


class Gate(Table):
    """How much a verdict must cover for the gate to accept it."""

    least_coverage_percent: Annotated[int, Field(ge=0, le=100)] = 0
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


class Environment(Table):
    """One environment as a whole: the one that `--env` names, with `extends` and the overlay merged in."""

    name: str
    branch: str
    production: bool = False
    counterpart: str | None = None
    vantage: Vantage = "internet"
    extends: str | None = None
    provider: str | None = None
    overlay: str | None = None
    repositories: tuple[Repository, ...] = ()
    aws: Aws | None = None
    git: Git | None = None
    github: Github | None = None
    dns: Dns = Dns()
    tls: Tls = Tls()
    load_balancer: LoadBalancer | None = None
    services: Mapping[str, Service] = {}
    frontends: Mapping[str, Frontend] = {}
    sqlite: Sqlite | None = None
    database: Database | None = None
    cache: Cache | None = None
    broker: Broker | None = None
    logs: Logs | None = None
    alarms: Alarms | None = None
    signatures: Signatures | None = None
    notify: Notify | None = None
    reports: Retention = Retention()
    gate: Gate = Gate()
    registry: Registry = Registry()
    metrics: Metrics = Metrics()
    connect_to: Mapping[Address, Address] = {}
    """`host:port` to `address:port`: where to connect instead, with the name kept for TLS, SNI and Host (like curl's
    `--connect-to`)."""
    not_applicable: tuple[NotApplicable, ...] = ()
    absent: Mapping[str, NonBlank] = {}
    """Part to the reason why the environment has none; written as `[ENV.PART] absent`."""
    _other: Environment | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _name_the_entries(cls, tables: Any) -> Any:
        if isinstance(tables, dict):
            tables = _without_absent(tables)
            for group in ("services", "frontends"):
                entries = tables.get(group)
                if isinstance(entries, dict):
                    tables = tables | {
                        group: {k: {"name": k, **v} if isinstance(v, dict) else v for k, v in entries.items()}
                    }
        return tables

    @model_validator(mode="after")
    def _every_repository_is_known(self) -> Environment:
        name_rules.all_different([r.name for r in self.repositories])
        known = {r.name for r in self.repositories}
        named = [(f"services.{s.name}.repository", s.repository) for s in self.services.values()]
        named += [(f"frontends.{f.name}.repository", f.repository) for f in self.frontends.values()]
        if self.git is not None and self.git.log_repository is not None:
            named.append(("git.log_repository", self.git.log_repository))
        for where, repository in named:
            if repository and repository not in known:
                raise ValueError(f"{where} is {repository!r}, which no [[repositories]] entry names")
        return self

    @property
    def other(self) -> Environment | None:
        """The environment that `counterpart` names, as the file describes it, without an overlay and without its own
        counterpart.
        """
        return self._other

    @property
    def hosts(self) -> tuple[str, ...]:
        """The public host names, sorted."""
        return tuple(sorted({r.host for r in self._reachable}))

    @property
    def secure_hosts(self) -> tuple[str, ...]:
        """The public host names that speak TLS, sorted."""
        return tuple(sorted({r.host for r in self._reachable if r.secure}))

    @property
    def placed_hosts(self) -> tuple[str, ...]:
        """The public host names that speak TLS behind the load balancer or a distribution of CloudFront, sorted."""
        placed = [*self.services.values()] if self.load_balancer else []
        return tuple(sorted({r.host for r in (*placed, *self.on_cloudfront) if r.secure}))

    @property
    def built(self) -> tuple[str, ...]:
        """The repositories of everything that says which commit it was built from, sorted."""
        says = [s.repository for s in self.services.values() if s.version_path or (self.aws and s.ecs and s.image)]
        says += [f.repository for f in self.on_cloudfront]
        return tuple(sorted({repository for repository in says if repository}))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The ids of every secret that the environment's parts name, sorted."""
        ids = [s.deep_health_secret for s in self.services.values()]
        for part in (self.database, self.cache):
            ids += [part.secret, part.verify_secret] if part else []
        ids += [self.broker.secret] if self.broker else []
        return tuple(sorted({i for i in ids if i}))

    @cached_property
    def _reachable(self) -> Sequence[Reachable]:
        return [*self.services.values(), *self.frontends.values()]

    @property
    def on_cloudfront(self) -> Sequence[Frontend]:
        """The frontends that CloudFront serves from a bucket."""
        return [f for f in self.frontends.values() if f.bucket]

    def signers(self, root: Path) -> Path | None:
        """The file of allowed signers; None if nobody signs. Raises `UsageError` if the file does not exist."""
        if self.signatures is None:
            return None
        path = root / self.signatures.allowed_signers
        if not path.is_file():
            key = f"[{self.name}.signatures] allowed_signers = {self.signatures.allowed_signers!r}"
            raise UsageError(f"{FILE}: {key} is no file; write it, or mend the key")
        return path

    def port_of(self, host: str) -> int:
        """The port under which a public host is reached."""
        return next(r.port for r in self._reachable if r.host == host)


def _without_absent(tables: dict[str, Any]) -> dict[str, Any]:
    """The tables without the parts that are declared absent, and `absent` with the reason for each of them.

    A reason that is empty takes back what `extends` brought.
    """
    if "absent" in tables:
        raise ValueError(
            'has a table `absent`; declare a part absent in its own table, as in [ENV.cache] absent = "why"'
        )
    kept: dict[str, Any] = {}
    absent: dict[str, str] = {}

    def keep(whole: dict[str, Any], key: str, name: str, table: Any, *, may_be_absent: bool) -> None:
        if not (may_be_absent and isinstance(table, dict) and "absent" in table):
            whole[key] = table
            return
        why, rest = table["absent"], {k: v for k, v in table.items() if k != "absent"}
        if not isinstance(why, str):
            raise ValueError(f"{name}.absent must say why, in a few words")
        if why.strip():
            absent[name] = why
            rest = {k: v for k, v in rest.items() if k in _STILL_USED.get(name, ())}
        if rest:
            whole[key] = rest

    for part, table in tables.items():
        keep(kept, part, part, table, may_be_absent=part in PARTS[1:])
    for group in ("services", "frontends"):
        if isinstance(kept.get(group), dict):
            entries, kept[group] = kept[group], {}
            for name, entry in entries.items():
                keep(kept[group], name, f"{group}.{name}", entry, may_be_absent=True)
    return {**kept, "absent": absent} if absent else kept


def load(
    root: Path, name: str, *, overlay: Mapping[str, Any] | None = None, tables: Mapping[str, Any] | None = None
) -> Environment:
    """The environment `name` of `root/environments.toml`, or `UsageError`.

    `overlay` replaces the overlay file: a replay brings the one that the recorded run had. `tables` is the file for a
    caller that has read it already.
    """
    tables = read_tables(root) if tables is None else tables
    merged = whole(root, tables, name, overlay=overlay)
    merged.pop("provider_pid", None)
    repositories = tables.get("repositories", [])
    environment = _validated(name, merged, repositories)
    if environment.sqlite is not None:
        environment = environment.model_copy(update={"sqlite": environment.sqlite.below(root)})
    if environment.database and environment.tls.database_ca_file is None and (roots := rds_roots.bundle(root)):
        tls = environment.tls.model_copy(update={"database_ca_file": str(roots)})
        environment = environment.model_copy(update={"tls": tls})
    if environment.counterpart is not None:
        other = extended(tables, environment.counterpart)
        environment._other = _validated(environment.counterpart, other, repositories)
    return environment


def _validated(name: str, merged: dict[str, Any], repositories: Any) -> Environment:
    whole = {**merged, "name": name, "repositories": repositories}
    return validated(Environment, whole, file=FILE, name=name)
