"""The image of the suite and its task definition: linted, pinned, without secrets, with exactly what is hashed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from gli.cells import task
from gli.config import catalogue
from gli.config.cells import Ecs
from gli.provision.template import Template

DOCKERFILE = ROOT / "Dockerfile"
HADOLINT = ROOT / ".venv/bin/hadolint"
ALLOWED = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
KEYS = f"arn:aws:secretsmanager:ap-northeast-2:{'1' * 12}:secret:keys"
PARAMETERS = {"Environment": "stg", "Image": "x", "TaskRoleArn": "x", "KeysSecretArn": KEYS}


@pytest.mark.skipif(not HADOLINT.is_file(), reason="hadolint has a wheel for Linux on x86-64 only")
def test_hadolint_finds_nothing_and_a_fault_in_a_broken_one(tmp_path: Path) -> None:
    def found(path: Path) -> str:
        return subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True, check=False).stdout

    assert found(DOCKERFILE) == ""
    broken = tmp_path / "Dockerfile"
    broken.write_text(re.sub(r"FROM python:\S+", "FROM python:latest", DOCKERFILE.read_text()))
    assert "DL3007" in found(broken)


def test_the_image_is_pinned_runs_as_nobody_and_holds_no_secret() -> None:
    text = DOCKERFILE.read_text()
    (base,) = re.findall(r"^FROM (.+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.1[1-4]\.\d+-slim-\w+", base)
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001"]
    assert not re.search(r"^(ARG|ADD)|KEY|TOKEN|SECRET|PASSWORD", text, re.MULTILINE)


def test_the_image_holds_what_the_digest_covers_and_nothing_that_lies_about(tmp_path: Path) -> None:
    """So a run in the container is of the same catalogue as this project, which the merge demands."""
    for name in ALLOWED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy(source, tmp_path)
    assert catalogue.load(tmp_path).sha256 == catalogue.load(ROOT).sha256
    assert {"gli", "requirements", "scripts"} <= {*ALLOWED}
    assert {*ALLOWED} & {".git", ".sandbox", ".release", ".venv", "reports", "sandbox", "tests"} == set()


def test_the_task_definition_is_the_one_that_gli_starts() -> None:
    resources = Template(ROOT / "infrastructure/cells.yaml").resources(PARAMETERS)
    (container,) = resources["Task"].properties["ContainerDefinitions"]
    user = DOCKERFILE.read_text().partition("USER ")[2].split()[0]
    assert (container["Name"], container["User"]) == (Ecs.model_fields["container"].default, user)
    assert container["ReadonlyRootFilesystem"] is True
    secrets: list[dict[str, Any]] = container["Secrets"]
    assert {one["Name"] for one in secrets} == {task.SIGNING_KEY, task.GIT_KEY, task.KNOWN_HOSTS}
