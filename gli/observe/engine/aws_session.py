"""The AWS control plane through boto3: only reads, in threads, counted. Errors of different kinds are told apart.

boto3 is imported at the first call: a run that asks nothing of AWS does not pay for the import.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from gli.common.sentences import phrase
from gli.observe.engine import aws_answer
from gli.observe.engine.aws_credentials import (
    credential_errors,
    loads_credentials,
    not_given,
    session_as,
    session_of,
)
from gli.observe.engine.aws_limits import Call, Together, limit
from gli.observe.engine.guard import AWS_READS, refuse_aws_writes
from gli.observe.engine.observation import Counts, Unobserved, unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.parts import Aws
    from gli.observe.engine.remote_clocks import RemoteClocks

Part = Literal["counterpart", "dns", "images"]
"""The parts that may lie in an account of their own: the keys of `aws.roles`."""

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 10
_SLOW_S = {"iam": 60, "logs": 30}  # one answer may hold megabytes, or the search of a busy hour
_AT_ONCE = 4
_THREADS = 20  # for all services together: the most requests that a run has in flight
_FEW = {"cloudfront": 1, "iam": 1, "logs": 2, "route53": 1}  # requests at once: AWS limits them more
_DENIED = {
    "403", "AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException", "Forbidden",
    "ForbiddenException", "NotAuthorized", "UnauthorizedException", "UnauthorizedOperation",
}  # fmt: skip
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_BAD_CREDENTIALS = {
    "AuthFailure", "IncompleteSignature", "IncompleteSignatureException", "InvalidAccessKeyId", "InvalidClientTokenId",
    "InvalidSignatureException", "InvalidToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_WRONG_TIME = re.compile(r"RequestTimeTooSkewed|RequestInTheFuture|[Ss]ignature (?:expired|not yet current)")
_THROTTLED = {
    "BandwidthLimitExceeded", "EC2ThrottledException", "LimitExceededException", "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException",
    "SlowDown", "ThrottledException", "Throttling", "ThrottlingException", "TooManyRequestsException",
    "TransactionInProgressException",
}  # fmt: skip
_IAM_PREFIX = {"elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}
_IAM_ACTION = {
    ("s3", "HeadBucket"): "s3:ListBucket",
    ("s3", "ListObjectsV2"): "s3:ListBucket",
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "GetPublicAccessBlock"): "s3:GetBucketPublicAccessBlock",
    ("s3", "GetBucketEncryption"): "s3:GetEncryptionConfiguration",
    ("s3", "GetBucketLifecycleConfiguration"): "s3:GetLifecycleConfiguration",
    ("s3control", "GetPublicAccessBlock"): "s3:GetAccountPublicAccessBlock",
}
_NOT_AUTHORIZED = re.compile(r"not authorized to perform:? *([a-z0-9-]+:[A-Za-z0-9]+)")
_PART_OF: dict[str, Part] = {"route53": "dns", "ecr": "images"}
"""Services whose resources all lie in the account of one part."""


class AwsError(Exception):
    """AWS answered with an error that a probe may know how to read, such as `NoSuchBucketPolicy`."""

    def __init__(self, service: str, operation: str, code: str, message: str) -> None:
        self.said = phrase("{}:{} answered {}: {}", service, operation, code, message)
        super().__init__(self.said)
        self.code = code


class AwsSession:
    """The boto3 clients of one environment: of its own account, and of the accounts whose roles `aws.roles` names. Each
    is made when it is first needed.
    """

    def __init__(
        self, environment: Environment, clocks: RemoteClocks, reads: Mapping[str, frozenset[str]] = AWS_READS
    ) -> None:
        self._environment, self._clocks, self._reads = environment, clocks, reads
        self._sessions: dict[str | None, Any] = {}
        self._clients: dict[tuple[str | None, str, str], Any] = {}
        self._lock = threading.Lock()  # botocore can't create clients in two threads at once
        self._turns: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))
        for service, at_once in _FEW.items():
            self._turns[service] = asyncio.Semaphore(at_once)
        self._at_once = asyncio.Semaphore(_THREADS)
        self._together = Together()
        self._answered = False

    async def call(
        self,
        observer: Counts,
        service: str,
        operation: str,
        /,
        *,
        region: str | None = None,
        part: Part | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """The answer of one operation (`describe_services`), with all pages joined. A missing member raises
        `Unobserved`.

        `part` asks the account of the role that `aws.roles` names for this part, if it names one. Raises `Unobserved`
        if the fact can't be had (denied, throttled, unreachable), and `AwsError` for any other error answer.
        """
        return await self._in_turn(observer, service, operation, region, part, parameters, joined=True)

    async def page(
        self, observer: Counts, service: str, operation: str, /, *, part: Part | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """One page of an answer that may have any number of pages; raises the same exceptions as `call`."""
        return await self._in_turn(observer, service, operation, None, part, parameters, joined=False)

    def accounts(self) -> tuple[Part | None, ...]:
        """The sessions of the environment and of its counterpart, which may lie in another account."""
        return (None,) if self._role("counterpart") is None else (None, "counterpart")

    def account(self, part: Part) -> str | None:
        """The account of the role that `aws.roles` names for a part; None if it names none."""
        role = self._role(part)
        return None if role is None else role.split(":")[4]

    def elsewhere(self, part: Part) -> str:
        """The end of a sentence: what to do if something of a part is not in the account that was asked."""
        role = self._role(part)
        if role is not None:
            return phrase("asked as {}, which [{}.aws.roles] {} names", role, self._environment.name, part)
        return phrase(
            "where it lies in another account, name a role that may look there as {} in [{}.aws.roles]",
            part,
            self._environment.name,
        )

    async def _in_turn(
        self,
        observer: Counts,
        service: str,
        operation: str,
        region: str | None,
        part: Part | None,
        parameters: dict[str, Any],
        *,
        joined: bool,
    ) -> dict[str, Any]:
        other = self._environment.other
        if part == "counterpart" and other is not None and other.aws is not None:
            region = region or other.aws.region
        role = self._role(part or _PART_OF.get(service))
        turn = self._turns[service]
        with observer.waiting():
            await turn.acquire()
            try:
                await self._at_once.acquire()
            except BaseException:
                turn.release()
                raise
        call = Call(observer, service, operation, self._together)
        call.begin()
        try:
            return await asyncio.to_thread(
                self._read, call, service, operation, region, role, parameters, joined=joined
            )
        finally:
            call.stop()
            self._at_once.release()
            turn.release()

    def _role(self, part: Part | None) -> str | None:
        return None if part is None else self._aws.roles.get(part)

    def _read(self, call: Call, service: str, operation: str, *where: Any, joined: bool) -> dict[str, Any]:
        return aws_answer.read(self._call(call, service, operation, *where, joined=joined), f"{service}:{operation}")

    def _call(
        self,
        call: Call,
        service: str,
        operation: str,
        region: str | None,
        role: str | None,
        parameters: dict[str, Any],
        *,
        joined: bool,
    ) -> dict[str, Any]:
        from botocore import exceptions as e
        from botocore.parsers import ResponseParserError

        try:
            client = self._client(service, region or self._aws.region, role)
            if joined and client.can_paginate(operation):
                pages = client.get_paginator(operation).paginate(**parameters)
                answer = dict(pages.build_full_result())
                # botocore loses a structure whose list is empty, and left out by AWS: CloudFront's with Quantity 0
                named = {key.expression.partition(".")[0] for key in pages.result_keys}
                answer |= {name: call.page[name] for name in named & call.page.keys() - answer.keys()}
            else:
                answer = dict(getattr(client, operation)(**parameters))
                if joined and (answer.get("nextToken") or answer.get("NextToken")):
                    raise unknown("too-little-data", phrase("{}:{} has more pages, not read here", service, operation))
        except credential_errors() as error:
            raise not_given(error, self._environment.name, self._aws, renewing=self._answered) from None
        except e.ClientError as error:
            raise self._told_apart(service, role, error) from None
        except e.PaginationError:
            raise call.endless() from None
        except (e.ConnectTimeoutError, e.ReadTimeoutError) as error:
            raise unknown("timed-out", phrase("{}:{}: {}", service, operation, error)) from None
        except (e.ConnectionError, e.HTTPClientError) as error:
            raise unknown(
                "unreachable", phrase("AWS can't be reached for {}:{}: {}", service, operation, error)
            ) from None
        except (e.BotoCoreError, ResponseParserError, RecursionError, ValueError) as error:  # deep JSON; not UTF-8
            raise unknown("error", phrase("{}:{}: {}", service, operation, error)) from None
        self._answered = True
        return answer

    @property
    def _aws(self) -> Aws:
        if self._environment.aws is None:
            raise unknown("error", phrase("environments.toml: [{}] has no aws table", self._environment.name))
        return self._environment.aws

    def _client(self, service: str, region: str, role: str | None = None) -> Any:
        with self._lock:
            if (role, service, region) not in self._clients:
                self._clients[role, service, region] = self._guarded(self._session(role), service, region)
            return self._clients[role, service, region]

    def _guarded(self, session: Any, service: str, region: str) -> Any:
        """A client that sends only reads, and counts its requests."""
        from botocore.config import Config

        retries = {"mode": "standard", "total_max_attempts": 1 if self._aws.endpoint_url else 5}
        config = Config(
            retries=retries,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=_SLOW_S.get(service, READ_TIMEOUT_S),
            max_pool_connections=_AT_ONCE,
            user_agent_extra="gli-verify",
            s3={"addressing_style": "path"} if self._aws.endpoint_url else None,
            proxies={} if self._aws.endpoint_url else None,
            ignore_configured_endpoint_urls=True,  # also those of AWS_ENDPOINT_URL_SERVICE and of profiles
        )
        client = session.client(service, region_name=region, endpoint_url=self._aws.endpoint_url, config=config)
        # First, so that nothing else acts on a write before it is refused.
        client.meta.events.register_first("before-call.*.*", partial(refuse_aws_writes, reads=self._reads))
        limit(client)
        client.meta.events.register("response-received.*.*", self._hear)
        if service == "s3control" and self._aws.endpoint_url:
            client.meta.events.register("before-sign.s3-control.*", _without_the_account)
        return client

    def _hear(self, response_dict: dict[str, Any] | None = None, **_: Any) -> None:
        """Handles botocore's `response-received` event: every answer tells the time."""
        headers = (response_dict or {}).get("headers") or {}
        self._clocks.heard("AWS", headers.get("Date") or headers.get("date"))

    def _session(self, role: str | None) -> Any:
        if role not in self._sessions:
            import boto3.session

            core = (
                session_of(self._environment, self._aws)
                if role is None
                else session_as(self._session(None), role, self._aws)
            )
            session = boto3.session.Session(botocore_session=core)
            if role is not None:
                self._confirm(session, role)
            self._sessions[role] = session
        return self._sessions[role]

    def _confirm(self, session: Any, role: str) -> None:
        """Confirms the identity in each account: raises if an assumed role is not in the account that its ARN names."""
        found = str(self._guarded(session, "sts", self._aws.region).get_caller_identity()["Account"])
        if found != role.split(":")[4]:
            raise unknown(
                "wrong-account", phrase("{} was taken, and the credentials belong to account {}", role, found)
            )

    def _told_apart(self, service: str, role: str | None, error: Any) -> Unobserved | AwsError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        message = str(error.response.get("Error", {}).get("Message", "")) or code
        name = error.operation_name
        if loads_credentials(error):
            if role is not None and not self._answered_as(role):
                return unknown("no-credentials", phrase("the role {} can't be taken: {}: {}", role, code, message))
            return not_given(error, self._environment.name, self._aws, renewing=self._answered)
        if code in _THROTTLED:
            return unknown("throttled", phrase("{}:{} was throttled: {}", service, name, message))
        if code in _EXPIRED and self._answered:
            return unknown(
                "no-credentials", phrase("the AWS credentials expired in the middle of the run: {}: {}", code, message)
            )
        if _WRONG_TIME.search(f"{code} {message}"):
            return unknown("error", phrase("AWS refused the time of this machine's clock: {}: {}", code, message))
        if code in _BAD_CREDENTIALS | _EXPIRED:
            return unknown("no-credentials", phrase("AWS refused the credentials: {}: {}", code, message))
        if code in _DENIED or _NOT_AUTHORIZED.search(message):
            action = denied_action(message) or iam_action(service, name)
            who: str = phrase("this role") if role is None else role
            return unknown("access-denied", phrase("{} is denied to {}: {}", action, who, message), action=action)
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            said = phrase("AWS itself failed, run it again: {}:{} answered {}: {}", service, name, code, message)
            return unknown("error", said)
        if code == "400":  # S3 gives no reason in an answer to HEAD
            said = phrase("{}:{} was answered 400 without a reason: the credentials may have expired", service, name)
            return unknown("error", said)
        return AwsError(service, name, code, message)

    def _answered_as(self, role: str) -> bool:
        return role in self._sessions


def _without_the_account(request: Any, **_: Any) -> None:
    """botocore puts the account's number before the host, and the names of local replicas do not resolve with it."""
    account = request.headers.get("x-amz-account-id", "")
    account = account.decode() if isinstance(account, bytes) else account
    request.url = request.url.replace(f"://{account}.", "://", 1)


def iam_action(service: str, operation: str) -> str:
    """The IAM action of an operation: for `elbv2` and `DescribeRules`, `elasticloadbalancing:DescribeRules`."""
    return _IAM_ACTION.get((service, operation), f"{_IAM_PREFIX.get(service, service)}:{operation}")


def denied_action(message: str) -> str | None:
    """The action that AWS names in a denial. It may differ from the operation that was asked for, such as
    `kms:Decrypt`.
    """
    if "Access to KMS is not allowed" in message:
        return "kms:Decrypt"
    named = _NOT_AUTHORIZED.search(message)
    return named[1] if named else None
