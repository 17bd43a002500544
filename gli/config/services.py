"""What users reach, as environments.toml describes it: services, WebSocket servers and frontends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field as Bounded
from pydantic import StringConstraints, model_validator

from gli.config.toml_models import Table
from gli.config.values import (
    DEFAULT_PORTS,
    Count,
    Least,
    NonBlank,
    NoUrl,
    Numbered,
    OfACommit,
    Pattern,
    Port,
    RevisionPlace,
    Status,
    Url,
    resolved,
)


def origin_of(url: str) -> str:
    """Scheme, host and port under which a browser keeps a login: `https://shop.example.com:443`."""
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.hostname}:{parts.port or DEFAULT_PORTS.get(parts.scheme, 0)}"


_SECRET = re.compile(
    r".*(?:token|secret|password|passwd|api_?key|access_?key|signature)|(?:jwt|auth|ticket|sig|credential)",
    re.IGNORECASE,
)
"""The names of the parameters of a URL that hold secrets."""


def secrets_in(url: str) -> list[tuple[str, str]]:
    """The parameters of a URL that are named like secrets, each with its value as it stands there; no placeholders."""
    pairs = [pair.partition("=")[::2] for pair in urlsplit(url).query.split("&")]
    return [(name, value) for name, value in pairs if _SECRET.fullmatch(name) and value and "{" not in value]


def without_secrets(url: str) -> str:
    """The URL with `{token}` in place of each secret."""
    for name, value in secrets_in(url):
        url = url.replace(f"{name}={value}", f"{name}={{token}}")
    return url


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
    """Where the user and the password are: the fields `username` and `password`, or a text `user:password`."""
    fields: Mapping[Literal["token", "username", "password"], str] = {}
    """What the credential calls each field, where its name is another one."""

    @property
    def source(self) -> str:
        return self.bearer or self.basic

    @property
    def wanted(self) -> tuple[str, ...]:
        """The fields that it consists of."""
        return ("token",) if self.bearer else ("username", "password")

    @property
    def names(self) -> dict[str, str]:
        """Field to its name in the credential; a field that has its own name there is left out."""
        return {str(field): name for field, name in self.fields.items()}

    @model_validator(mode="after")
    def _is_one(self) -> Authorization:
        if bool(self.bearer) == bool(self.basic):
            raise ValueError("authorization needs either bearer or basic")
        return self

    def below(self, root: Path) -> Self:
        """The same with the path of a file resolved against `root`."""
        return self.model_copy(update={"bearer": resolved(root, self.bearer), "basic": resolved(root, self.basic)})


class SignIn(Authorization):
    """What a host asks of everybody: sent with all requests of the run, except those that try what it refuses."""

    only_paths: tuple[NonBlank, ...] = ()
    """The paths that ask for it; empty: all."""


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
        return self.model_copy(update={"authorization": self.authorization and self.authorization.below(root)})

    @property
    def statuses(self) -> tuple[int, ...]:
        return (self.status,) if isinstance(self.status, int) else self.status


class Echo(Table):
    send: str
    expect: str


class Step(Table):
    """One step of a conversation: a frame to send, or the pattern of a frame to wait for."""

    send: str = ""
    """May hold `{token}`, or `{username}` and `{password}`, of its `authorization`."""
    expect: Pattern = ""
    authorization: Authorization | None = None
    """The login that it sends."""

    @model_validator(mode="after")
    def _is_one(self) -> Step:
        if bool(self.send) == bool(self.expect):
            raise ValueError("a step needs either send or expect")
        wanted = self.authorization.wanted if self.authorization else ()
        for field in wanted:
            if f"{{{field}}}" not in self.send:
                raise ValueError(f"a step with authorization needs {{{field}}} in what it sends")
        return self

    def below(self, root: Path) -> Step:
        """The same with the path of a file of credentials resolved against `root`."""
        return self.model_copy(update={"authorization": self.authorization and self.authorization.below(root)})


class Cookies(Table):
    path: str
    readable: tuple[str, ...] = ()


class Ecs(Table):
    cluster: str
    service: str
    container: str
    port: Port | None = None
    """The port of the container that gets requests; None where nobody sends any."""
    minimum_tasks: Least = 1
    launch_type: Literal["FARGATE", "EC2", "MANAGED_INSTANCES", "EXTERNAL"] = "FARGATE"
    network: Literal["awsvpc", "bridge", "host"] = "awsvpc"
    """The network mode of its tasks; without awsvpc, they use the interface of an instance."""

    @model_validator(mode="after")
    def _fargate_has_interfaces(self) -> Ecs:
        if self.launch_type == "FARGATE" and self.network != "awsvpc":
            raise ValueError(f'network = "{self.network}" needs launch_type = "EC2"; Fargate has awsvpc alone')
        return self


class Registry(Table):
    most_critical: Count = 0
    most_high: Count = 10
    rollback_releases: Least = 3


class Reachable(Table):
    """What a user reaches under a URL."""

    url: Url
    repository: str = ""
    """The one of `[[repositories]]` that it is built from; empty where nobody compares it with git."""
    paths: tuple[NonBlank, ...] = ()
    """The files of the repository that it is built from, as in `web/**` (git's glob pathspecs; `!` leaves files out).
    Empty: every commit builds it again."""
    release_tag: Numbered = ""
    """The form of the tags of its own releases, as of a monorepo (`web-v(\\d+)`); empty: the environment's form."""
    authorization: SignIn | None = None
    """The login in front of it, as of a stage that is not for the world. Where the URL of a socket holds `{token}`, or
    `{username}` and `{password}`, the login stands there, and is of this socket alone.
    """

    @model_validator(mode="after")
    def _keeps_its_login(self) -> Self:
        if urlsplit(self.url).username is not None:
            raise ValueError("url holds a login; write it as authorization = { basic = ... }")
        if written := [name for name, _ in secrets_in(self.url)]:
            raise ValueError(f"url holds a secret; write {written[0]}={{token}} and authorization = {{ bearer = ... }}")
        placed = [field for field in ("token", "username", "password") if f"{{{field}}}" in self.url]
        if placed and not self.websocket:
            raise ValueError("only the url of a socket, with ws:// or wss://, takes a login")
        if placed and tuple(placed) != (self.authorization.wanted if self.authorization else ()):
            raise ValueError(f"a url with {{{placed[0]}}} needs the authorization that it stands for, whole")
        return self

    @model_validator(mode="after")
    def _is_of_a_repository(self) -> Self:
        if self.release_tag and not self.repository:
            raise ValueError("release_tag needs a repository")
        if self.paths and not (self.repository and any(not path.startswith("!") for path in self.paths)):
            raise ValueError("paths need a repository, and one path at least without !")
        return self

    @property
    def signs_in_by_url(self) -> bool:
        """Whether its login stands in its URL (`?token={token}`), and in no header."""
        return self.authorization is not None and f"{{{self.authorization.wanted[0]}}}" in self.url

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or DEFAULT_PORTS[parts.scheme]

    @property
    def origin_url(self) -> str:
        """Scheme, host and port of its page: those of http:// for ws://, of https:// for wss://."""
        return origin_of(self.url)

    @property
    def origin_header(self) -> str:
        """What a browser sends as `Origin` from its page: no path, and a port only if it is not the scheme's own."""
        return self.origin_url.removesuffix(f":{DEFAULT_PORTS[urlsplit(self.origin_url).scheme]}")

    def path_of(self, path: str) -> str:
        """The path of a request for one of its paths: below the path of its URL. A socket is one path itself."""
        return path if self.url.startswith("ws") else urlsplit(self.url).path.rstrip("/") + path

    @property
    def authorizations(self) -> tuple[Authorization, ...]:
        """The logins of its requests."""
        return (self.authorization,) if self.authorization else ()

    def below(self, root: Path) -> Self:
        """The same with the paths of files of credentials resolved against `root`."""
        return self.model_copy(update={"authorization": self.authorization and self.authorization.below(root)})

    @property
    def secure(self) -> bool:
        return urlsplit(self.url).scheme in ("https", "wss")

    @property
    def websocket(self) -> bool:
        return urlsplit(self.url).scheme in ("ws", "wss")


class Service(Reachable):
    name: str
    url: NoUrl = ""
    """Empty: a worker, to which nobody sends requests."""
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
    version_at: RevisionPlace = "revision"
    """Where the answer of version_path names the revision: a JSON path, `header:NAME`, or `body`.

    A pattern may follow, whose group is the revision: `body:build ([0-9a-f]+)`, `header:Server:shop/([0-9a-f]+)`.
    """
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
    """The origin of its WebSocket sessions; default: that of the first frontend that calls it."""
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

    @model_validator(mode="after")
    def _is_called_or_a_worker(self) -> Service:
        if self.url:
            if self.ecs and self.ecs.port is None:
                raise ValueError("ecs.port is missing; write the port of the container that gets its requests")
            return self
        if self.ecs is None:
            raise ValueError("url is missing; only a worker has none, and needs its ecs table")
        if asked := sorted(_OF_REQUESTS & self.model_fields_set):
            raise ValueError(f"{asked[0]} needs a url")
        return self

    @property
    def conversation(self) -> Echo | tuple[Step, ...] | None:
        """What its WebSocket sessions say; None where nobody told."""
        return self.echo or self.talk or None

    @property
    def authorizations(self) -> tuple[Authorization, ...]:
        """The logins of its requests, and of its conversation."""
        own = [*(e.authorization for e in self.contract), *(step.authorization for step in self.talk)]
        return (*super().authorizations, *filter(None, own))

    def below(self, root: Path) -> Self:
        """The same with the paths of files of credentials resolved against `root`."""
        contract = tuple(endpoint.below(root) for endpoint in self.contract)
        talk = tuple(step.below(root) for step in self.talk)
        secret = self.deep_health_secret and resolved(root, self.deep_health_secret)
        return super().below(root).model_copy(update={"contract": contract, "talk": talk, "deep_health_secret": secret})


_OF_REQUESTS = frozenset(
    {
        *("authorization", "contract", "cookies", "cors_path", "deep_health_path", "echo", "error_path", "health_path"),
        *("idle_hold_s", "load_balancer", "origin", "protected_path", "talk", "version_path"),
    }
)
"""The keys of a service that say how it answers."""


class Frontend(Reachable):
    name: str
    calls: tuple[str, ...] | None = None
    """The services that its bundle must name; None: all of them. Empty where it calls its own origin only."""
    origin_path: Annotated[str, StringConstraints(pattern=r"^(/[^/]+)*$")] = ""
    """The folder of the bucket that holds its index page, as in `/web`."""
    version_path: str | None = None
    """Names the revision of the page; without it, an element `<meta name="build">` of the page does."""
    version_at: RevisionPlace = "revision"
    build_meta: str = "build"
    """The name of that meta element."""
    version: OfACommit = "{commit}"
    bucket: str | None = None
    mount: str = "app"
    route: str | None = None
    countries: tuple[str, ...] = ()
    """Two letters each (ISO 3166-1): the countries of its users, which no geographic restriction may keep out."""

    @property
    def index_path(self) -> str:
        """The path of its index page below its host."""
        return self.path_of("/index.html")

    @property
    def index_key(self) -> str:
        """The key of its index page in the bucket."""
        return self.key_of(self.index_path)

    def key_of(self, path: str) -> str:
        """The key in the bucket of a file of the page, of which this is the path below the host."""
        return f"{self.origin_path}/{path.removeprefix(self.path_of('/'))}".replace("//", "/").lstrip("/")
