"""A day on real git hosts: OpenSSH's server, gitolite with and without the right to rewind, and git http-backend."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import git_hosts
import psutil
import pytest
import release_rig
from click.testing import CliRunner
from git_hosts import GITOLITE, HTTP_BACKEND, PASSWORD, SSHD, Host
from release_rig import FIRST_TAG, HOME, PUSHING, REFUSE, THREE, Rig, killed

from conftest import ROOT, exhaustive, wait_for
from gli.cli.group import main
from gli.git import connections
from gli.release.engine import PATIENCE_S
from gli.release.mirror import Mirror
from gli.release.promote import promote
from gli.release.session import Session
from gli.release.side_by_side import answers, on_each

Serves = Callable[[Path, Path], AbstractContextManager[Host]]
no_sshd = pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed")
no_gitolite = pytest.mark.skipif(SSHD is None or GITOLITE is None, reason="gitolite3 is not installed")
no_backend = pytest.mark.skipif(not HTTP_BACKEND.exists(), reason="git http-backend is not installed")
HOSTS = [
    pytest.param(git_hosts.ssh, id="ssh", marks=no_sshd),
    pytest.param(git_hosts.gitolite, id="gitolite", marks=no_gitolite),
    pytest.param(
        lambda folder, remotes: git_hosts.gitolite(folder, remotes, rules="    RWC = first\n"),
        id="gitolite-without-rewind",
        marks=no_gitolite,
    ),
    pytest.param(lambda folder, remotes: git_hosts.http(remotes, password=PASSWORD), id="http", marks=no_backend),
]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GLI_ENV", "own")
    monkeypatch.chdir(tmp_path)
    return release_rig.make(tmp_path, THREE)


def served(rig: Rig, host: Host, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The rig's repositories at the host, with a project whose environments.toml names it."""
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    tables = "".join(f'[[repositories]]\nname = "{name}"\n' for name in THREE)
    git = f'remote = "{host.address}"\nworkspace = "clones"\nstate = "state"\nlog_repository = "{HOME}"\n'
    (rig.root / "environments.toml").write_text(f'{tables}[own]\nbranch = "stg"\n[own.git]\n{git}')
    (rig.root / "clones").mkdir()
    return replace(rig, address=host.address)


def gli(*arguments: str, code: int = 0) -> str:
    ended = CliRunner().invoke(main, list(arguments))
    assert ended.exit_code == code, f"{arguments}: {ended.exit_code}\n{ended.output}"
    assert PASSWORD not in ended.output
    return ended.output


@exhaustive
@pytest.mark.parametrize("serves", HOSTS)
def test_a_day_on_a_real_host(rig: Rig, monkeypatch: pytest.MonkeyPatch, serves: Serves) -> None:
    with serves(rig.root / "host", rig.root / "remotes") as host:
        one = served(rig, host, monkeypatch)
        two = replace(one, state=rig.root / "two")
        old = rig.trees()
        assert "3 updated" in gli("pull", "stg", "--clone")

        assert one.promote("dev", "stg").code == 0
        assert "3 updated" in gli("pull", "stg")
        assert "3 up to date" in gli("pull", "stg")
        new = rig.trees("stg")

        rig.hook("gli_redis", REFUSE)
        ended = one.promote()
        assert (ended.code, rig.trees()) == (1, old), ended.said
        assert "gli_redis: main was refused" in ended.said and "not today" in ended.said
        (rig.bare("gli_redis") / "hooks" / "pre-receive").unlink()

        assert killed(two.promote, "after", PUSHING + 1)
        two.wait_for_orphans()
        id_ = two.journal()[0].id
        assert f"if that folder is lost, gli promote --take-over {id_}" in gli("doctor", code=1)
        assert one.take_over(id_).code == 1
        assert rig.trees() == old

        assert one.promote().code == 0
        assert rig.trees() == new
        tag = one.journal()[-1].detail["tag"]
        assert f"# Release {tag}" in gli("log", tag, "--notes")
        assert two.recover("undo").code in (0, 1, 3)
        ended = two.roll_back(FIRST_TAG)
        assert (ended.code, rig.trees()) == (0, old), ended.said
        assert "--reinstate" in one.promote().said
        ended_as = [line.split()[2] for line in gli("log").splitlines()]
        assert {"merged", "undone", "overtaken", "deployed", "rolled-back", "refused"} == set(ended_as)
        problems = CliRunner().invoke(main, ["doctor"]).output.splitlines()
        allowed = ("all 3 repositories are", "  mend: ", "the clones of", "to mend", "still has refs/promotions/")
        assert [line for line in problems if not any(text in line for text in allowed)] == []


