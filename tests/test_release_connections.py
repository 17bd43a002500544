"""Dropped connections, credentials, and an output that is closed or full: an operation ends as its exit code says."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import git_hosts
import pytest
import release_rig
import test_release_pull
from release_rig import FIRST_TAG, HOME, REFUSE, THREE, Rig
from test_release_pull import START, Workspace, _alive

from conftest import clean_environment
from gli.common.errors import DiskError, UsageError
from gli.config import environments
from gli.git import connections
from gli.git.connections import Connections
from gli.release import doctor, engine, pull, settings
from gli.release.engine import Operation
from gli.release.settings import Settings

PASSWORD = git_hosts.PASSWORD


class Served(Rig):
    """The rig's repositories, with connections of their own."""

    connections = Connections()

    @property
    def settings(self) -> Settings:
        chosen = super().settings
        known = tuple(r._replace(connections=self.connections) for r in chosen.repositories)
        return replace(chosen, repositories=known)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(test_release_pull, "EIGHT", THREE)
    monkeypatch.setattr(connections, "PAUSES_S", (0.01,) * 6)
    monkeypatch.setenv("HOME", str(tmp_path))
    made = release_rig.make(tmp_path, THREE)
    served = Served(made.root, made.state, THREE, made.first)
    served.connections = Connections()
    return served


