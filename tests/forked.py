"""Runs of pytest in forks of one process that has imported what every run imports (`forked_imports`).

A run in a new process spends half of its time on imports. The tests make hundreds of runs, so most of them run here
without the imports; everything else is unchanged. Tests about the process itself, and tests that show the
tool as a user sees it, start `python -m pytest`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType

import pytest

TESTS = str(Path(__file__).parent)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["forked_imports"])


@cache
def _server() -> None:
    """Start the process that is forked. It finds this folder by a variable: Python 3.11 does not hand it `sys.path`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", TESTS)
        forkserver.ensure_running()


def run(arguments: list[str], *, root: Path, env: Mapping[str, str], output: Path, timeout: float) -> int:
    """Run `pytest ARGUMENTS` in `root` and write its output to `output`; returns the exit code."""
    _server()
    process = _CONTEXT.Process(target=_child, args=(arguments, str(root), dict(env), str(output)))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"pytest {' '.join(arguments)} did not end within {timeout:.0f} s")
    return process.exitcode


def _end_with_the_tests() -> None:
    """Wait until the parent is gone (the test run was interrupted), then end this fork."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _child(arguments: list[str], root: str, env: dict[str, str], output: str) -> None:
    from gli.common import sources

    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    # This process judges, so the tests' own modules must not be loaded, nor the script that started the tests.
    sys.modules.pop("__mp_main__", None)
    sys.modules["__main__"] = ModuleType("__main__")
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(TESTS + os.sep):
            del sys.modules[name]
            sources._loaded.pop(module.__file__, None)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(root)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = [root, *(p for p in sys.path if p != TESTS)]
    sys.argv = ["pytest", *arguments]
    sys.exit(int(pytest.main(arguments)))
