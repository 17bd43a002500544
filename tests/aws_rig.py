"""An AWS account with answers from a test: real clients and paginators of botocore, but no request is sent.

Each answer must match botocore's model of the service (`aws_shapes`), and each request must respect its limits.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aws_shapes
import pytest

from conftest import ROOT
from gli.config import environments
from gli.config.environments import Environment
from gli.observe.engine.aws_session import AwsSession
from gli.observe.engine.observatory import Observatory

ACCOUNT = "123456789012"
REGION = "ap-northeast-2"
ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/gli-verify-stg/run"
Answer = Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Refused(Exception):
    """An error answer."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.status = status
        self.parsed = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}


class Account:
    """Answers by `service.Operation`: a document, or a function of the parameters that may raise `Refused`."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers: dict[str, Answer] = {"sts.GetCallerIdentity": {"UserId": "A", "Account": ACCOUNT, "Arn": ARN}}
        self.answers |= answers
        self.calls: Counter[str] = Counter()
        self.takes_s: dict[str, float] = {}
        """How long an operation takes, in seconds."""

    def answer(self, model: Any, parameters: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """As botocore's `before-call` wants it: an HTTP answer and what was parsed from it."""
        from botocore.awsrequest import AWSResponse

        name = f"{model.service_model.service_name}.{model.name}"
        self.calls[name] += 1
        time.sleep(self.takes_s.get(name, 0.0))
        too_much = aws_shapes.excess(model.input_shape, parameters, name)
        assert not too_much, too_much
        try:
            given = self.answers[name]
            document = dict(given(parameters) if callable(given) else given)
        except Refused as refused:
            return AWSResponse("https://aws", refused.status, {}, None), refused.parsed
        wrong = aws_shapes.objections(model.output_shape, document, name)
        assert not wrong, wrong
        return AWSResponse("https://aws", 200, {}, None), document


@contextmanager
def observing(account: Account, environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Observatory]:
    """An observatory of the environment that uses this account."""
    guarded = AwsSession._guarded

    def played(self: AwsSession, session: Any, service: str, region: str) -> Any:
        client = guarded(self, session, service, region)
        client.meta.events.register("before-parameter-build.*.*", _keep)
        client.meta.events.register(
            "before-call.*.*", lambda model, context, **_: account.answer(model, context["gli_parameters"])
        )
        return client

    with monkeypatch.context() as patched:
        patched.setattr(AwsSession, "_guarded", played)
        patched.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        observatory = Observatory(environment)
        try:
            yield observatory
        finally:
            observatory.close()


def _keep(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["gli_parameters"] = dict(params)


def staging(**overlay: Any) -> Environment:
    """`[stg]` of the project in the rig's account."""
    aws = {"account_id": ACCOUNT} | overlay.pop("aws", {})
    return environments.load(ROOT, "stg", overlay={"aws": aws, **overlay})
