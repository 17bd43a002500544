"""Runs of pytest and of `gli` in forks of one process that has imported what every run imports (`forked_imports`).

A run in a new process spends half of its time on imports, and a command most of it. The tests make hundreds of both, so
most run here without the imports; everything else is unchanged. Tests about the process itself, and tests that show the
tool as a user sees it, start `python -m pytest`.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

import pytest

TESTS = str(Path(__file__).parent)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["forked_imports"])
_BEGINS_S = 30.0
_TRIES = 3
_WRITES_S = 1.0
_WRITE_STACKS = signal.SIGUSR1
"""Makes a fork write what each of its threads does. (A timer of `faulthandler` hangs in the forks of a fork.)"""


@cache
def _server() -> None:
    """Start the process that is forked. It finds this folder by a variable: Python 3.11 does not hand it `sys.path`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", TESTS)
        forkserver.ensure_running()


def run(arguments: list[str], *, root: Path, env: Mapping[str, str], output: Path, timeout: float) -> int:
    """Run `pytest ARGUMENTS` in `root` and write its output to `output`; returns the exit code."""
    return _forked("pytest", arguments, root, env, (Path(os.devnull), output, output), timeout)


def gli(
    arguments: list[str], *, root: Path, env: Mapping[str, str], says: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `gli ARGUMENTS` in `root` with the input `says`; returns its exit code and its output."""
    with tempfile.TemporaryDirectory(prefix="gli-command-") as folder:
        told, output, errors = (Path(folder, name) for name in ("input", "output", "errors"))
        told.write_text(says)
        code = _forked("gli", arguments, root, env, (told, output, errors), 150)
        return subprocess.CompletedProcess(["gli", *arguments], code, output.read_text(), errors.read_text())


def _forked(
    command: str,
    arguments: list[str],
    root: Path,
    env: Mapping[str, str],
    streams: tuple[Path, Path, Path],
    timeout: float,
) -> int:
    """Run a command in a fork whose standard streams are these files; returns the exit code.

    A fork that does not come as far as the command is ended, and made again: one of many thousands stood still so early
    that its command had not written anything yet.
    """
    _server()
    with tempfile.NamedTemporaryFile("r", prefix="gli-stacks-") as stacks:
        for _ in range(_TRIES):
            begins, begun = _CONTEXT.Pipe(duplex=False)
            process = _CONTEXT.Process(
                target=_child,
                args=(begun, stacks.name, command, arguments, str(root), dict(env), [str(f) for f in streams]),
            )
            process.start()
            begun.close()
            with begins:
                came = begins.poll(_BEGINS_S)
            process.join(timeout if came else 0)
            if process.exitcode is not None:
                return process.exitcode
            _end(process)
            if came:
                break
        told = "".join(path.read_text(errors="replace") for path in dict.fromkeys(streams[1:]) if path.exists())
        said = f"{command} {' '.join(arguments)} did not end within {timeout:.0f} s"
        raise TimeoutError(f"{said}; {stacks.read() or 'it did not begin'}\n{told}")


def _end(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, _WRITE_STACKS)
    process.join(_WRITES_S)
    process.kill()
    process.join()


def _end_with_the_tests() -> None:
    """Wait until the parent is gone (the test run was interrupted), then end this fork."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _child(
    begun: Connection,
    stacks: str,
    command: str,
    arguments: list[str],
    root: str,
    env: dict[str, str],
    streams: list[str],
) -> None:
    from gli.common import sources

    written = os.open(stacks, os.O_WRONLY | os.O_APPEND)
    faulthandler.register(_WRITE_STACKS, file=written)
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    # This process judges, so the tests' own modules must not be loaded, nor the script that started the tests.
    sys.modules.pop("__mp_main__", None)
    sys.modules["__main__"] = ModuleType("__main__")
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(TESTS + os.sep):
            del sys.modules[name]
            sources._loaded.pop(module.__file__, None)
    _use(*streams)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(root)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = [root, *(p for p in sys.path if p != TESTS)]
    sys.argv = [command, *arguments]
    begun.send_bytes(b"begun")
    begun.close()
    if command == "pytest":
        sys.exit(int(pytest.main(arguments)))
    from gli.cli.entry import main

    main()


def _use(told: str, output: str, errors: str) -> None:
    """Make these files the standard streams of this process."""
    os.dup2(os.open(told, os.O_RDONLY), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a descriptor
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1 if errors == output else os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
