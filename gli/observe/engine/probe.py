"""What a probe is, and what it may use: an async function that observes one thing, with a deadline, reading only.

    @probe(deadline=5)
    async def websocket_session(observer: Observer, service: Service) -> WebSocketSession:
        ...

A probe with one parameter observes the environment as a whole, one with two observes a target of it. It returns a
fact or raises `Unobserved`; a fixture of the same name waits for it (see `gli.run.plugin.fixture_for`).
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, get_type_hints

from pydantic import TypeAdapter

from gli.common.sentences import phrase
from gli.observe.engine.observation import unknown
from gli.observe.engine.probe_places import PLACES

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.observe.engine.aws_session import AwsSession
    from gli.observe.engine.dial import Dial
    from gli.observe.engine.http_client import HttpClient
    from gli.observe.engine.lateness import Lateness
    from gli.observe.engine.vault import Vault

Seen = TypeVar("Seen")
PROBES: dict[str, Probe[Any]] = {}


@dataclass(frozen=True)
class Probe(Generic[Seen]):
    """A probe function with its name and its deadline in seconds."""

    name: str
    run: Callable[..., Awaitable[Seen]]
    deadline: float
    per_target: bool
    preliminary: bool = False
    """Runs before the identity is confirmed: this probe confirms it."""
    early: bool = False
    """Runs before a rollout has ended, if the run waits for one: it tells how far the rollout is."""
    timed: bool = False
    """Judged by how long the target took: runs with other timed probes only, before the work that keeps this runner
    busy.
    """
    slow: bool = False
    """Takes long by itself: its checks are judged last, so that no other check waits for them."""
    ahead: bool = False
    """Does not wait for the timed probes if they need a login (`signs_in_first`): they wait for this one."""
    libraries: tuple[str, ...] = ()
    """The modules that a timed probe imports. They are imported before the first timed probe begins: otherwise the
    import would count as the target's time.
    """
    after: tuple[Probe[Any], ...] = ()
    """Probes of the whole environment that this probe waits for: they start before all others."""

    def dump(self, observation: Seen) -> Any:
        """The observation in its JSON form."""
        return self._adapter.dump_python(observation, mode="json", warnings=False)

    def load(self, recorded: Any) -> Seen:
        """The observation from its JSON form. Raises `pydantic.ValidationError` if the JSON is of another probe."""
        return self._adapter.validate_python(recorded)

    @cached_property
    def _adapter(self) -> TypeAdapter[Seen]:
        return TypeAdapter(get_type_hints(self.run)["return"])


def probe(
    *,
    deadline: float = 10.0,
    preliminary: bool = False,
    early: bool = False,
    timed: bool = False,
    slow: bool = False,
    ahead: bool = False,
    libraries: Sequence[str] = (),
    after: Sequence[Probe[Any]] = (),
) -> Callable[[Callable[..., Awaitable[Seen]]], Probe[Seen]]:
    """Makes a probe of an async function and registers it under the function's name."""

    def register(run: Callable[..., Awaitable[Seen]]) -> Probe[Seen]:
        name = run.__name__
        if name in PROBES:
            raise ValueError(f"two probes are named {name}: {PROBES[name].run.__module__} and {run.__module__}")
        per_target = len(inspect.signature(run).parameters) == 2
        PROBES[name] = Probe(
            name, run, deadline, per_target, preliminary, early, timed, slow, ahead, tuple(libraries), tuple(after)
        )
        return PROBES[name]

    return register


def is_probe(name: str) -> bool:
    """Whether there is a probe of this name. Imports nothing."""
    return name in PLACES or name in PROBES


def probe_of(name: str) -> Probe[Any] | None:
    """The probe of this name; its module is imported if conftest.py names it. None if there is no such probe.

    Raises `ImportError` if the module that conftest.py names does not define the probe.
    """
    module = PLACES.get(name)
    if name not in PROBES and module is not None:
        importlib.import_module(module)
        if name not in PROBES:
            raise ImportError(f"conftest.py: {module} has no probe {name}")
    return PROBES.get(name)


class Sees(Protocol):
    """Lets a probe build on another probe's observation: the observatory."""

    async def observe(self, probe: Probe[Seen], target: Any = None) -> Seen: ...


