"""A promotion that is killed at any line of its journal: the next command finishes or undoes it; no late push lands.

The promoter runs in a child process, which kills itself with SIGKILL right before a line of its journal is written (the
preceding effect has happened but is not recorded) or right after (the effect is announced but has not begun). git's
own processes go on running, as in a real crash.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import release_rig
from release_rig import FIRST_TAG, HOME, NAMES, PUSHING, REFUSE, SLOW, Ended, Rig, killed

from conftest import sampled, wait_for
from gli.common.errors import DiskError, UsageError
from gli.git.refs import FENCE
from gli.release import journal as journals
from gli.release import lock
from gli.release.emergency import push
from gli.release.mirror import Mirror
from gli.release.push_order import Turn
from gli.release.session import Approval

SLOW_ONES = ("gli_root", "gli_websocket", "gli_database")
REFUSING = ("gli_api-server", "gli_redis")
LANDING = len(NAMES) - len(REFUSING) - 1  # the log repository is not pushed

# After the line PUSHING comes a pushed for each repository, the log repository last: from here on nothing is undone.
# Then decided, done.
LANDED = PUSHING + len(NAMES)
DONE = LANDED + 2
ALL_LAND = [("after", n) for n in range(PUSHING, DONE)] + [
    ("before", n) for n in (PUSHING + 1, PUSHING + 2, LANDED - 1, LANDED, LANDED + 1, DONE)
]
# If some refuse: a pushed or failed for each but the log repository, decided, restoring and restored for each, undone
DECIDED = PUSHING + len(NAMES)
UNDONE = DECIDED + 2 * LANDING + 1
SOME_REFUSE = [("after", n) for n in range(DECIDED - 1, UNDONE)] + [
    ("before", n) for n in (*range(DECIDED + 1, DECIDED + 4), UNDONE - 2, UNDONE - 1, UNDONE)
]


@pytest.fixture(scope="module")
def parked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, bytes]:
    """A rig with a promotion that stopped after it was parked, and its journal."""
    rig = release_rig.make(tmp_path_factory.mktemp("parked"))
    return rig, release_rig.park(rig, rig.promote).read_bytes()


def judge(rig: Rig, ended: Ended, old: dict[str, str], new: dict[str, str], branch: str = "main") -> str:
    """All branches are old or all are new, journal and exit code agree, and no temporary ref remains."""
    what = rig.verdict_of_git(old, new, branch)
    assert {"done": "new", "undone": "old", "refused": "old"}[rig.names()[-1]] == what, ended.said
    assert ended.code == (0 if what == "new" else 1)
    assert rig.leftovers() == set()
    assert rig.recover("resume") == Ended(0, "", None), "nothing is half-finished any more"
    return what


@pytest.mark.parametrize("how", ["resume", "undo"])
@pytest.mark.parametrize(
    ("when", "line"), sampled([("after", n) for n in (1, 2, 3, 4, 5)] + [("before", n) for n in (2, 5, 6)], 4)
)
def test_an_operation_killed_before_a_branch_moved_is_closed(rig: Rig, when: str, line: int, how: str) -> None:
    old, new = rig.trees(), rig.trees("stg")
    assert killed(rig.promote, when, line)
    ended = rig.recover(how)
    assert "nothing had moved" in ended.said
    assert judge(rig, ended, old, new) == "old"


@pytest.mark.parametrize("how", ["resume", "undo"])
@pytest.mark.parametrize(("when", "line"), sampled(ALL_LAND, 4))
def test_killed_while_all_land(parked: tuple[Rig, bytes], when: str, line: int, how: str) -> None:
    rig, journal = parked
    path = release_rig.restart(rig, journal)
    old, new = rig.trees(), rig.trees("stg")
    for name in SLOW_ONES:
        rig.hook(name, SLOW)
    assert killed(lambda: release_rig.push(rig, path), when, line)
    ended = rig.recover(how)
    if rig.names()[-1] == "done" and how == "undo":
        assert "had landed in every repository" in ended.said
        ended = Ended(0, ended.said)
    what = judge(rig, ended, old, new)
    assert what == ("new" if how == "resume" or line >= LANDED else "old")


@pytest.mark.parametrize("how", ["resume", "undo"])
@pytest.mark.parametrize(("when", "line"), sampled(SOME_REFUSE, 4))
def test_killed_while_some_refuse(parked: tuple[Rig, bytes], when: str, line: int, how: str) -> None:
    rig, journal = parked
    path = release_rig.restart(rig, journal)
    old, new = rig.trees(), rig.trees("stg")
    for name in REFUSING:
        rig.hook(name, REFUSE)
    assert killed(lambda: release_rig.push(rig, path), when, line)
    assert judge(rig, rig.recover(how), old, new) == "old"


@pytest.mark.parametrize("how", ["resume", "undo"])
def test_an_operation_taken_over_by_another_machine_is_not_touched(rig: Rig, how: str) -> None:
    assert killed(rig.promote, "after", PUSHING + 3)
    rig.wait_for_orphans()
    old, new, id_ = rig.trees(), rig.trees("stg"), rig.journal()[0].id
    assert "mixed" in rig.verdict_of_git(old, new) or old != new
    other = replace(rig, state=rig.root / "elsewhere")
    refused = other.promote()
    assert (refused.code, f"gli promote --take-over {id_}" in refused.said) == (1, True), refused.said
    taken = other.take_over(id_)
    assert (taken.code, taken.said.startswith("taken over by GLI Developer")) == (1, True), taken.said
    assert journals.read(journals.of(other.state, id_))[-1].event == "undone"
    ended = rig.recover(how)
    assert (ended.code, f"{id_} was taken over by GLI Developer" in ended.said) == (3, True), ended.said
    assert rig.recover(how) == Ended(0, "", None), "nothing is left to do here"
    assert other.promote().code == 0
    assert rig.trees() == new
    assert rig.leftovers() == set()


@pytest.fixture(scope="module")
def tagless(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, bytes]:
    """Like `parked`, for a promotion without tags."""
    rig = release_rig.make(tmp_path_factory.mktemp("tagless"))
    return rig, release_rig.park(rig, lambda: rig.promote("dev", "stg")).read_bytes()


@pytest.mark.parametrize("how", ["resume", "undo"])
@pytest.mark.parametrize(
    ("when", "line"), sampled([("after", PUSHING + n) for n in (0, 2, 4, 5, 6)] + [("before", LANDED)], 2)
)
def test_killed_without_tags(tagless: tuple[Rig, bytes], when: str, line: int, how: str) -> None:
    rig, journal = tagless
    path = release_rig.restart(rig, journal)
    old, new = rig.trees("stg"), rig.trees("dev")
    for name in SLOW_ONES:
        rig.hook(name, SLOW)
    assert killed(lambda: release_rig.push(rig, path), when, line)
    ended = rig.recover(how)
    if rig.names()[-1] == "done" and how == "undo":
        ended = Ended(0, ended.said)
    assert judge(rig, ended, old, new, "stg") == ("new" if how == "resume" or line >= LANDED else "old")


@pytest.mark.parametrize("line", [DECIDED + 1, DECIDED + 2, DECIDED + 4, UNDONE - 1])
def test_another_person_may_undo_after_a_crash(
    tagless: tuple[Rig, bytes], line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, journal = tagless
    path = release_rig.restart(rig, journal)
    old, new = rig.trees("stg"), rig.trees("dev")
    for name in REFUSING:
        rig.hook(name, REFUSE)
    assert killed(lambda: release_rig.push(rig, path), "after", line)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Whoever is on call")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "oncall@glibiz.com")
    assert judge(rig, rig.recover("undo"), old, new, "stg") == "old"


@dataclass(frozen=True)
class Other:
    """A parked operation of another kind: its rig and journal, and main's trees before and after it."""

    rig: Rig
    journal: bytes
    old: dict[str, str]
    new: dict[str, str]


