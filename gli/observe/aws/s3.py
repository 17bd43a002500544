"""S3 buckets: whether they exist, are private, and are readable by their distribution only.

Source of truth: s3 HeadBucket, HeadObject, GetPublicAccessBlock (and the account's own, of s3control), GetBucketPolicy,
GetBucketLifecycleConfiguration; for the key of a bucket kms GetKeyPolicy, and CloudFront's developer guide, "Restrict
access to an Amazon S3 origin", for what its policy has to allow.
"""

from __future__ import annotations

import re
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from gli.common.sentences import Said, phrase
from gli.config.services import Frontend
from gli.observe.aws.identity import caller_identity
from gli.observe.aws.policy_documents import named_in, statements_of, values_of
from gli.observe.data.secrets import key_arn
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe

_IDENTITY = re.compile(r"arn:aws[a-z-]*:iam::cloudfront:user/CloudFront Origin Access Identity (.+)")


class Bucket(Observation):
    """Whether a bucket exists, and in which region."""

    name: str
    exists: bool
    region: str | None = None


class IndexObject(Observation):
    """The index page in the bucket."""

    exists: bool
    content_type: str = ""
    etag: str | None = None
    modified: datetime | None = None


class PublicAccessBlock(Observation):
    """Which of the four settings that keep a bucket private are off."""

    off: tuple[str, ...]


class BucketSettings(Observation):
    """Versioning and encryption of a bucket."""

    name: str
    versioning: str
    """`Enabled`, `Suspended`, or `never enabled`."""
    encryption: str | None = None
    """The default algorithm, `AES256` or `aws:kms`; None: no default encryption."""
    key: str | None = None
    """The key of KMS that it names; None: one of AWS's."""


class Ending(Observation):
    """One lifecycle rule that takes newest objects away: it deletes them, or moves them where a GET fails."""

    id: str
    prefix: str
    """The beginning of the keys that it is about; empty: all."""
    days: int
    """How many days after the upload; 0: on a date."""


class Grant(Observation):
    """One Allow statement of a bucket policy."""

    principals: tuple[str, ...]
    actions: tuple[str, ...]
    source_arns: tuple[str, ...]
    """The values of the condition `aws:SourceArn`: the resources on whose behalf an AWS service may act."""

    @property
    def identities(self) -> tuple[str, ...]:
        """The ids of the origin access identities among the principals."""
        return tuple(found[1] for p in self.principals if (found := _IDENTITY.fullmatch(p)))


class BucketPolicy(Observation):
    """The grants of a bucket's policy. `exists` is false if the bucket has no policy."""

    exists: bool
    grants: tuple[Grant, ...] = ()
    refuses_reads: bool = False
    """A Deny without a condition keeps everybody, or CloudFront, from reading objects."""


@probe()
async def bucket(observer: Observer, frontend: Frontend) -> Bucket:
    """The frontend's bucket."""
    name = str(frontend.bucket)
    try:
        answer = await observer.aws.call(observer, "s3", "head_bucket", Bucket=name)
    except AwsError as e:
        if e.code in ("404", "NoSuchBucket"):
            return Bucket(name=name, exists=False)
        raise
    except Unobserved as e:
        if e.unknown.cause != "access-denied":
            raise
        # a HEAD answer has no body that could tell the two cases apart
        why = f"{e.unknown.action} is denied on {name}, or it is another account's"
        raise unknown("access-denied", why, action=e.unknown.action) from None
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return Bucket(name=name, exists=True, region=answer.get("BucketRegion") or headers.get("x-amz-bucket-region"))


@probe()
async def index_object(observer: Observer, frontend: Frontend) -> IndexObject:
    """The frontend's index.html in its folder of the bucket, without its content."""
    try:
        answer = await observer.aws.call(
            observer, "s3", "head_object", Bucket=str(frontend.bucket), Key=frontend.index_key
        )
    except AwsError as e:
        if e.code in ("404", "NoSuchKey", "NoSuchBucket"):
            return IndexObject(exists=False)
        raise
    return IndexObject(
        exists=True, content_type=answer["ContentType"], etag=answer["ETag"], modified=answer["LastModified"]
    )


@probe()
async def public_access_block(observer: Observer, frontend: Frontend) -> PublicAccessBlock:
    """Which of the four public access blocks are off. A block of the account applies to all of its buckets."""
    off = await _blocks_off(observer, "s3", Bucket=str(frontend.bucket))
    if off:
        account = (await observer.see(caller_identity)).account
        everywhere = await _blocks_off(observer, "s3control", AccountId=account)
        off = tuple(setting for setting in off if setting in everywhere)
    return PublicAccessBlock(off=off)


async def _blocks_off(observer: Observer, service: str, **whose: Any) -> tuple[str, ...]:
    """The blocks that are off, of a bucket or an account; all of them if there is no configuration."""
    settings = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    try:
        answer = await observer.aws.call(observer, service, "get_public_access_block", **whose)
    except AwsError as e:
        if e.code == "NoSuchPublicAccessBlockConfiguration":
            return settings
        raise
    configuration = answer["PublicAccessBlockConfiguration"]
    return tuple(s for s in settings if not configuration.get(s))