def over_ssh(rig: Rig, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Reach the rig's repositories with this in place of ssh; `run` is what git wants to run there."""
    program = rig.root / "ssh"
    program.write_text(f"#!/bin/sh\ncd {rig.root}\nfor run; do :; done\n{script}")
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    rig.address = f"ssh://glibiz.invalid{rig.root}/remotes/{{repository}}.git"


CROWDED = """\
for n in 1 2; do mkdir busy$n 2>/dev/null && break; done || {
    echo dropped >>dropped
    echo "kex_exchange_identification: Connection reset by peer" >&2
    exit 255
}
sh -c "$run"
code=$?
rmdir busy$n
exit $code
"""
"""A host that takes two connections at once, as OpenSSH's MaxStartups or a proxy does."""


def test_a_host_with_few_connections_gets_fewer_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    new = rig.trees("dev")
    over_ssh(rig, monkeypatch, CROWDED.replace("} ||", "}"))
    ended = rig.ends(lambda opened: _promoted(opened), patience=(0.05,) * 6)
    assert ended.code == 0, ended.said
    assert rig.trees("stg") == new
    assert (rig.root / "dropped").exists()
    assert rig.settings.repositories[0].connections.most < connections.DEFAULT


DROPPED = """\
drop() { echo 'Connection closed by remote host' >&2; exit 255; }
case $run in
*upload-pack*) ;;
*gli_redis*) test -e moves && mkdir dropped1 2>/dev/null && drop;;
esac
case $run in
*upload-pack*gli_redis*) test -e dropped1 && for n in 2 3 4 5; do mkdir dropped$n 2>/dev/null && drop; done;;
esac
exec sh -c "$run"
"""
"""A host that drops one push and the next four looks at its repository."""


def test_a_push_that_waits_for_its_turn_takes_no_connection_of_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    over_ssh(rig, monkeypatch, DROPPED)
    new, push = rig.trees("dev"), Operation.push

    def moves(self: Operation, **options: Any) -> None:
        (rig.root / "moves").touch()
        push(self, **options)

    monkeypatch.setattr(Operation, "push", moves)
    ended = rig.ends(lambda opened: _promoted(opened), patience=(0.05,) * 6)
    assert (ended.code, rig.trees("stg")) == (0, new), ended.said
    assert rig.settings.repositories[0].connections.most == 1
    failed = {e.detail["repository"] for e in rig.journal() if e.event == "failed"}
    assert failed == {"gli_redis"}, "the log repository waited until git had been silent for too long"


SILENT = {
    "no answer": "exec sleep 600",
    "no connection": "echo 'ssh: connect to host glibiz.invalid port 22: Connection timed out' >&2; exit 255",
}


@pytest.mark.parametrize("how", SILENT)
def test_a_host_that_says_nothing_is_asked_once(rig: Rig, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A credential helper that hangs looks the same: each attempt takes minutes."""
    workspace = Workspace(rig)
    workspace.clones.mkdir()
    for name in THREE:
        subprocess.run(["git", "clone", "-q", rig.bare(name), workspace.clones / name], check=True)
    over_ssh(rig, monkeypatch, f'test "$1" = -G && exit 1\necho "$run" >>asked\n{SILENT[how]}')
    for name in THREE:
        workspace.git(name, "remote", "set-url", "origin", rig.address.replace("{repository}", name))
    if how == "no answer":
        monkeypatch.setattr(pull, "FETCH_S", 2.0)
    found = dict(pull.pull(rig.settings.repositories, "main"))
    assert {result.state for result in found.values()} == {"unreachable"}
    asked = (rig.root / "asked").read_text().splitlines()
    assert len(asked) == len({*asked}), "none was asked twice"


CUT = """\
case $run in
*upload-pack*gli_redis*) mkdir cut 2>/dev/null && { sh -c "$run" | dd bs=1 count=40000 2>/dev/null; exit 255; };;
esac
exec sh -c "$run"
"""


def test_a_first_fetch_that_is_cut_is_continued(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        rig.commit("gli_redis", "dev", {f"big{number}.txt": os.urandom(8000).hex()})
    new = rig.trees("dev")
    over_ssh(rig, monkeypatch, CUT)
    ended = rig.promote("dev", "stg")
    assert ended.code == 0, ended.said
    assert rig.trees("stg") == new
    assert (rig.root / "cut").exists()
    mirror = rig.state / "mirrors" / "gli_redis.git"
    assert not (mirror / "shallow").exists(), "all of the history is there"


SLOW = 'sh -c "$run" | { for n in $(seq 24); do dd bs=4000 count=1 2>/dev/null; sleep 0.05; done; cat; }'


def test_a_slow_first_clone_is_not_silent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of this test, almost half of the time limit passes before each line of progress."""
    for number in range(12):
        rig.commit("gli_redis", "dev", {f"big{number}.txt": os.urandom(4000).hex()})
    over_ssh(rig, monkeypatch, SLOW)
    late = git_hosts.each_output_takes(monkeypatch, 0.45 * pull.FETCH_S)
    found = pull.pull([r for r in rig.settings.repositories if r.name == "gli_redis"], "dev", clone=True)
    assert list(found) == [("gli_redis", pull.Pulled("updated", "cloned"))]
    assert late[0] > 3 * pull.FETCH_S, "it took longer than the limit"


def test_a_process_that_ssh_leaves_behind_is_not_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older OpenSSH with ControlPersist keeps the pipe of its errors open after it has ended."""
    left = rig.root / "left"
    over_ssh(rig, monkeypatch, f'sleep 600 >/dev/null </dev/null &\necho $! >>{left}\nexec sh -c "$run"\n')
    try:
        assert rig.promote("dev", "stg").code == 0
        assert all(_alive(int(pid)) for pid in left.read_text().split()), "the operation ended before them"
    finally:
        for pid in left.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def test_a_waiting_connection_that_is_cut_is_opened_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log repository's connection is idle until all others have landed; here for longer than any time limit."""
    late = [0.0]
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late[0], sleep=time.sleep))
    home = rig.bare(HOME)
    hook = f"""\
#!/bin/sh
while read old new ref; do case $ref in refs/heads/*) moves=1;; esac; done
test "$moves" || exit 0
for process in /proc/[0-9]*; do
    tr '\\0' ' ' <$process/cmdline 2>/dev/null | grep -q "receive-pack {home}" && kill ${{process#/proc/}}
done
exit 0
"""
    rig.hook("gli_redis", hook)
    push = Operation._push_one

    def slow(self: Operation, name: str, *arguments: Any) -> None:
        push(self, name, *arguments)
        late[0] += 10 * engine.LONGEST_S

    monkeypatch.setattr(Operation, "_push_one", slow)
    new = rig.trees("dev")
    ended = rig.promote("dev", "stg")
    assert ended.code == 0, ended.said
    assert rig.trees("stg") == new
    failed = [e.detail["repository"] for e in rig.journal() if e.event == "failed"]
    assert failed == [HOME], "its connection was cut"


def test_only_the_log_repository_missing_takes_nothing_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, down = rig.trees("stg"), rig.trees("dev"), rig.down(HOME)
    push = Operation._push_one

    def cut(self: Operation, name: str, *arguments: Any) -> None:
        if name == HOME and (rig.bare(HOME) / "HEAD").exists():
            down.__enter__()
        push(self, name, *arguments)

    monkeypatch.setattr(Operation, "_push_one", cut)
    ended = rig.promote("dev", "stg")
    down.__exit__(None, None, None)
    assert (ended.code, rig.names()[-1]) == (3, "stuck")
    assert f"is not done: 2 of 3 repositories have moved, {HOME} is left" in ended.said
    assert "gli promote --resume" in ended.said
    assert {n for n, tree in rig.trees("stg").items() if tree == old[n]} == {HOME}
    monkeypatch.setattr(Operation, "_push_one", push)
    assert rig.recover("resume").code == 0
    assert rig.trees("stg") == new


