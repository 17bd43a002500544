"""Ways to let users have new tasks that nobody verified: answers of ECS that are odd, change, or are late, while
`gli continue` decides. ECS is a small server that remembers what it was told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hostile_rig import healthy, serving
from served import in_a_thread

from conftest import Project, gli_forked, sampled
from gli.git.command import git

ACCOUNT = "123456789012"
ARN = f"arn:aws:ecs:ap-northeast-2:{ACCOUNT}:service-deployment/cluster/"
ENVIRONMENT = """
[[repositories]]
name = "app"
[own]
branch = "main"
[own.git]
remote = "file://{remotes}/{{repository}}"
[own.aws]
region = "ap-northeast-2"
account_id = "123456789012"
endpoint_url = "http://127.0.0.1:{ecs}"
[own.load_balancer]
name = "balancer"
test_port = {port}
[own.services.api]
url = "http://127.0.0.1:{port}"
repository = "app"
ecs = {{cluster = "cluster", service = "api", container = "app", port = 80}}
"""
SAID = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    f"<Arn>arn:aws:iam::{ACCOUNT}:user/ci</Arn><Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
    "</GetCallerIdentityResponse>"
)


class Ecs(ThreadingHTTPServer):
    """The answers of one ECS, and what it was told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commit = ""
        self.deployments: dict[str, dict[str, Any]] = {}
        self.told: list[tuple[str, str]] = []
        """(the end of a deployment's ARN, the action), in order."""
        self.change: Callable[[str, Any], Any] = lambda action, answer: answer
        """The answer instead of the usual one."""
        self.before_the_end: Callable[[], None] = lambda: None
        """Called when ECS is asked for a task definition: that is after the verification."""
        in_a_thread(self)

    def pauses(self, name: str, service: str = "api", **more: Any) -> dict[str, Any]:
        """Begin a deployment that waits at its hook."""
        hook = {
            "hookId": f"hook of {name}",
            "targetType": "PAUSE",
            "status": "AWAITING_ACTION",
            "expiresAt": (datetime.now(UTC) + timedelta(minutes=30)).timestamp(),
            "timeoutAction": "CONTINUE",
        }
        self.deployments[f"{ARN}{name}"] = found = {
            "serviceDeploymentArn": f"{ARN}{name}",
            "serviceArn": f"arn:aws:ecs:ap-northeast-2:{ACCOUNT}:service/cluster/{service}",
            "status": "IN_PROGRESS",
            "lifecycleStage": "POST_TEST_TRAFFIC_SHIFT",
            "targetServiceRevision": {"arn": f"revision of {name}"},
            "deploymentConfiguration": {"lifecycleHooks": [{"targetType": "PAUSE"}]},
            "lifecycleHookDetails": [hook],
            **more,
        }
        return found

    def answer(self, action: str, asked: dict[str, Any]) -> Any:
        if action == "ListServiceDeployments":
            mine = [d for d in self.deployments.values() if d["serviceArn"].endswith(f"/{asked['service']}")]
            return {"serviceDeployments": mine}
        if action == "DescribeServiceDeployments":
            found = [self.deployments[arn] for arn in asked["serviceDeploymentArns"] if arn in self.deployments]
            return {"serviceDeployments": found}
        if action == "DescribeServiceRevisions":
            return {"serviceRevisions": [{"taskDefinition": "app:1"}]}
        if action == "DescribeTaskDefinition":
            self.before_the_end()
            image = f"registry/app:{self.commit}"
            return {"taskDefinition": {"containerDefinitions": [{"name": "app", "image": image}]}}
        assert action == "ContinueServiceDeployment"
        deployment = self.deployments[asked["serviceDeploymentArn"]]
        self.told.append((asked["serviceDeploymentArn"].removeprefix(ARN), asked["action"]))
        waits = {h["hookId"] for h in deployment["lifecycleHookDetails"] if h["status"] == "AWAITING_ACTION"}
        if asked["hookId"] not in waits:
            return None
        return {"serviceDeploymentArn": asked["serviceDeploymentArn"]}


