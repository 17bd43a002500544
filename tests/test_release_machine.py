"""Two machines in any order: suspended, killed, answers lost, pushes refused, tags and refs that can't be deleted.

A state machine (hypothesis) chooses the order. The invariant: after both machines have resumed and have followed
doctor's advice, all repositories are at one release, doctor confirms that on both, and the next release succeeds.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import release_rig
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from release_rig import FIRST_TAG, HOME, THREE, Ended, Rig

from gli.git.command import GitFailed
from gli.git.refs import LOCK
from gli.release import doctor, lock
from gli.release.journal import Event, Journal
from gli.release.mirror import Mirror
from gli.release.session import half_finished

MACHINES = st.sampled_from(["one", "two"])
RELEASES = ["dev stg", "dev stg", "stg main"]
WAYS = st.sampled_from([*RELEASES, "back", "resume", "undo", "take over", "take over"])
HOWS = st.sampled_from(["suspended", "suspended", "killed", "awake"])
LINES = st.integers(min_value=3, max_value=13)
"""Of a journal: a promotion of three repositories writes 11, an undone one 14."""
HOSTS = st.tuples(
    st.sampled_from(THREE), st.sampled_from([*["answers"] * 3, "loses", "refuses", "keeps tags", "keeps"])
)
"""What a host does from now on: it loses the next answer, refuses all branches, or keeps tags or all refs for ever."""
KEEPS_TAGS = "#!/bin/sh\ncase $1:$3 in refs/tags/*:0000*) exit 1;; esac\n"
KEEPS = "#!/bin/sh\ncase $3 in 0000*) exit 1;; esac\n"
MAY_BE_LEFT = ("still has refs/promotions/", "of this machine's operations are not in the deployment log")
"""What doctor may find at the end: refs that a host keeps, and lines that the next operation brings."""


class Killed(BaseException):
    """The process was killed: it does nothing more."""


class Process:
    """One operation in a thread, suspended or killed right after a line of its journal."""

    current: dict[Path, Process] = {}  # noqa: RUF012 - by the folder of the machine's state

    def __init__(self, rig: Rig, work: Callable[[Rig], Ended], line: int, how: str) -> None:
        self.rig, self.line, self.how = rig, line, how
        self.ended: Ended | None = None
        self.stopped, self.goes_on, self.is_killed = threading.Event(), threading.Event(), False
        Process.current[rig.state] = self
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self.thread.start()
        while self.thread.is_alive() and not self.stopped.wait(0.01):
            pass

    def _run(self, work: Callable[[Rig], Ended]) -> None:
        with suppress(Killed):
            self.ended = work(self.rig)

    def wrote(self, line: int) -> None:
        if self.is_killed:
            raise Killed
        if line != self.line or self.goes_on.is_set():
            return
        if self.how == "suspended":
            self.stopped.set()
            self.goes_on.wait()
        self.is_killed = self.is_killed or self.how == "killed"
        if self.is_killed:
            raise Killed

    def end(self, *, kill: bool) -> None:
        self.is_killed = self.is_killed or kill
        self.goes_on.set()
        self.thread.join()
        Process.current.pop(self.rig.state, None)


class Machines(RuleBasedStateMachine):
    """Two machines on the same three repositories."""

    steps = 0
    orders: set[tuple[tuple[str, str], ...]] = set()  # noqa: RUF012 - of all examples
    """Each different history: what each machine began, the lines of its journal, when it was woken up or killed, and
    what the hosts refused, kept or lost meanwhile, in their order: (machine or repository, event).
    """
    order: list[tuple[str, str]] = []  # noqa: RUF012
    """Of the example that runs."""

    def __init__(self) -> None:
        super().__init__()
        Machines.order = []
        self.folder = Path(tempfile.mkdtemp(prefix="gli-machine-"))
        made = release_rig.make(self.folder, THREE)
        self.rigs = {name: replace(made, state=self.folder / name) for name in ("one", "two")}
        self.rig = self.rigs["one"]
        self.asleep: dict[str, Process] = {}
        self.lost: set[str] = set()
        self.number = 0
        self.developed = made.heads("dev")
        """The newest commit of a person in each repository."""
        self.releases = {branch: [self.trees(branch)] for branch in ("stg", "main")}
        self.undo = [_patched(Journal, "append", _noted), _patched(Mirror, "push", self._answered)]

    def trees(self, branch: str) -> dict[str, str]:
        return self.rig.trees(branch)

    def _answered(self, push: Callable[..., None]) -> Callable[..., None]:
        def pushed(mirror: Mirror, *arguments: Any) -> None:
            push(mirror, *arguments)
            if mirror.name in self.lost:
                self.lost.discard(mirror.name)
                raise GitFailed(("push",), 128, "fatal: the remote end hung up unexpectedly")

        return pushed

    def develop(self, name: str) -> None:
        """Another person's commit."""
        self.number += 1
        self.developed[name] = self.rig.commit(name, "dev", {f"work{self.number}.txt": f"{self.number}\n"})

    @initialize(way=st.sampled_from(RELEASES), line=LINES, how=st.sampled_from(["suspended", "killed"]), host=HOSTS)
    def one_begins(self, way: str, line: int, how: str, host: tuple[str, str]) -> None:
        self.step("one", way, line, how, host)

    @rule(machine=MACHINES, way=WAYS, line=LINES, how=HOWS, host=HOSTS)
    def step(self, machine: str, way: str, line: int, how: str, host: tuple[str, str]) -> None:
        """One machine goes on: it is woken up or killed if it was suspended, else it begins an operation.

        One rule, always allowed: hypothesis gives up many examples of rules that are not allowed in each state.
        """
        Machines.steps += 1
        self._host(*host)
        if machine in self.asleep:
            Machines.order.append((machine, "is killed" if how == "killed" else "wakes"))
            self.asleep.pop(machine).end(kill=how == "killed")
            return
        Machines.order.append((machine, f"{way}, {how}"))
        process = Process(self.rigs[machine], self._work(way), line, how)
        if process.stopped.is_set():
            self.asleep[machine] = process
        else:
            process.end(kill=False)

    def _work(self, way: str) -> Callable[[Rig], Ended]:
        """What a machine begins. Notes the release that it may bring."""
        if way in ("resume", "undo"):
            return lambda rig: rig.recover(way)
        if way == "take over":
            held = self.rig.refs(HOME).get(LOCK)
            holder = lock.Holder.parsed(self.rig.text_at(HOME, held)) if held else None
            return lambda rig: rig.take_over(holder.id) if holder else rig.recover("undo")
        if way == "back" and self.trees("main") != self.releases["main"][0]:
            return lambda rig: rig.roll_back(FIRST_TAG)
        if way == "dev stg" and self.trees("dev") == self.trees("stg"):
            self.develop(HOME)
        source, _, target = way.partition(" ") if way != "back" else RELEASES[-1].partition(" ")
        self.releases[target].append(self.trees(source))
        return lambda rig: rig.promote(source, target)

    def _host(self, name: str, does: str) -> None:
        hooks = self.rig.bare(name) / "hooks"
        (hooks / "pre-receive").unlink(missing_ok=True)
        Machines.order += [(name, does)] if does != "answers" else []
        if does == "loses":
            self.lost.add(name)
        elif does == "refuses":
            self.rig.hook(name, release_rig.REFUSE)
        elif does != "answers":
            (hooks / "update").write_text(KEEPS_TAGS if does == "keeps tags" else KEEPS)
            (hooks / "update").chmod(0o755)

    @invariant()
    def nobody_is_overwritten(self) -> None:
        assert self.rig.heads("dev") == self.developed

    def teardown(self) -> None:
        try:
            self._everybody_does_what_doctor_says()
        finally:
            for process in self.asleep.values():
                process.end(kill=True)
            for undo in self.undo:
                undo()
            Machines.orders.add(tuple(Machines.order))
            shutil.rmtree(self.folder, ignore_errors=True)

    def _everybody_does_what_doctor_says(self) -> None:
        self.lost.clear()
        for name in THREE:
            (self.rig.bare(name) / "hooks" / "pre-receive").unlink(missing_ok=True)
        for machine in list(self.asleep):
            self.asleep.pop(machine).end(kill=False)
        for _ in range(3):
            for rig in self.rigs.values():
                if half_finished(rig.state) is not None:
                    rig.recover("undo")
        for branch, known in self.releases.items():
            assert self.trees(branch) in known, f"{branch} is at no release: {self.trees(branch)}"
        for name, rig in self.rigs.items():
            found = [f.text for f in doctor.findings(_patient(rig)) if not any(left in f.text for left in MAY_BE_LEFT)]
            assert found == [], (name, found)
        self.develop(HOME)
        ended = self.rigs["two"].promote("dev", "stg")
        assert ended.code == 0, ended.said
        assert self.trees("stg") == self.trees("dev")


