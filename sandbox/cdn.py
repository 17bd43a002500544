"""CloudFront's behaviour on top of moto's S3: an ASGI application for uvicorn.

Each answer follows from moto's current state: the distribution whose alias is the Host, its function, error responses
and default root object, the bucket's policy and its objects. A change of that state changes the answers.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from sandbox.aws.account import EDGE_REGION, Account

_CONFIGURATION_SECONDS = 0.3
"""How old the copy of a distribution's configuration may be; longer where there are more than GLI's four to read."""
_USUAL = 4
_SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}
"""What CloudFront's managed SecurityHeadersPolicy adds, where a distribution has a response headers policy."""
LOOSE_POLICY = "loose"
_LOOSE_HEADERS = {
    "Strict-Transport-Security": "max-age=1",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors *",
    "Referrer-Policy": "unsafe-url",
}
"""What a response headers policy of that id adds: every header, and none that does any good."""


@dataclass(frozen=True)
class Answer:
    """The answer to a viewer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stored: float | None = None
    """When the edge stored this copy; None: it comes from the origin now."""


@dataclass(frozen=True)
class _Distribution:
    """The current configuration of one distribution."""

    config: Mapping[str, Any]
    bucket: str
    """The bucket, with the folder of the origin behind it: `stg-gli-user-frontend/web`."""
    may_read: bool
    """Whether the bucket's policy lets this distribution read."""
    elsewhere: tuple[tuple[str, str, bool], ...]
    """(path pattern, bucket, may read) of each other behaviour with a bucket as its origin, in their order."""
    blocks: bool
    """Its web ACL blocks every request."""
    read: float

    @property
    def rewrites_routes(self) -> bool:
        """Whether a viewer-request function is attached: GLI's sends paths without an extension to the index."""
        functions = self.config["DefaultCacheBehavior"].get("FunctionAssociations", {}).get("Items", [])
        return any(f["EventType"] == "viewer-request" for f in functions)

    @property
    def refusal(self) -> str:
        """Why it refuses a viewer in Korea without a signed URL; empty if it does not."""
        restriction = self.config.get("Restrictions", {}).get("GeoRestriction", {})
        listed, kind = "KR" in restriction.get("Items", []), restriction.get("RestrictionType", "none")
        if self.blocks:
            return "Request blocked."
        if (kind == "whitelist" and not listed) or (kind == "blacklist" and listed):
            return "The Amazon CloudFront distribution is configured to block access from your country."
        signed = self.config["DefaultCacheBehavior"].get("TrustedKeyGroups", {}).get("Enabled", False)
        return "Missing Key-Pair-Id query parameter or cookie value" if signed else ""

    def error_response(self, status: int) -> Mapping[str, Any] | None:
        """The custom error response for this status of the origin, if the distribution has one."""
        items = self.config.get("CustomErrorResponses", {}).get("Items", [])
        return next((item for item in items if item["ErrorCode"] == status), None)