class Handler(BaseHTTPRequestHandler):
    server: Ecs

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, _, action = self.headers.get("X-Amz-Target", "").rpartition(".")
        usual = self.server.answer(action, json.loads(body)) if action else SAID
        found = self.server.change(action, usual)
        refused = {"__type": "InvalidParameterException", "message": "not paused at this hook"}
        text = found if isinstance(found, str) else json.dumps(refused if found is None else found)
        self.send_response(400 if found is None else 200)
        self.send_header("Content-Type", "application/x-amz-json-1.1" if action else "text/xml")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def ecs(project: Project, tmp_path: Path) -> Iterator[Ecs]:
    """A project whose only service is being deployed, from the head of its only repository."""
    with serving(healthy) as port:
        server = Ecs()
        text = ENVIRONMENT.format(remotes=tmp_path, ecs=server.server_port, port=port)
        project.write("environments.toml", text)
        server.commit = pushed(tmp_path / "app", "first")
        yield server
        server.shutdown()
        server.server_close()


def pushed(remote: Path, message: str) -> str:
    """Make a commit the head of main."""
    if not remote.exists():
        git("init", "-q", "--bare", "-b", "main", str(remote))
    tree = git("mktree", git_dir=remote, says="").strip()
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    commit = git(*who, "commit-tree", "-m", message, tree, git_dir=remote).strip()
    git("update-ref", "refs/heads/main", commit, git_dir=remote)
    return commit


def decided(project: Project, *arguments: str) -> tuple[int, str]:
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_MAX_ATTEMPTS": "1"}
    done = gli_forked("continue", "--env=own", *arguments, root=project.root, env=env)
    return done.returncode, done.stdout + done.stderr


def test_a_go_continues_a_waiting_deployment(project: Project, ecs: Ecs) -> None:
    ecs.pauses("one")
    code, said = decided(project)
    assert (code, ecs.told) == (0, [("one", "CONTINUE")]), said


# ---- what nobody can verify: ECS hears ROLLBACK, and no verification is made


def before_the_test_listener(ecs: Ecs, project: Project) -> None:
    ecs.pauses("one", lifecycleStage="PRE_SCALE_UP")


def a_stage_without_a_name(ecs: Ecs, project: Project) -> None:
    del ecs.pauses("one")["lifecycleStage"]


def a_service_without_a_test_port(ecs: Ecs, project: Project) -> None:
    text = (project.root / "environments.toml").read_text()
    project.write("environments.toml", text.replace("[own.load_balancer]", "[own.services.other.load_balancer]"))
    other = '[own.services.other]\nurl = "http://127.0.0.1:9"\nrepository = "app"\n'
    ecs_of = 'ecs = {cluster = "cluster", service = "other", container = "app", port = 80}\n'
    with (project.root / "environments.toml").open("a") as file:
        file.write(other + ecs_of)
    ecs.pauses("one")


UNSEEN = {
    before_the_test_listener: "waits at PRE_SCALE_UP",
    a_stage_without_a_name: "waits at a stage that ECS does not name",
    a_service_without_a_test_port: "has no test_port",
}


@pytest.mark.parametrize("way", UNSEEN, ids=lambda way: way.__name__)
def test_new_tasks_that_nobody_can_see_are_rolled_back(
    project: Project, ecs: Ecs, way: Callable[[Ecs, Project], None]
) -> None:
    way(ecs, project)
    code, said = decided(project)
    assert (code, ecs.told) == (1, [("one", "ROLLBACK")]), said
    assert UNSEEN[way] in said
    assert not (project.root / "reports").exists()


def test_a_deployment_that_waits_is_rolled_back_if_another_one_fails_before_it_waits(
    project: Project, ecs: Ecs
) -> None:
    ecs.pauses("one")
    ecs.pauses("two", status="ROLLBACK_IN_PROGRESS")
    code, said = decided(project)
    assert (code, ecs.told) == (1, [("one", "ROLLBACK")]), said


@pytest.mark.parametrize("changed", ["another deployment", "two deployments", "a page in place of JSON", "no key"])
def test_an_answer_that_is_of_something_else_decides_nothing(project: Project, ecs: Ecs, changed: str) -> None:
    ecs.pauses("one")
    other = ecs.deployments.pop(f"{ARN}one") | {"serviceDeploymentArn": f"{ARN}other"}
    mine = ecs.pauses("one")
    instead = {
        "another deployment": {"serviceDeployments": [other]},
        "two deployments": {"serviceDeployments": [other, mine]},
        "a page in place of JSON": "<html>",
        "no key": {},
    }[changed]
    ecs.change = lambda action, usual: instead if action == "DescribeServiceDeployments" else usual
    code, said = decided(project, f"--deployment={ARN}one")
    assert (code != 0, ecs.told) == (True, []), said


