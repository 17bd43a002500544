"""Cells on ECS: RunTask and S3 of moto, and an agent in the place of Fargate that really starts each command."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from test_cells import CELLS, gate, with_cells
from test_cells_run import GLI, gli_run, reasons

from conftest import Project, clean_environment, heed_ctrl_c, latest, wait_for
from gli.cells import ecs, merging, rounds, task

ACCOUNT, REGION, BUCKET = "123456789012", "ap-northeast-2", "gli-verify-results"
KEYS = {"AWS_ACCESS_KEY_ID": "caller", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": REGION}


class Agent:
    """What Fargate does, with processes of this machine: it runs each task's command, and stops the told ones."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.keys = {ACCOUNT: KEYS}
        """The credentials of the role of each account's tasks."""
        self.loses: set[str] = set()
        """The cells whose task ends without doing anything."""
        self.commands: list[list[str]] = []
        self.secrets: dict[str, str] = {}
        """What the task definition gives to the container."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        from moto.ecs.models import ecs_backends

        while not self._ended.wait(0.05):
            for account, keys in list(self.keys.items()):
                for tasks in list(ecs_backends[account][REGION].tasks.values()):
                    for arn, started in list(tasks.items()):
                        self._tend(arn, started, keys)
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _tend(self, arn: str, started: Any, keys: dict[str, str]) -> None:
        process = self._processes.get(arn)
        if process is None and started.last_status == "RUNNING":
            (override,) = started.overrides["containerOverrides"]
            command = override["command"]
            self.commands.append(command)
            if any(f"--cell={cell}" in command for cell in self.loses):
                started.last_status = "STOPPED"
                return
            variables = {one["name"]: one["value"] for one in override["environment"]}
            env = clean_environment() | keys | self.secrets | variables
            self._processes[arn] = subprocess.Popen([sys.executable, *command[1:]], cwd=self.root, env=env)
        elif process is not None and process.poll() is not None:
            started.last_status = "STOPPED"
        elif process is not None and started.last_status == "STOPPED":
            process.terminate()


def furnished(session: boto3.Session, url: str, bucket: str) -> str:
    """Makes in an account what cells run on; returns the table of a cell there."""
    clients = {name: session.client(name, region_name=REGION, endpoint_url=url) for name in ("ec2", "ecs", "s3")}
    subnet = clients["ec2"].describe_subnets()["Subnets"][0]["SubnetId"]
    clients["s3"].create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    clients["ecs"].create_cluster(clusterName="gli-verify")
    clients["ecs"].register_task_definition(
        family="gli-verify",
        networkMode="awsvpc",
        containerDefinitions=[{"name": "verify", "image": "gli-verify:1", "memory": 1024}],
    )
    return (
        f'cluster = "gli-verify"\ntask_definition = "gli-verify"\nsubnets = ["{subnet}"]\n'
        f'security_groups = ["stg-gli-verify"]\nresults = "s3://{bucket}/rounds"\n'
    )


@pytest.fixture
def cloud(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """moto with a cluster, a task definition and a bucket; the project's cells run there."""
    from moto.moto_api import state_manager
    from moto.server import ThreadedMotoServer

    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 10**6})
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    table = furnished(boto3.Session(), url, BUCKET)
    cells = CELLS.replace("[own.cells.seoul]", f"[own.cells.world.ecs]\n{table}[own.cells.seoul]")
    cells = cells.replace('"internet"', '"internet"\nrun = "ecs"').replace('"vpc"', '"vpc"\nrun = "ecs"')
    aws = f'[own.aws]\nregion = "{REGION}"\naccount_id = "{ACCOUNT}"\nendpoint_url = "{url}"\n'
    with_cells(project, cells + f"[own.cells.seoul.ecs]\n{table}" + aws)
    agent = Agent(project.root, url)
    yield agent
    agent.close()
    httpx.post(f"{url}/moto-api/reset", timeout=60)
    server.stop()
    state_manager.unset_transition("ecs::task")


def test_cells_on_ecs_are_started_fetched_and_joined(cloud: Agent, project: Project, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    cloud.secrets = {task.SIGNING_KEY: (tmp_path / "key").read_text()}
    done = gli_run(project.root, "--env=own", "--phase=pre-deploy", env=KEYS)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "VERDICT own: GO"), done.stdout + done.stderr
    assert sorted(c[:5] for c in cloud.commands) == [
        ["python", "-m", "gli.cells.task", "--env=own", f"--cell={cell}"] for cell in ("seoul", "world")
    ]
    verdict, folder = latest(project.root / "reports")
    assert verdict is not None and folder is not None
    assert [(p["cell"], p["account"], p["region"]) for p in verdict["merged"]] == [
        ("world", ACCOUNT, REGION),
        ("seoul", ACCOUNT, REGION),
    ]
    assert len(list((folder / "cells/seoul/own").glob("2*/report.html"))) == 1
    assert len(list((folder / "cells/seoul/own").glob("2*/verdict.json.sig"))) == 1
    assert gate(project)[0] == 0