def pushed_in_an_emergency(rig: Rig) -> Ended:
    for name in ("gli_redis", HOME):
        clone = rig.root / "clones" / name
        git = ("git", "-C", str(clone))
        subprocess.run(["git", "clone", "-q", "--template=", "-b", "main", rig.bare(name), clone], check=True)
        (clone / "hotfix.txt").write_text("hot\n")
        subprocess.run([*git, "add", "hotfix.txt"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "Hotfix"], check=True)
    return rig.ends(lambda s: push(s, "main", reason="Login is down", approve=lambda request: Approval(None)))


OTHERS: dict[str, Callable[[Rig], Ended]] = {
    "rollback": lambda rig: rig.roll_back(FIRST_TAG),
    "reset": lambda rig: rig.roll_back(FIRST_TAG, mode="reset"),
    "emergency": pushed_in_an_emergency,
}


@pytest.fixture(scope="module", params=OTHERS)
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Other:
    rig = release_rig.make(tmp_path_factory.mktemp(request.param))
    assert rig.promote().code == 0
    old = rig.trees()
    journal = release_rig.park(rig, lambda: OTHERS[request.param](rig)).read_bytes()
    planned = json.loads(journal.splitlines()[1])["detail"]["moves"]
    return Other(rig, journal, old, {name: move["tree"] for name, move in planned.items()})


