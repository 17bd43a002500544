"""The built wheel brings the checks, and `gli init` writes them beside a project's own; a neighbour is told apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from served import in_a_thread

from conftest import ROOT, Project, Ran, clean_environment, latest, row

OWN_CHECK = 'def test_own_check(target):\n    """The shop is open."""\n    assert target.name == \'api\', \'closed\'\n'
OWN_ITEM = '[OWN-1]\nheading = "all"\ntext.en = "The shop is open"\nchecks = ["own-check"]\n'


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path in ("/health/", "/api/") else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"open": true}')

    def log_message(self, *_: object) -> None:
        pass


def python(*arguments: str, cwd: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=clean_environment() | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_wheel_alone_brings_a_project_to_its_first_verdict(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a build leaves files where it runs
    for name in ("gli", "sandbox", "tests_smoke", "tests_infra", "checklists"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pytest.ini", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    how = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    command = [sys.executable, *how, str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        tops = {name.partition("/")[0] for name in content.namelist()}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"gli"}
        content.extractall(tmp_path / "site")
    shop, site = tmp_path / "shop", tmp_path / "site"
    shop.mkdir()
    said = python("-c", "from gli.cli.entry import main; main()", "init", cwd=shop, site=site)
    assert said.returncode == 0, said.stderr
    assert {"tests_smoke", "tests_infra", "checklists", "conftest.py", "pytest.ini", "environments.toml"} == {
        path.name for path in shop.iterdir()
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    in_a_thread(server)
    first = (shop / "environments.toml").read_text()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    (shop / "environments.toml").write_text(first.replace("https://shop.example.com", url))
    ran = python("-m", "pytest", "--env=production", cwd=shop, site=site)
    server.shutdown()
    verdict, _ = latest(shop / "reports")
    assert ran.returncode == 0, ran.stdout
    assert verdict is not None and verdict["verdict"] == "GO"
    assert next(p["state"] for p in verdict["coverage"]["parts"] if p["part"] == "services") == "verified"
    (shop / "checklists/checks.toml").write_text("old")
    again = python("-c", "from gli.cli.entry import main; main()", "init", cwd=shop, site=site)
    assert (again.returncode, "wrote" in again.stdout) == (0, False)
    python("-c", "from gli.cli.entry import main; main()", "init", "--update", cwd=shop, site=site)
    assert (shop / "checklists/checks.toml").read_text() == (ROOT / "checklists/checks.toml").read_text()
    assert url in (shop / "environments.toml").read_text()


def own_checks(project: Project, check: str = OWN_CHECK) -> Ran:
    (project.root / "tests_own").mkdir(exist_ok=True)
    project.write("tests_own/checks.toml", row("own-check"))
    for phase in ("pre-deploy", "post-deploy"):
        project.write(f"tests_own/{phase}.toml", OWN_ITEM)
    project.write("tests_own/test_shop.py", check)
    return project.run()


def test_own_checks_are_judged_and_hashed_like_those_of_the_package(project: Project) -> None:
    ran = own_checks(project)
    assert (ran.code, ran.outcomes("passed")) == (0, {"first-check", "second-check", "own-check"}), ran.output
    emptied = own_checks(project, "def test_own_check(target): pass\n")
    assert ran.verdict is not None and emptied.verdict is not None
    assert ran.verdict["suite"]["catalogue_sha256"] != emptied.verdict["suite"]["catalogue_sha256"]
    failed = own_checks(project, OWN_CHECK.replace("'api'", "'shop'"))
    assert (failed.code, failed.roots) == (1, {"own-check"})


def test_an_own_check_may_not_take_the_name_of_another(project: Project) -> None:
    own_checks(project)
    project.write("tests_own/checks.toml", row("first-check"))
    ran = project.run()
    assert ran.code == 4
    assert (
        "tests_own/checks.toml: [first-check] stands in checklists/checks.toml too; give it another name" in ran.output
    )


@pytest.mark.parametrize("before", [True, False])
def test_a_neighbour_with_the_same_option_is_one_sentence(tmp_path: Path, before: bool) -> None:
    (tmp_path / ("neighbour.py" if before else "conftest.py")).write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--env')\n"
    )
    (tmp_path / "test_x.py").write_text("def test_x(): pass\n")
    how = ["-p", "neighbour"] if before else []
    ran = python("-m", "pytest", *how, cwd=tmp_path, site=Path(f"{ROOT}{os.pathsep}{tmp_path}"))
    assert ran.returncode == 4
    assert ran.stderr.startswith("ERROR: another plugin of pytest has the option --env too; leave that plugin out")
    assert "Traceback" not in ran.stderr + ran.stdout
