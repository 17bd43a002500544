"""Releases along branches with names of one's own: two or three stages, one repository or several, on real remotes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import release_rig
from release_rig import FIRST_TAG

from conftest import Project, gli_forked
from gli.git.branches import BRANCHES, Branches

SECOND = {"GIT_COMMITTER_NAME": "Second Person", "GIT_COMMITTER_EMAIL": "second@glibiz.com"}
APPROVED = ("--yes", "--approved-by", "Second Person")


class Shop:
    """A project with branches of its own, and `gli` in it. The rig's dev, stg and main are renamed, or left out."""

    def __init__(self, root: Path, branches: Sequence[str], repositories: Sequence[str] = ("gli_root",)) -> None:
        rig = self.rig = release_rig.make(root, tuple(repositories))
        of = dict(zip(reversed(BRANCHES), reversed(branches), strict=False))
        for name in repositories:
            for old in BRANCHES:
                if new := of.get(old):
                    rig.git(name, "branch", "-m", old, new)
                else:
                    rig.git(name, "branch", "-D", old)
        self.project = Project(root / "project")
        named = "".join(f'[[repositories]]\nname = "{name}"\n' for name in repositories)
        self.project.write(
            "environments.toml",
            f'{named}[own]\nbranch = "{branches[-2] if len(branches) > 1 else branches[0]}"\n'
            f'[own.git]\nremote = "{root}/remotes/{{repository}}.git"\nworkspace = "../clones"\n'
            f'branches = {list(branches)!r}\n[own.services.api]\nurl = "http://127.0.0.1:9"\n'.replace("'", '"'),
        )

    def gli(self, *arguments: str, code: int = 0, env: dict[str, str] | None = None) -> str:
        """The output of `gli`, with its line wrapping undone; the exit code must be `code`."""
        done = gli_forked(*arguments, root=self.project.root, env={"GLI_ENV": "own"} | (env or {}), says="y\n")
        said = done.stdout + done.stderr
        assert done.returncode == code and "Traceback" not in said, f"{arguments}: {done.returncode}\n{said}"
        return " ".join(said.split())

    def tip(self, branch: str, name: str = "gli_root") -> str:
        """The content of a branch."""
        return self.rig.git(name, "rev-parse", f"{branch}^{{tree}}")


def test_one_repository_goes_from_staging_to_production(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ("staging", "production"))
    assert "nothing is promoted from 'dev' to 'staging'; there is: staging production, production staging" in shop.gli(
        "promote", "dev", "staging", code=2
    )
    assert "the gate says no" in shop.gli("promote", "staging", "production", *APPROVED, code=3)
    verified = shop.project.run("--phase=pre-deploy")
    assert verified.code == 0, verified.output
    shop.gli("promote", "staging", "production", *APPROVED)
    assert shop.tip("production") == shop.tip("staging")
    assert "staging -> production" in shop.gli("log")
    assert "'main' is not one of 'staging', 'production'" in shop.gli("pull", "main", code=2)
    assert "production: 1 updated" in shop.gli("pull", "production", "--clone")
    shop.gli("rollback", FIRST_TAG, "-m", "it broke", *APPROVED)
    assert shop.tip("production") == shop.tip(FIRST_TAG)
    assert "this release was taken off production by rollback-" in shop.gli(
        "promote", "staging", "production", *APPROVED, code=1
    )
    shop.gli("pull", "production")
    assert "all 1 repositories are in order" in shop.gli("doctor")


def test_an_emergency_push_to_production_is_merged_back_to_staging(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ("staging", "production"))
    shop.gli("pull", "production", "--clone")
    clone = tmp_path / "clones" / "gli_root"
    (clone / "hotfix.txt").write_text("mended\n")
    for command in (["add", "."], ["commit", "--quiet", "-m", "Mend it"]):
        subprocess.run(["git", *command], cwd=clone, check=True)
    assert "only staging and production are pushed to directly, not 'main'" in shop.gli(
        "push", "main", "-m", "x", code=2
    )
    pushed = shop.gli("push", "production", "-m", "it is down", "--yes")
    assert "lacking in staging; merge it back: gli promote production staging" in pushed
    debts = shop.gli("doctor", code=1)
    assert "mend: gli promote production staging" in debts
    tag = re.search(r"gli push production --acknowledge (emergency-[0-9-]+)", debts)
    assert tag is not None, debts
    shop.gli("push", "production", "--acknowledge", tag[1], env=SECOND)
    shop.gli("promote", "production", "staging", "--yes")
    assert "in order" in shop.gli("doctor")


def test_three_repositories_go_along_three_branches_together(tmp_path: Path) -> None:
    names = ("gli_root", "gli_api-server", "gli_redis")
    shop = Shop(tmp_path, ("trunk", "release/next", "live"), names)
    shop.gli("promote", "trunk", "release/next", "--yes")
    assert [shop.tip("release/next", n) for n in names] == [shop.tip("trunk", n) for n in names]
    verified = shop.project.run("--phase=pre-deploy")
    assert verified.code == 0, verified.output
    shop.gli("promote", "release/next", "live", *APPROVED)
    assert [shop.tip("live", n) for n in names] == [shop.tip("trunk", n) for n in names]
    assert "no way" not in shop.gli("promote", "trunk", "live", code=2)


@pytest.mark.parametrize("command", [("pull", "live"), ("pull", "live", "--clone"), ("doctor",), ("promote", "a", "b")])
def test_without_the_default_environment_a_command_asks_for_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    said = Shop(tmp_path, ("live",)).gli(*command, code=2, env={"GLI_ENV": ""})
    assert said == (
        "gli: no environment is named, and environments.toml does not have the default, 'stg'; "
        "write --env NAME, or set GLI_ENV; it has: own"
    )


def test_one_branch_has_no_promotion_but_a_rollback(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ("live",))
    assert "there is: no way, with one branch" in shop.gli("promote", "live", "live", code=2)
    shop.rig.commit("gli_root", "live", {"app.txt": "broken\n"})
    shop.gli("rollback", FIRST_TAG, "-m", "it broke", *APPROVED)
    assert shop.tip("live") == shop.tip(FIRST_TAG)


@pytest.mark.parametrize(
    ("names", "back"),
    [
        (BRANCHES, "gli promote main stg, then gli promote stg dev"),
        (("staging", "production"), "gli promote production staging"),
        (("main",), ""),
    ],
)
def test_the_way_back_is_told_branch_by_branch(names: tuple[str, ...], back: str) -> None:
    assert Branches(names).merge_back == back