@probe()
async def bucket_settings(observer: Observer, frontend: Frontend) -> BucketSettings:
    """Versioning and default encryption of the bucket."""
    name = str(frontend.bucket)
    versioning = await observer.aws.call(observer, "s3", "get_bucket_versioning", Bucket=name)
    encryption, key = None, None
    try:
        answer = await observer.aws.call(observer, "s3", "get_bucket_encryption", Bucket=name)
        rules = answer["ServerSideEncryptionConfiguration"].get("Rules") or []
        defaults = [r.get("ApplyServerSideEncryptionByDefault") or {} for r in rules]
        # A rule may set only how bucket keys are used: S3 then encrypts with its own keys, which is its default.
        encryption = next((d["SSEAlgorithm"] for d in defaults if d), "AES256" if rules else None)
        key = next((d.get("KMSMasterKeyID") for d in defaults if d), None)
    except AwsError as e:
        if e.code != "ServerSideEncryptionConfigurationNotFoundError":
            raise
    return BucketSettings(
        name=name, versioning=versioning.get("Status", "never enabled"), encryption=encryption, key=key
    )


@probe()
async def closed_key(observer: Observer, frontend: Frontend) -> Said | None:
    """Why CloudFront can't read what is uploaded to the bucket from now on, because of the key that encrypts it; None:
    it can, or the key is one of another account. Objects keep the encryption that they were uploaded with.
    """
    settings = await observer.see(bucket_settings, frontend)
    if not (settings.encryption or "").startswith("aws:kms"):
        return None
    if settings.key is None or "alias/aws/" in settings.key:
        return phrase("AWS's own key for S3, which CloudFront may not use")
    key = await key_of(observer, frontend, settings.key)
    region, account = key.split(":")[3:5]
    if account != (await observer.see(caller_identity)).account:
        return None
    try:
        if "alias/" in key:  # the policy is asked by the key's own id
            key = (await observer.aws.call(observer, "kms", "describe_key", region=region, KeyId=key))["KeyMetadata"][
                "Arn"
            ]
        answer = await observer.aws.call(
            observer, "kms", "get_key_policy", region=region, KeyId=key, PolicyName="default"
        )
    except AwsError as e:
        if e.code != "NotFoundException":  # another check says so
            raise
        return None
    if any(map(_lets_cloudfront_decrypt, statements_of(answer["Policy"]))):
        return None
    return phrase("the key {}, whose policy lets CloudFront not decrypt", settings.key)


async def key_of(observer: Observer, frontend: Frontend, key: str) -> str:
    """The ARN of the key that the bucket's settings name by its ARN, its id or its alias: in the bucket's region."""
    there, identity = await observer.see(bucket, frontend), await observer.see(caller_identity)
    return key_arn(key, identity.arn.split(":")[1], there.region or identity.region, identity.account)


def _lets_cloudfront_decrypt(statement: dict[str, Any]) -> bool:
    named = {"*", "cloudfront.amazonaws.com"} & {str(name) for name in named_in(statement.get("Principal"))}
    able = any(fnmatchcase("kms:decrypt", str(action).lower()) for action in values_of(statement.get("Action")))
    return statement.get("Effect") == "Allow" and bool(named) and able


@probe()
async def bucket_endings(observer: Observer, frontend: Frontend) -> tuple[Ending, ...]:
    """The lifecycle rules of the bucket that end objects which are not replaced. Rules for objects with a tag or of a
    size are left out: no listing tells which objects they are about.
    """
    try:
        answer = await observer.aws.call(
            observer, "s3", "get_bucket_lifecycle_configuration", Bucket=str(frontend.bucket)
        )
    except AwsError as e:
        if e.code == "NoSuchLifecycleConfiguration":
            return ()
        raise
    return tuple(ending for rule in answer["Rules"] for ending in _endings(rule))


def _endings(rule: dict[str, Any]) -> list[Ending]:
    filtered = rule.get("Filter") or {}
    both = filtered.get("And") or {}
    narrow = {*filtered, *both} - {"And", "Prefix"}
    if rule["Status"] != "Enabled" or narrow:
        return []
    prefix = rule.get("Prefix") or filtered.get("Prefix") or both.get("Prefix") or ""
    expires = rule.get("Expiration") or {}
    ends = [expires] if {"Days", "Date"} & expires.keys() else []
    ends += [t for t in rule.get("Transitions") or [] if t.get("StorageClass") in ("GLACIER", "DEEP_ARCHIVE")]
    return [Ending(id=rule.get("ID") or "", prefix=prefix, days=int(e.get("Days") or 0)) for e in ends]


@probe()
async def bucket_policy(observer: Observer, frontend: Frontend) -> BucketPolicy:
    """The Allow statements of the bucket's policy."""
    try:
        answer = await observer.aws.call(observer, "s3", "get_bucket_policy", Bucket=str(frontend.bucket))
    except AwsError as e:
        if e.code == "NoSuchBucketPolicy":
            return BucketPolicy(exists=False)
        raise
    statements = statements_of(answer["Policy"])
    return BucketPolicy(
        exists=True,
        grants=tuple(_grant(s) for s in statements if s.get("Effect") == "Allow"),
        refuses_reads=any(map(_refuses_reads, statements)),
    )


def _refuses_reads(statement: dict[str, Any]) -> bool:
    named = {"*", "cloudfront.amazonaws.com"} & {str(name) for name in named_in(statement.get("Principal"))}
    able = any(fnmatchcase("s3:getobject", str(action).lower()) for action in values_of(statement.get("Action")))
    return statement.get("Effect") == "Deny" and not statement.get("Condition") and bool(named) and able


def _grant(statement: dict[str, Any]) -> Grant:
    everybody = "NotPrincipal" in statement  # everybody but the named
    principals = ("*",) if everybody else named_in(statement.get("Principal", "*"))
    sources = [
        arn
        for operator, keys in statement.get("Condition", {}).items()
        if operator.startswith(("StringEquals", "ArnEquals", "StringLike", "ArnLike"))
        for key, value in keys.items()
        if key.lower() == "aws:sourcearn"
        for arn in values_of(value)
    ]
    actions = values_of(statement.get("Action", "*"))
    return Grant(principals=principals, actions=actions, source_arns=tuple(sources))
