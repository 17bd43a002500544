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
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, PrivateAttr, StringConstraints, model_validator
from pydantic import Field as Bounded

from gli.common.errors import UsageError
from gli.common.github import GITHUB
from gli.config import rds_roots
from gli.config.cells import Cell, Vantage
from gli.config.toml_models import Table, validated
from gli.config.toml_tables import FILE, extended, names, read_tables, whole
from gli.git import name_rules
from gli.git.branches import BRANCHES

__all__ = ["FILE", "Environment", "load", "names"]

PARTS = (
    *("environment", "aws", "dns", "tls", "load_balancer", "services", "websockets", "ecs", "frontends"),
    *("database", "cache", "broker", "secrets", "logs", "alarms", "git", "github", "counterpart"),
)
"""What an environment may consist of. `[ENV.PART] absent = "why"` says that it has no such part."""
ELSEWHERE = ("env:", "file:", "ssm:")
"""How a credential begins that is not in Secrets Manager."""
LOCAL = ("env:", "file:")
"""How a credential begins that this machine holds."""
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


def _pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as e:
        raise ValueError(f"a regular expression ({e})") from None
    return pattern


def _of_a_commit(template: str) -> str:
    """A template such as `api-{commit:.7}`: what stands for a commit."""
    try:
        one, other = template.format(commit="0" * 40), template.format(commit="1" * 40)
    except (LookupError, ValueError, AttributeError):
        one = other = ""
    if one == other:
        raise ValueError("a text with {commit}, as in v-{commit:.7}")
    return template


def _below(root: Path, source: str) -> str:
    """Where a credential is, with the path of a file resolved against `root`."""
    return f"file:{root / source.removeprefix('file:')}" if source.startswith("file:") else source


def _part(name: str) -> str:
    if name not in PARTS:
        raise ValueError(f"one of {', '.join(PARTS)}")
    return name


def _role_arn(arn: str) -> str:
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+", arn):
        raise ValueError("the ARN of a role, as in arn:aws:iam::123456789012:role/gli-verify")
    return arn


