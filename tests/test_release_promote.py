"""A promotion moves all repositories or none: what it checks, what it records, and what refuses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import release_rig
from release_rig import EIGHT, FIRST_TAG, HOME, ME, NAMES, REFUSE, Ended, Rig

from conftest import exhaustive
from gli.common import clock
from gli.common.errors import UsageError
from gli.git.command import GitFailed
from gli.git.refs import FENCE, LOCK
from gli.git.tags import trailer
from gli.release import lock
from gli.release.git_merge import merge
from gli.release.mirror import Mirror
from gli.release.plan import Refused
from gli.release.promote import Choices, Evidence, Heads
from gli.release.push_order import hooks_in
from gli.release.session import Approval, Request


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


def test_the_tag_has_person_commits_verdict_and_journal_line(rig: Rig) -> None:
    rig.promote()
    events = rig.journal()
    tag = events[-1].detail["tag"]
    messages = {rig.git(name, "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}") for name in NAMES}
    said = trailer(messages.pop()) or {}
    assert not messages, "all tags say the same"
    assert said["kind"] == "deploy" and said["id"] == events[0].id and said["approved_by"] == release_rig.SECOND
    assert said["verdict"] == {"environment": "stg", "finished": "2026-01-31T09:00:00.000Z"}
    assert {n: m["new"] for n, m in said["moves"].items()} == rig.heads()
    assert said["journal"] == next(e for e in events if e.event == "approved").hash


RECORD = """\
#!/bin/sh
cat >>"$GIT_DIR/pushed"; echo >>"$GIT_DIR/pushed"
for name in {others}; do git --git-dir="$GIT_DIR/../$name.git" rev-parse main; done >"$GIT_DIR/others"
"""


@pytest.fixture(params=["the hook runs", "the hook can't be written", "the hook is busy"])
def with_hooks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """git would not run a hook that can't be executed, and would wait for ever for one that somebody writes to."""
    rig = release_rig.make(tmp_path)
    rig.state.mkdir(parents=True)
    if request.param == "the hook can't be written":
        (rig.state / "hooks").write_text("")
    if request.param != "the hook is busy":
        yield rig
        return
    assert hooks_in(rig.state) is not None
    with (rig.state / "hooks" / "pre-push").open("a"):
        yield rig


def test_the_log_repository_moves_last_in_one_push_with_log_line_and_lock(with_hooks: Rig) -> None:
    rig = with_hooks
    others = [name for name in NAMES if name != HOME]
    rig.hook("gli_redis", release_rig.SLOW)
    rig.hook(HOME, RECORD.format(others=" ".join(others)))
    ended = rig.promote()
    assert ended.code == 0, ended.said
    heads = rig.heads()
    assert (rig.bare(HOME) / "others").read_text().split() == [heads[name] for name in others]
    _, last, *more = (rig.bare(HOME) / "pushed").read_text().split("\n\n")
    tag, id_ = rig.journal()[-1].detail["tag"], rig.journal()[0].id
    assert {line.split()[2] for line in last.splitlines()} == {
        "refs/heads/main",
        f"refs/tags/{tag}",
        f"refs/promotions/{id_}/main",
        "refs/heads/deployments",
        FENCE,
        LOCK,
    }
    assert not "".join(more), "and there is no further push"
    assert f" {tag} deployed stg -> main " in rig.git(HOME, "show", "deployments:deployment.log")


FIRST = "gli_database"


def test_the_first_repository_lands_before_any_other_push(tmp_path: Path) -> None:
    rig = release_rig.make(tmp_path)
    rig.moves_first = [FIRST]
    rig.hook(FIRST, release_rig.SLOW)
    for name in NAMES:
        if name != FIRST:
            rig.hook(name, RECORD.format(others=FIRST))
    assert rig.promote().code == 0
    for name in NAMES:
        if name != FIRST:
            assert (rig.bare(name) / "others").read_text().strip() == rig.heads()[FIRST], name
    assert next(e.detail["repository"] for e in rig.journal() if e.event == "pushed") == FIRST
    assert rig.leftovers() == set()


