"""The frontends' buckets: they exist, are private, and only their distribution can read them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gli.common.sentences import listed, phrase, saw
from gli.observe.engine.observation import one_of, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gli.config.environments import Environment
    from gli.config.services import Frontend
    from gli.observe.aws.cloudfront import Distribution
    from gli.observe.aws.s3 import Bucket, BucketPolicy, BucketSettings, Ending, IndexObject, PublicAccessBlock
    from gli.observe.edge.frontend import Asset, Index
    from gli.observe.edge.http import HttpExchange
    from gli.observe.release.builds import Build

_VERSIONING = frozenset({"Enabled", "Suspended", "never enabled"})
_ENCRYPTION = frozenset({"AES256", "aws:kms", "aws:kms:dsse", "aws:fsx", "aws:backup"})


def test_s3_bucket_exists(bucket: Bucket, environment: Environment) -> None:
    """The bucket exists, belongs to us and is in the environment's region."""
    assert environment.aws is not None
    assert bucket.exists, saw(phrase("none"), expected=phrase("the bucket {}", bucket.name))
    if bucket.region is None:
        raise unknown("too-little-data", phrase("S3 does not say in which region {} is", bucket.name))
    assert bucket.region == environment.aws.region, saw(bucket.region, expected=environment.aws.region)


def test_s3_index_object(
    index_object: IndexObject, landing: HttpExchange, index: Index, build: Build, target: Frontend
) -> None:
    """The deploy uploaded its page as HTML. If viewers get this very object, it is the page of the branch's head."""
    name = f"{target.bucket}/{target.index_key}"
    assert index_object.exists, saw(phrase("none"), expected=name)
    kind = index_object.content_type.partition(";")[0].strip()
    assert kind == "text/html", saw(kind, expected=phrase("{} as text/html", name))
    if landing.headers.get("etag", "").removeprefix("W/") == index_object.etag:
        assert build.is_named(index.build, target.version), saw(
            index.build or phrase("no build tag"),
            expected=phrase("the build {} in {}", build.expected(target.version), name),
        )


def test_s3_public_access_block(public_access_block: PublicAccessBlock, target: Frontend) -> None:
    """All four public access blocks of the bucket are on."""
    assert not public_access_block.off, saw(
        phrase("{} off", listed(public_access_block.off)),
        expected=phrase("all four public access blocks of {} on", target.bucket),
    )


def test_s3_policy_oac_only(
    bucket_policy: BucketPolicy, closed_key: str | None, distribution: Distribution, target: Frontend
) -> None:
    """The bucket's policy lets its own distribution read and list objects, and allows nobody else anything. The key
    that encrypts what is uploaded lets CloudFront decrypt.
    """
    expected = phrase("only cloudfront.amazonaws.com, s3:GetObject, for {}", distribution.id)
    assert bucket_policy.exists, saw(phrase("no policy on {}", target.bucket), expected=expected)
    assert any("s3:getobject" in map(str.lower, g.actions) for g in bucket_policy.grants), saw(
        phrase("no Allow statement") if not bucket_policy.grants else phrase("none for s3:GetObject"), expected=expected
    )
    assert not bucket_policy.refuses_reads, saw(phrase("a Deny of s3:GetObject"), expected=expected)
    assert closed_key is None, saw(
        closed_key, expected=phrase("CloudFront to decrypt what is uploaded to {}", target.bucket)
    )
    origins = distribution.serving_page(target).origins
    for grant in bucket_policy.grants:
        more = [action for action in grant.actions if action.lower() not in ("s3:getobject", "s3:listbucket")]
        assert not more, saw(phrase("{} allowed", listed(more)), expected=expected)
        if grant.identities and len(grant.identities) == len(grant.principals):
            strange = [i for i in grant.identities if not any(o.reads_as(i) for o in origins)]
            assert not strange, saw(phrase("the identity {} let in", listed(strange)), expected=expected)
            continue
        assert grant.principals == ("cloudfront.amazonaws.com",), saw(
            phrase("{} let in", listed(grant.principals)), expected=expected
        )
        own = [arn for arn in grant.source_arns if arn.rpartition("/")[2] == distribution.id]
        assert len(own) == len(grant.source_arns) == 1, saw(
            phrase("a grant to {}", listed(grant.source_arns) if grant.source_arns else phrase("any distribution")),
            expected=expected,
        )


def test_s3_keeps_the_page(bucket_endings: Sequence[Ending], assets: Sequence[Asset], target: Frontend) -> None:
    """No lifecycle rule deletes or archives the page's live files: an upload that skips what is unchanged never renews
    them.
    """
    own = [url for url in (urlsplit(a.url) for a in assets) if url.hostname == target.host]
    keys = [target.index_key, *(target.key_of(url.path) for url in own)]
    ending = [
        phrase("the rule {} after {} days: {}", e.id, e.days, next(key for key in keys if key.startswith(e.prefix)))
        for e in bucket_endings
        if any(key.startswith(e.prefix) for key in keys)
    ]
    assert not ending, saw(listed(ending), expected=phrase("no live file of {} to end by itself", target.bucket))


def test_s3_versioning(bucket_settings: BucketSettings) -> None:
    """Objects of an earlier release can be brought back."""
    one_of(_VERSIONING, bucket_settings.versioning, phrase("the versioning of {}", bucket_settings.name))
    assert bucket_settings.versioning == "Enabled", saw(
        bucket_settings.versioning, expected=phrase("versioning of {} Enabled", bucket_settings.name)
    )


def test_s3_encryption(bucket_settings: BucketSettings) -> None:
    """Objects are encrypted at rest by default."""
    assert bucket_settings.encryption, saw(
        phrase("none"), expected=phrase("a default encryption of {}", bucket_settings.name)
    )
    one_of(_ENCRYPTION, bucket_settings.encryption, phrase("the encryption of {}", bucket_settings.name))
