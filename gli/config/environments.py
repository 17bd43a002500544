"""`environments.toml` as typed, frozen models: the only place that knows what an environment consists of.

Source of truth: the comments in `environments.toml`. An unknown key, a wrong type or a missing key raises `UsageError`
with the file, the key and the fix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, model_validator

from gli.common.errors import UsageError
from gli.config import rds_roots
from gli.config.cells import Cell, Vantage
from gli.config.data_tier import Broker, Cache, Database, Sqlite, Stored
from gli.config.parts import (
    PARTS,
    Alarms,
    Aws,
    Dns,
    Gate,
    Git,
    Github,
    Logs,
    Metrics,
    NotApplicable,
    Notify,
    Repository,
    Retention,
    Signatures,
    Tls,
)
from gli.config.services import Authorization, Frontend, LoadBalancer, Reachable, Registry, Service, SignIn
from gli.config.toml_models import Table, validated
from gli.config.toml_tables import FILE, extended, names, read_tables, whole
from gli.config.values import ELSEWHERE, Address, NonBlank, Numbered, names_tag
from gli.git import name_rules

__all__ = ["FILE", "Environment", "load", "names"]

_STILL_USED = {"dns": ("resolvers",), "tls": ("ca_file", "database_ca_file", "cache_ca_file", "broker_ca_file")}
"""Keys that an environment uses though their part is absent."""


class Environment(Table):
    """One environment as a whole: the one that `--env` names, with `extends` and the overlay merged in."""

    name: str
    branch: str
    release_tag: Numbered = ""
    """The whole name of a release's tag, with a group for each number; empty: it runs the head of its branch.

    Where it is set, the environment runs the newest such tag: its branch counts as being there.
    """
    production: bool = False
    counterpart: str | None = None
    shared: tuple[NonBlank, ...] = ()
    """Names that belong to both this environment and its counterpart: a load balancer, a bucket."""
    built_once: bool = False
    """An image is built for the first stage and promoted: what runs may be a build of any commit with the same tree."""
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
    def _a_host_asks_for_one_login(self) -> Environment:
        for origin, asked in self.sign_ins.items():
            paths = [path for one in asked for path in one.only_paths or ("",)]
            if len({*paths}) < len(paths):
                raise ValueError(f"describes two logins (authorization) for {origin}; write one, or name only_paths")
        return self

    @model_validator(mode="after")
    def _a_tag_has_a_form(self) -> Environment:
        for each in self._reachable:
            templates = {"version": each.version, "tag": each.tag} if isinstance(each, Service) else {}
            templates |= {"version": each.version} if isinstance(each, Frontend) else {}
            for key, template in templates.items():
                if names_tag(template) and not (each.release_tag or self.release_tag):
                    raise ValueError(f"has no release_tag, which {key} = {template!r} of {each.name} needs; write it")  # type: ignore[attr-defined]
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

    def callers(self, service: Service) -> tuple[Frontend, ...]:
        """The frontends that call a service; all of them where none says so, for a service is there to be called."""
        frontends = tuple(self.frontends.values())
        return tuple(f for f in frontends if f.calls is None or service.name in f.calls) or frontends

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
        every = (*self.services.values(), *self.frontends.values())
        return tuple(sorted({r.repository for r in every if r.repository and self.tells_revision(r)}))

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
        named += [who.source for who in self.authorizations]
        named += [source for part in self.stored for source in part.credentials]
        return tuple(sorted({source for source in named if source}))

    @property
    def authorizations(self) -> tuple[Authorization, ...]:
        """The logins of all requests."""
        return tuple(who for reachable in self._reachable for who in reachable.authorizations)

    @cached_property
    def sign_ins(self) -> Mapping[str, Sequence[SignIn]]:
        """The origin of a host (`origin_of`) to the logins that it asks of everybody; those of some paths first."""
        found: dict[str, list[SignIn]] = {}
        for reachable in self._reachable:
            login = None if reachable.signs_in_by_url else reachable.authorization
            if login and login not in found.setdefault(reachable.origin_url, []):
                found[reachable.origin_url].append(login)
        return {origin: sorted(each, key=lambda one: not one.only_paths) for origin, each in found.items()}

    @property
    def signs_in_first(self) -> bool:
        """Whether probes that are judged by their time need credentials."""
        by_message = (step.authorization for s in self.services.values() for step in s.talk)
        return bool(self.sign_ins) or any(by_message) or any(r.signs_in_by_url for r in self._reachable)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The ids of every secret of Secrets Manager that the environment's parts name, sorted."""
        return tuple(source for source in self.credentials if not source.startswith(ELSEWHERE))

    @cached_property
    def _reachable(self) -> Sequence[Reachable]:
        return [*(s for s in self.services.values() if s.url), *self.frontends.values()]

    @property
    def ecs(self) -> Sequence[Service]:
        """The services that ECS runs."""
        return [s for s in self.services.values() if s.ecs]

    @property
    def on_awsvpc(self) -> Sequence[Service]:
        """The services whose tasks have network interfaces of their own."""
        return [s for s in self.services.values() if s.ecs and s.ecs.network == "awsvpc"]

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
        | {"frontends": {name: frontend.below(root) for name, frontend in environment.frontends.items()}}
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
        k: s if s.load_balancer or not s.url else s.model_copy(update={"load_balancer": environment.load_balancer})
        for k, s in environment.services.items()
    }
    return environment.model_copy(update={"services": services})
