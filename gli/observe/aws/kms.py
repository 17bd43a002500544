"""The keys without which secrets, database, cache, buckets, images, logs and topics can't be opened.

Source of truth: kms DescribeKey.
"""

from __future__ import annotations

from contextlib import suppress

from gli.observe.aws.cloudwatch_alarms import log_groups
from gli.observe.aws.ecr import registry_repositories
from gli.observe.aws.elasticache import replication_group
from gli.observe.aws.identity import caller_identity
from gli.observe.aws.rds import database_instance
from gli.observe.aws.s3 import bucket_settings
from gli.observe.aws.sns import topics
from gli.observe.data.secrets import secret_states
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, Unobserved
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
    """Every key that encrypts a secret, the database, the cache, a bucket, an image repository, a log group or a topic
    of the environment, without those of AWS that bear an alias. One call each. What could not be observed is left out:
    its own checks say so.
    """
    opens: dict[str, list[str]] = {}
    for id_, secret in (await observer.see(secret_states)).items():
        if secret.key:
            opens.setdefault(secret.key, []).append(id_)
    for key, name in await _of_other_parts(observer):
        opens.setdefault(key, []).append(name)
    return tuple([await _key(observer, arn, tuple(sorted(names))) for arn, names in sorted(opens.items())])


async def _of_other_parts(observer: Observer) -> list[tuple[str, str]]:
    """(key, what it encrypts) of everything but the secrets."""
    environment = observer.environment
    found: list[tuple[str | None, str]] = []
    if environment.database and environment.database.instance:
        with suppress(Unobserved):
            database = await observer.see(database_instance, environment.database)
            found.append((database.key, database.id))
    for frontend in environment.frontends.values():
        if frontend.bucket:
            with suppress(Unobserved):
                found.append(((await observer.see(bucket_settings, frontend)).key, frontend.bucket))
    if environment.cache and environment.cache.replication_group:
        with suppress(Unobserved):
            cache = await observer.see(replication_group, environment.cache)
            found.append((cache.key, cache.id))
    if any(service.image for service in environment.services.values()):
        with suppress(Unobserved):
            found += [(r.key, r.name) for r in (await observer.see(registry_repositories)).values()]
    with suppress(Unobserved):
        found += [(group.key, group.name) for group in (await observer.see(log_groups)).values()]
    if environment.alarms and environment.alarms.topics:
        with suppress(Unobserved):
            found += [(topic.key, topic.name) for topic in (await observer.see(topics)).values()]
    account = (await observer.see(caller_identity)).account
    return [(key, name) for key, name in found if key and "alias/aws/" not in key and _account(key) in ("", account)]


def _account(key: str) -> str:
    """The account in a key's ARN; empty for an id or an alias. A key of another account can't be asked for."""
    return key.split(":")[4] if key.startswith("arn:") else ""


async def _key(observer: Observer, arn: str, names: tuple[str, ...]) -> Key:
    try:
        answer = await observer.aws.call(observer, "kms", "describe_key", KeyId=arn)
    except AwsError as e:
        if e.code != "NotFoundException":
            raise
        return Key(arn=arn, state="missing", opens=names)
    return Key(arn=arn, state=answer["KeyMetadata"]["KeyState"], opens=names)
