"""`gli pull`: updates all clones in parallel, and never overwrites a person's work."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import release_rig
from click.testing import CliRunner
from release_rig import EIGHT, Rig

from conftest import clean_environment, heed_ctrl_c, wait_for
from gli.cli.group import main

START = "from gli.cli.entry import main; main()"
FILE = """
[own]
branch = "stg"
git.remote = "{remotes}/{{repository}}.git"
git.workspace = "clones"
"""


class Workspace:
    """The clones of the rig's repositories, each with main checked out, and a project that names them."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.clones = rig.root / "clones"
        self.remotes(str(rig.root / "remotes"))

    def remotes(self, where: str) -> None:
        tables = "".join(f'[[repositories]]\nname = "{name}"\n' for name in EIGHT)
        (self.rig.root / "environments.toml").write_text(tables + FILE.format(remotes=where))

    def git(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.clones / name, check=True, capture_output=True, text=True, env=self.env
        )
        return done.stdout.strip()

    @property
    def env(self) -> dict[str, str]:
        who = {
            f"GIT_{w}_{k}": v for w in ("AUTHOR", "COMMITTER") for k, v in (("NAME", "A"), ("EMAIL", "a@glibiz.com"))
        }
        return clean_environment() | who

    def commit(self, name: str, file: str = "mine.txt") -> str:
        """Commit as the clone's owner."""
        (self.clones / name / file).write_text("mine\n")
        self.git(name, "add", file)
        self.git(name, "commit", "--quiet", "--message", "Mine")
        return self.git(name, "rev-parse", "HEAD")

    def pull(self, *arguments: str) -> tuple[int, list[str]]:
        """The exit code and the output."""
        ended = CliRunner().invoke(main, ["pull", "--env", "own", *arguments])
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        return ended.exit_code, ended.output.splitlines()

    def heads(self, ref: str = "refs/heads/main") -> dict[str, str]:
        return {name: self.git(name, "rev-parse", ref) for name in EIGHT}

    def everything(self, name: str) -> dict[str, bytes]:
        """The state of the clone's owner: work tree, index, branches, HEAD and stash."""
        clone = self.clones / name
        refs = self.git(name, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/stash")
        files = [f for f in clone.rglob("*") if f.is_file() and ".git" not in f.relative_to(clone).parts]
        files += [clone / ".git" / part for part in ("HEAD", "index")]
        return {"refs": refs.encode()} | {str(f): f.read_bytes() for f in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    rig = release_rig.make(tmp_path_factory.mktemp("pull"), EIGHT)
    workspace = Workspace(rig)
    workspace.clones.mkdir()
    for name in EIGHT:
        clone = ["git", "clone", "--quiet", "--template=", "--branch=main", str(rig.bare(name)), name]
        subprocess.run(clone, cwd=workspace.clones, check=True)
    _copy(workspace.clones, rig.root / "first")
    return workspace


@pytest.fixture
def workspace(made: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(made.rig.root)
    yield made
    made.rig.reset()
    made.remotes(str(made.rig.root / "remotes"))
    shutil.rmtree(made.clones)
    _copy(made.rig.root / "first", made.clones)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


def test_every_clone_is_updated_and_a_second_pull_does_nothing(workspace: Workspace) -> None:
    for name in EIGHT[1:]:
        workspace.rig.commit(name, "main", {"new.txt": "new\n"})
    workspace.rig.commit(EIGHT[2], "main", {"new.txt": "newer\n"})
    code, lines = workspace.pull("main")
    assert (code, lines) == (
        0,
        [
            "gli_root            up to date",
            "gli_api-server      1 commit",
            "gli_user-frontend   2 commits",
            "gli_admin-frontend  1 commit",
            "gli_websocket       1 commit",
            "gli_database        1 commit",
            "gli_redis           1 commit",
            "gli_rabbitmq        1 commit",
            "main: 7 updated, 1 up to date",
        ],
    )
    assert workspace.heads() == workspace.heads("refs/remotes/origin/main") == workspace.rig.heads()
    assert (workspace.clones / EIGHT[2] / "new.txt").read_text() == "newer\n"
    assert all(workspace.git(name, "status", "--porcelain") == "" for name in EIGHT)
    assert workspace.pull("main")[1][-1] == "main: 8 up to date"


def test_a_clone_with_local_work_is_reported_and_kept_and_the_others_are_pulled(workspace: Workspace) -> None:
    rig, clones = workspace.rig, workspace.clones
    for name in EIGHT:
        rig.commit(name, "main", {"app.txt": "theirs\n"})
    (clones / "gli_root" / "app.txt").write_text("changed\n")
    (clones / "gli_api-server" / "app.txt").write_text("stashed\n")
    workspace.git("gli_api-server", "stash")
    (clones / "gli_api-server" / "staged.txt").write_text("staged\n")
    (clones / "gli_api-server" / "README.md").write_text("changed\n")
    workspace.git("gli_api-server", "add", "staged.txt")
    workspace.commit("gli_user-frontend")
    workspace.git("gli_admin-frontend", "switch", "--quiet", "--detach")
    detached = workspace.git("gli_admin-frontend", "rev-parse", "HEAD")[:7]
    shutil.rmtree(clones / "gli_websocket")
    workspace.git("gli_redis", "switch", "--quiet", "--create", "feature")
    alone = ("gli_root", "gli_api-server", "gli_user-frontend", "gli_admin-frontend", "gli_database")
    before = {name: workspace.everything(name) for name in alone}
    with rig.down("gli_database"):
        code, lines = workspace.pull("main")
    assert {name: workspace.everything(name) for name in alone} == before
    assert code == 3
    assert lines[:4] == [
        "gli_root            left alone: 1 file is changed, 1 commit behind; commit or",
        "                    stash first",
        "gli_api-server      left alone: 2 files are changed, 1 commit behind; commit or",
        "                    stash first",
    ]
    text = "\n".join(lines)
    assert "gli_user-frontend   left alone: diverged: 1 commit here, 1 commit there" in lines
    assert f"gli_admin-frontend  left alone: HEAD is detached at {detached}, 1 commit behind;" in lines
    assert "gli_websocket       left alone: no clone at" in text
    assert "gli_database        unreachable: fatal: " in text
    assert "gli_redis           1 commit (the work tree is on feature)" in lines
    assert "gli_rabbitmq        1 commit" in lines
    assert lines[-1] == "main: 2 updated, 5 left alone, 1 unreachable"
    assert all(len(line) <= 80 for line in lines)
    for name in ("gli_redis", "gli_rabbitmq"):
        assert workspace.git(name, "rev-parse", "main") == rig.heads()[name]
    assert workspace.git("gli_redis", "symbolic-ref", "--short", "HEAD") == "feature"


def test_a_skipped_clone_gives_exit_code_1(workspace: Workspace) -> None:
    workspace.rig.commit("gli_redis", "main", {"app.txt": "theirs\n"})
    workspace.git("gli_redis", "switch", "--quiet", "--detach")
    assert workspace.pull("main")[0] == 1


def test_local_changes_and_commits_are_fine_if_nothing_is_to_pull(workspace: Workspace) -> None:
    workspace.commit("gli_redis")
    (workspace.clones / "gli_redis" / "app.txt").write_text("changed\n")
    code, lines = workspace.pull("main")
    assert code == 0
    assert "gli_redis           up to date, with 1 commit that the remote lacks" in lines


def test_an_untracked_file_in_the_way_stays(workspace: Workspace) -> None:
    workspace.rig.commit("gli_redis", "main", {"new.txt": "theirs\n"})
    (workspace.clones / "gli_redis" / "new.txt").write_text("mine\n")
    code, lines = workspace.pull("main")
    assert code == 1
    assert "gli_redis           left alone: error: The following untracked working tree" in lines
    assert (workspace.clones / "gli_redis" / "new.txt").read_text() == "mine\n"


def test_a_broken_clone_is_skipped_and_its_remote_is_not_blamed(workspace: Workspace) -> None:
    workspace.git("gli_redis", "remote", "rename", "origin", "elsewhere")
    (workspace.clones / "gli_database" / ".git" / "HEAD").unlink()
    code, lines = workspace.pull("main")
    assert code == 1
    for name in ("gli_redis", "gli_database"):
        assert any(line.startswith(name) and "left alone: " in line for line in lines), lines


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a clone to another user")
def test_a_clone_of_another_user_is_skipped_and_its_remote_is_not_blamed(workspace: Workspace) -> None:
    os.chown(workspace.clones / "gli_redis" / ".git", 12345, 12345)
    code, lines = workspace.pull("main")
    assert code == 1
    assert any(line.startswith("gli_redis") and "left alone: detected dubious ownership" in line for line in lines), (
        lines
    )


def test_an_ignored_file_in_the_way_stays(workspace: Workspace) -> None:
    exclude = workspace.clones / "gli_redis" / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text(".env\n")
    (workspace.clones / "gli_redis" / ".env").write_text("SECRET=mine\n")
    workspace.rig.commit("gli_redis", "main", {".env": "SECRET=theirs\n"})
    code, lines = workspace.pull("main")
    assert code == 1
    assert any(line.startswith("gli_redis") and "left alone" in line for line in lines)
    assert (workspace.clones / "gli_redis" / ".env").read_text() == "SECRET=mine\n"


@pytest.mark.parametrize("held", ["refs/remotes/origin/main.lock", "index.lock"])
def test_a_clone_in_which_another_git_is_at_work_is_waited_for(workspace: Workspace, held: str) -> None:
    """As that of an editor, which fetches from time to time, or of a second `gli pull`."""
    for name in EIGHT[:2]:
        workspace.rig.commit(name, "main", {"more.txt": "more\n"})
        (workspace.clones / name / ".git" / held).touch()
    ended = threading.Timer(0.3, (workspace.clones / EIGHT[0] / ".git" / held).unlink)
    ended.start()
    code, lines = workspace.pull("main")
    said = " ".join(lines)
    assert (code, f"{EIGHT[0]} 1 commit" in " ".join(said.split()), said.count("unreachable")) == (1, True, 0), lines
    assert said.count("left alone: ") == 1 and "lock" in said, "the other one is held for ever"


def test_a_branch_checked_out_in_another_work_tree_is_not_moved(workspace: Workspace) -> None:
    workspace.rig.commit("gli_redis", "main", {"app.txt": "theirs\n"})
    workspace.git("gli_redis", "switch", "--quiet", "--create", "feature")
    workspace.git("gli_redis", "worktree", "add", "--quiet", "../other", "main")
    before = workspace.git("gli_redis", "rev-parse", "main")
    code, lines = workspace.pull("main")
    assert code == 1
    assert "left alone: fatal: refusing to fetch into branch" in " ".join(lines)
    assert workspace.git("gli_redis", "rev-parse", "main") == before


def test_a_new_branch_is_created_and_a_branch_missing_on_the_remote_is_reported(
    workspace: Workspace,
) -> None:
    workspace.rig.git("gli_redis", "update-ref", "-d", "refs/heads/stg")
    code, lines = workspace.pull("stg")
    assert code == 1
    assert "gli_redis           left alone: the remote has no branch stg" in lines
    assert "gli_root            new branch (the work tree is on main)" in lines
    assert workspace.git("gli_root", "rev-parse", "stg") == workspace.rig.refs("gli_root")["refs/heads/stg"]


def test_missing_clones_are_made_on_request(workspace: Workspace) -> None:
    shutil.rmtree(workspace.clones / "gli_redis")
    code, lines = workspace.pull("dev", "--clone")
    assert code == 0
    assert "gli_redis           cloned" in "\n".join(lines)
    assert workspace.git("gli_redis", "symbolic-ref", "--short", "HEAD") == "dev"
    assert workspace.heads("refs/heads/dev") == workspace.rig.heads("dev")


def test_a_git_hook_may_call_pull(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.rig.commit("gli_redis", "main", {"app.txt": "theirs\n"})
    monkeypatch.setenv("GIT_DIR", str(workspace.clones / "gli_root" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(workspace.clones / "gli_root" / ".git" / "index"))
    assert workspace.pull("main")[1][-1] == "main: 1 updated, 7 up to date"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["live"], "'live' is not one of 'dev', 'stg', 'main'"),
        (["main", "--env", "own2"], "environments.toml has no environment 'own2'; it has: own"),
    ],
)
def test_bad_input_is_one_sentence(workspace: Workspace, arguments: list[str], sentence: str) -> None:
    code, lines = workspace.pull(*arguments)
    assert code == 2
    assert sentence in lines[-1]


def test_ctrl_c_leaves_no_process_and_no_lock_and_the_next_pull_works(workspace: Workspace, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/$$.pid\nexec sleep 600\n")
    ssh.chmod(0o755)
    for name in EIGHT:
        workspace.rig.commit(name, "main", {"app.txt": "theirs\n"})
        workspace.git(name, "remote", "set-url", "origin", f"ssh://glibiz.invalid{workspace.rig.bare(name)}")
    process = subprocess.Popen(
        [sys.executable, "-c", START, "pull", "main"],
        cwd=workspace.rig.root,
        env=workspace.env | {"GIT_SSH_COMMAND": str(ssh), "GLI_ENV": "own"},
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == len(EIGHT), "a connection to each repository", 300)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(300) == 1
    assert not any(_alive(int(pid.stem)) for pid in tmp_path.glob("*.pid"))
    assert not list(workspace.clones.rglob("*.lock"))
    for name in EIGHT:
        workspace.git(name, "remote", "set-url", "origin", str(workspace.rig.bare(name)))
    assert workspace.pull("main")[1][-1] == "main: 8 updated"


def _alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not count."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


def test_the_pull_command_starts_without_unneeded_imports_and_works_the_same(workspace: Workspace) -> None:
    def typed(*arguments: str, environment: str) -> subprocess.CompletedProcess[str]:
        program = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {START}"
        return subprocess.run(
            [sys.executable, "-c", program, "pull", *arguments],
            cwd=workspace.rig.root,
            env=workspace.env | {"GLI_ENV": environment},
            capture_output=True,
            text=True,
            check=False,
        )

    workspace.git("gli_redis", "switch", "--quiet", "--detach")
    workspace.rig.commit("gli_redis", "main", {"app.txt": "theirs\n"})
    light, whole = typed("main", environment="own"), typed("main", "--env", "own", environment="own2")
    assert (light.returncode, light.stdout) == (whole.returncode, whole.stdout)
    assert light.returncode == 1
    heavy = {"click", "pydantic", "boto3", "anyio", "logging", "inspect"}
    assert not heavy & set(light.stderr.split())
    assert "click" in whole.stderr.split()
    light, whole = typed("main", environment="own2"), typed("main", "--env", "own2", environment="own")
    assert (light.returncode, light.stderr.splitlines()[0]) == (whole.returncode, whole.stderr.splitlines()[0])
    assert light.returncode == 2
