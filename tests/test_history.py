"""Differences between the branches of a repository, from real repositories in states that a promotion meets."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import ROOT
from gli.config import catalogue, environments
from gli.git.branches import BRANCHES
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Observatory
from gli.observe.release.branch_gaps import Gap
from gli.observe.release.builds import Build, build
from gli.observe.release.deployed_releases import Difference, deployments, difference
from gli.observe.release.git_history import History, history
from gli.observe.release.github_runs import workflow
from gli.observe.release.path_filters import path_filters
from sandbox import repositories

GIT = """
[[repositories]]
name = "app"
[[repositories]]
name = "other_root"
[own]
branch = "stg"
[own.git]
remote = "file://{folder}/{{repository}}.git"
log_repository = "other_root"
deploy_tag = "deploy-%Y%m%d-%H%M%S"
"""
NAMES = ("app", "other_root")


class Remote:
    """The repositories of a small project, and their observation."""

    def __init__(self, root: Path) -> None:
        self.root = root
        repositories.create(root / "git", NAMES)
        heads = {name: repositories.refs(repositories.path(root / "git", name), "refs/heads") for name in NAMES}
        self.commits = {branch: {name: heads[name][branch] for name in NAMES} for branch in BRANCHES}
        self.app = repositories.path(root / "git", "app")
        (root / environments.FILE).write_text(GIT.format(folder=root / "git"), encoding="utf-8")

    def push(self, branch: str, tree: Mapping[str, str], hours_ago: float = 2, merged: str | None = None) -> str:
        at = datetime.now(UTC) - timedelta(hours=hours_ago)
        return repositories.push(self.app, branch, f"Push to {branch}", tree, at, merged)

    def observatory(self) -> Observatory:
        return Observatory(environments.load(self.root, "own"))

    def history(self, name: str = "app") -> History:
        observatory = self.observatory()
        try:
            return observatory.wait(history, name)
        finally:
            observatory.close()

    def difference(self) -> Difference:
        observatory = self.observatory()
        try:
            return observatory.wait(difference)
        finally:
            observatory.close()

    def gap(self, branch: str = "stg") -> Gap:
        return self.history().gap(branch)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path)


def test_a_release_in_order_has_no_gap(remote: Remote) -> None:
    seen = remote.history()
    assert seen.gaps == (
        Gap(branch="dev", of="main", commits=0),
        Gap(branch="stg", of="main", commits=0),
        Gap(branch="dev", of="stg", commits=0),
    )
    assert seen.commits == {branch: heads["app"] for branch, heads in remote.commits.items()}
    assert len(set(seen.trees.values())) == 3


def test_a_hotfix_is_lost_until_it_is_merged_back(remote: Remote) -> None:
    fix = {"fix.txt": "fixed\n"}
    commit = remote.push("main", fix, hours_ago=30)
    gap = remote.gap()
    assert (gap.commits, gap.lost, gap.conflicts) == (1, True, ())
    assert gap.newest == f"{commit[:7]} Push to main"
    assert 29.9 < gap.age_h < 30.1
    remote.push("stg", fix, merged=commit)
    assert (remote.gap("stg").lost, remote.gap("dev").lost) == (False, True)


def test_a_conflict_is_seen_where_gits_settings_make_line_ends_equal(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gitconfig").write_text("[merge]\n\trenormalize = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    for branch in ("main", "stg"):
        remote.push(branch, {"CHANGELOG.md": f"# {branch}\n"})
    assert remote.gap().conflicts == ("CHANGELOG.md",)


def test_the_same_change_made_twice_is_not_lost(remote: Remote) -> None:
    remote.push("main", {"fix.txt": "fixed\n"})
    remote.push("stg", {"fix.txt": "fixed\n", "more.txt": "more\n"})
    assert (remote.gap().commits, remote.gap().lost) == (1, False)


def test_the_merge_commit_of_a_release_is_not_lost(remote: Remote) -> None:
    staged = {"CHANGELOG.md": "# app\n\n- What staging tests.\n- The release on main.\n"}
    remote.push("main", staged, merged=remote.commits["stg"]["app"])
    assert (remote.gap().commits, remote.gap().lost) == (1, False)


BROUGHT = {"CHANGELOG.md": "# app\n\n- What staging tests.\n- The release on main.\n"}
"""What the merge of the staged branch makes of the live branch."""


def reverted(remote: Remote, branch: str, commit: str, merge: bool, tree: Mapping[str, str], merged: str = "") -> str:
    """Push a commit as `git revert` makes it."""
    how = f"{commit}, reversing\nchanges made to {commit}." if merge else f"{commit}."
    at = datetime.now(UTC)
    return repositories.push(remote.app, branch, f"Revert\n\nThis reverts commit {how}", tree, at, merged or None)


def test_a_release_that_was_reverted_by_hand_is_named_with_what_it_took_away(remote: Remote) -> None:
    merge = remote.push("main", BROUGHT, merged=remote.commits["stg"]["app"])
    revert = reverted(remote, "main", merge, True, {"CHANGELOG.md": "# app\n\n- The release on main.\n"})
    (seen,) = remote.history().reverted
    assert (seen.revert, seen.merge) == (f"{revert[:7]} Revert", f"{merge[:7]} Push to main")
    assert seen.commits >= 1 and seen.newest.startswith(remote.commits["stg"]["app"][:7])
    # main is merged back alone, and the release is gone from stg too
    remote.push("stg", {"CHANGELOG.md": "# app\n\n- The release on main.\n"}, merged=revert)
    assert remote.history().reverted == (seen,)
    # the remedy: the revert is reverted on stg
    reverted(remote, "stg", revert, False, BROUGHT)
    assert remote.history().reverted == ()


def test_a_release_that_was_reverted_and_made_again_in_other_commits_is_not_named(remote: Remote) -> None:
    merge = remote.push("main", BROUGHT, merged=remote.commits["stg"]["app"])
    reverted(remote, "main", merge, True, {"CHANGELOG.md": "# app\n\n- The release on main.\n"})
    remote.push("main", BROUGHT)
    assert remote.history().reverted == ()


def test_reverts_of_a_bad_hotfix_and_of_a_single_commit_are_not_named(remote: Remote) -> None:
    before = {"CHANGELOG.md": "# app\n\n- The release on main.\n"}
    fix = remote.push("main", {**before, "fix.txt": "bad\n"})
    subprocess.run(["git", "--git-dir", str(remote.app), "branch", "hotfix", fix], check=True)
    reverted(remote, "main", fix, False, before)
    side = repositories.push(remote.app, "hotfix", "More", {**before, "fix.txt": "worse\n"}, datetime.now(UTC))
    merge = remote.push("main", {**before, "fix.txt": "worse\n"}, merged=side)
    reverted(remote, "main", merge, True, before)
    assert remote.history().reverted == ()


def test_a_release_that_was_rolled_back_by_a_commit_would_vanish_from_the_next_merge(remote: Remote) -> None:
    staged = {"CHANGELOG.md": "# app\n\n- What staging tests.\n- The release on main.\n"}
    remote.push("main", staged, merged=remote.commits["stg"]["app"])
    remote.push("main", {"CHANGELOG.md": "# app\n\n- The release on main.\n"})
    gap = remote.gap()
    assert gap.lost
    assert gap.conflicts == ()


@pytest.mark.parametrize(("restores", "lost"), [("the release", False), ("something else", True)])
def test_a_recorded_rollback_is_not_missing_on_staging(remote: Remote, restores: str, lost: bool) -> None:
    """A promotion ignores this commit: merged back, it would remove the release from staging too."""
    released = remote.commits["main"]["app"]
    staged = {"CHANGELOG.md": "# app\n\n- What staging tests.\n- The release on main.\n"}
    deployed = remote.push("main", staged, merged=remote.commits["stg"]["app"])
    trailers = f"Release-Id: 1\nRestores: {released if restores == 'the release' else deployed}"
    files = {"CHANGELOG.md": "# app\n\n- The release on main.\n"}
    repositories.push(remote.app, "main", f"Roll back\n\n{trailers}", files, datetime.now(UTC))
    assert remote.gap().lost is lost


def test_after_a_rollback_only_the_hotfix_is_missing_on_staging(remote: Remote) -> None:
    """Promotions and checks look for a rollback behind the tip: both see the earlier release plus the hotfix."""
    released = remote.commits["main"]["app"]
    staged = {"CHANGELOG.md": "# app\n\n- What staging tests.\n- The release on main.\n"}
    remote.push("main", staged, merged=remote.commits["stg"]["app"])
    trailers = f"Release-Id: 1\nRestores: {released}"
    files = {"CHANGELOG.md": "# app\n\n- The release on main.\n"}
    repositories.push(remote.app, "main", f"Roll back\n\n{trailers}", files, datetime.now(UTC))
    remote.push("main", {"hotfix.txt": "mended\n"})
    gap = remote.gap()
    assert (gap.commits, gap.conflicts, gap.lost) == (1, (), True)


def test_a_conflict_names_its_files(remote: Remote) -> None:
    remote.push("main", {"CHANGELOG.md": "# app\n\n- A hotfix.\n", "fine.txt": "fine\n"})
    gap = remote.gap()
    assert (gap.conflicts, gap.lost) == (("CHANGELOG.md",), True)


def test_a_missing_branch_is_unknown_and_not_a_conflict(remote: Remote) -> None:
    repositories.set_ref(remote.app, "refs/heads/main", None)
    with pytest.raises(Unobserved, match="app lacks stg or main"):
        remote.gap()


def test_the_log_names_its_deployments(remote: Remote) -> None:
    (tag,) = repositories.refs(remote.app, "refs/tags")
    assert remote.history("other_root").logged == (tag,)
    assert remote.history("app").logged == ()


def test_a_repository_that_differs_from_most_is_the_odd_one(remote: Remote) -> None:
    (tag,) = repositories.refs(remote.app, "refs/tags")
    for odd in ("deploy-20260230-000000", "deploy-later", "v1"):
        repositories.set_ref(remote.app, f"refs/tags/{odd}", remote.commits["main"]["app"])
    observatory = remote.observatory()
    try:
        seen = observatory.wait(deployments)
    finally:
        observatory.close()
    assert (seen.current, seen.way_back) == (tag, tag)
    assert seen.tags == dict.fromkeys(NAMES, (tag,))


def test_after_a_rollback_production_is_at_the_restored_release(remote: Remote) -> None:
    (tag,) = repositories.refs(remote.app, "refs/tags")
    back, emergency = ("rollback-20990101-000000", "emergency-20990102-000000")
    for name in NAMES:
        where = repositories.path(remote.root / "git", name)
        repositories.set_ref(where, f"refs/tags/{back}", remote.commits["main"][name])
        repositories.set_ref(where, f"refs/tags/{emergency}", remote.commits["main"][name])
    home = repositories.path(remote.root / "git", "other_root")
    log = f"2099-01-01T00:00:00Z {tag} deployed\n2099-01-01T00:00:00Z {back} rolled-back {tag} -> main\n"
    repositories.push(home, "deployments", "Rolled back", {"deployment.log": log}, datetime.now(UTC))
    observatory = remote.observatory()
    try:
        seen = observatory.wait(deployments)
    finally:
        observatory.close()
    assert (seen.current, seen.way_back) == (back, back)
    assert remote.history("other_root").logged == (tag, back)


def test_the_tags_of_an_undone_release_do_not_count(remote: Remote) -> None:
    """On a host that protects tags. Production is at the release before it, also in a repository that never moved."""
    (tag,) = repositories.refs(remote.app, "refs/tags")
    before = remote.commits["main"]["app"]
    landed = remote.push("main", {"CHANGELOG.md": "# app\n\n- Undone soon.\n"}, merged=remote.commits["stg"]["app"])
    for name, commit in (("app", landed), ("other_root", remote.commits["main"]["other_root"])):
        repositories.set_ref(repositories.path(remote.root / "git", name), "refs/tags/deploy-20990101-000000", commit)
    message = f"Undo 20990101-000000-0000\n\nRelease-Id: 20990101-000000-0000\nRestores: {before}"
    files = {"CHANGELOG.md": "# app\n\n- The release on main.\n"}
    repositories.push(remote.app, "main", message, files, datetime.now(UTC))
    observatory = remote.observatory()
    try:
        seen = observatory.wait(deployments)
    finally:
        observatory.close()
    assert (seen.current, seen.way_back, seen.standing["app"]) == (tag, tag, before)


def test_a_fix_only_on_the_staging_branch_is_missing_on_dev(remote: Remote) -> None:
    fix = remote.push("stg", {"fix.txt": "fixed\n"})
    gap = remote.history().gap(BRANCHES[0], of=BRANCHES[1])
    assert (gap.lost, gap.commits, gap.conflicts) == (True, 1, ())
    remote.push("dev", {"fix.txt": "fixed\n"}, merged=fix)
    assert not remote.history().gap(BRANCHES[0], of=BRANCHES[1]).lost


def test_a_release_consists_of_content_changes(remote: Remote) -> None:
    assert remote.difference() == Difference(changed=NAMES, same=())
    for name in NAMES:
        where = repositories.path(remote.root / "git", name)
        repositories.set_ref(where, "refs/heads/main", remote.commits["stg"][name])
    assert remote.difference() == Difference(changed=(), same=NAMES)  # released, and nobody made anything since
    remote.push("stg", {})  # a commit that changes nothing
    seen = remote.difference()
    assert (seen.changed, seen.same, len(seen.unreleased)) == ((), NAMES, 1)


CALLS = "on: push\njobs:\n  deploy: {uses: %s}\n"
GITHUB = """
[own.github]
owner = "org"
environment = "staging"
"""


@pytest.mark.parametrize(
    ("uses", "says"),
    [
        ("org/other_root/.github/workflows/shared.yml@main", ""),
        ("Org/other_root/.github/workflows/shared.yml@main", ""),
        ("./.github/workflows/inner.yml", ""),
        ("org/other_root/.github/workflows/shared.yml@v1", "other_root has no branch, tag or commit v1"),
        ("org/other_root/.github/workflows/none.yml@main", "and there is no such file"),
        ("stranger/shared/.github/workflows/deploy.yml@v1", "which can't be read here"),
    ],
)
def test_a_called_workflow_is_read_where_the_call_says_or_the_steps_are_unknown(
    remote: Remote, uses: str, says: str
) -> None:
    shared = {".github/workflows/shared.yml": "on: workflow_call\njobs:\n  end: {steps: [{run: the end}]}\n"}
    root = repositories.path(remote.root / "git", "other_root")
    repositories.push(root, "main", "Share", shared, datetime.now(UTC))
    inner = {".github/workflows/inner.yml": CALLS % "org/other_root/.github/workflows/shared.yml@main"}
    remote.push("stg", {"deploy.yml": CALLS % uses} | inner)
    settings = GIT.format(folder=remote.root / "git").replace('name = "app"', 'name = "app"\nworkflow = "deploy.yml"')
    (remote.root / environments.FILE).write_text(settings + GITHUB, encoding="utf-8")
    observatory = remote.observatory()
    try:
        app = next(r for r in observatory.environment.repositories if r.name == "app")
        if says:
            with pytest.raises(Unobserved, match=says):
                observatory.wait(workflow, app)
        else:
            assert [step.text for step in observatory.wait(workflow, app).steps] == ["the end"]
    finally:
        observatory.close()


MONOREPO = """
[own.services.web]
url = "https://web.example"
repository = "app"
paths = ["web/**", "lib/*.py", "!web/docs/**"]
[own.services.jobs]
url = "https://jobs.example"
repository = "app"
paths = ["jobs/**"]
version = "{commit:.7}"
[own.services.all]
url = "https://all.example"
repository = "app"
"""


def test_a_service_of_a_monorepo_is_built_by_the_newest_commit_that_changes_its_paths(remote: Remote) -> None:
    first = remote.push("stg", {"web/app.py": "1", "web/docs/a.md": "1", "lib/a.py": "1"})
    other = remote.push("stg", {"web/app.py": "1", "web/docs/a.md": "2", "lib/a.py": "1", "lib/deep/b.py": "2"})
    with (remote.root / environments.FILE).open("a") as file:
        file.write(MONOREPO)

    def built(name: str, environment: str = "own") -> Build:
        observatory = Observatory(environments.load(remote.root, environment))
        try:
            return observatory.wait(build, observatory.environment.services[name])
        finally:
            observatory.close()

    assert built("all") == Build(commits=(other,))
    assert built("web") == Build(commits=(other, first))
    before = remote.commits["stg"]["app"]
    assert [built("web").is_named(commit, "{commit}") for commit in (first, before)] == [True, False]
    with pytest.raises(Unobserved, match=r"no commit of app changes jobs/\*\*: mend the paths of jobs"):
        built("jobs")
    files = {"web/app.py": "1", "web/docs/a.md": "2", "lib/a.py": "1", "lib/deep/b.py": "2", "jobs/x": "1"}
    side = remote.push("dev", {**files, "lib/a.py": "2"})
    merged = remote.push("stg", {**files, "lib/a.py": "2"}, merged=side)
    assert built("web") == built("jobs") == Build(commits=(merged,))
    assert built("jobs").expected("{commit:.7}") == merged[:7]
    with (remote.root / environments.FILE).open("a") as file:
        file.write('[live]\nextends = "own"\nbranch = "main"\nbuilt_once = true\n')
    staged = {"CHANGELOG.md": "# app\n\n- What staging tests.\n- The release on main.\n"}
    promoted = remote.push("main", {**files, **staged, "lib/a.py": "2"}, merged=merged)
    remote.push("stg", {"web/app.py": "3"})
    assert built("all", "live") == Build(commits=(promoted, merged))


TAGGED = """
[own.services.web]
url = "https://web.example"
repository = "app"
"""


def test_the_newest_release_tag_is_what_runs(remote: Remote) -> None:
    """By its numbers, not by its name; a branch that went on, or a tag of another form, changes nothing."""
    form = r"v(\d+)\.(\d+)\.(\d+)"
    path = remote.root / environments.FILE
    path.write_text(path.read_text().replace('branch = "stg"', f"branch = \"stg\"\nrelease_tag = '{form}'") + TAGGED)

    def built() -> Build:
        observatory = remote.observatory()
        try:
            return observatory.wait(build, observatory.environment.services["web"])
        finally:
            observatory.close()

    with pytest.raises(Unobserved, match="app has no readable branch stg"):
        built()
    commits = [remote.push("stg", {"app.py": version}) for version in ("1", "2", "3")]
    for tag, commit in zip(("v1.9.0", "v1.10.0", "v1.11.0-rc1"), commits, strict=True):
        subprocess.run(["git", "-C", str(remote.app), "tag", tag, commit], check=True)
    assert built().commits == (commits[1],)
    assert [built().spelt(form) for form in ("{tag}-{commit:.7}", "{version}", "{commit}")] == [
        (f"v1.10.0-{commits[1][:7]}",),
        ("1.10.0",),
        (commits[1],),
    ]
    assert remote.history().commits["stg"] == commits[1]


SERIES = """
[own.services.web]
url = "https://web.example"
repository = "app"
release_tag = 'web/v(\\d+)\\.(\\d+)'
version = "{version}"
[own.frontends.s3-page]
url = "https://page.example"
repository = "app"
paths = ["page/**"]
release_tag = 's3-page-(\\d+)'
version = "{version}"
[own.services.jobs]
url = "https://jobs.example"
repository = "app"
"""


def test_each_part_of_a_monorepo_has_its_own_series_of_release_tags(remote: Remote) -> None:
    """What has no series runs the head of the branch."""
    with (remote.root / environments.FILE).open("a") as file:
        file.write(SERIES)

    def built(name: str) -> Build:
        observatory = remote.observatory()
        environment = observatory.environment
        try:
            return observatory.wait(build, {**environment.services, **environment.frontends}[name])
        finally:
            observatory.close()

    first, *commits = [remote.push("stg", {"page/index.html": "1", "app.py": version}) for version in "1234"]
    with pytest.raises(Unobserved, match=r"app has no tag of the form web/v"):
        built("web")
    for tag, commit in {"web/v1.9": commits[0], "web/v1.10": commits[1], "s3-page-3": commits[0]}.items():
        subprocess.run(["git", "-C", str(remote.app), "tag", tag, commit], check=True)
    assert (built("web").commits, built("web").spelt("{version}")) == ((commits[1],), ("1.10",))
    assert (built("s3-page").commits, built("s3-page").spelt("{version}")) == ((commits[0], first), ("3",))
    assert built("jobs").commits == (commits[2],)


TWO_STAGES = """
[own.git]
branches = ["staging", "production"]
[own.database]
secret = "env:DATABASE_URL"
migrations = "app"
migrated_by = "alembic"
"""
REVISION = 'revision = "{}"\ndown_revision = {}\n'


def test_a_release_may_move_through_two_branches_of_other_names(remote: Remote) -> None:
    for name in NAMES:
        git = ["git", "-C", str(repositories.path(remote.root / "git", name))]
        for new, old in (("staging", "stg"), ("production", "main")):
            subprocess.run([*git, "branch", "--move", old, new], check=True)
        subprocess.run([*git, "symbolic-ref", "HEAD", "refs/heads/production"], check=True)
    text = (remote.root / environments.FILE).read_text().replace('branch = "stg"', 'branch = "staging"')
    path, database = TWO_STAGES.split("[own.database]")
    text = text.replace("[own.git]\n", path) + "[own.database]" + database
    (remote.root / environments.FILE).write_text(text)
    first = {"migrations/versions/1_first.py": REVISION.format("1f", None)}
    second = {"migrations/versions/2_second.py": REVISION.format("2s", "'1f'")}
    commit = remote.push("production", first)
    assert remote.history().gap("staging", of="production").lost
    remote.push("staging", first | second, merged=commit)
    seen = remote.history()
    assert [(gap.branch, gap.of, gap.lost) for gap in seen.gaps] == [("staging", "production", False)]
    assert seen.migrations == (("alembic", "2s"),)
    assert remote.difference() == Difference(changed=NAMES, same=())
    environment = environments.load(remote.root, "own")
    known = catalogue.load(ROOT)
    asked = {c.id for c in known.checks.values() if c.layer == "release" and known.targets(c, environment)}
    assert {"git-main-in-stg", "git-merge-clean", "git-hotfix-backmerge"} <= asked
    assert "git-stg-in-dev" not in asked


@pytest.mark.parametrize(
    ("push", "changed", "starts"),
    [
        ("paths-ignore: ['**.md']", ["docs/a/README.md"], False),
        ("paths-ignore: ['**.md']", ["docs/README.md", "app.py"], True),
        ("paths-ignore: ['docs/**', '*.txt']", ["docs/a/b.py", "notes.txt"], False),
        ("paths-ignore: ['docs/**', '*.txt']", ["src/notes.txt"], True),
        ("paths: ['src/**', '!src/**/*.md']", ["src/app.py"], True),
        ("paths: ['src/**', '!src/**/*.md']", ["src/a/README.md", "tests/a.py"], False),
        ("paths: ['**/docs/**']", ["docs/a.md"], True),
        ("paths: ['src/*.jsx?']", ["src/page.js"], True),
    ],
)
def test_a_push_starts_a_workflow_by_the_files_that_it_changes(push: str, changed: list[str], starts: bool) -> None:
    filters = path_filters(f"on:\n  push:\n    branches: [stg]\n    {push}\njobs: {{a: {{steps: []}}}}\n")
    assert filters is not None
    assert filters.start(changed) is starts


def test_a_commit_that_starts_no_deploy_leaves_the_one_before_deployed(remote: Remote) -> None:
    settings = GIT.format(folder=remote.root / "git").replace('name = "app"', 'name = "app"\nworkflow = "deploy.yml"')
    (remote.root / environments.FILE).write_text(settings, encoding="utf-8")
    text = "on: {push: {branches: [stg], paths-ignore: ['**.md']}}\njobs: {a: {steps: []}}\n"
    deployed = remote.push("stg", {"deploy.yml": text})
    assert remote.history().deploying == ""
    remote.push("stg", {"README.md": "one\n"})
    remote.push("stg", {"docs/README.md": "two\n"})
    assert remote.history().deploying == deployed
    remote.push("stg", {"README.md": "three\n", "app.py": "pass\n"})
    assert remote.history().deploying == ""
