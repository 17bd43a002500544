"""The interface of a running sandbox for faults and variants, which run in a thread."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gli.config.environments import Environment
from sandbox.processes import PATIENCE_S

if TYPE_CHECKING:
    import psycopg
    import redis

    from sandbox.aws.account import Account
    from sandbox.cdn import Cdn
    from sandbox.certificates import Authority
    from sandbox.github import GitHub
    from sandbox.nameserver import NameServer
    from sandbox.rabbitmq import RabbitMQ
    from sandbox.redirect import Redirect
    from sandbox.relay import DatagramRelay, Relay
    from sandbox.site import Site
    from sandbox.tasks import ApiTasks
    from sandbox.websocket import WebSocketServer

T = TypeVar("T")


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox for faults and variants. The methods block: faults and variants run in their own thread.

    Coroutines (of `relay(...)`, `api`, ...) belong to the supervisor's event loop: pass them to `run`.
    """

    site: Site
    state_dir: Path
    loop: asyncio.AbstractEventLoop
    account: Account
    """AWS as an administrator has it, asked of moto itself and not through the relay."""
    postgres_dsn: str
    redis_url: str
    relays: dict[str, Relay]
    datagrams: DatagramRelay
    """DNS over UDP; over TCP it is the relay `dns`."""
    api: ApiTasks
    cdn: Cdn
    websocket: WebSocketServer
    nameserver: NameServer
    repositories: Path
    """The folder that holds the bare repositories, NAME.git each."""
    authority: Authority
    data_authority: Authority
    """The CA of the data tier."""
    redirect: Redirect
    github: GitHub
    broker: RabbitMQ | None
    reconfigure: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Replaces tables of the overlay of `environments.toml` for the runs that follow; returns what undoes it."""

    @property
    def environment(self) -> Environment:
        """The environment that this sandbox plays."""
        return self.site.environment

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the supervisor's loop: `run(sandbox.relay("api").set_mode("refuse"))`; its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=PATIENCE_S)

    def aws(self, service: str, region: str | None = None) -> Any:
        """A boto3 client with an administrator's credentials; by default in the environment's region."""
        return self.account(service, region)

    def aws_overlay(self, action: str, **parameters: Any) -> Any:
        """Set a state that the AWS API can't set: POST `/_sandbox/ACTION` to the moto process; returns its JSON."""
        request = urllib.request.Request(
            f"{self.account.endpoint}/_sandbox/{action}",
            data=json.dumps(parameters).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def postgres(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """A superuser's connection to GLI's database, in autocommit: `with sandbox.postgres() as connection:`."""
        import psycopg

        return psycopg.connect(self.postgres_dsn, autocommit=True)

    def redis(self) -> redis.Redis:
        """A client with all rights."""
        import redis

        return redis.Redis.from_url(self.redis_url, decode_responses=True)

    def relay(self, name: str) -> Relay:
        """The relay in front of one port: `api`, `websocket`, `user`, `admin`, `database`, `cache`, `aws`, ..."""
        if name not in self.relays:
            raise LookupError(f"there is no {name} in this sandbox")
        return self.relays[name]