def test_the_reason_of_a_refusal_has_no_control_characters(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[color]\n" + "".join(f"\t{key} = always\n" for key in ("ui", "push", "remote", "transport")))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    rig.hook(FIRST, REFUSE.replace("echo not today", r"printf '\033[31mnot\033[0m\a today\n'"))
    ended = rig.promote()
    assert ended.code == 1
    assert f"{FIRST}: main was refused (pre-receive hook declined: not today)" in ended.said
    assert not [line for line in (ended.said, *rig.told) if not line.replace("\n", "").isprintable()]


def test_a_refusal_of_the_first_repository_moves_nothing(tmp_path: Path) -> None:
    rig = release_rig.make(tmp_path)
    rig.moves_first = [FIRST]
    rig.hook(FIRST, REFUSE)
    before = rig.heads()
    ended = rig.promote()
    assert ended.code == 1
    assert ended.said == f"{FIRST}: main was refused (pre-receive hook declined: not today); nothing has moved"
    assert rig.heads() == before, "not even by a commit that takes it back"
    assert rig.leftovers() == set()
    (rig.bare(FIRST) / "hooks" / "pre-receive").unlink()
    with rig.down("gli_redis"):
        assert rig.promote().code == 3
    assert rig.promote().code == 0


def test_a_refused_log_push_does_not_stop_a_release(rig: Rig) -> None:
    new = rig.trees("stg")
    rig.hook(HOME, "#!/bin/sh\n! grep -q refs/heads/deployments\n")
    ended = rig.promote()
    assert ended.code == 0, ended.said
    assert rig.trees() == new and rig.leftovers() == set()
    (rig.bare(HOME) / "hooks" / "pre-receive").unlink()
    assert rig.promote().code == 1
    assert [line.split()[2] for line in rig.git(HOME, "show", "deployments:deployment.log").splitlines()] == [
        "deployed",
        "refused",
    ]


def test_the_awaited_repository_is_named(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """gli_redis lands when it was named; gli_root's turn comes after gli_redis."""
    named, said = rig.root / "named", "waiting for gli_root, gli_redis ..."

    class Told(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if line == said:
                named.touch()

    rig.told = Told()
    monkeypatch.setattr("gli.release.repositories.WAITING_S", 0.3)
    until = f"for n in $(seq 6000); do test -e '{named}' && break; sleep 0.02; done"
    rig.hook("gli_redis", release_rig.SLOW.replace("sleep 0.2", until))
    assert rig.promote().code == 0
    assert said in rig.told


def test_a_promotion_reads_no_clone(rig: Rig) -> None:
    assert not (rig.root / "clones").exists()
    assert rig.promote().code == 0


ALL_ALONE = [0, *(1 << bit for bit in range(8)), 255]
"""None of the repositories, each alone, and all: what refuses in `make test`, as bits."""


@pytest.mark.parametrize(
    "subsets", [ALL_ALONE, *(pytest.param(range(n, 2**8, 4), marks=exhaustive) for n in range(4))], ids=str
)
def test_each_subset_of_the_repositories_may_refuse_and_all_or_nothing_moves(
    tmp_path: Path, subsets: Sequence[int]
) -> None:
    rig = release_rig.make(tmp_path, EIGHT)
    old, new = rig.trees(), rig.trees("stg")
    journal = release_rig.park(rig, rig.promote).read_bytes()
    for subset in subsets:
        refusing = [name for bit, name in enumerate(EIGHT) if subset >> bit & 1]
        path = release_rig.restart(rig, journal)
        for name in refusing:
            rig.hook(name, REFUSE)
        ended = release_rig.push(rig, path)
        what = rig.verdict_of_git(old, new)
        assert (ended.code, what) == ((1, "old") if refusing else (0, "new")), (refusing, ended.said, what)
        assert rig.names()[-1] == ("undone" if refusing else "done"), "the journal says which"
        assert rig.leftovers() == set()
        asked = [name for name in refusing if name != HOME] or refusing  # HOME is pushed after all others have moved
        assert all(name in ended.said for name in asked)


def test_conflicts_are_listed_with_their_files_before_anything_moves(rig: Rig) -> None:
    for name in ("gli_redis", "gli_websocket"):
        rig.commit(name, "main", {"app.txt": "one\ntwo\nthird\n"})
    before = rig.everything()
    ended = rig.promote()
    assert ended.code == 1
    assert ended.said == (
        "gli_websocket: stg and main conflict in app.txt\ngli_redis: stg and main conflict in app.txt"
    )
    assert rig.everything() == before


def test_main_with_a_change_that_stg_lacks_is_refused_until_it_is_merged_back(rig: Rig) -> None:
    rig.commit("gli_redis", "main", {"hotfix.txt": "hot\n"})
    ended = rig.promote()
    assert ended.code == 1
    assert "gli_redis: main holds what stg lacks (hotfix.txt): merge back first: gli promote main stg" in ended.said
    assert rig.promote("main", "stg").code == 0
    assert rig.promote().code == 0
    assert rig.trees() == rig.trees("stg")


def test_a_file_name_that_is_not_utf8_is_still_shown(rig: Rig) -> None:
    for branch in ("dev", "stg"):
        lines = f"commit refs/heads/{branch}\ncommitter A <a@glibiz.com> 1 +0000\ndata 0\nfrom refs/heads/{branch}^0\n"
        command = ["git", "--git-dir", str(rig.bare("gli_redis")), "fast-import", "--quiet"]
        file = lines.encode() + b"M 100644 inline \xc7\xd1.txt\ndata 3\n" + branch.encode()
        subprocess.run(command, input=file, check=True)
    ended = rig.promote("dev", "stg")
    assert (ended.code, ended.said) == (1, r"gli_redis: dev and stg conflict in \xc7\xd1.txt")
    assert r"\xc7\xd1.txt" in (rig.state / "deployment.log").read_text()


def test_a_name_without_a_commit_is_not_a_conflict(rig: Rig) -> None:
    rig.promote()
    mirror = Mirror(rig.settings.repositories[0], rig.state / "mirrors" / "gli_root.git")
    with pytest.raises(GitFailed, match="one of the two is no commit"):
        merge(mirror, "main", "nothing-of-this-name")


def test_a_repository_that_lost_the_branch_is_named(rig: Rig) -> None:
    assert rig.promote("dev", "stg").code == 0
    for branch in ("dev", "stg"):
        rig.git("gli_redis", "update-ref", "-d", f"refs/heads/{branch}")
    assert rig.promote("dev", "stg") == Ended(1, "gli_redis has no branch dev")
    rig.git("gli_redis", "update-ref", "refs/heads/dev", "main")
    ended = rig.promote("dev", "stg")
    assert (ended.code, ended.said) == (1, "gli_redis has no branch stg")


def _hashed(rig: Rig, commit: str) -> str:
    return rig.git("gli_redis", "hash-object", "-t", "commit", "-w", "--stdin", says=commit)


def test_branches_without_a_commit_in_common_are_refused(rig: Rig) -> None:
    tree = rig.git("gli_redis", "rev-parse", "dev^{tree}")
    alone = "author A <a@glibiz.com> 1 +0000\ncommitter A <a@glibiz.com> 1 +0000\n\nAlone\n"
    rig.git("gli_redis", "update-ref", "refs/heads/dev", _hashed(rig, f"tree {tree}\n{alone}"))
    ended = rig.promote("dev", "stg")
    assert (ended.code, ended.said) == (1, "gli_redis: dev and stg have no commit in common")


def test_all_obstacles_are_reported_together(rig: Rig) -> None:
    rig.commit("gli_redis", "main", {"app.txt": "one\ntwo\nthird\n"})

    def no(heads: Heads) -> Evidence:
        raise Refused("the gate says no: NO-GO", code=3)

    ended = rig.promote(frozen="frozen from Fri to Mon", gate=no)
    assert ended.code == 1
    for reason in ("the gate says no", "frozen from Fri to Mon; wait", "gli_redis: stg and main conflict"):
        assert reason in ended.said
    assert rig.promote("dev", "stg", frozen="frozen", gate=no).code == 0, "staging asks no gate and is never frozen"


def test_only_the_commits_of_the_verdict_are_moved(rig: Rig) -> None:
    earned = rig.gate()
    rig.commit("gli_redis", "stg", {"later.txt": "not verified\n"})
    ended = rig.promote(gate=lambda heads: earned)
    assert (ended.code, ended.said) == (1, "gli_redis: stg is not at the commit that was verified; verify again")
    part = earned.manifest["gli_redis"] | {"tree": "0" * 40, "commit": rig.heads("stg")["gli_redis"]}
    assert rig.promote(gate=lambda heads: Evidence(dict(earned.manifest) | {"gli_redis": part}, {})).code == 1
    fewer = {name: part for name, part in rig.gate().manifest.items() if name != "gli_redis"}
    assert rig.promote(gate=lambda heads: Evidence(fewer, {})).code == 1


def test_a_freeze_override_is_recorded(rig: Rig) -> None:
    ended = rig.promote(frozen="frozen from Fri to Mon", choices=Choices(override_freeze="CVE-2026-1"))
    assert ended.code == 0, ended.said
    message = rig.git(
        "gli_redis", "for-each-ref", "--format=%(contents)", f"refs/tags/{rig.journal()[-1].detail['tag']}"
    )
    assert (trailer(message) or {})["override_freeze"] == {"window": "frozen from Fri to Mon", "reason": "CVE-2026-1"}


def test_a_dry_run_shows_the_plan_and_leaves_no_refs(rig: Rig) -> None:
    before = rig.everything()

    def never(request: Request) -> Approval:
        raise AssertionError("nobody is asked")

    ended = rig.promote(choices=Choices(dry_run=True), approve=never)
    assert (ended.code, ended.said) == (0, "dry run: nothing was pushed")
    assert rig.everything() == before
    assert not list(rig.state.glob("journal/*"))


def test_the_answer_no_moves_nothing_and_is_in_the_journal(rig: Rig) -> None:
    def no(request: Request) -> Approval:
        raise Refused("not confirmed")

    before = rig.everything()
    assert rig.promote(approve=no) == Ended(1, "not confirmed")
    assert rig.names() == ["opened", "planned", "refused"]
    assert rig.everything() == before


def test_commits_already_on_the_target_are_not_promoted_again(rig: Rig) -> None:
    assert rig.promote().code == 0
    ended = rig.promote()
    assert (ended.code, "there is nothing to promote" in ended.said) == (1, True)


def test_an_undone_promotion_does_not_make_the_next_merge_leave_the_change_out(rig: Rig) -> None:
    developed, staged = rig.trees("dev"), rig.trees("stg")
    rig.hook("gli_redis", REFUSE)
    assert rig.promote("dev", "stg").code == 1
    assert rig.trees("stg") == staged
    assert rig.promote("stg", "dev").code == 0, "and a merge back does not take it away from dev"
    assert rig.trees("dev") == developed
    (rig.bare("gli_redis") / "hooks" / "pre-receive").unlink()
    assert rig.promote("dev", "stg").code == 0
    assert rig.trees("stg") == developed


def test_an_existing_tag_name_gets_the_next_number(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = clock.now().replace(microsecond=0)
    monkeypatch.setattr("gli.release.session.now", lambda: moment)
    rig.git("gli_redis", "tag", f"{moment:deploy-%Y%m%d-%H%M%S}", "main")
    assert rig.promote().code == 0
    assert rig.journal()[-1].detail["tag"] == f"{moment + timedelta(seconds=1):deploy-%Y%m%d-%H%M%S}"


def held(rig: Rig, holder: lock.Holder) -> None:
    """The lock ref, made by another machine."""
    rig.point_at_text("gli_root", LOCK, holder.text)


def test_a_lock_of_another_machine_is_respected_and_its_holder_named(rig: Rig) -> None:
    theirs = replace(lock.Holder.this_process("20260101-000000-0000", "First Person <first@glibiz.com>"), host="laptop")
    held(rig, theirs)
    ended = rig.promote()
    assert ended.code == 1
    assert "First Person <first@glibiz.com> on laptop" in ended.said
    assert f"gli promote --take-over {theirs.id}" in ended.said
    assert rig.take_over(theirs.id).said == f"taken over by {ME}; nothing has moved"
    assert rig.promote().code == 0
    assert rig.leftovers() == set()


def test_a_lock_that_this_machine_left_is_taken_over_at_once(rig: Rig) -> None:
    rig.promote(gate=lambda heads: Evidence({}, {}))
    held(rig, lock.Holder.this_process(rig.journal()[0].id, "First Person <first@glibiz.com>"))
    assert rig.promote().code == 0
    assert rig.leftovers() == set()


def test_a_lock_created_meanwhile_stops_the_later_operation(rig: Rig, at: Callable[..., None]) -> None:
    at("planned", lambda: held(rig, lock.Holder.this_process("x", "First Person <first@glibiz.com>")))
    ended = rig.promote()
    assert (ended.code, "another operation holds refs/gli/lock of gli_root" in ended.said) == (1, True), ended.said
    assert "pushing" not in rig.names()
    assert rig.leftovers() == {LOCK}, "theirs"


def test_no_push_is_forced(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A `+` or `--force` would disable the leases: no git process gets one, and every ref has a lease. git's trace2
    reports the processes."""
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(trace))
    rig.hook("gli_redis", REFUSE)
    rig.promote()
    (rig.bare("gli_redis") / "hooks" / "pre-receive").unlink()
    assert rig.promote().code == 0
    assert rig.roll_back(FIRST_TAG).code == 0
    assert rig.roll_back(FIRST_TAG, mode="reset").code in (0, 1)
    started = [json.loads(line) for line in trace.read_text().splitlines()]
    pushes = [event["argv"] for event in started if event["event"] == "start" and "push" in event["argv"]]
    assert len(pushes) > 7 * len(NAMES)
    for arguments in pushes:
        assert not any(a in ("--force", "-f", "--mirror") or a.startswith("+") for a in arguments)
        leased = {a.removeprefix("--force-with-lease=").rpartition(":")[0] for a in arguments if "lease=" in a}
        unleased = {a.rpartition(":")[2] for a in arguments if ":refs/" in a and "lease" not in a} - leased
        assert all(ref.startswith("refs/promotions/") for ref in unleased), arguments


def test_ctrl_c_while_branches_move_lets_them_finish(rig: Rig, at: Callable[..., None]) -> None:
    rig.hook("gli_redis", release_rig.SLOW)
    at("pushed", lambda: os.kill(os.getpid(), signal.SIGINT))
    assert rig.promote().code == 0
    assert rig.trees() == rig.trees("stg")


def test_ctrl_c_before_that_moves_nothing(rig: Rig, at: Callable[..., None]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    before = rig.everything()
    at("approved", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rig.promote()
    assert rig.names()[-1] == "refused"
    assert rig.everything() == before


def test_nothing_is_promoted_between_branches_that_are_not_neighbours(rig: Rig) -> None:
    for way in (("dev", "main"), ("main", "dev"), ("stg", "stg")):
        with pytest.raises(UsageError, match="nothing is promoted from"):
            rig.promote(*way)
