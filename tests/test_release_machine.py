"""Two machines in any order: suspended, killed, answers lost, pushes refused, tags and refs that can't be deleted.

A state machine (hypothesis) chooses the order. Most orders run on near_git.py, which saves processes of git; some run
on git's own pushes and fetches. The invariant: after both machines have resumed and have followed doctor's advice, all
repositories are at one release, doctor confirms that on both, and the next release succeeds.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import near_git
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
from near_git import NearGit
from release_rig import FIRST_TAG, HOME, THREE, Ended, Rig

from conftest import wait_for
from gli.git import identity
from gli.git.command import GitFailed
from gli.git.refs import LOCK
from gli.release import doctor, fence, lock, log, repositories
from gli.release import journal as journals
from gli.release import mirror as mirrors
from gli.release import promote as promotions
from gli.release import session as sessions
from gli.release.journal import Event, Journal
from gli.release.mirror import Mirror
from gli.release.refusals import is_lasting, refused_refs, short
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
BEGIN = datetime(2026, 2, 1, tzinfo=UTC)
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
        self.error: BaseException | None = None
        self.waits: threading.Thread | None = None
        """The thread that is suspended; the others go on."""
        self.stopped, self.goes_on, self.is_killed = threading.Event(), threading.Event(), False
        Process.current[rig.state] = self
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self.thread.start()
        while self.thread.is_alive() and not self.stopped.wait(0.002):
            pass

    def _run(self, work: Callable[[Rig], Ended]) -> None:
        try:
            self.ended = work(self.rig)
        except Killed:
            pass
        except BaseException as e:  # noqa: BLE001 - it is raised where the process is waited for
            self.error = e

    def wrote(self, line: int) -> None:
        if self.is_killed:
            raise Killed
        if line != self.line or self.goes_on.is_set():
            return
        if self.how == "suspended":
            self.waits = threading.current_thread()
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
        if self.error is not None:
            raise self.error


class Machines(RuleBasedStateMachine):
    """Two machines on the same three repositories."""

    steps = 0
    orders: set[tuple[tuple[str, str], ...]] = set()  # noqa: RUF012 - of all examples
    """Each different history: what each machine began, the lines of its journal, when it was woken up or killed, and
    what the hosts refused, kept or lost meanwhile, in their order: (machine or repository, event).
    """
    order: list[tuple[str, str]] = []  # noqa: RUF012
    """Of the example that runs."""
    near: Near | None = None
    """Saves the processes of git where it is given."""

    def __init__(self) -> None:
        super().__init__()
        Machines.order = []
        self.folder = Path(tempfile.mkdtemp(prefix="gli-machine-"))
        made = Machines.near.rig(self.folder) if Machines.near else release_rig.make(self.folder, THREE)
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
        if Machines.near:
            Machines.near.later()
        self._host(*host)
        if machine in self.asleep:
            Machines.order.append((machine, "is killed" if how == "killed" else "wakes"))
            self.asleep.pop(machine).end(kill=how == "killed")
            return
        Machines.order.append((machine, f"{way}, {how}"))
        wait_for(self._is_still, "the end of what a suspended machine still pushes")
        process = Process(self.rigs[machine], self._work(way), line, how)
        if process.stopped.is_set():
            self.asleep[machine] = process
        else:
            process.end(kill=False)

    def _is_still(self) -> bool:
        """Whether no branch moves now: the push to the log repository waits for the others."""
        waiting = {process.waits for process in self.asleep.values()}
        return not any(t.name in THREE and t.name != HOME and t not in waiting for t in threading.enumerate())

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
            if Machines.near:
                Machines.near.git.close()
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
        if Machines.near:
            Machines.near.later()
        self.develop(HOME)
        ended = self.rigs["two"].promote("dev", "stg")
        assert ended.code == 0, ended.said
        assert self.trees("stg") == self.trees("dev")


class Near:
    """The same repositories with few processes of git (see near_git.py), and a clock that moves with each step: so that
    two examples that begin alike make the same objects.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = release_rig.make(folder / "first", THREE)
        self.git, self.trees, self.at = NearGit(), dict[tuple[str, str], str](), BEGIN
        self.first = first.first
        self.objects = {name: first.bare(name) / "objects" for name in THREE}
        for module in (fence, journals, lock, log, promotions, sessions):
            monkeypatch.setattr(module, "now", lambda: self.at)
        for module in (mirrors, repositories):
            monkeypatch.setattr(module, "git", self.git)
        monkeypatch.setattr(release_rig, "time", SimpleNamespace(time=lambda: self.at.timestamp()))
        monkeypatch.setattr(identity, "identity", cache(identity.identity))
        monkeypatch.setattr(identity, "signing", cache(identity.signing))

    def rig(self, folder: Path) -> Rig:
        """A new rig as `release_rig.make` makes it, with the mirrors of both machines."""
        self.at = BEGIN
        for name in THREE:
            near_git.make(folder / "remotes" / f"{name}.git", self.objects[name], self.first[name])
            for machine in ("one", "two"):
                near_git.make(folder / machine / "mirrors" / f"{name}.git", self.objects[name])
        return Rig(folder, folder / "state", THREE, self.first, _trees=self.trees)

    def later(self) -> None:
        self.at += timedelta(seconds=1)


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


