"""git as releases and checks use it: environment of its processes, errors, one reader of refs, one vocabulary."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import git_hosts
import pytest
import release_rig
from release_rig import FIRST_TAG, Rig

from gli.git import command, command_async, refs, submodules, tags
from gli.git.command import GitFailed, git
from gli.git.effective import ONE, answered, effective, parsed
from gli.release.refusals import short

SECRETS = ("GITHUB_TOKEN", "GLI_STATUS_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "STG_DB_PASSWORD")
UNREAD = "fatal: Could not read from remote repository.\n"
ADVICE = "\nPlease make sure you have the correct access rights\nand the repository exists.\n"
ELSEWHERE = {"GIT_DIR": "/nowhere", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "x.y", "GIT_CONFIG_VALUE_0": "z"}


SLOW_GIT = """\
#!/bin/sh
test "$1" = silent && exec sleep 60
for n in 1 2 3 4; do echo $n >&2; sleep 1; done
"""


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program `git` that prints its environment."""
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("fake_git")
def test_git_gets_no_secret_and_no_setting_of_another_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    for printed in (git("status"), asyncio.run(command_async.git("status"))):
        names = {line.partition("=")[0] for line in printed.splitlines()}
        assert not names & {*SECRETS, *ELSEWHERE}
        assert {"PATH", "HOME", "SSH_AUTH_SOCK", "GIT_TERMINAL_PROMPT"} <= names


def test_both_interfaces_raise_the_same_error(tmp_path: Path) -> None:
    asked = ("ls-remote", "--", f"{tmp_path}/no.git")
    with pytest.raises(GitFailed) as one:
        git(*asked)
    with pytest.raises(GitFailed) as other:
        asyncio.run(command_async.git(*asked))
    assert (str(one.value), one.value.code) == (str(other.value), other.value.code)
    assert "does not appear to be a git repository" in str(one.value)


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (f"git@host: Permission denied (publickey).\n{UNREAD}{ADVICE}", "git@host: Permission denied (publickey)."),
        (f"Host key verification failed.\n{UNREAD}{ADVICE}", "Host key verification failed."),
        (
            (
                f"WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key for glibiz.com has changed and you have "
                f"requested strict checking.\nHost key verification failed.\n{UNREAD}{ADVICE}"
            ),
            (
                "glibiz.com has another host key than before: compare it with the key that the host publishes, then "
                "take the old one out of known_hosts"
            ),
        ),
        (
            "remote: It was archived.\nfatal: unable to access 'http://host/': The requested URL returned error: 403\n",
            (
                "fatal: unable to access 'http://host/': The requested URL returned error: 403; the host knows this "
                "login, and forbids that; It was archived."
            ),
        ),
        (f"FATAL: R any gli_redis one DENIED by fallthru\n{UNREAD}", "FATAL: R any gli_redis one DENIED by fallthru"),
        (f"kex_exchange_identification: Connection reset\n{UNREAD}", "kex_exchange_identification: Connection reset"),
        (f"remote: ====\nremote: You are not allowed\n{UNREAD}", "You are not allowed"),
        (f"a message without an end of line{UNREAD}{ADVICE}", "a message without an end of line"),
        (
            f"{'Only for staff of GLI. ' * 20}\ngit@host: Permission denied (publickey).\n{UNREAD}{ADVICE}",
            "git@host: Permission denied (publickey).",
        ),
        (
            "Cloning into '.'...\nremote: Counting objects: 5% (1/2)\rsend disconnect: Broken pipe\nfatal: early EOF\n",
            "send disconnect: Broken pipe",
        ),
        ("fatal: unable to access 'http://one:pw@host/': 429", "fatal: unable to access 'http://host/': 429"),
        ("fatal: unable to access 'http://one:p@w@host/': 429", "fatal: unable to access 'http://host/': 429"),
        ("fatal: the remote end hung up unexpectedly\n", "fatal: the remote end hung up unexpectedly"),
    ],
)
def test_an_error_has_the_reason_from_ssh_or_the_host(stderr: str, said: str) -> None:
    assert str(GitFailed(("fetch",), 128, stderr)) == said


