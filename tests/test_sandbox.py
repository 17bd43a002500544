"""The sandbox's life: it starts beside others, prints its addresses, and always ends without leftovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from conftest import PYTEST, ROOT, SANDBOX, Sandbox, clean_environment, sampled, wait_for


class Own:
    """A sandbox in the foreground, in its own process."""

    def __init__(self, *options: str) -> None:
        self.name = f"life-{uuid.uuid4().hex[:8]}"
        self.process = subprocess.Popen(
            [*SANDBOX, "up", "--name", self.name, *options],
            cwd=ROOT,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell that starts the tests in the background may make its children ignore these signals.
            preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGHUP)],
        )
        self.said: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if "sandbox ready" in line:
                break
        assert self.process.poll() is None, self.said
        self.folder = (ROOT / ".sandbox" / self.name).resolve()
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def end(self, sent: signal.Signals) -> None:
        os.kill(self.process.pid, sent)
        self.process.communicate(timeout=30)

    def left_behind(self) -> list[str]:
        """Processes and files that still exist a moment later."""
        gone_by = time.monotonic() + 8
        while time.monotonic() < gone_by and (found := self._found()):
            time.sleep(0.1)
        return found

    def _found(self) -> list[str]:
        alive = [f"process {p.pid}" for p in self.children if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        link = ROOT / ".sandbox" / self.name
        return alive + [str(p) for p in (self.folder, link) if os.path.lexists(p)]


@pytest.fixture
def own() -> Iterator[Own]:
    sandbox = Own()
    yield sandbox
    if sandbox.process.poll() is None:
        sandbox.end(signal.SIGTERM)


@pytest.mark.parametrize(
    "sent",
    sampled([signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP], every=4),
)
def test_a_sandbox_leaves_nothing_behind(own: Own, sent: signal.Signals) -> None:
    assert len(own.children) >= 4
    own.end(sent)
    assert own.left_behind() == []


def test_other_tools_can_connect_with_the_status(sandbox: Sandbox) -> None:
    status = sandbox.status
    assert set(status) >= {
        *("aws_endpoint_url", "aws_region", "postgres_dsn", "redis_url", "amqp_url"),
        *("hosts", "ca_file", "git_remotes", "state_dir"),
    }
    with psycopg.connect(status["postgres_dsn"]) as connection:
        assert connection.execute("SELECT count(*) FROM django_migrations").fetchone() != (0,)
    with redis.Redis.from_url(status["redis_url"]) as connection:
        assert connection.ping()
    assert len(sandbox.aws("ecs").list_clusters()["clusterArns"]) >= 2
    assert len(status["git_remotes"]) == 8
    for name, path in status["git_remotes"].items():
        log = {"deployments"} if name == "gli_root" else set()
        heads = subprocess.run(["git", "ls-remote", "--heads", path], capture_output=True, text=True, check=True)
        assert {line.rpartition("/")[2] for line in heads.stdout.splitlines()} == {"dev", "stg", "main"} | log


def test_curl_reaches_a_host_with_the_ca_that_the_status_names(sandbox: Sandbox) -> None:
    address = sandbox.status["hosts"]["stg-api.glibiz.com"]
    asked = ["curl", "-sS", "--cacert", sandbox.status["ca_file"], "--connect-to", f"stg-api.glibiz.com:443:{address}"]
    answer = subprocess.run([*asked, "https://stg-api.glibiz.com/version"], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["revision"]


def test_production_is_seeded_beside_staging(sandbox: Sandbox) -> None:
    instances = sandbox.aws("rds").describe_db_instances()["DBInstances"]
    assert {i["DBInstanceIdentifier"] for i in instances} == {"stg-gli-database", "prod-gli-database"}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    asked = [*SANDBOX, *arguments]
    return subprocess.run(
        asked, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )


def test_a_detached_sandbox_with_variants_and_a_delay_runs_beside_another_until_down(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """A run of it is GO: benchmarks/ measures the duration."""
    name, varied = f"beside-{uuid.uuid4().hex[:8]}", ["health-check-takes-any-2xx", "sidecars"]
    options = ["--latency", "100ms", *(part for variant in varied for part in ("--variant", variant))]
    up = command("up", "--detach", "--name", name, *options)
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        other = json.loads(command("status", "--json", "--name", name).stdout)
        assert other["postgres_dsn"] != sandbox.status["postgres_dsn"]
        assert other["hosts"] != sandbox.status["hosts"]
        assert other["variants"] == varied
        listed = json.loads(command("variants", "--json", "--name", name).stdout)
        assert {variant["id"] for variant in listed if variant["active"]} == set(varied)
        broken = command("break", "dead-letters", "--name", name)  # its broker may still be starting
        assert broken.returncode == 0, broken.stderr
        assert command("heal", "--name", name).returncode == 0
        ran = Sandbox(name, other).verify_often(reports=tmp_path)
        assert ran.last_line == "VERDICT sandbox: GO", ran.output
    finally:
        down = command("down", "--name", name)
    assert down.returncode == 0, down.stdout + down.stderr
    assert not os.path.lexists(ROOT / ".sandbox" / name)


CUT = """
from pathlib import Path
from conftest import Project

