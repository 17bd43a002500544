"""The supervisor: starts each part as soon as the parts it needs are ready, answers commands, ends all parts."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from gli.common.errors import UsageError
from gli.config.environments import Environment
from sandbox import control, faults, repositories, variants
from sandbox.api import task_environment
from sandbox.aws import rollout
from sandbox.aws.account import Account
from sandbox.aws.seed import Seeded
from sandbox.buckets import BucketEndpoint
from sandbox.cdn import Cdn
from sandbox.certificates import Authority
from sandbox.copies import original
from sandbox.edge import EdgeServer
from sandbox.github import GitHub
from sandbox.handle import Sandbox
from sandbox.moto import Moto
from sandbox.nameserver import NameServer
from sandbox.network import Network
from sandbox.overlay import PROFILE, credentials_file, holding, toml
from sandbox.postgres import Postgres
from sandbox.processes import PartFailed
from sandbox.rabbitmq import ABSENT, RabbitMQ
from sandbox.redirect import Redirect
from sandbox.site import Revisions, Site, played, required
from sandbox.state import State
from sandbox.switches import Runner, Switch, SwitchFailed
from sandbox.tasks import ApiTasks
from sandbox.valkey import Valkey
from sandbox.websocket import WebSocketServer

T = TypeVar("T")
_SAYS_S = 10.0
_MEASURES_S = 2.0
"""Seconds between two lines about a part that is still coming up: whoever started the sandbox sees that it lives."""
DATA_CA = "data-ca.pem"
"""The CA of the data tier: RDS, ElastiCache and Amazon MQ have others than the public web."""


class Supervisor:
    """One sandbox."""

    _site: Site
    _postgres: Postgres
    _valkey: Valkey
    _broker: RabbitMQ | None
    _api: ApiTasks
    _websocket: WebSocketServer
    _resolver: str

    def __init__(
        self,
        state: State,
        moto: Moto,
        stop_requested: asyncio.Event,
        latency: float,
        varied: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        """`varied`: ids of the variants to start with."""
        self._stop_requested = stop_requested
        self._state = state
        self._moto = moto
        self._say = say
        self._stops: list[Callable[[], Awaitable[None]]] = [moto.stop]
        self._background: list[asyncio.Task[None]] = []
        self._varied = varied
        self._faults: Runner[faults.Fault] | None = None
        self._variants: Runner[Switch]
        self._overlay: dict[str, Any] = {}
        self._status: dict[str, Any] = {}
        self._environment, self._other = played(state.place.root, state.place.environment)
        self._region = required(self._environment.aws).region
        self._authority, self._data_authority = Authority(), Authority()
        self._network = Network(self._environment, self._authority, self._data_authority, latency)
        self._repositories = state.place.shared / "git"
        self._redirect = Redirect()
        self._github = GitHub(required(self._environment.github).owner, state.place.shared / "runs")
        self._cdn = Cdn(self._moto.url, self._region)
        self._nameserver = NameServer(self._moto.url, self._region)

    async def boot(self) -> None:
        """Start every part. Afterwards the sandbox is ready; only the broker may still be starting."""
        await control.serve(self._state.control, self._answer)
        self._authority.write(self._state.path / "ca.pem")
        self._data_authority.write(self._state.path / DATA_CA)
        await self._part("repositories", self._make_site())
        async with asyncio.TaskGroup() as parts:
            seeded = parts.create_task(self._part("aws", self._moto.seed(self._site, self._network.certificate.pems())))
            parts.create_task(self._start_servers())
            parts.create_task(self._part("edge", self._start_edge()))
        await self._publish(seeded.result())

    async def _part(self, name: str, start: Awaitable[T]) -> T:
        """Await the start of one part and report its duration; returns its result. Any failure becomes `PartFailed`."""
        begun = time.monotonic()
        saying = asyncio.create_task(self._say_that_it_takes_long(name, begun))
        try:
            result = await start
        except PartFailed:
            raise
        except Exception as e:
            raise PartFailed(f"{name} failed: {type(e).__name__}: {e}") from e
        finally:
            saying.cancel()
        self._say(f"{name} ready {time.monotonic() - begun:.1f} s")
        return result

    async def _say_that_it_takes_long(self, name: str, begun: float) -> None:
        while True:
            await asyncio.sleep(_SAYS_S)
            self._say(f"still waiting for {name}, {time.monotonic() - begun:.0f} s so far")

    async def _make_site(self) -> None:
        names = [r.name for r in self._environment.repositories]
        made = await asyncio.to_thread(self._state.share, lambda _: repositories.create(self._repositories, names))
        self._site = Site.of(self._environment, self._other, await self._heads())
        self._record_runs(self._environment)
        if made:  # otherwise the other sandbox, or a deploy there, has recorded them
            self._record_runs(self._other)
        self._stops.append(self._github.stop)
        await self._github.start()

    async def _heads(self) -> Revisions:
        names = [r.name for r in self._environment.repositories]
        branches = (self._environment.branch, self._other.branch)
        return await asyncio.to_thread(repositories.revisions, self._repositories, names, branches)

    async def _start_servers(self) -> None:
        """Start the data tier, then the API, which migrates the database."""
        self._postgres = Postgres(self._state.path / "postgres", self._site)
        self._valkey = Valkey(self._state.path / "valkey", self._site)
        self._broker = RabbitMQ(self._state.path / "rabbitmq", self._site) if RabbitMQ.installed() else None
        self._stops += [self._postgres.stop, self._valkey.stop, self._network.close]
        await self._network.open(self._postgres, self._valkey, self._broker, self._moto.port)
        if self._broker is not None:
            self._stops.append(self._broker.stop)
            self._background.append(asyncio.create_task(self._start_broker(self._broker)))
        async with asyncio.TaskGroup() as data:
            data.create_task(self._part("postgres", self._postgres.start()))
            data.create_task(self._part("valkey", self._valkey.start()))
        await self._part("api", self._start_api())

    async def _start_broker(self, broker: RabbitMQ) -> None:
        """Start the broker. No part waits for it, so a failure is only reported."""
        try:
            await self._part("rabbitmq", broker.start())
        except PartFailed as e:
            self._say(str(e))
            return
        await broker.ready.wait()
        while True:  # as Amazon MQ does each minute
            with suppress(OSError, KeyError, ValueError):
                await asyncio.to_thread(self._measure, broker)
            await asyncio.sleep(_MEASURES_S)

    def _measure(self, broker: RabbitMQ) -> None:
        """Send what the broker measures to CloudWatch."""
        region, name = required(self._environment.aws).region, required(self._environment.broker).amazon_mq
        for metric, value in broker.measured().items():
            data = {"region": region, "namespace": "AWS/AmazonMQ", "metric": metric, "value": float(value)}
            body = json.dumps({**data, "dimensions": {"Broker": name}}).encode()
            url = f"http://127.0.0.1:{self._moto.port}/_sandbox/metric-data"
            urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5).close()

    async def _start_api(self) -> None:
        relays = self._network.relays
        self._api = ApiTasks(relays["api"], relays.get("api-test"), self._state.path, self._task_environment)
        self._stops.append(self._api.stop)
        await self._api.add(self._revision("api"))
        await asyncio.to_thread(self._postgres.grant_verify)

    def _task_environment(self, port: int, revision: str) -> Mapping[str, str]:
        at = {name: relay.port for name, relay in self._network.relays.items()}
        return task_environment(
            self._site,
            port=port,
            revision=revision,
            database_url=self._postgres.application_dsn(at["api-database"]),
            redis_url=self._valkey.application_url(at["api-cache"]),
            amqp_url=self._broker.application_url(at["api-broker"]) if self._broker else None,
            ca_file=self._state.path / "ca.pem",
            breakage_file=self._state.path / "api-breakage",
            code=self._code(revision),
        )

    def _code(self, revision: str) -> Path:
        """A folder with the API's code at this commit; a task applies the migrations in it."""
        folder = self._state.path / "code" / revision
        if not folder.exists():
            name = self._environment.services["api"].repository
            repositories.check_out(repositories.path(self._repositories, name), revision, folder)
        return folder

    def _revision(self, service: str) -> str:
        return self._site.revision(self._environment, self._environment.services[service].repository)

    async def _start_edge(self) -> None:
        """Start the CDN, S3's endpoint, the redirect, the WebSocket server and DNS."""
        edge, s3 = EdgeServer(self._cdn), EdgeServer(BucketEndpoint(self._moto.url, self._region))
        self._websocket = WebSocketServer(self._environment, self._revision("websocket"))
        self._stops += [edge.stop, s3.stop, self._redirect.stop, self._websocket.stop, self._nameserver.stop]
        cdn, buckets, redirect, websocket, dns = await asyncio.gather(
            edge.start(), s3.start(), self._redirect.start(), self._websocket.start(), self._nameserver.start()
        )
        relays = self._network.relays
        relays["http"].upstreams = [redirect]
        relays["s3"].upstreams = [buckets]
        for name in ("websocket", *({"websocket-test"} & relays.keys())):
            relays[name].upstreams = [websocket]
        for frontend in self._environment.frontends.keys() & relays.keys():
            relays[frontend].upstreams = [cdn]
        self._resolver = await self._network.open_dns(dns)

    async def _publish(self, seeded: Seeded) -> None:
        """Write the overlay and the status: the last step, because a run may start once the overlay exists."""
        self._network.certify_data_tier(seeded)
        credentials = self._state.write("aws-credentials", credentials_file(seeded))
        git = f"file://{self._repositories}/{{repository}}.git"
        self._overlay = {
            "provider_pid": os.getpid(),
            "vantage": "vpc",
            "aws": {
                "endpoint_url": f"http://{self._network.relays['aws'].address}",
                "account_id": seeded.account_id,
                "credentials_file": str(credentials),
                "profile": PROFILE,
            },
            "tls": {
                "ca_file": str(self._state.path / "ca.pem"),
                **{f"{part}_ca_file": str(self._state.path / DATA_CA) for part in ("database", "cache", "broker")},
            },
            "dns": {"resolvers": [self._resolver]},
            "git": {
                "remote": git,
                "workspace": str(self._repositories.with_name("clones")),
                "state": str(self._repositories.with_name("release")),
            },
            "github": {"api_url": self._github.url},
            "connect_to": self._network.connect_to(seeded),
            **holding(self._environment),
        }
        if self._broker is None:
            self._overlay["broker"] = {"absent": ABSENT}
        self._status = self._addresses(seeded)
        handle = self._handle()
        self._variants = Runner(handle, variants.known, "variant", "taken back")
        if self._varied:
            await self._part("variants", asyncio.to_thread(self._variants.on, self._varied))
        self._state.write("environment.toml", toml(self._overlay))
        self._faults = Runner(handle, faults.known, "fault", "healed")

    def _reconfigure(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        before = {table: self._overlay.get(table) for table in changes}
        self._overlay = {k: v for k, v in {**self._overlay, **changes}.items() if v is not None}
        if self._faults is not None:  # otherwise it is written when the sandbox is ready
            self._state.write("environment.toml", toml(self._overlay))
        return before

    def _handle(self) -> Sandbox:
        return Sandbox(
            site=self._site,
            state_dir=self._state.path,
            loop=asyncio.get_running_loop(),
            account=Account(self._moto.url, self._region),
            postgres_dsn=self._postgres.dsn,
            redis_url=self._valkey.url,
            relays=self._network.relays,
            datagrams=required(self._network.datagrams),
            api=self._api,
            cdn=self._cdn,
            websocket=self._websocket,
            nameserver=self._nameserver,
            repositories=self._repositories,
            authority=self._authority,
            data_authority=self._data_authority,
            redirect=self._redirect,
            github=self._github,
            broker=self._broker,
            reconfigure=self._reconfigure,
        )

    def _addresses(self, seeded: Seeded) -> dict[str, Any]:
        """Addresses and logins for other tools, with an administrator's rights."""
        hosts = {r.host: self._network.relays[original(name)].address for name, r in self._network.public.items()}
        names = [r.name for r in self._environment.repositories]
        return {
            "aws_endpoint_url": self._moto.url,
            "aws_region": seeded.region,
            "postgres_dsn": self._postgres.dsn,
            "redis_url": self._valkey.url,
            "amqp_url": self._broker.url if self._broker else None,
            "hosts": hosts,
            "ca_file": str(self._state.path / "ca.pem"),
            "git_remotes": {name: str(repositories.path(self._repositories, name)) for name in names},
        }

    def status(self) -> dict[str, Any]:
        """The content of `status --json`."""
        return {
            "ready": self._faults is not None,
            "name": self._state.place.name,
            "environment": self._state.place.environment,
            "pid": os.getpid(),
            "state_dir": str(self._state.path),
            "faults": self._faults.active if self._faults else [],
            "variants": self._variants.active if self._faults else [],
            "requests": sum(relay.requests for relay in self._network.relays.values()) + self._github.requests,
            **self._status,
        }

    def summary(self) -> list[str]:
        """The addresses as text, one per line."""
        hosts = [f"  {host} at {address}" for host, address in self._status["hosts"].items()]
        broker = self._status["amqp_url"] or ABSENT
        urls = [self._status[key] for key in ("postgres_dsn", "redis_url", "aws_endpoint_url")]
        return [*hosts, *(f"  {url}" for url in urls), f"  {broker}"]

    async def _answer(self, request: dict[str, Any]) -> control.Answer:
        """The answer to one command."""
        do, ids = request.get("do"), request.get("ids", [])
        if do == "status":
            return {"ok": True, "status": self.status()}
        if do == "asked":
            return {"ok": True, "asked": self._network.asked()}
        if do == "stop":
            self._stop_requested.set()
            return {"ok": True}
        if self._faults is None:
            return {"ok": False, "error": "the sandbox is still starting"}
        try:
            if do == "deploy":
                return {"ok": True, "lines": await self._deploy(self._faults.active)}
            if do == "ran":
                self._ran(str(request["repository"]), str(request["commit"]), str(request["conclusion"]))
                return {"ok": True}
            switch = {
                "break": self._faults.on,
                "heal": self._faults.off,
                "vary": self._variants.on,
                "restore": self._variants.off,
            }
            return {"ok": True, "lines": await asyncio.to_thread(switch[str(do)], ids)}
        except (SwitchFailed, PartFailed, UsageError) as e:
            return {"ok": False, "error": str(e), "usage": isinstance(e, UsageError)}

    async def _deploy(self, active: Sequence[str]) -> list[str]:
        """Deploy the current heads of the environment's branch; returns a line for each that was not deployed."""
        if active:
            raise SwitchFailed(f"{active[0]} is active; heal it before a deploy")
        names = [r.name for r in self._environment.repositories]
        before = {name: self._site.revision(self._environment, name) for name in names}
        await self._part("deploy", self._roll_out())
        heads = {name: self._site.revision(self._environment, name) for name in names}
        moved = [f"{name} {before[name][:12]} -> {heads[name][:12]}" for name in names if before[name] != heads[name]]
        return moved or ["everything runs the head of its branch"]

    def _ran(self, repository: str, commit: str, conclusion: str) -> None:
        """Record how a deploy workflow ended; what it deployed is known from now on."""
        branch = self._environment.branch
        self._github.run(repository, branch, commit, conclusion)
        if conclusion == "success":
            heads = self._site.revisions[branch]
            kept = [c for c in heads[repository] if c != commit]
            self._site.revisions[branch] = {**heads, repository: [commit, *kept]}
            self._websocket.revision = self._revision("websocket")

    async def _roll_out(self) -> None:
        """Do what the workflows do on a push: images, services, pages, and API tasks with their migrations."""
        self._site.revisions.update(await self._heads())
        await asyncio.to_thread(rollout.deploy, Account(self._moto.url, self._region), self._site)
        if any(task.revision != self._revision("api") for task in self._api.running):
            await self._api.deploy(self._revision("api"))
        self._websocket.revision = self._revision("websocket")
        self._record_runs(self._environment)

    def _record_runs(self, environment: Environment) -> None:
        """Record a workflow run for each commit that the environment runs."""
        for repository in environment.repositories:
            commit = self._site.revision(environment, repository.name)
            self._github.deployed(repository.name, environment.branch, commit)

    async def stop(self) -> None:
        """End all parts in parallel."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*(stop() for stop in self._stops), return_exceptions=True)
