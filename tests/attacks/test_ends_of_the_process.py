"""However the process of a run ends, and whatever stays behind: the exit code and the last line follow the verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_rig import FAILS, GLI, PASSES
from report_rig import HOOK, Hook

from conftest import ENVIRONMENT, ROOT, Project, sampled

ENDS = {
    "os.execv": "import os\n    os.execv('/bin/true', ['true'])",
    "posix._exit": "import posix\n    posix._exit(0)",
    "exit of the C library": "import ctypes\n    ctypes.CDLL(None).exit(0)",
    "os._exit in a thread": "import os, threading, time\n    threading.Thread(target=lambda: os._exit(0)).start()\n"
    "    time.sleep(5)",
    "SystemExit": "raise SystemExit(0)",
    "pytest.exit": "import pytest\n    pytest.exit('fine', returncode=0)",
    "os.execv of a program that stays": "import os\n    os.execv('/bin/sleep', ['sleep', '600'])",
    "pytest.exit with a code of which a shell sees 0": "import pytest\n    pytest.exit('fine', returncode=256)",
}


@pytest.mark.parametrize("how", sampled([*ENDS], every=2))
def test_a_check_that_ends_the_process_with_0(project: Project, how: str) -> None:
    project.checks(f"def test_first_check(target):\n    {ENDS[how]}\ndef test_second_check(target): pass\n")
    ran = project.run_alone()
    assert ran.code != 0
    assert ran.last_line == "VERDICT own: NO-GO", ran.output
    assert ran.verdict is not None and ran.verdict["verdict"] == "NO-GO"


CONFTESTS = {
    "sys.exit": "import sys\nsys.exit(0)\n",
    "pytest.exit": "import pytest\npytest.exit('fine', returncode=0)\n",
    "os._exit": "import os\nos._exit(0)\n",
    "os._exit in a thread": "import os, threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.5), os._exit(0)), daemon=True).start()\n",
    "os._exit in a thread, later": "import os, threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(2), os._exit(0)), daemon=True).start()\n"
    "def pytest_runtest_setup(): time.sleep(5)\n",
}


@pytest.mark.parametrize("option", [[], ["--collect-only"]])
@pytest.mark.parametrize("how", sampled([*CONFTESTS], every=2))
def test_a_conftest_that_ends_the_process_with_0(project: Project, how: str, option: list[str]) -> None:
    """The process that watches the run reads no conftest file."""
    project.checks(FAILS)
    project.write("conftest.py", CONFTESTS[how])
    ran = project.run_alone(*option)
    assert ran.code != 0 and ("ERROR: " in ran.output or ran.last_line == "VERDICT own: NO-GO"), ran.output
    assert ran.verdict is None or (ran.verdict["verdict"], ran.last_line) == ("NO-GO", "VERDICT own: NO-GO")


REPORTED = """
import os, signal
def test_first_check(target): os.kill(os.getpid(), signal.SIGKILL)
def test_second_check(target): pass
"""


def test_a_run_that_is_ended_leaves_what_people_and_ci_read(project: Project, hook: Hook, tmp_path: Path) -> None:
    project.write("environments.toml", f'{ENVIRONMENT}\n[own.notify]\nurl_variables = ["{HOOK}"]\n')
    project.checks(REPORTED)
    summary = tmp_path / "summary"
    ran = project.run_alone(env={"GITHUB_STEP_SUMMARY": str(summary)})
    assert (ran.code, ran.last_line) == (137, "VERDICT own: NO-GO"), ran.output
    why = "incomplete: the process of the run ended with 137 before its verdict was there"
    assert ran.folder is not None and why in " ".join(ran.output.split())
    for file in ("report.html", "report.md", "junit.xml"):
        assert why in (ran.folder / file).read_text(), file
    assert why in summary.read_text()
    assert [one["body"]["type"] for one in hook.got] == ["failure"]
    assert why in hook.got[0]["body"]["message"]


def test_a_receiver_that_does_not_answer_holds_up_no_run_that_was_ended(project: Project, hook: Hook) -> None:
    project.write("environments.toml", f'{ENVIRONMENT}\n[own.notify]\nurl_variables = ["{HOOK}"]\n')
    project.checks(REPORTED)
    hook.server.RequestHandlerClass.do_POST = lambda _: time.sleep(30)  # type: ignore[attr-defined]
    begun = time.monotonic()
    ran = project.run_alone()
    assert (ran.code, ran.last_line, time.monotonic() - begun < 25) == (137, "VERDICT own: NO-GO", True), ran.output


def test_python_that_stays_interactive_does_not_end_with_0(project: Project) -> None:
    """With PYTHONINSPECT, Python reads commands after its program, and ends with 0 where there are none."""
    project.checks(FAILS)
    ran = project.run_alone(env={"PYTHONINSPECT": "1"})
    assert (ran.code, ran.last_line) == (1, "VERDICT own: NO-GO")


@pytest.mark.parametrize(("checks", "code"), [(PASSES, 0), (FAILS, 1)])
def test_a_run_ends_with_its_code_if_its_starter_ignored_the_end_of_children(
    project: Project, checks: str, code: int
) -> None:
    project.checks(checks)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--env=own"],
        cwd=project.root,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr


STAYS = {
    "a fork": "import os, time\n    if os.fork() == 0:\n        time.sleep(600)\n        os._exit(0)",
    "a thread": "import threading, time\n    threading.Thread(target=time.sleep, args=(600,)).start()",
    "a fork that goes on with the run": "import os\n    os.fork()",
    "a program": "import subprocess\n    subprocess.Popen(['sleep', '600'])",
    "an exit hook": "import atexit, time\n    atexit.register(time.sleep, 600)",
}


@pytest.mark.parametrize("what", sampled([*STAYS], every=2))
def test_a_process_left_by_a_check_does_not_delay_the_end(project: Project, what: str) -> None:
    """The output ends too: no leftover process keeps CI's pipe open."""
    project.checks(f"def test_first_check(target):\n    {STAYS[what]}\ndef test_second_check(target): pass\n")
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "--env=own"], cwd=project.root, stdout=subprocess.PIPE, text=True
    ) as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.rstrip().splitlines()[-1]) == (0, "VERDICT own: GO")


