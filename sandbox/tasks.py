"""The API's tasks: one process each, behind the API's relay, as ECS runs them behind the load balancer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from sandbox.processes import Child, ReservedPort
from sandbox.relay import Relay


@dataclass(frozen=True, eq=False)
class Task:
    """One running task."""

    revision: str
    port: int
    child: Child
    reserved: ReservedPort


class ApiTasks:
    """Starts and stops tasks, and keeps the relay's upstreams up to date."""

    def __init__(
        self, relay: Relay, test: Relay | None, folder: Path, environment: Callable[[int, str], Mapping[str, str]]
    ) -> None:
        """`test`: the test listener, which serves new tasks before users get them."""
        self._relay, self._test = relay, test
        self._folder = folder
        self.environment = environment
        """From a port and a revision to the environment variables of a task."""
        self._number = count(1)
        self.running: list[Task] = []
        self._new: list[Task] = []

    async def add(self, revision: str, *, hidden: bool = False) -> Task:
        """Start another task; when it listens, users get it, or the test listener alone if it is `hidden`."""
        reserved = ReservedPort()
        port = reserved.port
        name = f"api-{next(self._number)}"
        log = self._folder / f"{name}.log"
        environment = await asyncio.to_thread(self.environment, port, revision)
        child = await Child.start_module(name, "sandbox.api", log=log, env=environment)
        task = Task(revision, port, child, reserved)
        tasks = self._new if hidden else self.running
        tasks.append(task)
        await child.until_it_listens(port)
        self._balance()
        return task

    async def turn(self) -> None:
        """Give users the hidden tasks, and end the others."""
        before, self.running, self._new = self.running, self._new, []
        self._balance()
        for task in before:
            await self._end(task)

    async def drop(self) -> None:
        """End the hidden tasks."""
        new, self._new = self._new, []
        self._balance()
        for task in new:
            await self._end(task)

    async def remove(self, task: Task) -> None:
        """Remove a task from the relay's upstreams and end it."""
        self.running.remove(task)
        self._balance()
        await self._end(task)

    async def _end(self, task: Task) -> None:
        await task.child.stop()
        task.reserved.close()

    async def deploy(self, revision: str) -> None:
        """Replace the running tasks by one task of this revision, without downtime."""
        before = list(self.running)
        await self.add(revision)
        for task in before:
            await self.remove(task)

    async def stop(self) -> None:
        """End all tasks."""
        await self.drop()
        for task in list(self.running):
            await self.remove(task)

    def _balance(self) -> None:
        self._relay.upstreams = [task.port for task in self.running]
        if self._test is not None:
            self._test.upstreams = [task.port for task in self._new or self.running]
