"""What GitHub answers is a fact, or a reason why there is none."""

from __future__ import annotations

import json

import pytest

from gli.observe.edge.http import HttpExchange
from gli.observe.engine.observation import Unobserved
from gli.observe.release.github_runs import runs_in


def answer(status: int | None, body: str = "{}", **headers: str) -> HttpExchange:
    error = None if status else "connection refused"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpExchange(method="GET", url="x", status=status, headers=sent, body=body, seconds=0.1, error=error)


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        (answer(None), "unreachable"),
        (answer(401), "access-denied"),
        (answer(404), "access-denied"),
        (answer(403, x_ratelimit_remaining="0"), "throttled"),
        (answer(429), "throttled"),
        (answer(500), "error"),
        (answer(200, "<html>"), "error"),
        (answer(200, '{"workflow_runs": null}'), "error"),
    ],
)
def test_an_answer_without_runs_is_unknown(seen: HttpExchange, cause: str) -> None:
    with pytest.raises(Unobserved) as raised:
        runs_in(seen, "app")
    assert raised.value.unknown.cause == cause


def test_no_run_is_a_fact() -> None:
    assert runs_in(answer(200, json.dumps({"total_count": 0, "workflow_runs": []})), "app") == []
