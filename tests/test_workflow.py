"""Workflows are read as GitHub reads them: their triggers, their steps, and the environment of each branch."""

from __future__ import annotations

import pytest

from gli.observe.release.workflow import Workflow, read
from gli.observe.release.workflow_calls import Call

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
def test_which_workflows_a_push_starts(on: str, pushes: tuple[str, ...]) -> None:
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


def test_a_name_of_the_other_environment_is_found_after_evaluation() -> None:
    steps = "      - run: sync s3://${{ github.ref_name == 'main' && 'stg-bucket' || 'prod-bucket' }}/x https://a.example.com\n"
    assert [t.foreign for t in workflow(steps=steps).targets] == [("prod-bucket",), ("stg-bucket",)]


@pytest.mark.parametrize("text", [None, "jobs: [", "on: push", "just words"])
def test_an_invalid_workflow_is_reported(text: str | None) -> None:
    assert read("deploy.yml", text, FOREIGN).error


CALLER = """\
on: push
permissions: {contents: read}
concurrency: deploy
jobs:
  first: {steps: [{run: make}]}
  deploy:
    needs: first
    permissions: {id-token: write}
    uses: org/shared/.github/workflows/deploy.yml@v1
    with: {migrate: manage.py migrate, where: "${{ github.ref_name == 'main' && 'prod-bucket' || 'x' }}"}
"""
SHARED = """\
on:
  workflow_call:
    inputs:
      migrate: {type: string}
      rolls: {type: boolean}
      where: {type: string}
      region: {type: string, default: stg.example.com}
jobs:
  upload:
    environment: ${{ github.ref_name == 'main' && 'production' || 'staging' }}
    steps:
      - {run: aws s3 sync, env: {TO: "${{ inputs.where }}", FROM: "${{ inputs.region }}"}}
      - {run: run-task, if: inputs.migrate != '', env: {WHAT: "${{ inputs.migrate }}"}}
      - {run: roll, if: inputs.rolls}
  inner: {needs: upload, uses: ./.github/workflows/end.yml}
"""
END = "on: workflow_call\njobs:\n  end: {steps: [{run: the end}]}\n"
AT = Call(".github/workflows/deploy.yml", "org", "shared", "v1")


def test_a_called_workflow_is_read_in_the_place_of_the_job_that_calls_it() -> None:
    found = read("x", CALLER, FOREIGN, {AT: SHARED, AT._replace(path=".github/workflows/end.yml"): END})
    assert [s.text.split()[0] for s in found.steps] == ["make", "aws", "run-task", "roll", "the"]
    assert [s.branches for s in found.steps[2:4]] == [("stg", "main"), ()]
    assert found.first(["manage.py migrate"]) == 2
    assert {t.branch: (t.environments, t.foreign) for t in found.targets} == {
        "stg": (("staging",), ()),
        "main": (("production",), ("stg.example.com",)),
    }
    assert found.serial and found.assumes_role


def test_a_called_workflow_has_no_more_permissions_than_its_caller() -> None:
    asks = SHARED.replace("jobs:", "permissions: {id-token: write}\njobs:")
    assert read("x", CALLER, FOREIGN, {AT: asks}).assumes_role
    assert not read("x", CALLER.replace("id-token: write", "contents: read"), FOREIGN, {AT: asks}).assumes_role
    assert not read("x", CALLER, FOREIGN, {AT: SHARED.replace("jobs:", "permissions: {}\njobs:")}).assumes_role


def test_a_workflow_that_calls_itself_is_reported() -> None:
    own = "on: push\njobs:\n  again: {uses: ./x.yml}\n"
    assert "levels" in str(read("x.yml", own, FOREIGN, {Call("x.yml"): own}).error)


def test_a_workflow_that_was_not_read_is_one_step() -> None:
    assert read("x", CALLER, FOREIGN).first(["deploy.yml"]) == 1


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
def test_deploys_queue_only_without_cancel_in_progress(guard: str, serial: bool) -> None:
    assert workflow(f"on: push\n{guard}").serial == serial
    assert workflow(job=f"    {guard}\n".replace("\n  ", "\n      ")).serial == serial


