"""The servers that a task of the API needs: each is asked over a new connection, with a time limit."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TimedOut
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.db import connection

SECONDS = 2.0
_GRACE_SECONDS = 60.0
_started = time.monotonic()
_broker_was_there = False


def ask() -> dict[str, str]:
    """The state of each server: `ok`, `absent` (not configured), `starting`, or the kind of its failure."""
    with_deadlines: dict[str, Callable[[], None]] = {"database": _database, "cache": _cache}
    if settings.AMQP_URL:
        with_deadlines["broker"] = _broker
    pool = ThreadPoolExecutor(max_workers=len(with_deadlines))
    answers = {name: pool.submit(question) for name, question in with_deadlines.items()}
    deadline = time.monotonic() + SECONDS
    states = {"database": "", "cache": "", "broker": "absent"}
    for name, answer in answers.items():
        try:
            answer.result(timeout=max(0.0, deadline - time.monotonic()))
            states[name] = "ok"
        except TimedOut:
            states[name] = "timeout"
        except Exception as e:  # noqa: BLE001 - its kind is the answer, its text may hold a password
            states[name] = type(e).__name__
    pool.shutdown(wait=False)
    states["broker"] = _forgiving(states["broker"])
    return states


def all_well(states: Mapping[str, str]) -> bool:
    """Whether no server fails. A broker that is still starting does not count as a failure."""
    return all(state in ("ok", "absent", "starting") for state in states.values())


def _forgiving(broker: str) -> str:
    """Report the broker as starting until it answers once: RabbitMQ takes longer to start than a task."""
    global _broker_was_there
    _broker_was_there = _broker_was_there or broker == "ok"
    waiting = broker not in ("ok", "absent") and not _broker_was_there
    return "starting" if waiting and time.monotonic() - _started < _GRACE_SECONDS else broker


def _database() -> None:
    with psycopg.connect(**connection.get_connection_params()) as fresh:
        fresh.execute("SELECT 1")


def _cache() -> None:
    options: dict[str, Any] = settings.CACHES["default"]["OPTIONS"]
    with redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=None, **options
    ) as client:
        client.ping()


def _broker() -> None:
    import pika

    parameters = pika.URLParameters(settings.AMQP_URL)
    parameters.socket_timeout = parameters.stack_timeout = SECONDS
    parameters.connection_attempts = 1
    if settings.AMQP_URL.startswith("amqps:"):
        context = ssl.create_default_context(cafile=settings.CA_FILE)
        parameters.ssl_options = pika.SSLOptions(context, parameters.host)
    pika.BlockingConnection(parameters).close()