class Cdn:
    """Serves every host that is an alias of a distribution. Run it with `lifespan="off", server_header=False`."""

    def __init__(self, aws_endpoint: str, region: str) -> None:
        self._account = Account(aws_endpoint, region)
        self._distributions: dict[str, _Distribution] = {}
        self._reading = threading.Lock()
        self._listed: list[Mapping[str, Any]] = []
        self._listed_at = -math.inf
        self._pinned: dict[tuple[str, str], Answer] = {}
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="cdn")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        sent = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = sent.get("host", "").partition(":")[0]
        loop = asyncio.get_running_loop()
        if scope["method"] in ("GET", "HEAD"):
            answer = await loop.run_in_executor(self._pool, self._answer, host, scope["path"])
        else:
            answer = _refusal("This distribution is not configured to allow the HTTP request method.")
        headers = answer.headers
        if answer.status == HTTPStatus.OK and sent.get("if-none-match") == headers.get("ETag"):
            answer = replace(answer, status=HTTPStatus.NOT_MODIFIED, body=b"")
        headers = {**headers, **_edge_headers(answer), "Content-Length": str(len(answer.body))}
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": int(answer.status), "headers": pairs})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def pin(self, host: str, path: str) -> None:
        """Keep serving the current copy of `path`, even if the origin's object changes. Blocking."""
        self._pinned[host, path] = replace(self._answer(host, path), stored=time.time())

    def unpin(self, host: str, path: str) -> None:
        """Serve the origin's object again."""
        self._pinned.pop((host, path), None)

    async def close(self) -> None:
        """Finish the open requests."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _answer(self, host: str, path: str) -> Answer:
        try:
            return self._served(host, path)
        except BotoCoreError:
            return replace(_refusal("CloudFront wasn't able to connect to the origin."), status=HTTPStatus.BAD_GATEWAY)

    def _served(self, host: str, path: str) -> Answer:
        distribution = self._distribution(host)
        if distribution is None or not distribution.config["Enabled"]:
            return _refusal("The distribution does not match the host name, or is disabled.")
        if distribution.refusal:
            return _refusal(distribution.refusal)
        path = unquote(path)
        if distribution.rewrites_routes and "." not in path:
            path = "/index.html"
        elif path == "/":
            path += distribution.config.get("DefaultRootObject", "")
        pinned = self._pinned.get((host, path))
        return pinned or self._from_origin(distribution, path)

    def _from_origin(self, distribution: _Distribution, path: str) -> Answer:
        answer = self._object(distribution, path)
        error = distribution.error_response(answer.status)
        if error is not None and error.get("ResponsePagePath"):
            page = self._object(distribution, error["ResponsePagePath"])
            if page.status == HTTPStatus.OK:
                answer = replace(page, status=int(error["ResponseCode"]))
        policy = distribution.config["DefaultCacheBehavior"].get("ResponseHeadersPolicyId")
        if policy:
            added = _LOOSE_HEADERS if policy == LOOSE_POLICY else _SECURITY_HEADERS
            answer = replace(answer, headers={**answer.headers, **added})
        return answer

    def _object(self, distribution: _Distribution, path: str) -> Answer:
        """S3's answer to the distribution: 403 for an object that is missing or that it may not read."""
        key = path.lstrip("/")
        bucket, may_read = next(
            ((other, may) for pattern, other, may in distribution.elsewhere if fnmatchcase(key, pattern.lstrip("/"))),
            (distribution.bucket, distribution.may_read),
        )
        if not may_read:
            return _refusal("Access Denied")
        try:
            bucket, _, folder = bucket.partition("/")
            got = self._account("s3").get_object(Bucket=bucket, Key=f"{folder}/{key}".lstrip("/"))
        except ClientError as e:
            missing = e.response["Error"]["Code"] == "NoSuchBucket"
            return replace(_refusal("Access Denied"), status=HTTPStatus.NOT_FOUND if missing else HTTPStatus.FORBIDDEN)
        headers = {
            "Content-Type": got["ContentType"],
            "ETag": got["ETag"],
            "Last-Modified": got["ResponseMetadata"]["HTTPHeaders"]["last-modified"],
        }
        if "CacheControl" in got:
            headers["Cache-Control"] = got["CacheControl"]
        if got.get("ContentDisposition"):
            headers["Content-Disposition"] = got["ContentDisposition"]
        if got.get("ContentEncoding"):
            headers["Content-Encoding"] = got["ContentEncoding"]
        return Answer(HTTPStatus.OK, headers, got["Body"].read())

    def _distribution(self, host: str) -> _Distribution | None:
        """The distribution that has this host as an alias, in moto's state of now or of a moment ago."""
        with self._reading:
            known = self._distributions.get(host)
            if known is not None and time.monotonic() - known.read < self._oldest_s:
                return known
            found = self._read_distribution(host)
            if found is None:
                self._distributions.pop(host, None)
            else:
                self._distributions[host] = found
            return found

    @property
    def _oldest_s(self) -> float:
        return _CONFIGURATION_SECONDS * max(1.0, len(self._listed) / _USUAL)

    def _list(self) -> Sequence[Mapping[str, Any]]:
        """The summaries of all distributions."""
        if len(self._listed) <= _USUAL or time.monotonic() - self._listed_at > self._oldest_s:
            pages = self._account("cloudfront", EDGE_REGION).get_paginator("list_distributions").paginate()
            self._listed = [item for page in pages for item in page["DistributionList"].get("Items", [])]
            self._listed_at = time.monotonic()
        return self._listed

    def _read_distribution(self, host: str) -> _Distribution | None:
        cloudfront = self._account("cloudfront", EDGE_REGION)
        for item in self._list():
            if host in item["Aliases"].get("Items", []):
                config = cloudfront.get_distribution_config(Id=item["Id"])["DistributionConfig"]
                origins = {o["Id"]: o for o in config["Origins"]["Items"]}
                default, *others = [
                    (b.get("PathPattern", "*"), *self._bucket(item["ARN"], origins[b["TargetOriginId"]]))
                    for b in (config["DefaultCacheBehavior"], *config.get("CacheBehaviors", {}).get("Items", []))
                    if ".s3." in origins[b["TargetOriginId"]]["DomainName"]
                ]
                blocks = self._blocks(config.get("WebACLId", ""))
                return _Distribution(config, default[1], default[2], tuple(others), blocks, time.monotonic())
        return None

    def _bucket(self, distribution: str, origin: Mapping[str, Any]) -> tuple[str, bool]:
        bucket = origin["DomainName"].partition(".s3.")[0]
        return bucket + origin.get("OriginPath", ""), self._may_read(_reader(distribution, origin), bucket)

    def _blocks(self, arn: str) -> bool:
        """Whether a web ACL blocks every request: by its default, and no rule allows anything."""
        if not arn:
            return False
        name, identifier = arn.split("/")[-2:]
        try:
            found = self._account("wafv2", EDGE_REGION).get_web_acl(Name=name, Id=identifier, Scope="CLOUDFRONT")
        except ClientError:
            return False
        acl = found["WebACL"]
        return "Block" in acl["DefaultAction"] and not any("Allow" in r.get("Action", {}) for r in acl.get("Rules", []))

    def _may_read(self, reader: _Reader, bucket: str) -> bool:
        try:
            policy = json.loads(self._account("s3").get_bucket_policy(Bucket=bucket)["Policy"])
        except ClientError as e:
            return bool(e.response["Error"]["Code"] == "NoSuchBucket")  # the request for the object tells the two apart
        return not any(map(_denies, policy["Statement"])) and any(
            _allows(statement, reader) for statement in policy["Statement"]
        )


