"""`gli run --cells`: real runs of every cell at once, joined. A run that is killed, lost or late makes NO-GO."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from test_cells import CELLS, gate, with_cells

from conftest import ROOT, Project, Sandbox, clean_environment, heed_ctrl_c, latest, wait_for
from gli.cells import local, merging, rounds
from gli.common import clock
from gli.report.files import RunFolder

LOCAL = CELLS.replace('"internet"', '"internet"\nrun = "local"').replace('"vpc"', '"vpc"\nrun = "local"')
GLI = [sys.executable, "-c", "from gli.cli.group import main; main(prog_name='gli')"]


def gli_run(root: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GLI, "run", "--cells", *arguments],
        cwd=root,
        env=clean_environment() | (env or {}),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def reasons(project: Project) -> str:
    verdict, _ = latest(project.root / "reports")
    assert verdict is not None
    return "\n".join(verdict["reasons"])


def test_a_round_of_local_cells_is_go(project: Project) -> None:
    done = gli_run(with_cells(project, LOCAL).root, "--env=own", "--phase=pre-deploy")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "VERDICT own: GO"), done.stdout + done.stderr
    assert "world: ended with 1 (VERDICT own: NO-GO) after " in done.stdout
    assert "seoul: ended with 0 (VERDICT own: GO) after " in done.stdout
    verdict, folder = latest(project.root / "reports")
    assert verdict is not None and folder is not None
    assert {part["cell"]: part["verdict"] for part in verdict["merged"]} == {"world": "NO-GO", "seoul": "GO"}
    assert len(list((folder / "cells/seoul/own").glob("2*/facts.jsonl"))) == 1
    assert gate(project)[0] == 0


def test_a_cell_that_is_killed_and_one_that_never_began_are_no_go(project: Project) -> None:
    with_cells(project, LOCAL)
    project.checks(
        "import os, signal\ndef test_first_check(target): pass\n"
        "def test_second_check(target): os.kill(os.getppid(), signal.SIGKILL)\n"
    )
    killed = gli_run(project.root, "--env=own")
    assert (killed.returncode, killed.stdout.splitlines()[-1]) == (1, "VERDICT own: NO-GO")
    assert "of the cell seoul: it may be under way until " in reasons(project)
    project.write("conftest.py", "import sys\nassert '--cell=world' not in sys.argv\n")
    assert gli_run(project.root, "--env=own").returncode == 1
    assert "the cell world is lost: there is no run of it" in reasons(project)


def test_an_interrupted_round_ends_its_runs_and_leaves_a_no_go(project: Project) -> None:
    with_cells(project, LOCAL)
    begun = project.root / "begun"
    project.checks(
        "import time, os\ndef test_first_check(target): pass\n"
        f"def test_second_check(target):\n    open({str(begun)!r}, 'w').write(str(os.getpid()))\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [*GLI, "run", "--cells", "--env=own"],
        cwd=project.root,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    ) as process:
        wait_for(lambda: begun.exists() and begun.read_text(), "the slow check")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.splitlines()[-1]) == (1, "VERDICT own: NO-GO")
    assert "of the cell seoul: incomplete: interrupted" in reasons(project)
    wait_for(lambda: not Path(f"/proc/{begun.read_text()}").exists(), "the end of the run")
    assert gate(project)[0] == 1


class Slow(local.LocalRun):
    """A run that has three seconds."""

    starting_s = 3.0 - rounds.RUN_DEADLINE_S - rounds.END_S


def test_a_run_that_does_not_end_in_time_is_ended(project: Project) -> None:
    with_cells(project, LOCAL)
    project.checks("import time\ndef test_first_check(target): pass\ndef test_second_check(target): time.sleep(60)\n")
    setting, said = merging.Setting.of(project.root, "own", None, "en"), []
    folder = RunFolder.of(project.root / "reports", "own", clock.now(), replay=False)
    verdict = rounds.hold(setting, folder, {"local": Slow}, patience_s=0, arguments=[], say=said.append)
    assert "seoul: late, it is ended" in said
    assert {r.labels for r in verdict.held_by if r.kind == "cell"} >= {("seoul",)}


class Impostor(local.LocalRun):
    """Of two cells, one is lost, and the other one leaves a run in its name too."""

    def start(self, arguments: Sequence[str]) -> None:
        if "--cell=seoul" in arguments:
            raise rounds.CellLost("nobody starts it")
        super().start(arguments)

    def fetch(self) -> None:
        super().fetch()
        if self._folder.exists():
            told = ["--env=own", "--cell=seoul", f"--report-dir={self._folder.absolute()}"]
            command = [sys.executable, "-m", "pytest", *told]
            subprocess.run(command, cwd=self._root, env=clean_environment(), capture_output=True, check=False)


def test_no_cell_speaks_for_another(project: Project) -> None:
    with_cells(project, LOCAL)
    setting, said = merging.Setting.of(project.root, "own", None, "en"), []
    folder = RunFolder.of(project.root / "reports", "own", clock.now(), replay=False)
    verdict = rounds.hold(setting, folder, {"local": Impostor}, patience_s=0, arguments=[], say=said.append)
    assert "world: it left a run of the cell seoul, which does not count" in said
    assert verdict.reasons[0] == "the cell seoul is lost: there is no run of it"


def test_a_cell_that_somebody_else_starts_is_one_sentence(project: Project) -> None:
    done = gli_run(with_cells(project).root, "--env=own")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gli: [own.cells.world] run = 'elsewhere': somebody else starts it")
    assert not (project.root / "reports").exists()


def test_the_cell_in_the_vpc_judges_what_the_internet_cannot_see_in_the_sandbox(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    root = tmp_path / "project"
    for name in ("checklists", "tests_smoke", "tests_infra"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pytest.ini"):
        shutil.copy(ROOT / name, root)
    (root / ".sandbox").symlink_to(ROOT / ".sandbox")
    cells = LOCAL.replace("own.", "sandbox.")
    (root / "environments.toml").write_text((ROOT / "environments.toml").read_text() + cells)
    done = gli_run(root, "--env=sandbox", "--phase=pre-deploy", env={"GLI_SANDBOX": sandbox.name})
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "VERDICT sandbox: GO"), done.stdout + done.stderr
    merged, folder = latest(root / "reports")
    assert merged is not None and folder is not None
    world, seoul = (latest(folder / "cells" / cell)[0] for cell in ("world", "seoul"))
    assert world is not None and seoul is not None
    assert (world["verdict"], world["counts"]["unknown"] > 10) == ("NO-GO", True)
    for key in ("counts", "manifest", "coverage", "account", "region"):
        assert merged[key] == seoul[key], key