REASONS = {
    "a key that the host does not know": ("/mine", "/host", "Permission denied (publickey)"),
    "a host that this machine does not know": (
        "StrictHostKeyChecking=no",
        "StrictHostKeyChecking=yes",
        "host key is known for",
    ),
}
"""What is changed in git's ssh, and ssh's own words."""


@no_sshd
@pytest.mark.parametrize("case", REASONS)
def test_ssh_says_why_it_was_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    before, after, words = REASONS[case]
    with git_hosts.ssh(rig.root / "host", rig.root / "remotes") as host:
        one = served(rig, host, monkeypatch)
        monkeypatch.setenv("GIT_SSH_COMMAND", host.environment["GIT_SSH_COMMAND"].replace(before, after))
        ended = one.promote("dev", "stg")
    assert (ended.code, words in ended.said) == (3, True), ended.said


@exhaustive
@no_gitolite
def test_gitolite_says_why_it_was_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with git_hosts.gitolite(rig.root / "host", rig.root / "remotes", rules="    R = first\n") as host:
        ended = served(rig, host, monkeypatch).promote("dev", "stg")
    assert (ended.code, "DENIED by" in ended.said) == (3, True), ended.said


def test_every_case_in_the_guide_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "releases.md").read_text()
    rows = re.findall(r"^\| (\d+) \|.*`test_", text, re.MULTILINE)
    assert rows == [str(n) for n in range(1, 30)]
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / "tests" / file).read_text()]
    assert missing == []


def logins(rig: Rig) -> int:
    return (rig.root / "host" / "log").read_text().count("Accepted publickey")


