"""Every known way to make pytest exit 0 for a run that proved nothing or hid a failure: none leads to GO.

Each case is a small project of two checks, run in its own process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from conftest import ENVIRONMENT, PYTEST, Project, Ran, clean_environment, latest, sampled, wait_for
from gli.common import clock
from gli.gate import gate

FAILS = "def test_first_check(target): assert False, 'expected 1, saw 2'\ndef test_second_check(target): pass\n"
PASSES = "def test_first_check(target): pass\ndef test_second_check(target): pass\n"


def held(ran: Ran, *words: str) -> None:
    """Assert that the run is not green and gives the reason."""
    assert ran.code != 0, ran.output
    assert ran.verdict is not None
    assert ran.verdict["verdict"] == "NO-GO"
    for word in words:
        assert word in " ".join(ran.verdict["reasons"]), ran.verdict["reasons"]


def test_a_whole_run_that_passes_is_go(project: Project) -> None:
    ran = project.run()
    assert (ran.code, ran.last_line) == (0, "VERDICT own: GO")
    assert ran.verdict is not None
    assert ran.verdict["reasons"] == []


def test_a_failed_check_is_no_go(project: Project) -> None:
    project.checks(FAILS)
    ran = project.run()
    held(ran, "first-check[api] failed: expected 1, saw 2")
    assert (ran.code, ran.last_line) == (1, "VERDICT own: NO-GO")
    assert "Traceback" not in ran.output


UNSERIALISABLE = {
    "Decimal": "__import__('decimal').Decimal(1)",
    "datetime": "__import__('datetime').datetime.now()",
    "Path": "__import__('pathlib').Path('x')",
    "str subclass": "type('S', (str,), {})('x')",
}


@pytest.mark.parametrize("kind", sampled([*UNSERIALISABLE], every=3))
def test_a_property_that_xdist_loses_with_its_report(project: Project, kind: str) -> None:
    value = UNSERIALISABLE[kind]
    project.checks(
        f"def test_first_check(target, record_property):\n    record_property('x', {value})\n    assert False\n"
        "def test_second_check(target): pass\n"
    )
    held(project.run("-n2"))


def test_everything_is_skipped(project: Project) -> None:
    project.checks(
        "import pytest\npytestmark = pytest.mark.skip\ndef test_first_check(target): pass\n"
        "def test_second_check(target): pass\n"
    )
    held(project.run(), "2 of 2 cases did not report")


def test_a_check_skips_itself(project: Project) -> None:
    project.checks(
        "import pytest\ndef test_first_check(target): pytest.skip('later')\ndef test_second_check(target): pass\n"
    )
    ran = project.run("--phase=on-call")
    held(ran, "1 of 2 cases did not report")
    assert "1 failed, 1 passed" in ran.output


def test_nothing_is_collected(project: Project) -> None:
    project.write("tests_smoke/test_own.py", "")
    ran = project.run()
    assert ran.code == 4
    assert "[first-check] has no test; write def test_first_check" in ran.output


def test_a_function_without_its_prefix(project: Project) -> None:
    project.checks("def tset_first_check(target): assert False\ndef test_second_check(target): pass\n")
    ran = project.run()
    assert ran.code == 4
    assert "[first-check] has no test" in ran.output


def test_a_function_that_hides_another_of_its_name(project: Project) -> None:
    project.checks(FAILS + "def test_first_check(target): pass\n")
    ran = project.run()
    assert ran.code == 4
    assert "test_first_check is defined a second time" in ran.output


def test_a_test_without_a_row(project: Project) -> None:
    project.checks(FAILS + "def test_third_check(target): pass\n")
    ran = project.run()
    assert ran.code == 4
    assert "test_third_check has no row in checklists/checks.toml; write [third-check] there, and add" in ran.output


@pytest.mark.parametrize("option", [[], ["-n2"], ["--continue-on-collection-errors"]])
def test_a_module_that_cannot_be_imported(project: Project, option: list[str]) -> None:
    project.checks("def test_second_check(target): pass\n")
    project.write("tests_smoke/test_broken.py", "import nothing_of_that_name\ndef test_first_check(target): pass\n")
    ran = project.run(*option)
    assert ran.code != 0
    assert ran.verdict is not None and ran.verdict["verdict"] == "NO-GO"
    assert ran.verdict["reasons"][0] == (
        "incomplete: tests_smoke/test_broken.py could not be collected: "
        "ModuleNotFoundError: No module named 'nothing_of_that_name'"
    )


@pytest.mark.parametrize("where", ["setup", "teardown"])
def test_a_fixture_fails(project: Project, where: str) -> None:
    body = "raise OSError('gone')\n    yield" if where == "setup" else "yield\n    raise OSError('gone')"
    project.write("conftest.py", f"import pytest\n@pytest.fixture\ndef fact():\n    {body}\n")
    project.checks("def test_first_check(target, fact): pass\ndef test_second_check(target): pass\n")
    held(project.run(), "first-check[api] unknown: the check itself failed: OSError: gone")


NARROWED = {
    "-k": ["-k", "second"],
    "-m": ["-m", "nothing"],
    "-m misspelt": ["-m", "not typpo", "-k", "second"],
    "a node id": ["tests_smoke/test_own.py::test_second_check[api]"],
    "--deselect": ["--deselect", "tests_smoke/test_own.py::test_first_check"],
}


@pytest.mark.parametrize(
    ("how", "workers"), [*((how, "") for how in NARROWED), *sampled([(how, "-n2") for how in NARROWED], every=5)]
)
def test_a_partial_selection(project: Project, how: str, workers: str) -> None:
    project.checks(FAILS)
    ran = project.run(*NARROWED[how], *filter(None, [workers]))
    held(ran)
    if how != "-m misspelt":
        assert any(r.startswith("partial: ") for r in ran.verdict["reasons"]) or ran.code in (3, 4)  # type: ignore[index]


def test_a_selection_by_the_environment(project: Project) -> None:
    project.checks(FAILS)
    held(project.run(env={"PYTEST_ADDOPTS": "-k second"}), "partial: 1 of 2 cases were selected")


@pytest.mark.parametrize(
    "option", ["--collect-only", "--setup-plan", "--setup-only", "--fixtures-per-test", "--fixtures"]
)
def test_options_that_run_nothing(project: Project, option: str) -> None:
    project.checks(FAILS)
    assert project.run(option).code != 0


def test_stopping_at_the_first_failure(project: Project) -> None:
    project.checks(FAILS)
    held(project.run("-x"), "1 of 2 cases did not report")


@pytest.mark.parametrize("strict", ["true", "false"])
def test_an_expected_failure(project: Project, strict: str) -> None:
    project.checks(
        f"import pytest\n@pytest.mark.xfail(strict={strict.title()})\ndef test_first_check(target): pass\n"
        "@pytest.mark.xfail\ndef test_second_check(target): assert False, 'no'\n"
    )
    ran = project.run("-o", f"xfail_strict={strict}")
    held(ran)
    assert ("2 failed" if strict == "true" else "1 failed, 1 xpassed") in ran.output


@pytest.mark.parametrize("body", ["return False", "return 1 == 2"])
def test_a_check_that_returns_instead_of_asserting(project: Project, body: str) -> None:
    project.checks(f"def test_first_check(target): {body}\ndef test_second_check(target): pass\n")
    held(project.run("-o", "filterwarnings=ignore"), "a check asserts and returns nothing; this one returned bool")


def test_a_coroutine_check_that_is_not_awaited(project: Project) -> None:
    project.checks("async def test_first_check(target): assert False\ndef test_second_check(target): pass\n")
    held(project.run("-o", "filterwarnings=ignore"))


def test_disabled_assertions(project: Project) -> None:
    project.checks(FAILS)
    ran = project.run_alone(env={"PYTHONOPTIMIZE": "1"})
    assert ran.code == 4
    assert "python -O takes assertions out" in ran.output


def test_disabled_assertions_in_one_worker(project: Project) -> None:
    project.checks(FAILS)
    ran = project.run("--dist=load", f"--tx=popen//python={sys.executable} -O")
    assert (ran.code, ran.verdict) == (4, None)
    assert "runs checks with another Python than this one; leave --tx out" in ran.output


def test_a_run_without_the_conftest_is_not_green(project: Project) -> None:
    project.checks(FAILS)
    held(project.run("--noconftest"))


def test_the_plugin_is_disabled(project: Project) -> None:
    ran = project.run("-p", "no:gli")
    assert ran.code == 4
    assert ran.verdict is None


HOOKS = {
    "drops what it collected": "def pytest_collection_modifyitems(items): del items[0]",
    "says everything is fine": "def pytest_sessionfinish(session): session.exitstatus = 0",
    "breaks at the end": "def pytest_sessionfinish(session): raise OSError('x')",
    "breaks in the summary": "def pytest_terminal_summary(): raise OSError('x')",
    "breaks on a report": "def pytest_runtest_logreport(report): raise OSError('x')",
}


@pytest.mark.parametrize(
    ("hook", "workers"), [*((hook, "") for hook in HOOKS), *sampled([(hook, "-n2") for hook in HOOKS], every=4)]
)
def test_a_foreign_hook(project: Project, hook: str, workers: str) -> None:
    project.checks(FAILS)
    project.write("conftest.py", HOOKS[hook] + "\n")
    ran = project.run(*filter(None, [workers]))
    assert ran.code != 0
    assert ran.verdict is not None
    assert ran.verdict["verdict"] == "NO-GO"


def test_names_that_pytest_writes_in_another_way_are_selected(project: Project) -> None:
    table = "[own.services.api]"
    other = ENVIRONMENT[ENVIRONMENT.index(table) + len(table) :]
    names = "".join(
        f"[own.services.{json.dumps(name, ensure_ascii=False)}]{other}" for name in ("결제", "a::b", "c[d]")
    )
    project.write("environments.toml", ENVIRONMENT + names)
    assert project.run().last_line == "VERDICT own: GO"


def test_a_worker_that_dies(project: Project) -> None:
    project.checks(
        "import os, signal\ndef test_first_check(target): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def test_second_check(target): pass\n"
    )
    held(project.run("-n2"), "did not report")


def test_a_pass_never_hides_a_failure_of_the_same_case(project: Project) -> None:
    """As with a rerun plugin: the same case reports twice."""
    project.write(
        "conftest.py",
        "from _pytest.runner import runtestprotocol\n"
        "def pytest_runtest_protocol(item, nextitem):\n"
        "    for _ in range(2): \n"
        "        for report in runtestprotocol(item, log=False, nextitem=nextitem):\n"
        "            item.ihook.pytest_runtest_logreport(report=report)\n"
        "    return True\n",
    )
    project.checks(
        "tries = []\ndef test_first_check(target):\n    tries.append(1)\n    assert len(tries) > 1, 'the first try'\n"
        "def test_second_check(target): pass\n"
    )
    held(project.run(), "first-check[api] failed: the first try")


def test_a_warning_does_not_block_the_verdict_but_is_reported(project: Project) -> None:
    project.rows("first-check", severity="warn")
    project.checks("def test_first_check(target): assert False, 'a warning'\n")
    ran = project.run()
    assert (ran.code, ran.last_line) == (0, "VERDICT own: GO")
    assert "a warning" in ran.output
    assert ran.verdict is not None
    assert ran.verdict["counts"] == {"failed": 1}


def test_the_on_call_run_has_the_code_of_its_tests(project: Project) -> None:
    assert project.run("--phase=on-call", "-k", "second").code == 0
    project.checks(FAILS)
    assert project.run("--phase=on-call").code == 1


def test_a_check_that_ends_the_process(project: Project) -> None:
    project.checks("import os\ndef test_first_check(target): os._exit(0)\ndef test_second_check(target): pass\n")
    ran = project.run_alone()
    held(ran, "incomplete: ")
    assert ran.code == 3


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_no_go(project: Project, sent: signal.Signals) -> None:
    project.checks(
        "import time\nfrom pathlib import Path\ndef test_second_check(target): pass\n"
        "def test_first_check(target):\n    Path('begun').touch()\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [*PYTEST, "--env=own"],
        cwd=project.root,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for((project.root / "begun").exists, "the first check")
    os.kill(process.pid, sent)
    output, _ = process.communicate(timeout=20)
    verdict, _ = latest(project.root / "reports")
    assert verdict is not None
    assert verdict["verdict"] == "NO-GO"
    assert verdict["reasons"][0].startswith("incomplete: ")
    assert process.returncode != 0
    if sent is not signal.SIGKILL:
        assert output.rstrip().endswith("VERDICT own: NO-GO")


SELF = "import os, signal, time\ndef stop(*_):\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(0.1)\n"
ENDINGS = {
    "while pytest ends": "def pytest_sessionfinish(): stop()",
    "when the verdict is made": "from gli.run.run import Run\ndef pytest_sessionfinish(): Run._await_manifest = stop",
    "when the verdict is written": "from gli.run.run import Run\ndef pytest_sessionfinish(): Run._report = stop",
    "twice": "from gli.run.run import Run\ndef pytest_sessionfinish():\n    Run._report = stop\n    stop()",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_that_is_interrupted_at_its_end_is_no_go(project: Project, ending: str) -> None:
    project.write("conftest.py", f"{SELF}{ENDINGS[ending]}\n")
    ran = project.run()
    held(ran, "incomplete: interrupted")
    assert (ran.last_line, "Traceback" in ran.output) == ("VERDICT own: NO-GO", False), ran.output


def test_the_report_cannot_be_written(project: Project) -> None:
    project.write("reports", "a file where a folder should be")
    ran = project.run()
    assert ran.code == 4
    assert "the report can't be written" in ran.output
    assert "Traceback" not in ran.output


def test_a_disk_that_is_full_at_the_end(project: Project) -> None:
    project.write(
        "conftest.py",
        "import gli.report.files as files\n"
        "def full(*_): raise OSError(28, 'No space left on device')\n"
        "def pytest_collection_finish(session): files.RunFolder.write_facts = full\n",
    )
    ran = project.run()
    assert ran.code == 1
    assert "No space left on device" in ran.output
    assert ran.last_line == "VERDICT own: NO-GO"
    assert "Traceback" not in ran.output
    assert ran.verdict is not None
    assert ran.verdict["reasons"][0] == "incomplete: the run has not ended"


def test_a_replay_needs_no_network_and_gives_the_same_verdict(project: Project) -> None:
    first = project.run()
    assert first.folder is not None
    again = project.run(f"--replay={first.folder / 'facts.jsonl'}")
    assert (again.code, again.last_line) == (0, "VERDICT own: GO")


def test_a_replay_does_not_count_for_the_gate_or_the_next_run(project: Project) -> None:
    first = project.run()
    project.checks(FAILS)
    red = project.run()
    project.checks(PASSES)
    assert first.folder is not None and red.folder is not None
    again = project.run(f"--replay={first.folder / 'facts.jsonl'}")
    assert again.folder is not None and again.verdict is not None
    assert "GO: own, all phases, judged again from a recording" in again.output
    assert (again.verdict["verdict"], again.verdict["replayed"]) == ("GO", True)
    reports = red.folder.parent
    assert (reports / "latest").resolve() == red.folder
    found = gate.newest(reports.parent, "own", "pre-deploy", clock.now())
    assert found is not None and found.path == red.folder / "verdict.json"
    after = project.run()
    assert after.verdict is not None and after.verdict["since_last"]["fixed"] == ["first-check[api]"]


HEADER = json.dumps({"schema": 1, "environment": "own"}) + "\n"
RECORD = (
    '{{"probe": "landing", "target": "x", "started": "2026-01-31T08:00:00Z", "duration_s": 1, "observation": {seen}}}\n'
)
REPLAYS = {
    "no file": (None, "can't be read"),
    "an empty file": ("", "the file is empty"),
    "no JSON": ("x\n", "line 1 is not JSON"),
    "no header": ("{}\n", "the first line is no header"),
    "another environment": (json.dumps({"schema": 1, "environment": "prod"}) + "\n", "it was recorded on prod"),
    "a damaged record": (HEADER + '{"probe": 3}\n', "line 2 is no record"),
    "an invalid overlay": (
        json.dumps({"schema": 1, "environment": "own", "overlay": 5}) + "\n",
        "an overlay or a",
    ),
    "an invalid vantage": (
        json.dumps({"schema": 1, "environment": "own", "vantage": 5}) + "\n",
        "a vantage that is",
    ),
    "a list": ("[]\n", "line 1 is no record"),
    "a deep line": (HEADER + "[" * 200_000 + "\n", "line 2 is not JSON"),
    "a line too deep to be written again": (HEADER + "[" * 300 + "]" * 300 + "\n", "line 2 is not JSON"),
    "half a pair": (HEADER + RECORD.format(seen='"\\ud800"'), "line 2 is not JSON"),
    "a time without a zone": (HEADER + RECORD.format(seen=1).replace("Z", ""), "a time that is none"),
    "a fact twice": (
        HEADER + RECORD.format(seen=1) + RECORD.format(seen=2),
        "line 3 says something else of landing[x]",
    ),
}


@pytest.mark.parametrize("case", REPLAYS)
def test_a_replay_of_something_else_is_one_sentence(project: Project, case: str) -> None:
    text, sentence = REPLAYS[case]
    if text is not None:
        project.write("facts.jsonl", text)
    ran = project.run("--replay=facts.jsonl")
    assert ran.code == 4
    assert sentence in ran.output
    assert "Traceback" not in ran.output


def test_a_replay_reads_lines_with_any_characters(project: Project) -> None:
    record = RECORD.format(seen=json.dumps("one\u2028two\x85three", ensure_ascii=False))
    project.write("facts.jsonl", HEADER + record + record)
    assert project.run("--replay=facts.jsonl").last_line == "VERDICT own: GO"


def test_a_run_is_compared_with_the_last_whole_one(project: Project) -> None:
    project.checks(FAILS)
    project.run()
    project.run("-k", "second")  # partial, so the next run does not compare with it
    project.checks("def test_first_check(target): pass\ndef test_second_check(target): assert False, 'now this'\n")
    ran = project.run()
    assert ran.verdict is not None
    assert ran.verdict["since_last"] == {"new": ["second-check[api]"], "still": [], "fixed": ["first-check[api]"]}
    assert "since the last whole run: 1 new, 1 fixed" in ran.output
    again = project.run()
    assert again.verdict is not None
    assert again.verdict["since_last"] == {"new": [], "still": ["second-check[api]"], "fixed": []}


def test_a_damaged_earlier_verdict_is_skipped(project: Project) -> None:
    first = project.run()
    assert first.folder is not None
    (first.folder / "verdict.json").write_text('{"reasons": [3]}')
    assert project.run().last_line == "VERDICT own: GO"


@pytest.mark.parametrize("seconds", ["inf", "1e300", "nan", "-5"])
def test_a_wait_without_an_end_is_one_sentence(project: Project, seconds: str) -> None:
    ran = project.run(f"--await-rollout={seconds}")
    assert (ran.code, len(ran.output.strip().splitlines())) == (4, 1)
    assert "is not a time to wait; give 0 to 86400 seconds" in ran.output


def test_without_an_environment_one_sentence_asks_for_it(project: Project) -> None:
    done = subprocess.run(
        [*PYTEST], cwd=project.root, env=clean_environment(), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 4
    assert "say which environment to verify: pytest --env=NAME, one of own" in done.stdout + done.stderr