@dataclass(frozen=True)
class _Reader:
    """The identity with which a distribution asks S3."""

    distribution: str
    signs: bool
    """By an origin access control."""
    identity: str
    """Its origin access identity, if any."""


def _reader(distribution: str, origin: Mapping[str, Any]) -> _Reader:
    identity = (origin.get("S3OriginConfig") or {}).get("OriginAccessIdentity", "").rpartition("/")[2]
    return _Reader(distribution, bool(origin.get("OriginAccessControlId")), identity)


def _denies(statement: Mapping[str, Any]) -> bool:
    """Whether a statement without a condition denies everybody to read objects: a Deny wins over each Allow."""
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    everybody = statement.get("Principal") in ("*", {"AWS": "*"})
    reads = not {"s3:GetObject", "s3:*", "*"}.isdisjoint(actions)
    return statement["Effect"] == "Deny" and not statement.get("Condition") and everybody and reads


def _allows(statement: Mapping[str, Any], reader: _Reader) -> bool:
    principal = statement.get("Principal")
    by_identity = isinstance(principal, Mapping) and str(principal.get("AWS", "")).endswith(f" {reader.identity}")
    everybody = principal == "*" or (isinstance(principal, Mapping) and principal.get("AWS") == "*")
    sources = {
        arn
        for operator, keys in statement.get("Condition", {}).items()
        if operator in ("StringEquals", "ArnEquals", "ArnLike", "StringLike")
        for key, arn in keys.items()
        if key.lower() == "aws:sourcearn"
    }
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    return (
        statement["Effect"] == "Allow"
        and (
            everybody
            or (reader.signs and principal == {"Service": "cloudfront.amazonaws.com"})
            or bool(reader.identity and by_identity)
        )
        and sources <= {reader.distribution}
        and not {"s3:GetObject", "s3:*", "*"}.isdisjoint(actions)
    )


def _refusal(reason: str) -> Answer:
    body = f"<!doctype html><title>ERROR: The request could not be satisfied</title><p>{reason}</p>\n"
    return Answer(HTTPStatus.FORBIDDEN, {"Content-Type": "text/html"}, body.encode())


def _edge_headers(answer: Answer) -> dict[str, str]:
    """CloudFront's own headers, and whether the answer comes from its cache."""
    headers = {"Via": "1.1 sandbox.cloudfront.net (CloudFront)", "X-Amz-Cf-Pop": "ICN57-P1", "X-Amz-Cf-Id": uuid4().hex}
    if answer.stored is not None:
        return {**headers, "X-Cache": "Hit from cloudfront", "Age": str(int(time.time() - answer.stored))}
    failed = answer.status >= HTTPStatus.BAD_REQUEST
    return {**headers, "X-Cache": "Error from cloudfront" if failed else "Miss from cloudfront"}
