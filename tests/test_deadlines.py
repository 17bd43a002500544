"""A probe's deadline counts only the probe's own work: not waiting for other facts, nor the queue before AWS calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from gli.config.environments import Environment
from gli.config.parts import Aws
from gli.observe.engine.aws_session import AwsSession
from gli.observe.engine.observation import Observation, Unobserved
from gli.observe.engine.observatory import Observatory
from gli.observe.engine.probe import Observer, probe


class Fact(Observation):
    value: int = 1


@probe(deadline=5)
async def slow_fact(observer: Observer) -> Fact:
    """A fact that takes longer than the deadline of the probe that waits for it."""
    await asyncio.sleep(0.6)
    return Fact()


@probe(deadline=0.3)
async def built_on_a_slow_fact(observer: Observer) -> Fact:
    """Waits for the slow fact, alone and in parallel with another wait."""
    await observer.see(slow_fact)
    await asyncio.gather(observer.see(slow_fact), observer.see(slow_fact))
    return Fact(value=2)


@probe(deadline=0.3)
async def two_slow_facts_at_once(observer: Observer) -> Fact:
    """Two waits that end at different times."""

    async def later() -> None:
        with observer.waiting():
            await asyncio.sleep(0.5)

    await asyncio.gather(observer.see(slow_fact), later())
    return Fact(value=3)


@probe(deadline=0.3)
async def slow_itself(observer: Observer) -> Fact:
    """Takes longer than its own deadline, also after a wait."""
    await observer.see(slow_fact)
    await asyncio.sleep(5)
    return Fact()


@probe(deadline=0.5)
async def fifth_in_the_queue(observer: Observer) -> Fact:
    """Makes three calls to a service that answers one at a time."""
    await asyncio.gather(*[observer.aws.call(observer, "iam", "get_account_authorization_details") for _ in range(3)])
    return Fact(value=4)


READING: list[str] = []


@probe(deadline=0.6)
async def one_of_many_repositories(observer: Observer, repository: str) -> Fact:
    """Says how many repositories are read while this one is."""
    async with observer.git_turn():
        READING.append(repository)
        await asyncio.sleep(0.3)
        at_once = len(READING)
        READING.remove(repository)
    return Fact(value=at_once)


@pytest.fixture
def observatory() -> Iterator[Observatory]:
    found = Observatory(Environment(name="own", branch="main", aws=Aws(region="ap-northeast-2")))
    yield found
    found.close()


def test_waiting_for_a_slow_fact_does_not_count(observatory: Observatory) -> None:
    assert observatory.wait(built_on_a_slow_fact).value == 2
    assert observatory.wait(two_slow_facts_at_once).value == 3


def test_own_work_after_a_wait_counts(observatory: Observatory) -> None:
    with pytest.raises(Unobserved, match=r"no answer within 0\.3 s"):
        observatory.wait(slow_itself)


def test_the_queue_before_a_call_does_not_count(observatory: Observatory, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object, **__: object) -> dict[str, object]:
        time.sleep(0.3)
        return {}

    monkeypatch.setattr(AwsSession, "_call", answer)
    assert observatory.wait(fifth_in_the_queue).value == 4


def test_the_queue_before_a_repository_does_not_count(observatory: Observatory) -> None:
    names = [f"repository-{n}" for n in range(30)]
    for name in names:
        observatory.begin(one_of_many_repositories, name)
    assert max(observatory.wait(one_of_many_repositories, name).value for name in names) <= 8
