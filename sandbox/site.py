"""Facts that all parts of the sandbox share: the environments, their revisions, and the logins."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gli.common.errors import UsageError
from gli.config import environments
from gli.config.environments import Environment

Revisions = Mapping[str, Mapping[str, Sequence[str]]]
"""Branch to repository to the commits that were its head, newest first; under `TAGS` the commits that are tagged."""
TAGS = "refs/tags"

T = TypeVar("T")


def required(value: T | None) -> T:
    """A setting that an environment may lack, but that staging and production always have."""
    if value is None:
        raise UsageError("environments.toml: [stg] and [prod] need every table that a full environment has")
    return value


@dataclass(frozen=True)
class Login:
    """A user name and a password."""

    username: str
    password: str

    @classmethod
    def named(cls, username: str) -> Login:
        """This user with a new random password."""
        return cls(username, secrets.token_urlsafe(18))


@dataclass(frozen=True)
class Credentials:
    """The secrets in one environment's Secrets Manager."""

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
        """New credentials: for the application's users, and for the read-only users of the suite."""
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
    """A certificate for the public hosts, in the form that AWS Certificate Manager imports."""

    certificate: str
    private_key: str
    chain: str


@dataclass(frozen=True)
class Site:
    """GLI in the sandbox: one environment that runs here, and its counterpart, which is only seeded in AWS."""

    environment: Environment
    other: Environment
    revisions: dict[str, Mapping[str, Sequence[str]]]
    """What is deployed, and what was before; `deploy` replaces it."""
    credentials: Credentials
    database_name: str = "gli"
    vhost: str = "gli"

    @classmethod
    def of(cls, environment: Environment, other: Environment, revisions: Revisions) -> Site:
        """The site of these two environments, with new credentials."""
        return cls(environment, other, dict(revisions), Credentials.generate())

    @property
    def staging(self) -> Environment:
        """The environment whose branch is merged into the other's."""
        return self.other if self.environment.production else self.environment

    @property
    def production(self) -> Environment:
        """The environment that the other one's branch is merged into."""
        return self.environment if self.environment.production else self.other

    def revision(self, environment: Environment, repository: str) -> str:
        """The commit of a repository that the environment runs: the head of its branch."""
        return self.revisions[environment.branch][repository][0]

    def before(self, repository: str) -> str:
        """The commit of a repository that ran here before; the current one if it is the first."""
        return self.revisions[self.environment.branch][repository][:2][-1]

    def images(self, repository: str) -> list[str]:
        """Every commit of a repository that either environment runs or could roll back to."""
        return list(dict.fromkeys(c for commits in self.revisions.values() for c in commits[repository]))


def played(root: Path, name: str) -> tuple[Environment, Environment]:
    """The environment that `name` extends, and its counterpart, from `root/environments.toml`."""
    extended = environments.load(root, name, overlay={}).extends
    environment = environments.load(root, str(extended))
    return environment, environments.load(root, str(environment.counterpart))
