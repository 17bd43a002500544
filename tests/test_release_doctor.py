"""`gli doctor`: it reports each problem with a remedy, and the remedy solves the problem."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import release_rig
from click.testing import CliRunner
from release_rig import FIRST_TAG, NAMES, PUSHING, REFUSE, Rig, doctor, healthy, killed, project
from served import in_a_thread

from gli.cli.group import main
from gli.git.command import GitFailed
from gli.git.refs import LOCK
from gli.git.tags import trailer
from gli.release import emergency, lock
from gli.release import journal as journals
from gli.release.mirror import Mirror, Refs
from gli.release.session import Approval


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return release_rig.make(tmp_path_factory.mktemp("doctor"))


@pytest.fixture
def rig(made: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("GLI_ENV", "own")
    project(made)
    made.reset()
    yield made
    made.reset()


def mends(lines: list[str]) -> list[str]:
    return [line.removeprefix("  mend: ") for line in lines if line.startswith("  mend: ")]


def test_doctor_names_the_machine_of_a_leftover_and_keeps_its_tags(rig: Rig) -> None:
    assert killed(rig.promote, "after", PUSHING + 3)
    rig.wait_for_orphans()
    journal = journals.folder(rig.state)
    journal.rename(rig.state / "of-another-machine")
    code, lines = doctor()
    assert (code, len(lines)) == (1, 3), lines
    assert "GLI Developer <developer@glibiz.com> on" in lines[0] and "or left it half-finished" in lines[0]
    assert "gli promote --resume or --undo on this machine" in lines[1]
    (rig.state / "of-another-machine").rename(journal)
    code, lines = doctor()
    assert (code, len(mends(lines))) == (1, 1), lines
    assert mends(lines)[0].startswith("gli promote --resume, or gli promote --undo"), lines
    assert rig.recover("resume").code == 0
    assert healthy(rig)


def test_a_lock_without_a_holder_is_found(rig: Rig) -> None:
    rig.git("gli_root", "update-ref", LOCK, "main")
    code, lines = doctor()
    assert (code, lines[0]) == (1, "refs/gli/lock of gli_root names no holder")


def test_after_any_operation_doctor_finds_no_problem(rig: Rig) -> None:
    assert healthy(rig)
    assert rig.promote().code == 0
    rig.commit("gli_redis", "stg", {"more.txt": "more\n"})
    rig.commit("gli_websocket", "stg", {"more.txt": "more\n"})
    rig.hook("gli_websocket", REFUSE)
    assert rig.promote().code == 1
    assert healthy(rig)
    (rig.bare("gli_websocket") / "hooks" / "pre-receive").unlink()
    back = rig.roll_back(FIRST_TAG)
    assert back.code == 0, back.said
    assert healthy(rig)
    journals.folder(rig.state).rename(rig.root / "elsewhere")
    try:
        assert healthy(rig), "on another machine, which has no journals, too"
    finally:
        (rig.root / "elsewhere").rename(journals.folder(rig.state))


def test_a_push_past_the_gate_is_found(rig: Rig) -> None:
    commit = rig.commit("gli_redis", "main", {"quick.txt": "quick\n"}, "Restores: " + rig.heads()["gli_redis"])
    code, lines = doctor()
    assert code == 1
    assert lines[0] == f"gli_redis: main is at {commit[:8]}, which no tag and no journal knows"
    assert mends(lines) == ["find out who pushed it; gli promote main stg, then gli promote stg dev, or gli rollback"]
    assert lines[-1] == "1 to mend"


def test_missing_and_moved_tags_are_found_with_a_command_as_remedy(rig: Rig) -> None:
    assert rig.promote().code == 0
    tag = rig.journal()[-1].detail["tag"]
    meant = rig.heads()
    rig.git("gli_redis", "update-ref", "-d", f"refs/tags/{tag}")
    rig.git("gli_websocket", "update-ref", f"refs/tags/{tag}", rig.refs("gli_websocket")["refs/heads/dev"])
    code, lines = doctor()
    assert code == 1
    assert f"gli_redis lacks the tag {tag}" in lines
    assert any(line.startswith(f"gli_websocket: {tag} is at ") for line in lines)
    mend = next(mend for mend in mends(lines) if mend.startswith("git "))
    subprocess.run(mend, shell=True, check=True, capture_output=True)
    assert rig.git("gli_redis", "rev-parse", f"{tag}^{{commit}}") == meant["gli_redis"]
    said = [trailer(rig.git(n, "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}")) for n in NAMES[:1]]
    assert said == [trailer(rig.git("gli_redis", "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}"))]
    rig.git("gli_websocket", "update-ref", f"refs/tags/{tag}", meant["gli_websocket"])
    assert healthy(rig)


def test_leftovers_of_a_crash_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLI_ENV", "own")
    rig = release_rig.make(tmp_path)
    project(rig)
    path = release_rig.park(rig, rig.promote)
    code, lines = doctor()
    assert code == 1
    assert lines[0] == f"{path.stem} was left half-finished"
    assert mends(lines) == ["gli promote --resume, or gli promote --undo"]


def test_an_edited_journal_is_found(rig: Rig) -> None:
    assert rig.promote().code == 0
    (path,) = journals.folder(rig.state).glob("*.jsonl")
    path.write_text(path.read_text().replace("Second Person", "Another Person"))
    code, lines = doctor()
    assert code == 1
    assert lines[0] == f"the journal {path.stem} was changed"


def test_an_emergency_is_a_debt_until_merged_back_and_acknowledged_by_another_person(rig: Rig) -> None:
    clone = rig.root / "clones" / "gli_redis"
    subprocess.run(["git", "clone", "--quiet", "--template=", rig.bare("gli_redis"), clone], check=True)
    try:
        (clone / "fix.txt").write_text("fixed\n")
        who = ["-c", "user.name=A", "-c", "user.email=a@glibiz.com"]
        subprocess.run(["git", "add", "fix.txt"], cwd=clone, check=True)
        subprocess.run(["git", *who, "commit", "--quiet", "-m", "Fix"], cwd=clone, check=True)
        ended = rig.ends(lambda s: emergency.push(s, "main", reason="it burns", approve=lambda r: Approval(None)))
    finally:
        subprocess.run(["rm", "-r", clone.parent], check=True)
    assert ended.code == 0, ended.said
    tag = rig.journal()[-1].detail["tag"]
    code, lines = doctor()
    assert code == 1
    merge, see = "gli promote main stg, then gli promote stg dev", f"gli push main --acknowledge {tag}"
    assert mends(lines) == [merge, merge, see]
    assert lines[0] == f"gli_redis: stg lacks {tag}"
    assert rig.promote("main", "stg").code == rig.promote("stg", "dev").code == 0
    assert mends(doctor()[1]) == [see]


def test_missing_log_lines_are_found_and_published(rig: Rig) -> None:
    rig.hook("gli_root", "#!/bin/sh\n! grep -q refs/heads/deployments\n")
    assert rig.promote().code == 0
    (rig.bare("gli_root") / "hooks" / "pre-receive").unlink()
    code, lines = doctor()
    assert (code, lines[0]) == (1, "1 line of this machine's operations are not in the deployment log")
    assert mends(lines) == ["gli log --publish"]
    assert CliRunner().invoke(main, shlex.split(mends(lines)[0])[1:]).exit_code == 0
    assert healthy(rig)


def test_clones_that_are_behind_are_found_and_pulled(rig: Rig) -> None:
    clones = rig.root / "clones"
    clones.mkdir()
    try:
        for name in ("gli_redis", "gli_root", "gli_database"):
            clone = ["git", "clone", "--quiet", "--template=", "--branch=stg", rig.bare(name), clones / name]
            subprocess.run(clone, check=True)
        rig.commit("gli_redis", "stg", {"more.txt": "more\n"})
        rig.commit("gli_root", "stg", {"more.txt": "more\n"})
        code, lines = doctor()
        assert (code, lines[0]) == (1, "the clones of gli_root, gli_redis are behind on stg")
        assert mends(lines) == ["gli pull stg"]
        CliRunner().invoke(main, shlex.split(mends(lines)[0])[1:])
        assert healthy(rig)
    finally:
        subprocess.run(["rm", "-r", clones], check=True)


def test_a_remote_that_is_down_is_unknown_and_other_problems_are_still_found(rig: Rig) -> None:
    with rig.down("gli_redis"):
        code, lines = doctor()
        assert code == 3
        assert lines[0].startswith("gli_redis can't be fetched: fatal: ")
        rig.commit("gli_websocket", "main", {"quick.txt": "quick\n"})
        assert doctor()[0] == 1
    with rig.down("gli_root"):
        assert any("the deployment log in gli_root can't be read" in line for line in doctor()[1])


def test_trouble_on_this_machine_is_not_blamed_on_the_remote(rig: Rig) -> None:
    assert healthy(rig)
    mirror = rig.state / "mirrors" / "gli_redis.git"
    shutil.rmtree(mirror / "refs" / "heads")
    (mirror / "refs" / "heads").symlink_to("/proc/nobody-can-write-here")
    try:
        code, lines = doctor()
    finally:
        shutil.rmtree(mirror)
    assert (code, lines[0].startswith("gli_redis can't be fetched: ")) == (3, True), lines
    assert mends(lines) == [f"make room in {rig.state}, or let this user write there"]


@pytest.mark.parametrize(("said_by", "here"), [("", True), ("remote: ", False)])
def test_a_full_disk_of_this_machine_is_not_blamed_on_the_remote(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, said_by: str, here: bool
) -> None:
    """git names no file for an object that has no room."""

    def full(mirror: Mirror) -> Refs:
        raise GitFailed(("fetch",), 128, f"{said_by}fatal: unable to write loose object file: No space left on device")

    monkeypatch.setattr(Mirror, "fetch", full)
    room = f"make room in {rig.state}, or let this user write there"
    assert set(mends(doctor()[1])) == {room if here else "see that its remote can be reached"}


VERDICT = {
    "type": "required_status_checks",
    "parameters": {"required_status_checks": [{"context": "gli/verdict", "integration_id": 7}]},
}
RULES = [{"type": "deletion"}, {"type": "non_fast_forward"}, VERDICT]


@pytest.fixture
def github() -> Iterator[tuple[str, dict[str, object]]]:
    """GitHub's API for branch rules, on loopback: (address, {"repository/branch": rules})."""
    answers: dict[str, object] = {f"{name}/{branch}": RULES for name in NAMES for branch in ("stg", "main")}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, _, owner, repository, *rest, branch = self.path.partition("?")[0].split("/")
            may = owner == "gli" and self.headers["Authorization"] == "Bearer t0k3n"
            if rest[:1] == ["branches"]:
                known = may and self.path in answers
                found = answers.get(self.path)
            else:
                known, found = may and rest == ["rules", "branches"], answers.get(f"{repository}/{branch}")
            body = json.dumps(found if known else {"message": "Not Found"}).encode()
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = in_a_thread(server)
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_branches_without_protection_are_found(
    rig: Rig, github: tuple[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers = github
    keys = {"owner": "gli", "environment": "staging", "api_url": url, "token_variable": "GLI_TEST_TOKEN"}
    project(rig, "".join(f'github.{key} = "{value}"\n' for key, value in keys.items()))
    code, lines = doctor()
    assert code == 3
    assert lines[0] == "gli_root: its branch rules can't be read: GitHub answered 404"
    assert mends(lines)[0] == "set GLI_TEST_TOKEN to a token that may read the repositories"
    monkeypatch.setenv("GLI_TEST_TOKEN", "t0k3n")
    assert healthy(rig)
    answers["gli_redis/main"] = [{"type": "deletion"}]
    answers["gli_root/stg"] = []
    code, lines = doctor()
    assert code == 1
    assert [line for line in lines if "protects" in line] == [
        "gli_root: nothing protects stg from being deleted and being rewritten",
        "gli_redis: nothing protects main from being rewritten and pushes without a verdict",
    ]
    assert mends(lines)[1] == (
        "add these rules to a ruleset for main: non_fast_forward, required_status_checks (gli/verdict)"
    )
    answers["gli_redis/main"] = [*RULES[:2], VERDICT | {"parameters": {"required_status_checks": [{"context": "ci"}]}}]
    assert "gli_redis: nothing protects main from pushes without a verdict" in doctor()[1]
    # classic branch protection may add what rulesets lack
    branch = "/repos/gli/gli_redis/branches/main"
    answers[branch] = {"protected": True, "protection": {"enabled": True}}
    said = "main has classic protection, which takes a token that may read Administration"
    assert f"gli_redis: its branch rules can't be read: {said}" in doctor()[1]
    answers[f"{branch}/protection"] = {
        "required_status_checks": {"checks": [{"context": "gli/verdict", "app_id": 15368}]},
        "allow_force_pushes": {"enabled": False},
        "allow_deletions": {"enabled": False},
    }
    answers["gli_root/stg"] = RULES
    assert healthy(rig)


def test_during_an_operation_doctor_reports_unknown(rig: Rig) -> None:
    with lock.local(rig.state, "Somebody <somebody@glibiz.com>"):
        ended = CliRunner().invoke(main, ["doctor"])
    assert ended.exit_code == 3
    assert "Somebody <somebody@glibiz.com>" in ended.stderr
