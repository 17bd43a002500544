"""Faults of a bucket: who may read it, and how it stores objects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import CDN_SETTLED, encrypted_bucket, refusing, user_bucket


@fault("aws-denies-buckets", turns_red=["s3-bucket-exists", "s3-encryption", "kms-keys-usable"])
def aws_denies_buckets(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may not read any bucket; S3's refusal of a HEAD request has no body with the reason."""
    with refusing(sandbox, "s3", "AccessDenied"):
        yield


@fault("bucket-forgets-versions", turns_red=["s3-versioning"])
def bucket_forgets_versions(sandbox: Sandbox) -> Iterator[None]:
    """Versioning of the user frontend's bucket is off."""
    s3, bucket = sandbox.aws("s3"), user_bucket(sandbox)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    yield
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


@fault("bucket-in-the-clear", turns_red=["s3-encryption"])
def bucket_in_the_clear(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket has no default encryption."""
    s3, bucket = sandbox.aws("s3"), user_bucket(sandbox)
    before = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    s3.delete_bucket_encryption(Bucket=bucket)
    yield
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=before)


@fault("bucket-missing", turns_red=["s3-bucket-exists", "cdn-index-200"])
def bucket_missing(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket does not exist."""
    undo = sandbox.aws_overlay("bucket", name=user_bucket(sandbox), exists=False)
    yield
    sandbox.aws_overlay("bucket", **undo)


@fault("bucket-may-be-public", turns_red=["s3-public-access-block"])
def bucket_may_be_public(sandbox: Sandbox) -> Iterator[None]:
    """One of the public access blocks of the user frontend's bucket is off."""
    s3, bucket = sandbox.aws("s3"), user_bucket(sandbox)
    before = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={**before, "RestrictPublicBuckets": False})
    yield
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=before)


@contextmanager
def _policy(sandbox: Sandbox, change: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """Change the only statement of the user frontend's bucket policy."""
    s3, bucket = sandbox.aws("s3"), user_bucket(sandbox)
    before = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    policy = json.loads(before)
    change(policy["Statement"][0])
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    time.sleep(CDN_SETTLED)
    try:
        yield
    finally:
        s3.put_bucket_policy(Bucket=bucket, Policy=before)
        time.sleep(CDN_SETTLED)


@fault("bucket-readable-by-the-world", turns_red=["s3-policy-oac-only"])
def bucket_readable_by_the_world(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket policy lets everybody read."""
    with _policy(sandbox, lambda statement: (statement.update(Principal="*"), statement.pop("Condition"))):
        yield


@fault(
    "bucket-open-to-the-world", turns_red=["s3-public-access-block", "s3-policy-oac-only", "s3-direct-access-denied"]
)
def bucket_open_to_the_world(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket policy lets everybody read, and no public access block prevents it."""
    s3, bucket = sandbox.aws("s3"), user_bucket(sandbox)
    before = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(before, False))
    with _policy(sandbox, lambda statement: (statement.update(Principal="*"), statement.pop("Condition"))):
        yield
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=before)


@fault("bucket-closed-to-the-cdn", turns_red=["s3-policy-oac-only", "cdn-index-200"])
def bucket_closed_to_the_cdn(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket policy names a distribution that was replaced."""
    ghost = {"StringEquals": {"AWS:SourceArn": "arn:aws:cloudfront::123456789012:distribution/EREPLACED"}}
    with _policy(sandbox, lambda statement: statement.update(Condition=ghost)):
        yield


@fault("lifecycle-deletes-the-page", turns_red=["s3-keeps-the-page"])
def lifecycle_deletes_the_page(sandbox: Sandbox) -> Iterator[None]:
    """A lifecycle rule that was meant for old versions deletes every object of the user frontend after 30 days."""
    s3, bucket = sandbox.aws("s3"), user_bucket(sandbox)
    rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    yield
    s3.delete_bucket_lifecycle(Bucket=bucket)


@fault("bucket-denies-all-reads", turns_red=["s3-policy-oac-only"])
def bucket_denies_all_reads(sandbox: Sandbox) -> Iterator[None]:
    """A Deny for everybody stands beside the grant to the distribution: what no edge has in its cache is refused."""
    s3, bucket = sandbox.aws("s3"), user_bucket(sandbox)
    before = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.loads(before)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({**policy, "Statement": [*policy["Statement"], deny]}))
    time.sleep(CDN_SETTLED)
    yield
    s3.put_bucket_policy(Bucket=bucket, Policy=before)
    time.sleep(CDN_SETTLED)


@fault("bucket-key-closed-to-the-cdn", turns_red=["s3-policy-oac-only"])
def bucket_key_closed_to_the_cdn(sandbox: Sandbox) -> Iterator[None]:
    """The bucket encrypts with a key whose policy forgets CloudFront: the page of the next deploy is a 403."""
    key = sandbox.aws("kms").create_key(Description="frontends")["KeyMetadata"]
    with encrypted_bucket(sandbox, KMSMasterKeyID=key["Arn"]):
        yield


@fault("bucket-under-the-key-of-aws", turns_red=["s3-policy-oac-only"])
def bucket_under_the_key_of_aws(sandbox: Sandbox) -> Iterator[None]:
    """The bucket encrypts with AWS's own key for S3, which lets no CloudFront in: the next deploy is a 403."""
    with encrypted_bucket(sandbox):
        yield
