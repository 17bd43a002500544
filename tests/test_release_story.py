"""The commands of a release: what they print, ask and refuse. test_story.py has a whole day."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import release_rig
from release_rig import EIGHT, FIRST_TAG

from conftest import Project, gli_forked

SECOND = {"GIT_COMMITTER_NAME": "Second Person", "GIT_COMMITTER_EMAIL": "second@glibiz.com"}


class Day:
    """The rig's eight repositories, a project that verifies the commits of stg, and `gli` in it."""

    def __init__(self, root: Path) -> None:
        self.rig = release_rig.make(root, EIGHT)
        project = self.project = Project(root / "project")
        repositories = "".join(f'[[repositories]]\nname = "{name}"\n' for name in EIGHT)
        project.write(
            "environments.toml",
            f'{repositories}[own]\nbranch = "stg"\n[own.git]\nremote = "{root}/remotes/{{repository}}.git"\n'
            'log_repository = "gli_root"\nworkspace = "../clones"\n'
            '[own.services.api]\nurl = "http://127.0.0.1:9"\nrepository = "gli_api-server"\n',
        )
        self.rig.state = project.root / ".release"

    def gli(self, *arguments: str, **how: Any) -> str:
        """The output of `gli`, with its line wrapping undone."""
        return re.sub(r"\n +", " ", self.printed(*arguments, **how))

    def printed(self, *arguments: str, says: str = "", code: int = 0, env: Mapping[str, str] | None = None) -> str:
        """The output of `gli` with the input `says`; the exit code must be `code`."""
        done = gli_forked(*arguments, root=self.project.root, env={"GLI_ENV": "own"} | dict(env or {}), says=says)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        assert all(len(line) <= 80 for line in done.stdout.splitlines() if arguments[0] != "log"), done.stdout
        return done.stdout + done.stderr

    def id(self, *arguments: str) -> str:
        """The id that must be typed to approve the operation."""
        found = re.search(r"^id ([0-9a-f]{16})$", self.gli(*arguments, "--dry-run"), re.MULTILINE)
        assert found is not None
        return found[1]

    def tags(self, kind: str) -> list[str]:
        """The tags of this kind that are at main in all eight repositories now."""
        at_main = [
            {t for t in self.rig.git(n, "tag", "--points-at", "main").split() if t.startswith(kind)} for n in EIGHT
        ]
        return sorted(set.intersection(*at_main))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    return Day(tmp_path_factory.mktemp("day"))