def test_that_takes_long({fixtures}):
    project = Project(Path("project"))
    project.checks(
        "import time\\nfrom pathlib import Path\\n"
        "def test_first_check(target):\\n    Path('begun').touch()\\n    time.sleep(600)\\n"
        "def test_second_check(target): pass\\n"
    )
    project.run()
"""


@pytest.mark.parametrize(
    ("sent", "fixtures"),
    sampled(
        [(signal.SIGINT, ""), (signal.SIGINT, "sandbox"), (signal.SIGKILL, ""), (signal.SIGKILL, "sandbox")], every=4
    ),
)
def test_an_interrupted_test_run_leaves_no_process_behind(tmp_path: Path, sent: signal.Signals, fixtures: str) -> None:
    """A worker and a forked run, or a sandbox too, are active when Ctrl-C or SIGKILL hits the test run."""
    (tmp_path / "test_long.py").write_text(CUT.format(fixtures=fixtures))
    with subprocess.Popen(
        [*PYTEST, "-p", "conftest", "-n1", "test_long.py"],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as cut:
        wait_for((tmp_path / "project" / "begun").exists, "the run in a fork")
        children = psutil.Process(cut.pid).children(recursive=True)
        os.killpg(cut.pid, sent)
    assert len(children) > (6 if fixtures else 2), "a worker, a fork and a sandbox of several processes"
    wait_for(lambda: not any(alive(child) for child in children), "the end of every process")


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_second_sandbox_of_the_same_name_is_refused(sandbox: Sandbox) -> None:
    done = command("up", "--detach", "--name", sandbox.name)
    assert done.returncode == 1
    assert "is already up" in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["status"], ["down"], ["heal"], ["break", "rolled-back"]])
def test_without_a_sandbox_a_command_has_a_clear_error(arguments: list[str]) -> None:
    done = command(*arguments, "--name", "none-of-that-name")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len((done.stdout + done.stderr).strip().splitlines()) == 1


def test_status_json_without_a_sandbox_is_json() -> None:
    done = command("status", "--json", "--name", "none-of-that-name")
    assert (done.returncode, json.loads(done.stdout)) == (1, {"ready": False})


def test_an_unknown_fault_names_similar_faults(sandbox: Sandbox) -> None:
    done = command("break", "rolled-bak", "--name", sandbox.name)
    assert done.returncode == 2
    assert "rolled-back" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_wrong_option_is_one_sentence() -> None:
    done = command("up", "--latency", "soon")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_faults_are_listed_with_the_checks_they_turn_red(sandbox: Sandbox) -> None:
    faults = json.loads(sandbox.call("faults", "--json"))
    assert {"id", "turns_red", "description", "active"} <= set(faults[0])
    assert len(faults) > 70


def test_heal_without_a_name_heals_all(sandbox: Sandbox, tmp_path: Path) -> None:
    checks = ("alarms-quiet", "sg-no-world-ports", "logs-retention")
    sandbox.call("break", "alarm-rings", "ssh-open-to-the-world", "logs-kept-for-a-day")
    broken = sandbox.verify_some(*checks, reports=tmp_path)
    sandbox.call("heal")
    assert broken.roots == set(checks)
    assert sandbox.verify_some(*checks, reports=tmp_path).outcomes("passed") == set(checks)


def test_a_heal_that_fails_names_the_exception_and_heals_the_others(sandbox: Sandbox) -> None:
    """Another client has deleted the log stream that the fault made."""
    sandbox.call("break", "alarm-rings", "errors-in-the-log", "bucket-forgets-versions")
    group = "/gli/api-server/staging"
    sandbox.aws("logs").delete_log_stream(logGroupName=group, logStreamName="task/errors")
    done = command("heal", "--name", sandbox.name)
    assert done.returncode == 1
    assert done.stderr.startswith("errors-in-the-log could not be healed: ResourceNotFoundException: ")
    assert done.stderr.endswith("; start the sandbox again\n")
    assert json.loads(sandbox.call("status", "--json"))["faults"] == []
