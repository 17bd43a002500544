"""A bound process ends when its starter ends, however that happens, by the chosen signal."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conftest import ROOT
from gli.common.bound_process import Bond

STARTER = """
import signal, subprocess, sys, time
from gli.common.bound_process import Bond
bond = Bond(signal.Signals[sys.argv[1]])
child = subprocess.Popen(bond.command(sys.argv[2:]), stdin=bond.stdin, stdout=sys.stderr)
bond.started()
print(child.pid, flush=True)
time.sleep(600)
"""
# Records the signal that ended it.
WITNESS = """
import signal, sys, time
def seen(number, frame):
    print(signal.Signals(number).name, flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, seen)
signal.signal(signal.SIGQUIT, seen)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def start(log: Path, sign: str, *argv: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    with log.open("w") as errors:
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, sign, *argv], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert starter.stdout is not None
    return starter, psutil.Process(int(starter.stdout.readline()))


def kill(starter: subprocess.Popen[str]) -> None:
    starter.kill()
    starter.communicate()


def lines(log: Path) -> Iterator[str]:
    """Yield the lines of its output as they come, for at most 20 s."""
    until, read = time.monotonic() + 20, 0
    while time.monotonic() < until:
        said = log.read_text().splitlines()
        yield from said[read:]
        read = len(said)
        time.sleep(0.05)


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGQUIT"])
def test_the_command_gets_the_signal_when_its_starter_is_killed(log: Path, sign: str) -> None:
    starter, command = start(log, sign, sys.executable, "-c", WITNESS)
    said = lines(log)
    assert next(said) == "ready"
    watchers = command.children()
    kill(starter)
    assert next(said) == sign
    assert psutil.wait_procs([command, *watchers], timeout=20)[1] == []


def test_a_command_that_ignores_the_signal_is_killed(log: Path) -> None:
    starter, command = start(log, "SIGKILL", "/bin/sh", "-c", "trap '' HUP INT TERM; while :; do sleep 1; done")
    kill(starter)
    assert psutil.wait_procs([command], timeout=20)[1] == []


def test_the_exit_code_and_the_arguments_are_passed_through() -> None:
    bond = Bond(signal.SIGTERM)
    argv = ["/bin/sh", "-c", 'printf "%s|" "$@"; cat; exit 7', "sh", "a b", "", "$HOME"]
    process = subprocess.Popen(bond.command(argv), stdin=bond.stdin, stdout=subprocess.PIPE, text=True)
    bond.started()
    assert process.communicate(timeout=20)[0] == "a b||$HOME|", "and its standard input is empty"
    bond.release()
    assert process.returncode == 7


def test_release_ends_the_watcher_but_not_the_command() -> None:
    bond = Bond(signal.SIGKILL)
    process = subprocess.Popen(bond.command(["sleep", "600"]), stdin=bond.stdin)
    bond.started()
    command = psutil.Process(process.pid)
    while not (watchers := command.children()):
        time.sleep(0.01)
    bond.release()
    try:
        while any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in watchers):
            time.sleep(0.01)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
