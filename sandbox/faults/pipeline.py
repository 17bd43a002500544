"""Faults of the workflows on GitHub, and of their runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox import workflows
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import developed


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
    """The API's deploy workflow is running again for the same commit."""
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
    """Push a changed workflow to the environment's branch; yields the commit.

    If the change is one of the workflow that it calls, a changed copy of that one lies beside it and is called instead.
    """
    tree, path = dict(workflows.of(name)), workflows.called(name)
    if before not in tree[workflows.FILE]:
        root = next(r.name for r in sandbox.environment.repositories if r.name.endswith("_root"))
        tree[path] = workflows.of(root)[path]
        tree[workflows.FILE] = re.sub(rf"uses: \S+{re.escape(path)}@main", f"uses: ./{path}", tree[workflows.FILE])
    changed = path if path in tree else workflows.FILE
    if before not in tree[changed]:
        raise LookupError(f"the workflow of {name} has no {before!r}")
    tree[changed] = tree[changed].replace(before, after)
    with developed(sandbox, name, sandbox.environment.branch, tree) as commit:
        yield commit


@fault("workflow-step-missing", turns_red=["wf-contract"])
def workflow_step_missing(sandbox: Sandbox) -> Iterator[None]:
    """The admin frontend's workflow no longer invalidates the cache."""
    name = sandbox.environment.frontends["admin"].repository
    with _workflow(sandbox, name, "aws cloudfront create-invalidation", "echo"):
        yield


@fault("workflow-cuts-deploys-off", turns_red=["wf-guards", "wf-run-success"])
def workflow_cuts_deploys_off(sandbox: Sandbox) -> Iterator[None]:
    """A second push of the WebSocket server cancels the first push's deploy, at any step."""
    name = sandbox.environment.services["websocket"].repository
    with _workflow(sandbox, name, "cancel-in-progress: false", "cancel-in-progress: true"):
        yield