@no_sshd
def test_a_promotion_logs_in_once_and_leaves_no_connection(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with git_hosts.ssh(rig.root / "host", rig.root / "remotes") as host:
        one, new = served(rig, host, monkeypatch), rig.trees("dev")
        ended = one.promote("dev", "stg")
        assert (ended.code, rig.trees("stg"), logins(rig)) == (0, new, 1), ended.said
        assert "3 updated" in gli("pull", "stg", "--clone")
        assert logins(rig) == 2
        no_master_stays(rig)


@no_sshd
def test_many_repositories_share_some_connections(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_OF_ONE_LINE", 2)
    with git_hosts.ssh(rig.root / "host", rig.root / "remotes") as host:
        one, new = served(rig, host, monkeypatch), rig.trees("dev")
        ended = one.promote("dev", "stg")
        assert (ended.code, rig.trees("stg"), logins(rig)) == (0, new, 2), ended.said
        assert "3 updated" in gli("pull", "stg", "--clone")
        assert logins(rig) == 4
        no_master_stays(rig)


@no_sshd
def test_a_connection_is_opened_where_gits_settings_lead(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a host that git does not ask."""
    with git_hosts.ssh(rig.root / "host", rig.root / "remotes") as host:
        base = host.address.partition("/remotes")[0]
        named = replace(host, address=host.address.replace(base, "https://git.glibiz.invalid"))
        configure = ("git", "config", "--global", f"url.{base}.insteadOf", "https://git.glibiz.invalid")
        subprocess.run(configure, check=True)
        one, new = served(rig, named, monkeypatch), rig.trees("dev")
        ended = one.promote("dev", "stg")
        assert (ended.code, rig.trees("stg"), logins(rig)) == (0, new, 1), ended.said
        assert "3 updated" in gli("pull", "stg", "--clone")
        assert logins(rig) == 2


@no_sshd
def test_a_clone_with_an_ssh_of_its_own_logs_in_by_itself(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with git_hosts.ssh(rig.root / "host", rig.root / "remotes") as host:
        served(rig, host, monkeypatch)
        monkeypatch.delenv("GIT_SSH_COMMAND")
        command = host.environment["GIT_SSH_COMMAND"]
        configure = ("git", "config", "--file")
        subprocess.run([*configure, rig.root / ".gitconfig", "core.sshCommand", command], check=True)
        assert "3 updated" in gli("pull", "stg", "--clone")
        assert logins(rig) == 1
        own = rig.root / "clones" / "gli_redis" / ".git" / "config"
        subprocess.run([*configure, own, "core.sshCommand", f"{command} -o LogLevel=ERROR"], check=True)
        assert "3 up to date" in gli("pull", "stg")
        assert logins(rig) == 3


def masters(rig: Rig) -> list[psutil.Process]:
    """The ssh processes that hold a connection to the rig's host for others."""
    found = ((process, process.info) for process in psutil.process_iter(["cmdline", "status"]))
    alive = ((process, of["cmdline"] or ()) for process, of in found if of["status"] != psutil.STATUS_ZOMBIE)
    return [process for process, words in alive if "-M" in words and str(rig.root / "host" / "mine") in words]


def no_master_stays(rig: Rig) -> None:
    wait_for(lambda: masters(rig) == [], "the end of the shared connections: ssh answers before it ends")


def kill_master(rig: Rig) -> None:
    (process,) = masters(rig)
    process.kill()


ALONE = {
    "a host that allows one session": ("MaxSessions 1", "{ssh}", lambda rig: None),
    "a connection that is cut": ("", "{ssh}", kill_master),
    "settings that share already": ("", "{ssh} -o ControlPath=/nowhere/%p", lambda rig: None),
    "another program": ("", "env {ssh}", lambda rig: None),
}
"""What sshd is told, git's ssh, and what happens after the fetch."""


@exhaustive
@no_sshd
@pytest.mark.parametrize("case", ALONE)
def test_a_promotion_ends_where_ssh_cannot_share_a_connection(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    more, command, meanwhile = ALONE[case]
    with git_hosts.ssh(rig.root / "host", rig.root / "remotes", more=more) as host:
        one, new = served(rig, host, monkeypatch), rig.trees("dev")
        asks = command.format(ssh=host.environment["GIT_SSH_COMMAND"])
        monkeypatch.setenv("GIT_SSH_COMMAND", asks)

        def approved(request: release_rig.Request) -> release_rig.Approval:
            meanwhile(rig)
            return release_rig.Approval(release_rig.SECOND)

        ended = one.promote("dev", "stg", approve=approved)
        assert (ended.code, rig.trees("stg")) == (0, new), ended.said
        assert logins(rig) > 1
        no_master_stays(rig)


@exhaustive
@no_sshd
def test_two_engineers_at_once_are_not_too_many_for_openssh(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MaxStartups at 2, sshd drops most of the connections that open while two others log in; each git logs in."""
    with git_hosts.ssh(rig.root / "host", rig.root / "remotes", more="MaxStartups 2:100:3") as host:
        one = served(rig, host, monkeypatch)
        monkeypatch.setenv("GIT_SSH_COMMAND", ALONE["another program"][1].format(ssh=os.environ["GIT_SSH_COMMAND"]))
        two, new = replace(one, state=rig.root / "two"), rig.trees("dev")
        ended: list[release_rig.Ended] = []

        def promoted(opened: Session) -> None:
            yes = release_rig.Approval(release_rig.SECOND)
            promote(opened, "dev", "stg", approve=lambda r: yes, gate=lambda h: rig.gate(), frozen=lambda: None)

        def fetched(opened: Session) -> None:
            answers(on_each(opened.settings.mirrors(opened.running).values(), Mirror.fetch))

        thread = threading.Thread(target=lambda: ended.append(one.ends(promoted, PATIENCE_S)))
        thread.start()
        others = [two.ends(fetched, PATIENCE_S) for _ in range(4)]
        thread.join()
        assert [e.code for e in (*others, *ended)] == [0] * 5, (others, ended)
        assert rig.trees("stg") == new
        assert "MaxStartups" in (rig.root / "host" / "log").read_text(), "sshd has dropped some"
