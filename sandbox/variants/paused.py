"""Blue/green deployments that wait for a verdict: ECS starts the API's new tasks, and pauses before users get them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from sandbox.processes import SOURCE, PartFailed
from sandbox.variants import Sandbox, variant
from sandbox.variants.deployments import by_ecs

_POLL_S = 0.1
HOOK = {
    "targetType": "PAUSE",
    "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
    "timeoutConfiguration": {"timeoutInMinutes": 30, "action": "ROLLBACK"},
}


@variant("native-blue-green-paused")
def native_blue_green_paused(sandbox: Sandbox) -> Iterator[None]:
    """ECS deploys the API blue/green, and pauses after the test listener serves the new tasks: a verdict decides."""
    with by_ecs(sandbox, "BLUE_GREEN", lifecycleHooks=[HOOK]), _agent(sandbox):
        yield


@contextmanager
def _agent(sandbox: Sandbox) -> Iterator[None]:
    """Do what ECS asks for, with real processes, until the end of the block."""
    ended = Event()
    agent = Thread(target=_work, args=(sandbox, ended), name="ecs-agent", daemon=True)
    agent.start()
    try:
        yield
    finally:
        ended.set()
        agent.join()


def _work(sandbox: Sandbox, ended: Event) -> None:
    with suppress(OSError):  # the sandbox ends, and AWS with it
        while not ended.wait(_POLL_S):
            for task in sandbox.aws_overlay("ecs-work")["work"]:
                try:
                    _do(sandbox, task)
                except PartFailed as e:
                    sandbox.aws_overlay("ecs-done", arn=task["arn"], problem=str(e))
                else:
                    sandbox.aws_overlay("ecs-done", arn=task["arn"])


def _do(sandbox: Sandbox, task: dict[str, Any]) -> None:
    """One piece of work. Raises `PartFailed` with a sentence, as ECS gives a reason."""
    repository, _, tag = task["image"].partition("/")[2].partition("@")[0].partition(":")
    if task["do"] == "drop":
        sandbox.run(sandbox.api.drop())
    elif task["do"] == "turn":
        sandbox.run(sandbox.api.turn())
    else:
        known = sandbox.aws("ecr").list_images(repositoryName=repository, maxResults=1000)["imageIds"]
        if tag not in {image.get("imageTag") for image in known}:
            raise PartFailed(f"CannotPullContainerError: {task['image']}: not found")
        if task["do"] == "start":
            sandbox.run(sandbox.api.add(tag, hidden=True))
        else:
            _run(sandbox, tag, task["command"])


def _run(sandbox: Sandbox, revision: str, command: list[str]) -> None:
    """Run a command of the image. The sandbox's API has one: its migrations."""
    if "migrate" not in command:
        raise PartFailed(f"the image has no command {' '.join(command)}")
    environment = {**os.environ, **sandbox.api.environment(0, revision)}
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.api", "migrate"], cwd=SOURCE, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise PartFailed(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
