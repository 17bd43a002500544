"""Workflows are read as GitHub reads them: what starts them, their steps, where each branch goes."""

from __future__ import annotations

import pytest

from gli.observe.release.workflow import Workflow, read
from sandbox import workflows

FOREIGN = {"stg": {"prod-bucket", "example.com"}, "main": {"stg-bucket", "stg.example.com"}}


def workflow(on: str = "on: push", job: str = "", steps: str = "      - run: make\n") -> Workflow:
    return read("deploy.yml", f"{on}\njobs:\n  deploy:\n{job}    steps:\n{steps}", FOREIGN)


@pytest.mark.parametrize(
    ("on", "pushes"),
    [
        ("on: push", ("stg", "main")),
        ("on: [pull_request, push]", ("stg", "main")),
        ("on:\n  push:", ("stg", "main")),
        ("on:\n  push:\n    branches: [main]", ("main",)),
        ("on:\n  push:\n    branches: ['*g']", ("stg",)),
        ("on:\n  push:\n    branches-ignore: [main]", ("stg",)),
        ("on:\n  push:\n    tags: ['v*']", ()),
        ("on: workflow_dispatch", ()),
        ('"on":\n  push:\n    branches: [stg, main]', ("stg", "main")),
    ],
)
def test_what_a_push_starts(on: str, pushes: tuple[str, ...]) -> None:
    assert workflow(on).pushes == pushes


@pytest.mark.parametrize(
    ("environment", "stg", "main"),
    [
        ("production", "production", "production"),
        ("{name: staging, url: 'https://x'}", "staging", "staging"),
        ("${{ github.ref_name == 'main' && 'production' || 'staging' }}", "staging", "production"),
        ("${{ github.ref == 'refs/heads/main' && 'production' || 'staging' }}", "staging", "production"),
        ("${{ (github.ref_name != 'main') && 'staging' || 'production' }}", "staging", "production"),
        ("${{ !(github.ref_name == 'stg') && 'production' || 'staging' }}", "staging", "production"),
        ("${{ inputs.where }}", "${{ inputs.where }}", "${{ inputs.where }}"),
    ],
)
def test_the_environment_of_each_branch(environment: str, stg: str, main: str) -> None:
    targets = workflow(job=f"    environment: {environment}\n").targets
    assert {t.branch: t.environments for t in targets} == {"stg": (stg,), "main": (main,)}


def test_a_job_or_a_step_for_one_branch_counts_for_that_branch() -> None:
    steps = "      - if: github.ref_name == 'main'\n        run: aws s3 sync dist s3://prod-bucket\n"
    assert [t.foreign for t in workflow(steps=steps).targets] == [(), ()]
    job = "    if: ${{ github.ref_name == 'main' }}\n    environment: production\n"
    assert [t.environments for t in workflow(job=job).targets] == [(), ("production",)]


def test_a_foreign_name_is_found_whole_and_once_it_is_worked_out() -> None:
    steps = "      - run: sync s3://${{ github.ref_name == 'main' && 'stg-bucket' || 'prod-bucket' }}/x https://a.example.com\n"
    assert [t.foreign for t in workflow(steps=steps).targets] == [("prod-bucket",), ("stg-bucket",)]


@pytest.mark.parametrize("text", [None, "jobs: [", "on: push", "just words"])
def test_what_is_no_workflow_says_so(text: str | None) -> None:
    assert read("deploy.yml", text, FOREIGN).error


def test_steps_are_found_in_order_also_in_a_called_workflow() -> None:
    api = read("x", workflows.of("gli_api-server")[workflows.FILE], FOREIGN)
    assert api.first(["DOCKER BUILD"]) == 3
    assert api.first(["checkout"], 1) is None
    called = read("x", "on: push\njobs:\n  a:\n    uses: org/x/.github/workflows/deploy.yml@v1\n", FOREIGN)
    assert called.first(["deploy.yml"]) == 0


@pytest.mark.parametrize(
    ("guard", "serial"),
    [
        ("concurrency: deploy", True),
        ("concurrency:\n  group: deploy\n  cancel-in-progress: false", True),
        ("concurrency:\n  group: deploy\n  cancel-in-progress: true", False),
        ("concurrency:\n  cancel-in-progress: false", False),
        ("permissions: write-all", False),
    ],
)
def test_deploys_follow_each_other_only_where_none_is_cut_off(guard: str, serial: bool) -> None:
    assert workflow(f"on: push\n{guard}").serial == serial
    assert workflow(job=f"    {guard}\n".replace("\n  ", "\n      ")).serial == serial


def test_a_token_may_be_asked_for_by_the_workflow_or_by_its_job() -> None:
    assert workflow("on: push\npermissions:\n  id-token: write").assumes_role
    assert workflow(job="    permissions: {id-token: write}\n").assumes_role
    assert not workflow("on: push\npermissions:\n  id-token: write", job="    permissions: read-all\n").assumes_role
    assert not workflow().assumes_role


def test_aws_keys_are_stored_unless_an_earlier_step_asked_for_them() -> None:
    stored = "      - uses: aws-actions/configure\n        with: {aws-access-key-id: '${{ secrets.ID }}'}\n"
    assert workflow(steps=stored).static_keys == ("aws-access-key-id",)
    asked = "      - run: deploy\n        env: {AWS_SECRET_ACCESS_KEY: '${{ steps.role.outputs.secret }}'}\n"
    assert workflow(steps=asked).static_keys == ()


def test_waiting_for_stable_tasks_is_a_command_or_an_actions_input() -> None:
    assert workflow(steps="      - run: aws ecs wait services-stable --services api\n").waits
    action = "      - uses: aws-actions/ecs-deploy@v2\n        with: {wait-for-service-stability: %s}\n"
    assert workflow(steps=action % "true").waits
    assert not workflow(steps=action % "false").waits
