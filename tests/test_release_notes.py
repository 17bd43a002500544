"""`gli log TAG --notes` and `--since`: the content of a release and the figures of releases, from landed commits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import release_rig
from click.testing import CliRunner
from release_rig import FIRST_TAG, REFUSE, Rig, project

from gli.cli.group import main


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    made = release_rig.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLI_ENV", "own")
    project(made)
    return made


def log(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(main, ["log", *arguments])
    return ended.exit_code, ended.output


def test_the_notes_of_a_release_name_commits_migrations_and_people(rig: Rig) -> None:
    assert rig.promote().code == 0
    tag = rig.journal()[-1].detail["tag"]
    code, text = log(tag, "--notes", "--lang", "en")
    assert code == 0, text
    assert text.startswith(f"# Release {tag}\n")
    assert f"released by {release_rig.ME}, approved by {release_rig.SECOND}, verdict 2026-01-31T09:00:00.000Z" in text
    assert "- gli_api-server: notices.0002_more" in text
    assert text.count("Prepare the next release (GLI Developer)") == len(release_rig.NAMES)
    code, korean = log(tag, "--notes", "--lang", "ko")
    assert (code, korean.startswith(f"# 릴리스 {tag}\n"), "## 마이그레이션" in korean) == (0, True, True)


def test_the_figures_count_what_landed_and_what_was_rolled_back(rig: Rig) -> None:
    assert "0 deployments" in log("--since", "90d", "--lang", "en")[1]
    assert rig.promote().code == 0
    assert rig.roll_back(FIRST_TAG).code == 0
    rig.commit("gli_redis", "stg", {"more.txt": "more\n"})
    rig.hook("gli_websocket", REFUSE)
    assert rig.promote().code == 1, "what was undone does not count"
    code, text = log("--since", "90d", "--lang", "en")
    assert code == 0
    assert "- Deployment frequency: 1 deployments, 0.1 a week" in text
    assert "- Change failure rate (rolled back): 100 % (1/1)" in text
    assert "- Time to restore (median, deployment to rollback): 0.0 h" in text
    assert "배포 빈도: 1 회 배포" in log("--since", "90", "--lang", "ko")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--notes"], 2, "--notes needs a TAG"),
        (["deploy-x"], 2, "a TAG needs --notes"),
        (["--since", "soon"], 2, "--since soon is not a number of days"),
        (["deploy-20990101-000000", "--notes"], 1, "is no tag that an operation has made"),
    ],
)
def test_unknown_figures_are_marked_as_unknown(rig: Rig, arguments: list[str], code: int, said: str) -> None:
    ended, text = log(*arguments)
    assert (ended, said in text) == (code, True), text
