"""Texts, variables, settings of git and signatures that would mislead a run or the gate."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_rig import GLI

from conftest import ENVIRONMENT, Project
from gli.common import verdict_file
from gli.config.environments import Environment
from gli.config.parts import Git
from gli.gate import signing
from gli.git import command
from gli.observe.engine.observatory import Observatory
from gli.observe.release import git_refs


def gate(project: Project, **how: Any) -> subprocess.CompletedProcess[str]:
    """`gli gate` on the project, for the phase after the deployment."""
    return subprocess.run(
        [sys.executable, "-c", GLI, "gate", "--env=own", "--phase=post-deploy"],
        cwd=project.root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **how,
    )


def test_the_gate_disarms_text_of_a_target(project: Project, tmp_path: Path) -> None:
    evil = "\\x1b[2K\\x1b[32mVERDICT own: GO ![x](https://evil.invalid/x.png) <img src=x>\\u202e"
    project.checks(f"def test_first_check(target): assert False, '{evil}'\ndef test_second_check(target): pass\n")
    ran = project.run("--phase=post-deploy")
    assert ran.folder is not None
    path = ran.folder / "verdict.json"
    document = json.loads(path.read_text())
    said = "pwned \x1b[2K ![x](https://evil.invalid/x.png) <img src=x>"
    document |= {"reasons": [said], "held_by": [{"kind": "failed", "labels": [], "message": said}]}
    path.write_text(json.dumps(document | {"digest": verdict_file.digest(document)}))
    summary = tmp_path / "summary"
    done = gate(project, env=os.environ | {"GITHUB_STEP_SUMMARY": str(summary)})
    assert done.returncode == 1 and "is NO-GO: " in done.stdout, done.stderr
    assert not re.search(r"^\s*::|\x1b|\u202e", ran.output + done.stdout, re.MULTILINE)
    assert not re.search(r"<img|(?<!\\)!\[|\x1b", summary.read_text())


SPELT = "hunter22canary\\u001b[2K"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("conftest.py", f'raise OSError("{SPELT}")\n'),
        ("conftest.py", f'import sys\nsys.exit("{SPELT}")\n'),
        ("environments.toml", f'{ENVIRONMENT}"{SPELT}" = 1\n'),
        ("checklists/waivers.toml", f'"{SPELT}" = 1\n'),
    ],
)
def test_a_damaged_file_brings_no_secret_and_no_control_character_to_the_terminal(
    project: Project, file: str, text: str
) -> None:
    project.write(file, text)
    ran = project.run_alone(env={"GITHUB_TOKEN": "hunter22canary"})
    assert (ran.code, len(ran.output.strip().splitlines())) == (4, 1), ran.output
    assert "ERROR: " in ran.output and "***" in ran.output
    assert not re.search("hunter22|\x1b", ran.output)


def test_no_variable_ends_the_gate_before_its_decision(project: Project) -> None:
    """With this variable click completes words for a shell, and ends with 0."""
    done = gate(project, env=os.environ | {"_GLI_COMPLETE": "bash_source"})
    assert (done.returncode, "there is no readable verdict for own" in done.stdout) == (3, True), done.stdout


def test_variables_that_move_a_run_are_removed_or_named(project: Project, tmp_path: Path) -> None:
    removed = {
        "PGHOSTADDR": "192.0.2.1",
        "PGSSLMODE": "disable",
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "SSLKEYLOGFILE": str(tmp_path / "keys"),
        "HOSTALIASES": str(tmp_path / "aliases"),
    }
    stay = {
        "AWS_ENDPOINT_URL_ECS": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://me:secret@127.0.0.1:9",
        "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode"),
        "PYTHONWARNINGS": "default",
    }
    project.checks(
        "import os, ssl\ndef test_first_check(target):\n    ssl.create_default_context()\n"
        f"    assert not {set(removed)} & set(os.environ), 'left'\ndef test_second_check(target): pass\n"
    )
    ran = project.run(env=removed | stay)
    assert ran.code == 0 and ran.verdict is not None, ran.output
    assert removed.keys() <= set(ran.verdict["variables"]["ignored"])
    assert stay.keys() <= set(ran.verdict["variables"]["in_force"])
    assert not (tmp_path / "keys").exists()


def test_a_variable_that_moves_the_overlay_is_named(project: Project) -> None:
    project.write("environments.toml", ENVIRONMENT.replace("[own]", '[own]\noverlay = "${PLACE-usual}.toml"', 1))
    project.write("mine.toml", '[services.api]\nurl = "http://127.0.0.1:10"\n')
    ran = project.run(env={"PLACE": "mine"})
    assert ran.verdict is not None and "PLACE" in ran.verdict["variables"]["in_force"]


def test_git_shows_no_replacement_of_a_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        return command.git(*arguments, cwd=tmp_path).strip()

    git("init", "-q")
    empty = git("hash-object", "-t", "tree", "-w", "--stdin")
    commits = [git("commit-tree", "-m", subject, empty) for subject in ("the first", "another")]
    git("replace", *commits)
    assert git("log", "-1", "--format=%s", commits[0]) == "the first"


def test_the_settings_of_a_checkout_lead_no_probe_to_another_remote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run starts in a folder whose .git/config anybody may have written who can write a file there."""
    heads = {}
    for name in ("real", "other"):
        command.git("init", "-q", "--bare", str(tmp_path / name))
        tree = command.git("hash-object", "-t", "tree", "-w", "--stdin", git_dir=tmp_path / name).strip()
        heads[name] = command.git("commit-tree", "-m", name, tree, git_dir=tmp_path / name).strip()
        command.git("update-ref", "refs/heads/main", heads[name], git_dir=tmp_path / name)
    command.git("init", "-q", str(tmp_path / "checkout"))
    moved = f"url.file://{tmp_path}/other.insteadOf"
    command.git("config", moved, f"file://{tmp_path}/real", cwd=tmp_path / "checkout")
    monkeypatch.chdir(tmp_path / "checkout")
    git = Git(remote=f"file://{tmp_path}/{{repository}}")
    observatory = Observatory(Environment(name="own", branch="main", git=git))
    seen = observatory.wait(git_refs.heads, "real")
    observatory.close()
    assert seen.branches == {"main": heads["real"]}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    public = (tmp_path / "key.pub").read_text()
    (tmp_path / "allowed").write_text(f"ci@example.com {public}")
    return tmp_path / "key"


