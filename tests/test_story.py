"""A whole day on the sandbox, without stand-ins: feature, staging, verification, production, rollback, reinstatement.

The test runs the commands that people type, in a separate project: both environments of one sandbox, its eight
repositories, the gate with its two verdicts and its signatures, the promotion, and the verdict after the deployment.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from report_rig import Hook

from conftest import ROOT, clean_environment, exhaustive, gli_forked, run_forked, sandbox_up

PARTS = ("environments.toml", "conftest.py", "pytest.ini", "checklists", "tests_smoke", "tests_infra")
ADA, BOB = "ada@glibiz.com", "bob@glibiz.com"


class Day:
    """The project, and the person who works in it."""

    def __init__(self, root: Path, hook: Hook) -> None:
        self.root, self.hook = root, hook
        file = root / "environments.toml"
        text = file.read_text().replace(
            "notify = { url_variables = [] }", 'notify = { url_variables = ["STORY_HOOK"] }'
        )
        file.write_text(text)

    def run(self, *command: str, says: str = "", mail: str = ADA) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env=clean_environment() | self.who(mail) | self.about,
            input=says,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    @staticmethod
    def who(mail: str) -> dict[str, str]:
        """The variables that name a person to git."""
        name = mail.partition("@")[0].title()
        return {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in (("NAME", name), ("EMAIL", mail))}

    @property
    def about(self) -> dict[str, str]:
        return {"GLI_SANDBOX": "story", "STORY_HOOK": f"json://127.0.0.1:{self.hook.port}/hook"}

    def gli(self, *arguments: str, code: int = 0, says: str = "", mail: str = ADA) -> str:
        done = gli_forked(*arguments, root=self.root, env=self.who(mail) | self.about, says=says)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def sandbox(self, *arguments: str) -> str:
        done = self.run(sys.executable, "-m", "sandbox", *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def verify(self, environment: str, phase: str) -> None:
        ran = run_forked(
            f"--env={environment}", f"--phase={phase}", root=self.root, reports=self.root / "reports", env=self.about
        )
        assert ran.last_line == f"VERDICT {environment}: GO", ran.output

    @property
    def remotes(self) -> list[Path]:
        return sorted((self.root / ".sandbox/story.git/git").glob("*.git"))

    def heads(self, name: str) -> list[str]:
        """The commit of a revision in each repository."""
        return [self.git(remote, "rev-parse", name) for remote in self.remotes]

    def git(self, remote: Path, *arguments: str) -> str:
        done = self.run("git", "--git-dir", str(remote), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def feature(self) -> None:
        """Add a file on dev in every repository."""
        for remote in self.remotes:
            git = ("git", "--git-dir", str(remote))
            blob = self.run(*git, "hash-object", "-w", "--stdin", says="new\n").stdout.strip()
            tree = self.git(remote, "ls-tree", "dev") + f"\n100644 blob {blob}\tFEATURE-{uuid4().hex[:8]}.md\n"
            made = self.run(*git, "mktree", says=tree).stdout.strip()
            commit = self.git(remote, "commit-tree", made, "-p", "dev", "-m", "Build a feature")
            self.git(remote, "update-ref", "refs/heads/dev", commit)

    def deploy(self) -> None:
        """Deploy as a push to main does. Each environment has its own registry, so the images go to both."""
        self.sandbox("deploy", "--env", "sandbox-prod")
        self.sandbox("deploy")

    def proven(self) -> None:
        """Verify both environments."""
        self.verify("sandbox", "pre-deploy")
        self.verify("sandbox-prod", "pre-deploy")

    def signed(self) -> None:
        """Sign every item, by as many people as it needs."""
        pending = self.gli("gate", "--env", "sandbox", code=3)
        for item, needed in re.findall(r"(PRE-\d+) \(0 of (\d)\)", pending):
            for mail in (ADA, BOB)[: int(needed)]:
                self.gli("sign", item, "--env", "sandbox", "--note", "seen on the sandbox", mail=mail)
        assert self.gli("gate", "--env", "sandbox").startswith("yes: ")

    def confirmed(self, *command: str) -> str:
        """Run a command on production, with the id and the yes that the command asks for."""
        found = re.search(r"\bid (\w+)", self.gli(*command, "--dry-run"))
        assert found is not None
        return self.gli(*command, says=f"{found[1]}\ny\n")

    def to_production(self, *options: str) -> str:
        return self.confirmed("promote", "stg", "main", "--env", "sandbox", *options)


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    for part in PARTS:
        whole = ROOT / part
        (shutil.copytree if whole.is_dir() else shutil.copy2)(whole, tmp_path / part)
    day = Day(tmp_path, Hook())
    try:
        with sandbox_up("story", cwd=tmp_path), sandbox_up("story", "--env", "sandbox-prod", cwd=tmp_path):
            yield day
    finally:
        day.hook.close()


@pytest.mark.parametrize("ends", ["with the rollback", pytest.param("late", marks=exhaustive)])
def test_a_day(day: Day, ends: str) -> None:
    """The release comes back, and a hotfix bypasses the gate, only on a long day: the release tests show both daily."""
    released = day.heads("main^{tree}")

    day.feature()
    assert "8 of 8 repositories moved" in day.gli("promote", "dev", "stg", "--env", "sandbox", says="y\n")
    assert day.heads("stg^{tree}") == day.heads("dev^{tree}")
    assert "no: " in day.gli("promote", "stg", "main", "--env", "sandbox", code=3), "nothing is proven yet"
    assert day.heads("main^{tree}") == released

    day.sandbox("deploy")
    day.proven()
    day.signed()
    assert "8 of 8 repositories moved" in day.to_production()
    built = day.heads("stg^{tree}")
    assert day.heads("main^{tree}") == built, "what was verified is what ships"
    tag = day.git(day.remotes[0], "describe", "--exact-match", "main")
    assert all(day.git(remote, "describe", "--exact-match", "main") == tag for remote in day.remotes)

    day.deploy()
    day.verify("sandbox-prod", "post-deploy")
    assert tag in day.gli("log", "--env", "sandbox")
    told = [str(message["body"]) for message in day.hook.got]
    assert [tag in body for body in told] == [True], "of a deployment people are told once, and nothing was ever red"

    day.gli(
        "rollback",
        "--previous",
        "-m",
        "the feature breaks the login",
        "--ack-migrations",
        "--env",
        "sandbox",
        "--yes",
        says="y\n",
    )
    assert day.heads("main^{tree}") == released

    if ends == "late":
        reinstated(day, built)
        emergency(day)


def reinstated(day: Day, built: list[str]) -> None:
    """The release that was rolled back goes to production again."""
    day.deploy()
    day.proven()
    held = day.gli("promote", "stg", "main", "--env", "sandbox", code=1)
    assert "--reinstate" in held
    day.to_production("--reinstate")
    assert day.heads("main^{tree}") == built, "the release is whole again: a merge would have dropped it in silence"


def emergency(day: Day) -> None:
    """A hotfix that bypasses the gate stops promotions, until it is merged back and another person acknowledges it."""
    assert "cloned" in day.gli("pull", "main", "--clone", "--env", "sandbox")
    clone = day.root / ".sandbox/story.git/clones/gli_websocket"
    (clone / "HOTFIX.md").write_text("hot\n")
    day.run("git", "-C", str(clone), "add", "HOTFIX.md")
    day.run("git", "-C", str(clone), "commit", "-m", "Hotfix")
    pushed = day.confirmed("push", "main", "-m", "Login is down", "--env", "sandbox")
    tag = re.search(r"emergency-[\d-]+", pushed)
    assert tag is not None, pushed
    assert "not verified" in pushed

    day.feature()
    assert tag[0] in day.gli("promote", "dev", "stg", "--env", "sandbox", code=1, says="y\n")
    day.gli("promote", "main", "stg", "--env", "sandbox", says="y\n")
    day.gli("promote", "stg", "dev", "--env", "sandbox", says="y\n")
    assert "acknowledged" in day.gli("promote", "dev", "stg", "--env", "sandbox", code=1, says="y\n")
    day.gli("push", "main", "--acknowledge", tag[0], "--env", "sandbox", mail=BOB)
    day.gli("promote", "dev", "stg", "--env", "sandbox", says="y\n")
    websocket = next(remote for remote in day.remotes if remote.name == "gli_websocket.git")
    assert day.git(websocket, "show", "stg:HOTFIX.md") == "hot"
    assert "emergency" in day.gli("log", "--env", "sandbox")
