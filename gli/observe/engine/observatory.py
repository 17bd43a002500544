"""Runs probes: all that a run needs at once, each one once, with deadlines, on one event loop; records what they saw.

    observatory.begin(probe, target)      # returns at once
    observatory.wait(probe, target)       # the observation, or raises Unobserved

`Observatory` asks the target, `Replay` reads a recorded file, and `gli.observe.engine.worker_sharing.Remote` (in an
xdist worker) asks the observatory of the controlling process.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any, Protocol, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal
from pydantic import ValidationError

from gli.common.clock import now
from gli.common.sentences import phrase
from gli.config.environments import Environment
from gli.observe.engine.aws_session import AwsError, AwsSession
from gli.observe.engine.dial import Dial
from gli.observe.engine.guard import AWS_READS
from gli.observe.engine.http_client import HttpClient
from gli.observe.engine.lateness import Lateness
from gli.observe.engine.observation import NoConnection, Record, Unknown, Unobserved, fact_name, unknown
from gli.observe.engine.probe import Observer, Probe
from gli.observe.engine.remote_clocks import RemoteClocks
from gli.observe.engine.vault import Vault

Seen = TypeVar("Seen")
RUN_DEADLINE_S = 90.0
END_S = 4.0
"""How many seconds a run may take to judge and to write its reports after its deadline."""
_REPOSITORIES_AT_ONCE = 8
"""How many repositories are read at the same time: each costs a connection to the git host, and a dozen processes."""
_QUIET_AT_ONCE = 2
_QUIET_S = 3.0
"""How many seconds all other probes wait for the timed probes: a target that does not answer holds nobody up for
longer.
"""
_TRIES = 3
"""How often a probe runs if this runner is too late to tell: a try may be calm at its start only."""
_TRIES_IN_SILENCE = 2
"""How often a probe runs if nothing comes back to a connection."""


class Observations(Protocol):
    """What the fixtures of checks need of an observatory."""

    def begin(self, probe: Probe[Any], target: Any = None) -> None: ...

    def wait(self, probe: Probe[Seen], target: Any = None) -> Seen: ...

    def close(self) -> None: ...


def target_name(target: Any) -> str:
    """The name under which a target's observations are kept; empty for the whole environment."""
    return "" if target is None else str(getattr(target, "name", target))


class _Daemons(ThreadPoolExecutor):
    """Runs each piece of work in a daemon thread of its own: a call that hangs blocks no other call, and the end of a
    run does not wait for a thread that nothing can cancel.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as e:  # noqa: BLE001 - the caller decides about it
                    future.set_exception(e)

        threading.Thread(target=work, name="observe", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Does not wait for any thread."""


