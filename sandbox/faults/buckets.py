"""Faults of how a bucket keeps its objects, and of one that should not be in it."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.faults import Sandbox, fault
from sandbox.site import required


def _bucket(sandbox: Sandbox) -> str:
    return required(sandbox.environment.frontends["user"].bucket)


@fault("bucket-forgets-versions", turns_red=["s3-versioning"])
def bucket_forgets_versions(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket keeps no earlier versions."""
    s3, bucket = sandbox.aws("s3"), _bucket(sandbox)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    yield
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


@fault("bucket-in-the-clear", turns_red=["s3-encryption"])
def bucket_in_the_clear(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket has no default encryption."""
    s3, bucket = sandbox.aws("s3"), _bucket(sandbox)
    before = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    s3.delete_bucket_encryption(Bucket=bucket)
    yield
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=before)


@fault("source-map-uploaded", turns_red=["cdn-no-source-maps"])
def source_map_uploaded(sandbox: Sandbox) -> Iterator[None]:
    """A source map was uploaded beside its script."""
    s3, bucket = sandbox.aws("s3"), _bucket(sandbox)
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix="assets/index-")["Contents"]]
    source_map = next(key for key in keys if key.endswith(".js")) + ".map"
    s3.put_object(Bucket=bucket, Key=source_map, Body=b"{}", ContentType="application/json")
    yield
    s3.delete_object(Bucket=bucket, Key=source_map)