@pytest.mark.parametrize("how", ["resume", "undo"])
@pytest.mark.parametrize(
    ("when", "line"), sampled([("after", n) for n in range(PUSHING, DONE)] + [("before", LANDED), ("before", DONE)], 4)
)
def test_a_rollback_a_reset_or_an_emergency_is_finished_or_undone_as_well(
    other: Other, when: str, line: int, how: str
) -> None:
    rig, path = other.rig, release_rig.restart(other.rig, other.journal)
    for name in SLOW_ONES:
        rig.hook(name, SLOW)
    assert killed(lambda: release_rig.push(rig, path), when, line)
    ended = rig.recover(how)
    if rig.names()[-1] == "done" and how == "undo":
        ended = Ended(0, ended.said)
    assert judge(rig, ended, other.old, other.new) == ("new" if how == "resume" or line >= LANDED else "old")


@pytest.mark.parametrize("how", ["resume", "undo"])
def test_killed_and_then_a_branch_moved_by_another_person(tagless: tuple[Rig, bytes], how: str) -> None:
    rig, journal = tagless
    path = release_rig.restart(rig, journal)
    old, new = rig.trees("stg"), rig.trees("dev")
    assert killed(lambda: release_rig.push(rig, path), "after", LANDED - 1)
    theirs = rig.commit("gli_redis", "stg", {"theirs.txt": "on top\n"})
    ended = rig.recover(how)
    assert rig.heads("stg")["gli_redis"] == theirs, "never overwritten"
    others = {n: tree for n, tree in rig.trees("stg").items() if n != "gli_redis"}
    if how == "resume":
        assert ended.code == 0
        assert others == {n: new[n] for n in others}
    else:
        assert (ended.code, "gli_redis: stg has been moved on since" in ended.said) == (3, True), ended.said
        assert others == {n: old[n] for n in others}


def until(file: Path) -> str:
    """A shell command that ends when the file is there."""
    return f"for n in $(seq 6000); do test -e '{file}' && break; sleep 0.02; done"


def undone_then_waited(rig: Rig, journal: bytes, *, awaited: bool) -> tuple[Ended, str]:
    """Kill a promoter during slow pushes, undo, and check again after every push has ended: while the undo waits for
    them if it does, else after the undo.
    """
    path, may_land = release_rig.restart(rig, journal), rig.root / "may land"
    may_land.unlink(missing_ok=True)
    old, new = rig.trees(), rig.trees("stg")
    slow = SLOW.replace("heads/*", "heads/main").replace("sleep 0.2", "sleep 1" if awaited else until(may_land))
    for name in SLOW_ONES:
        rig.hook(name, slow)
    assert killed(lambda: release_rig.push(rig, path), "after", PUSHING + 1)
    ended = rig.recover("undo")
    may_land.touch()
    wait_for(lambda: not at_work_in(rig.root), "the end of every push")
    return ended, rig.verdict_of_git(old, new)


