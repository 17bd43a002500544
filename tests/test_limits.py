"""Limits and opinions are data: the defaults hold, and an environment can say otherwise."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from test_contract import module

from conftest import ROOT, Project
from gli.config import environments
from gli.config.data_tier import Cache
from gli.config.parts import Metrics
from gli.config.services import Service
from gli.observe.aws.service_measures import too_few
from gli.observe.aws.sns import Topic
from gli.observe.data.redis import CacheState
from gli.observe.edge.http import HttpExchange


def verdict(*, passes: bool) -> AbstractContextManager[Any]:
    return nullcontext() if passes else pytest.raises(AssertionError)


@pytest.mark.parametrize(
    ("policy", "allowed", "passes"),
    [
        ("volatile-lru", None, True),
        ("noeviction", None, True),
        ("allkeys-lru", None, False),
        ("allkeys-lru", ("allkeys-*",), True),
        ("volatile-lru", ("allkeys-*",), False),
    ],
)
def test_the_memory_policies_of_a_cache(policy: str, allowed: tuple[str, ...] | None, passes: bool) -> None:
    cache = Cache(secret="env:REDIS_URL", **({} if allowed is None else {"policies": allowed}))
    with verdict(passes=passes):
        module("tests_smoke/test_cache.py").test_redis_memory(CacheState(secret="s", policy=policy), cache)


@pytest.mark.parametrize(
    ("confirmed", "subscribers", "passes"),
    [
        (["email", "lambda"], None, True),
        (["https"], None, False),
        (["https"], [["https"]], True),
        (["email"], [["https", "email"]], True),
        (["sms"], [["https", "email"]], False),
    ],
)
def test_who_must_be_subscribed(confirmed: list[str], subscribers: list[list[str]] | None, passes: bool) -> None:
    own = {} if subscribers is None else {"alarms": {"subscribers": subscribers}}
    environment = environments.load(ROOT, "stg", overlay=own)
    topics = {"alerts": Topic(name="alerts", arn="arn:aws:sns:x:1:alerts", confirmed=tuple(confirmed))}
    with verdict(passes=passes):
        module("tests_infra/test_watching.py").test_sns_subscribed(topics, "alerts", environment)


@pytest.mark.parametrize(("days", "least", "passes"), [(180, None, True), (30, None, False), (30, 30, True)])
def test_how_long_browsers_are_told_to_use_https(days: int, least: int | None, passes: bool) -> None:
    own = {} if least is None else {"tls": {"least_hsts_days": least}}
    environment = environments.load(ROOT, "stg", overlay=own)
    headers = {"strict-transport-security": f"max-age={days * 86_400}"}
    landing = HttpExchange(method="GET", url="https://stg.glibiz.com/", status=200, headers=headers, seconds=0.1)
    with verdict(passes=passes):
        module("tests_smoke/test_api.py").test_http_hsts(landing, environment, environment.frontends["user"])


@pytest.mark.parametrize(("said", "outcome"), [("unknown", ("unknown", 1)), ("not-applicable", ("not-applicable", 0))])
def test_too_few_requests_are_unknown_or_not_applicable_as_the_environment_says(
    project: Project, said: Any, outcome: tuple[str, int]
) -> None:
    service = Service(name="api", url="https://shop.example.com")
    unseen = too_few(service, 3, datetime(2026, 1, 31, 9, 0, tzinfo=UTC), Metrics(too_few=said))
    message = "api had 3 requests since 09:00 UTC; 100 tell something"
    assert str(unseen.unknown.message) == message
    project.write(
        "conftest.py",
        "from gli.observe.engine.observation import unknown\nfrom gli.observe.engine.probe import probe\n"
        "from gli.run.plugin import fixture_for\n"
        f"@probe()\nasync def requests(observer): raise unknown({unseen.unknown.cause!r}, {message!r})\n"
        "requests = fixture_for('conftest:requests')\n",
    )
    project.checks("def test_first_check(target, requests): pass\ndef test_second_check(target): pass\n")
    ran = project.run()
    assert ran.verdict is not None
    (line,) = [c for c in ran.verdict["checks"] if c["id"] == "first-check"]
    assert ((line["outcome"], ran.code), line["message"]) == (outcome, message)
    assert ("1 passed, 1 skipped" if said == "not-applicable" else "1 passed, 1 error") in ran.output
