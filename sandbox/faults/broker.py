"""Faults of the broker. Without an installed broker they fail with a message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pika

from sandbox.aws.seed_watching import OF_A_BROKER
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import relay_mode
from sandbox.rabbitmq import ABSENT, RabbitMQ
from sandbox.site import required

_BACKLOG = 1200
_MEASURED_S = 60.0
"""Seconds in which CloudWatch has what the broker measures of a change, also on a busy machine."""
_BROKER = ["mq-amqp-login", "mq-consumers", "mq-queue-depth"]


@fault("broker-password-changed", turns_red=["mq-amqp-login", "mq-consumers", "mq-queue-depth"])
def broker_password_changed(sandbox: Sandbox) -> Iterator[None]:
    """The application's user has another password in the broker than in its secret."""
    broker = _broker(sandbox)
    sandbox.run(broker.change_password("not-the-one-in-the-secret"))
    yield
    sandbox.run(broker.change_password(sandbox.site.credentials.amqp.password))


@fault("queues-without-consumers", turns_red=["mq-consumers"])
def queues_without_consumers(sandbox: Sandbox) -> Iterator[None]:
    """The workers are gone: no work queue has a consumer."""
    broker = _broker(sandbox)
    broker.leave_the_queues()
    yield
    broker.consume()


@fault("queue-backlog", turns_red=["mq-consumers", "mq-queue-depth"])
def queue_backlog(sandbox: Sandbox) -> Iterator[None]:
    """The workers are gone, and many messages wait in the first work queue."""
    broker = _broker(sandbox)
    broker.leave_the_queues()
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = connection.channel()
    for _ in range(_BACKLOG):
        channel.basic_publish("", broker.queues[0], b"{}")
    connection.close()
    yield
    broker.consume()


@fault("dead-letters", turns_red=["mq-dlq-empty"])
def dead_letters(sandbox: Sandbox) -> Iterator[None]:
    """The dead-letter queue holds a message that no worker could process."""
    broker = _broker(sandbox)
    queue = broker.dead_letter_queues[0]
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"{}")
    connection.close()
    yield
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    connection.channel().queue_purge(queue)
    connection.close()


@fault("broker-wants-action", turns_red=["mq-broker-running"])
def broker_wants_action(sandbox: Sandbox) -> Iterator[None]:
    """Amazon MQ reports that the broker needs a manual action before it can go on."""
    aws, broker = required(sandbox.environment.aws), required(sandbox.environment.broker)
    state = "CRITICAL_ACTION_REQUIRED"
    undo = sandbox.aws_overlay("amazon-mq", region=aws.region, name=broker.amazon_mq, state=state)
    yield
    sandbox.aws_overlay("amazon-mq", **undo)


def _broker(sandbox: Sandbox) -> RabbitMQ:
    if sandbox.broker is None:
        raise LookupError(ABSENT)
    sandbox.run(sandbox.broker.until_ready())  # the sandbox is ready before its broker, which starts slowest
    return sandbox.broker


@fault("broker-unreachable", turns_red=_BROKER)
def broker_unreachable(sandbox: Sandbox) -> Iterator[None]:
    """Connections to the broker fail, for the API too."""
    with relay_mode(sandbox, "refuse", "broker", "api-broker"):
        yield


@fault("broker-blocks-publishers", turns_red=["mq-not-blocked"])
def broker_blocks_publishers(sandbox: Sandbox) -> Iterator[None]:
    """The broker uses more memory than its limit and blocks whoever publishes; login and consumers look well."""
    broker = _broker(sandbox)
    sandbox.run(broker.limit_memory("absolute 1MB"))
    until_measured(sandbox, lambda m: m["RabbitMQMemUsed"] > m["RabbitMQMemLimit"])
    yield
    sandbox.run(broker.limit_memory("0.4"))
    until_measured(sandbox, lambda m: m["RabbitMQMemUsed"] < m["RabbitMQMemLimit"])


@fault("worker-stuck", turns_red=["mq-unacked"])
def worker_stuck(sandbox: Sandbox) -> Iterator[None]:
    """A worker takes every message and finishes none: none waits in a queue."""
    broker = _broker(sandbox)
    connection = pika.BlockingConnection(pika.URLParameters(broker.url + "?heartbeat=0"))
    channel = connection.channel()
    channel.basic_consume(broker.queues[0], lambda *_: None, auto_ack=False, arguments={"x-priority": 100})

    def publish() -> None:
        """The broker gives a message to another worker whenever this one is slow, so more messages follow."""
        for _ in range(_BACKLOG // 4):
            channel.basic_publish("", broker.queues[0], b"{}")
        connection.process_data_events(time_limit=0.5)

    until_measured(sandbox, lambda m: m["MessageUnacknowledgedCount"] >= _BACKLOG, publish)
    yield
    connection.close()
    # below the backlog there may still be more than the check allows
    until_measured(sandbox, lambda m: not m["MessageUnacknowledgedCount"])


def until_measured(
    sandbox: Sandbox,
    holds: Callable[[Mapping[str, float]], bool],
    wait: Callable[[], object] = lambda: time.sleep(0.2),
) -> None:
    """Wait until CloudWatch has what the broker measures of a change. Raises TimeoutError if it never has."""
    end = time.monotonic() + _MEASURED_S
    while not holds(_in_cloudwatch(sandbox)):
        if time.monotonic() > end:
            raise TimeoutError(f"CloudWatch has no measurement of the change after {_MEASURED_S:g} s")
        wait()


def _in_cloudwatch(sandbox: Sandbox) -> dict[str, float]:
    """The newest value of each metric of the broker."""
    name, now = required(sandbox.environment.broker).amazon_mq, datetime.now(UTC)
    answer = sandbox.aws("cloudwatch").get_metric_data(
        MetricDataQueries=[
            {
                "Id": f"m{n}",
                "Label": metric,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/AmazonMQ",
                        "MetricName": metric,
                        "Dimensions": [{"Name": "Broker", "Value": name}],
                    },
                    "Period": 1,
                    "Stat": "Maximum",
                },
            }
            for n, metric in enumerate(OF_A_BROKER)
        ],
        StartTime=now - timedelta(seconds=1),
        EndTime=now,
    )
    return {result["Label"]: result["Values"][0] for result in answer["MetricDataResults"]}
