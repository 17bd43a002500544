"""Two machines: the fence stops the suspended machine, a person takes over, and doctor checks the overall state."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import release_rig
from click.testing import CliRunner
from release_rig import FIRST_TAG, HOME, PUSHING, REFUSE, THREE, Approval, Rig, doctor, healthy, killed, project

from conftest import sampled, wait_for
from gli.cli.group import main
from gli.git.command import GitFailed
from gli.git.refs import FENCE, LOCK
from gli.release import journal as journals
from gli.release import lock, take_over
from gli.release.journal import Event, Journal
from gli.release.mirror import Mirror, Specs
from gli.release.plan import Refused
from gli.release.push_order import Turn

KEEPS_TAGS = "#!/bin/sh\ncase $1:$3 in refs/tags/*:0000*) echo protected >&2; exit 1;; esac\n"
KEEPS_ALL = """\
#!/bin/sh
case $3 in 0000*) echo "no ref is deleted" >&2; exit 1;; esac
case $2 in 0000*) exit 0;; esac
git merge-base --is-ancestor $2 $3 || { echo "no ref is rewound" >&2; exit 1; }
"""
"""As gitolite does it for people who may write and not rewind."""
KEEPS_LOCK = "#!/bin/sh\ncase $1:$3 in refs/gli/lock:0000*) exit 1;; esac\n"


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    made = release_rig.make(tmp_path, THREE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLI_ENV", "own")
    project(made)
    yield made
    for name in THREE:
        (made.bare(name) / "hooks" / "update").unlink(missing_ok=True)


def update(rig: Rig, name: str, script: str) -> None:
    """Install the update hook, which git runs for each ref separately."""
    path = rig.bare(name) / "hooks" / "update"
    path.write_text(script)
    path.chmod(0o755)


def elsewhere(rig: Rig) -> Rig:
    """The same remotes from another machine."""
    return replace(rig, state=rig.root / "elsewhere")


def suspended(work: Callable[[], Any], line: int) -> int:
    """Run `work` in a child that is suspended right after a line of its journal; returns the child."""
    child = os.fork()
    if child == 0:
        write = Journal.append

        def append(self: Journal, event: str, **detail: Any) -> Event:
            written = write(self, event, **detail)
            if written.seq == line:
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # stops this thread before it goes on
            return written

        Journal.append = append  # type: ignore[method-assign]
        code = 9
        try:
            code = work().code
        finally:
            os._exit(code)
    os.waitpid(child, os.WUNTRACED)
    return child


def wait_until_still(child: int) -> None:
    """Wait until the processes of a suspended machine have ended. The last push waits for that machine for ever."""

    def at_work() -> list[psutil.Process]:
        left = [p for p in psutil.Process(child).children() if p.status() != psutil.STATUS_ZOMBIE]
        return [p for p in left if not any(f"{HOME}.git" in argument for argument in p.cmdline())]

    wait_for(lambda: not at_work(), "the end of the other pushes")


@pytest.mark.parametrize(
    ("line", "way"),
    sampled(
        [
            (line, way)
            for line in (PUSHING - 1, PUSHING, PUSHING + 1, PUSHING + len(THREE) - 1)
            for way in (("stg", "main"), ("dev", "stg"))
        ],
        3,
    ),
)
def test_a_machine_that_was_suspended_neither_undoes_nor_moves_anything(
    rig: Rig, line: int, way: tuple[str, str]
) -> None:
    old, new = rig.trees(way[1]), rig.trees(way[0])
    child = suspended(lambda: rig.promote(*way), line)
    try:
        wait_until_still(child)
        id_, other = rig.journal()[0].id, elsewhere(rig)
        taken = other.take_over(id_)
        assert (taken.code, rig.trees(way[1])) == (1, old), taken.said
        assert other.promote(*way).code == 0
    finally:
        os.kill(child, signal.SIGCONT)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (1, 3)
    assert rig.verdict_of_git(old, new, way[1]) == "new"
    if code == 3:
        assert rig.names()[-1] == "overtaken"
    assert rig.recover("undo").code == 0, "nothing is left to do here"
    CliRunner().invoke(main, ["log", "--publish"])  # as doctor advises if the machine could not do it itself
    assert healthy(rig), doctor()


@pytest.mark.parametrize("ends_it", ["the machine that took it over", "the machine that began it"])
def test_a_machine_that_was_overtaken_begins_nothing_before_the_operation_has_ended(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, ends_it: str
) -> None:
    """The take-over has got no further than the log repository, where the others have moved."""
    old = rig.trees()
    assert killed(rig.promote, "after", PUSHING + 2)
    rig.wait_for_orphans()
    id_, other, push = rig.journal()[0].id, elsewhere(rig), Mirror.push

    def lost(self: Mirror, specs: Specs, turn: Turn | None = None) -> None:
        push(self, specs, turn)
        if self.name == HOME:
            raise GitFailed(("push",), 128, "fatal: the remote end hung up unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "push", lost)
        assert other.take_over(id_).code == 3
    assert (rig.recover("resume").code, rig.names()[-1]) == (3, "overtaken")
    assert {name for name, tree in rig.trees().items() if tree != old[name]} == {*THREE} - {HOME}
    refused = rig.promote("dev", "stg")
    assert (refused.code, f"gli promote --take-over {id_}" in refused.said) == (1, True), refused.said
    code, lines = doctor()
    assert (code, f"is releasing {id_}, or left it half-finished: it has moved 2 of 3" in lines[0]) == (1, True), lines
    ended = rig.take_over(id_) if ends_it == "the machine that began it" else other.recover("undo")
    assert (ended.code, rig.trees()) == (1, old), ended.said
    assert rig.promote("dev", "stg").code == 0
    assert other.recover("undo").code == (3 if ends_it == "the machine that began it" else 0)
    assert rig.trees("stg") == rig.trees("dev")
    CliRunner().invoke(main, ["log", "--publish"])
    assert healthy(rig), doctor()
    rig.commit("gli_redis", "dev", {"more.txt": "more\n"})
    assert other.promote("dev", "stg").code == 0


def test_an_operation_that_was_refused_before_anything_moved_stops_no_other_machine(rig: Rig) -> None:
    """It has taken the fence of the repositories in which it moves nothing, and another one was faster at the lock."""
    assert rig.promote("dev", "stg").code == 0
    rig.commit(HOME, "dev", {"more.txt": "more\n"})

    def faster(request: release_rig.Request) -> Approval:
        rig.point_at_text(HOME, LOCK, "another one")
        return Approval(release_rig.SECOND)

    ended = rig.promote("dev", "stg", approve=faster)
    assert (ended.code, "another operation holds" in ended.said) == (1, True), ended.said
    rig.git(HOME, "update-ref", "-d", LOCK)
    ended = elsewhere(rig).promote("dev", "stg")
    assert (ended.code, rig.trees("stg")) == (0, rig.trees("dev")), ended.said


def test_a_running_operation_cannot_be_taken_over(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert killed(rig.promote, "after", PUSHING)
    rig.wait_for_orphans()
    id_, other = rig.journal()[0].id, elsewhere(rig)
    look = take_over.ls_remote

    def moved(*arguments: Any) -> Any:
        rig.git("gli_redis", "update-ref", FENCE, "main")
        return look(*arguments)

    monkeypatch.setattr(take_over, "ls_remote", moved)
    ended = other.take_over(id_)
    assert (ended.code, f"{id_} is at work: gli_redis" in ended.said) == (1, True), ended.said


def test_a_take_over_shows_its_findings_and_needs_a_confirmation(rig: Rig) -> None:
    assert killed(rig.promote, "after", PUSHING + 2)
    rig.wait_for_orphans()
    before, id_, said = rig.everything(), rig.journal()[0].id, []

    def no(request: release_rig.Request) -> Approval:
        said.extend(request.lines)
        raise Refused("not confirmed")

    assert elsewhere(rig).take_over(id_, no).code == 1
    assert rig.everything() == before
    assert "GLI Developer <developer@glibiz.com> on" in said[0]
    assert f"{HOME}: not moved" in said and said[-1].endswith(f"of {len(THREE)} have moved and will be taken back")


@pytest.mark.parametrize("line", [5, 6, 7, 6 + len(THREE)])  # decided, its log repository taken, two taken, all taken
def test_a_take_over_that_dies_can_be_continued(rig: Rig, line: int) -> None:
    assert killed(rig.promote, "after", PUSHING + 2)
    rig.wait_for_orphans()
    id_, other, old = rig.journal()[0].id, elsewhere(rig), rig.trees("dev")
    old = {name: rig.tree(name, f"{FIRST_TAG}^{{commit}}") for name in THREE}
    killed(lambda: other.take_over(id_), "after", line)
    ended = other.recover("undo")
    assert ended.code in (0, 1), ended.said
    assert rig.trees() == old
    assert rig.leftovers() == set()


def test_unknown_and_ended_operation_ids_are_refused(rig: Rig) -> None:
    other = elsewhere(rig)
    assert "no repository knows" in other.take_over("20260101-000000-0000").said
    assert rig.promote().code == 0
    assert "has ended" in other.take_over(rig.journal()[0].id).said
    assert "this machine began" in rig.take_over(rig.journal()[0].id).said


HERE = os.uname().nodename
HOSTS = {
    HERE: "in another state folder than",
    "laptop": "End it on laptop. Where its machine is gone",
}
"""Where an operation was begun, and what a state folder says that does not know it."""


def killed_on(host: str, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> str:
    """A promotion is killed on this host after something has moved; returns its id."""
    with monkeypatch.context() as named:
        named.setattr(os, "uname", lambda: SimpleNamespace(nodename=host))
        assert killed(rig.promote, "after", PUSHING + 2)
    rig.wait_for_orphans()
    return rig.journal()[0].id


@pytest.mark.parametrize("host", HOSTS)
def test_undo_names_the_machine_with_the_unfinished_operation(
    rig: Rig, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = killed_on(host, rig, monkeypatch)
    ended = elsewhere(rig).recover("undo")
    assert (ended.code, "nothing is half-finished on this machine" in ended.said) == (1, True)
    assert HOSTS[host] in ended.said and f"gli promote --take-over {id_}" in ended.said


@pytest.mark.parametrize("host", HOSTS)
def test_doctor_counts_moved_repositories_and_advises_each_machine(
    rig: Rig, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its own machine the operation is unknown where its state folder is lost."""
    id_ = killed_on(host, rig, monkeypatch)
    (rig.state / "journal").rename(rig.state / "of-another-machine")
    code, lines = doctor()
    assert (code, f"is releasing {id_}, or left it half-finished: it has moved" in lines[0]) == (1, True), lines
    here = f"in the state folder where it was begun, which is not {rig.state}; if that folder is lost"
    assert ("gli promote --resume or --undo on laptop" in lines[1]) == (host != HERE)
    assert (here in lines[1]) == (host == HERE)
    assert f"gli promote --take-over {id_}" in lines[1]