def test_a_stuck_end_says_how_many_have_moved_and_what_each_needs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.hook("gli_redis", REFUSE)
    decided = Operation.abort

    def refused(self: Operation, reason: str) -> None:
        rig.hook("gli_database", "#!/bin/sh\necho frozen tonight; exit 1\n")
        decided(self, reason)

    monkeypatch.setattr(Operation, "abort", refused)
    ended = rig.promote("dev", "stg")
    assert ended.code == 3
    lines = ended.said.splitlines()
    assert lines[0].endswith("is half undone: 1 of 3 repositories may still be moved (gli_database)"), lines
    assert "frozen tonight" in lines[1] and lines[1].endswith("its host has to accept that"), lines
    assert lines[-1] == "then: gli promote --undo"


def test_a_credential_daemon_does_not_keep_the_lock(rig: Rig, tmp_path: Path) -> None:
    """git-credential-cache starts a daemon that lives for 15 minutes."""
    with git_hosts.http(rig.root / "remotes", password=PASSWORD) as host:
        rig.address = host.address.replace(f"{git_hosts.USER}:{PASSWORD}@", "")
        server = rig.address.partition("://")[2].partition("/")[0].replace(":", "%3a")
        (tmp_path / ".git-credentials").write_text(f"http://{git_hosts.USER}:{PASSWORD}@{server}\n")
        for helper in ("cache", "store"):
            subprocess.run(["git", "config", "--global", "--add", "credential.helper", helper], check=True)
        try:
            ended = rig.promote("dev", "stg")
            assert ended.code == 0, ended.said
            assert list(tmp_path.rglob("socket")), "the daemon runs"
            assert rig.promote().code == 0
            holders = [p for p in Path("/proc").glob("[0-9]*/fd/*") if _leads_to(p, rig.state / "lock")]
            assert holders == []
        finally:
            subprocess.run(["git", "credential-cache", "exit"], check=False)


def test_a_host_that_takes_no_more_requests_is_asked_again_when_it_wants_to_be(rig: Rig) -> None:
    new, busy = rig.trees("dev"), [(429, "GET"), (503, "POST")]

    def instead(method: str, path: str) -> git_hosts.Answer | None:
        of_push = method == "POST" and "receive-pack" in path and "moved" in "".join(rig.told)
        if "gli_redis" in path and busy and busy[0][1] == method and (method == "GET" or of_push):
            return busy.pop(0)[0], {"Retry-After": "1"}, b"slow down"
        return None

    with git_hosts.http(rig.root / "remotes", instead=instead) as host:
        rig.address, rig.moves_first = host.address, ["gli_database"]
        ended = rig.promote("dev", "stg")
    assert (ended.code, busy, rig.trees("stg")) == (0, [], new), ended.said
    said = [line for line in rig.told if "takes no more requests for now, and asks to wait 1 s" in line]
    assert len(said) == 2, rig.told


TEXT = {"Content-Type": "text/plain"}
NO: dict[str, tuple[git_hosts.Answer, str]] = {
    "later": ((429, {"Retry-After": "3600"}, b""), "it asks to wait 3600 s"),
    "a login": ((401, {"WWW-Authenticate": "Basic"}, b""), "the host asks for a login, and git has none for it"),
    "no right": ((403, TEXT, b"It was archived."), "returned error: 403; the host knows this login"),
    "another page": ((200, {"Content-Type": "text/html"}, b"<p>Log in</p>"), "the remote gives no branch"),
    "nothing there": ((404, TEXT, b""), "not found"),
}


@pytest.mark.parametrize("case", NO)
def test_the_reason_of_a_host_of_http_is_told(rig: Rig, case: str) -> None:
    answer, words = NO[case]
    with git_hosts.http(rig.root / "remotes", instead=lambda _, path: answer if "gli_redis" in path else None) as host:
        rig.address = host.address
        ended = rig.promote("dev", "stg")
    assert (ended.code, "gli_redis: " in ended.said, words in ended.said) == (3, True, True), ended.said
    assert "gli_database" not in ended.said


def test_a_host_that_is_a_shallow_clone_is_named_as_one(rig: Rig) -> None:
    """git takes no ref from it, and says so only in a warning."""
    before = rig.everything()
    (rig.bare("gli_redis") / "shallow").write_text(f"{rig.heads()['gli_redis']}\n")
    ended = rig.promote("dev", "stg")
    assert (ended.code, "gli_redis: " in ended.said, "a shallow clone itself" in ended.said) == (3, True, True)
    assert rig.everything() == before


def _leads_to(link: Path, target: Path) -> bool:
    try:
        return link.readlink() == target
    except OSError:
        return False


