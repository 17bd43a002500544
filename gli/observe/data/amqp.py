"""RabbitMQ: login, and the state of the work queues. The probe publishes, consumes and creates nothing.

Source of truth: AMQP 0-9-1 (Connection.Open, passive Queue.Declare).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gli.common.sentences import Said, phrase
from gli.config.data_tier import Broker
from gli.observe.data.secrets import credentials, secrets
from gli.observe.edge.tcp import answering_port
from gli.observe.engine.guard import refuse_amqp_writes
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

_TIMEOUT_S = 5
_STACK_TIMEOUT_S = 20.0  # a starting broker answers late
_SESSION_S = 25.0
MOST_BYTES = 256_000
"""The limit of one session: a frame of RabbitMQ has at most 128 kB, and an answer to this suite some hundred bytes."""


class Queue(Observation):
    """One work queue. `error` is set if the queue could not be observed."""

    name: str
    messages: int = 0
    consumers: int = 0
    error: Said | None = None


class BrokerState(Observation):
    """One session with the broker, or the reason why there was none."""

    secret: str
    ok: bool
    error: Said | None = None
    queues: tuple[Queue, ...] = ()
    dead_letters: tuple[Queue, ...] = ()


@probe(deadline=30, after=[secrets])
async def broker_state(observer: Observer, broker: Broker) -> BrokerState:
    """A login with the application's credentials to its virtual host, and a passive declare of every queue."""
    document = await credentials(observer, broker, broker.secret)
    observer.count("amqp")
    host = document.get("host", "")
    port = document.get("port", "5672" if document.get("tls") == "false" else "5671")
    if not host or not port.isdigit():
        return BrokerState(secret=broker.secret, ok=False, error=phrase("the secret names no usable host and port"))
    try:
        seen = await asyncio.to_thread(_session, observer, broker, document, host, int(port))
    except TimeoutError as e:
        seen = BrokerState(secret=broker.secret, ok=False, error=e.args[0])
    if seen.ok:
        return seen
    shut = (await answering_port(observer, host, int(port))).error  # pika does not tell a refused connection
    return seen.model_copy(update={"error": shut}) if shut else seen


def _session(observer: Observer, broker: Broker, document: Mapping[str, str], host: str, port: int) -> BrokerState:
    """Raises `TimeoutError` with the reason if no session opens in time."""
    import pika
    from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
    from pika.exceptions import AMQPError

    parameters, limited = _parameters(observer, document, host, port), _limited()
    try:
        with observer.phase("connect"):
            connection = pika.BlockingConnection(parameters, _impl_class=limited)
    except AMQPConnectorStackTimeout:  # no class of AMQPError
        observer.over(_STACK_TIMEOUT_S)
        raise TimeoutError(phrase("the broker did not open a session within {:.0f} s", _STACK_TIMEOUT_S)) from None
    except (AMQPError, OSError) as e:
        _refuse_flood(limited, broker)
        if "timeout" in repr(e).lower():  # pika has no one class for it
            observer.over(_TIMEOUT_S)
            raise TimeoutError(_why(e)) from None
        return BrokerState(secret=broker.secret, ok=False, error=_why(e))
    try:
        queues = _queues(connection, broker.queues)
        dead_letters = _queues(connection, broker.dead_letter_queues)
        connection.close()
    except AMQPError as e:
        _refuse_flood(limited, broker)
        error = phrase("the broker ended the session: {}", _why(e))
        if limited.late:
            error = phrase("the broker did not answer within {:.0f} s", _SESSION_S)
        return BrokerState(secret=broker.secret, ok=False, error=error)
    return BrokerState(secret=broker.secret, ok=True, queues=queues, dead_letters=dead_letters)


def _parameters(observer: Observer, document: Mapping[str, str], host: str, port: int) -> Any:
    """Where and how to connect, by the document of the broker's secret."""
    import pika

    address, port = observer.dial.address(host, port)
    encrypted = document.get("tls", "true") == "true"
    return pika.ConnectionParameters(
        host=address,
        port=port,
        virtual_host=document.get("vhost", "/"),
        credentials=pika.PlainCredentials(document.get("username", ""), document.get("password", "")),
        ssl_options=pika.SSLOptions(observer.dial.trust_of("broker"), host) if encrypted else None,
        socket_timeout=_TIMEOUT_S,
        stack_timeout=_STACK_TIMEOUT_S,
        blocked_connection_timeout=_TIMEOUT_S,
        heartbeat=0,
    )


def _limited() -> Any:
    """Returns pika's connection class with the guard and a limit: it ends the session before it keeps more than
    MOST_BYTES.

    pika itself keeps a frame of up to 4 GB in memory.
    """
    from pika.adapters.select_connection import SelectConnection
    from pika.exceptions import AMQPConnectionError

    ends = time.monotonic() + _SESSION_S

    class Limited(SelectConnection):  # type: ignore[misc]
        flooded = late = False
        taken = 0

        def _send_method(self, channel_number: int, method: Any, content: Any = None) -> None:
            refuse_amqp_writes(method)
            super()._send_method(channel_number, method, content)

        def _on_data_available(self, data_in: bytes) -> None:
            self.taken += len(data_in)
            if time.monotonic() > ends:  # pika waits as long as heartbeats come
                Limited.late = True
                raise AMQPConnectionError
            if self.taken > MOST_BYTES:
                Limited.flooded = True
                raise AMQPConnectionError
            super()._on_data_available(data_in)

    return Limited


def _refuse_flood(limited: Any, broker: Broker) -> None:
    """Raises `Unobserved` if the broker sent more than the limit."""
    if limited.flooded:
        raise unknown(
            "too-little-data", phrase("the broker of {} sent more than {} kB", broker.secret, MOST_BYTES // 1_000)
        )


def _queues(connection: Any, names: Sequence[str]) -> tuple[Queue, ...]:
    """Declares each queue passively. A refusal closes the channel, so the next queue gets a new channel. Raises an
    `AMQPError` of pika if the whole session has ended.
    """
    from pika.exceptions import AMQPError

    channel, found = None, []
    for name in names:
        try:
            channel = channel or connection.channel()
            declared = channel.queue_declare(name, passive=True).method
        except AMQPError as e:
            if not connection.is_open:
                raise
            channel = None
            found.append(Queue(name=name, error=_why(e)))
        else:
            found.append(Queue(name=name, messages=declared.message_count, consumers=declared.consumer_count))
    return tuple(found)


def _why(error: Exception) -> str:
    text = " ".join(str(a) for a in error.args) or type(error).__name__
    if "ACCESS_REFUSED" in text or type(error).__name__ == "ProbableAuthenticationError":
        return phrase("access refused: user, password or permission ({})", text)
    if "no queue" in text:
        return phrase("there is no such queue ({})", text)
    if "vhost" in text or "(530)" in text:  # AMQP 0-9-1, reply code not-allowed
        return phrase("the virtual host is not there or not allowed ({})", text)
    if type(error).__name__ == "ProbableAccessDeniedError":
        return phrase("it did not open a session for this user and virtual host ({})", text)
    return f"{type(error).__name__}: {text}"
