"""A promotion moves eight repositories or none: whatever refuses, moves or is down, and whoever else is at it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import release_rig
from conftest import ROOT
from gli import clock
from gli.errors import UsageError
from gli.release import lock
from gli.release.journal import Event, Journal
from gli.release.mirror import Mirror, trailer
from gli.release.plan import Refused
from gli.release.promote import Choices, Evidence
from gli.release.repositories import GitFailed
from gli.release.session import Approval, Request
from release_rig import NAMES, REFUSE, Ended, Rig


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return release_rig.make(tmp_path_factory.mktemp("rig"))


@pytest.fixture
def rig(made: Rig) -> Iterator[Rig]:
    made.reset()
    yield made
    made.reset()


def test_the_tree_that_was_verified_lands_on_main_with_its_tag_and_the_history_of_both(rig: Rig) -> None:
    old, staged = rig.heads(), rig.heads("stg")
    ended = rig.promote()
    assert ended.code == 0, ended.said
    assert rig.trees() == {n: rig.tree(n, c) for n, c in staged.items()}
    tag = rig.journal()[-1].detail["tag"]
    for name, head in rig.heads().items():
        assert rig.git(name, "rev-parse", f"{head}^1", f"{head}^2").split() == [old[name], staged[name]]
        assert rig.git(name, "rev-parse", f"{tag}^{{commit}}") == head
    assert rig.leftovers() == set()


def test_the_tag_says_who_what_and_on_which_verdict_and_names_a_line_of_the_journal(rig: Rig) -> None:
    rig.promote()
    events = rig.journal()
    tag = events[-1].detail["tag"]
    messages = {rig.git(name, "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}") for name in NAMES}
    said = trailer(messages.pop()) or {}
    assert not messages, "all eight tags say the same"
    assert said["kind"] == "deploy" and said["id"] == events[0].id and said["approved_by"] == release_rig.SECOND
    assert said["verdict"] == {"environment": "stg", "finished": "2026-01-31T09:00:00.000Z"}
    assert {n: m["new"] for n, m in said["moves"].items()} == rig.heads()
    assert said["journal"] == next(e for e in events if e.event == "approved").hash


def test_nobodys_clone_is_looked_at(rig: Rig) -> None:
    assert not (rig.root / "clones").exists()
    assert rig.promote().code == 0


def test_each_subset_of_the_repositories_may_refuse_and_all_or_nothing_moves(tmp_path: Path) -> None:
    rig = release_rig.make(tmp_path)
    old, new = rig.trees(), rig.trees("stg")
    journal = release_rig.park(rig).read_bytes()
    for subset in range(2**8):
        refusing = [name for bit, name in enumerate(NAMES) if subset >> bit & 1]
        path = release_rig.restart(rig, journal)
        for name in refusing:
            rig.hook(name, REFUSE)
        ended = release_rig.push(rig, path)
        what = rig.verdict_of_git(old, new)
        assert (ended.code, what) == ((1, "old") if refusing else (0, "new")), (refusing, ended.said, what)
        assert rig.names()[-1] == ("undone" if refusing else "done"), "the journal says which"
        assert rig.leftovers() == set()
        assert all(name in ended.said for name in refusing)


STEPS = ("opened", "planned", "approved", "parking", "pushing", "pushed", "decided")
"""Lines of the journal: what happens at a step happens right after its line."""


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """Does something right after the first line of that name has been written."""
    write = Journal.append

    def register(step: str, action: Callable[[], Any]) -> None:
        waiting = [action]

        def append(self: Journal, event: str, **detail: Any) -> Event:
            written = write(self, event, **detail)
            if event == step and waiting:
                waiting.pop()()
            return written

        monkeypatch.setattr(Journal, "append", append)

    return register


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("branch", ["main", "stg"])
def test_a_branch_that_moves_at_any_step_is_never_overwritten(
    rig: Rig, at: Callable[..., None], branch: str, step: str
) -> None:
    old, new = rig.trees(), rig.trees("stg")
    theirs: list[str] = []
    at(step, lambda: theirs.append(rig.commit("gli_redis", branch, {"theirs.txt": "theirs\n"})))
    ended = rig.promote()
    assert theirs[0] in rig.git("gli_redis", "rev-list", branch), "what somebody pushed is still there"
    assert rig.leftovers() == set()
    trees = rig.trees()
    if branch == "main":
        assert rig.git("gli_redis", "show", "main:theirs.txt") == "theirs"
        for all_eight in (old, new, trees):
            all_eight["gli_redis"] = "theirs"
    assert trees == (new if ended.code == 0 else old), ended.said
    assert rig.names()[-1] == ("done" if ended.code == 0 else "refused" if "pushing" not in rig.names() else "undone")
    if step in STEPS[:4]:
        assert ended.code == 1, "seen before anything moved"
        assert "pushing" not in rig.names()


@pytest.mark.parametrize("step", ["before", *STEPS])
@pytest.mark.parametrize("name", ["gli_root", "gli_redis"])
def test_a_remote_that_goes_down_at_any_step_leaves_all_or_nothing(
    rig: Rig, at: Callable[..., None], name: str, step: str
) -> None:
    old, new = rig.trees(), rig.trees("stg")
    down = rig.bare(name).with_suffix(".down")
    if step == "before":
        rig.bare(name).rename(down)
    else:
        at(step, lambda: rig.bare(name).rename(down))
    gate = rig.gate() if step != "before" else Evidence({}, {})
    ended = rig.promote(gate=lambda: gate)
    down.rename(rig.bare(name))
    if rig.names()[-1] == "stuck":
        assert ended.code == 3 and name in ended.said and "gli promote --undo" in ended.said
        assert rig.recover("undo").code == 1
        assert rig.verdict_of_git(old, new) == "old"
    else:
        what = rig.verdict_of_git(old, new)
        assert {"done": "new", "undone": "old", "refused": "old"}[rig.names()[-1]] == what, ended.said
        assert ended.code == (0 if what == "new" else 3 if "pushing" not in rig.names() else 1)
    assert rig.recover("resume") == Ended(0, "", None)


def test_a_remote_that_comes_back_in_time_does_not_stop_the_promotion(rig: Rig, at: Callable[..., None]) -> None:
    new, down = rig.trees("stg"), rig.bare("gli_redis").with_suffix(".down")
    at("pushing", lambda: rig.bare("gli_redis").rename(down))
    failed = Journal.append

    def append(self: Journal, event: str, **detail: Any) -> Event:
        if event == "failed":
            down.rename(rig.bare("gli_redis"))
        return failed(self, event, **detail)

    Journal.append = append  # type: ignore[method-assign]  # monkeypatch takes it back with the other
    assert rig.promote().code == 0
    assert rig.trees() == new
    assert "failed" in rig.names()


def test_a_branch_that_somebody_moves_on_while_others_are_refused_is_left_to_people(
    rig: Rig, at: Callable[..., None]
) -> None:
    rig.hook("gli_redis", REFUSE)
    old = rig.trees()
    theirs: list[str] = []
    at("decided", lambda: theirs.append(rig.commit("gli_database", "main", {"theirs.txt": "theirs\n"})))
    ended = rig.promote()
    assert (ended.code, rig.names()[-1]) == (3, "stuck")
    assert "gli_database: main has been moved on since" in ended.said
    assert rig.heads()["gli_database"] == theirs[0]
    assert {n for n, tree in rig.trees().items() if tree != old[n]} == {"gli_database"}
    blocked = rig.promote()
    assert (blocked.code, "left half-finished" in blocked.said) == (1, True)


def test_two_promoters_at_once_a_hundred_times(tmp_path: Path) -> None:
    """From two machines (a state folder each) in odd rounds, from two terminals of one machine in even ones."""
    rig = release_rig.make(tmp_path)
    other = replace(rig, state=tmp_path / "other")
    old, new = rig.trees(), rig.trees("stg")
    gate = rig.gate()
    with ThreadPoolExecutor(2) as pool:
        for number in range(100):
            start = threading.Barrier(2)

            def run(promoter: Rig, start: threading.Barrier = start) -> Ended:
                start.wait()
                return promoter.promote(gate=lambda: gate)

            ended = list(pool.map(run, (rig, other if number % 2 else rig)))
            codes = sorted(e.code for e in ended)
            what = rig.verdict_of_git(old, new)
            assert what == ("new" if 0 in codes else "old"), ended
            assert codes in ([0, 1], [1, 1]), "one wins, or each stopped the other before anything moved"
            ends = [n for r in ((rig, other) if number % 2 else (rig,)) for n in all_ends(r)]
            assert ends.count("done") == codes.count(0) and set(ends) <= {"done", "undone", "refused"}
            assert rig.leftovers() == set()
            assert len({t for t in rig.refs("gli_root") if t.startswith("refs/tags/")}) == 1 + codes.count(0)
            rig.reset()
            other.reset()


def all_ends(rig: Rig) -> list[str]:
    return [events[-1].event for _, events in release_rig.journals.all_in(rig.state)]