def at_work_in(root: Path) -> list[int]:
    """The processes that name a folder below this one: git's, on both sides of a push."""
    commands = ((process.pid, process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [pid for pid, command in commands if any(f"{root}/" in argument for argument in command)]


@pytest.mark.parametrize("kept", ["the fence and the awaited processes", "the fence alone"])
def test_processes_of_a_killed_promoter_cannot_land_after_the_undo(
    parked: tuple[Rig, bytes], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    awaited = kept != "the fence alone"
    take_down(monkeypatch, awaiting=not awaited, fence=False)
    ended, what = undone_then_waited(*parked, awaited=awaited)
    assert (ended.code, what) == (1, "old"), ended.said


def test_without_the_fence_and_the_awaited_processes_a_late_push_lands(
    parked: tuple[Rig, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_down(monkeypatch, awaiting=True, fence=True)
    _, what = undone_then_waited(*parked, awaited=False)
    assert what.startswith("mixed"), "the test above can fail"


def take_down(patch: pytest.MonkeyPatch, *, awaiting: bool, fence: bool) -> None:
    """Take down what stops a late push: the fence and the parked ref of each push, and that a successor awaits git."""
    git, push = Mirror.git, Mirror.push

    def pushed(self: Mirror, specs: dict[str, Any], turn: Turn | None = None) -> None:
        moving = any(ref.startswith("refs/heads/") for ref in specs)
        kept = {r: s for r, s in specs.items() if not (moving and (r == FENCE or (s[0] == "" and "promotions" in r)))}
        push(self, kept if any(r.startswith("refs/heads/") for r in kept) or not moving else specs, turn)

    if awaiting:
        patch.setattr(Mirror, "git", lambda self, *a, **k: git(replace(self, running=None), *a, **k))
    if fence:
        patch.setattr(Mirror, "push", pushed)


def test_a_living_promoter_is_named_and_processes_of_a_dead_one_are_awaited(tmp_path: Path) -> None:
    with (
        lock.local(tmp_path, "First Person <first@glibiz.com>"),
        pytest.raises(lock.Busy, match=rf"First Person .* \(process {os.getpid()}, since .*\) is at work"),
        lock.local(tmp_path, "Second"),
    ):
        pass
    child = os.fork()
    if child == 0:
        with lock.local(tmp_path, "A promoter that dies") as running:
            left = subprocess.Popen(["git", "-c", f"alias.linger=!{until(tmp_path / 'may end')}", "linger"])
            (running / str(left.pid)).touch()
            os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(lock.Busy, match="git processes that A promoter"), lock.local(tmp_path, "Too early", 0.05):
        pass
    (tmp_path / "may end").touch()
    with lock.local(tmp_path, "Patient"):
        pass


def test_a_journal_line_torn_by_a_crash_is_dropped_and_the_promotion_continues(parked: tuple[Rig, bytes]) -> None:
    rig, journal = parked
    path = release_rig.restart(rig, journal)
    old, new = rig.trees(), rig.trees("stg")
    assert killed(lambda: release_rig.push(rig, path), "after", PUSHING + 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert len(journals.read(path)) == whole.count(b"\n") - 1
    assert judge(rig, rig.recover("resume"), old, new) == "new"
    assert path.read_bytes().startswith(whole[: whole.rstrip().rfind(b"\n")])


TAMPERED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a changed commit": lambda lines: [line.replace(b'"noop"', b'"merge"').replace(b"old", b"odd") for line in lines],
    "a changed last line": lambda lines: [*lines[:-1], lines[-1].replace(b"pushed", b"failed")],
    "a line less": lambda lines: [*lines[:2], *lines[3:]],
    "a line twice": lambda lines: [*lines[:3], *lines[2:]],
    "two lines the other way round": lambda lines: [lines[1], lines[0], *lines[2:]],
    "no JSON in the middle": lambda lines: [lines[0], b"{", *lines[2:]],
    "another operation's": lambda lines: [line.replace(b'"id": "2', b'"id": "3') for line in lines],
}


@pytest.mark.parametrize("how", TAMPERED)
def test_an_edited_journal_is_refused_and_no_ref_changes(parked: tuple[Rig, bytes], how: str) -> None:
    rig, journal = parked
    path = release_rig.restart(rig, journal)
    assert killed(lambda: release_rig.push(rig, path), "after", PUSHING + 2)
    rig.wait_for_orphans()
    path.write_bytes(b"".join(line + b"\n" for line in TAMPERED[how](path.read_bytes().splitlines())))
    before = [rig.refs(name) for name in NAMES]
    with pytest.raises(UsageError, match=r"line \d+ is not as it was written"):
        rig.recover("resume")
    assert [rig.refs(name) for name in NAMES] == before


@pytest.mark.parametrize(
    ("room", "said", "what"),
    [(20, "nothing has moved; make room", "old"), (1300, r"[1-4] of 5 are known to have moved; make room", "new")],
)
def test_a_full_disk_stops_the_operation_before_the_next_effect(
    parked: tuple[Rig, bytes], room: int, said: str, what: str
) -> None:
    """The journal finds room for this number of bytes after the promotion was parked."""
    rig, journal = parked
    path = release_rig.restart(rig, journal)
    old, new = rig.trees(), rig.trees("stg")

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(journal) + room, before[1]))
    try:
        with pytest.raises(DiskError, match=rf"can't be written: (File too large|the disk took only a part).*{said}"):
            release_rig.push(rig, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    if what == "old":
        assert rig.verdict_of_git(old, new) == "old"
    assert judge(rig, rig.recover("resume"), old, new) == what