# ---- what changes while the verification runs, or after it


def goes_on(ecs: Ecs, _: Project) -> None:
    ecs.deployments[f"{ARN}one"]["lifecycleHookDetails"][0]["status"] = "TIMED_OUT"


def another_hook(ecs: Ecs, _: Project) -> None:
    ecs.deployments[f"{ARN}one"]["lifecycleHookDetails"][0]["hookId"] = "another"


def another_revision(ecs: Ecs, _: Project) -> None:
    ecs.deployments[f"{ARN}one"]["targetServiceRevision"] = {"arn": "another"}


def a_rollback_has_begun(ecs: Ecs, _: Project) -> None:
    ecs.deployments[f"{ARN}one"]["status"] = "ROLLBACK_REQUESTED"


def a_stop_was_asked_for(ecs: Ecs, _: Project) -> None:
    ecs.deployments[f"{ARN}one"]["status"] = "STOP_REQUESTED"


def another_stage(ecs: Ecs, _: Project) -> None:
    ecs.deployments[f"{ARN}one"]["lifecycleStage"] = "PRODUCTION_TRAFFIC_SHIFT"


def another_image(ecs: Ecs, _: Project) -> None:
    ecs.commit = "f" * 40


def an_image_by_its_digest(ecs: Ecs, _: Project) -> None:
    ecs.commit = f"latest@sha256:{'f' * 64}"


def no_tag(ecs: Ecs, _: Project) -> None:
    ecs.commit = ""


def the_gate_reads_another_head(ecs: Ecs, project: Project) -> None:
    """The commit that was verified is no more the head, and the one that waits is."""
    ecs.commit = pushed(project.root.parent / "app", "second")


LATER = (
    goes_on,
    another_hook,
    another_revision,
    a_rollback_has_begun,
    a_stop_was_asked_for,
    another_stage,
    another_image,
    an_image_by_its_digest,
    no_tag,
    the_gate_reads_another_head,
)


@pytest.mark.parametrize("way", sampled([*LATER], 3), ids=lambda way: way.__name__)
def test_a_deployment_that_changed_since_its_verification_is_rolled_back(
    project: Project, ecs: Ecs, way: Callable[[Ecs, Project], None]
) -> None:
    ecs.pauses("one")
    ecs.before_the_end = lambda: way(ecs, project)
    code, said = decided(project)
    assert (code in (1, 3), {action for _, action in ecs.told}) == (True, {"ROLLBACK"}), said


def test_no_answer_comes_after_the_hook_has_ended(project: Project, ecs: Ecs) -> None:
    hook = ecs.pauses("one")["lifecycleHookDetails"][0]
    hook["expiresAt"] = (datetime.now(UTC) + timedelta(seconds=61)).timestamp()  # the verification has one second
    code, said = decided(project)
    assert (code, ecs.told) == (1, [("one", "ROLLBACK")]), said
    assert "a minute before the hook's own end" in said


def test_of_two_deployments_none_goes_on_alone(project: Project, ecs: Ecs) -> None:
    """ECS refuses one of the two answers: the other one is taken back, and the exit code says it."""
    ecs.pauses("one")
    ecs.pauses("two")
    tell = ecs.change

    def refuse(action: str, usual: Any) -> Any:
        return None if ecs.told and ecs.told[-1] == ("two", "CONTINUE") else tell(action, usual)

    ecs.change = refuse
    code, said = decided(project)
    assert code == 3, said
    assert ecs.told[:2] == [("one", "CONTINUE"), ("two", "CONTINUE")]
    assert {("one", "ROLLBACK"), ("two", "ROLLBACK")} <= set(ecs.told)


def test_a_rollback_that_ecs_refuses_is_told_and_does_not_hold_the_others(project: Project, ecs: Ecs) -> None:
    project.checks("def test_first_check(target): assert False, 'no'\ndef test_second_check(target): pass\n")
    ecs.pauses("one")
    ecs.pauses("two")
    ecs.change = lambda action, usual: None if ecs.told[-1:] == [("one", "ROLLBACK")] else usual
    code, said = decided(project)
    assert (code, ecs.told) == (3, [("one", "ROLLBACK"), ("two", "ROLLBACK")]), said
    assert "did not get its ROLLBACK" in said
