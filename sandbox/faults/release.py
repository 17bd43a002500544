"""Faults of a release in git: commits, branches and tags."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

from sandbox import repositories
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import developed, pushed, released, staged
from sandbox.repositories import path
from sandbox.site import required
from sandbox.submodules import linked

_LONG_AGO = timedelta(hours=30)


@fault("git-branch-missing", turns_red=["git-remote-branches"])
def git_branch_missing(sandbox: Sandbox) -> Iterator[None]:
    """One repository has no dev branch."""
    git = ["git", "--git-dir", str(path(sandbox.repositories, sandbox.environment.repositories[-1].name))]
    branch = "refs/heads/dev"
    commit = subprocess.run([*git, "rev-parse", branch], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([*git, "update-ref", "-d", branch], check=True)
    yield
    subprocess.run([*git, "update-ref", branch, commit], check=True)


@contextmanager
def _tagged(sandbox: Sandbox, name: str, tag: str, target: str | None) -> Iterator[None]:
    """Move a tag to another object, or delete it."""
    repository, ref = repositories.path(sandbox.repositories, name), f"refs/tags/{tag}"
    before = repositories.refs(repository, "refs/tags").get(tag)
    repositories.set_ref(repository, ref, target)
    yield
    repositories.set_ref(repository, ref, before)


def _live(sandbox: Sandbox) -> str:
    return sandbox.site.production.branch


def _newest_tag(sandbox: Sandbox, name: str) -> str:
    return max(repositories.refs(repositories.path(sandbox.repositories, name), "refs/tags"))


@fault("hotfix-not-merged-back", turns_red=["git-main-in-stg", "git-hotfix-backmerge", "git-deploy-tag"])
def hotfix_not_merged_back(sandbox: Sandbox) -> Iterator[None]:
    """Yesterday's hotfix of the WebSocket server on production has no tag and is missing on staging and dev."""
    name = sandbox.environment.services["websocket"].repository
    with pushed(sandbox, name, _live(sandbox), {"hotfix.js": "export const fixed = true;\n"}, _LONG_AGO):
        yield


@fault("hotfix-conflicts", turns_red=["git-merge-clean", "git-main-in-stg", "git-deploy-tag"])
def hotfix_conflicts(sandbox: Sandbox) -> Iterator[None]:
    """Production's hotfix of an hour ago changes the same lines as staging."""
    name = sandbox.environment.repositories[-1].name
    with pushed(sandbox, name, _live(sandbox), {"CHANGELOG.md": f"# {name}\n\n- A hotfix.\n"}):
        yield


@fault("hotfix-missing-in-dev", turns_red=["git-hotfix-backmerge", "git-stg-in-dev", "git-deploy-tag"])
def hotfix_missing_in_dev(sandbox: Sandbox) -> Iterator[None]:
    """Yesterday's hotfix was merged back to staging, but not to dev."""
    name, fix = sandbox.environment.repositories[-1].name, {"hotfix.conf": "fixed = true\n"}
    with (
        pushed(sandbox, name, _live(sandbox), fix, _LONG_AGO) as commit,
        pushed(sandbox, name, staged(sandbox), fix, merged=commit),
    ):
        yield


@fault("fixed-on-staging-alone", turns_red=["git-stg-in-dev"])
def fixed_on_staging_alone(sandbox: Sandbox) -> Iterator[None]:
    """A fix of the Redis settings on staging's branch is missing on dev."""
    name = sandbox.environment.repositories[-2].name
    with pushed(sandbox, name, staged(sandbox), {"redis.conf": "maxmemory-policy volatile-lru\n"}):
        yield


@fault("released-already", turns_red=["git-deploy-tag", "git-deployment-log"])
def released_already(sandbox: Sandbox) -> Iterator[None]:
    """Staging's branch was merged into production's in every repository, without any tag."""
    with released(sandbox):
        yield


@fault("release-of-nothing", turns_red=["git-release-diff", "git-deploy-tag", "git-deployment-log"])
def release_of_nothing(sandbox: Sandbox) -> Iterator[None]:
    """After the last release, a change of the database's repository was made on staging, and taken back there."""
    name = "gli_database"
    before = repositories.read(repositories.path(sandbox.repositories, name), staged(sandbox), "README.md")
    with (
        released(sandbox),
        developed(sandbox, name, staged(sandbox), {"README.md": "# changed\n"}),
        developed(sandbox, name, staged(sandbox), {"README.md": before}),
    ):
        yield


@fault("deploy-tag-missing", turns_red=["git-deploy-tag", "git-rollback-target"])
def deploy_tag_missing(sandbox: Sandbox) -> Iterator[None]:
    """The tag of the last deployment is missing in one repository."""
    name = sandbox.environment.repositories[-1].name
    with _tagged(sandbox, name, _newest_tag(sandbox, name), None):
        yield


@fault("deployment-not-logged", turns_red=["git-deployment-log"])
def deployment_not_logged(sandbox: Sandbox) -> Iterator[None]:
    """Every repository has the tag of another deployment that is missing in the deployment log."""
    form = required(sandbox.environment.git).deploy_tag
    tag = (datetime.now(UTC) - timedelta(hours=1)).strftime(form)
    with ExitStack() as stack:
        for repository in sandbox.environment.repositories:
            live = sandbox.site.revision(sandbox.site.production, repository.name)
            stack.enter_context(_tagged(sandbox, repository.name, tag, live))
        yield


@fault("staging-moved-on", turns_red=["git-tested-sha", "wf-run-success"])
def staging_moved_on(sandbox: Sandbox) -> Iterator[None]:
    """The environment's branch of the WebSocket server has a new commit, but no deploy has started."""
    name = sandbox.environment.services["websocket"].repository
    with developed(sandbox, name, sandbox.environment.branch, {"NEWS.md": "One more change.\n"}):
        yield


@fault("release-reverted-by-hand", turns_red=["git-no-merge-reverted", "git-main-in-stg", "git-deploy-tag"])
def release_reverted_by_hand(sandbox: Sandbox) -> Iterator[None]:
    """The last release of the WebSocket server was taken back with `git revert -m 1` on production's branch."""
    name = sandbox.environment.services["websocket"].repository
    path = repositories.path(sandbox.repositories, name)
    heads = repositories.refs(path, "refs/heads")
    log = "CHANGELOG.md"
    before, brought = ({log: repositories.read(path, heads[b], log)} for b in (_live(sandbox), staged(sandbox)))
    at, head = datetime.now(UTC), f"refs/heads/{_live(sandbox)}"
    merge = repositories.push(path, _live(sandbox), "Release", brought, at, heads[staged(sandbox)])
    said = f'Revert "Release"\n\nThis reverts commit {merge}, reversing\nchanges made to {heads[_live(sandbox)]}.'
    repositories.push(path, _live(sandbox), said, before, at)
    yield
    repositories.set_ref(path, head, heads[_live(sandbox)])


@fault("submodule-not-pushed", turns_red=["git-submodules-published"])
def submodule_not_pushed(sandbox: Sandbox) -> Iterator[None]:
    """The root repository names a commit of a submodule that its author has not pushed."""
    with linked(sandbox, "1" * 40):
        yield