class Observatory:
    """Observes one environment. Thread-safe for callers. Inside, one event loop runs in a thread of its own."""

    def __init__(
        self,
        environment: Environment,
        *,
        first: Probe[Any] | None = None,
        rolled_out: Probe[Any] | None = None,
        patience_s: float = 0.0,
        aws_reads: Mapping[str, frozenset[str]] = AWS_READS,
    ) -> None:
        """`first` runs before every probe that is not preliminary, `rolled_out` before every probe that is not early.
        `patience_s` is how long `rolled_out` may take. `aws_reads` lists the operations that may be sent to AWS.
        """
        self.environment = environment
        self.vault = Vault()
        self.records: list[Record] = []
        self._longest_s = RUN_DEADLINE_S + patience_s
        self.deadline = time.monotonic() + self._longest_s
        self._patient_until = time.monotonic() + patience_s
        self._first, self._rolled_out = first, rolled_out
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._timed: list[asyncio.Task[Any]] = []
        self._quiet = asyncio.Semaphore(_QUIET_AT_ONCE)
        self._quiet_until: float | None = None
        self._silence: tuple[int, asyncio.Task[None]] | None = None
        """How many timed probes had begun, and the wait for their end."""
        self._git_turns = asyncio.Semaphore(_REPOSITORIES_AT_ONCE)
        self._prepared: dict[str, asyncio.Task[None]] = {}
        self._lateness = Lateness()
        self._dial = Dial(environment)
        self.clocks = RemoteClocks()
        self._http = HttpClient(self._dial, self.clocks, len(environment.hosts))
        self._aws = AwsSession(environment, self.clocks, aws_reads)
        self._context = start_blocking_portal("asyncio", name="observatory")
        self._portal: BlockingPortal = self._context.__enter__()
        self._portal.call(self._start)
        if first is not None:
            self.begin(first)

    def begin(self, probe: Probe[Any], target: Any = None) -> None:
        """Starts an observation, unless it has started already; returns at once. Raises `Unobserved` after the end."""
        try:
            self._loop.call_soon_threadsafe(self._begun, probe, target)
        except RuntimeError:  # the loop has ended
            raise _ended() from None

    def wait(self, probe: Probe[Seen], target: Any = None) -> Seen:
        """Waits for the observation and returns it. Raises `Unobserved` if it can't be had in time."""
        task = self._tasks.get(fact_name(probe.name, target_name(target)))
        if task is not None and task.done() and not task.cancelled():
            seen: Seen = task.result()  # most checks ask for what is there: without a way through the loop's thread
            return seen
        try:
            future: Future[Seen] = self._portal.start_task_soon(self.observe, probe, target)
        except RuntimeError:  # anyio's exception for a loop that has ended
            raise _ended() from None
        try:
            return future.result(timeout=max(0.0, self.deadline - time.monotonic()))
        except TimeoutError:
            future.cancel()
            raise unknown(
                "timed-out",
                phrase("{} was not there after {:.0f} s", fact_name(probe.name, target_name(target)), self._longest_s),
            ) from None

    def await_timed(self) -> None:
        """Returns when the timed probes under way have ended, or after 3 seconds."""
        self._portal.call(self._await_timed)

    def awaited(self) -> list[str]:
        """The names of the facts under way; may be asked from any thread."""
        return [name for name, task in list(self._tasks.items()) if not task.done()]

    def close(self) -> None:
        """Ends what still runs and closes every connection."""
        self._portal.call(self._close)
        self._context.__exit__(None, None, None)

    async def observe(self, probe: Probe[Seen], target: Any = None) -> Seen:
        """The observation, for callers inside the event loop: probes build on each other with it."""
        return await asyncio.shield(self._begun(probe, target))

    def _begun(self, probe: Probe[Seen], target: Any) -> asyncio.Task[Seen]:
        name = fact_name(probe.name, target_name(target))
        if name not in self._tasks:
            task = asyncio.create_task(self._run(probe, target), name=name)
            task.add_done_callback(lambda t: t.cancelled() or t.exception())  # read, whether or not somebody waits
            self._tasks[name] = task
            if probe.timed:
                self._timed.append(task)
                self._prepare(probe.libraries)
        return self._tasks[name]

    async def _run(self, probe: Probe[Seen], target: Any) -> Seen:
        if self._first is not None and not probe.preliminary:
            await self.observe(self._first)  # identity first: an account that is not confirmed is asked nothing
        if self._rolled_out is not None and not (probe.preliminary or probe.early):
            with suppress(Unobserved):
                await self.observe(self._rolled_out)
        ahead = probe.ahead and self.environment.signs_in_first
        if not (probe.timed or probe.preliminary or probe.early or ahead):
            await self._await_timed()
        async with self._quiet_turn() if probe.timed else nullcontext():
            return await self._recorded(probe, target)

    def _prepare(self, libraries: Sequence[str]) -> None:
        """Imports the libraries in threads, each once."""

        def work(library: str) -> None:
            with suppress(Exception):  # the probe that needs the library tells why
                if library == "httpx":
                    self._http.prepare()
                importlib.import_module(library)

        for library in libraries:
            if library not in self._prepared:
                self._prepared[library] = asyncio.create_task(asyncio.to_thread(work, library))

    async def _await_timed(self) -> None:
        """The timed probes measure the target while this run does nothing else: all other probes start after them."""
        if self._silence is None or self._silence[0] != len(self._timed):
            self._silence = len(self._timed), asyncio.create_task(self._timed_ended())
        await asyncio.shield(self._silence[1])  # one wait for all: thousands of probes wait for hundreds of timed ones

    async def _timed_ended(self) -> None:
        if running := [task for task in self._timed if not task.done()]:
            await asyncio.wait(running, timeout=self._quiet_left())

    @asynccontextmanager
    async def _quiet_turn(self) -> AsyncIterator[None]:
        """A turn of the timed probes, of which a few run at a time. None waits for its turn longer than the other
        probes wait for all of them.
        """
        if self._prepared:
            await asyncio.wait(self._prepared.values())
        got = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._quiet_left()):
                got = await self._quiet.acquire()
        try:
            yield
        finally:
            if got:
                self._quiet.release()

    def _quiet_left(self) -> float:
        now_s = time.monotonic()
        self._quiet_until = self._quiet_until or now_s + _QUIET_S
        return max(0.0, self._quiet_until - now_s)

    async def _recorded(self, probe: Probe[Seen], target: Any) -> Seen:
        observer = Observer(
            self.environment,
            self._dial,
            self._http,
            self._aws,
            self.vault,
            self,
            self._lateness,
            self._git_turns,
            self._patient_until,
        )
        started, begun = now(), time.monotonic()
        observation: Seen | None = None
        missing: Unknown | None = None
        try:
            observation = await self._observed(probe, target, observer)
            return observation
        except Unobserved as e:
            missing = e.unknown
            raise
        finally:
            self.records.append(
                Record(
                    probe=probe.name,
                    target=target_name(target),
                    started=started,
                    duration_s=round(time.monotonic() - begun, 4),
                    attempts=observer.attempts,
                    requests=observer.requests,
                    phases_s=observer.phases_s,
                    late_s=self._lateness.since(begun),
                    observation=None if observation is None else probe.dump(observation),
                    unknown=missing,
                )
            )

    async def _observed(self, probe: Probe[Seen], target: Any, observer: Observer) -> Seen:
        """What the probe saw. Tries again if this runner was too late to tell, or if no packet came back."""
        late = silent = 0
        while True:
            try:
                return await _tried(probe, target, observer)
            except NoConnection as e:
                silent += 1
                if silent == _TRIES_IN_SILENCE:
                    raise unknown("no-connection", phrase("{} (tried twice)", e.unknown.message)) from None
                if time.monotonic() + probe.deadline > self.deadline:
                    raise
                observer.attempts += 1
            except Unobserved as e:
                late += 1
                no_time = time.monotonic() + probe.deadline > self.deadline
                if e.unknown.cause != "slow-runner" or late == _TRIES or no_time:
                    raise
                await self._lateness.calm()
            observer.phases_s.clear()

    async def _start(self) -> None:
        await self._lateness.start()
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(_Daemons())

    async def _close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._silence is not None:
            self._silence[1].cancel()
        await self._lateness.stop()
        await self._http.close()
        self._dial.close()


