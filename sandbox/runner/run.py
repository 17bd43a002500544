"""One run of a deploy workflow: its jobs in their order, step by step."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gli.observe.release import workflow_calls
from gli.observe.release.workflow_calls import Call, Job
from gli.observe.release.workflow_expressions import Expression, Unresolved
from sandbox import repositories, workflows
from sandbox.processes import SOURCE
from sandbox.runner import actions
from sandbox.runner.actions import StepFailed

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_OF_THE_FILE = re.compile(r"fromJSON\(toJSON\(job\)\)\.(workflow_\w+)")
_SHELLS = {"": ["bash", "-e"], "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"]}
_LONGEST_STEP_S = 900.0


@dataclass
class Run:
    """A run for the head of a branch."""

    repository: str
    branch: str
    commit: str
    remotes: Path
    """The folder of the bare repositories."""
    variables: Mapping[str, str]
    """The variables of the GitHub environment."""
    credentials: Mapping[str, str]
    """What the job's role would bring: the environment variables of the AWS CLI and boto3."""
    environment: dict[str, str]
    """The environment variables of every command."""
    say: Callable[[str], None]
    temp: Path = field(default_factory=Path)
    workspace: Path = field(default_factory=Path)

    def play(self) -> bool:
        """Run the workflow; False if a job failed. The jobs after it are skipped."""
        with tempfile.TemporaryDirectory(prefix="gli-run-") as folder:
            self.temp = Path(folder)
            self._docker()
            return all(self._job(number, job) for number, job in enumerate(self._jobs()))

    def check_out(self) -> None:
        """Write the pushed commit into the workspace."""
        repositories.check_out(repositories.path(self.remotes, self.repository), self.commit, self.workspace)

    def _jobs(self) -> list[Job]:
        path = repositories.path(self.remotes, self.repository)
        text = repositories.read(path, self.commit, workflows.FILE)
        called: dict[Call, str] = {}
        for call in workflow_calls.calls(text, Call(workflows.FILE)):
            if call is not None:
                where = repositories.path(self.remotes, call.repository) if call.repository else path
                called[call] = repositories.read(where, call.ref or self.commit, call.path)
        return workflow_calls.jobs(workflow_calls.document(text), Call(workflows.FILE), called)

    def _docker(self) -> None:
        tools = self.temp / "tools"
        tools.mkdir()
        stand_in = tools / "docker"
        stand_in.write_text(f'#!/bin/sh\nPYTHONPATH={SOURCE} exec {sys.executable} -m sandbox.runner.docker "$@"\n')
        stand_in.chmod(0o755)
        self.environment["PATH"] = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment["RUNNER_TEMP"] = str(self.temp)

    def _job(self, number: int, job: Job) -> bool:
        self.workspace = self.temp / f"workspace-{number}"
        self.workspace.mkdir()
        known: dict[str, Any] = {f"vars.{name}": value for name, value in self.variables.items()}
        known |= {f"inputs.{name}": value for name, value in job.inputs.items()} | {"github.run_id": "1"}
        if not all(self._holds(condition, known) for condition in job.conditions):
            return True
        shared = [job.document.get("env"), job.body.get("env")]
        failed = False
        for step in job.steps:
            condition = str(step.get("if", "success()"))
            if failed and not re.search(r"\b(always|failure)\(\)", condition):
                continue
            if not self._holds(condition, known):
                continue
            try:
                outputs = self._step(job, step, shared, known)
            except StepFailed as e:
                self.say(f"  failed: {e}")
                failed = True
            else:
                known |= {f"steps.{step['id']}.outputs.{k}": v for k, v in outputs.items() if "id" in step}
        return not failed

    def _step(self, job: Job, step: dict[str, Any], shared: list[Any], known: Mapping[str, Any]) -> dict[str, str]:
        self.say(f"{step.get('name') or step.get('uses') or step['run']}")
        if "uses" in step:
            given = {key: self._value(value, known) for key, value in (step.get("with") or {}).items()}
            actions.play(self, str(step["uses"]), given)
            return {}
        env = {k: self._value(v, known) for part in [*shared, step.get("env")] for k, v in (part or {}).items()}
        defaults = (job.body.get("defaults") or {}).get("run") or {}
        script, output = self.temp / "step.sh", self.temp / "output"
        script.write_text(self._value(step["run"], known), encoding="utf-8")
        output.write_text("", encoding="utf-8")
        told = {
            "GITHUB_SHA": self.commit,
            "GITHUB_REF_NAME": self.branch,
            "GITHUB_OUTPUT": str(output),
            "GITHUB_WORKSPACE": str(self.workspace),
        }
        done = subprocess.run(
            [*_SHELLS[str(step.get("shell") or defaults.get("shell") or "")], str(script)],
            cwd=self.workspace,
            env={**self.environment, **told, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LONGEST_STEP_S,
            check=False,
        )
        for line in done.stdout.splitlines():
            self.say(f"    {line}")
        if done.returncode:
            raise StepFailed(f"exit code {done.returncode}")
        return dict(line.split("=", 1) for line in output.read_text(encoding="utf-8").splitlines() if "=" in line)

    def _value(self, text: Any, known: Mapping[str, Any]) -> str:
        """The text with the values of its expressions; as on GitHub, an unknown one is empty."""

        def value(match: re.Match[str]) -> str:
            of_the_file = _OF_THE_FILE.search(match[1])
            if of_the_file:
                return of_the_file[1]
            try:
                found = Expression(match[1], self.branch, known).value()
            except Unresolved:
                return ""
            return str(found).lower() if isinstance(found, bool) else str(found)

        return _EXPRESSION.sub(value, str(text))

    def _holds(self, condition: str, known: Mapping[str, Any]) -> bool:
        inner = _EXPRESSION.fullmatch(condition.strip())
        try:
            return bool(Expression(inner[1] if inner else condition, self.branch, known).value())
        except Unresolved:  # an output that no step has set
            return False
