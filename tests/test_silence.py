"""A connection that nothing answers is unknown after a second try; a refused one is the target's failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gli.config.data_tier import Broker, Cache, Database
from gli.config.environments import Environment
from gli.config.services import Service
from gli.observe.data import amqp, postgres, redis
from gli.observe.edge import http, tcp, tls, websocket
from gli.observe.engine import http_client, lateness
from gli.observe.engine.observation import Observation, Unobserved
from gli.observe.engine.observatory import Observatory
from gli.observe.engine.probe import Probe
from sandbox.processes import ReservedPort
from sandbox.relay import silent_port

Made = Callable[[int], tuple[Environment, Probe[Observation], object]]
Seen = Callable[[str, int], tuple[Observatory, Probe[Observation], object]]


def service(scheme: str, probe: Probe[Observation]) -> Made:
    def made(port: int) -> tuple[Environment, Probe[Observation], object]:
        found = Service(name="own", url=f"{scheme}://127.0.0.1:{port}")
        return Environment(name="own", branch="main", services={"own": found}), probe, found

    return made


def host(port: int) -> tuple[Environment, Probe[Observation], object]:
    environment, _, _ = service("https", tls.tls_session)(port)
    return environment, tls.tls_session, "127.0.0.1"


def part(kind: type[Database | Cache | Broker], probe: Probe[Observation]) -> Made:
    def made(_: int) -> tuple[Environment, Probe[Observation], object]:
        names = {"secret": "env:OWN"} | ({} if kind is Broker else {"verify_secret": "env:OWN"})
        found = kind.model_validate(names)
        return Environment.model_validate({"name": "own", "branch": "main", kind.__name__.lower(): found}), probe, found

    return made


SESSIONS = {
    "HTTP": service("http", http.landing),
    "TLS": host,
    "WebSocket": service("ws", websocket.websocket_session),
    "PostgreSQL's port": part(Database, postgres.database_port),
    "PostgreSQL": part(Database, postgres.application_login),
    "PostgreSQL's state": part(Database, postgres.database_state),
    "Redis": part(Cache, redis.application_cache),
    "AMQP": part(Broker, amqp.broker_state),
}


@pytest.fixture
def seen(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Seen]:
    """An observatory with short limits, and what to observe at a port."""
    for module, name in {
        (tcp, "TIMEOUT_S"),
        (tls, "_TIMEOUT_S"),
        (http_client, "TIMEOUT_S"),
        (websocket, "HANDSHAKE_TIMEOUT_S"),
        (redis, "_TIMEOUT_S"),
        (amqp, "_STACK_TIMEOUT_S"),
    }:
        monkeypatch.setattr(module, name, 0.5)
    monkeypatch.setattr(postgres, "_TIMEOUT_S", 2)  # libpq takes no less
    monkeypatch.setattr(lateness, "TOLERATED", float("inf"))  # these limits are short for a busy machine
    opened: list[Observatory] = []

    def observing(session: str, port: int) -> tuple[Observatory, Probe[Observation], object]:
        scheme = {"Redis": "redis", "AMQP": "amqp"}.get(session, "postgresql")
        monkeypatch.setenv("OWN", f"{scheme}://user:word@127.0.0.1:{port}/own")
        environment, probe, target = SESSIONS[session](port)
        opened.append(Observatory(environment))
        return opened[-1], probe, target

    yield observing
    for one in opened:
        one.close()


@pytest.mark.parametrize("session", SESSIONS)
def test_silence_is_unknown_after_a_second_try(seen: Seen, session: str) -> None:
    with silent_port() as port:
        observatory, probe, target = seen(session, port)
        with pytest.raises(Unobserved) as why:
            observatory.wait(probe, target)
    assert why.value.unknown.cause == "no-connection"
    assert why.value.unknown.message == (
        f"127.0.0.1:{port}: no connection within 0.5 s: no path (security group, route), or the host is gone "
        "(tried twice)"
    )
    assert observatory.records[-1].attempts == 2


@pytest.mark.parametrize(
    ("session", "url", "message"),
    [
        (
            "PostgreSQL",
            "mysql://u:p@db/shop",
            "env:OWN leads to mysql, and this suite asks PostgreSQL alone: write [database]",
        ),
        (
            "PostgreSQL",
            '{"engine": "mariadb", "host": "db"}',
            "env:OWN leads to mariadb, and this suite asks PostgreSQL alone",
        ),
        ("Redis", "memcached://cache:11211", "env:OWN leads to memcached, and this suite asks Redis or Valkey alone"),
        ("AMQP", "kafka://mq:9092", "env:OWN leads to kafka, and this suite asks RabbitMQ alone"),
    ],
)
def test_a_product_that_no_probe_can_ask_is_named(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, session: str, url: str, message: str
) -> None:
    observatory, probe, target = seen(session, 1)
    monkeypatch.setenv("OWN", url)
    with pytest.raises(Unobserved) as why:
        observatory.wait(probe, target)
    assert why.value.unknown.cause == "unsupported" and why.value.unknown.message.startswith(message)


def test_a_url_of_java_is_read(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_port() as port:
        observatory, probe, target = seen("PostgreSQL's port", port)
        monkeypatch.setenv("OWN", f"jdbc:postgresql://127.0.0.1:{port}/shop")
        with pytest.raises(Unobserved, match=f"127.0.0.1:{port}: no connection"):
            observatory.wait(probe, target)


@pytest.mark.parametrize("session", sorted(SESSIONS.keys() - {"PostgreSQL's state"}))
def test_a_refusal_is_a_fact(seen: Seen, session: str) -> None:
    reserved = ReservedPort()
    observatory, probe, target = seen(session, reserved.port)
    found = observatory.wait(probe, target)
    reserved.close()
    assert found.error