def _ended() -> Unobserved:
    return unknown("error", phrase("the run has ended, and observes nothing more"))


async def _tried(probe: Probe[Seen], target: Any, observer: Observer) -> Seen:
    try:
        async with asyncio.timeout(probe.deadline) as observer.timeout:
            return await (probe.run(observer, target) if probe.per_target else probe.run(observer))
    except Unobserved:
        raise
    except TimeoutError:
        observer.over(probe.deadline)
        raise unknown("timed-out", phrase("no answer within {:g} s", probe.deadline)) from None
    except AwsError as e:
        raise unknown("error", e.said) from e
    except Exception as e:
        said = phrase("the probe {} failed: {}: {}", probe.name, type(e).__name__, e)
        raise unknown("error", said) from e


class Replay:
    """Answers from a recorded run; touches no network."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = list(records)
        self._by_name: Mapping[str, Record] = {r.fact: r for r in records}

    def begin(self, probe: Probe[Any], target: Any = None) -> None:
        """Nothing to start: the facts are recorded."""

    def await_timed(self) -> None:
        """Nothing to wait for."""

    def wait(self, probe: Probe[Seen], target: Any = None) -> Seen:
        """The recorded observation. Raises `Unobserved` as in the recorded run, or if the file does not hold it."""
        name = fact_name(probe.name, target_name(target))
        record = self._by_name.get(name)
        if record is None:
            raise unknown("not-recorded", phrase("the recorded run did not observe {}", name))
        return observation_of(probe, record)

    def close(self) -> None:
        """Nothing is open."""


def observation_of(probe: Probe[Seen], record: Record) -> Seen:
    """The recorded fact, as the probe returned it. Raises `Unobserved` for an unknown or a foreign shape."""
    if record.unknown is not None:
        raise Unobserved(record.unknown)
    try:
        return probe.load(record.observation)
    except ValidationError as e:
        why = e.errors()[0]["msg"]
        raise unknown(
            "error", phrase("the record of {} is not what {} returns: {}", record.fact, probe.name, why)
        ) from e
