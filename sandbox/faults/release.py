"""Faults of a release as git and GitHub have it: commits, tags, workflows and their runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

from sandbox import repositories, workflows
from sandbox.faults import Sandbox, fault
from sandbox.site import required

_LONG_AGO = timedelta(hours=30)


@contextmanager
def _pushed(
    sandbox: Sandbox,
    name: str,
    branch: str,
    tree: Mapping[str, str],
    ago: timedelta = timedelta(hours=1),
    merged: str | None = None,
) -> Iterator[str]:
    """One more commit on a branch; its hash."""
    repository = repositories.path(sandbox.repositories, name)
    before = repositories.refs(repository, f"refs/heads/{branch}")[branch]
    at = datetime.now(UTC) - ago
    yield repositories.push(repository, branch, "Pushed by a fault", tree, at, merged)
    repositories.set_ref(repository, f"refs/heads/{branch}", before)


@contextmanager
def _developed(sandbox: Sandbox, name: str, branch: str, tree: Mapping[str, str]) -> Iterator[str]:
    """One more commit on a branch and, where that is staging's, on dev as well; its hash."""
    with ExitStack() as stack:
        commit = stack.enter_context(_pushed(sandbox, name, branch, tree))
        if branch == _staged(sandbox):
            stack.enter_context(_pushed(sandbox, name, "dev", tree, merged=commit))
        yield commit


@contextmanager
def _tagged(sandbox: Sandbox, name: str, tag: str, target: str | None) -> Iterator[None]:
    """A tag on another object, or gone."""
    repository, ref = repositories.path(sandbox.repositories, name), f"refs/tags/{tag}"
    before = repositories.refs(repository, "refs/tags").get(tag)
    repositories.set_ref(repository, ref, target)
    yield
    repositories.set_ref(repository, ref, before)


def _live(sandbox: Sandbox) -> str:
    return sandbox.site.production.branch


def _staged(sandbox: Sandbox) -> str:
    return sandbox.site.staging.branch


def _newest_tag(sandbox: Sandbox, name: str) -> str:
    return max(repositories.refs(repositories.path(sandbox.repositories, name), "refs/tags"))


@fault("hotfix-not-merged-back", turns_red=["git-main-in-stg", "git-hotfix-backmerge", "git-deploy-tag"])
def hotfix_not_merged_back(sandbox: Sandbox) -> Iterator[None]:
    """Production got a hotfix of the WebSocket server yesterday, untagged, that staging and dev do not have."""
    name = sandbox.environment.services["websocket"].repository
    with _pushed(sandbox, name, _live(sandbox), {"hotfix.js": "export const fixed = true;\n"}, _LONG_AGO):
        yield


@fault("hotfix-conflicts", turns_red=["git-merge-clean", "git-main-in-stg", "git-deploy-tag"])
def hotfix_conflicts(sandbox: Sandbox) -> Iterator[None]:
    """Production got a hotfix an hour ago, in the lines that staging changed too."""
    name = sandbox.environment.repositories[-1].name
    with _pushed(sandbox, name, _live(sandbox), {"CHANGELOG.md": f"# {name}\n\n- A hotfix.\n"}):
        yield


@fault("hotfix-missing-in-dev", turns_red=["git-hotfix-backmerge", "git-stg-in-dev", "git-deploy-tag"])
def hotfix_missing_in_dev(sandbox: Sandbox) -> Iterator[None]:
    """A hotfix of yesterday was merged back to staging, but not to dev."""
    name, fix = sandbox.environment.repositories[-1].name, {"hotfix.conf": "fixed = true\n"}
    with (
        _pushed(sandbox, name, _live(sandbox), fix, _LONG_AGO) as commit,
        _pushed(sandbox, name, _staged(sandbox), fix, merged=commit),
    ):
        yield


@fault("fixed-on-staging-alone", turns_red=["git-stg-in-dev"])
def fixed_on_staging_alone(sandbox: Sandbox) -> Iterator[None]:
    """Somebody fixed the Redis settings on staging's branch, and dev does not have it."""
    name = sandbox.environment.repositories[-2].name
    with _pushed(sandbox, name, _staged(sandbox), {"redis.conf": "maxmemory-policy volatile-lru\n"}):
        yield


