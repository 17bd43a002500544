"""Unplanned states that happen: merges from side branches, moved tags, clocks that go back, files in place of folders,
signals during an operation. No command silently skips anything, and none ends in a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import release_rig
from click.testing import CliRunner
from release_rig import EIGHT, FIRST_TAG, NAMES, REFUSE, SECOND, SLOW, Rig
from test_release_emergency import pushed
from test_release_story import Day

from gli.cli.group import main
from gli.common import clock
from gli.common.errors import UsageError
from gli.git.refs import FENCE, LOCK
from gli.release import emergency, engine, lock, log, session
from gli.release import journal as journals
from gli.release.mirror import Mirror, Specs
from gli.release.promote import Choices
from gli.release.push_order import Turn
from gli.release.session import Approval, Request

At = Callable[[str, Callable[[], Any]], None]


def merged_by_pull(rig: Rig, name: str, branch: str, file: str, meanwhile: Callable[[], Any]) -> None:
    """Commit in another clone before `meanwhile`, then `git pull`, which merges, and push."""
    clone = rig.root / "clones" / name
    git = ["git", "-C", str(clone)]
    subprocess.run(["git", "clone", "-q", "-b", branch, str(rig.bare(name)), str(clone)], check=True)
    (clone / file).write_text("mine\n")
    subprocess.run([*git, "add", file], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "Mine"], check=True)
    meanwhile()
    subprocess.run([*git, "pull", "-q", "--no-rebase", "--no-edit"], check=True)
    subprocess.run([*git, "push", "-q"], check=True)
    subprocess.run(["rm", "-rf", str(rig.root / "clones")], check=True)


def test_an_undone_change_is_promoted_again_even_after_a_side_merge_of_the_undo(rig: Rig) -> None:
    def undone() -> None:
        rig.hook("gli_websocket", REFUSE)
        assert rig.promote("dev", "stg").code == 1
        (rig.bare("gli_websocket") / "hooks" / "pre-receive").unlink()

    merged_by_pull(rig, "gli_redis", "stg", "mine.txt", undone)
    assert rig.promote("dev", "stg").code == 0
    listing = rig.git("gli_redis", "ls-tree", "--name-only", "stg").split()
    assert {"next.txt", "mine.txt"} <= set(listing), "nothing of dev or of the clone is left out"


def test_a_rollback_merged_from_a_side_branch_removes_nothing_from_staging(rig: Rig) -> None:
    assert rig.promote().code == 0
    merged_by_pull(rig, "gli_redis", "main", "hotfix.txt", lambda: rig.roll_back(FIRST_TAG))
    assert rig.promote("main", "stg").code == 0
    assert "THREE" in rig.git("gli_redis", "show", "stg:app.txt")
    assert "hotfix.txt" in rig.git("gli_redis", "ls-tree", "--name-only", "stg")


def test_a_message_that_restores_an_unknown_commit_is_only_a_message(rig: Rig) -> None:
    rig.commit("gli_redis", "stg", {"a.txt": "a\n"}, f"Copied\n\nRelease-Id: x\nRestores: {'12' * 20}\n")
    assert rig.promote("dev", "stg").code == 0


def test_a_state_folder_belongs_to_one_set_of_remotes(rig: Rig) -> None:
    assert rig.promote("dev", "stg").code == 0
    other = replace(rig.settings, remote="/elsewhere/{repository}.git")
    with (
        pytest.raises(UsageError, match=r"holds operations on .*/remotes/{repository}.git; give this environment"),
        session.session(other, rig.told.append),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_branches_move_waits_until_they_have(rig: Rig, at: At, number: signal.Signals) -> None:
    new = rig.trees("stg")
    at("pushed", lambda: os.kill(os.getpid(), number))
    assert rig.promote().code == 0
    assert rig.trees() == new


def test_a_closed_output_pipe_does_not_stop_the_promotion(tmp_path: Path) -> None:
    day = Day(tmp_path)
    new = day.rig.trees("dev")
    for name in EIGHT:
        day.rig.hook(name, SLOW)
    command = (
        f"{{ {Path(sys.executable).parent}/gli promote dev stg --yes; echo $? >code; }}"
        f" | head -{2 + 2 * len(EIGHT)}"  # title, id, summary
    )
    environment = os.environ | {"GLI_ENV": "own"}
    subprocess.run(command, shell=True, cwd=day.project.root, env=environment, check=True, timeout=600)
    assert day.rig.trees("stg") == new
    assert day.rig.names()[-1] == "done"
    assert (day.project.root / "code").read_text() == "0\n"


EMPTY = {
    "an empty approver": (["promote", "stg", "main", "--approve", "1", "--approved-by", ""], "--approved-by is empty"),
    "an empty override": (["promote", "stg", "main", "--override-freeze", " "], "an override needs its reason"),
    "undo is not dry": (["promote", "--undo", "--dry-run"], "--resume or --undo stands alone"),
    "acknowledging is not dry": (["push", "main", "--acknowledge", "x", "--dry-run"], "has no --dry-run"),
}


@pytest.mark.parametrize("case", EMPTY)
def test_empty_and_contradicting_options_are_refused(tmp_path: Path, case: str) -> None:
    arguments, sentence = EMPTY[case]
    assert sentence in Day(tmp_path).gli(*arguments, code=2)


def test_a_release_with_a_moved_tag_is_not_a_rollback_target(rig: Rig) -> None:
    assert rig.promote().code == 0
    tag = rig.journal()[-1].detail["tag"]
    rig.commit("gli_redis", "stg", {"more.txt": "more\n"})
    assert rig.promote().code == 0
    rig.git("gli_redis", "update-ref", f"refs/tags/{tag}", "main")
    ended = rig.roll_back(tag)
    assert (ended.code, f"{tag} was moved in gli_redis since it was made" in ended.said) == (1, True), ended.said


def test_a_rollback_to_a_release_ends_its_hold(rig: Rig) -> None:
    assert rig.promote().code == 0
    good = rig.journal()[-1].detail["tag"]
    assert rig.roll_back().code == 0, "by mistake"
    assert rig.roll_back(good).code == 0
    rig.commit("gli_redis", "stg", {"worse.txt": "worse\n"})
    assert rig.promote().code == 0
    ended = rig.roll_back()
    assert ended.code == 0, ended.said
    assert rig.journal()[1].detail["to"] == good


def test_the_previous_release_follows_from_history_not_from_clocks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    late = clock.now() + timedelta(hours=1)
    monkeypatch.setattr(session, "now", lambda: late)
    assert rig.promote().code == 0
    second = rig.journal()[-1].detail["tag"]
    monkeypatch.undo()
    rig.commit("gli_redis", "stg", {"third.txt": "third\n"})
    # Another machine: its clock is right, and it has no other journal.
    elsewhere = replace(rig, state=rig.root / "elsewhere")
    assert elsewhere.promote().code == 0
    assert elsewhere.roll_back().code == 0
    assert elsewhere.journal()[1].detail["to"] == second


@pytest.mark.parametrize("days", [-2000, 1600])
def test_a_clock_that_is_years_off_is_named_and_leaves_no_trace_when_it_is_right_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    made = rig.commit("gli_redis", "dev", {"more.txt": "more\n"})
    wrong = clock.now() + timedelta(days=days)
    for module in (session, journals):
        monkeypatch.setattr(module, "now", lambda: wrong)
    assert rig.promote("dev", "stg").code == 0
    assert f"the clock of this machine says {wrong.year}-" in " ".join(rig.told), made
    monkeypatch.undo()
    rig.told.clear()
    rig.commit("gli_redis", "stg", {"again.txt": "again\n"})
    assert rig.promote().code == 0
    year = str(clock.now().year)
    assert rig.journal()[-1].detail["tag"].startswith(f"deploy-{year}")
    assert rig.git("gli_redis", "log", "-1", "--format=%cs", "main").startswith(year)
    assert rig.told == [line for line in rig.told if "clock" not in line]


def test_no_log_line_is_lost_after_a_clock_goes_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    late = clock.now() + timedelta(hours=1)
    monkeypatch.setattr(session, "now", lambda: late)
    assert rig.promote("dev", "stg").code == 0
    monkeypatch.undo()
    assert rig.promote("dev", "stg").code == 1
    lines = (rig.state / log.FILE).read_text().splitlines()
    assert [line.split()[2] for line in lines[-2:]] == ["merged", "refused"]
    assert rig.git("gli_root", "show", f"deployments:{log.FILE}").splitlines()[-2:] == lines[-2:]


def test_a_hold_lasts_while_any_repository_has_its_tag(rig: Rig) -> None:
    assert rig.promote().code == 0
    assert rig.roll_back().code == 0
    tag = rig.journal()[-1].detail["tag"]
    for name in NAMES[:-1]:
        rig.git(name, "update-ref", "-d", f"refs/tags/{tag}")
    ended = rig.promote()
    assert (ended.code, f"taken off main by {tag}" in ended.said) == (1, True), ended.said


def test_a_freeze_that_begins_during_a_question_stops_the_promotion(rig: Rig) -> None:
    asked: list[Request] = []

    def slowly(request: Request) -> Approval:
        asked.append(request)
        return Approval(SECOND)

    from gli.release.promote import promote

    def frozen() -> str | None:
        return "frozen from now on" if asked else None

    ended = rig.ends(lambda s: promote(s, "stg", "main", approve=slowly, gate=lambda heads: rig.gate(), frozen=frozen))
    assert (ended.code, "frozen from now on; wait" in ended.said) == (1, True), ended.said
    assert "parking" not in rig.names()


def test_an_approval_is_valid_for_one_operation_on_one_state(rig: Rig) -> None:
    ids: list[str] = []

    def no(request: Request) -> Approval:
        ids.append(request.id)
        raise session.Refused("no")

    rig.commit("gli_redis", "stg", {"more.txt": "more\n"})
    assert rig.promote("stg", "main", approve=no).code == rig.promote("stg", "dev", approve=no).code == 1
    assert rig.promote("stg", "main", approve=no).code == 1
    assert rig.promote().code == 0
    for mode in ("forward", "reset"):
        assert rig.roll_back(FIRST_TAG, approve=no, mode=mode).code == 1
    assert rig.roll_back(FIRST_TAG).code == 0
    assert rig.promote(approve=no, choices=Choices(reinstate=True)).code == 1
    assert ids[0] == ids[2], "the same one is asked for again"
    assert len(set(ids)) == 5


def test_nobody_acknowledges_their_own_emergency_under_another_name(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = rig.root / "clones" / "gli_redis"
    subprocess.run(["git", "clone", "-q", "-b", "main", str(rig.bare("gli_redis")), str(clone)], check=True)
    git = ["git", "-C", str(clone), "commit", "-q", "--allow-empty", "-m", "Hotfix"]
    subprocess.run(git, check=True)
    assert pushed(rig, approve=lambda request: Approval(None)).code == 0
    tag = rig.journal()[-1].detail["tag"]
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Somebody  Else")
    with (
        session.session(rig.settings, rig.told.append) as opened,
        pytest.raises(session.Refused, match="somebody else"),
    ):
        emergency.acknowledge(opened, tag)
    subprocess.run(["rm", "-rf", str(rig.root / "clones")], check=True)


def test_a_stuck_undo_ends_after_a_person_restores_the_tree(rig: Rig, at: At) -> None:
    old = rig.trees()
    rig.hook("gli_redis", REFUSE)
    at("decided", lambda: rig.commit("gli_database", "main", {"theirs.txt": "theirs\n"}))
    assert rig.promote().code == 3
    tree = rig.tree("gli_database", rig.git("gli_database", "rev-parse", "main~2"))
    assert tree == old["gli_database"]
    commit = f"tree {tree}\nparent {rig.heads()['gli_database']}\nauthor A <a@b.kr> 1 +0000\n"
    back = rig.git(
        "gli_database",
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--stdin",
        says=f"{commit}committer A <a@b.kr> 1 +0000\n\nx\n",
    )
    rig.git("gli_database", "update-ref", "refs/heads/main", back)
    ended = rig.recover("undo")
    assert (ended.code, rig.names()[-1]) == (1, "undone"), ended.said
    assert rig.trees() == old


def test_a_log_branch_that_cannot_be_created_does_not_stop_a_release(rig: Rig) -> None:
    rig.git("gli_root", "update-ref", "refs/heads/deployments/in-the-way", "main")
    assert rig.promote("dev", "stg").code == 0
    assert rig.trees("stg") == rig.trees("dev")
    assert any("the log is written here, but not on gli_root" in line for line in rig.told)


def test_retries_end_after_a_time_limit(rig: Rig, at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LONGEST_S", 0.0)
    old, down = rig.trees(), rig.down("gli_redis")
    at("pushing", lambda: down.__enter__())
    at_once = rig.ends(lambda s: promoted(s, rig), patience=(0.01,) * 5)
    down.__exit__(None, None, None)
    assert at_once.code == 3
    assert rig.names().count("failed") == 1
    assert rig.recover("undo").code == 1
    assert rig.trees() == old


def promoted(opened: session.Session, rig: Rig) -> Any:
    from gli.release.promote import promote

    yes = Approval(SECOND)
    return promote(opened, "stg", "main", approve=lambda r: yes, gate=lambda h: rig.gate(), frozen=lambda: None)


def test_hooks_of_a_person_do_not_run_in_the_mirrors(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks, settings = tmp_path / "hooks", tmp_path / "gitconfig"
    hooks.mkdir()
    for name in ("reference-transaction", "pre-push"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    settings.write_text(f"[core]\n\thooksPath = {hooks}\n")
    for name in NAMES:  # the hosts are on this machine, and have the same settings
        rig.git(name, "config", "core.hooksPath", "hooks")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    ended = rig.promote("dev", "stg")
    assert (ended.code, rig.trees("stg")) == (0, rig.trees("dev")), ended.said


def test_a_push_that_must_be_signed_is_tried_once_where_the_host_takes_no_signature(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, parked, push = tmp_path / "gitconfig", list[str](), Mirror.push
    settings.write_text("[push]\n\tgpgSign = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))

    def counted(self: Mirror, specs: Specs, turn: Turn | None = None) -> None:
        parked.extend(ref for ref, (new, _) in specs.items() if new and ref.startswith("refs/promotions/"))
        push(self, specs, turn)

    monkeypatch.setattr(Mirror, "push", counted)
    ended = rig.promote("dev", "stg")
    assert (ended.code, "does not support --signed push" in ended.said) == (3, True), ended.said
    assert len(parked) == len(NAMES)


def test_settings_of_git_that_cannot_be_read_are_named(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[broken\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    with pytest.raises(UsageError, match=r"bad config line 1 in file .*gitconfig; mend that file"):
        rig.promote("dev", "stg")


def test_a_handwritten_log_line_is_kept(rig: Rig) -> None:
    def logs() -> list[list[str]]:
        shown = rig.git("gli_root", "show", f"deployments:{log.FILE}")
        return [(rig.state / log.FILE).read_text().splitlines(), shown.splitlines()]

    assert rig.promote("dev", "stg").code == 0
    note, lines = "a note without an end", logs()[1]
    with (rig.state / log.FILE).open("a") as file:
        file.write(note)
    rig.git("gli_root", "fast-import", "--quiet", says=_whole("\n".join([*lines, note])))
    assert rig.promote().code == 0
    for after in logs():
        assert after[-2] == note and " deployed " in after[-1]


def _whole(text: str) -> str:
    """A fast-import stream that puts a file with exactly this text on the log's branch."""
    head = "commit refs/heads/deployments\ncommitter A <a@b.kr> 1 +0000\ndata 1\nx\nfrom refs/heads/deployments^0\n"
    return f"{head}M 100644 inline {log.FILE}\ndata {len(text.encode())}\n{text}\n"


