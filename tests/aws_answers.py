"""Feeds recorded or documented answers of AWS to a probe, through the suite's own clients.

    with answering({("ecs", "DescribeServices"): {...}}) as asked:
        observed(environment, ecs_services)

Everything but the wire is real: boto3's clients and paginators, the guard, the observatory. An answer whose shape is
not the one of botocore's model fails the test that gives it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient
from botocore.validate import validate_parameters

from conftest import ROOT
from gli.config import environments
from gli.config.environments import Environment
from gli.observe.engine.observatory import Observatory
from gli.observe.engine.probe import Probe

Answer = Mapping[str, Any] | Callable[[dict[str, Any]], Any]
"""What an operation answers, whatever it is asked or by its parameters; an `AwsRefusal` is an error."""
ACCOUNT = "123456789012"
REGION = "ap-northeast-2"


class AwsRefusal(Exception):
    """An error answer."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
        self.status = status


class _Http:
    def __init__(self, status: int) -> None:
        self.status_code = status


@contextmanager
def answering(answers: Mapping[tuple[str, str], Answer]) -> Iterator[list[tuple[str, str, dict[str, Any]]]]:
    """Let AWS give these answers inside the block; yields the calls: service, operation, parameters."""
    asked: list[tuple[str, str, dict[str, Any]]] = []
    last = threading.local()  # each call runs in a thread of its own
    call = BaseClient._make_api_call

    def remembering(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
        asked.append((self.meta.service_model.service_name, operation, parameters))
        last.asked = parameters
        return call(self, operation, parameters)

    def answered(self: Any, model: Any, request: Any, context: Any) -> Any:
        service = self.meta.service_model.service_name
        given = answers.get((service, model.name))
        assert given is not None, f"nobody said what {service}:{model.name} answers"
        try:
            answer = given(last.asked) if callable(given) else given
        except AwsRefusal as refusal:
            return _Http(refusal.status), refusal.answer
        validate_parameters(dict(answer), model.output_shape)
        return _Http(200), {**answer, "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}

    with (
        patch.object(BaseClient, "_make_api_call", remembering),
        patch.object(BaseClient, "_make_request", answered),
        patch.dict("os.environ", {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}),
    ):
        yield asked


def staging(**changes: Any) -> Environment:
    """[stg] of environments.toml, as an account has it."""
    environment = environments.load(ROOT, "stg")
    assert environment.aws is not None
    return environment.model_copy(update={"aws": environment.aws.model_copy(update={"account_id": ACCOUNT}), **changes})


def observed(environment: Environment, probe: Probe[Any], target: Any = None) -> Any:
    """The probe's observation from these answers; raises `Unobserved` if there is none."""
    observatory = Observatory(environment)
    try:
        return observatory.wait(probe, target)
    finally:
        observatory.close()
