"""No answer that a test gives may differ from what AWS could answer, by botocore's models (tests/aws_shapes.py)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import aws_shapes
import botocore.session
import pytest

ALARM = {"AlarmName": "a", "StateValue": "OK", "StateUpdatedTimestamp": datetime.now(UTC), "ActionsEnabled": True}


def shape(service: str, name: str) -> Any:
    return botocore.session.get_session().get_service_model(service).shape_for(name)


@pytest.mark.parametrize(
    ("changed", "objection"),
    [
        ({}, None),
        ({"StateValue": "MAYBE"}, "is 'MAYBE', none of"),
        ({"Statevalue": "OK"}, "Statevalue is no member"),
        ({"ActionsEnabled": "true"}, "is no boolean"),
        ({"StateUpdatedTimestamp": "2026-01-01"}, "is no timestamp"),
        ({"Dimensions": {"Name": "a"}}, "is no list"),
        ({"EvaluationPeriods": True}, "is no integer"),
    ],
)
def test_an_answer_of_another_shape_is_refused(changed: dict[str, Any], objection: str | None) -> None:
    found = aws_shapes.objections(shape("cloudwatch", "MetricAlarm"), ALARM | changed, "alarm")
    assert [objection in text for text in found] == ([True] if objection else [])


def test_a_member_that_is_missing_is_refused() -> None:
    found = aws_shapes.objections(shape("cloudfront", "Aliases"), {"Items": ["x"]}, "Aliases")
    assert found == ["Aliases.Quantity is required"]


def test_a_request_that_asks_for_too_much_is_refused() -> None:
    listing = botocore.session.get_session().get_service_model("secretsmanager").operation_model("ListSecrets")
    asked = {"Filters": [{"Key": "name", "Values": [str(n) for n in range(11)]}]}
    assert aws_shapes.excess(listing.input_shape, asked, "secretsmanager.ListSecrets")