def test_an_emergency_push_checks_every_work_tree_and_a_rebase_in_progress(rig: Rig) -> None:
    clone, beside = rig.root / "clones" / "gli_redis", rig.root / "clones" / "beside"
    git = ["git", "-C", str(clone)]
    subprocess.run(["git", "clone", "-q", "-b", "stg", str(rig.bare("gli_redis")), str(clone)], check=True)
    subprocess.run([*git, "worktree", "add", "-q", str(beside), "main"], check=True)
    (beside / "app.txt").write_text("changed\n")
    assert "gli_redis: 1 changed file is not committed on main" in pushed(rig).said
    subprocess.run(["git", "-C", str(beside), "checkout", "-q", "--detach"], check=True)
    (clone / ".git" / "rebase-merge").mkdir()
    (clone / ".git" / "rebase-merge" / "head-name").write_text("refs/heads/main\n")
    assert "a rebase of main is under way" in pushed(rig).said
    subprocess.run(["rm", "-rf", str(rig.root / "clones")], check=True)
    (rig.root / "clones").mkdir()
    (rig.root / "clones" / "gli_redis").write_text("a file\n")
    assert "is no folder" in pushed(rig).said
    subprocess.run(["rm", "-rf", str(rig.root / "clones")], check=True)


def test_an_emergency_push_does_not_restore_commits_removed_by_a_reset(rig: Rig) -> None:
    assert rig.promote().code == 0
    clone = rig.root / "clones" / "gli_redis"
    subprocess.run(["git", "clone", "-q", "-b", "main", str(rig.bare("gli_redis")), str(clone)], check=True)
    assert rig.roll_back(mode="reset").code == 0
    subprocess.run(["git", "-C", str(clone), "commit", "-q", "--allow-empty", "-m", "Hotfix"], check=True)
    ended = pushed(rig)
    subprocess.run(["rm", "-rf", str(rig.root / "clones")], check=True)
    assert (ended.code, "still has what a reset took off" in ended.said) == (1, True), ended.said


