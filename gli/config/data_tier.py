"""The database, the cache and the broker, as environments.toml describes them, and where their credentials are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from gli.config.toml_models import Table
from gli.config.values import ELSEWHERE, Count, Days, LowerCase, NonBlank, Pattern, Seconds, resolved


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

    key: ClassVar[str]
    """The name of its table."""
    product: ClassVar[str]
    """What this suite can ask."""
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
        return self.model_copy(update={key: resolved(root, source) for key, source in places.items()})


class MigrationRecord(Table):
    """The table in which a tool of migrations keeps what was applied: a row for each file, or the newest number."""

    table: NonBlank
    column: NonBlank
    """Holds the name of each applied migration, or its number."""
    files: Pattern
    """Of the path of a migration's file in the repository; its first group is what the column holds."""
    done: str = ""
    """A column that is not NULL, false or 0 once the migration has ended; empty: each row is an applied one."""
    dirty: str = ""
    """A column that is true or 1 while a migration is half applied: it runs, or it has failed."""
    newest_only: bool = False
    """The table holds the newest number alone; files with a smaller number were applied before it."""


class Database(Stored):
    key = "database"
    product = "PostgreSQL"
    instance: LowerCase = ""
    """The identifier of an instance or cluster in RDS; empty where RDS does not provide it."""
    migrations: str = ""
    """The repository whose migrations it must match; empty where nobody compares them."""
    migrated_by: Literal["django", "alembic", "flyway"] = "django"
    record: MigrationRecord | None = None
    """Instead of `migrated_by`, for every other tool."""
    migrations_schema: str = ""
    """The schema of the record of migrations; empty: the role's `search_path` finds it."""
    tables: tuple[str, ...] = ()
    ingress_from: tuple[str, ...] = ()
    minimum_backup_days: Days = 7
    require_auth: Literal["scram-sha-256", "md5", "password"] = "scram-sha-256"
    """The one way of authentication that a server may ask for (libpq's `require_auth`)."""
    longest_transaction_s: Seconds = 300.0
    longest_idle_transaction_s: Seconds = 60.0
    longest_lock_wait_s: Seconds = 5.0

    @model_validator(mode="after")
    def _one_tool_migrates(self) -> Database:
        if self.record and "migrated_by" in self.model_fields_set:
            raise ValueError("has both migrated_by and record; take one of them out")
        return self

    @property
    def name(self) -> str:
        return self.instance or "database"

    @property
    def by_django(self) -> bool:
        """Whether Django migrates it."""
        return self.record is None and self.migrated_by == "django"


class Cache(Stored):
    key = "cache"
    product = "Redis or Valkey"
    replication_group: LowerCase = ""
    """The identifier in ElastiCache; empty where ElastiCache does not provide it."""
    policies: tuple[str, ...] = ("noeviction", "volatile-*")
    """The memory policies that it may have; these keep sessions. A pure cache may have `allkeys-*`."""
    security_group: str = ""
    ingress_from: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    commands: tuple[NonBlank, ...] = ()
    """Whole commands that the application sends, such as `HSET gli:presence user 1`; the server runs none of them."""

    @property
    def name(self) -> str:
        return self.replication_group or "cache"

    @property
    def used(self) -> tuple[str, ...]:
        """The keys, channels and commands that the application uses, as far as the environment names them."""
        return (*self.keys, *self.channels, *self.commands)


class Broker(Stored):
    key = "broker"
    product = "RabbitMQ"
    queues: tuple[str, ...] = ()
    dead_letter_queues: tuple[str, ...] = ()
    most_dead_letters: Count = 0
    amazon_mq: str | None = None
    security_group: str | None = None
    ingress_from: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "broker" if self.secret.startswith(ELSEWHERE) else self.secret
