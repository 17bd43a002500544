"""A paused deployment gets its answer from the verdict on the new tasks: CONTINUE for a GO, ROLLBACK for all else."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import ROOT, SANDBOX, Sandbox, clean_environment, exhaustive, sampled, started, wait_for
from sandbox import repositories
from sandbox.aws.seed_compute import push as push_image

VARIANT = "native-blue-green-paused"
API = "gli_api-server"


class Deployed:
    """The API of a sandbox that deploys blue/green and pauses."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ecs = sandbox.aws("ecs")
        self.remote = Path(sandbox.status["git_remotes"][API])
        self.before = repositories.refs(self.remote, "refs/heads")["stg"]

    def commit(self, tree: Mapping[str, str]) -> str:
        """Push a commit to stg."""
        return repositories.push(self.remote, "stg", "Change the API", tree, datetime.now(UTC))

    def push(self, tree: Mapping[str, str]) -> str:
        """Push a commit to stg, and let ECS deploy its image; the deployment's ARN."""
        commit = self.commit(tree)
        account = type("Account", (), {"__call__": lambda _, service: self.sandbox.aws(service)})()
        push_image(account, "gli-api", commit, API)
        found = self.ecs.describe_services(cluster="gli-api-cluster", services=["stg-gli-api"])["services"][0]
        definition = self.ecs.describe_task_definition(taskDefinition=found["taskDefinition"])["taskDefinition"]
        container = definition["containerDefinitions"][0]
        image = f"{container['image'].partition('@')[0].rpartition(':')[0]}:{commit}"
        kept = ("family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn")
        made = self.ecs.register_task_definition(
            **{key: definition[key] for key in kept}, containerDefinitions=[container | {"image": image}]
        )
        arn = made["taskDefinition"]["taskDefinitionArn"]
        self.ecs.update_service(cluster="gli-api-cluster", service="stg-gli-api", taskDefinition=arn)
        return str(self.newest["serviceDeploymentArn"])

    @property
    def newest(self) -> dict[str, Any]:
        listed = self.ecs.list_service_deployments(cluster="gli-api-cluster", service="stg-gli-api")
        newest = listed["serviceDeployments"][0]["serviceDeploymentArn"]
        found: dict[str, Any] = self.ecs.describe_service_deployments(serviceDeploymentArns=[newest])[
            "serviceDeployments"
        ][0]
        return found

    def newest_image(self) -> str:
        """The image of the revision that the newest deployment was about."""
        arn = self.newest["targetServiceRevision"]["arn"]
        revision = self.ecs.describe_service_revisions(serviceRevisionArns=[arn])["serviceRevisions"][0]
        definition = self.ecs.describe_task_definition(taskDefinition=revision["taskDefinition"])["taskDefinition"]
        return str(definition["containerDefinitions"][0]["image"])

    def served(self) -> str:
        """The revision that users get."""
        address = self.sandbox.status["hosts"]["stg-api.glibiz.com"]
        ca = self.sandbox.status["ca_file"]
        with httpx.Client(verify=ca, timeout=60) as client:
            answer = client.get(
                f"https://{address}/version",
                headers={"Host": "stg-api.glibiz.com"},
                extensions={"sni_hostname": "stg-api.glibiz.com"},
            )
        return str(answer.json()["revision"])


@contextmanager
def deployed(sandbox: Sandbox) -> Iterator[Deployed]:
    sandbox.ask("vary", VARIANT)
    api = Deployed(sandbox)
    try:
        yield api
    finally:
        repositories.set_ref(api.remote, "refs/heads/stg", api.before)
        sandbox.ask("restore", VARIANT)
        # A deployment that was rolled back stays the newest one if the service already runs this commit.
        api.ecs.update_service(cluster="gli-api-cluster", service="stg-gli-api", forceNewDeployment=True)
        sandbox.call("deploy")


SERVICE = {
    "Dockerfile": "FROM python:3.12-slim\nCOPY . .\n",
    "requirements.txt": "# nothing but what the image has\n",
    "test_service.py": "def test_it_is_there():\n    assert True\n",
}
"""What a repository needs so that its workflow can test and build it."""


