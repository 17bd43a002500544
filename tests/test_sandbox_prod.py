"""Production on this machine: it has its own tables, and shares the repositories of the staging sandbox beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import ROOT, SANDBOX, Ran, Sandbox, clean_environment, exhaustive, run, run_forked, sandbox_up
from sandbox import state
from sandbox.state import Place, State

PRODUCTION = ("--env", "sandbox-prod")


def verify(sandbox: Sandbox, reports: Path, *arguments: str, ran: Callable[..., Ran] = run_forked) -> Ran:
    """Run `pytest --env=sandbox-prod ARGUMENTS` under the name of a staging sandbox."""
    return ran("--env=sandbox-prod", *arguments, root=ROOT, reports=reports, env={"GLI_SANDBOX": sandbox.name})


def git(remote: str, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "tests@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "--git-dir", remote, *arguments]
    return subprocess.run(command, env=os.environ | who, check=True, capture_output=True, text=True).stdout.strip()


@exhaustive  # tests/test_run.py: a run starts staging and ends it
def test_a_run_starts_production_and_ends_it_and_leaves_staging_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    ran = verify(sandbox, tmp_path, ran=run)
    is_healthy(ran, sandbox)
    assert json.loads(sandbox.call("status", *PRODUCTION, "--json", check=False)) == {"ready": False}
    assert json.loads(sandbox.call("status", "--json"))["git_remotes"] == sandbox.status["git_remotes"]


def is_healthy(ran: Ran, sandbox: Sandbox) -> None:
    """Assert that a run of production is GO, with the commits of main."""
    assert (ran.red, ran.code, ran.last_line) == (set(), 0, "VERDICT sandbox-prod: GO"), ran.output
    assert ran.verdict is not None
    remotes = sandbox.status["git_remotes"]
    assert {n: c["commit"] for n, c in ran.verdict["manifest"].items()} == {
        name: git(remote, "rev-parse", "main") for name, remote in remotes.items()
    }


@pytest.fixture(scope="module")
def production(sandbox: Sandbox) -> Iterator[dict[str, Any]]:
    """The status of production beside the tests' staging."""
    with sandbox_up(sandbox.name, *PRODUCTION):
        yield json.loads(sandbox.call("status", "--json", *PRODUCTION))


def test_production_is_healthy_beside_staging_over_the_same_repositories(
    sandbox: Sandbox, production: dict[str, Any], tmp_path: Path
) -> None:
    is_healthy(verify(sandbox, tmp_path), sandbox)
    assert production["git_remotes"] == sandbox.status["git_remotes"]
    apart = ("aws_endpoint_url", "postgres_dsn", "redis_url", "state_dir")
    assert all(production[key] != sandbox.status[key] for key in apart)
    assert set(production["hosts"]) == {"glibiz.com", "api.glibiz.com", "admin.glibiz.com", "ws.glibiz.com"}


def applied(status: dict[str, Any]) -> list[str]:
    with psycopg.connect(status["postgres_dsn"]) as connection:
        rows = connection.execute("SELECT name FROM django_migrations WHERE app = 'notices' ORDER BY name")
        return [name for (name,) in rows]


def test_faults_of_production_only_block_its_verdict(
    sandbox: Sandbox, production: dict[str, Any], tmp_path: Path
) -> None:
    faults = [f for f in json.loads(sandbox.call("faults", "--json")) if f["production"]]
    sandbox.call("break", *PRODUCTION, *(f["id"] for f in faults))
    broken = verify(sandbox, tmp_path)
    sandbox.call("heal", *PRODUCTION)
    assert len(faults) >= 5
    assert broken.roots == {check for f in faults for check in f["turns_red"]}, broken.output
    assert broken.verdict is not None
    assert {c["id"] for c in broken.verdict["checks"] if c["severity"] == "block"} >= {"db-backup-pitr"}
    assert broken.last_line == "VERDICT sandbox-prod: NO-GO"


