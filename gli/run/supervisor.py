"""Makes the run in a child process. The parent ends with the exit code of the run's verdict.

A check, a plugin or a hostile answer may harm the child: `os.execv`, `exit(0)` of the C library, a regular expression
that never ends, threads and forks that stay, too much memory. The parent notices this, ends the child, writes a NO-GO
to `verdict.json` and prints it as the last line. Another child of the parent writes the reports of such a run and sends
its messages (`gli.run.last_words`). Exit code 0 needs two things: the child reported 0 at its end, and the verdict on
disk is GO. On a system without fork, one process does everything.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from gli.common import clock
from gli.common.documents import content, parsed
from gli.common.sentences import Phrase, phrase
from gli.common.verdict_file import GO, NO_GO, VERDICT, last_line, write_verdict

MEMORY_MB = 200
"""How much memory, in MB, a run of up to 4,000 cases may take in addition to what it had when it began to observe."""
_CASE_KB = 50  # pytest keeps some 30 kB for each case: a larger run may take more than that
_START_S = 150.0  # the run may have to start an environment first, which takes up to 60 s
_LEAVE_S = 5.0  # how long threads and forks may live after the child reported its verdict, or closed its pipe
_TICK_S = 0.05
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_CANNOT_TELL = 3
_USAGE_ERROR = 4
_REPORTS_S, _LATE_REPORTS_S = 8.0, 1.0
"""How many seconds the reports of a run that was ended may take, before and after the run's deadline."""
Reporting = Callable[["Began"], Callable[[], None]]
"""Imports and reads all that the reports of such a run need. What it returns writes them, and sends the messages."""


@dataclass(frozen=True)
class Began:
    """What a run tells its parent when it begins to observe."""

    folder: str
    name: str
    """Of the environment."""
    language: str
    cases: int
    longest_s: float
    """For how many seconds at most it observes."""
    end_s: float
    """How many seconds its end takes after that."""
    overlay: dict[str, Any]
    """The overlay of the environment: its file may be gone when the run has ended."""

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Began | None:
        """What a message says; None for any other message."""
        kinds: dict[str, type] = {"folder": str, "name": str, "language": str, "cases": int, "overlay": dict}
        kinds |= {"longest_s": float, "end_s": float}
        right = message.keys() == kinds.keys() and all(isinstance(message[key], kinds[key]) for key in kinds)
        return cls(**message) if right else None


@dataclass
class Child:
    """The child's side: the messages that the child sends to its parent."""

    pipe: int
    pid: int = field(default_factory=os.getpid)

    @property
    def forked(self) -> bool:
        """Whether this process is a fork that a check made: only the child itself may judge the run."""
        return os.getpid() != self.pid

    def began(self, began: Began) -> None:
        """Tells the parent that the run has its folder, and observes from now on."""
        self._tell(vars(began))

    def judged(self, verdict: str, *, coloured: bool) -> None:
        """Tells the parent the verdict. The parent prints it as the last line when nothing else can print any more."""
        self._tell({"verdict": verdict, "coloured": coloured})

    def end(self, code: int) -> NoReturn:
        """Tells the parent the exit code and ends this process at once, without waiting for threads that still run."""
        self._tell({"code": code})
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    def _tell(self, message: Mapping[str, Any]) -> None:
        with suppress(OSError):
            os.write(self.pipe, json.dumps(message, default=str).encode() + b"\n")


def fork(*, needs_go: bool, reporting: Reporting) -> Child | Callable[[], int] | None:
    """Forks. Returns the `Child` in the child, and in the parent a function that waits for the child and returns the
    exit code. Returns None if the system can't fork.

    `needs_go`: whether exit code 0 needs a GO. `reporting` reports a run that the parent had to end.
    """
    if not hasattr(os, "fork"):
        return None
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    before = _children()
    reading, writing = os.pipe()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # a signal during the fork is not lost
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        return Child(writing)
    os.close(writing)
    signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm that a plugin set: the child does not inherit it
    return _Parent(pid, reading, before, needs_go, reporting).watch


