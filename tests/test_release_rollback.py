"""A rollback takes all eight repositories back to a release, loses no commit, and can be undone."""

from __future__ import annotations

import os

import pytest
import release_rig
from release_rig import FIRST_TAG, NAMES, REFUSE, Rig

from gli.release.promote import Choices


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A rig with a second release on main."""
    rig = release_rig.make(tmp_path_factory.mktemp("rig"))
    assert rig.promote().code == 0
    rig.keep()
    return rig


def first_trees(rig: Rig) -> dict[str, str]:
    return {name: rig.tree(name, FIRST_TAG) for name in NAMES}


def test_a_forward_rollback_commits_the_old_tree_and_works_under_protection_rules(rig: Rig) -> None:
    for name in NAMES:
        rig.git(name, "config", "receive.denyNonFastForwards", "true")
    bad = rig.heads()
    try:
        ended = rig.roll_back()
    finally:
        for name in NAMES:
            rig.git(name, "config", "--unset", "receive.denyNonFastForwards")
    assert ended.code == 0, ended.said
    assert rig.trees() == first_trees(rig)
    for name, head in rig.heads().items():
        assert rig.git(name, "rev-parse", f"{head}^") == bad[name], "nothing is lost"
    tag = rig.journal()[-1].detail["tag"]
    assert tag.startswith("rollback-")
    assert {rig.git(n, "rev-parse", f"{tag}^{{commit}}") for n in NAMES} == set(rig.heads().values())
    message = rig.git("gli_root", "log", "-1", "--format=%B", "main")
    assert "Reason: it broke" in message and f"Roll back to {FIRST_TAG}" in message


def test_only_a_release_is_a_target(rig: Rig) -> None:
    """A tag alone is no proof that its commits were live, and the gate never saw those that were not."""
    for name in NAMES:
        rig.git(name, "tag", "-a", "-m", "by hand", "deploy-20260201-090000", "dev")
    ended = rig.roll_back("deploy-20260201-090000")
    assert (ended.code, "was never on main of gli_root, gli_api-server" in ended.said) == (1, True), ended.said


def test_a_reason_that_is_not_utf8_does_not_stop_a_rollback(rig: Rig) -> None:
    reason = os.fsdecode("고장".encode("euc-kr"))
    assert rig.roll_back(reason=reason).code == 0
    assert rig.journal()[0].detail["reason"] == reason
    (line,) = (rig.state / "deployment.log").read_text(errors="surrogateescape").splitlines()[-1:]
    assert line.endswith(f": {reason}")
    assert rig.roll_back(FIRST_TAG).code == 1, "the next one reads that line, and writes its own"


def test_migrations_that_stay_in_the_database_must_be_acknowledged(rig: Rig) -> None:
    ended = rig.roll_back(acknowledge_migrations=False)
    assert ended.code == 1
    assert "gli_api-server notices.0002_more" in ended.said and "--ack-migrations" in ended.said
    assert rig.names() == ["opened", "refused"]


def test_a_rolled_back_release_is_on_hold_until_it_is_reinstated_completely(rig: Rig) -> None:
    staged = rig.trees("stg")
    assert rig.roll_back().code == 0
    held = rig.promote()
    assert (held.code, "this release was taken off main by rollback-" in held.said) == (1, True), held.said
    assert rig.trees() == first_trees(rig)
    ended = rig.promote(choices=Choices(reinstate=True))
    assert ended.code == 0, ended.said
    assert rig.trees() == staged, "git's own merge would have left the release out"
    assert {m["action"] for m in rig.journal()[1].detail["moves"].values()} == {"reinstate"}


def test_a_release_with_anything_new_is_not_on_hold_and_brings_what_was_rolled_back(rig: Rig) -> None:
    assert rig.roll_back().code == 0
    rig.commit("gli_redis", "stg", {"fix.txt": "fixed\n"})
    ended = rig.promote()
    assert ended.code == 0, ended.said
    assert rig.trees() == rig.trees("stg")


def test_a_hotfix_on_top_of_a_rollback_is_merged_back_without_the_rollback(rig: Rig) -> None:
    staged = rig.trees("stg")
    assert rig.roll_back().code == 0
    rig.commit("gli_redis", "main", {"hotfix.txt": "hot\n"})
    refused = rig.promote(choices=Choices(reinstate=True))
    assert (refused.code, "gli_redis: main holds what stg lacks (hotfix.txt)" in refused.said) == (1, True)
    assert rig.promote("main", "stg").code == 0
    merged = rig.trees("stg")
    assert {n for n in NAMES if merged[n] != staged[n]} == {"gli_redis"}
    assert "hotfix.txt" in rig.git("gli_redis", "ls-tree", "--name-only", "stg")
    assert "THREE" in rig.git("gli_redis", "show", "stg:app.txt"), "the release is still in staging"
    assert rig.promote(choices=Choices(reinstate=True)).code == 0
    assert rig.trees() == merged


def test_previous_follows_from_content_and_skips_rolled_back_releases(rig: Rig) -> None:
    assert rig.roll_back().code == 0
    nothing = rig.roll_back()
    assert (nothing.code, f"no release before {FIRST_TAG}" in nothing.said) == (1, True), nothing.said
    good = rig.commit("gli_redis", "stg", {"fix.txt": "fixed\n"})
    assert rig.promote().code == 0
    assert rig.roll_back().code == 0
    assert rig.trees() == first_trees(rig), "not the release that was taken off"
    assert good in rig.git("gli_redis", "rev-list", "main")


def test_a_tag_missing_in_one_repository_is_not_a_rollback_target(rig: Rig) -> None:
    rig.git("gli_redis", "update-ref", "-d", f"refs/tags/{FIRST_TAG}")
    ended = rig.roll_back(FIRST_TAG)
    assert (ended.code, f"there is no tag {FIRST_TAG} in gli_redis" in ended.said) == (1, True), ended.said
    assert "no release before" in rig.roll_back().said
    ended = rig.roll_back("deploy-20990101-000000")
    assert all(name in ended.said for name in NAMES)


def test_reset_moves_main_back_and_keeps_the_removed_commits(rig: Rig) -> None:
    bad = rig.heads()
    ended = rig.roll_back(mode="reset")
    assert ended.code == 0, ended.said
    for name, head in rig.heads().items():
        assert head == rig.git(name, "rev-parse", f"{FIRST_TAG}^{{commit}}")
        assert rig.refs(name)[f"refs/archive/{rig.journal()[0].id}/main"] == bad[name]
    assert rig.leftovers() == set()
    assert (rig.promote().code, rig.promote(choices=Choices(reinstate=True)).code) == (1, 0)
    assert rig.trees() == rig.trees("stg")


def test_a_reset_forbidden_in_one_repository_changes_none(rig: Rig) -> None:
    bad = rig.heads()
    rig.git("gli_redis", "config", "receive.denyNonFastForwards", "true")
    ended = rig.roll_back(mode="reset")
    rig.git("gli_redis", "config", "--unset", "receive.denyNonFastForwards")
    assert ended.code == 1
    assert "gli_redis: main was refused (non-fast-forward: error: denying non-fast-forward" in ended.said
    assert rig.heads() == bad and rig.leftovers() == set()


def test_a_rollback_that_one_repository_refuses_is_undone_in_all(rig: Rig) -> None:
    bad = rig.trees()
    rig.hook("gli_database", REFUSE)
    ended = rig.roll_back()
    assert (ended.code, rig.names()[-1]) == (1, "undone")
    assert rig.trees() == bad
    (rig.bare("gli_database") / "hooks" / "pre-receive").unlink()
    assert rig.roll_back().code == 0
    assert rig.trees() == first_trees(rig)