def test_cells_of_two_accounts_are_started_by_one_command(cloud: Agent, project: Project, tmp_path: Path) -> None:
    other, role = "222222222222", {"RoleArn": "arn:aws:iam::222222222222:role/gli", "RoleSessionName": "seoul"}
    keys = boto3.client("sts", endpoint_url=cloud.url).assume_role(**role)["Credentials"]
    names = {"access_key_id": "AccessKeyId", "secret_access_key": "SecretAccessKey", "session_token": "SessionToken"}
    cloud.keys[other] = KEYS | {f"AWS_{name.upper()}": keys[key] for name, key in names.items()}
    profile = "".join(f"aws_{name} = {keys[key]}\n" for name, key in names.items())
    (tmp_path / "config").write_text(f"[profile seoul]\n{profile}")
    session = boto3.Session(*(keys[key] for key in names.values()))
    table = furnished(session, cloud.url, "gli-verify-seoul")
    text = (project.root / "environments.toml").read_text()
    before, _, after = text.partition("[own.cells.seoul.ecs]\n")
    before = before.replace("[own.cells.seoul]\n", f'[own.cells.seoul]\naccount_id = "{other}"\n')
    aws = after[after.index("[own.aws]") :]
    project.write("environments.toml", f'{before}[own.cells.seoul.ecs]\n{table}profile = "seoul"\n{aws}')
    env = KEYS | {"AWS_CONFIG_FILE": str(tmp_path / "config")}
    done = gli_run(project.root, "--env=own", "--phase=pre-deploy", env=env)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "VERDICT own: GO"), done.stdout + done.stderr
    verdict, _ = latest(project.root / "reports")
    assert verdict is not None
    assert [(p["cell"], p["account"]) for p in verdict["merged"]] == [("world", ACCOUNT), ("seoul", other)]
    lost = gli_run(project.root, "--env=own", env=KEYS | {"AWS_CONFIG_FILE": "/nowhere"})
    assert (lost.returncode, "the AWS configuration has no profile 'seoul'" in lost.stderr) == (2, True), lost.stderr


def test_a_task_that_leaves_nothing_and_one_that_is_refused_are_lost(cloud: Agent, project: Project) -> None:
    cloud.loses = {"seoul"}
    text = (project.root / "environments.toml").read_text()
    project.write("environments.toml", text.replace('cluster = "gli-verify"', 'cluster = "nowhere"', 1))
    done = gli_run(project.root, "--env=own", env=KEYS)
    assert done.returncode == 1
    assert "world: ecs:RunTask answered ClusterNotFoundException" in done.stdout
    assert "the cell world is lost: there is no run of it" in reasons(project)
    assert "the cell seoul is lost: there is no run of it" in reasons(project)


def test_an_interrupted_round_stops_its_tasks(cloud: Agent, project: Project) -> None:
    begun = project.root / "begun"
    project.checks(
        "import time, os\ndef test_first_check(target): pass\n"
        f"def test_second_check(target):\n    open({str(begun)!r}, 'w').write(str(os.getpid()))\n    time.sleep(60)\n"
    )
    command = [*GLI, "run", "--cells", "--env=own"]
    how = {"cwd": project.root, "env": clean_environment() | KEYS, "preexec_fn": heed_ctrl_c}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **how) as process:
        wait_for(lambda: begun.exists() and begun.read_text(), "the slow check")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 1
    assert "seoul" in reasons(project)
    wait_for(lambda: not Path(f"/proc/{begun.read_text()}").exists(), "the end of the task")


RUN = "own/20260131T000000.000-1"
HOSTILE = (f"../{RUN}/verdict.json", f"{RUN}/conftest.py", "/tmp/verdict.json")


@pytest.mark.parametrize("name", [*HOSTILE, f"{RUN}/verdict.json", None])
def test_an_archive_holds_files_of_runs_or_is_refused(cloud: Agent, project: Project, name: str | None) -> None:
    setting = merging.Setting.of(project.root, "own", None, "en")
    cell, folder = setting.environment.cells["seoul"], project.root / "reports/own/round/cells/seoul"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name or ""))
    aws = setting.environment.aws
    assert aws is not None
    s3 = boto3.client("s3", region_name=REGION, endpoint_url=aws.endpoint_url)
    s3.put_object(
        Bucket=BUCKET, Key="rounds/own/round/seoul.tar.gz", Body=archive.getvalue() if name else b"no archive"
    )
    if name is None or name in HOSTILE:
        with pytest.raises(rounds.CellLost, match="its results can't be read"):
            ecs.EcsRun(setting, cell, folder).fetch()
        assert not list(project.root.glob("reports/**/*.json"))
    else:
        ecs.EcsRun(setting, cell, folder).fetch()
        assert (folder / name).is_file()


@pytest.mark.parametrize(("url", "code"), [({}, 2), ({task.RESULTS: "http://127.0.0.1:9/results"}, 3)])
def test_a_task_that_cannot_leave_its_reports_says_so(project: Project, url: dict[str, str], code: int) -> None:
    command = [sys.executable, "-m", "gli.cells.task", "--env=own"]
    env = clean_environment() | url
    done = subprocess.run(command, cwd=project.root, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert "127.0.0.1:9" not in done.stdout + done.stderr