def test_a_workflow_or_a_job_may_request_the_token() -> None:
    assert workflow("on: push\npermissions:\n  id-token: write").assumes_role
    assert workflow(job="    permissions: {id-token: write}\n").assumes_role
    assert not workflow("on: push\npermissions:\n  id-token: write", job="    permissions: read-all\n").assumes_role
    assert not workflow().assumes_role


def test_aws_keys_count_as_stored_unless_an_earlier_step_requested_them() -> None:
    stored = "      - uses: aws-actions/configure\n        with: {aws-access-key-id: '${{ secrets.ID }}'}\n"
    assert workflow(steps=stored).static_keys == ("aws-access-key-id",)
    asked = "      - run: deploy\n        env: {AWS_SECRET_ACCESS_KEY: '${{ steps.role.outputs.secret }}'}\n"
    assert workflow(steps=asked).static_keys == ()


def test_waiting_for_stable_tasks_is_a_command_or_an_actions_input() -> None:
    assert workflow(steps="      - run: aws ecs wait services-stable --services api\n").waits
    action = "      - uses: aws-actions/ecs-deploy@v2\n        with: {wait-for-service-stability: %s}\n"
    assert workflow(steps=action % "true").waits
    assert not workflow(steps=action % "false").waits


def step_of(run: str, **step: object) -> str:
    lines = [f"        {key}: {value}\n" for key, value in step.items()]
    return "      - run: |\n" + "".join(f"          {line}\n" for line in run.splitlines()) + "".join(lines)


@pytest.mark.parametrize(
    ("run", "excuse"),
    [
        ("aws ecs update-service", None),
        ("aws ecs update-service || true", "|| true"),
        ("aws ecs update-service || : # later", "|| : # later"),
        ("aws ecs update-service ||\\\n  echo failed", "|| echo failed"),
        ("aws ecs update-service || exit 0", "|| exit 0"),
        ("aws ecs update-service || { echo failed; exit 1; }", None),
        ("aws ecs update-service || echo failed && exit 1", None),
        ("aws ecs update-service | tee log", "a pipe without pipefail"),
        ("set -o pipefail\naws ecs update-service | tee log", None),
        ("set -euo pipefail\naws ecs update-service | tee log", None),
        ("set +e\naws ecs update-service\necho done", "set +e"),
        ("set +e\ntrue\nset -e\naws ecs update-service", None),
        ('echo "$PASSWORD" | docker login --password-stdin\naws ecs update-service', None),
        ("curl -X POST $SLACK || true\naws ecs update-service", None),
        ("aws ecs update-service || { echo failed; }", "|| { echo failed; }"),
        ("aws ecs update-service &", "a command in the background"),
        ("aws ecs update-service && echo done", None),
        ("if ! aws ecs update-service; then echo failed; fi", "a command whose result is not asked"),
        ("if ! aws ecs update-service; then echo failed; exit 1; fi", None),
        ("export OUT=$(aws ecs update-service)", "a command whose result is not asked"),
        ("OUT=$(aws ecs update-service)", None),
    ],
)
def test_a_command_with_an_ignored_failure_is_reported(run: str, excuse: str | None) -> None:
    (step,) = workflow(steps=step_of(run)).steps
    assert step.excuse(["ecs update-service"]) == excuse


def test_shell_bash_sets_pipefail() -> None:
    piped = step_of("aws ecs update-service | tee log", shell="bash")
    assert workflow(steps=piped).steps[0].excuse(["update-service"]) is None
    by_default = workflow("on: push\ndefaults:\n  run:\n    shell: bash", steps=piped.replace("shell", "name"))
    assert by_default.steps[0].excuse(["update-service"]) is None


@pytest.mark.parametrize(
    ("value", "excused"), [("true", True), ("false", False), ("${{ github.ref_name == 'stg' }}", True)]
)
def test_continue_on_error_excuses_a_step_and_all_steps_of_a_job(value: str, excused: bool) -> None:
    steps = step_of("make", **{"continue-on-error": value})
    assert (workflow(steps=steps).steps[0].excuse(["make"]) is not None) == excused
    job = f"    continue-on-error: {value}\n"
    assert (workflow(job=job, steps=step_of("make")).steps[0].excuse(["make"]) is not None) == excused