@fault("workflow-with-stored-keys", turns_red=["wf-guards", "wf-run-success"])
def workflow_with_stored_keys(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server's workflow uses AWS keys that are stored as secrets of the repository."""
    name = sandbox.environment.services["websocket"].repository
    role = "          role-to-assume: ${{ vars.DEPLOY_ROLE_ARN }}"
    with _workflow(sandbox, name, role, "          aws-access-key-id: ${{ secrets.AWS_ACCESS_KEY_ID }}"):
        yield


@fault("workflow-not-for-main", turns_red=["wf-contract"])
def workflow_not_for_main(sandbox: Sandbox) -> Iterator[None]:
    """A push to main of the admin frontend deploys nothing."""
    name = sandbox.environment.frontends["admin"].repository
    with _workflow(sandbox, name, "branches: [stg, main]", "branches: [stg]"):
        yield


@fault("workflow-deploys-elsewhere", turns_red=["wf-env-mapping"])
def workflow_deploys_elsewhere(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's workflow succeeded, but uploaded staging's build to production's bucket."""
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
    """The API's workflow migrates the database after the service's update, in the order of the deployment overview."""
    name = sandbox.environment.services["api"].repository
    text = workflows.of("gli_root")[workflows.CALLED[0]]
    migrate = text[text.index("      - name: Migrate") : text.index("      - name: Update")]
    update = text[text.index("      - name: Update") : text.index("      - name: Let")]
    with _workflow(sandbox, name, migrate + update, update + migrate):
        yield


@fault("workflow-step-for-one-branch", turns_red=["wf-contract", "wf-run-success"])
def workflow_step_for_one_branch(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server is updated on a push to stg only: a push to main succeeds and deploys nothing."""
    name, step = sandbox.environment.services["websocket"].repository, "      - name: Update the ECS service"
    with _workflow(sandbox, name, step, f"{step}\n        if: github.ref == 'refs/heads/stg'"):
        yield


@fault("workflow-step-may-fail", turns_red=["wf-can-fail", "wf-run-success"])
def workflow_step_may_fail(sandbox: Sandbox) -> Iterator[None]:
    """The API's workflow goes on after a failed migration, and succeeds."""
    name, step = sandbox.environment.services["api"].repository, "      - name: Migrate the database"
    with _workflow(sandbox, name, step, f"{step}\n        continue-on-error: true"):
        yield


@fault("workflow-swallows-a-failure", turns_red=["wf-can-fail", "wf-run-success"])
def workflow_swallows_a_failure(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's workflow ignores a failed upload: `|| true`."""
    name = sandbox.environment.frontends["user"].repository
    upload = 'aws s3 cp dist/index.html "s3://$BUCKET/index.html" --cache-control no-cache'
    with _workflow(sandbox, name, upload, f"{upload} || true"):
        yield


@contextmanager
def _checking_out(sandbox: Sandbox, ref: str) -> Iterator[None]:
    """The API's workflow checks out this ref."""
    name = sandbox.environment.services["api"].repository
    checkout = "# v4.2.2\n        with:\n          persist-credentials: false\n      - name: Set up Python"
    with _workflow(sandbox, name, checkout, checkout.replace("persist", f"ref: {ref}\n          persist")):
        yield


@fault("workflow-builds-a-fixed-ref", turns_red=["wf-builds-what-was-pushed", "wf-run-success"])
def workflow_builds_a_fixed_ref(sandbox: Sandbox) -> Iterator[None]:
    """The API's workflow always checks out main, not the pushed branch."""
    with _checking_out(sandbox, "main"):
        yield


@fault("workflow-script-checks-out-main", turns_red=["wf-builds-what-was-pushed", "wf-run-success"])
def workflow_script_checks_out_main(sandbox: Sandbox) -> Iterator[None]:
    """A step of the API's workflow checks out main with git, before the image is built."""
    name, build = sandbox.environment.services["api"].repository, 'run: docker build --tag "$IMAGE:$GITHUB_SHA" .'
    with _workflow(sandbox, name, build, build.replace("docker", "git checkout main && docker")):
        yield


@fault("workflow-ref-in-a-variable", turns_red=["wf-builds-what-was-pushed", "wf-run-success"])
def workflow_ref_in_a_variable(sandbox: Sandbox) -> Iterator[None]:
    """The API's workflow checks out what a variable of the repository names, whatever was pushed."""
    with _checking_out(sandbox, "${{ vars.REF }}"):
        yield


@fault("workflow-on-a-retired-runner", turns_red=["wf-can-run", "wf-run-success"])
def workflow_on_a_retired_runner(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server's tests ask for a runner image that GitHub has retired: the deploy waits for ever."""
    name = sandbox.environment.services["websocket"].repository
    with _workflow(sandbox, name, "runs-on: ubuntu-24.04", "runs-on: ubuntu-20.04"):
        yield


@fault("workflow-may-not-ask-for-a-role", turns_red=["wf-can-run", "wf-guards", "wf-run-success"])
def workflow_may_not_ask_for_a_role(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server's workflow lost `id-token: write` in a review of permissions: no job gets a role in AWS."""
    name = sandbox.environment.services["websocket"].repository
    right = next(line for line in workflows.of(name)[workflows.FILE].splitlines() if "id-token: write" in line)
    with _workflow(sandbox, name, f"{right}\n", ""):
        yield


@fault("workflow-deploys-after-failed-tests", turns_red=["wf-can-fail", "wf-run-success"])
def workflow_deploys_after_failed_tests(sandbox: Sandbox) -> Iterator[None]:
    """The API's job that deploys runs even if the job that tests failed: `if: always()`, left from a bad night."""
    name, needs = sandbox.environment.services["api"].repository, "    needs: test\n"
    with _workflow(sandbox, name, needs, f"{needs}    if: always()\n"):
        yield


@fault("workflow-tests-nothing", turns_red=["wf-can-fail", "wf-run-success"])
def workflow_tests_nothing(sandbox: Sandbox) -> Iterator[None]:
    """The step of the API's workflow that runs the tests prints a sentence instead."""
    name, command = sandbox.environment.services["api"].repository, 'run: bash -euo pipefail -c "$TEST"'
    with _workflow(sandbox, name, command, 'run: echo "the tests are off until Monday"'):
        yield


@fault("workflow-for-documents-alone", turns_red=["wf-contract", "wf-run-success"])
def workflow_for_documents_alone(sandbox: Sandbox) -> Iterator[None]:
    """The API's workflow starts for changes of its documents alone, after a test of the filter: no code is deployed."""
    name, branches = sandbox.environment.services["api"].repository, "    branches: [stg, main]\n"
    with _workflow(sandbox, name, branches, f"{branches}    paths: ['docs/**']\n"):
        yield
