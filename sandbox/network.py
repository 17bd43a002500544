"""The network of a sandbox: every relay, and the public names that lead to it."""

from __future__ import annotations

import asyncio
from typing import Any

from gli.config.environments import Environment
from gli.config.services import Reachable
from sandbox.aws.seed import Seeded
from sandbox.buckets import S3
from sandbox.certificates import Authority
from sandbox.copies import original
from sandbox.postgres import Postgres
from sandbox.rabbitmq import RabbitMQ
from sandbox.relay import DatagramRelay, Flavour, Relay
from sandbox.site import required
from sandbox.valkey import Valkey

_HTTP_PORT, _HTTPS_PORT, _POSTGRES_PORT, _REDIS_PORT, _AMQPS_PORT = 80, 443, 5432, 6379, 5671
_BROKER_PATIENCE = 20.0
"""Seconds for which a connection to a broker that is still starting is held."""


class Network:
    """One relay for each public host, one each for port 80, S3 and AWS, and one for each server of the data tier.

    The API has its own relays to the data tier, without TLS and latency: in AWS both are in one network.
    """

    def __init__(self, environment: Environment, authority: Authority, data: Authority, latency: float) -> None:
        self._authority, self._data_authority = authority, data
        self._latency = latency
        self.public: dict[str, Reachable] = {**environment.services, **environment.frontends}
        """What users reach, by the name of the service or frontend. Its relay has this name; a copy has none."""
        self.test_port = required(environment.load_balancer).test_port
        self.tested = list(environment.services) if self.test_port else []
        """The services behind the test listener; its relays are called `NAME-test`."""
        self.buckets = _bucket_hosts(environment)
        """The names under which S3 itself serves the frontends' buckets."""
        self.certificate = authority.issue(_public_names(environment))
        """What the public hosts present; AWS Certificate Manager holds the same."""
        self.relays: dict[str, Relay] = {}
        self.datagrams: DatagramRelay | None = None

    async def open(self, postgres: Postgres, valkey: Valkey, broker: RabbitMQ | None, aws_port: int) -> None:
        """Listen on every relay. Servers that start later are added as upstreams then."""
        public = self.certificate.context()
        for name in filter(_has_relay, self.public):
            self._add(Relay(name, flavour=Flavour.TLS, certificate=public, latency=self._latency))
        for name in filter(_has_relay, self.tested):
            self._add(Relay(f"{name}-test", flavour=Flavour.TLS, certificate=public, latency=self._latency))
        self._add(Relay("http", latency=self._latency))
        s3 = self._authority.issue([*self.buckets, S3]).context()
        self._add(Relay("s3", flavour=Flavour.TLS, certificate=s3, latency=self._latency))
        self._add(Relay("aws", aws_port, latency=self._latency))
        self._add(Relay("database", postgres.port, flavour=Flavour.POSTGRES, latency=self._latency))
        self._add(Relay("cache", valkey.port, flavour=Flavour.TLS, latency=self._latency))
        self._add(Relay("api-database", postgres.port))
        self._add(Relay("api-cache", valkey.port))
        if broker is not None:
            self._add(
                Relay(
                    "broker", broker.port, flavour=Flavour.TLS, latency=self._latency, ready=lambda: _patience(broker)
                )
            )
            self.relays["broker"].sessions = []  # only the suite comes this way
            self._add(Relay("api-broker", broker.port))
        await asyncio.gather(*(relay.start() for relay in self.relays.values()))

    async def open_dns(self, port: int) -> str:
        """Listen for DNS over TCP and UDP on the same port; returns the address."""
        tcp = Relay("dns", port, latency=self._latency)
        await tcp.start()
        self._add(tcp)
        self.datagrams = DatagramRelay(port, self._latency)
        await self.datagrams.start(tcp.port)
        return tcp.address

    def asked(self) -> dict[str, Any]:
        """What the suite asked over HTTP since the last call, by relay, and sent to the broker, in hex digits."""
        http = {name: sorted(relay.asked) for name, relay in self.relays.items() if relay.asked}
        sessions = self.relays["broker"].sessions or [] if "broker" in self.relays else []
        amqp = [sent.hex() for sent in sessions]
        for relay in self.relays.values():
            relay.asked = set()
        sessions.clear()
        return {"http": http, "amqp": amqp}

    def _add(self, relay: Relay) -> None:
        self.relays[relay.name] = relay

    def certify_data_tier(self, seeded: Seeded) -> None:
        """Give the data tier's relays a certificate for the names that AWS gave them, from a CA of their own."""
        names = [seeded.database_host, seeded.cache_host, seeded.broker_host]
        context = self._data_authority.issue(names).context()
        for name in ("database", "cache", "broker"):
            if name in self.relays:
                self.relays[name].certificate = context

    def connect_to(self, seeded: Seeded) -> dict[str, str]:
        """A map from the public `host:port` to the relay's address on this machine."""
        at = {name: relay.address for name, relay in self.relays.items()}
        places = {f"{r.host}:{r.port}": at[original(name)] for name, r in self.public.items()}
        places |= {f"{self.public[name].host}:{self.test_port}": at[f"{original(name)}-test"] for name in self.tested}
        places |= {f"{r.host}:{_HTTP_PORT}": at["http"] for r in self.public.values()}
        places |= {f"{host}:{_HTTPS_PORT}": at["s3"] for host in (*self.buckets, S3)}
        places[f"{seeded.database_host}:{_POSTGRES_PORT}"] = at["database"]
        places[f"{seeded.cache_host}:{_REDIS_PORT}"] = at["cache"]
        if "broker" in at:
            places[f"{seeded.broker_host}:{_AMQPS_PORT}"] = at["broker"]
        return places

    async def close(self) -> None:
        """Close every relay and cut its connections."""
        for relay in self.relays.values():
            await relay.stop()
        if self.datagrams is not None:
            self.datagrams.stop()


def _has_relay(name: str) -> bool:
    return original(name) == name


def _public_names(environment: Environment) -> list[str]:
    """The zone, all names in it, and the hosts outside it."""
    zone = environment.dns.zone
    if zone is None:
        return list(environment.hosts)
    return [zone, f"*.{zone}", *(h for h in environment.hosts if h != zone and h.partition(".")[2] != zone)]


def _bucket_hosts(environment: Environment) -> list[str]:
    region = required(environment.aws).region
    return [f"{f.bucket}.s3.{region}.amazonaws.com" for f in environment.frontends.values() if f.bucket]


async def _patience(broker: RabbitMQ) -> None:
    async with asyncio.timeout(_BROKER_PATIENCE):
        await broker.ready.wait()
