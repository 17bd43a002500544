"""What the parts of the sandbox agree on: which environments exist, which revisions they run, and who may log in."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gli import environments
from gli.environments import Environment
from gli.errors import UsageError

Revisions = Mapping[str, Mapping[str, str]]
"""Branch to repository to commit."""

T = TypeVar("T")


def required(value: T | None) -> T:
    """What an environment may lack in general, and staging and production always have."""
    if value is None:
        raise UsageError("environments.toml: [stg] and [prod] need every table that a full environment has")
    return value


@dataclass(frozen=True)
class Login:
    """A user name and its password."""

    username: str
    password: str

    @classmethod
    def named(cls, username: str) -> Login:
        """That user, with a password nobody knows yet."""
        return cls(username, secrets.token_urlsafe(18))


@dataclass(frozen=True)
class Credentials:
    """Everything secret that one environment's Secrets Manager holds."""

    database: Login
    verify_database: Login
    redis: Login
    verify_redis: Login
    amqp: Login
    verify_amqp: Login
    health_token: str
    secret_key: str

    @classmethod
    def generate(cls) -> Credentials:
        """Fresh ones: the application's own users, and the least-privilege ones that the suite looks with."""
        app, verify = "gli_app", "gli_verify"
        return cls(
            database=Login.named(app),
            verify_database=Login.named(verify),
            redis=Login.named(app),
            verify_redis=Login.named(verify),
            amqp=Login.named(app),
            verify_amqp=Login.named(verify),
            health_token=secrets.token_urlsafe(24),
            secret_key=secrets.token_urlsafe(48),
        )


@dataclass(frozen=True)
class Pems:
    """A certificate for the public hosts, as AWS Certificate Manager imports it."""

    certificate: str
    private_key: str
    chain: str


@dataclass(frozen=True)
class Site:
    """GLI as the sandbox plays it: staging, which really runs here, and production, which is seeded beside it."""

    stg: Environment
    prod: Environment
    revisions: Revisions
    credentials: Credentials
    database_name: str = "gli"
    vhost: str = "gli"

    @classmethod
    def of(cls, root: Path, revisions: Revisions) -> Site:
        """The site that `root/environments.toml` describes, with fresh credentials."""
        return cls(
            stg=environments.load(root, "stg"),
            prod=environments.load(root, "prod"),
            revisions=revisions,
            credentials=Credentials.generate(),
        )

    def revision(self, environment: Environment, repository: str) -> str:
        """The commit of that repository which the environment runs: the head of its branch."""
        return self.revisions[environment.branch][repository]