REFUSED: dict[str, tuple[list[str], int, str]] = {
    "no way from dev to main": (["promote", "dev", "main"], 2, "nothing is promoted from 'dev' to 'main'"),
    "no branches": (["promote"], 2, "say from where to where"),
    "branches with resume": (["promote", "dev", "stg", "--resume"], 2, "--resume or --undo stands alone"),
    "resume and undo": (["promote", "--resume", "--undo"], 2, "--resume or --undo stands alone"),
    "rollback without a reason": (["rollback", "--previous", "-m", " "], 2, "a rollback needs its reason"),
    "an option for a reason": (
        ["push", "stg", "-m", "--dry-run"],
        2,
        "--dry-run is no reason; an emergency push needs",
    ),
    "nothing to resume": (["promote", "--undo"], 0, "nothing is half-finished"),
    "an approval by nobody": (["promote", "stg", "main", "--approve", "1"], 2, "--approve needs --approved-by"),
    "both targets": (["rollback", FIRST_TAG, "--previous", "-m", "x"], 2, "a deploy tag, or --previous"),
    "no reason": (["push", "main"], 2, "needs its reason"),
    "an unknown environment": (["promote", "dev", "stg", "--env", "nowhere"], 2, "has no environment 'nowhere'"),
    "a reset by one": (["rollback", FIRST_TAG, "-m", "x", "--mode", "reset"], 1, "is at deploy-20260101-090000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_every_other_case_is_one_sentence_and_its_exit_code(tmp_path: Path, case: str) -> None:
    arguments, code, sentence = REFUSED[case]
    assert sentence in Day(tmp_path).gli(*arguments, code=code)


def test_the_summary_precedes_the_id_and_the_promoter_cannot_approve(tmp_path: Path) -> None:
    day = Day(tmp_path)
    assert day.project.run("--phase=pre-deploy").code == 0
    id_ = day.id("promote", "stg", "main")
    said = day.printed("promote", "stg", "main", says="another\n", code=1)
    summary, asked, after = said.partition("type the id to go on")
    assert "Prepare the next release (GLI Developer)" in summary and "migration notices.0002_more" in summary
    assert "  the gate: own: not signed\n" in summary, "whoever can write a report could have forged it"
    assert asked and "that is another id" in after
    first = {"GIT_COMMITTER_NAME": "First Person", "GIT_COMMITTER_EMAIL": "first@glibiz.com"}
    for approver in ("First Person", "first@glibiz.com", "FIRST PERSON <other@glibiz.com>"):
        said = day.gli("promote", "stg", "main", "--approve", id_, "--approved-by", approver, code=1, env=first)
        assert "must be somebody else" in said
    said = day.gli("promote", "stg", "main", "--approve", "0" * 16, "--approved-by", "Second", code=1, env=first)
    assert "is of other commits" in said
    assert day.rig.names() == ["opened", "planned", "refused"]
    day.gli("promote", "stg", "main", "--approve", id_, "--approved-by", "Second", env=first)


def test_one_failure_of_eight_sets_the_exit_code(tmp_path: Path) -> None:
    day = Day(tmp_path)
    old = day.rig.trees("stg")
    day.rig.hook("gli_rabbitmq", release_rig.REFUSE)
    said = day.gli("promote", "dev", "stg", "--yes", code=1)
    assert "gli_rabbitmq: stg was refused" in said and "undone in" in said
    assert day.rig.trees("stg") == old
    with day.rig.down("gli_websocket"):
        assert "gli_websocket" in day.gli("promote", "dev", "stg", "--yes", code=3)


PRINTED = """\
dev to stg
id ID
  gli_root            merge      COMMIT -> COMMIT
      COMMIT Start on what comes after (GLI Developer)
  gli_api-server      merge      COMMIT -> COMMIT
      COMMIT Start on what comes after (GLI Developer)
  gli_user-frontend   merge      COMMIT -> COMMIT
      COMMIT Start on what comes after (GLI Developer)
  gli_admin-frontend  merge      COMMIT -> COMMIT
      COMMIT Start on what comes after (GLI Developer)
  gli_websocket       merge      COMMIT -> COMMIT
      COMMIT Start on what comes after (GLI Developer)
  gli_database        merge      COMMIT -> COMMIT
      COMMIT Start on what comes after (GLI Developer)
  gli_redis           as it is   COMMIT
  gli_rabbitmq        merge      COMMIT -> COMMIT
      COMMIT Start on what comes after (GLI Developer)
gli_admin-frontend: moved
gli_api-server: moved
gli_database: moved
gli_rabbitmq: moved
gli_redis: as it was
gli_root: moved
gli_user-frontend: moved
gli_websocket: moved
done: OPERATION, 7 of 8 repositories moved
"""


def test_the_output_of_a_promotion(tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.rig.git("gli_redis", "update-ref", "refs/heads/dev", "refs/heads/stg")
    said = day.printed("promote", "dev", "stg", "--yes")
    for form, word in ((r"\d{8}-\d{6}-[0-9a-f]{4}", "OPERATION"), (r"[0-9a-f]{16}", "ID"), (r"[0-9a-f]{8}", "COMMIT")):
        said = re.sub(rf"\b{form}\b", word, said)
    lines = said.splitlines(keepends=True)
    assert "".join([*lines[:17], *sorted(lines[17:25]), *lines[25:]]) == PRINTED  # the repositories land in any order
