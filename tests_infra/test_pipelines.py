"""The deploy workflows: do their files do what the deployment overview says, and did they run with success?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gli.common.sentences import either, listed, phrase, saw

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.parts import Repository
    from gli.observe.release.github_runs import WorkflowRun
    from gli.observe.release.workflow import Workflow

_UPDATES_ECS = ("update-service", "ecs-deploy")


def test_wf_contract(workflow: Workflow, environment: Environment, target: Repository) -> None:
    """The deploy workflow is there, starts on a push to the staged and the live branch, and has all steps in order."""
    assert workflow.error is None, saw(workflow.error, expected=phrase("{} in {}", workflow.path, target.name))
    deployed = environment.git.deployed if environment.git else ()
    assert {*deployed} <= set(workflow.pushes), saw(
        phrase("only {}", listed(workflow.pushes)),
        expected=phrase("{} to be deployed on a push to {}", target.name, listed(deployed)),
    )
    assert not workflow.unheard, saw(
        phrase("filters of paths that take no file of it"),
        expected=phrase("a change of the code of {} to start {}", target.name, workflow.path),
    )
    at = 0
    for words in target.steps:
        step = workflow.first(words, at)
        assert step is not None, saw(
            phrase("none in that place"), expected=phrase("a step with {} in {}", either(words), target.name)
        )
        lacking = {*deployed} - set(workflow.steps[step].branches)
        assert not lacking, saw(
            phrase("no such step for {}", listed(sorted(lacking))),
            expected=phrase("the step with {} in {} on a push to {}", either(words), target.name, listed(deployed)),
        )
        at = step
    assert not target.migrate or workflow.first(target.migrate) is not None, saw(
        phrase("none"), expected=phrase("a step with {} in {}", either(target.migrate), target.name)
    )


def test_wf_can_fail(workflow: Workflow, target: Repository) -> None:
    """A step of the deploy that fails makes the run fail and keeps what comes after it from running, so that a green
    run means a deploy. No step only prints.
    """
    for words in (*target.steps, *filter(None, (target.migrate, target.serve))):
        for step in workflow.steps:
            excuse = step.excuse(words) if step.has(words) else None
            assert excuse is None, saw(
                excuse, expected=phrase("a failure of {} to fail the workflow of {}", either(words), target.name)
            )

    for words in filter(None, (*target.steps[1:], target.migrate, target.serve)):
        named = [step for step in workflow.steps if step.has(words)]
        assert not named or not all(step.idle for step in named), saw(
            phrase("a step that only prints"), expected=phrase("a command for {} in {}", either(words), target.name)
        )
    for words in filter(None, (*target.steps[1:-1], target.migrate, target.serve)):
        named = [step for step in workflow.steps if step.has(words)]
        assert not named or not all(step.heedless for step in named), saw(
            phrase("an `if` that holds after a failure"),
            expected=phrase("{} of {} to run after success alone", either(words), target.name),
        )


def test_wf_builds_what_was_pushed(workflow: Workflow, target: Repository) -> None:
    """The workflow checks out the commit that was pushed, not a fixed branch, tag or commit."""
    for goes in workflow.targets:
        assert not goes.builds, saw(
            phrase("ref {}", listed(goes.builds)),
            expected=phrase("a push to {} of {} to build its own commit", goes.branch, target.name),
        )


def test_wf_can_run(workflow: Workflow, environment: Environment, target: Repository) -> None:
    """GitHub still runs what the deploy asks for: no retired runner image, no retired version of an action. A job that
    takes a role in AWS may request the token for it.

    A GitHub server of one's own (its API ends with /api/v3) keeps what it has, and is not judged.
    """
    assert environment.github is not None
    gone = sorted({name for goes in workflow.targets for name in goes.retired})
    assert not gone or environment.github.api_url.endswith("/api/v3"), saw(
        listed(gone), expected=phrase("{} of {} to use what GitHub still runs", workflow.path, target.name)
    )
    refused = sorted({name for goes in workflow.targets for name in goes.refused})
    assert not refused, saw(
        phrase("{} without id-token: write", listed(refused)),
        expected=phrase("each job of {} of {} to get its role", workflow.path, target.name),
    )


def test_wf_guards(workflow: Workflow, target: Repository) -> None:
    """Deploys of a branch run one after another, use a role instead of stored keys, and wait for the new tasks."""
    wanted = {
        phrase("a concurrency group that cuts no deploy off"): workflow.serial,
        "id-token: write": workflow.assumes_role,
        phrase("a wait until the service is stable"): workflow.waits or workflow.first(_UPDATES_ECS) is None,
    }
    missing = [what for what, there in wanted.items() if not there]
    assert not missing, saw(
        phrase("it without {}", listed(missing)), expected=phrase("{} of {} to be guarded", workflow.path, target.name)
    )
    assert not workflow.static_keys, saw(
        listed(workflow.static_keys), expected=phrase("no stored AWS keys in {} of {}", workflow.path, target.name)
    )


def test_wf_migration_order(workflow: Workflow, target: Repository) -> None:
    """The database is migrated before new code is served."""
    migrate, serve = workflow.first(target.migrate), workflow.first(target.serve)
    assert migrate is not None and serve is not None and migrate < serve, saw(
        phrase("the update of the service first") if migrate is not None else phrase("no migration"),
        expected=phrase("{} to migrate before it updates the service", target.name),
    )


def test_wf_env_mapping(workflow: Workflow, environment: Environment, target: Repository) -> None:
    """A push of each branch deploys to its own GitHub environment, and names nothing of the other one."""
    known = {e.branch: e.github for e in (environment, environment.other) if e is not None}
    for goes in workflow.targets:
        own = known.get(goes.branch)
        assert own is None or goes.environments == (own.environment,), saw(
            listed(goes.environments),
            expected=phrase("{} of {} in the environment {}", goes.branch, target.name, own.environment),
        )
        assert not goes.foreign, saw(
            listed(goes.foreign),
            expected=phrase("nothing of another environment in what {} of {} deploys", goes.branch, target.name),
        )


def test_wf_run_success(workflow_run: WorkflowRun) -> None:
    """The deploy workflow ran for the branch's head, to its end and with success."""
    seen = phrase(
        "{}: {} {}", workflow_run.status, workflow_run.conclusion or phrase("no conclusion"), workflow_run.url
    )
    done = workflow_run.status == "completed" and workflow_run.conclusion == "success"
    assert done, saw(
        seen if workflow_run.status else phrase("no run"),
        expected=phrase("a successful deploy of {} at {}", workflow_run.repository, workflow_run.commit[:12]),
    )
