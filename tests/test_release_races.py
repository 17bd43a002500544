"""Branches move, remotes go down and other promoters start while a promotion runs: all repositories move, or none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import release_rig
from release_rig import HOME, REFUSE, Ended, Rig

from conftest import exhaustive, sampled
from gli.release.journal import Event, Journal

STEPS = ("opened", "planned", "approved", "parking", "parked", "pushing", "pushed", "decided")
"""Lines of the journal: what happens at a step happens right after its line."""


@pytest.mark.parametrize(
    ("step", "branch"), [*((step, "main") for step in STEPS), *sampled([(step, "stg") for step in STEPS], every=4)]
)
def test_a_branch_that_moves_at_any_step_is_never_overwritten(
    rig: Rig, at: Callable[..., None], branch: str, step: str
) -> None:
    old, new = rig.trees(), rig.trees("stg")
    theirs: list[str] = []
    at(step, lambda: theirs.append(rig.commit("gli_redis", branch, {"theirs.txt": "theirs\n"})))
    gate = rig.gate()
    ended = rig.promote(gate=lambda heads: gate)
    assert theirs[0] in rig.git("gli_redis", "rev-list", branch), "what somebody pushed is still there"
    assert rig.leftovers() == set()
    trees = rig.trees()
    if branch == "main":
        assert rig.git("gli_redis", "show", "main:theirs.txt") == "theirs"
        for all_of_them in (old, new, trees):
            all_of_them["gli_redis"] = "theirs"
    assert trees == (new if ended.code == 0 else old), ended.said
    assert rig.names()[-1] == ("done" if ended.code == 0 else "refused" if "pushing" not in rig.names() else "undone")
    if step in STEPS[:4]:
        assert ended.code == 1, "seen before anything moved"
        assert "pushing" not in rig.names()


@pytest.mark.parametrize(
    ("step", "name"),
    sampled([(step, name) for name in (HOME, "gli_redis") for step in ("before", *STEPS)], every=2),
)
def test_a_remote_that_goes_down_at_any_step_leaves_all_or_nothing(
    rig: Rig, at: Callable[..., None], name: str, step: str
) -> None:
    old, new = rig.trees(), rig.trees("stg")
    gate, down = rig.gate(), rig.down(name)
    if step == "before":
        down.__enter__()
    else:
        at(step, down.__enter__)
    ended = rig.promote(gate=lambda heads: gate)
    down.__exit__(None, None, None)
    if rig.names()[-1] == "stuck":
        assert ended.code == 3 and name in ended.said and "gli promote --undo" in ended.said
        assert rig.recover("undo").code == 1
        assert rig.verdict_of_git(old, new) == "old"
    else:
        what = rig.verdict_of_git(old, new)
        assert {"done": "new", "undone": "old", "refused": "old"}[rig.names()[-1]] == what, ended.said
        assert ended.code == (0 if what == "new" else 3 if "pushing" not in rig.names() else 1)
    assert rig.recover("resume") == Ended(0, "", None)


def test_a_remote_that_comes_back_in_time_does_not_stop_the_promotion(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, write, down = rig.trees("stg"), Journal.append, rig.down("gli_redis")

    def append(self: Journal, event: str, **detail: Any) -> Event:
        if event == "pushing":
            down.__enter__()
        elif event == "failed":
            down.__exit__(None, None, None)
        return write(self, event, **detail)

    monkeypatch.setattr(Journal, "append", append)
    assert rig.promote().code == 0
    assert rig.trees() == new
    assert "failed" in rig.names()


def test_a_branch_moved_by_a_person_during_a_refusal_is_left_to_people(rig: Rig, at: Callable[..., None]) -> None:
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


@pytest.mark.parametrize(
    "rounds", [range(8), *(pytest.param(range(n, n + 25), marks=exhaustive) for n in range(0, 100, 25))], ids=str
)
def test_two_promoters_at_once_a_hundred_times(tmp_path: Path, rounds: Sequence[int]) -> None:
    """In odd rounds from two machines (with a state folder each), in even rounds from two terminals of one machine."""
    rig = release_rig.make(tmp_path)
    other = replace(rig, state=tmp_path / "other")
    old, new = rig.trees(), rig.trees("stg")
    gate = rig.gate()
    with ThreadPoolExecutor(2) as pool:
        for number in rounds:
            start = threading.Barrier(2)

            def run(promoter: Rig, start: threading.Barrier = start) -> Ended:
                start.wait()
                return promoter.promote(gate=lambda heads: gate)

            ended = list(pool.map(run, (rig, other if number % 2 else rig)))
            codes = sorted(e.code for e in ended)
            what = rig.verdict_of_git(old, new)
            assert what == ("new" if 0 in codes else "old"), ended
            assert codes in ([0, 1], [1, 1]), ended  # one wins, or each stopped the other before anything moved
            ends = [n for r in ((rig, other) if number % 2 else (rig,)) for n in all_ends(r)]
            assert ends.count("done") == codes.count(0) and set(ends) <= {"done", "undone", "refused"}
            assert rig.leftovers() == set()
            assert len({t for t in rig.refs("gli_root") if t.startswith("refs/tags/")}) == 1 + codes.count(0)
            rig.reset()
            other.reset()


def all_ends(rig: Rig) -> list[str]:
    return [events[-1].event for events in rig.journals()]
