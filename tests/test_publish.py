"""The gate's decision becomes a commit status; no failure of GitHub leaves a commit green that was not verified."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import jsonschema
import pytest
from click.testing import CliRunner
from served import in_a_thread

from conftest import ROOT, Project
from gli.cli.publish import STATEMENT, publish, ruleset
from gli.cli.report import report
from gli.common.github import CONTEXT
from gli.git.branches import Branches
from gli.release import branch_protection

OPENAPI = ROOT / ".venv/npm/api.github.com.json"
NAMES = ("app", "web", "root")
TOKEN = "ghs_a-token-that-writes-statuses"
ENVIRONMENT = """
[own]
branch = "main"
[own.services.api]
url = "http://127.0.0.1:9"
repository = "app"
[own.git]
remote = "file://{folder}/{{repository}}.git"
[own.github]
owner = "org"
environment = "production"
status_variable = "STATUS_TOKEN"
api_url = "http://127.0.0.1:{port}"
"""


class Reply(NamedTuple):
    """One answer of GitHub that is not the usual one."""

    status: int
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    body: str = '{"message": "as the test asks"}'


class GitHub(HTTPServer):
    """The statuses of each commit. `fails` may answer a request instead: (repository, state, number) to a reply."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.fails: Callable[[str, str, int], Reply | None] = lambda *_: None
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.shown: dict[str, str] = {}
        """Commit to its newest state."""