OLD, NEW, PARKED = "refs/heads/main", "refs/heads/new", "refs/promotions/20260101-000000-0000/main"
PUSHES: dict[str, tuple[mirrors.Specs, str]] = {
    "a branch and a tag": ({OLD: ("stg", "main"), "refs/tags/made": ("stg", "")}, ""),
    "a stale lease": ({OLD: ("stg", "dev"), NEW: ("stg", "")}, ""),
    "what is there already": ({OLD: ("main", "dev"), NEW: ("stg", "")}, ""),
    "a ref that should not exist": ({OLD: ("stg", ""), NEW: ("stg", "")}, ""),
    "a deletion": ({"refs/heads/dev": ("", "dev"), OLD: ("stg", "main")}, ""),
    "a deletion of what is not there": ({PARKED: ("", "stg"), OLD: ("stg", "main")}, ""),
    "a deletion of nothing": ({PARKED: ("", None), OLD: ("stg", "main")}, ""),
    "refused as a whole": ({OLD: ("stg", "main"), PARKED: ("stg", "")}, "pre-receive"),
    "refused deletion": ({OLD: ("stg", "main"), "refs/heads/dev": ("", "dev")}, "update"),
}
"""What is pushed, with names for commits, and the hook of the remote that says no."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", PUSHES)
def test_the_pushes_of_near_git_end_like_those_of_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    specs, hook = PUSHES[case]
    ends = []
    for near in (False, True):
        rig = release_rig.make(tmp_path / str(near), THREE)
        mirror = rig.settings.mirrors()[HOME]
        heads = {branch: rig.heads(branch)[HOME] for branch in ("dev", "stg", "main")} | {"": ""}
        mirror.fetch()
        if hook:
            rig.hook(HOME, release_rig.REFUSE if hook == "pre-receive" else KEEPS)
            (rig.bare(HOME) / "hooks" / "pre-receive").rename(rig.bare(HOME) / "hooks" / hook)
        git = NearGit()
        with monkeypatch.context() as patched:
            if near:
                patched.setattr(mirrors, "git", git)
            error = None
            try:
                mirror.push({r: (heads[new], None if old is None else heads[old]) for r, (new, old) in specs.items()})
            except GitFailed as e:
                error = (e.code, is_lasting(e), fence.took(e), refused_refs(e), short(e).partition(" (")[0])
        git.close()
        ends.append((error, rig.refs(HOME)))
    assert ends[0] == ends[1]


@pytest.fixture
def on_no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing waits for the disk: no power fails here."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    settings = tmp_path / "gitconfig"
    settings.write_text("[core]\n\tfsync = none\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))


def run(examples: int, steps: int, near: Near | None = None) -> int:
    """How many different interleavings were tried; prints the number."""
    Machines.orders, Machines.steps, Machines.near = set(), 0, near
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
def test_two_machines_in_more_orders_over_gits_own_pushes() -> None:
    assert run(40, 5) >= 20


@pytest.mark.exhaustive
@pytest.mark.usefixtures("on_no_disk")
@pytest.mark.parametrize("part", range(4))
def test_two_machines_in_many_orders_end_at_one_release(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts run side by side; each draws orders of its own."""
    assert run(300, 6, Near(tmp_path, monkeypatch)) >= 200
