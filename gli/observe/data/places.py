"""The addresses of the data tier: the host and port in a secret, or RDS's own if the secret names none.

A secret that RDS manages (`rds!…`) holds only a user and a password. The host in a secret may be a CNAME in the
environment's own zone; the server's certificate then covers the name that AWS gave the server. Source of truth: the
secret, rds DescribeDBInstances, DNS.
"""

from __future__ import annotations

from dataclasses import dataclass

from gli.common.sentences import phrase
from gli.config.data_tier import Database
from gli.observe.data.secrets import credentials
from gli.observe.edge.dns import chain
from gli.observe.engine.observation import Unobserved, unknown
from gli.observe.engine.probe import Observer

_OF_AWS = (".amazonaws.com", ".amazonaws.com.cn")


@dataclass(frozen=True)
class Place:
    """The address of one server of the data tier."""

    host: str
    port: int
    name: str
    """The name that the server's certificate must cover."""
    database: str | None = None


def of_aws(host: str) -> bool:
    """Whether the name is one that AWS gave."""
    return host.lower().endswith(_OF_AWS)


async def database_place(observer: Observer, database: Database, secret_id: str) -> Place:
    """The database server that the secret leads to. Raises `Unobserved` if its host or port is not known."""
    known = await credentials(observer, database, secret_id)
    host, port, name = known.get("host"), known.get("port"), known.get("dbname")
    if host and port is None:
        port = "5432"
    if not host:
        from gli.observe.aws.rds import database_instance

        if observer.environment.aws is None or not database.instance:
            raise unknown("dependency", phrase("the secret {} names no host", secret_id))
        instance = await observer.see(database_instance, database)
        if instance.address is None:
            raise unknown(
                "dependency", phrase("neither the secret {} nor RDS names a host of {}", secret_id, database.instance)
            )
        host, port, name = instance.address, port or str(instance.port or 5432), name or instance.database
    return Place(host, whole(secret_id, str(port)), await certified(observer, host), name)


def whole(secret_id: str, port: str) -> int:
    """The port in a secret, as a number. Raises `Unobserved` if it is not a number."""
    if not port.isdigit():
        raise unknown("dependency", phrase("the secret {} names the port {!r}, which is not a number", secret_id, port))
    return int(port)


async def certified(observer: Observer, host: str) -> str:
    """The name that the server's certificate covers: AWS's own name if CNAME records lead to one, else `host`."""
    if of_aws(host):
        return host
    try:
        return next((name for name in await chain(observer, host) if of_aws(name)), host)
    except Unobserved:
        return host
