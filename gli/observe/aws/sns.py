"""The topics that alarms notify: who subscribes to them, and whether the message of an alarm gets through.

Source of truth: sns ListSubscriptionsByTopic, GetSubscriptionAttributes and GetTopicAttributes; the developer guide,
"Amazon SNS subscription filter policies".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from gli.common.sentences import Said, phrase
from gli.observe.aws.identity import caller_identity
from gli.observe.aws.policy_documents import named_in, statements_of, values_of
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe


class Topic(Observation):
    """An SNS topic and its subscriptions. `arn` is None if there is no topic of this name."""

    name: str
    arn: str | None
    refuses_alarms: Said | None = None
    """Why CloudWatch may not publish to it, although everything else about it looks well."""
    confirmed: tuple[str, ...] = ()
    """Protocols with a confirmed subscription that alarms pass, sorted."""
    key: str | None = None
    """The key of KMS that encrypts it; None: none does."""
    deaf: tuple[str, ...] = ()
    """Protocols with a confirmed subscription whose filter policy drops each message of an alarm, sorted."""
    pending: int = 0


@probe(deadline=20)
async def topics(observer: Observer) -> dict[str, Topic]:
    """Name to topic with its subscriptions, for the environment's topics. Two calls for each, and one for each
    subscription."""
    wanted = observer.environment.alarms.topics if observer.environment.alarms else ()
    identity = await observer.see(caller_identity)
    partition = identity.arn.split(":")[1]
    arns = {name: f"arn:{partition}:sns:{identity.region}:{identity.account}:{name}" for name in wanted}
    found = await asyncio.gather(*[_topic(observer, name, arn) for name, arn in arns.items()])
    return {topic.name: topic for topic in found}


async def _topic(observer: Observer, name: str, arn: str) -> Topic:
    try:
        answer = await observer.aws.call(observer, "sns", "list_subscriptions_by_topic", TopicArn=arn)
    except AwsError as e:
        if e.code in ("NotFound", "NotFoundException"):
            return Topic(name=name, arn=None)
        raise
    settings = await observer.aws.call(observer, "sns", "get_topic_attributes", TopicArn=arn)
    arns = [s["SubscriptionArn"] for s in answer["Subscriptions"]]
    protocols = {s["SubscriptionArn"]: s["Protocol"] for s in answer["Subscriptions"]}
    confirmed = [a for a in arns if a.startswith("arn:")]
    owners = {s["SubscriptionArn"]: s["Owner"] for s in answer["Subscriptions"]}
    account = arn.split(":")[4]  # another account does not show its subscriptions
    heard = [owners[a] != account or await _hears_alarms(observer, a) for a in confirmed]
    return Topic(
        name=name,
        arn=arn,
        refuses_alarms=_refusal(settings["Attributes"]),
        key=settings["Attributes"].get("KmsMasterKeyId") or None,
        confirmed=tuple(sorted({protocols[a] for a, hears in zip(confirmed, heard, strict=True) if hears})),
        deaf=tuple(sorted({protocols[a] for a, hears in zip(confirmed, heard, strict=True) if not hears})),
        pending=arns.count("PendingConfirmation"),  # a removed one is listed as Deleted for three days
    )


async def _hears_alarms(observer: Observer, subscription: str) -> bool:
    """Whether an alarm's message passes the filter policy of a subscription, as far as the policy can be judged."""
    try:
        answer = await observer.aws.call(observer, "sns", "get_subscription_attributes", SubscriptionArn=subscription)
    except AwsError as e:
        if e.code not in ("NotFound", "NotFoundException"):  # removed since it was listed
            raise
        return False
    attributes = answer["Attributes"]
    policy = json.loads(attributes.get("FilterPolicy") or "{}")
    body = attributes.get("FilterPolicyScope") == "MessageBody"
    return all(_passes(key, wanted, _OF_AN_ALARM if body else {}) for key, wanted in policy.items())


_ANYTHING = None


_OF_AN_ALARM: Mapping[str, str | None] = {"NewStateValue": "ALARM"} | dict.fromkeys(
    (
        *("AlarmName", "AlarmDescription", "AWSAccountId", "AlarmConfigurationUpdatedTimestamp", "NewStateReason"),
        *("StateChangeTime", "Region", "AlarmArn", "OldStateValue", "OKActions", "AlarmActions", "Trigger"),
        "InsufficientDataActions",
    ),
    _ANYTHING,
)
"""The members of an alarm's message, with the value that each alarm has there. A message has no attributes."""


def _passes(key: str, wanted: Any, message: Mapping[str, str | None]) -> bool:
    """Whether a message passes one key of a filter policy. What depends on the alarm, and operators that are not judged
    here, pass."""
    asked = values_of(wanted)
    if key.startswith("$"):  # `$or`
        return True
    if key not in message:
        return any(isinstance(each, dict) and each.get("exists") is False for each in asked)
    there = message[key]
    if there is _ANYTHING or isinstance(wanted, dict):
        return True
    return any(each == there if isinstance(each, str) else _is_met(each, there) for each in asked)


def _is_met(operator: Any, value: str) -> bool:
    if not isinstance(operator, dict):
        return False
    if "anything-but" in operator:
        return value not in values_of(operator["anything-but"])
    if "prefix" in operator:
        return value.startswith(str(operator["prefix"]))
    return operator.get("exists") is not False


def _refusal(attributes: Mapping[str, str]) -> Said | None:
    """Why CloudWatch may not publish to a topic with these attributes; None if it may, as far as they tell.

    AWS's own key for SNS lets no other service in, and nobody can change that key's policy.
    """
    if (attributes.get("KmsMasterKeyId") or "").endswith("alias/aws/sns"):
        return phrase("AWS's own key for SNS encrypts it, which CloudWatch may not use")
    if any(map(_lets_alarms_in, statements_of(attributes["Policy"]))):
        return None
    return phrase("its policy lets CloudWatch not publish")


def _lets_alarms_in(statement: Mapping[str, Any]) -> bool:
    """Whether a statement may let an alarm publish: for the service, or for everybody; conditions are not judged."""
    named = named_in(statement.get("Principal"))
    able = any(fnmatchcase("sns:publish", str(action).lower()) for action in values_of(statement.get("Action")))
    return statement.get("Effect") == "Allow" and able and bool({"*", "cloudwatch.amazonaws.com"}.intersection(named))
