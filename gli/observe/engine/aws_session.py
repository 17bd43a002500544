"""The AWS control plane through boto3: reads only, in threads, counted, with errors told apart.

Imports boto3 at the first call, not before: a run that asks AWS nothing does not pay for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from gli.observe.engine.guard import refuse_aws_writes
from gli.observe.engine.observation import Counts, Unobserved, unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 10
_SERIAL = {"cloudfront", "iam", "logs", "route53"}  # hard or undocumented low limits: one call at a time
_AT_ONCE = 4
_DENIED = {
    "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "Forbidden", "403",
    "AuthFailure", "NotAuthorized",
}  # fmt: skip
_BAD_CREDENTIALS = {
    "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId", "RequestExpired",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_THROTTLED = {
    "PriorRequestNotComplete", "RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException",
    "TooManyRequestsException",
}  # fmt: skip
_IAM_PREFIX = {"elbv2": "elasticloadbalancing"}
_IAM_ACTION = {
    ("s3", "HeadBucket"): "s3:ListBucket",
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "GetPublicAccessBlock"): "s3:GetBucketPublicAccessBlock",
    ("s3", "GetBucketEncryption"): "s3:GetEncryptionConfiguration",
}

_counting: contextvars.ContextVar[tuple[Counts, str]] = contextvars.ContextVar("counting")


class AwsError(Exception):
    """AWS answered with an error that a probe may know how to read, such as `NoSuchBucketPolicy`."""

    def __init__(self, service: str, operation: str, code: str, message: str) -> None:
        super().__init__(f"{service}:{operation} answered {code}: {message}")
        self.code = code


class AwsSession:
    """One boto3 session for one environment, made at the first call; its clients are shared."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()  # creating clients is not thread-safe in botocore
        self._turns: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))
        for service in _SERIAL:
            self._turns[service] = asyncio.Semaphore(1)

    async def call(
        self, observer: Counts, service: str, operation: str, /, *, region: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """The answer of one operation (`describe_services`), all pages joined.

        Raises `Unobserved` where the fact can't be had (denied, throttled, unreachable) and `AwsError` for any other
        error answer.
        """
        _counting.set((observer, service))
        async with self._turns[service]:
            return await asyncio.to_thread(self._call, service, operation, region, parameters)

    async def page(self, observer: Counts, service: str, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """One page of an answer that may have any number of them; raises what `call` does."""
        _counting.set((observer, service))
        async with self._turns[service]:
            return await asyncio.to_thread(self._call, service, operation, None, parameters, joined=False)

    def _call(
        self, service: str, operation: str, region: str | None, parameters: dict[str, Any], *, joined: bool = True
    ) -> dict[str, Any]:
        from botocore import exceptions as e

        try:
            client = self._client(service, region or self._aws.region)
            if joined and client.can_paginate(operation):
                return dict(client.get_paginator(operation).paginate(**parameters).build_full_result())
            return dict(getattr(client, operation)(**parameters))
        except _no_credentials_errors() as error:
            raise unknown("no-credentials", self._no_credentials(error)) from None
        except e.ClientError as error:
            raise _told_apart(service, operation, error) from None
        except (e.ConnectTimeoutError, e.ReadTimeoutError) as error:
            raise unknown("timed-out", f"{service}:{operation}: {error}") from None
        except (e.ConnectionError, e.HTTPClientError) as error:
            raise unknown("unreachable", f"AWS can't be reached for {service}:{operation}: {error}") from None
        except e.BotoCoreError as error:
            raise unknown("error", f"{service}:{operation}: {error}") from None

    @property
    def _aws(self) -> Any:
        if self._environment.aws is None:
            raise unknown("error", f"environments.toml: [{self._environment.name}] has no aws table")
        return self._environment.aws

    def _client(self, service: str, region: str) -> Any:
        with self._lock:
            if (service, region) not in self._clients:
                self._clients[service, region] = self._new_client(service, region)
            return self._clients[service, region]

    def _new_client(self, service: str, region: str) -> Any:
        from botocore.config import Config

        retries = {"mode": "standard", "total_max_attempts": 1 if self._aws.endpoint_url else 5}
        config = Config(
            retries=retries,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=_AT_ONCE,
            user_agent_extra="gli-verify",
            s3={"addressing_style": "path"} if self._aws.endpoint_url else None,
            proxies={} if self._aws.endpoint_url else None,
        )
        return self._boto().client(service, region_name=region, endpoint_url=self._aws.endpoint_url, config=config)

    def _boto(self) -> Any:
        if self._session is None:
            import boto3
            import botocore.session

            core = botocore.session.Session(profile=self._aws.profile)
            if self._aws.credentials_file:
                core.set_config_variable("credentials_file", self._aws.credentials_file)
                core.set_config_variable("config_file", os.devnull)
            self._session = boto3.session.Session(botocore_session=core)
            # First, so that a write is refused before anything else looks at it.
            self._session.events.register_first("before-call.*.*", refuse_aws_writes)
            self._session.events.register("before-send.*.*", _count)
        return self._session

    def _no_credentials(self, error: Exception) -> str:
        profile = self._aws.profile
        if profile:
            return f"no AWS credentials for [{self._environment.name}]: profile {profile!r} gives none ({error})"
        return (
            f"no AWS credentials for [{self._environment.name}]: set AWS_PROFILE, or `aws.profile` in the file "
            "(in CI, assume the role first)"
        )


def _no_credentials_errors() -> tuple[type[Exception], ...]:
    from botocore import exceptions as e

    return e.NoCredentialsError, e.PartialCredentialsError, e.CredentialRetrievalError, e.ProfileNotFound


def _count(**_: Any) -> None:
    """botocore's `before-send` event: once for each HTTP request, retries included."""
    observer, service = _counting.get()
    observer.count(service)


def iam_action(service: str, operation: str) -> str:
    """The IAM action that allows an operation: `elbv2`, `DescribeRules` is `elasticloadbalancing:DescribeRules`."""
    return _IAM_ACTION.get((service, operation), f"{_IAM_PREFIX.get(service, service)}:{operation}")


def _told_apart(service: str, operation: str, error: Any) -> Unobserved | AwsError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = str(error.response.get("Error", {}).get("Message", "")) or code
    name = error.operation_name
    if code in _THROTTLED:
        return unknown("throttled", f"{service}:{name} was throttled: {message}")
    if code in _BAD_CREDENTIALS:
        return unknown("no-credentials", f"AWS refused the credentials: {code}: {message}")
    if code in _DENIED or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403:
        action = iam_action(service, name)
        return unknown("access-denied", f"{action} is denied to this role: {message}", action=action)
    return AwsError(service, name, code, message)
