"""The deploy workflows: do they do what the deployment overview says, and did they?"""

from gli.common.sentences import listed, saw
from gli.config.environments import Environment, Repository
from gli.git.branches import LIVE, STAGED
from gli.observe.release.github_runs import WorkflowRun
from gli.observe.release.workflow import Workflow

_UPDATES_ECS = ("update-service", "ecs-deploy")


def test_wf_contract(workflow: Workflow, target: Repository) -> None:
    """The deploy workflow is there, starts on a push to stg and to main, and has all steps in their order."""
    assert workflow.error is None, saw(workflow.error, expected=f"{workflow.path} in {target.name}")
    assert {STAGED, LIVE} <= set(workflow.pushes), saw(
        f"only {listed(workflow.pushes)}", expected=f"{target.name} to be deployed on a push to {STAGED} and {LIVE}"
    )
    at = 0
    for words in target.steps:
        step = workflow.first(words, at)
        assert step is not None, saw(
            "none in that place", expected=f"a step with {' or '.join(words)} in {target.name}"
        )
        lacking = {STAGED, LIVE} - set(workflow.steps[step].branches)
        assert not lacking, saw(
            f"no such step for {listed(sorted(lacking))}",
            expected=f"the step with {' or '.join(words)} in {target.name} on a push to {STAGED} and {LIVE}",
        )
        at = step
    assert not target.migrate or workflow.first(target.migrate) is not None, saw(
        "none", expected=f"a step with {' or '.join(target.migrate)} in {target.name}"
    )


def test_wf_can_fail(workflow: Workflow, target: Repository) -> None:
    """A step of the deploy that fails makes the run fail, so that a green run means a deploy."""
    for words in (*target.steps, *filter(None, (target.migrate, target.serve))):
        for step in workflow.steps:
            excuse = step.excuse(words) if step.has([w.lower() for w in words]) else None
            assert excuse is None, saw(
                excuse, expected=f"a failure of {' or '.join(words)} to fail the workflow of {target.name}"
            )


def test_wf_builds_what_was_pushed(workflow: Workflow, target: Repository) -> None:
    """The workflow checks out the commit that was pushed, not a fixed branch, tag or commit."""
    for goes in workflow.targets:
        assert not goes.builds, saw(
            f"ref {listed(goes.builds)}", expected=f"a push to {goes.branch} of {target.name} to build its own commit"
        )


def test_wf_guards(workflow: Workflow, target: Repository) -> None:
    """Deploys of a branch follow each other whole, take a role instead of stored keys, and wait for the new tasks."""
    wanted = {
        "a concurrency group that cuts no deploy off": workflow.serial,
        "id-token: write": workflow.assumes_role,
        "a wait until the service is stable": workflow.waits or workflow.first(_UPDATES_ECS) is None,
    }
    missing = [what for what, there in wanted.items() if not there]
    assert not missing, saw(f"it without {listed(missing)}", expected=f"{workflow.path} of {target.name} to be guarded")
    assert not workflow.static_keys, saw(
        listed(workflow.static_keys), expected=f"no stored AWS keys in {workflow.path} of {target.name}"
    )


def test_wf_migration_order(workflow: Workflow, target: Repository) -> None:
    """The database is migrated before new code is served."""
    migrate, serve = workflow.first(target.migrate), workflow.first(target.serve)
    assert migrate is not None and serve is not None and migrate < serve, saw(
        "the update of the service first" if migrate is not None else "no migration",
        expected=f"{target.name} to migrate before it updates the service",
    )


def test_wf_env_mapping(workflow: Workflow, environment: Environment, target: Repository) -> None:
    """A push of each branch deploys to its own GitHub environment, and names nothing of the other one."""
    known = {e.branch: e.github for e in (environment, environment.other) if e is not None}
    for goes in workflow.targets:
        own = known.get(goes.branch)
        assert own is None or goes.environments == (own.environment,), saw(
            listed(goes.environments), expected=f"{goes.branch} of {target.name} in the environment {own.environment}"
        )
        assert not goes.foreign, saw(
            listed(goes.foreign),
            expected=f"nothing of another environment in what {goes.branch} of {target.name} deploys",
        )


def test_wf_run_success(workflow_run: WorkflowRun) -> None:
    """The deploy workflow ran for the branch's head, to its end and with success."""
    seen = f"{workflow_run.status}: {workflow_run.conclusion or 'no conclusion'} {workflow_run.url}".strip()
    done = workflow_run.status == "completed" and workflow_run.conclusion == "success"
    assert done, saw(
        seen if workflow_run.status else "no run",
        expected=f"a successful deploy of {workflow_run.repository} at {workflow_run.commit[:12]}",
    )
