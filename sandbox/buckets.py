"""S3's own endpoint for requests without credentials: an ASGI application for uvicorn.

The bucket's policy and public access block, as moto has them at the time of the request, decide whether an object is
public. Object ACLs are ignored, as in every bucket that was made since 2023.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from sandbox.aws.account import Account

Answer = tuple[HTTPStatus, str, bytes]
"""Status, content type, body."""


S3 = "s3.amazonaws.com"
"""The host under which a path begins with the bucket's name."""


class BucketEndpoint:
    """Answers for every bucket of the account. The host or the path begins with the bucket's name."""

    def __init__(self, aws_endpoint: str, region: str) -> None:
        self._account = Account(aws_endpoint, region)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"), "")
        bucket, key = host.partition(".s3.")[0], unquote(scope["path"]).lstrip("/")
        if host == S3:
            bucket, _, key = key.partition("/")
        status, kind, body = await asyncio.to_thread(self._answer, bucket, key)
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def close(self) -> None:
        """Do nothing: no connection stays open."""

    def _answer(self, bucket: str, key: str) -> Answer:
        s3 = self._account("s3")
        try:
            if not self._public(bucket):
                return _error(HTTPStatus.FORBIDDEN, "AccessDenied")
            found = s3.get_object(Bucket=bucket, Key=key)
        except ClientError as e:
            if e.response["Error"]["Code"] == "NoSuchBucket":
                return _error(HTTPStatus.NOT_FOUND, "NoSuchBucket")
            # A caller who may not list does not learn which objects exist.
            return _error(HTTPStatus.FORBIDDEN, "AccessDenied")
        return HTTPStatus.OK, found["ContentType"], found["Body"].read()

    def _public(self, bucket: str) -> bool:
        """Whether the policy lets everybody read, and no public access block overrides the policy."""
        s3 = self._account("s3")
        try:
            policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
        except ClientError as e:
            if e.response["Error"]["Code"] == "NoSuchBucketPolicy":
                return False
            raise
        return any(map(_opens, policy["Statement"])) and not self._restricted(bucket)

    def _restricted(self, bucket: str) -> bool:
        try:
            block = self._account("s3").get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        except ClientError as e:
            if e.response["Error"]["Code"] == "NoSuchPublicAccessBlockConfiguration":
                return False
            raise
        return bool(block["RestrictPublicBuckets"])


def _opens(statement: Mapping[str, Any]) -> bool:
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    return (
        statement["Effect"] == "Allow"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and not statement.get("Condition")
        and not {"s3:GetObject", "s3:*", "*"}.isdisjoint(actions)
    )


def _error(status: HTTPStatus, code: str) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'
    return status, "application/xml", text.encode()
