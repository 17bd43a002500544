"""The eight repositories: can the commits that staging tested go to production, and is a rollback possible?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gli.config.environments import Environment
    from gli.config.parts import Git
    from gli.observe.release.deployed_releases import Deployments, Difference
    from gli.observe.release.git_history import History
    from gli.observe.release.git_refs import Heads
    from gli.observe.release.running_revisions import Evidence, WayBack
    from gli.observe.release.submodules import Submodule


def test_git_remote_branches(heads: Heads, environment: Environment) -> None:
    """The repository can be read and has every branch of the promotion."""
    assert heads.error is None, saw(heads.error, expected=phrase("to list the branches of {}", heads.repository))
    wanted = _git(environment).branches
    missing = [b for b in wanted if b not in heads.branches]
    assert not missing, saw(
        phrase("no {}", listed(missing)), expected=phrase("{} in {}", listed(wanted), heads.repository)
    )


def test_git_main_in_stg(history: History, environment: Environment) -> None:
    """Merging the two branches gives what staging tested: production has no commit, such as a hotfix, that staging
    lacks.
    """
    git = _git(environment)
    gap = history.gap(git.staged, of=git.live)
    assert not gap.lost, saw(
        phrase("{} commits only on {}, the newest {}", gap.commits, git.live, gap.newest),
        expected=phrase("all that is on {} of {} in {}", git.live, history.repository, git.staged),
    )


def test_git_no_merge_reverted(history: History, environment: Environment) -> None:
    """No release was reverted by hand: git believes a reverted merge to be merged, so the next release lacks its
    commits, and merging the revert back takes them off staging.
    """
    git = _git(environment)
    lost = [
        phrase("{} took away {}: {} commits, the newest {}", r.revert, r.merge, r.commits, r.newest)
        for r in history.reverted
    ]
    assert not lost, saw(
        listed(lost),
        expected=phrase("every merge to {} of {} to be in its content", git.live, history.repository),
    )


def test_git_submodules_published(submodules: Sequence[Submodule], target: str) -> None:
    """Each submodule has the commit that the branch names on its remote: else nobody can check the branch out."""
    lost = [phrase("{} at {}, which {} lacks", s.path, s.commit[:12], s.url) for s in submodules if not s.published]
    assert not lost, saw(listed(lost), expected=phrase("every submodule of {} on its remote", target))


def test_git_merge_clean(history: History, environment: Environment) -> None:
    """The staged branch merges into the live one without a conflict."""
    git = _git(environment)
    conflicts = history.gap(git.staged, of=git.live).conflicts
    assert not conflicts, saw(
        phrase("conflicts in {}", listed(conflicts)),
        expected=phrase("{} of {} to merge into {}", git.staged, history.repository, git.live),
    )


def test_git_stg_in_dev(history: History, environment: Environment) -> None:
    """Nothing was fixed on the staged branch alone: the next release starts before it, and would lose it."""
    git = _git(environment)
    gap = history.gap(git.developed, of=git.staged)
    assert not gap.lost, saw(
        phrase("{} commits only on {}, the newest {}", gap.commits, git.staged, gap.newest),
        expected=phrase("all that is on {} of {} in {}", git.staged, history.repository, git.developed),
    )


def test_git_release_diff(difference: Difference, environment: Environment) -> None:
    """What was made on the staged branch since the last release changes something: the next release is not empty.

    Between two releases, while nobody has made anything, nothing is expected to differ.
    """
    assert difference.changed or not difference.unreleased, saw(
        phrase(
            "the same content in all {} repositories, after {}", len(difference.same), listed(difference.unreleased)
        ),
        expected=phrase("something on {} to release", _git(environment).staged),
    )


def test_git_tested_sha(evidence: Evidence) -> None:
    """The commits to be merged are the ones that run: each service and page was built from the head of its branch."""
    others = {name: seen for name, seen in evidence.running.items() if seen != (evidence.head,)}
    assert not others, saw(
        listed(phrase("{} at {}", name, listed(seen)) for name, seen in sorted(others.items())),
        expected=phrase("{} of {} running", evidence.head, evidence.repository),
    )


def test_git_deploy_tag(heads: Heads, deployments: Deployments, environment: Environment) -> None:
    """The head of the live branch has the deploy tag of the release that production is at, the same in every
    repository. After a release that was undone, the commit before it counts."""
    live = _git(environment).live
    heads.commit_of(live)
    head = deployments.standing[heads.repository]
    own = [t for t in deployments.tags.get(heads.repository, ()) if heads.tags[t] == head]
    assert own, saw(
        phrase("{} without one", head[:12]),
        expected=phrase("a deploy tag at the head of {}'s {}", heads.repository, live),
    )
    assert deployments.current in own, saw(
        listed(own),
        expected=phrase(
            "{} at {}'s {}, as in most repositories", deployments.current or phrase("one tag"), heads.repository, live
        ),
    )


def test_git_rollback_target(way_back: WayBack) -> None:
    """There is a release to go back to: its tag in this repository, and its images in the registry."""
    assert way_back.commit is not None, saw(
        phrase("none"),
        expected=phrase("the tag {} in {}", way_back.tag or phrase("of a deployment"), way_back.repository),
    )
    assert not way_back.without_image, saw(
        phrase("no image in {}", listed(way_back.without_image)),
        expected=phrase("the images of {} in ECR", way_back.tag),
    )


def test_git_deployment_log(history: History, deployments: Deployments) -> None:
    """The last deployment in the log is the one that production is at."""
    last = history.logged[-1] if history.logged else None
    assert last is not None and last == deployments.current, saw(
        last or phrase("no deployment"),
        expected=phrase("{} as the last entry of the log", deployments.current or phrase("a deploy tag")),
    )


def test_git_hotfix_backmerge(history: History, environment: Environment) -> None:
    """What was pushed to the live branch in an emergency has reached the branches before it in time."""
    git = _git(environment)
    within, earlier = git.backmerge_hours, filter(None, (git.staged, git.developed))
    late = [g for g in (history.gap(branch, of=git.live) for branch in earlier) if g.lost and g.age_h > within]
    assert not late, saw(
        listed(phrase("{} without {} after {:.0f} h", g.branch, g.newest, g.age_h) for g in late),
        expected=phrase("hotfixes of {} merged back within {} h", history.repository, within),
    )


def test_db_migration_review(history: History) -> None:
    """No migration to be shipped removes or renames what the running code uses, lacks a way back, or forks."""
    assert not history.findings, saw(
        listed(history.findings), expected=phrase("migrations that the running code survives")
    )


def _git(environment: Environment) -> Git:
    """The environment's git table, which all checks of releases need."""
    assert environment.git is not None
    return environment.git