def test_staging_refuses_a_fault_of_production(sandbox: Sandbox) -> None:
    command = [*SANDBOX, "break", "balancer-unprotected", "--name", sandbox.name]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "balancer-unprotected only turns production red; break it where production is played (`--env`)"
    ]


@contextmanager
def released(remotes: dict[str, str]) -> Iterator[None]:
    """Merge stg into main and tag it in every repository, with git only; restore the refs afterwards."""
    before = {name: git(remote, "rev-parse", "main") for name, remote in remotes.items()}
    tag = time.strftime("deploy-%Y%m%d-%H%M%S", time.gmtime())
    for name, remote in remotes.items():
        tree = git(remote, "rev-parse", "stg^{tree}")
        merge = git(remote, "commit-tree", tree, "-p", "main", "-p", "stg", "-m", f"Release {tag}")
        git(remote, "update-ref", "refs/heads/main", merge, before[name])
        git(remote, "tag", "-a", tag, "-m", tag, merge)
    try:
        yield
    finally:
        for name, remote in remotes.items():
            git(remote, "update-ref", "refs/heads/main", before[name])
            git(remote, "tag", "-d", tag)


def test_a_deploy_brings_production_to_the_pushed_commits(
    sandbox: Sandbox, production: dict[str, Any], tmp_path: Path
) -> None:
    first, second = applied(production), applied(sandbox.status)
    assert (len(first), len(second)) == (1, 2), "staging is a migration ahead"
    with released(production["git_remotes"]):
        pushed = verify(sandbox, tmp_path, "-k", "git_tested_sha or wf_run_success or ecs_expected_image")
        said = sandbox.call("deploy", *PRODUCTION).splitlines()
        deployed = verify(sandbox, tmp_path)
    assert pushed.outcomes("failed", "blocked") >= {"git-tested-sha", "wf-run-success", "ecs-expected-image"}
    assert len(said) == 8
    assert deployed.last_line == "VERDICT sandbox-prod: GO", deployed.output
    # A warning is expected: the new tag is not in the log.
    assert deployed.red == {"git-deployment-log"}, deployed.output
    assert applied(production) == second


PLACES = """
import sys, time
from pathlib import Path
from sandbox.state import Place, State
State.claim(Place.of("pair", sys.argv[1])).share(lambda folder: (folder / "git").mkdir())
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which sandboxes can be claimed."""
    (tmp_path / "environments.toml").write_bytes((ROOT / "environments.toml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def claimed(environment: str) -> tuple[State, bool]:
    claim = State.claim(Place.of("pair", environment))
    return claim, claim.share(lambda folder: (folder / "git").mkdir())


def test_the_repositories_stay_until_the_last_sandbox_ends(root: Path) -> None:
    staging, made = claimed("sandbox")
    production, made_again = claimed("sandbox-prod")
    remotes = root / ".sandbox" / "pair.git" / "git"
    assert (made, made_again) == (True, False)
    staging.remove()
    assert remotes.is_dir()
    back, made_again = claimed("sandbox")
    assert not made_again
    production.remove()
    assert remotes.is_dir()
    back.remove()
    assert not (root / ".sandbox").exists()


def test_the_last_sandbox_removes_the_repositories_however_it_ends(root: Path) -> None:
    where = {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PLACES, "sandbox-prod"]
    with subprocess.Popen(command, cwd=root, env=os.environ | where, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"up\n"
        assert (root / ".sandbox" / "pair.git" / "git").is_dir()
        killed.send_signal(signal.SIGKILL)
    gone_by = time.monotonic() + 8
    while (root / ".sandbox").exists() and time.monotonic() < gone_by:
        time.sleep(0.05)
    assert not (root / ".sandbox").exists()


def test_an_environment_without_a_sandbox_is_one_sentence() -> None:
    done = subprocess.run(
        [*SANDBOX, "up", "--env", "stg"], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "environments.toml: [stg] is no environment that is played here; it needs extends, overlay and "
        f'provider = "{state.PROVIDER}"\n'
    )