@dataclass
class _Parent:
    """The parent's side: what the parent knows about its child."""

    pid: int
    pipe: int
    before: frozenset[int]
    needs_go: bool
    reporting: Reporting
    began: Began | None = None
    verdict: str | None = None
    """What the child said of its verdict."""
    coloured: bool = False
    code: int | None = None
    """The exit code that the child told at its end."""
    status: int | None = None
    """The exit code of the child once it has ended; 128 plus the signal's number if a signal ended it."""
    _deadline: float = field(default_factory=lambda: time.monotonic() + _START_S)
    _most_mb: float = math.inf
    _begun_with_kb: float = 0.0
    _unread: bytes = b""
    _open: bool = True
    _replaced_by: float = math.inf
    """When a child that has closed its pipe, and is alive, is another program. A child that ends closes the pipe first,
    too.
    """
    _reporter: _Reporter | None = None

    def watch(self) -> int:
        """Waits until the child has ended, or ends the child. Returns the exit code of the run."""
        why = None
        while self.status is None and why is None:
            self._forward()
            self._listen()
            self._reap()
            if self.status is None:
                why = self._against()
        if self.status is None:
            self._kill()
        self._listen()
        _end_orphans(self.before | ({self._reporter.pid} if self._reporter else frozenset()))
        if self.code is None:
            code = self._ended_early(why)
        else:
            code = _CANNOT_TELL if self.code == 0 and self.needs_go and not self._is_go() else self.code
            code = self._said_last(code)
        if self._reporter is not None:
            self._reporter.end()
        return code

    def _forward(self) -> None:
        """Passes on a signal that only this process got. Ctrl-C in a terminal reaches both processes."""
        while hasattr(signal, "sigtimedwait"):
            with suppress(InterruptedError):
                sent = signal.sigtimedwait(_FORWARDED, 0)
                if sent is None:
                    return
                if sent.si_code <= 0:
                    os.kill(self.pid, sent.si_signo)

    def _listen(self) -> None:
        if not self._open:
            time.sleep(_TICK_S if self.status is None else 0)
            return
        while select.select([self.pipe], [], [], _TICK_S if self.status is None else 0)[0]:
            read = os.read(self.pipe, 65_536)
            if not read:
                self._open = False
                self._replaced_by = time.monotonic() + _LEAVE_S
                return
            *lines, self._unread = (self._unread + read).split(b"\n")
            for line in lines:
                with suppress(ValueError):  # a check wrote into the pipe
                    message = parsed(line.decode())
                    self._heard(message if isinstance(message, dict) else {})

    def _heard(self, message: Mapping[str, Any]) -> None:
        began = Began.of(message)
        if began is not None and self.began is None:  # a run begins once: a check may write a second such message
            self.began = began
            self._deadline = time.monotonic() + began.longest_s + began.end_s
            self._begun_with_kb = _memory_kb(self.pid)
            self._most_mb = max(MEMORY_MB, round(began.cases * _CASE_KB / 1024))
        if isinstance(message.get("verdict"), str):
            self.verdict, self.coloured = message["verdict"], bool(message.get("coloured"))
        if isinstance(message.get("code"), int):
            self.code = int(message["code"])
            self._deadline = time.monotonic() + _LEAVE_S

    def _reap(self) -> None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else in this process waited for it
            self.status = _CANNOT_TELL
            return
        if pid:
            code = os.waitstatus_to_exitcode(status)
            self.status = code if code >= 0 else 128 - code

    def _against(self) -> Phrase | None:
        """The reason to end the child now; None if there is none."""
        late = time.monotonic() > self._deadline
        if self.code is not None:
            return phrase("the run stayed after its verdict") if late else None
        if late and self.began is not None:
            return phrase("the run did not end within {} s", round(self.began.longest_s))
        if late:
            return phrase("the run did not begin within {} s", round(_START_S))
        if _memory_kb(self.pid) > self._begun_with_kb + self._most_mb * 1024:
            return phrase("the run took more than {} MB of memory besides what it began with", self._most_mb)
        if time.monotonic() > self._replaced_by:
            return phrase("another program took the place of the run")
        if self.began is not None and self._reporter is None and time.monotonic() > self._deadline - self.began.end_s:
            self._reporter = _Reporter(self.reporting, self.began)  # what it needs takes a second or two
        return None

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        while self.status is None:
            self._reap()
            time.sleep(0.005)

    def _ended_early(self, why: Phrase | None) -> int:
        """Says why there is no verdict, writes a NO-GO, and has it reported. Returns the exit code."""
        assert self.status is not None
        if why is None and self.began is None and self.status == _USAGE_ERROR:
            return self.status  # pytest itself said in one sentence why it makes no run
        why = why or phrase("the process of the run ended with {} before its verdict was there", self.status)
        if self.began is not None:
            self._replace_verdict(Path(self.began.folder), why)
        with suppress(OSError, ValueError):  # nobody can read the output: the exit code and the file say it
            print(f"\nERROR: {why}", flush=True)
            if self.began is not None:
                self._reporter = self._reporter or _Reporter(self.reporting, self.began)
                self._reporter.report(_REPORTS_S if time.monotonic() < self._deadline else _LATE_REPORTS_S)
                print(last_line(self.began.name, NO_GO), flush=True)
        return self.status or _CANNOT_TELL

    def _said_last(self, code: int) -> int:
        """Prints the last line. Returns the exit code: not 0 if nobody can read the line."""
        if self.verdict is None or self.began is None:
            return code
        verdict = GO if self.verdict == GO and self._is_go() else NO_GO
        try:
            print(last_line(self.began.name, verdict, coloured=self.coloured), flush=True)
        except (OSError, ValueError):
            return code or _CANNOT_TELL
        return code

    def _is_go(self) -> bool:
        try:
            return self.began is not None and _on_disk(Path(self.began.folder))["verdict"] == GO
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _replace_verdict(self, folder: Path, why: Phrase) -> None:
        """Replaces the verdict on disk (the first NO-GO, or a GO that came too late) by a NO-GO with this reason."""
        with suppress(OSError, ValueError, TypeError):
            (folder / f"{VERDICT}.sig").unlink(missing_ok=True)
            document = _on_disk(folder)
            said = phrase("incomplete: {}", why)
            held_by: list[dict[str, Any]] = [{"kind": "incomplete", "labels": [], "message": said.document()}]
            write_verdict(
                folder,
                {
                    **document,
                    "verdict": NO_GO,
                    "reasons": [str(said)],
                    "held_by": held_by,
                    "finished": clock.rfc3339(clock.now()),
                    "ends_by": None,
                },
            )