def command(sandbox: Sandbox, reports: Path) -> tuple[list[str], dict[str, str]]:
    env = clean_environment() | {"GLI_SANDBOX": sandbox.name, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    return [str(ROOT / ".venv/bin/gli"), "continue", "--env=sandbox", f"--report-dir={reports}"], env


def run_workflow(sandbox: Sandbox, repository: str) -> tuple[int, str]:
    """Run the deploy workflow for the head of stg: its exit code and its output."""
    done = subprocess.run(
        [*SANDBOX, "run-workflow", repository, "--name", sandbox.name],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_push_is_verified_before_users_get_it_and_a_bad_image_never_reaches_them(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The workflow tests, builds, migrates and updates; the verdict on the new tasks continues or rolls back."""
    with deployed(sandbox) as api:
        good = api.commit(SERVICE)
        code, said = run_workflow(sandbox, API)
        assert (code, "CONTINUE: stg-gli-api" in said) == (0, True), said
        assert api.served() == good
        after = sandbox.verify_often("--phase=post-deploy", reports=tmp_path)
        assert after.last_line == "VERDICT sandbox: GO", after.output

        bad = api.commit({"breakage": "notices-lose-a-key\n"})
        code, said = run_workflow(sandbox, API)
        assert (code, "ROLLBACK: stg-gli-api" in said) == (1, True), said
        assert "api-endpoints-contract" in said, said
        assert bad in api.newest_image()
        wait_for(lambda: api.newest["status"] == "ROLLBACK_SUCCESSFUL", "the rollback")
        assert api.served() == good
        argv, env = command(sandbox, tmp_path)
        env |= {
            "AWS_ENDPOINT_URL": sandbox.status["aws_endpoint_url"],
            "AWS_DEFAULT_REGION": sandbox.status["aws_region"],
        }
        waits = [sys.executable, "pipelines/deploy.py", "wait-service-deployment", api.newest["serviceDeploymentArn"]]
        ended = subprocess.run(waits, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, "ROLLBACK_SUCCESSFUL" in ended.stderr) == (1, True), ended.stderr
        nothing = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
        assert (nothing.returncode, "nothing to decide" in nothing.stderr) == (3, True), nothing.stderr


@exhaustive
def test_an_interrupted_verification_rolls_back(sandbox: Sandbox, tmp_path: Path) -> None:
    with deployed(sandbox) as api:
        api.push({"NEXT.md": "better\n"})
        argv, env = command(sandbox, tmp_path)
        with started(argv, cwd=ROOT, env=env) as process:
            wait_for(lambda: any(tmp_path.glob("*/*")), "the begin of the verification", 120)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
        assert "ROLLBACK: stg-gli-api" in output
        wait_for(lambda: api.newest["status"] == "ROLLBACK_SUCCESSFUL", "the rollback")
        assert api.served() == api.before


BUILD = """\
import { mkdirSync, writeFileSync } from 'node:fs'
mkdirSync('dist/assets', { recursive: true })
writeFileSync('dist/assets/index-3f2a1b.js', `console.log('${process.env.ENVIRONMENT}')`)
writeFileSync('dist/index.html', '<!doctype html><script type="module" src="/assets/index-3f2a1b.js"></script>')
"""
PACKAGE = {"name": "frontend", "version": "1.0.0"}
FRONTEND = {
    "package.json": json.dumps({**PACKAGE, "scripts": {"build": "node build.mjs"}}),
    "package-lock.json": json.dumps({**PACKAGE, "lockfileVersion": 3, "packages": {"": PACKAGE}}),
    "build.mjs": BUILD,
}
"""What a repository needs so that its workflow can build it."""


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed; GitHub's runners have it")
@pytest.mark.parametrize("name", sampled(["user", "admin"], 2))
def test_a_push_to_a_frontend_reaches_its_users(sandbox: Sandbox, name: str) -> None:
    """The workflow builds, uploads files with a hash before the page, and waits until CloudFront forgot the old one."""
    repository, bucket = f"gli_{name}-frontend", f"stg-gli-{name}-frontend"
    remote = Path(sandbox.status["git_remotes"][repository])
    before = repositories.refs(remote, "refs/heads")["stg"]
    try:
        repositories.push(remote, "stg", "Build with npm", FRONTEND, datetime.now(UTC))
        code, said = run_workflow(sandbox, repository)
        assert code == 0, said
        assert said.index("upload: dist/assets/index-3f2a1b.js") < said.index("upload: dist/index.html"), said
        assert "Confirm the deployment" in said
        kept = sandbox.aws("s3").get_object(Bucket=bucket, Key="assets/index-3f2a1b.js")
        assert (kept["CacheControl"], kept["Body"].read()) == (
            "public, max-age=31536000, immutable",
            b"console.log('stg')",
        )
    finally:
        repositories.set_ref(remote, "refs/heads/stg", before)
        sandbox.call("deploy")


@exhaustive
def test_a_push_to_the_websocket_server_ends_with_a_connection(sandbox: Sandbox) -> None:
    """The workflow rolls the service over, and connects as a page of the frontend does."""
    repository = "gli_websocket"
    remote = Path(sandbox.status["git_remotes"][repository])
    before = repositories.refs(remote, "refs/heads")["stg"]
    try:
        commit = repositories.push(remote, "stg", "Change the server", SERVICE, datetime.now(UTC))
        code, said = run_workflow(sandbox, repository)
        assert (code, "Connection test" in said) == (0, True), said
        ecs = sandbox.aws("ecs")
        found = ecs.describe_services(cluster="gli-websocket-cluster", services=["stg-gli-websocket"])["services"][0]
        definition = ecs.describe_task_definition(taskDefinition=found["taskDefinition"])["taskDefinition"]
        assert commit in definition["containerDefinitions"][0]["image"]
    finally:
        repositories.set_ref(remote, "refs/heads/stg", before)
        sandbox.call("deploy")