def _patient(rig: Rig) -> doctor.Patient:
    mirrors = rig.settings.mirrors()
    return doctor.Patient(rig.settings, None, mirrors, rig.settings.log_in(mirrors), lambda line: None)


def _noted(append: Callable[..., Event]) -> Callable[..., Event]:
    def wrote(journal: Journal, event: str, **detail: Any) -> Event:
        process = Process.current.get(journal.path.parent.parent)
        if process is not None and process.is_killed:
            raise Killed
        written = append(journal, event, **detail)
        Machines.order.append((journal.path.parent.parent.name, event))
        if process is not None:
            process.wrote(written.seq)
        return written

    return wrote


def _patched(owner: type, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    before = getattr(owner, name)
    setattr(owner, name, make(before))
    return lambda: setattr(owner, name, before)


@pytest.fixture
def on_no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing waits for the disk: no power fails here."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    settings = tmp_path / "gitconfig"
    settings.write_text("[core]\n\tfsync = none\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))


def run(examples: int, steps: int) -> int:
    """How many different interleavings were tried; prints the number."""
    Machines.orders, Machines.steps = set(), 0
    few = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machines, settings=few)
    print(f"{len(Machines.orders)} different interleavings of two machines, {Machines.steps} steps")
    return len(Machines.orders)


@pytest.mark.usefixtures("on_no_disk")
def test_two_machines_in_a_few_orders_end_at_one_release() -> None:
    assert run(3, 4) >= 1


@pytest.mark.exhaustive
@pytest.mark.usefixtures("on_no_disk")
@pytest.mark.parametrize("part", range(8))
def test_two_machines_in_many_orders_end_at_one_release(part: int) -> None:
    """The parts run side by side; each draws orders of its own."""
    assert run(40, 5) >= 20
