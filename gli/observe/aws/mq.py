"""The message broker in Amazon MQ. Source of truth: mq ListBrokers and DescribeBroker."""

from __future__ import annotations

from gli.common.sentences import phrase
from gli.config.data_tier import Broker
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe


class AmazonMq(Observation):
    """A broker of Amazon MQ."""

    name: str
    state: str
    """The state in Amazon MQ (`RUNNING`, `CRITICAL_ACTION_REQUIRED`, …), or `missing`."""
    id: str | None = None


@probe()
async def amazon_mq(observer: Observer, broker: Broker) -> AmazonMq:
    """The environment's broker in Amazon MQ."""
    name = str(broker.amazon_mq)
    answer = await observer.aws.call(observer, "mq", "list_brokers")
    found = next((b for b in answer["BrokerSummaries"] if b["BrokerName"] == name), None)
    return AmazonMq(name=name, state=found["BrokerState"] if found else "missing", id=found and found["BrokerId"])


class BrokerNetwork(Observation):
    """The security groups and subnets of a broker, by id, and whether strangers reach it."""

    groups: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    public: bool | None = None
    """Whether it has public addresses, where no security group guards it. None: Amazon MQ does not tell."""


@probe()
async def broker_network(observer: Observer, broker: Broker) -> BrokerNetwork | None:
    """Where the broker stands; None if Amazon MQ does not run the broker."""
    if broker.amazon_mq is None:
        return None
    listed = await observer.see(amazon_mq, broker)
    if listed.id is None:
        raise unknown("not-found", phrase("Amazon MQ has no broker {}", listed.name))
    described = await observer.aws.call(observer, "mq", "describe_broker", BrokerId=listed.id)
    return BrokerNetwork(
        groups=tuple(sorted(described["SecurityGroups"])),
        subnets=tuple(sorted(described.get("SubnetIds") or [])),
        public=described.get("PubliclyAccessible"),
    )


@probe()
async def broker_groups(observer: Observer, broker: Broker) -> tuple[str, ...] | None:
    """The ids of the security groups attached to the broker; None if Amazon MQ does not run the broker."""
    attached = await observer.see(broker_network, broker)
    return None if attached is None else attached.groups
