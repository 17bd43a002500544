"""The release scripts: each calls `gli` with its branches, from any working directory."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, clean_environment

SCRIPTS = {
    "multigit-pull-dev.sh": ["pull", "dev"],
    "multigit-pull-stg.sh": ["pull", "stg"],
    "multigit-pull-main.sh": ["pull", "main"],
    "multigit-merge-dev-to-stg.sh": ["promote", "dev", "stg"],
    "multigit-merge-stg-to-main.sh": ["promote", "stg", "main"],
    "multigit-merge-main-to-stg.sh": ["promote", "main", "stg"],
    "multigit-merge-stg-to-dev.sh": ["promote", "stg", "dev"],
    "multigit-push-stg.sh": ["push", "stg", "-m"],
    "multigit-push-main.sh": ["push", "main", "-m"],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the scripts beside a `gli` that prints its working directory and its arguments."""
    (tmp_path / "scripts").mkdir()
    for script in (ROOT / "scripts").glob("multigit-*"):
        (tmp_path / "scripts" / script.name).write_bytes(script.read_bytes())
        (tmp_path / "scripts" / script.name).chmod(script.stat().st_mode)
    gli = tmp_path / ".venv" / "bin" / "gli"
    gli.parent.mkdir(parents=True)
    gli.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\nexit 3\n')
    gli.chmod(0o755)
    return tmp_path


def called(script: Path | str, *arguments: str, cwd: Path) -> tuple[int, list[str]]:
    done = subprocess.run([script, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_exactly_these_scripts_exist() -> None:
    assert {path.name for path in (ROOT / "scripts").glob("multigit-*")} == SCRIPTS.keys()


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_calls_gli_of_its_project_and_passes_arguments_and_exit_code(
    project: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("else where")
    code, lines = called(project / "scripts" / name, "Two words; $(date)", "--yes", cwd=elsewhere)
    assert (code, lines) == (3, [str(project), *SCRIPTS[name], "Two words; $(date)", "--yes"])
    link = elsewhere / "link.sh"
    link.symlink_to(project / "scripts" / name)
    assert called(link, cwd=elsewhere) == (3, [str(project), *SCRIPTS[name]])


@pytest.mark.parametrize("name", SCRIPTS)
def test_gli_accepts_the_commands_of_the_scripts(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / name, *(["message"] if "push" in name else [])],
        cwd=tmp_path,
        env=clean_environment() | {"GLI_ENV": "no-such-environment"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "environments.toml has no environment 'no-such-environment'" in done.stderr