@pytest.mark.parametrize(
    ("condition", "branches"),
    [
        ("github.ref == 'refs/heads/stg'", ("stg",)),
        ("success() && github.ref_name == 'main'", ("main",)),
        ("always()", ("stg", "main")),
        ("failure()", ()),
        ("false", ()),
        ("github.event_name == 'workflow_dispatch'", ()),
        ("startsWith(github.ref, 'refs/heads/')", ("stg", "main")),
        ("contains(github.ref_name, 'old')", ()),
        ("vars.DEPLOY == 'yes'", ("stg", "main")),
    ],
)
def test_which_branches_run_a_step(condition: str, branches: tuple[str, ...]) -> None:
    assert workflow(steps=f"      - run: make\n        if: {condition}\n").steps[0].branches == branches


@pytest.mark.parametrize(
    ("given", "builds"),
    [
        ("{fetch-depth: 0}", ()),
        ("{ref: '${{ github.sha }}'}", ()),
        ("{ref: '${{ inputs.ref || github.ref }}'}", ()),
        ("{ref: '${{ github.ref_name }}'}", ()),
        ("{ref: main}", ("main",)),
        ("{ref: v1.2.0}", ("v1.2.0",)),
        ("{ref: main, repository: org/tools}", ()),
        ("{ref: main, repository: '${{ github.repository }}'}", ("main",)),
        ("{ref: '${{ env.FIXED }}'}", ("main",)),
        ("{ref: '${{ env.PUSHED }}'}", ()),
        ("{ref: '${{ env.SET_BY_A_STEP }}'}", ()),
        ("{ref: '${{ vars.REF }}'}", ("${{ vars.REF }}",)),
        ("{ref: '${{ vars.REF || github.sha }}'}", ()),
        ("{ref: '${{ steps.find.outputs.commit }}'}", ()),
        ("{ref: main, path: tools}", ()),
        ("{ref: '${{ github.event.repository.default_branch }}'}", ("${{ github.event.repository.default_branch }}",)),
    ],
)
def test_a_fixed_ref_replaces_the_pushed_commit(given: str, builds: tuple[str, ...]) -> None:
    checkout = f"      - uses: actions/checkout@v4\n        with: {given}\n"
    job = "    env: {FIXED: main, PUSHED: '${{ github.sha }}'}\n"
    assert {t.branch: t.builds for t in workflow(job=job, steps=checkout).targets}["stg"] == builds


@pytest.mark.parametrize(
    ("script", "builds"),
    [
        ("git checkout main && docker build .", ("main",)),
        ("git switch --detach origin/main\ndocker build .", ("origin/main",)),
        ("git fetch origin main\ngit reset --hard FETCH_HEAD\nmake", ("main",)),
        ("git pull --ff-only origin main; make", ("main",)),
        ("git merge --no-edit origin/main; make", ("origin/main",)),
        ('git checkout "$FIXED"\nmake', ("main",)),
        ('git checkout "$STORED"\nmake', ("${{ vars.REF }}",)),
        ('git checkout "$GITHUB_SHA"\nmake', ()),
        ("git checkout ${{ github.sha }}\nmake", ()),
        ("git checkout ${{ vars.REF }}\nmake", ("${{vars.REF}}",)),
        ("git checkout stg; make", ()),
        ("git checkout -b build-1; make", ()),
        ("git checkout package-lock.json; make", ()),
        ("git checkout main -- docs; make", ()),
        ("cd ../tools && git checkout main && make", ()),
        ("git -C ../tools checkout main; make", ()),
        ("make\ngit checkout main\ngit merge stg\ngit push", ()),
    ],
)
def test_a_fixed_ref_that_a_script_checks_out_replaces_the_pushed_commit(script: str, builds: tuple[str, ...]) -> None:
    job = "    env: {FIXED: main, STORED: '${{ vars.REF }}'}\n"
    step = "      - run: |\n" + "".join(f"          {line}\n" for line in script.splitlines())
    assert {t.branch: t.builds for t in workflow(job=job, steps=step).targets}["stg"] == builds


def test_a_checkout_by_git_counts_if_a_later_step_builds() -> None:
    steps = "      - run: git checkout main\n"
    assert workflow(steps=steps).targets[0].builds == ()
    assert workflow(steps=steps + "      - uses: docker/build-push-action@v6\n").targets[0].builds == ("main",)