def test_the_ref_that_fails_an_atomic_push_is_named() -> None:
    stderr = (
        "remote: error: cannot lock ref 'refs/heads/deployments': reference already exists\n"
        " ! [remote rejected] 1a -> stg (atomic transaction failed)\n"
        " ! [remote rejected] 2b -> deployments (atomic transaction failed)\n"
    )
    assert short(GitFailed(("push",), 1, stderr)).startswith("deployments was refused (atomic transaction failed: ")


def test_git_is_ended_after_a_long_silence_but_not_while_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "git"
    program.write_text(
        '#!/bin/sh\ntest "$1" = silent && exec sleep 600\nfor n in 1 2 3 4; do echo $n >&2; sleep 0.2; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(GitFailed, match=r"no answer within 0\.2 s"):
        git("silent", silence_s=0.2)
    late = git_hosts.each_output_takes(monkeypatch, 25.0)
    assert git("speaks", silence_s=60.0) == ""
    assert late[0] > 60.0


def test_a_remote_is_listed_as_branches_and_peeled_tags() -> None:
    text = "a1\tHEAD\na1\trefs/heads/main\nb1\trefs/tags/t\nb2\trefs/tags/t^{}\nb3\trefs/tags/light\n"
    found = refs.listing(refs.listed(text))
    assert (found.branches, found.tags) == ({"main": "a1"}, {"t": "b2", "light": "b3"})


@pytest.mark.parametrize(
    ("tag", "verified", "of_operation"),
    [
        ("deploy-20260101-090000", True, True),
        ("rollback-20260101-090000", True, True),
        ("emergency-20260101-090000", False, True),
        ("acknowledged-20260101-090000", False, False),
        ("v1.2", False, False),
    ],
)
def test_the_kind_of_a_tag_follows_from_its_name(tag: str, verified: bool, of_operation: bool) -> None:
    form = "deploy-%Y%m%d-%H%M%S"
    assert (tags.is_verified_release(tag, form), tags.is_of_operation(tag, form)) == (verified, of_operation)


def test_the_environment_of_git_is_an_allow_list() -> None:
    assert not any(word in name for name in command.environment() for word in ("TOKEN", "PASSWORD", "SECRET"))


def test_a_rolled_back_branch_equals_the_earlier_release_plus_later_commits(tmp_path: Path) -> None:
    rig: Rig = release_rig.make(tmp_path)
    assert rig.promote().code == 0
    assert rig.roll_back(FIRST_TAG).code == 0
    name = "gli_redis"
    released = rig.git(name, "rev-parse", f"{FIRST_TAG}^{{commit}}")

    def of_main() -> tuple[str, str]:
        tip = parsed(rig.git(name, *ONE, "main"))
        found = answered(effective(tip), lambda *asked: rig.git(name, *asked))
        return found.id, rig.git(name, "log", "--format=%s", *found.history[-1])

    assert of_main()[0] == released
    later = rig.commit(name, "main", {"hotfix.txt": "mended\n"}, "Mend the login")
    made, came = of_main()
    assert rig.git(name, "rev-parse", f"{made}^") == released
    assert rig.git(name, "rev-parse", f"{made}^{{tree}}") == rig.tree(name, later)
    assert came == "Mend the login"


@pytest.mark.parametrize(
    ("url", "remote", "address"),
    [
        ("https://example.com/lib.git", "git@host:org/app.git", "https://example.com/lib.git"),
        ("../lib.git", "git@host:org/app.git", "git@host:org/lib.git"),
        ("../../other/lib.git", "git@host:org/app.git", "git@host:other/lib.git"),
        ("../lib.git", "https://host/org/app.git/", "https://host/org/lib.git"),
        ("./lib.git", "file:///srv/app.git", "file:///srv/app.git/lib.git"),
    ],
)
def test_the_address_of_a_submodule(url: str, remote: str, address: str) -> None:
    text = f'[core]\n\turl = x\n[submodule "lib"]\n\tpath = libs/a b\n\turl = {url}\n\tbranch = main\n'
    assert submodules.addresses(text, remote) == {"libs/a b": address}
