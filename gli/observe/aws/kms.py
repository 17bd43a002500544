"""The keys without which secrets, database, cache, buckets, images, logs and topics can't be opened.

Source of truth: kms DescribeKey.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any

from gli.common.sentences import phrase
from gli.config.services import Frontend
from gli.observe.aws.cloudwatch_alarms import log_groups
from gli.observe.aws.ecr import registry_repositories
from gli.observe.aws.elasticache import replication_group
from gli.observe.aws.identity import caller_identity
from gli.observe.aws.rds import database_instance
from gli.observe.aws.s3 import bucket, bucket_settings, key_of
from gli.observe.aws.sns import topics
from gli.observe.data.secrets import secret_states
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, Unobserved, one_of
from gli.observe.engine.probe import Observer, probe

_STATES = frozenset(
    {
        *("Creating", "Enabled", "Disabled", "PendingDeletion", "PendingImport", "PendingReplicaDeletion"),
        *("Unavailable", "Updating"),
    }
)


class Key(Observation):
    """A KMS key. `state` is `missing` if KMS does not know it."""

    arn: str
    state: str
    """Enabled, Disabled, PendingDeletion, PendingImport, Unavailable, ..."""
    opens: tuple[str, ...]
    """What can't be opened without it, by name."""

    @property
    def usable(self) -> bool:
        """Whether KMS decrypts with it. While another region becomes the primary one, its state is Updating."""
        return self.state in ("Enabled", "Updating")


@probe(deadline=20)
async def keys(observer: Observer) -> tuple[Key, ...]:
    """Every key that encrypts a secret, the database, the cache, a bucket, an image repository, a log group or a topic
    of the environment, without those of AWS that bear an alias. One call each. A part that is not there has no key.
    Raises `Unobserved` where all known keys are enabled, and a part could not be observed.
    """
    opens: dict[str, list[str]] = {}
    for id_, secret in (await observer.see(secret_states)).items():
        if secret.key:
            opens.setdefault(secret.key, []).append(id_)
    found, unseen = await _of_other_parts(observer)
    for key, name in found:
        opens.setdefault(key, []).append(name)
    known = tuple([await _key(observer, arn, tuple(sorted(names))) for arn, names in sorted(opens.items())])
    if unseen and all(key.usable for key in known):
        raise unseen[0]
    return known


async def _of_other_parts(observer: Observer) -> tuple[list[tuple[str, str]], list[Unobserved]]:
    """(key, what it encrypts) of everything but the secrets; and why the other parts could not be observed."""
    unseen: list[Unobserved] = []
    found: list[tuple[str | None, str]] = []
    for part in _parts(observer):
        try:
            found += await part
        except Unobserved as e:
            if e.unknown.cause != "not-found":
                unseen.append(e)
    account = (await observer.see(caller_identity)).account
    ours = [(key, name) for key, name in found if key and "alias/aws/" not in key and _account(key) in ("", account)]
    return ours, unseen


def _parts(observer: Observer) -> Iterator[Coroutine[Any, Any, list[tuple[str | None, str]]]]:
    environment = observer.environment

    async def of_one(probe: Any, target: Any) -> list[tuple[str | None, str]]:
        part = await observer.see(probe, target)
        return [(part.key, part.id)]

    async def of_bucket(frontend: Frontend) -> list[tuple[str | None, str]]:
        if not (await observer.see(bucket, frontend)).exists:
            return []
        settings = await observer.see(bucket_settings, frontend)
        return [(settings.key and await key_of(observer, frontend, settings.key), settings.name)]

    async def of_all(probe: Any) -> list[tuple[str | None, str]]:
        return [(part.key, part.name) for part in (await observer.see(probe)).values()]

    if environment.database and environment.database.instance:
        yield of_one(database_instance, environment.database)
    for frontend in environment.frontends.values():
        if frontend.bucket:
            yield of_bucket(frontend)
    if environment.cache and environment.cache.replication_group:
        yield of_one(replication_group, environment.cache)
    if any(service.image for service in environment.services.values()):
        yield of_all(registry_repositories)
    yield of_all(log_groups)
    if environment.alarms and environment.alarms.topics:
        yield of_all(topics)


def _account(key: str) -> str:
    """The account in a key's ARN; empty for an id or an alias. A key of another account can't be asked for."""
    return key.split(":")[4] if key.startswith("arn:") else ""


async def _key(observer: Observer, arn: str, names: tuple[str, ...]) -> Key:
    """A key is known in its own region alone, which may be that of a bucket or of a registry."""
    region = arn.split(":")[3] if arn.startswith("arn:") else None
    try:
        answer = await observer.aws.call(observer, "kms", "describe_key", region=region, KeyId=arn)
    except AwsError as e:
        if e.code != "NotFoundException":
            raise
        return Key(arn=arn, state="missing", opens=names)
    state = one_of(_STATES, answer["KeyMetadata"]["KeyState"], phrase("the state of the key {}", arn))
    return Key(arn=arn, state=state, opens=names)