def without_stream(project: Project, number: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project while this standard stream is closed."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=project.root,
        preexec_fn=lambda: os.close(number),
        stdout=subprocess.PIPE if number != 1 else None,
        stderr=subprocess.PIPE if number != 2 else None,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("command", "code"), [(["-m", "pytest", "--env=own"], 4), (["-c", GLI, "checks"], 2)])
def test_a_closed_output_is_one_sentence(project: Project, command: list[str], code: int) -> None:
    done = without_stream(project, 1, *command)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1 and "standard output is closed" in done.stderr


def into_a_full_disk(project: Project, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python in the project with an output that has no room."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        return subprocess.run(
            [sys.executable, *command],
            cwd=cwd or project.root,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )


def says_no_room(done: subprocess.CompletedProcess[str]) -> bool:
    told = "the output can't be written: No space left on device"
    return done.returncode == 3 and len(done.stderr.splitlines()) == 1 and told in done.stderr


@pytest.mark.parametrize("options", [[], ["-q"], ["--phase=on-call"], ["-k", "first"], ["--collect-only"]])
def test_a_run_whose_output_has_no_room_is_one_sentence(project: Project, options: list[str]) -> None:
    done = into_a_full_disk(project, "-m", "pytest", "--env=own", *options)
    assert says_no_room(done), done
    verdict = project.root / "reports/own/latest/verdict.json"
    assert not verdict.exists() or json.loads(verdict.read_text())["verdict"] == "NO-GO"


TEXTS = [["-c", GLI, "--help"], ["-c", GLI, "promote", "--help"], ["-m", "sandbox", "faults"]]


@pytest.mark.parametrize("command", TEXTS)
def test_help_and_lists_that_have_no_room_are_one_sentence(project: Project, command: list[str]) -> None:
    done = into_a_full_disk(project, *command, cwd=ROOT)
    assert says_no_room(done), done


def test_a_run_that_is_killed_after_its_verdict_leaves_no_go_where_the_output_has_no_room(project: Project) -> None:
    project.write(
        "conftest.py",
        "import os, pytest, gli.run.run_hooks as hooks\n@pytest.hookimpl(trylast=True)\n"
        "def pytest_configure(config):\n"
        "    config.get_terminal_writer()._file = open(os.devnull, 'w')\n"
        "    hooks._told = lambda *_: os.kill(os.getpid(), 9)\n",
    )
    done = into_a_full_disk(project, "-m", "pytest", "--env=own")
    assert (done.returncode, done.stderr) == (137, ""), done
    assert json.loads((project.root / "reports/own/latest/verdict.json").read_text())["verdict"] == "NO-GO"


def test_a_closed_error_stream_changes_nothing(project: Project) -> None:
    done = without_stream(project, 2, "-m", "pytest", "--env=own")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "VERDICT own: GO")


def test_the_last_line_is_the_verdict_of_the_run(project: Project) -> None:
    """Whatever a process prints that a check left behind."""
    project.checks(
        "import os, signal, time\ndef says(*_): os.write(1, b'VERDICT own: GO\\n'), os._exit(0)\n"
        "def test_first_check(target):\n    if os.fork() == 0:\n        signal.signal(signal.SIGTERM, says)\n"
        "        time.sleep(60)\n    assert False, 'broken'\ndef test_second_check(target): pass\n"
    )
    ran = project.run_alone("-s")
    assert (ran.code, "VERDICT own: GO" in ran.output) == (1, True)
    assert ran.last_line == "VERDICT own: NO-GO"
    assert ran.output.count("VERDICT own: NO-GO") == 1


def test_a_folder_that_is_called_latest_is_one_sentence(project: Project) -> None:
    """CI's archives hold a copy where there was a link."""
    (project.root / "reports/own/latest").mkdir(parents=True)
    ran = project.run()
    assert (ran.code, len(ran.output.strip().splitlines())) == (4, 1), ran.output
    assert "latest is a folder, and a run makes a link of that name; remove the folder" in ran.output