class Answers(BaseHTTPRequestHandler):
    server: GitHub

    def do_POST(self) -> None:
        _, _, owner, name, _, commit = self.path.split("/")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (owner, self.headers["Authorization"]) == ("org", f"Bearer {TOKEN}")
        self.server.asked.append((name, body["state"]))
        self.server.bodies.append(body)
        number = self.server.asked.count((name, body["state"]))
        reply = self.server.fails(name, body["state"], number)
        if reply is None:
            self.server.shown[commit] = body["state"]
            url = f"http://127.0.0.1{self.path}"
            reply = Reply(201, {}, json.dumps({"url": url, **body}))
        self.send_response(reply.status)
        for header, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(reply.body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    server = GitHub()
    thread = in_a_thread(server)
    monkeypatch.setattr("gli.common.statuses.time.sleep", lambda _: None)
    monkeypatch.setenv("STATUS_TOKEN", TOKEN)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Verified:
    """A small project with three repositories, and the runs that verify it."""

    def __init__(self, project: Project, github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = project
        folder = project.root / "git"
        for name in NAMES:
            subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", folder / f"{name}.git"], check=True)
            self.commit(name)
        tables = ENVIRONMENT.format(folder=folder, port=github.server_port)
        project.write("environments.toml", "".join(f'[[repositories]]\nname = "{n}"\n' for n in NAMES) + tables)
        monkeypatch.chdir(project.root)

    def commit(self, name: str) -> None:
        """Make the head of a repository a new commit: its message keeps two commits of one second apart."""
        git = ["git", "--git-dir", str(self.project.root / "git" / f"{name}.git")]
        tree = subprocess.run([*git, "mktree"], input="", check=True, capture_output=True, text=True).stdout.strip()
        made = subprocess.run(
            [*git, "commit-tree", tree, "-m", uuid4().hex], check=True, capture_output=True, text=True
        )
        subprocess.run([*git, "update-ref", "refs/heads/main", made.stdout.strip()], check=True)

    def publish(self) -> tuple[int, str]:
        ended = CliRunner().invoke(publish, ["--env=own"])
        return ended.exit_code, ended.output


@pytest.fixture
def verified(project: Project, github: GitHub, monkeypatch: pytest.MonkeyPatch) -> Verified:
    return Verified(project, github, monkeypatch)


def limited(after: str) -> Reply:
    return Reply(429, {"Retry-After": after})


FAILURES: dict[str, tuple[Callable[[str, str, int], Reply | None], int, str]] = {
    "403 for one": (lambda name, *_: Reply(403) if name == "web" else None, 1, "GitHub answered 403"),
    "404": (lambda *_: Reply(404), 1, "GitHub answered 404"),
    "422 for one, at the end": (
        lambda name, state, _: Reply(422) if (name, state) == ("root", "success") else None,
        1,
        "GitHub answered 422",
    ),
    "429 for an hour": (lambda *_: limited("3600"), 3, "it takes no more for 3600 s"),
    "429 without an end": (lambda *_: limited("1"), 3, "GitHub answered 429"),
    "403 of the rate limit": (
        lambda *_: Reply(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999999999"}),
        3,
        "it takes no more",
    ),
    "502 for the last": (
        lambda name, state, _: Reply(502, {}, "<html>") if (name, state) == ("root", "success") else None,
        3,
        "GitHub answered 502",
    ),
    "another status than asked": (
        lambda name, state, _: Reply(201, {}, '{"state": "pending"}') if state == "success" else None,
        3,
        "shows another status",
    ),
    "no JSON": (lambda *_: Reply(201, {}, "created"), 3, "shows another status"),
    "a redirect to a page": (lambda *_: Reply(301, {"Location": "/other"}), 1, "GitHub answered 301"),
    "a redirect without an end": (
        lambda *_: Reply(307, {"Location": "/repos/org/web/statuses/x"}),
        1,
        "GitHub answered 307",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_no_failure_of_github_leaves_a_commit_green(verified: Verified, github: GitHub, failure: str) -> None:
    assert verified.project.run("--phase=pre-deploy").code == 0
    github.fails, code, says = FAILURES[failure]
    ended, output = verified.publish()
    assert (ended, says in output) == (code, True), output
    assert set(github.shown.values()) <= {"pending", "error"}


def test_a_verified_release_is_green_everywhere_and_has_its_statement(verified: Verified, github: GitHub) -> None:
    ran = verified.project.run("--phase=pre-deploy")
    github.fails = lambda _, state, number: limited("1") if (state, number) == ("success", 1) else None
    code, output = verified.publish()
    assert (code, ran.verdict is not None) == (0, True), output
    manifest = {name: part["commit"] for name, part in (ran.verdict or {})["manifest"].items()}
    assert github.shown == dict.fromkeys(manifest.values(), "success")
    assert {body["context"] for body in github.bodies} == {CONTEXT}
    statement = json.loads((Path(str(ran.folder)) / STATEMENT).read_text())
    assert {s["name"]: s["digest"]["gitCommit"] for s in statement["subject"]} == manifest
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = statement["predicate"]
    assert (predicate["result"], predicate["failedTests"]) == ("PASSED", [])
    assert predicate["passedTests"] == ["first-check[api]", "second-check[api]"]


def test_a_renamed_repository_gets_its_status(verified: Verified, github: GitHub) -> None:
    ran = verified.project.run("--phase=pre-deploy")
    commit = (ran.verdict or {})["manifest"]["web"]["commit"]
    moved = Reply(307, {"Location": f"/repos/org/renamed/statuses/{commit}"})
    github.fails = lambda name, *_: moved if name == "web" else None
    assert verified.publish()[0] == 0
    assert github.shown[commit] == "success"


def test_commits_without_a_verification_get_a_red_status(verified: Verified, github: GitHub) -> None:
    assert verified.publish()[0] == 3
    assert set(github.shown.values()) == {"error"}
    assert verified.project.run("--phase=pre-deploy").code == 0
    old = set(github.shown)
    verified.commit("web")
    assert verified.publish()[0] == 1
    new = set(github.shown) - old
    assert len(new) == 1 and {github.shown[c] for c in new} == {"failure"}
    verified.project.checks("def test_first_check(target): assert False\ndef test_second_check(target): pass\n")
    ran = verified.project.run("--phase=pre-deploy")
    assert (ran.code, verified.publish()[0]) == (1, 1)
    shown = CliRunner().invoke(report, ["own/latest", "--format=github"])
    assert [line.split("::")[1] for line in shown.output.splitlines()] == ["error title=first-check[api]"]
    statement = json.loads((Path(str(ran.folder)) / STATEMENT).read_text())
    assert (statement["predicate"]["result"], statement["predicate"]["failedTests"]) == ("FAILED", ["first-check[api]"])
    assert set(github.shown.values()) <= {"error", "failure"}


def test_a_folder_without_a_time_turns_green_statuses_into_errors(verified: Verified, github: GitHub) -> None:
    assert verified.project.run("--phase=pre-deploy").code == 0
    assert verified.publish()[0] == 0
    (verified.project.root / "reports/own/20260101T000000.000-1").mkdir()
    ended, output = verified.publish()
    assert (ended, "nobody knows which verdict" in output) == (3, True), output
    assert set(github.shown.values()) == {"error"}


def test_edited_facts_name_no_image_and_keep_no_status_from_its_commit(verified: Verified, github: GitHub) -> None:
    """CI signs the statement: what it names must be what the run saw."""
    ran = verified.project.run("--phase=pre-deploy")
    folder = Path(str(ran.folder))
    (folder / STATEMENT).write_text("of somebody else")
    facts = folder / "facts.jsonl"
    lines = facts.read_text().splitlines()
    lines.append(lines[-1].replace('"probe": "', '"probe": "registry_image', 1))
    facts.write_text("\n".join(lines) + "\n")
    verified.commit("web")
    ended, output = verified.publish()
    assert (ended, "facts.jsonl was edited after the run wrote it" in output) == (2, True), output
    assert set(github.shown.values()) == {"failure"}
    assert not (folder / STATEMENT).exists()


def test_a_statement_is_written_beside_no_link(verified: Verified) -> None:
    ran = verified.project.run("--phase=pre-deploy")
    outside = verified.project.root / "outside"
    outside.write_text("mine")
    (Path(str(ran.folder)) / STATEMENT).symlink_to(outside)
    assert verified.publish()[0] == 0
    assert outside.read_text() == "mine" and not (Path(str(ran.folder)) / STATEMENT).is_symlink()


def test_an_unsigned_verdict_gets_no_statement_if_signatures_are_required(verified: Verified) -> None:
    tables = (verified.project.root / "environments.toml").read_text()
    signatures = '[own.signatures]\nallowed_signers = "signers"\nrequired = true\n'
    verified.project.write("environments.toml", tables + signatures)
    verified.project.write("signers", "ci@example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA\n")
    ran = verified.project.run("--phase=pre-deploy")
    assert (ran.code, verified.publish()[0]) == (0, 1)
    assert not (Path(str(ran.folder)) / STATEMENT).exists()


PRODUCTION = '[live]\nextends = "own"\nproduction = true\n'


@pytest.mark.parametrize(
    ("more", "phase"), [(PRODUCTION, "pre-deploy"), (PRODUCTION + 'counterpart = "own"\n', "post-deploy")]
)
def test_only_the_gate_to_production_makes_a_commit_green_that_production_takes(
    verified: Verified, github: GitHub, more: str, phase: str
) -> None:
    """The branch of production takes every commit that has the status: that of another yes would open it."""
    tables = (verified.project.root / "environments.toml").read_text()
    if "counterpart" in more:
        tables = tables.replace("[own]\n", '[own]\ncounterpart = "live"\n', 1)
    verified.project.write("environments.toml", tables + more)
    assert verified.project.run(f"--phase={phase}").code == 0
    ended = CliRunner().invoke(publish, ["--env=own", f"--phase={phase}"])
    assert (ended.exit_code, "no status: production takes" in ended.output) == (0, True), ended.output
    assert github.shown == {}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """GitHub's description of its REST API."""
    if not OPENAPI.is_file():
        pytest.skip("GitHub's OpenAPI description is not installed: install npm, then make test")
    document: dict[str, Any] = json.loads(OPENAPI.read_text())
    return document


def body_of(described: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of the body of a POST."""
    schema = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return {**schema, "components": described["components"]}


def test_statuses_are_as_github_describes_them(verified: Verified, github: GitHub, described: dict[str, Any]) -> None:
    schema = body_of(described, "/repos/{owner}/{repo}/statuses/{sha}")
    verified.project.run("--phase=pre-deploy")
    verified.publish()
    assert {body["state"] for body in github.bodies} == {"pending", "success"}
    for body in github.bodies:
        jsonschema.validate(body, schema | {"additionalProperties": False})


@pytest.mark.parametrize(("name", "required"), [("prod", [CONTEXT]), ("stg", [])])
def test_the_ruleset_is_as_github_describes_it_and_as_doctor_wants_it(
    described: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, required: list[str]
) -> None:
    monkeypatch.chdir(ROOT)
    ended = CliRunner().invoke(ruleset, [f"--env={name}"])
    assert ended.exit_code == 0, ended.output
    body = json.loads(ended.output)
    jsonschema.validate(body, body_of(described, "/repos/{owner}/{repo}/rulesets"))
    branch = body["conditions"]["ref_name"]["include"][0].removeprefix("refs/heads/")
    assert {rule["type"] for rule in body["rules"]} == branch_protection.demanded(Branches())[branch]
    parameters = [rule.get("parameters", {}).get("required_status_checks", []) for rule in body["rules"]]
    assert [check["context"] for checks in parameters for check in checks] == required
