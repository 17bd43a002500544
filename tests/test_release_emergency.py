"""An emergency push bypasses the gate and records that. Its debt ends after a merge back and a second person's look."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import release_rig
from release_rig import NAMES, REFUSE, Ended, Rig

from gli.common.errors import UsageError
from gli.git.tags import trailer
from gli.release.emergency import acknowledge, push
from gli.release.session import Approval

Clone = Callable[..., str]


@pytest.fixture
def fix(rig: Rig) -> Iterator[Clone]:
    """A function that commits a hotfix on main of a repository's clone and returns its hash."""
    clones = rig.root / "clones"

    def fixed(name: str, branch: str = "main", file: str = "hotfix.txt") -> str:
        clone = clones / name
        if not clone.exists():
            subprocess.run(["git", "clone", "-q", "-b", branch, str(rig.bare(name)), str(clone)], check=True)
        (clone / file).write_text("hot\n")
        for command in (["add", file], ["commit", "-q", "-m", "Hotfix"]):
            subprocess.run(["git", "-C", str(clone), *command], check=True)
        done = subprocess.run(
            ["git", "-C", str(clone), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    yield fixed
    subprocess.run(["rm", "-rf", str(clones)], check=True)


def pushed(rig: Rig, branch: str = "main", **options: Any) -> Ended:
    asked: dict[str, Any] = {"reason": "Login is down", "approve": lambda request: Approval(release_rig.SECOND)}
    return rig.ends(lambda s: push(s, branch, **(asked | options)))


def test_commits_of_the_clones_land_with_an_emergency_tag_and_the_clones_do_not_change(rig: Rig, fix: Clone) -> None:
    commits = {name: fix(name) for name in ("gli_redis", "gli_websocket")}
    before = rig.heads()
    ended = pushed(rig)
    assert ended.code == 0, ended.said
    assert rig.heads() == before | commits
    tag = rig.journal()[-1].detail["tag"]
    assert tag.startswith("emergency-")
    assert {n for n in NAMES if f"refs/tags/{tag}" in rig.refs(n)} == set(commits)
    said = trailer(rig.git("gli_redis", "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}")) or {}
    assert said["reason"] == "Login is down" and "verdict" not in said
    status = ["git", "-C", str(rig.root / "clones" / "gli_redis"), "status", "--porcelain", "--branch"]
    assert (
        subprocess.run(status, check=True, capture_output=True, text=True).stdout == "## main...origin/main [ahead 1]\n"
    )


def test_the_debt_stops_promotions_until_main_is_in_stg_and_dev(rig: Rig, fix: Clone) -> None:
    fix("gli_redis")
    assert pushed(rig).code == 0
    tag = rig.journal()[-1].detail["tag"]
    for ended in (rig.promote("stg", "main"), rig.promote("dev", "stg")):
        assert ended.code == 1
        assert f"gli_redis: stg lacks {tag}" in ended.said and f"gli_redis: dev lacks {tag}" in ended.said
        assert "gli promote main stg, then gli promote stg dev" in ended.said
    assert rig.promote("main", "stg").code == 0
    assert f"dev lacks {tag}" in rig.promote("dev", "stg").said
    assert rig.promote("stg", "dev").code == 0
    for branch in ("stg", "dev"):
        assert rig.git("gli_redis", "show", f"{branch}:hotfix.txt") == "hot"
    ended = rig.promote("dev", "stg")
    assert ended.code == 0, ended.said
    assert rig.promote("stg", "main").code == 0
    assert rig.git("gli_redis", "show", "main:hotfix.txt") == "hot"


def test_the_debt_stays_until_another_person_acknowledges_it(
    rig: Rig, fix: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix("gli_redis")
    assert pushed(rig, approve=lambda request: Approval(None)).code == 0
    tag = rig.journal()[-1].detail["tag"]
    assert rig.promote("main", "stg").code == rig.promote("stg", "dev").code == 0
    ended = rig.promote("stg", "main")
    assert (ended.code, f"nobody else has acknowledged {tag}" in ended.said) == (1, True), ended.said
    own = rig.ends(lambda s: acknowledge(s, tag))  # type: ignore[arg-type, return-value]
    assert (own.code, "somebody else has to acknowledge it" in own.said) == (1, True)
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Second Person")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "second@glibiz.com")
    assert rig.ends(lambda s: acknowledge(s, tag)).code == 0  # type: ignore[arg-type, return-value]
    assert "is acknowledged" in rig.ends(lambda s: acknowledge(s, tag)).said  # type: ignore[arg-type, return-value]
    assert "no repository has an emergency" in rig.ends(lambda s: acknowledge(s, "emergency-1")).said  # type: ignore[arg-type, return-value]
    assert rig.promote("dev", "stg").code == 0
    assert rig.promote("stg", "main").code == 0


def test_a_push_to_stg_makes_no_tag_and_no_debt(rig: Rig, fix: Clone) -> None:
    commit = fix("gli_redis", "stg")
    assert pushed(rig, "stg").code == 0
    assert rig.heads("stg")["gli_redis"] == commit
    assert rig.promote("dev", "stg").code == 0


def test_one_refusal_undoes_the_other_pushes(rig: Rig, fix: Clone) -> None:
    for name in ("gli_redis", "gli_websocket"):
        fix(name)
    before = rig.trees()
    rig.hook("gli_websocket", REFUSE)
    ended = pushed(rig)
    assert (ended.code, "undone in gli_redis" in ended.said) == (1, True), ended.said
    assert rig.trees() == before and rig.leftovers() == set()


def test_an_impossible_emergency_push_is_refused_with_every_reason(rig: Rig, fix: Clone) -> None:
    fix("gli_redis")
    (rig.root / "clones" / "gli_redis" / "app.txt").write_text("half an idea\n")
    fix("gli_websocket")
    rig.commit("gli_websocket", "main", {"other.txt": "first\n"})
    before = rig.heads()
    ended = pushed(rig)
    assert ended.code == 1
    assert "gli_redis: 1 changed file is not committed on main" in ended.said
    assert "gli_websocket: the clone's main lacks what the remote has" in ended.said
    assert rig.heads() == before


def test_without_a_reason_or_new_commits_nothing_is_pushed(rig: Rig) -> None:
    with pytest.raises(UsageError, match="needs its reason"):
        pushed(rig, reason=" ")
    with pytest.raises(UsageError, match="only stg and main"):
        pushed(rig, "dev")
    assert "no clone has a commit on main that its remote lacks" in pushed(rig).said


def test_a_freeze_does_not_stop_an_emergency_but_is_recorded(rig: Rig, fix: Clone) -> None:
    fix("gli_redis")
    assert pushed(rig, frozen="frozen from Fri to Mon").code == 0
    planned = next(e for e in rig.journal() if e.event == "planned")
    assert planned.detail["override_freeze"] == {"window": "frozen from Fri to Mon", "reason": "Login is down"}