@pytest.mark.parametrize("key", ["uploadpack.hideRefs", "transfer.hideRefs"])
@pytest.mark.parametrize("hidden", ["from the start", "after a release"])
def test_a_host_that_hides_the_fence_is_named_and_nothing_moves(rig: Rig, key: str, hidden: str) -> None:
    if hidden != "from the start":
        assert rig.promote().code == 0
        rig.commit("gli_redis", "dev", {"more.txt": "more\n"})
    before = rig.everything()
    rig.git("gli_redis", "config", key, "refs/gli")
    ended = rig.promote("dev", "stg")
    assert (ended.code, "gli_redis: its host hides refs/gli/ from clients" in ended.said) == (1, True), ended.said
    assert "another operation" not in ended.said
    assert rig.everything() == before
    rig.git("gli_redis", "config", "--unset", key)
    assert rig.promote("dev", "stg").code == 0


def test_doctor_names_a_repository_that_is_at_another_release_than_the_rest(rig: Rig) -> None:
    assert rig.promote().code == 0
    assert healthy(rig)
    tag = rig.journal()[-1].detail["tag"]
    rig.git("gli_redis", "update-ref", "refs/heads/main", f"{FIRST_TAG}^{{commit}}")
    code, lines = doctor()
    assert (code, lines[0].startswith(f"main is not at one release: gli_redis at {FIRST_TAG}; ")) == (1, True), lines
    assert tag in lines[0]