def test_jobs_are_read_in_the_order_of_their_needs() -> None:
    text = "on: push\njobs:\n  deploy: {needs: [build], steps: [{run: deploy}]}\n"
    text += "  build: {needs: test, steps: [{run: build}]}\n  test: {steps: [{run: test}]}\n"
    assert [s.text for s in read("x", text, FOREIGN).steps] == ["test", "build", "deploy"]


def test_jobs_with_circular_needs_are_still_read() -> None:
    text = "on: push\njobs:\n  a: {needs: b, steps: [{run: a}]}\n  b: {needs: a, steps: [{run: b}]}\n"
    assert {s.text for s in read("x", text, FOREIGN).steps} == {"a", "b"}


@pytest.mark.parametrize(
    "condition",
    ["github.base_ref == 'main'", "github.event.pull_request.merged == true", "github.ref_type == 'tag'"],
)
def test_a_condition_about_pull_requests_or_tags_never_holds_for_a_push(condition: str) -> None:
    (step,) = workflow(steps=f"      - run: make\n        if: {condition}\n").steps
    assert step.branches == ()


@pytest.mark.parametrize(
    ("job", "step", "retired"),
    [
        ("    runs-on: ubuntu-24.04\n", "uses: actions/cache@v4", ()),
        ("    runs-on: ubuntu-20.04\n", "run: make", ("ubuntu-20.04",)),
        ("    runs-on: [macos-12]\n", "uses: actions/cache@v2.1.7", ("actions/cache@v2.1.7", "macos-12")),
        ("    runs-on: [self-hosted, ubuntu-20.04]\n", "uses: org/upload-artifact@v1", ()),
        ("    runs-on: {group: large}\n", "uses: actions/cache/restore@v2", ("actions/cache/restore@v2",)),
        ("    runs-on: ubuntu-latest\n    if: github.ref_name == 'old'\n", "uses: actions/cache@v1", ()),
    ],
)
def test_actions_and_commands_that_github_no_longer_runs_are_named(
    job: str, step: str, retired: tuple[str, ...]
) -> None:
    assert workflow(job=job, steps=f"      - {step}\n").targets[0].retired == retired


@pytest.mark.parametrize(
    ("condition", "heedless"),
    [
        ("always()", True),
        ("${{ !cancelled() }}", True),
        ("success() || failure()", True),
        ("github.ref_name == 'main'", False),
        ("${{ !failure() }}", False),
        ("always() && needs.test.result == 'success'", False),
        ("${{ !cancelled() && steps.build.outcome == 'success' }}", False),
    ],
)
def test_a_step_or_a_job_may_run_after_a_failure(condition: str, heedless: bool) -> None:
    (step,) = workflow(steps=f"      - run: make\n        if: {condition}\n").steps
    assert step.heedless == heedless
    (step,) = workflow(job=f"    if: {condition}\n").steps
    assert step.heedless == heedless


@pytest.mark.parametrize(
    ("run", "idle"),
    [
        ("make test", False),
        ("# make test", True),
        ("echo no tests today", True),
        ("# make test\necho none\ntrue", True),
        ("exit 0", True),
        ("echo start\nmake test", False),
        ("echo $(make test)", False),
        ("echo start && make test", False),
    ],
)
def test_a_script_that_only_prints_does_nothing(run: str, idle: bool) -> None:
    (step,) = workflow(steps=step_of(run)).steps
    assert step.idle == idle


@pytest.mark.parametrize(
    ("job", "tokens"),
    [
        ("", ("ref:refs/heads/stg",)),
        ("    environment: staging\n", ("environment:staging",)),
        ("    environment: ${{ vars.PLACE }}\n", ()),
        ("    if: github.ref_name == 'main'\n", ()),
    ],
)
def test_what_the_token_of_a_job_that_takes_a_role_is_for(job: str, tokens: tuple[str, ...]) -> None:
    role = "      - uses: aws-actions/configure-aws-credentials@v4\n        with: {role-to-assume: deploy}\n"
    assert workflow(job=job, steps=role).targets[0].tokens == tokens
    assert workflow(job=job).targets[0].tokens == ()
