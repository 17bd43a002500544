"""Errors that AWS answers: each is unknown, with a sentence that leads to the right remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from aws_answers import ACCOUNT, AwsRefusal, answering, observed, staging
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session

from gli.observe.aws.cloudwatch_alarms import dashboards
from gli.observe.aws.ecs_services import clusters
from gli.observe.aws.mq import amazon_mq
from gli.observe.aws.rds import database_instances
from gli.observe.aws.route53 import zone
from gli.observe.aws.s3 import bucket, bucket_policy
from gli.observe.aws.vpc import vpc
from gli.observe.engine.observation import Unobserved

IDENTITY = {"UserId": "A", "Account": ACCOUNT, "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/gli-verify-stg/run"}
DENIED = "User: me is not authorized to perform: ecs:DescribeClusters on resource: stg-gli"


@pytest.mark.parametrize(
    ("code", "message", "status", "cause", "said"),
    [
        ("AccessDeniedException", DENIED, 400, "access-denied", "ecs:DescribeClusters is denied to this role"),
        ("ForbiddenOfNextYear", DENIED, 403, "access-denied", "ecs:DescribeClusters is denied to this role"),
        ("ThrottlingException", "Rate exceeded", 400, "throttled", "ecs:DescribeClusters was throttled: Rate exceeded"),
        ("ExpiredTokenException", "expired", 400, "no-credentials", "AWS refused the credentials: Expired"),
        ("InvalidSignatureException", "no match", 403, "no-credentials", "AWS refused the credentials: Invalid"),
        ("AuthFailure", "could not be validated", 401, "no-credentials", "AWS refused the credentials: AuthFailure"),
        ("InvalidSignatureException", "Signature expired: 1 is earlier than 2", 403, "error", "this machine's clock"),
        ("RequestTimeTooSkewed", "too large", 403, "error", "AWS refused the time of this machine's clock"),
        ("ServiceUnavailable", "try again", 503, "error", "AWS itself failed, run it again: ecs:DescribeClusters"),
        ("OptInRequired", "not subscribed", 403, "error", "ecs:DescribeClusters answered OptInRequired: not"),
        ("OfNextYear", "This is new", 400, "error", "ecs:DescribeClusters answered OfNextYear: This is new"),
    ],
)
def test_an_error_of_aws_is_unknown_and_tells_its_cause(
    code: str, message: str, status: int, cause: str, said: str
) -> None:
    def refused(_: dict[str, Any]) -> Any:
        raise AwsRefusal(code, message, status)

    with (
        answering({("sts", "GetCallerIdentity"): IDENTITY, ("ecs", "DescribeClusters"): refused}),
        pytest.raises(Unobserved) as why,
    ):
        observed(staging(), clusters)
    assert (why.value.unknown.cause, said in why.value.unknown.message) == (cause, True), why.value.unknown
    assert "the probe" not in why.value.unknown.message


class Body:
    """The body of an answer, as urllib3 reads it."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self, _: int) -> Iterator[bytes]:
        yield from [self.content] if self.content else []

    def close(self) -> None:
        """Nothing is open."""


ENVIRONMENT = staging()
ASKED = [  # one for each protocol of AWS
    (clusters, None),
    (database_instances, None),
    (vpc, None),
    (zone, None),
    (dashboards, None),
    (amazon_mq, ENVIRONMENT.broker),
    (bucket_policy, next(iter(ENVIRONMENT.frontends.values()))),
    (bucket, next(iter(ENVIRONMENT.frontends.values()))),
]


BODIES = [(400, b""), (403, b""), (502, b"<html>Bad Gateway</html>"), (503, b""), (200, b"<html>a proxy"), (200, b"")]
CASES = [  # a good answer to HEAD has no body
    pytest.param(*asked, *body, id=f"{asked[0].name}-{body[0]}-{len(body[1])}")
    for asked in ASKED
    for body in BODIES
    if asked[0] is not bucket or body[0] != 200
]


@pytest.mark.parametrize(("probe", "target", "status", "body"), CASES)
def test_a_body_that_does_not_parse_is_unknown(probe: Any, target: Any, status: int, body: bytes) -> None:
    assert ENVIRONMENT.aws is not None
    ours = ENVIRONMENT.aws.model_copy(update={"endpoint_url": "http://127.0.0.1:9", "account_id": ACCOUNT})
    whoami = (
        b"<GetCallerIdentityResponse><GetCallerIdentityResult>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in IDENTITY.items()).encode()
        + b"</GetCallerIdentityResult></GetCallerIdentityResponse>"
    )

    def sent(_: Any, request: Any) -> AWSResponse:
        if "GetCallerIdentity" in str(request.body):
            return AWSResponse(request.url, 200, {}, Body(whoami))
        return AWSResponse(request.url, status, {}, Body(b"" if request.method == "HEAD" else body))

    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    with (
        patch.object(URLLib3Session, "send", sent),
        patch.dict("os.environ", keys),
        pytest.raises(Unobserved) as why,
    ):
        observed(ENVIRONMENT.model_copy(update={"aws": ours}), probe, target)
    assert "the probe" not in why.value.unknown.message
