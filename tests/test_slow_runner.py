"""What is measured is the target: where this runner itself was late, the outcome is unknown, and says so."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gli.config.environments import Environment
from gli.config.parts import Dns
from gli.config.services import Service
from gli.observe.edge import dns, http, tcp
from gli.observe.edge.http import landing
from gli.observe.edge.tcp import TcpConnection, open_port
from gli.observe.engine import lateness, observatory
from gli.observe.engine.observation import Observation, Unobserved
from gli.observe.engine.observatory import Observatory
from gli.observe.engine.probe import Observer, Probe, probe
from sandbox.relay import silent_port
from tests_smoke.test_api import test_api_health as judge_health


class Moment(Observation):
    begun: float
    ended: float


async def stand_still(seconds: float) -> None:
    """The fault: the whole loop does nothing else for so long."""
    time.sleep(seconds)
    await asyncio.sleep(0.1)


@probe(deadline=0.5)
async def late_once(observer: Observer) -> Moment:
    """The loop stands still at the first try alone."""
    observer.count("try")
    if observer.requests["try"] == 1:
        await stand_still(0.6)
    return Moment(begun=0, ended=0)


@probe(deadline=0.5)
async def always_late(observer: Observer) -> Moment:
    """The loop stands still at each try."""
    observer.count("try")
    await stand_still(0.6)
    return Moment(begun=0, ended=0)


@probe(deadline=1)
async def never_there(observer: Observer) -> Moment:
    """The loop is in time, and the target is not."""
    observer.count("try")
    await asyncio.sleep(60)
    return Moment(begun=0, ended=0)


@probe(deadline=60, preliminary=True)
async def busy(observer: Observer) -> Moment:
    """Keeps the loop from its work for most of the time, as imports and other probes do."""
    while True:
        await stand_still(1.2)


@probe(timed=True)
async def timed(observer: Observer) -> Moment:
    """Judged by its time."""
    begun = time.monotonic()
    await asyncio.sleep(0.3)
    return Moment(begun=begun, ended=time.monotonic())


@probe(deadline=60, timed=True)
async def timed_without_an_answer(observer: Observer) -> Moment:
    """A target that says nothing."""
    await asyncio.sleep(50)
    return Moment(begun=0, ended=0)


@probe()
async def one_of_many(observer: Observer) -> Moment:
    """Judged by what it sees."""
    return Moment(begun=time.monotonic(), ended=time.monotonic())


@probe(deadline=20)
async def answered_at_once(observer: Observer) -> Moment:
    """The target answers in time; the loop stands still at each try until the limit has passed."""
    observer.count("try")
    async with observer.within(1):
        await stand_still(1.1)
    return Moment(begun=0, ended=0)


@probe(deadline=20)
async def no_answer_in_time(observer: Observer, wait_s: float) -> Moment:
    """The target does not answer; the loop stands still for so long meanwhile."""
    observer.count("try")
    try:
        async with observer.within(1):
            time.sleep(wait_s)
            await asyncio.sleep(60)
    except TimeoutError:
        return Moment(begun=0, ended=time.monotonic())
    raise AssertionError("nobody answers")


@probe(deadline=20)
async def port(observer: Observer, service: Service) -> TcpConnection:
    """Whether a port opens."""
    return await open_port(observer, service.host, service.port)


@probe(deadline=20)
async def asked_of_a_resolver(observer: Observer) -> Moment:
    """Asks the environment's resolver."""
    await dns.answers(observer, "glibiz.example", "NS")
    return Moment(begun=0, ended=0)


@contextmanager
def answering(after_s: float) -> Iterator[int]:
    """The port of a server that answers each request with 200 after so long."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    asked, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(asked,), daemon=True).start()

        def answer(asked: socket.socket) -> None:
            with asked:
                asked.recv(65536)
                time.sleep(after_s)
                asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def silent_resolver() -> Iterator[Environment]:
    """An environment whose resolver does not answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port_ = server.getsockname()[1]
        yield Environment(name="own", branch="main", dns=Dns(resolvers=(f"127.0.0.1:{port_}",)))


def at(port: int) -> Service:
    return Service(name="api", url=f"http://127.0.0.1:{port}", repository="api")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Observatory]:
    monkeypatch.setattr(lateness, "_LONGEST_WAIT_S", 1.0)
    monkeypatch.setattr(observatory, "_QUIET_S", 1.0)
    monkeypatch.setattr(http, "BUDGET_S", 1.0)
    found = Observatory(Environment(name="own", branch="main"))
    yield found
    found.close()