class _Reporter:
    """A child that reports a run which was ended. It imports and reads at once, and waits for the word to report."""

    def __init__(self, reporting: Reporting, began: Began) -> None:
        told, self._word = os.pipe()
        self._gone = False
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._word)
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
            with suppress(BaseException):
                report = reporting(began)
                if os.read(told, 1):
                    report()
            os._exit(0)
        os.close(told)

    def report(self, within_s: float) -> None:
        """Says that it may report, and waits until it has, for this long at most."""
        until = time.monotonic() + within_s
        with suppress(BrokenPipeError):  # it has failed already
            os.write(self._word, b".")
        while time.monotonic() < until and not self._ended():
            time.sleep(_TICK_S)

    def end(self) -> None:
        """Ends the child, if it is still there."""
        if not self._ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _ended(self) -> bool:
        """Whether the child has ended; asked again after that, says so again."""
        with suppress(ChildProcessError):
            self._gone = self._gone or os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        return self._gone


def _on_disk(folder: Path) -> Any:
    """The document in `verdict.json`; raises `OSError` for a pipe, which would never end."""
    return parsed(content(folder / VERDICT).decode())


def _memory_kb(pid: int) -> float:
    """The memory of a process in kB; 0 if the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def _end_orphans(before: frozenset[int]) -> None:
    """Ends the processes that the run left behind, with SIGTERM first: a sandbox that the run started can shut down.

    `before` are the children that this process had before the run.
    """
    until = time.monotonic() + _LEAVE_S
    told: set[int] = set()
    while children := _children() - before:
        late = time.monotonic() > until
        for pid in children if late else children - told:
            told.add(pid)
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        for pid in children:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > until + 1:
            break
        time.sleep(0.01)


def _children() -> frozenset[int]:
    """The ids of this process's children; empty if the system does not list them."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return frozenset()  # no children: skip the search through all processes
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return frozenset(found)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