@fault("released-already", turns_red=["git-release-diff", "git-deploy-tag", "git-deployment-log"])
def released_already(sandbox: Sandbox) -> Iterator[None]:
    """Somebody merged staging's branch into the live one in every repository, and tagged none."""
    moved = []
    for repository in sandbox.environment.repositories:
        path = repositories.path(sandbox.repositories, repository.name)
        heads = repositories.refs(path, "refs/heads")
        moved.append((path, heads[_live(sandbox)]))
        repositories.set_ref(path, f"refs/heads/{_live(sandbox)}", heads[_staged(sandbox)])
    yield
    for path, before in moved:
        repositories.set_ref(path, f"refs/heads/{_live(sandbox)}", before)


@fault("deploy-tag-missing", turns_red=["git-deploy-tag", "git-rollback-target"])
def deploy_tag_missing(sandbox: Sandbox) -> Iterator[None]:
    """The last deployment was tagged in all repositories but one."""
    name = sandbox.environment.repositories[-1].name
    with _tagged(sandbox, name, _newest_tag(sandbox, name), None):
        yield


@fault("deployment-not-logged", turns_red=["git-deployment-log"])
def deployment_not_logged(sandbox: Sandbox) -> Iterator[None]:
    """Every repository was tagged for one more deployment, and the log does not have it."""
    form = required(sandbox.environment.git).deploy_tag
    tag = (datetime.now(UTC) - timedelta(hours=1)).strftime(form)
    with ExitStack() as stack:
        for repository in sandbox.environment.repositories:
            live = sandbox.site.revision(sandbox.site.production, repository.name)
            stack.enter_context(_tagged(sandbox, repository.name, tag, live))
        yield


@fault("staging-moved-on", turns_red=["git-tested-sha", "wf-run-success"])
def staging_moved_on(sandbox: Sandbox) -> Iterator[None]:
    """Somebody pushed to the environment's branch of the WebSocket server, and no deploy has started."""
    name = sandbox.environment.services["websocket"].repository
    with _developed(sandbox, name, sandbox.environment.branch, {"NEWS.md": "One more change.\n"}):
        yield


@fault("run-failed", turns_red=["wf-run-success"])
def run_failed(sandbox: Sandbox) -> Iterator[None]:
    """The API's deploy workflow ran again for the same commit, and failed."""
    name = sandbox.environment.services["api"].repository
    commit = sandbox.site.revision(sandbox.environment, name)
    run = sandbox.github.run(name, sandbox.environment.branch, commit, "failure")
    yield
    sandbox.github.forget(name, run)


@fault("run-in-progress", turns_red=["wf-run-success"])
def run_in_progress(sandbox: Sandbox) -> Iterator[None]:
    """The API's deploy workflow is at work again for the same commit."""
    name = sandbox.environment.services["api"].repository
    commit = sandbox.site.revision(sandbox.environment, name)
    run = sandbox.github.run(name, sandbox.environment.branch, commit)
    sandbox.github.change(name, run, status="in_progress", conclusion="")
    yield
    sandbox.github.forget(name, run)


@fault("run-cancelled", turns_red=["wf-run-success"])
def run_cancelled(sandbox: Sandbox) -> Iterator[None]:
    """The deploy of the user frontend was cancelled."""
    name = sandbox.environment.frontends["user"].repository
    commit = sandbox.site.revision(sandbox.environment, name)
    run = next(r for r in sandbox.github.runs(name) if r["head_sha"] == commit)
    sandbox.github.change(name, run, conclusion="cancelled")
    yield
    sandbox.github.change(name, run)


@contextmanager
def _workflow(sandbox: Sandbox, name: str, before: str, after: str) -> Iterator[str]:
    """A changed workflow on the environment's branch; the commit."""
    text = workflows.of(name)[workflows.FILE]
    if before not in text:
        raise LookupError(f"the workflow of {name} has no {before!r}")
    tree = {workflows.FILE: text.replace(before, after)}
    with _developed(sandbox, name, sandbox.environment.branch, tree) as commit:
        yield commit


@fault("workflow-step-missing", turns_red=["wf-contract"])
def workflow_step_missing(sandbox: Sandbox) -> Iterator[None]:
    """The admin frontend's workflow invalidates no cache any more."""
    name = sandbox.environment.frontends["admin"].repository
    with _workflow(sandbox, name, "aws cloudfront create-invalidation", "echo"):
        yield


