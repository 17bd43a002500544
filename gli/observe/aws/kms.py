"""The customer's own keys, without which secrets can't be opened. Source of truth: kms DescribeKey."""

from __future__ import annotations

from gli.observe.data.secrets import secret_states
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe


class Key(Observation):
    """A KMS key. `state` is `missing` if KMS does not know it."""

    arn: str
    state: str
    """Enabled, Disabled, PendingDeletion, PendingImport, Unavailable, ..."""
    opens: tuple[str, ...]
    """What can't be opened without it, by name."""


@probe(deadline=20)
async def keys(observer: Observer) -> tuple[Key, ...]:
    """Every customer's key that encrypts a secret of the environment. One call each."""
    opens: dict[str, list[str]] = {}
    for id_, secret in (await observer.see(secret_states)).items():
        if secret.key:
            opens.setdefault(secret.key, []).append(id_)
    return tuple([await _key(observer, arn, tuple(sorted(names))) for arn, names in sorted(opens.items())])


async def _key(observer: Observer, arn: str, names: tuple[str, ...]) -> Key:
    try:
        answer = await observer.aws.call(observer, "kms", "describe_key", KeyId=arn)
    except AwsError as e:
        if e.code != "NotFoundException":
            raise
        return Key(arn=arn, state="missing", opens=names)
    return Key(arn=arn, state=answer["KeyMetadata"]["KeyState"], opens=names)