def test_doctor_finds_a_main_that_was_put_back_to_an_undone_commit(rig: Rig) -> None:
    """The journal of this machine knows the commit: it was pushed, and taken back."""
    rig.hook("gli_redis", REFUSE)
    assert rig.promote().code == 1
    taken_back = journals.last(rig.journal(), "planned")["moves"]["gli_database"]["new"]  # type: ignore[index]
    rig.git("gli_database", "update-ref", "refs/heads/main", taken_back)
    code, lines = doctor()
    assert (code, f"gli_database: main is at {taken_back[:8]}, which no tag" in lines[0]) == (1, True), lines


def test_doctor_finds_a_staging_of_which_one_repository_was_put_back(rig: Rig) -> None:
    old = rig.heads("stg")
    assert rig.promote("dev", "stg").code == 0
    rig.git("gli_redis", "update-ref", "refs/heads/stg", old["gli_redis"])
    code, lines = doctor()
    assert (code, lines[0].startswith("gli_redis: stg has lost ")) == (1, True), lines
    for name in THREE:
        rig.git(name, "update-ref", "refs/heads/stg", old[name])
    assert healthy(rig), "all of them were put back: that is no mix"


def test_tags_of_an_undone_deployment_are_not_evidence(rig: Rig) -> None:
    """On a host that keeps tags: no line in the log, no remedy, and the rollback's hold stays."""
    assert rig.promote().code == 0
    assert rig.roll_back(FIRST_TAG).code == 0
    assert "--reinstate" in rig.promote().said
    for name in THREE:
        update(rig, name, KEEPS_TAGS)
    rig.hook("gli_redis", REFUSE)
    ended = rig.promote(choices=release_rig.Choices(reinstate=True))
    assert (ended.code, "undone in" in ended.said) == (1, True), ended.said
    (rig.bare("gli_redis") / "hooks" / "pre-receive").unlink()
    left = rig.journal()[1].detail["tag"]
    assert f"refs/tags/{left}" in rig.refs("gli_database"), "the host keeps it"
    assert "--reinstate" in rig.promote().said, "the hold stays"
    assert doctor() == (0, [f"all {len(THREE)} repositories are in order"])
    assert left not in CliRunner().invoke(main, ["log", "--rebuild"]).output


