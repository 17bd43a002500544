"""A part of the sandbox that does not start: the message has the awaited state, the time, and the log's last line."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import time
from itertools import repeat
from pathlib import Path

import pytest

from gli.common.errors import UsageError
from gli.run import provider
from sandbox import processes
from sandbox.processes import LOOPBACK, Child, PartFailed, ReservedPort, listens, run

HANGS = [sys.executable, "-c", "import time; print('warming up', flush=True); time.sleep(600)"]


def test_a_part_that_never_starts_is_one_sentence(tmp_path: Path) -> None:
    async def wait() -> None:
        child = await Child.start("cache", HANGS, log=tmp_path / "log")
        try:
            await child.until(lambda: child.tail() == "warming up", "its log")
            await child.until(lambda: False, "it to listen on port 1", seconds=0.2)
        finally:
            await child.stop()

    with pytest.raises(PartFailed) as failed:
        asyncio.run(wait())
    assert str(failed.value) == (
        "cache: waited 0.2 s for it to listen on port 1; the process runs, and its log ends with: warming up"
    )


def test_a_part_that_has_ended_is_not_awaited(tmp_path: Path) -> None:
    async def wait() -> None:
        child = await Child.start("cache", ["sh", "-c", "echo no space left; exit 3"], log=tmp_path / "log")
        await child.until(lambda: False, "it to listen on port 1")

    with pytest.raises(PartFailed, match=r"^cache ended with 3: no space left$"):
        asyncio.run(wait())


def test_a_command_that_never_ends_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Child.until_it_ends, "__defaults__", (0.2,))
    sentence = "^initdb: waited 0.2 s for it to end; the process runs, and its log ends with: "
    with pytest.raises(PartFailed, match=sentence):
        asyncio.run(run(HANGS, name="initdb", log=tmp_path / "log"))


@pytest.mark.parametrize("holds", [True, False], ids=["held while bound", "chosen"])
def test_a_reserved_port_is_free_for_its_server_only(holds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux reserves the port; other systems only choose a free port, because a bound socket would block the server."""
    monkeypatch.setattr(processes, "_HELD_WHILE_BOUND", holds)
    reserved = [ReservedPort() for _ in range(50)]
    assert len({one.port for one in reserved}) == 50
    assert not listens(reserved[0].port)
    with socket.create_server((LOOPBACK, reserved[0].port)):
        assert listens(reserved[0].port)
    for one in reserved:
        one.close()


def test_only_free_ports_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_HELD_WHILE_BOUND", False)
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(processes, "_ports_in_turn", repeat(port))
        with pytest.raises(PartFailed, match=r"no port from \d+ to \d+ is free"):
            ReservedPort()


PROVIDER = """
import os, pathlib, time
spoken = 0
def say(line):
    global spoken
    print(line, flush=True)
    spoken += 1
    pathlib.Path("new").write_text(str(spoken))
    pathlib.Path("new").replace("spoken")
for _ in range({lines}):
    say("still waiting for the database")
    time.sleep(0.2)
if {comes_up}:
    pathlib.Path("overlay.toml").write_text(f"provider_pid = {os.getpid()}")
else:
    say("asleep")
time.sleep(600)
"""


class Clock:
    """A fake clock: each line of the provider takes 50 s; after `last` lines the provider is silent for hours."""

    def __init__(self, folder: Path, last: int) -> None:
        self._spoken = folder / "spoken"
        self._last = last
        self._asked_since = 0

    def monotonic(self) -> float:
        spoken = int(self._spoken.read_text()) if self._spoken.exists() else 0
        self._asked_since += spoken == self._last
        return spoken * 50.0 + (10_000 if self._asked_since > 4 else 0)

    sleep = staticmethod(time.sleep)


def start(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: int, *, comes_up: bool) -> provider.Provider | None:
    source = PROVIDER.replace("{lines}", str(lines)).replace("{comes_up}", str(comes_up))
    (folder / "provided.py").write_text(source)
    monkeypatch.setattr(provider, "time", Clock(folder, last=lines + 1))
    tables = {"provider": "provided", "overlay": "overlay.toml"}
    return provider.start_if_down(folder, "local", tables, say=lambda _: None)


def test_an_environment_that_never_starts_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError) as refused:
        start(tmp_path, monkeypatch, 1, comes_up=False)
    sentence, _, last = str(refused.value).partition("; ")
    assert sentence == "`python -m provided up --env local` is not ready after 10100 s"
    assert re.fullmatch(r"the last that it said, \d+ s ago: asleep", last)


def test_an_environment_that_reports_progress_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start takes 500 s, longer than the limit for silence."""
    started = start(tmp_path, monkeypatch, 10, comes_up=True)
    assert started is not None
    started.stop()