def test_doctor_prints_no_token_in_a_remedy(rig: Rig) -> None:
    with git_hosts.http(rig.root / "remotes", password=PASSWORD) as host:
        rig.address = host.address
        rig.git("gli_redis", "update-ref", "refs/promotions/20260101-000000-0000/stg", "stg")
        mirrors = rig.settings.mirrors()
        patient = doctor.Patient(rig.settings, None, mirrors, rig.settings.log_in(mirrors), print)
        said = "\n".join(f"{found.text}\n{found.mend}" for found in doctor.findings(patient))
    assert "push --no-verify" in said and "refs/promotions/20260101-000000-0000/stg" in said
    assert PASSWORD not in said


def test_too_few_open_files_in_mid_push_are_no_wrong_use(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    old, before, push = rig.trees("stg"), resource.getrlimit(resource.RLIMIT_NOFILE), Operation._push_one

    def scarce(self: Operation, name: str, *arguments: Any) -> None:
        if name == HOME:
            resource.setrlimit(resource.RLIMIT_NOFILE, (4, before[1]))
        push(self, name, *arguments)

    monkeypatch.setattr(Operation, "_push_one", scarce)
    try:
        with pytest.raises(DiskError, match=r"Too many open files; \d of 3 are known to have moved"):
            rig.promote("dev", "stg")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert rig.recover("undo").code == 1
    assert rig.trees("stg") == old


def test_a_wrong_remote_is_shown_without_its_token(tmp_path: Path) -> None:
    text = f'[[repositories]]\nname = "one"\n[own]\nbranch = "stg"\ngit.remote = "https://me:{PASSWORD}@glibiz.com/x"\n'
    (tmp_path / "environments.toml").write_text(text)
    for read in (settings.read, environments.load):
        with pytest.raises(UsageError, match=r"remote = 'https://glibiz.com/x' should be an address") as refused:
            read(tmp_path, "own")
        assert PASSWORD not in str(refused.value)


def _promoted(opened: Any) -> Operation:
    from gli.release.promote import promote
    from gli.release.session import Approval

    yes = Approval(release_rig.SECOND)
    return promote(opened, "dev", "stg", approve=lambda r: yes, gate=lambda h: None, frozen=lambda: None)  # type: ignore[arg-type,return-value]


def closed() -> int:
    reads, writes = os.pipe()
    os.close(reads)
    return writes


@pytest.mark.parametrize("options", [[], ["--env", "own"]])
@pytest.mark.parametrize("output", ["closed", "full"])
def test_pull_ends_quietly_with_its_children_if_nobody_can_read(rig: Rig, output: str, options: list[str]) -> None:
    work = Workspace(rig)
    for name in THREE:
        subprocess.run(["git", "clone", "-q", "-b", "main", str(rig.bare(name)), str(work.clones / name)], check=True)
    ssh = rig.root / "ssh"
    ssh.write_text(f"#!/bin/sh\necho $$ >{rig.root}/$$.pid\nexec sleep 600\n")
    ssh.chmod(0o755)
    work.git("gli_database", "remote", "set-url", "origin", f"ssh://glibiz.invalid{rig.bare('gli_database')}")
    stdout = closed() if output == "closed" else os.open("/dev/full", os.O_WRONLY)
    with os.fdopen(stdout, "wb") as nowhere:
        done = subprocess.run(
            [sys.executable, "-c", START, "pull", "main", *options],
            cwd=rig.root,
            env=work.env | {"GIT_SSH_COMMAND": str(ssh), "GLI_ENV": "own"},
            stdout=nowhere,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == (output == "full"), done.stderr
    assert done.returncode == (1 if output == "closed" else 3)
    assert not any(_alive(int(pid.stem)) for pid in rig.root.glob("*.pid"))


NO_ROOM = "gli: a file can't be written: No space left on device\n"


def _into_a_full_disk(rig: Rig, *command: str) -> tuple[int, str]:
    """The exit code and the errors of a command whose output has no room."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-c", START, *command],
            cwd=rig.root,
            env=clean_environment() | {"GLI_ENV": "own"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
    return done.returncode, done.stderr


SHOWN = [
    ["doctor"],
    ["log", "--rebuild"],
    ["promote", "dev", "stg", "--dry-run"],
    ["rollback", FIRST_TAG, "-m", "why", "--dry-run"],
    ["promote", "--undo"],
]
"""Commands whose output is their result."""


@pytest.mark.parametrize("command", SHOWN)
def test_a_full_disk_of_the_output_is_no_wrong_use(rig: Rig, command: list[str]) -> None:
    Workspace(rig)
    rig.promote()
    assert _into_a_full_disk(rig, *command) == (3, NO_ROOM)


def test_a_promotion_whose_summary_cannot_be_written_moves_nothing(rig: Rig) -> None:
    Workspace(rig)
    old = rig.trees("stg")
    assert _into_a_full_disk(rig, "promote", "dev", "stg", "--yes") == (3, NO_ROOM)
    assert rig.trees("stg") == old
