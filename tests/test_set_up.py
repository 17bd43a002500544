"""Setting up: all files name the same supported versions of Python, and each failure is one sentence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSIONS = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
FIRST, LAST = VERSIONS[0], VERSIONS[-1]


def copied(folder: Path) -> Path:
    """A copy of the files that setting up reads, in a folder without `.venv`."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in ("requirements", "scripts"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return copied(tmp_path)


@pytest.fixture(scope="module")
def without_a_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose one requirement has a source archive in the index and no wheel; `.venv` stays between tests."""
    folder = copied(tmp_path_factory.mktemp("clone"))
    (folder / "requirements/product.txt").write_text("--only-binary :all:\nlacking==1.0\n")
    source = folder / "index/lacking"
    source.mkdir(parents=True)
    (source / "index.html").write_text('<a href="lacking-1.0.tar.gz">lacking-1.0.tar.gz</a>')
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> tuple[int, list[str]]:
    """The exit code and stderr of `make`, without its own messages; a `make` that runs the tests is no parent to it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("make: ")]


def python(folder: Path, version: tuple[int, int]) -> Path:
    """A fake interpreter that reports this version."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = {version}; ${{2}}"\n')
    path.chmod(0o755)
    return path


def test_every_place_names_the_same_versions() -> None:
    matrix = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == VERSIONS
    major, minor = LAST.split(".")
    assert PROJECT["requires-python"] == f">={FIRST},<{major}.{int(minor) + 1}"
    assert f"{'|'.join(VERSIONS)}) exit 0" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("version", [(2, 7), (3, 10), (3, 15)])
def test_another_python_is_refused_in_one_sentence(clone: Path, version: tuple[int, int]) -> None:
    old = python(clone, version)
    code, said = make(clone, "verify", f"PYTHON={old}")
    hint = f"name a Python from {FIRST} to {LAST}: make verify PYTHON=PATH"
    assert (code, said) == (2, [f"{old} is Python {version[0]}.{version[1]}; {hint}"])
    assert not (clone / ".venv").exists()


def test_a_missing_python_is_refused_in_one_sentence(clone: Path) -> None:
    code, said = make(clone, "test", "PYTHON=/nowhere/python3")
    assert (code, len(said)) == (2, 1), said
    assert re.fullmatch(rf"/nowhere/python3 can't be started .*from {FIRST} to {LAST}: make test PYTHON=PATH", said[0])


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ("file://{folder}/index", r"lacking==1\.0 has no wheel for Python 3\.\d+\.\d+ on \w+ \w+; the pinned packages"),
        ("http://127.0.0.1:9/simple", r"pip can't reach its package index to install requirements/product\.txt"),
    ],
)
def test_a_package_that_pip_cannot_install_is_one_sentence(without_a_wheel: Path, index: str, sentence: str) -> None:
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_RETRIES": "1"}
    pip["PIP_INDEX_URL"] = index.format(folder=without_a_wheel)
    code, said = make(without_a_wheel, ".venv/product.stamp", f"PYTHON={sys.executable}", **pip)
    assert (code, len(said)) == (2, 1), said
    assert re.match(sentence, said[0]), said
    assert "lacking" in (without_a_wheel / ".venv/pip.log").read_text()
