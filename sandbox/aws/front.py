"""A filter in front of moto: counts the suite's requests, and refuses them for AWS while a fault wants that.

A refusal has the shape of the service's protocol, so botocore parses it as it parses AWS's own.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

SUITE = "gli-verify"
"""The user agent that the suite's requests carry, and no other tool's."""

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/(?P<service>[^/]+)/aws4_request")
_NAMES = {"elasticloadbalancing": "elbv2", "monitoring": "cloudwatch", "servicequotas": "service-quotas"}
"""Services that are signed under another name than boto3 calls them by."""
_JSON = frozenset({"acm", "application-autoscaling", "cloudwatch", "ecr", "ecs", "logs", "secretsmanager"})
_XML = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
)
_FORM = "application/x-www-form-urlencoded"
_S3 = "<Error><Code>{code}</Code><Message>{message}</Message></Error>"
_EC2 = "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"
_MESSAGE = "as a fault of the sandbox asked for"

Refusal = tuple[int, str, bytes]
"""Status, content type and body of an answer."""


class Front:
    """Counts and refuses requests; one instance for the whole process."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.asked: set[tuple[str, str, str, str]] = set()
        """Service, action, HTTP method and target of the suite's requests; no action where the target says it."""
        self.refused: dict[str, str] = {}
        """Service to the error code that the suite gets from it."""

    def meet(self, environ: Mapping[str, Any]) -> Refusal | None:
        """Count a request of the suite; return the refusal if a fault wants one."""
        if SUITE not in environ.get("HTTP_USER_AGENT", ""):
            return None
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        service = _NAMES.get(scope["service"], scope["service"]) if scope else "unsigned"
        self.requests[service] += 1
        target = f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}"
        self.asked.add((service, _action(environ), environ["REQUEST_METHOD"], target))
        code = self.refused.get(service)
        if not code:
            return None
        status, kind, body = _refusal(service, code)
        return status, kind, b"" if environ["REQUEST_METHOD"] == "HEAD" else body


def _action(environ: Mapping[str, Any]) -> str:
    """The operation that a request names: in a header, in its body, or in its path; empty where it names none."""
    named = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    of_path = re.search(r"/operation/(\w+)$", environ["PATH_INFO"])  # Smithy's RPC protocols
    body = environ["wsgi.input"].getvalue() if environ.get("CONTENT_TYPE", "").startswith(_FORM) else b""
    return named or (of_path[1] if of_path else "") or parse_qs(body.decode()).get("Action", [""])[0]


def _refusal(service: str, code: str) -> Refusal:
    if service in _JSON:
        return 400, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": _MESSAGE}).encode()
    text = {"ec2": _EC2, "s3": _S3}.get(service, _XML)
    return 403, "text/xml", text.format(code=code, message=_MESSAGE).encode()


FRONT = Front()


def requests() -> dict[str, Any]:
    """The number of requests that the suite has sent since the start, by service."""
    return {"requests": dict(sorted(FRONT.requests.items()))}


def asked() -> dict[str, Any]:
    """What the suite has asked since the last call."""
    found, FRONT.asked = sorted(FRONT.asked), set()
    return {"asked": found}


def refuse(service: str, code: str | None) -> dict[str, Any]:
    """Answer the suite's requests to a service with an error code; without a code, answer normally again."""
    before = FRONT.refused.pop(service, None)
    if code is not None:
        FRONT.refused[service] = code
    return {"service": service, "code": before}