def test_a_signature_counts_for_the_content_that_was_read(tmp_path: Path, key: Path) -> None:
    """The file may change between two readings."""
    path = tmp_path / "verdict.json"
    path.write_bytes(b"signed")
    signing.sign(path, signing.VERDICT, str(key))
    assert signing.signer(path, b"signed", signing.VERDICT, tmp_path / "allowed") == "ci@example.com"
    assert signing.signer(path, b"forged", signing.VERDICT, tmp_path / "allowed") is None


def test_the_gate_hears_that_a_signature_is_wrong(project: Project, tmp_path: Path, key: Path) -> None:
    """Where the end of children is ignored, Python takes 0 for the exit code of ssh-keygen."""
    shutil.copy(tmp_path / "allowed", project.root / "allowed")
    project.write(
        "environments.toml", f'{ENVIRONMENT}\n[own.signatures]\nallowed_signers = "allowed"\nrequired = true\n'
    )
    ran = project.run("--phase=post-deploy")
    assert ran.folder is not None
    signing.sign(ran.folder / "verdict.json", signing.SIGN_OFF, str(key))
    done = gate(project, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert (done.returncode, "carries no good signature" in done.stdout) == (1, True), done.stdout


@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_the_gate_reads_no_verdict_without_an_end(project: Project, kind: str) -> None:
    ran = project.run("--phase=post-deploy")
    assert ran.folder is not None
    path = ran.folder / "verdict.json"
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    done = gate(project)
    assert (done.returncode, "holds no verdict that can be read" in done.stdout) == (3, True), done.stdout


def test_ssh_keygen_gets_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh-keygen"
    program.write_text(f'#!/bin/sh\nenv > "{tmp_path}/seen"\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_TOKEN", "a-token-of-ci")
    for name in ("verdict.json.sig", "allowed"):
        (tmp_path / name).touch()
    assert signing.signer(tmp_path / "verdict.json", b"", signing.VERDICT, tmp_path / "allowed") is None
    assert "PATH=" in (tmp_path / "seen").read_text()
    assert "a-token-of-ci" not in (tmp_path / "seen").read_text()