def test_releases_and_undos_work_where_no_ref_can_be_deleted_or_rewound(rig: Rig) -> None:
    for name in THREE:
        update(rig, name, KEEPS_ALL)
    old = rig.trees("stg")
    rig.hook("gli_redis", REFUSE)
    ended = rig.promote("dev", "stg")
    assert (ended.code, rig.trees("stg")) == (1, old), ended.said
    (rig.bare("gli_redis") / "hooks" / "pre-receive").unlink()
    ended = rig.promote("dev", "stg")
    assert ended.code == 0, ended.said
    assert any("can't be deleted there and stays" in line for line in rig.told)
    other = elsewhere(rig)
    assert other.promote().code == 0, "its lock does not hold anybody up"


KEEPS_AS_A_WHOLE = """\
#!/bin/sh
while read old new ref; do case $new in 0000*) echo "no ref is deleted here"; exit 1;; esac; done
"""


def test_releases_work_where_a_hook_of_the_whole_push_forbids_deletions(rig: Rig) -> None:
    """Such a hook refuses the branch together with the deletion of the parked ref."""
    for name in THREE:
        rig.hook(name, KEEPS_AS_A_WHOLE)
    new = rig.trees("dev")
    ended = rig.promote("dev", "stg")
    assert (ended.code, rig.trees("stg")) == (0, new), ended.said
    other = elsewhere(rig)
    assert other.promote().code == 0, "its lock does not hold anybody up"
    assert other.roll_back(FIRST_TAG).code == 0


def test_a_take_over_works_where_no_ref_can_be_deleted_or_rewound(rig: Rig) -> None:
    for name in THREE:
        update(rig, name, KEEPS_ALL)
    old = rig.trees("stg")
    assert killed(lambda: rig.promote("dev", "stg"), "after", PUSHING + 2)
    rig.wait_for_orphans()
    other = elsewhere(rig)
    taken = other.take_over(rig.journal()[0].id)
    assert (taken.code, rig.trees("stg")) == (1, old), taken.said
    assert other.promote("dev", "stg").code == 0


def test_an_undeletable_lock_is_taken_over_after_its_operation_has_ended(rig: Rig) -> None:
    update(rig, HOME, KEEPS_LOCK)
    assert rig.promote().code == 0
    assert LOCK in rig.refs(HOME)
    assert elsewhere(rig).recover("undo") == release_rig.Ended(0, "", None), "nothing is half-finished anywhere"
    assert any("the next operation takes it over" in line for line in rig.told)
    other = elsewhere(rig)
    assert other.promote("dev", "stg").code == 0
    assert lock.Holder.parsed(rig.text_at(HOME, LOCK)) is not None
