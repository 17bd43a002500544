"""RabbitMQ as the application reaches it. The checks publish and consume nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw

if TYPE_CHECKING:
    from gli.config.data_tier import Broker
    from gli.observe.data.amqp import BrokerState

MOST_READY = 1000


def test_mq_amqp_login(broker_state: BrokerState) -> None:
    """The application's credentials open a session in its virtual host."""
    assert broker_state.ok, saw(broker_state.error, expected=phrase("a session with {}", broker_state.secret))


def test_mq_consumers(broker_state: BrokerState) -> None:
    """Every work queue exists and has a consumer."""
    assert broker_state.ok, saw(broker_state.error, expected=phrase("a session to ask with"))
    idle = [
        phrase("{}: {}", q.name, q.error or phrase("no consumer"))
        for q in broker_state.queues
        if q.error or not q.consumers
    ]
    assert not idle, saw(listed(idle), expected=phrase("a consumer on each work queue"))


def test_mq_queue_depth(broker_state: BrokerState) -> None:
    """No work queue has a backlog."""
    assert broker_state.ok, saw(broker_state.error, expected=phrase("a session to ask with"))
    deep = [phrase("{}: {}", q.name, q.messages) for q in broker_state.queues if q.messages > MOST_READY]
    assert not deep, saw(listed(deep), expected=phrase("at most {} messages ready in each queue", MOST_READY))


def test_mq_dlq_empty(broker_state: BrokerState, target: Broker) -> None:
    """No message was given up: the dead-letter queues hold no more messages than the environment allows."""
    assert broker_state.ok, saw(broker_state.error, expected=phrase("a session to ask with"))
    most = target.most_dead_letters
    full = [
        phrase("{}: {}", q.name, q.error or q.messages)
        for q in broker_state.dead_letters
        if q.error or q.messages > most
    ]
    assert not full, saw(listed(full), expected=phrase("at most {} messages in each dead-letter queue", most))