@dataclass
class Observer:
    """The tools of one running probe. Counts what the probe sends and how long each phase takes."""

    environment: Environment
    dial: Dial
    http: HttpClient
    aws: AwsSession
    vault: Vault
    sees: Sees
    lateness: Lateness
    git_turns: asyncio.Semaphore
    patient_until: float = 0.0
    """Until when this run waits for a rollout to end (`--await-rollout`), in seconds of `time.monotonic`."""
    timeout: asyncio.Timeout | None = None
    requests: dict[str, int] = field(default_factory=dict)
    phases_s: dict[str, float] = field(default_factory=dict)
    attempts: int = 1
    _waited_s: float = 0.0
    _waits: int = 0
    _left_s: float = 0.0

    async def see(self, probe: Probe[Seen], target: Any = None) -> Seen:
        """Another probe's observation, made once for all; raises `Unobserved` if there is none. The wait does not count
        against this probe's own deadline.
        """
        with self.waiting():
            return await self.sees.observe(probe, target)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Stops the clock of the probe's deadline: a deadline counts the probe's own work, not the queue before it.
        Several waits at once count as one: the clock goes on when the last of them has ended.
        """
        self._waits += 1
        if self._waits == 1 and self.timeout is not None and (when := self.timeout.when()) is not None:
            self._left_s = when - asyncio.get_running_loop().time()
            self.timeout.reschedule(None)
        try:
            yield
        finally:
            self._waits -= 1
            if self._waits == 0 and self.timeout is not None:
                with suppress(RuntimeError):  # the probe has ended before this wait
                    self.timeout.reschedule(asyncio.get_running_loop().time() + self._left_s)

    @asynccontextmanager
    async def git_turn(self) -> AsyncIterator[None]:
        """One of the few repositories that git asks and reads at the same time, of all probes together."""
        with self.waiting():
            await self.git_turns.acquire()
        try:
            yield
        finally:
            self.git_turns.release()

    @property
    def is_patient(self) -> bool:
        """Whether the run still waits for a rollout to end."""
        return time.monotonic() < self.patient_until

    async def try_again(self, after_s: float, at_most_s: float = math.inf) -> bool:
        """Waits for a rollout to go on. False if the run's patience has ended, or that much time of this probe. The
        wait does not count against the probe's deadline.
        """
        begun = time.monotonic()
        pause = min(after_s, self.patient_until - begun, at_most_s - self._waited_s)
        if pause <= 0:
            return False
        with self.waiting():
            await asyncio.sleep(pause)
        self._waited_s += pause
        self.attempts += 1
        return True

    def over(self, limit_s: float, begun: float | None = None) -> None:
        """To be called if something that began at `begun` took longer than its limit; without `begun`: that long ago.
        Returns if the target took so long; raises `Unobserved` if this runner may be the reason.
        """
        begun = time.monotonic() - limit_s if begun is None else begun
        if self.lateness.spoils(limit_s, begun):
            late_s = self.lateness.since(begun)
            raise unknown(
                "slow-runner",
                phrase("this runner was too slow to tell: {:.1f} s late while it waited {:g} s", late_s, limit_s),
            )

    @asynccontextmanager
    async def within(self, limit_s: float) -> AsyncIterator[None]:
        """Gives the target so many seconds in which this runner is in time: what the loop was late is added, up to as
        long again. Raises `TimeoutError` if the target took longer; `Unobserved` if this runner was late for too long.
        """
        begun = time.monotonic()

        async def end(timeout: asyncio.Timeout) -> None:
            left_s = limit_s
            while left_s > 0:
                await asyncio.sleep(left_s)
                left_s = limit_s + min(limit_s, self.lateness.since(begun)) - (time.monotonic() - begun)
            timeout.reschedule(asyncio.get_running_loop().time())

        try:
            async with asyncio.timeout(None) as timeout:
                timer = asyncio.create_task(end(timeout))
                try:
                    yield
                finally:
                    timer.cancel()
        except TimeoutError:
            if self.lateness.since(begun) > limit_s:
                self.over(limit_s, begun)
            raise

    def count(self, kind: str, n: int = 1) -> None:
        """Adds to the requests that this observation took."""
        self.requests[kind] = self.requests.get(kind, 0) + n

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times one phase of the observation."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.phases_s[name] = round(time.monotonic() - begun, 4)