@pytest.fixture
def project(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The rig as a project in which `gli` runs."""
    release_rig.project(rig)
    monkeypatch.chdir(rig.root)
    monkeypatch.setenv("GLI_ENV", "own")
    return rig


def called(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(main, arguments)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.output


def _tag(rig: Rig, name: str, document: Any) -> None:
    head = f"object {rig.heads()['gli_redis']}\ntype commit\ntag {name}\ntagger A <a@b.kr> 1 +0000\n"
    text = f"{head}\nx\n\n{json.dumps(document)}\n"
    rig.git("gli_redis", "update-ref", f"refs/tags/{name}", rig.git("gli_redis", "mktag", says=text))


SAID = {"kind": "rollback", "at": "2026-01-01T00:00:00.000Z", "actor": "A <a@b.kr>"}
ODD: dict[str, Callable[[Rig], Any]] = {
    "moves that are a list": lambda rig: _tag(rig, "rollback-20260101-000000", {**SAID, "moves": []}),
    "moves that say little": lambda rig: _tag(rig, "emergency-20260101-000000", {**SAID, "moves": {"gli_redis": {}}}),
    "a trailer of numbers": lambda rig: _tag(rig, "rollback-20260101-000000", {"kind": 1, "at": 2, "moves": {}}),
    "a tag of a blob": lambda rig: rig.git(
        "gli_redis", "update-ref", "refs/tags/rollback-20260101-000000", "dev:next.txt"
    ),
    "a tag of a tree": lambda rig: rig.git("gli_redis", "update-ref", f"refs/tags/{FIRST_TAG[:-1]}1", "dev^{tree}"),
    "a lock of a process that is no number": lambda rig: _lock(rig, pid="tomorrow"),
    "a lock since null": lambda rig: _lock(rig, since=None),
    "a fence that names nothing": lambda rig: rig.git("gli_redis", "update-ref", FENCE, "dev:next.txt"),
    "a fence that is a commit": lambda rig: rig.git("gli_redis", "update-ref", FENCE, "dev"),
    "a journal of another name": lambda rig: _journal(rig, "old.jsonl").write_text("x\n"),
    "a journal that is a folder": lambda rig: _journal(rig, "20260101-000000-0000.jsonl").mkdir(),
}


def _lock(rig: Rig, **odd: Any) -> None:
    holder = vars(lock.Holder.this_process("20260101-000000-0000", "A <a@b.kr>")) | odd
    rig.point_at_text("gli_root", LOCK, json.dumps(holder))


def _journal(rig: Rig, name: str) -> Path:
    journals.folder(rig.state).mkdir(parents=True, exist_ok=True)
    return journals.folder(rig.state) / name


@pytest.mark.parametrize("case", ODD)
def test_no_unexpected_file_causes_a_traceback(project: Rig, case: str) -> None:
    ODD[case](project)
    for arguments in (
        ["doctor"],
        ["log"],
        ["log", "--rebuild"],
        ["promote", "dev", "stg", "--yes"],
        ["promote", "--undo"],
    ):
        code, _ = called(*arguments)
        assert code in (0, 1, 3), arguments
    folder = project.state / "journal"
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.parametrize("part", ["journal", "mirrors", "deployment.log"])
def test_a_file_for_a_folder_or_a_folder_for_a_file_is_one_sentence(tmp_path: Path, part: str) -> None:
    day = Day(tmp_path)
    day.rig.state.mkdir()
    (day.rig.state / part).mkdir() if part.endswith(".log") else (day.rig.state / part).write_text("a file\n")
    code = 0 if part.endswith(".log") else 2
    said = day.gli("promote", "dev", "stg", "--yes", code=code)
    assert part in said
    day.gli("log")


def test_a_stray_tag_is_not_an_emergency(project: Rig) -> None:
    project.git("gli_redis", "update-ref", "refs/tags/emergency-exit", "dev")
    assert called("doctor") == (0, f"all {len(NAMES)} repositories are in order\n")
    assert called("promote", "dev", "stg", "--yes")[0] == 0


def test_doctor_finds_a_missing_branch_and_leftover_parked_refs(project: Rig) -> None:
    project.git("gli_redis", "update-ref", "-d", "refs/heads/dev")
    project.git("gli_database", "update-ref", "refs/promotions/20260101-000000-0000/main", "main")
    code, output = called("doctor")
    assert code == 1
    assert "gli_redis has no branch dev" in output
    assert "gli_database still has refs/promotions/20260101-000000-0000/main" in output
    mend = next(line for line in output.splitlines() if "mend: git" in line).removeprefix("  mend: ")
    subprocess.run(mend, shell=True, check=True, capture_output=True)
    assert "gli_database" not in called("doctor")[1]


def test_a_completed_rollback_exits_with_0_even_if_details_are_unknown(tmp_path: Path) -> None:
    day = Day(tmp_path)
    assert day.project.run("--phase=pre-deploy").code == 0
    day.gli("promote", "stg", "main", "--approve", day.id("promote", "stg", "main"), "--approved-by", "Second")
    file = day.project.root / "environments.toml"
    file.write_text(file.read_text() + '[own.notify]\nunknown = "x"\n')
    said = day.gli("rollback", "--previous", "-m", "x", "--ack-migrations", "--yes", says="y\n")
    assert "8 of 8 repositories moved" in said and "WARNING: environments.toml" in said
