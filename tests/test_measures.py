"""How metrics and log lines are read: no data gives no number, and error messages lose personal details."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gli.observe.aws.cloudwatch import STEP, Metrics, step_of
from gli.observe.aws.logs import _kind
from gli.observe.engine.observation import Unobserved

TAKEN = datetime(2026, 1, 31, 9, 2, 30, tzinfo=UTC)


def _metrics(*ages: timedelta) -> Metrics:
    points = tuple((step_of(TAKEN) - age, float(n)) for n, age in enumerate(ages))
    return Metrics(taken=TAKEN, series={"api RequestCount": points})


def test_steps_are_aligned_as_cloudwatch_aligns_them() -> None:
    assert step_of(TAKEN) == datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
    assert step_of(step_of(TAKEN)) == step_of(TAKEN)


def test_the_newest_value_is_one_of_the_last_minutes() -> None:
    assert _metrics(2 * STEP, STEP).latest("api", "RequestCount") == 1.0
    with pytest.raises(Unobserved, match="no RequestCount of api in the last 15 min"):
        _metrics(12 * STEP).latest("api", "RequestCount")


def test_a_missing_metric_is_not_zero() -> None:
    with pytest.raises(Unobserved, match="could not be asked for"):
        _metrics().between("websocket", "RequestCount", TAKEN - STEP, TAKEN)


@pytest.mark.parametrize(
    "line",
    [
        "ERROR order 17 could not be paid: KeyError 'currency'",
        'ERROR order 4711 could not be paid: KeyError "amount"\n  File "/app/pay.py", line 3',
    ],
)
def test_errors_of_one_kind_are_grouped_without_their_details(line: str) -> None:
    assert _kind(line) == "ERROR order … could not be paid: KeyError …"


def test_a_mail_address_or_a_path_stays_out_of_the_report() -> None:
    assert _kind("ERROR no account for kim@example.com at /users/kim") == "ERROR no account for … at …"