@pytest.fixture
def in_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets a loaded machine's loop count as in time, from the call on."""
    return lambda: monkeypatch.setattr(lateness.Lateness, "since", lambda *_: 0.0)


def told(seen: Observatory, probe: Probe[object], target: object = None) -> str:
    with pytest.raises(Unobserved) as why:
        seen.wait(probe, target)
    assert why.value.unknown.cause in ("slow-runner", "timed-out")
    return f"{why.value.unknown.cause}: {why.value.unknown.message}"


def test_a_late_answer_is_asked_again_and_does_not_count_as_an_attempt(seen: Observatory) -> None:
    seen.wait(late_once)
    (record,) = seen.records
    assert (record.attempts, record.requests, record.unknown) == (1, {"try": 2}, None)
    assert record.late_s >= 0.5


def test_three_late_answers_are_unknown_with_the_delay(seen: Observatory) -> None:
    assert told(seen, always_late).startswith("slow-runner: this runner was too slow to tell: ")
    assert seen.records[0].requests == {"try": 3}


def test_the_time_that_this_runner_was_late_is_added_to_the_limit(seen: Observatory) -> None:
    seen.wait(answered_at_once)
    assert seen.records[0].requests == {"try": 1}


def test_a_target_is_silent_where_it_had_its_whole_time_beside_the_delay(seen: Observatory) -> None:
    begun = time.monotonic()
    assert seen.wait(no_answer_in_time, 0.3).ended - begun >= 1.2


def test_a_delay_longer_than_the_limit_is_unknown(seen: Observatory) -> None:
    assert told(seen, no_answer_in_time, 1.4).startswith("slow-runner: this runner was too slow to tell: ")
    assert seen.records[0].requests == {"try": 3}


def test_a_target_that_does_not_answer_is_asked_once(seen: Observatory, in_time: Callable[[], None]) -> None:
    in_time()
    assert told(seen, never_there) == "timed-out: no answer within 1 s"
    assert seen.records[0].requests == {"try": 1}


def test_a_quick_target_is_not_called_slow_by_a_busy_runner(seen: Observatory) -> None:
    seen.begin(busy)
    with answering(0.3) as port_:
        assert told(seen, landing, at(port_)).startswith("slow-runner: this runner was too slow to tell")


def test_a_slow_target_is_failed(
    seen: Observatory, in_time: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_time()
    monkeypatch.setitem(judge_health.__globals__, "BUDGET_S", 1.0)
    with answering(1.2) as port_:
        found = seen.wait(landing, at(port_))
    assert found.status == 200 and found.attempts == 3
    with pytest.raises(AssertionError, match=r"within 1 s, saw \d+\.\d+ s"):
        judge_health(found)


@pytest.mark.parametrize("late", [True, False])
def test_a_port_is_called_silent_only_where_the_runner_is_in_time(
    seen: Observatory, in_time: Callable[[], None], monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr(tcp, "TIMEOUT_S", 1.0)
    with silent_port() as port_:
        if late:
            seen.begin(busy)
            assert told(seen, port, at(port_)).startswith("slow-runner")
        else:
            in_time()
            found = seen.wait(port, at(port_))
            assert found.silent and "no connection within 1 s" in str(found.error)


@pytest.mark.parametrize("late", [True, False])
def test_a_resolver_that_does_not_answer_is_unreachable_where_the_runner_is_in_time(
    seen: Observatory, in_time: Callable[[], None], monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr(dns, "_TIMEOUT_S", 1.0)
    with silent_resolver() as environment:
        observatory = Observatory(environment)
        if late:
            observatory.begin(busy)
        else:
            in_time()
        try:
            with pytest.raises(Unobserved, match="too slow to tell" if late else "nobody tells where") as why:
                observatory.wait(asked_of_a_resolver)
        finally:
            observatory.close()
    assert why.value.unknown.cause == ("slow-runner" if late else "unreachable")


def test_others_wait_for_the_timed_ones(seen: Observatory) -> None:
    for one in (timed, one_of_many):
        seen.begin(one)
    assert seen.wait(one_of_many).begun >= seen.wait(timed).ended


def test_others_do_not_wait_for_a_target_that_does_not_answer(seen: Observatory) -> None:
    for one in (timed_without_an_answer, one_of_many):
        seen.begin(one)
    seen.wait(one_of_many)
    assert [r.probe for r in seen.records] == ["one_of_many"]
