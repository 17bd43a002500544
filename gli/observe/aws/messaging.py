"""The message broker as AWS sees it. Source of truth: mq ListBrokers."""

from __future__ import annotations

from gli.environments import Broker
from gli.observe.observation import Observation
from gli.observe.probe import Observer, probe


class AmazonMq(Observation):
    """A broker of Amazon MQ."""

    name: str
    state: str
    """As Amazon MQ names it (`RUNNING`, `CRITICAL_ACTION_REQUIRED`, …), or `missing`."""


@probe()
async def amazon_mq(observer: Observer, broker: Broker) -> AmazonMq:
    """The environment's broker, where Amazon MQ runs it."""
    name = str(broker.amazon_mq)
    answer = await observer.aws.call(observer, "mq", "list_brokers")
    states = {b["BrokerName"]: b["BrokerState"] for b in answer["BrokerSummaries"]}
    return AmazonMq(name=name, state=states.get(name, "missing"))