@fault("workflow-cuts-deploys-off", turns_red=["wf-guards", "wf-run-success"])
def workflow_cuts_deploys_off(sandbox: Sandbox) -> Iterator[None]:
    """A second push of the WebSocket server cancels the deploy of the first, wherever that is."""
    name, group = sandbox.environment.services["websocket"].repository, "deploy-${{ github.ref_name }}"
    guard = f"concurrency:\n  group: {group}\n  cancel-in-progress: true"
    with _workflow(sandbox, name, f"concurrency: {group}", guard):
        yield


@fault("workflow-with-stored-keys", turns_red=["wf-guards", "wf-run-success"])
def workflow_with_stored_keys(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server's workflow brings AWS keys that are kept as secrets of the repository."""
    name = sandbox.environment.services["websocket"].repository
    keys = "    env:\n      AWS_ACCESS_KEY_ID: ${{ secrets.AWS_ACCESS_KEY_ID }}"
    with _workflow(sandbox, name, "    env:", keys):
        yield


@fault("workflow-not-for-main", turns_red=["wf-contract"])
def workflow_not_for_main(sandbox: Sandbox) -> Iterator[None]:
    """A push to main of the admin frontend deploys nothing."""
    name = sandbox.environment.frontends["admin"].repository
    with _workflow(sandbox, name, "branches: [stg, main]", "branches: [stg]"):
        yield


@fault("workflow-deploys-elsewhere", turns_red=["wf-env-mapping"])
def workflow_deploys_elsewhere(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's workflow was green, and uploaded staging's build to production's bucket."""
    name, bucket = sandbox.environment.frontends["user"].repository, sandbox.site.production.frontends["user"].bucket
    with _workflow(sandbox, name, "s3://$BUCKET", f"s3://{bucket}") as commit:
        run = sandbox.github.run(name, sandbox.environment.branch, commit)
        yield
        sandbox.github.forget(name, run)


@fault("workflow-not-protected", turns_red=["wf-env-mapping"])
def workflow_not_protected(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's workflow deploys both branches to the GitHub environment of staging."""
    name = sandbox.environment.frontends["user"].repository
    with _workflow(sandbox, name, workflows.ENVIRONMENT, "staging") as commit:
        run = sandbox.github.run(name, sandbox.environment.branch, commit)
        yield
        sandbox.github.forget(name, run)


@fault("migration-after-update", turns_red=["wf-migration-order", "wf-run-success"])
def migration_after_update(sandbox: Sandbox) -> Iterator[None]:
    """The API's workflow migrates the database after the new tasks took over, as the deployment overview lists it."""
    name = sandbox.environment.services["api"].repository
    text = workflows.of(name)[workflows.FILE]
    migrate = text[text.index("      - name: Migrate") : text.index("      - name: Update")]
    update = text[text.index("      - name: Update") : text.index("      - name: Health")]
    with _workflow(sandbox, name, migrate + update, update + migrate):
        yield


@contextmanager
def _migration(sandbox: Sandbox, name: str, operation: str, after: str = "0002_first_notices") -> Iterator[None]:
    """One more migration of the API's notices on staging's branch."""
    text = (
        "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
        f'    dependencies = [("notices", "{after}")]\n    operations = [{operation}]\n'
    )
    repository = sandbox.environment.services["api"].repository
    with _developed(sandbox, repository, _staged(sandbox), {f"notices/migrations/{name}.py": text}):
        yield


@fault("migration-destructive", turns_red=["db-migration-review", "wf-run-success"])
def migration_destructive(sandbox: Sandbox) -> Iterator[None]:
    """The next release drops a column that the running code reads."""
    operation = 'migrations.RemoveField(model_name="notice", name="title")'
    with _migration(sandbox, "0003_remove_title", operation):
        yield


@fault("migration-without-way-back", turns_red=["db-migration-review", "wf-run-success"])
def migration_without_way_back(sandbox: Sandbox) -> Iterator[None]:
    """The next release runs SQL that can't be undone."""
    with _migration(sandbox, "0003_upper", 'migrations.RunSQL("UPDATE notices_notice SET title = upper(title)")'):
        yield


@fault("migration-forked", turns_red=["db-migration-review", "wf-run-success"])
def migration_forked(sandbox: Sandbox) -> Iterator[None]:
    """Two branches of work were merged, and both end the API's migrations."""
    with _migration(sandbox, "0002_in_the_other_branch", "", after="0001_initial"):
        yield