# Limits. NaN and impossible values are rejected: they would silently disable the check that uses the limit.
Count = Annotated[int, Bounded(ge=0)]
Least = Annotated[int, Bounded(ge=1)]
Days = Annotated[int, Bounded(ge=1, le=36_500)]
Hours = Annotated[int, Bounded(ge=1, le=8_760)]
Minutes = Annotated[int, Bounded(ge=1, le=525_600)]
Seconds = Annotated[float, Bounded(gt=0, le=86_400)]
Percent = Annotated[float, Bounded(gt=0, le=100)]
Port = Annotated[int, Bounded(ge=1, le=65_535)]
Url = Annotated[str, AfterValidator(_url)]
Address = Annotated[str, AfterValidator(_address)]
Resolver = Annotated[str, AfterValidator(_resolver)]
RoleArn = Annotated[str, AfterValidator(_role_arn)]
Folder = Annotated[str, AfterValidator(name_rules.folder)]
RepositoryName = Annotated[str, AfterValidator(name_rules.repository)]
Timezone = Annotated[str, AfterValidator(name_rules.timezone)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Status = Annotated[int, Bounded(ge=100, le=599)]
OfACommit = Annotated[str, AfterValidator(_of_a_commit)]
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


class LoadBalancer(Table):
    name: str
    type: Literal["application", "network"] = "application"
    ports_open_to_the_world: tuple[Port, ...] = (80, 443)
    """A network load balancer redirects nothing: without this key, 443 alone."""
    test_port: Port | None = None
    """The listener that shows a revision before users see it; None where there is none."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_redirect(cls, table: Any) -> Any:
        network = isinstance(table, dict) and table.get("type") == "network"
        return {"ports_open_to_the_world": (443,), **table} if network else table

    @property
    def application(self) -> bool:
        """Whether it reads HTTP: has rules, redirects, and counts requests and errors."""
        return self.type == "application"


class Authorization(Table):
    """Who a request says that it is; the value is a credential, as `Stored` names them."""

    bearer: str = ""
    """Where the token is: the field `token` of a document, or a text."""
    basic: str = ""
    """Where the user and the password are: the fields `username` and `password`."""

    @property
    def source(self) -> str:
        return self.bearer or self.basic

    @model_validator(mode="after")
    def _is_one(self) -> Authorization:
        if bool(self.bearer) == bool(self.basic):
            raise ValueError("authorization needs either bearer or basic")
        return self


class Endpoint(Table):
    """One read-only endpoint and what it must answer."""

    path: str
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    headers: Mapping[str, str] = {}
    """Sent with the request."""
    authorization: Authorization | None = None
    status: Status | Annotated[tuple[Status, ...], Bounded(min_length=1)] = 200
    content_type: str = "application/json"
    """Empty: any."""
    keys: tuple[str, ...] = ()
    values: Mapping[str, str | int | float | bool] = {}
    """JSON path (`results.0.title`) to the value that must be there."""
    body: tuple[Pattern, ...] = ()
    """Patterns that the body must have."""
    body_without: tuple[Pattern, ...] = ()
    """Patterns that the body must not have."""
    answer_headers: Mapping[str, Pattern] = {}
    """Header of the answer to the pattern that its whole value must match."""

    def below(self, root: Path) -> Endpoint:
        """The same with the path of a file of credentials resolved against `root`."""
        if self.authorization is None:
            return self
        who = {
            k: _below(root, s) for k, s in (("bearer", self.authorization.bearer), ("basic", self.authorization.basic))
        }
        return self.model_copy(update={"authorization": Authorization(**who)})

    @property
    def statuses(self) -> tuple[int, ...]:
        return (self.status,) if isinstance(self.status, int) else self.status


class Echo(Table):
    send: str
    expect: str


class Step(Table):
    """One step of a conversation: a frame to send, or the pattern of a frame to wait for."""

    send: str = ""
    expect: Pattern = ""

    @model_validator(mode="after")
    def _is_one(self) -> Step:
        if bool(self.send) == bool(self.expect):
            raise ValueError("a step needs either send or expect")
        return self


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
    tag: OfACommit = "{commit}"
    """The tag of the image of a commit."""
    health_path: str = "/health/"
    deep_health_path: str | None = None
    deep_health_secret: str | None = None
    deep_health_header: str = "X-Health-Token"
    """The header that takes the secret's field `health_token`."""
    deep_health_values: Mapping[str, str | int | float | bool] = {"database": "ok", "cache": "ok"}
    """JSON path of the deep health document to the value that says that all is well."""
    version_path: str | None = None
    version_at: str = "revision"
    """Where the answer of version_path names the revision: a JSON path, `header:NAME`, or `body`."""
    version: OfACommit = "{commit}"
    """How the service spells a commit."""
    protected_path: str | None = None
    protected_status: tuple[Status, ...] = (401, 403)
    """How a protected endpoint refuses a call without a token."""
    error_path: str | None = None
    cors_path: str | None = None
    cookies: Cookies | None = None
    contract: tuple[Endpoint, ...] = ()
    origin: Url | None = None
    """The origin of its WebSocket sessions; default: that of the first frontend."""
    echo: Echo | None = None
    talk: tuple[Step, ...] = ()
    """A conversation of its WebSocket sessions; frames that are not expected are passed over."""
    heartbeat_s: Annotated[int, Bounded(ge=1, le=86_400)] = 30
    subprotocols: tuple[str, ...] = ()
    idle_hold_s: Annotated[float, Bounded(gt=0, le=75)] | None = None
    """No longer than a run may take (`gli.observe.engine.observatory.RUN_DEADLINE_S`)."""
    log_group: str | None = None
    load_balancer: LoadBalancer | None = None
    """The one in front of it: its own, or else that of the environment."""
    ecs: Ecs | None = None

    @property
    def conversation(self) -> Echo | tuple[Step, ...] | None:
        """What its WebSocket sessions say; None where nobody told."""
        return self.echo or self.talk or None

    @property
    def tokens(self) -> tuple[str, ...]:
        """Where the credentials of its requests are, outside Secrets Manager and in it."""
        named = (self.deep_health_secret, *(e.authorization.source for e in self.contract if e.authorization))
        return tuple(source for source in named if source)

    def below(self, root: Path) -> Service:
        """The same with the paths of files of credentials resolved against `root`."""
        contract = tuple(endpoint.below(root) for endpoint in self.contract)
        secret = self.deep_health_secret and _below(root, self.deep_health_secret)
        return self.model_copy(update={"contract": contract, "deep_health_secret": secret})


class Frontend(Reachable):
    name: str
    calls: tuple[str, ...] | None = None
    """The services that its bundle must name; None: all of them. Empty where it calls its own origin only."""
    origin_path: Annotated[str, StringConstraints(pattern=r"^(/[^/]+)*$")] = ""
    """The folder of the bucket that CloudFront serves, as in `/web`."""
    version_path: str | None = None
    """Names the revision of the page; without it, an element `<meta name="build">` of the page does."""
    version_at: str = "revision"
    build_meta: str = "build"
    """The name of that meta element."""
    version: OfACommit = "{commit}"
    bucket: str | None = None
    mount: str = "app"
    route: str | None = None
    countries: tuple[str, ...] = ()
    """Two letters each (ISO 3166-1): the countries of its users, which no geographic restriction may keep out."""

    @property
    def index_key(self) -> str:
        """The key of its index page in the bucket."""
        return f"{self.origin_path.strip('/')}/index.html".lstrip("/")


class Sqlite(Table):
    path: str
    code: str

    @property
    def name(self) -> str:
        return Path(self.path).name

    def below(self, root: Path) -> Sqlite:
        """The same with both paths resolved against `root`."""
        return self.model_copy(update={"path": str(root / self.path), "code": str(root / self.code)})


Field = Literal["url", "host", "port", "username", "password", "dbname", "vhost", "tls"]
"""What this suite calls the fields of credentials."""


class Stored(Table):
    """A part of the data tier, and where the credentials for it are.

    A credential is the id of a secret in Secrets Manager, or says another place: `env:NAME` (a variable), `env:` (the
    variables that `fields` names), `file:PATH`, `ssm:NAME` (a parameter) or `ssm:PATH/` (each parameter below it). What
    is there is a JSON object, a URL, or lines `NAME=VALUE`.
    """

    secret: NonBlank
    """The application's own credentials."""
    verify_secret: str = ""
    """The credentials of this suite's least-privilege role."""
    fields: Mapping[Field, str] = {}
    """What the credentials call each field, where their name is another one."""

    @property
    def credentials(self) -> tuple[str, ...]:
        """Where its credentials are."""
        return tuple(source for source in (self.secret, self.verify_secret) if source)

    @property
    def names(self) -> dict[str, str]:
        """Field to its name in the credentials; a field that has its own name there is left out."""
        return {str(field): name for field, name in self.fields.items()}

    def below(self, root: Path) -> Self:
        """The same with the paths of files resolved against `root`."""
        places = {"secret": self.secret, "verify_secret": self.verify_secret}
        return self.model_copy(update={key: _below(root, source) for key, source in places.items()})


class Database(Stored):
    instance: str = ""
    """The identifier of an instance or cluster in RDS; empty where RDS does not provide it."""
    migrations: str = ""
    """The repository whose migrations it must match; empty where nobody compares them."""
    migrated_by: Literal["django", "alembic", "flyway"] = "django"
    tables: tuple[str, ...] = ()
    ingress_from: tuple[str, ...] = ()
    minimum_backup_days: Days = 7
    require_auth: Literal["scram-sha-256", "md5", "password"] = "scram-sha-256"
    """The one way of authentication that a server may ask for (libpq's `require_auth`)."""
    longest_transaction_s: Seconds = 300.0
    longest_idle_transaction_s: Seconds = 60.0
    longest_lock_wait_s: Seconds = 5.0

    @property
    def name(self) -> str:
        return self.instance or "database"


class Cache(Stored):
    replication_group: str = ""
    """The identifier in ElastiCache; empty where ElastiCache does not provide it."""
    policies: tuple[str, ...] = ("noeviction", "volatile-*")
    """The memory policies that it may have; these keep sessions. A pure cache may have `allkeys-*`."""
    security_group: str = ""
    ingress_from: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    commands: tuple[Annotated[str, Bounded(min_length=1)], ...] = ()
    """Whole commands that the application sends, such as `HSET gli:presence user 1`; the server runs none of them."""

    @property
    def name(self) -> str:
        return self.replication_group or "cache"

    @property
    def used(self) -> tuple[str, ...]:
        """The keys, channels and commands that the application uses, as far as the environment names them."""
        return (*self.keys, *self.channels, *self.commands)


class Broker(Stored):
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
    too_few: Literal["unknown", "not-applicable"] = "unknown"
    """What a case of errors, latency or traffic comes to where there were fewer requests."""
    most_cpu_percent: Percent = 70.0
    most_memory_percent: Percent = 80.0


class Alarms(Table):
    prefix: str
    topics: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    subscribers: tuple[Annotated[tuple[str, ...], Bounded(min_length=1)], ...] = (("email",), ("https", "lambda"))
    """The protocols of subscriptions that a topic needs: one of each group."""
    dashboards: tuple[str, ...] = ()

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


class Environment(Table):
    """One environment as a whole: the one that `--env` names, with `extends` and the overlay merged in."""

    name: str
    branch: str
    production: bool = False
    counterpart: str | None = None
    shared: tuple[NonBlank, ...] = ()
    """Names that belong to both this environment and its counterpart: a load balancer, a bucket."""
    vantage: Vantage = "internet"
    cells: Mapping[str, Cell] = {}
    """The places that its runs are made from, by name; empty where one run sees everything."""
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
    _cell: Cell | None = PrivateAttr(default=None)
    _inherits_not_applicable: bool = PrivateAttr(default=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_entries(cls, tables: Any) -> Any:
        if isinstance(tables, dict):
            tables = _without_absent(tables)
            for group in ("services", "frontends", "cells"):
                entries = tables.get(group)
                if isinstance(entries, dict):
                    tables = tables | {
                        group: {k: {"name": k, **v} if isinstance(v, dict) else v for k, v in entries.items()}
                    }
        return tables

    @model_validator(mode="after")
    def _every_balancer_is_described_once(self) -> Environment:
        for service in self.services.values():
            balancer = service.load_balancer
            if balancer and balancer != self.balancers[balancer.name]:
                raise ValueError(
                    f"services.{service.name}.load_balancer describes {balancer.name!r} in another way than before"
                )
        return self

    @model_validator(mode="after")
    def _every_repository_is_known(self) -> Environment:
        name_rules.all_different([r.name for r in self.repositories])
        known = {r.name for r in self.repositories}
        named = [(f"services.{s.name}.repository", s.repository) for s in self.services.values()]
        named += [(f"frontends.{f.name}.repository", f.repository) for f in self.frontends.values()]
        if self.git is not None and self.git.log_repository is not None:
            named.append(("git.log_repository", self.git.log_repository))
        if both := sorted({*self.services} & {*self.frontends}):
            raise ValueError(f"has a service and a frontend that are both called {both[0]!r}; rename one of them")
        for f in self.frontends.values():
            for service in f.calls or ():
                if service not in self.services:
                    raise ValueError(f"frontends.{f.name}.calls names {service!r}, which is no service")
        for where, repository in named:
            if repository and repository not in known:
                raise ValueError(f"{where} is {repository!r}, which no [[repositories]] entry names")
        return self

    @model_validator(mode="after")
    def _cells_have_an_account(self) -> Environment:
        for cell in self.cells.values():
            if self.aws is None and (cell.region or cell.account_id):
                raise ValueError(f"cells.{cell.name} names a region or an account, and the environment has no aws")
        return self

    @property
    def other(self) -> Environment | None:
        """The environment that `counterpart` names, as the file describes it, without an overlay and without its own
        counterpart.
        """
        return self._other

    @property
    def cell(self) -> Cell | None:
        """The cell that this environment is seen from; None if it is seen as a whole."""
        return self._cell

    @property
    def inherits_not_applicable(self) -> bool:
        """Whether `not_applicable` is what `extends` brought: the environment's own table names none."""
        return self._inherits_not_applicable

    def as_cell(self, name: str) -> Environment:
        """This environment as one of its cells sees it. Raises `UsageError` for a cell that it does not have."""
        cell = self.cells.get(name)
        if cell is None:
            there = f"there are: {', '.join(self.cells)}" if self.cells else f"write [{self.name}.cells.{name}]"
            raise UsageError(f"{FILE}: {self.name} has no cell {name!r}; {there}")
        aws = self.aws and self.aws.model_copy(
            update={"region": cell.region or self.aws.region, "account_id": cell.account_id or self.aws.account_id}
        )
        seen = self.model_copy(update={"vantage": cell.vantage, "aws": aws})
        seen._cell = cell
        return seen

    @property
    def hosts(self) -> tuple[str, ...]:
        """The public host names, sorted."""
        return tuple(sorted({r.host for r in self._reachable}))

    @property
    def secure_hosts(self) -> tuple[str, ...]:
        """The public host names that speak TLS, sorted."""
        return tuple(sorted({r.host for r in self._reachable if r.secure}))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of all parameters of SSM that hold credentials; a path ends with a slash."""
        return tuple(s.removeprefix("ssm:") for s in self.credentials if s.startswith("ssm:"))

    @property
    def placed_hosts(self) -> tuple[str, ...]:
        """The public host names that speak TLS behind the load balancer or a distribution of CloudFront, sorted."""
        placed = [s for s in self.services.values() if s.load_balancer]
        return tuple(sorted({r.host for r in (*placed, *self.on_cloudfront) if r.secure}))

    @property
    def redirected_hosts(self) -> tuple[str, ...]:
        """The public host names that speak TLS and can redirect plain HTTP: a network load balancer can't, sorted."""
        passed = {s.host for s in self.services.values() if s.load_balancer and not s.load_balancer.application}
        return tuple(host for host in self.secure_hosts if host not in passed)

    @property
    def balancers(self) -> dict[str, LoadBalancer]:
        """The load balancers by name: the environment's, and those that a service has of its own."""
        found: dict[str, LoadBalancer] = {}
        for each in (self.load_balancer, *(s.load_balancer for s in self.services.values())):
            if each:
                found.setdefault(each.name, each)
        return found

    @property
    def built(self) -> tuple[str, ...]:
        """The repositories of everything that says which commit it was built from, sorted."""
        return tuple(sorted({r.repository for r in self._reachable if r.repository and self.tells_revision(r)}))

    def tells_revision(self, reachable: Reachable) -> bool:
        """Whether a service or a page says which commit it was built from: by its answer, its image, or its page."""
        if isinstance(reachable, Service):
            return bool(reachable.version_path or (self.aws and reachable.ecs and reachable.image))
        return isinstance(reachable, Frontend) and bool(reachable.version_path or reachable.bucket)

    @property
    def stored_by_key(self) -> dict[str, Stored]:
        """The parts of the data tier, by their key."""
        parts = {"database": self.database, "cache": self.cache, "broker": self.broker}
        return {key: part for key, part in parts.items() if part}

    @property
    def stored(self) -> tuple[Stored, ...]:
        """The parts of the data tier."""
        return tuple(self.stored_by_key.values())

    @property
    def in_aws(self) -> tuple[Database | Cache, ...]:
        """The parts of the data tier that RDS and ElastiCache provide."""
        database, cache = self.database, self.cache
        found: list[Database | Cache] = [database] if database and database.instance else []
        return (*found, *([cache] if cache and cache.replication_group else []))

    @property
    def credentials(self) -> tuple[str, ...]:
        """Where all credentials are that the environment's parts name, sorted."""
        named = [s.deep_health_secret for s in self.services.values()]
        named += [source for service in self.services.values() for source in service.tokens]
        named += [source for part in self.stored for source in part.credentials]
        return tuple(sorted({source for source in named if source}))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The ids of every secret of Secrets Manager that the environment's parts name, sorted."""
        return tuple(source for source in self.credentials if not source.startswith(ELSEWHERE))

    @cached_property
    def _reachable(self) -> Sequence[Reachable]:
        return [*self.services.values(), *self.frontends.values()]

    @property
    def ecs(self) -> Sequence[Service]:
        """The services that ECS runs."""
        return [s for s in self.services.values() if s.ecs]

    @property
    def on_cloudfront(self) -> Sequence[Frontend]:
        """The frontends that CloudFront serves from a bucket."""
        return [f for f in self.frontends.values() if f.bucket]

    def refuse_missing_files(self) -> None:
        """Raises `UsageError` for a file of CAs that is not there."""
        for key, path in self.tls.ca_files.items():
            if not Path(path).is_file():
                raise UsageError(f"{FILE}: [{self.name}.tls] {key}: {path} is no file; write it, or mend the key")

    def through_test_listener(self) -> Environment:
        """This environment with its services on ECS reached at the load balancer's test port, under their own names.

        Raises `UsageError` if no test port is named.
        """
        behind = [(s, s.load_balancer.test_port) for s in self.ecs if s.load_balancer and s.load_balancer.test_port]
        if not behind:
            raise UsageError(
                f"{FILE}: [{self.name}.load_balancer] test_port is missing; write the port that shows new tasks first"
            )
        tested = {f"{s.host}:{s.port}": f"{s.host}:{port}" for s, port in behind}
        places = {name: self.connect_to.get(test, test) for name, test in tested.items()}
        return self.model_copy(update={"connect_to": {**self.connect_to, **places}})

    @property
    def must_be_signed(self) -> bool:
        """Whether only files that an allowed signer has signed count."""
        return self.signatures is not None and self.signatures.required

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
    environment = environment.model_copy(
        update={key: part.below(root) for key, part in environment.stored_by_key.items()}
        | {"services": {name: service.below(root) for name, service in environment.services.items()}}
    )
    environment = environment.model_copy(update={"tls": environment.tls.below(root)})
    if environment.database and environment.tls.database_ca_file is None and (roots := rds_roots.bundle(root)):
        tls = environment.tls.model_copy(update={"database_ca_file": str(roots)})
        environment = environment.model_copy(update={"tls": tls})
    environment._inherits_not_applicable = "not_applicable" not in tables.get(name, {})
    if environment.counterpart is not None:
        other = extended(tables, environment.counterpart)
        environment._other = _validated(environment.counterpart, other, repositories)
    return environment


def _validated(name: str, merged: dict[str, Any], repositories: Any) -> Environment:
    whole = {**merged, "name": name, "repositories": repositories}
    environment = validated(Environment, whole, file=FILE, name=name)
    services = {
        k: s if s.load_balancer else s.model_copy(update={"load_balancer": environment.load_balancer})
        for k, s in environment.services.items()
    }
    return environment.model_copy(update={"services": services})
