"""Attempts to get a wrong GO, each with its result. In each project a check fails, or other code runs.

The first check always fails, unless an attempt changes that. Attempts that use pytest's own features are in
`test_gate_holes.py`.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile_rig import FAILS, PASSES

from conftest import Project, Ran
from gli.common import sources

TAG = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"


@dataclass(frozen=True)
class Way:
    """One attempt: how the project is prepared and run, and the expected text."""

    go: Callable[[Project, Path], Ran]
    says: str


WAYS: dict[str, Way] = {}


def way(says: str) -> Callable[[Callable[[Project, Path], Ran]], None]:
    """Add an attempt to the table by its function's name; `says` must be in the output or in the reasons."""

    def add(go: Callable[[Project, Path], Ran]) -> None:
        WAYS[go.__name__.replace("_", " ")] = Way(go, says)

    return add


@pytest.mark.parametrize("name", WAYS)
def test_no_attempt_leads_to_go(project: Project, tmp_path: Path, name: str) -> None:
    project.checks(FAILS)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ran = WAYS[name].go(project, elsewhere)
    reasons = " ".join(ran.verdict["reasons"]) if ran.verdict else ""
    assert ran.code != 0, ran.output
    assert ran.verdict is None or ran.verdict["verdict"] == "NO-GO", ran.output
    assert WAYS[name].says in f"{ran.output} {reasons}", (ran.output, reasons)


# ---- code that the digest does not cover


@way("no digest covers it: checks stand in tests_smoke, tests_infra, tests_own")
def other_checks_by_testpaths(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "test_x.py").write_text(PASSES)
    return project.run("-o", f"testpaths={elsewhere}")


@way("no digest covers it: checks stand in tests_smoke, tests_infra, tests_own")
def other_checks_by_the_environment(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "test_x.py").write_text(PASSES)
    return project.run(env={"PYTEST_ADDOPTS": f"-o testpaths={elsewhere}"})


@way("no digest covers it: checks stand in tests_smoke, tests_infra, tests_own")
def a_path_to_a_copy(project: Project, elsewhere: Path) -> Ran:
    (project.root / "copy").mkdir()
    project.write("copy/test_own.py", PASSES)
    return project.run("copy")


@way("no digest covers it: checks stand in tests_smoke, tests_infra, tests_own")
def a_module_by_its_name(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "test_x.py").write_text(PASSES)
    return project.run_alone("--pyargs", "test_x", env={"PYTHONPATH": str(elsewhere)})


@way("holds the settings of this run, and no digest covers it")
def other_settings(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "test_x.py").write_text(PASSES)
    (elsewhere / "e.ini").write_text(f"[pytest]\ntestpaths = {elsewhere}\n")
    return project.run("-c", str(elsewhere / "e.ini"), "--rootdir=.")


@way("no digest covers it: checks stand in tests_smoke, tests_infra, tests_own")
def functions_that_another_file_holds(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "functions.py").write_text(PASSES)
    project.checks("from functions import test_first_check, test_second_check\n")
    return project.run_alone(env={"PYTHONPATH": str(elsewhere)})


@way("no digest covers it: checks stand in tests_smoke, tests_infra, tests_own")
def a_folder_that_is_a_link(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "test_own.py").write_text(PASSES)
    shutil.rmtree(project.root / "tests_smoke")
    (project.root / "tests_infra/more").symlink_to(elsewhere)
    (project.root / "tests_smoke").mkdir()
    return project.run()


@way("took part in judging, and no digest covers it")
def a_module_that_a_check_imports_from_elsewhere(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "verdicts.py").write_text("def right(): return True\n")
    project.checks("import verdicts\n" + FAILS.replace("assert False", "assert verdicts.right()"))
    return project.run_alone(env={"PYTHONPATH": str(elsewhere)})


@way("took part in judging, and no digest covers it")
def a_plugin_from_elsewhere(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "kind.py").write_text("def pytest_runtest_makereport(item, call): call.excinfo = None\n")
    return project.run_alone("-p", "kind", env={"PYTHONPATH": str(elsewhere)})


@way("took part in judging, and no digest covers it")
def a_module_without_a_source(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "source.py").write_text("def right(): return True\n")
    py_compile.compile(str(elsewhere / "source.py"), cfile=str(project.root / "tests_smoke/right.pyc"))
    project.checks("import right\n" + PASSES)
    return project.run_alone()


@way("took part in judging, and no digest covers it")
def a_module_of_machine_code(project: Project, elsewhere: Path) -> Ran:
    import _ctypes_test as extension  # any extension module of Python

    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    shutil.copy(extension.__file__, project.root / f"tests_smoke/_ctypes_test{suffix}")
    project.checks("import _ctypes_test\n" + PASSES)
    return project.run_alone()


@way("took part in judging, and no digest covers it")
def a_module_of_site_that_hides_itself(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "sitecustomize.py").write_text("import sys\ndel sys.modules[__name__]\n")
    project.checks(PASSES)
    return project.run_alone(env={"PYTHONPATH": str(elsewhere)})


@way("took part in judging, and no digest covers it")
def a_plugin_that_hides_itself(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "kind.py").write_text("import sys\ndef pytest_configure(): del sys.modules[__name__]\n")
    project.checks(PASSES)
    return project.run_alone(env={"PYTHONPATH": str(elsewhere), "PYTEST_PLUGINS": "kind"})


@way("took part in judging, and no digest covers it")
def a_conftest_above_the_project(project: Project, elsewhere: Path) -> Ran:
    (project.root.parent / "conftest.py").write_text("def pytest_runtest_makereport(item, call): call.excinfo = None\n")
    project.checks(PASSES)
    return project.run_alone("--confcutdir", str(project.root.parent))


@way("took part in judging, and no digest covers it")
def a_module_path_by_settings(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "verdicts.py").write_text("def right(): return True\n")
    project.checks("import verdicts\n" + PASSES)
    return project.run_alone("-o", f"pythonpath={elsewhere}")


@way("took part in judging, and no digest covers it")
def a_module_path_that_begins_like_an_installed_place(project: Project, elsewhere: Path) -> Ran:
    (elsewhere / "verdicts.py").write_text("def right(): return True\n")
    project.checks("import verdicts\n" + PASSES)
    installed = sysconfig.get_path("purelib")
    return project.run("-o", f"pythonpath={installed}/{os.path.relpath(elsewhere, os.path.realpath(installed))}")


@way("what was read of")
def an_environment_that_changes_before_the_workers_read_it(project: Project, elsewhere: Path) -> Ran:
    project.checks(PASSES)
    project.write(
        "conftest.py",
        "def pytest_xdist_setupnodes(config):\n"
        "    path = config.rootpath / 'environments.toml'\n"
        "    path.write_text(path.read_text().replace('127.0.0.1:9', '127.0.0.1:10'))\n",
    )
    return project.run("-n1")


@way("took part in judging, and no digest covers it")
def a_distribution_in_the_folder_of_the_project(project: Project, elsewhere: Path) -> Ran:
    """`python -m pytest` looks for plugins there, and this one has the name of a plugin that was tried."""
    about = project.root / "flaky-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: flaky\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pytest11]\nkind = kind\n")
    project.write(
        "kind.py",
        "import sys\nimport gli.run.check_hooks as hooks\n"
        "hooks._judged = lambda error, at: (hooks.Outcome.PASSED, '', None)\nhooks._hidden_error = lambda item: None\n"
        "sys.modules[__name__].__spec__ = sys.modules[__name__].__file__ = None\n",
    )
    return project.run_alone()


def test_no_file_takes_the_place_of_a_library(project: Project, tmp_path: Path) -> None:
    """`python -m pytest` looks for modules in the current folder first."""
    for name in ("ctypes", "tomllib", "zoneinfo"):
        project.write(f"{name}.py", "raise RuntimeError('the wrong file')")
    (tmp_path / "pika.py").write_text("raise RuntimeError('the wrong file')")
    project.checks("import pika\n" + PASSES)
    assert project.run_alone(env={"PYTHONPATH": str(tmp_path)}).last_line == "VERDICT own: GO"


def test_a_file_that_takes_the_place_of_a_module_of_pytest_is_named(project: Project) -> None:
    """pytest itself has imported it before it loads any plugin."""
    project.write("json.py", "")
    ran = project.run_alone()
    assert (ran.code, ran.verdict, len(ran.output.strip().splitlines())) == (4, None, 1), ran.output
    assert "json.py takes the place of Python's own module json; rename it" in ran.output


def test_a_user_site_that_a_variable_names_is_no_installed_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("site.ENABLE_USER_SITE", True)
    monkeypatch.setattr("site.USER_SITE", str(tmp_path))
    monkeypatch.delenv("PYTHONUSERBASE", raising=False)
    assert f"{tmp_path}/" in sources._installed_places()
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path))
    assert f"{tmp_path}/" not in sources._installed_places()


def test_a_plugin_that_is_called_conftest_is_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/conftest.py").touch()
    ran = project.run_alone("-p", "pack.conftest", env={"PYTHONPATH": str(tmp_path)})
    assert ran.verdict is not None
    assert {"name": "pack.conftest", "version": None, "tried": False} in ran.verdict["suite"]["plugins"]


def swapped(project: Project, *arguments: str) -> Ran:
    """Run the project while another process has changed the failing checks, during their import only."""
    project.write(
        "conftest.py",
        "def pytest_collection(session):\n"
        "    path = session.config.rootpath / 'tests_smoke/test_own.py'\n"
        f"    path.write_text({PASSES!r})\n"
        "def pytest_collection_finish(session):\n"
        "    path = session.config.rootpath / 'tests_smoke/test_own.py'\n"
        f"    path.write_text({FAILS!r})\n",
    )
    return project.run(*arguments)


@way("what ran of")
def a_check_that_changes_while_it_is_imported(project: Project, elsewhere: Path) -> Ran:
    return swapped(project)


@way("what ran of")
def a_check_that_changes_while_its_assertions_are_rewritten(project: Project, elsewhere: Path) -> Ran:
    return swapped(project, "--assert=rewrite")


# ---- options and settings of pytest that leave out checks, hooks or assertions


def option(name: str, says: str, *arguments: str, **env: str) -> None:
    """Add an attempt that runs the failing project with these arguments and variables."""
    of_python = any(variable.startswith("PYTHON") for variable in env)

    def go(project: Project, elsewhere: Path) -> Ran:
        return (project.run_alone if of_python else project.run)(*arguments, env=env)

    WAYS[name] = Way(go, says)


option("python -O", "python -O takes assertions out", PYTHONOPTIMIZE="1")
option("no assertions rewritten", "first-check[api] failed: broken", "--assert=plain")
option("warnings as errors", "first-check[api] failed: broken", "-W", "error", PYTHONWARNINGS="error")
option("other names of functions", "has no test", "-o", "python_functions=check_*")
option("other names of files", "has no test", "-o", "python_files=check_*.py")
option("folders passed over", "first-check[api] failed: broken", "-o", "norecursedirs=tests_smoke")
option("an ignored folder", "first-check[api] failed: broken", "--ignore=tests_smoke")
option("an ignored file", "has no test", "--ignore-glob=*/test_own.py")
option("deselected", "partial: 1 of 2 cases", "--deselect=tests_smoke/test_own.py::test_first_check[api]")
option("a keyword", "partial: 1 of 2 cases", PYTEST_ADDOPTS="-k second")
option("the last failures", "first-check[api] failed: broken", "--lf")
option("stepwise", "first-check[api] failed: broken", "--sw", "--sw-skip")
option("set-up only", "did not report", "--setup-only")
option("a plan of the set-up", "did not report", "--setup-plan")
option("collected only", "ERROR", "--collect-only", "-o", "console_output_style=none", "--strict-markers", "-k", "(")
option("hooks of checks blocked", "NO-GO", "-p", "no:gli-checking")
option("hooks of the controller blocked", "NO-GO", "-p", "no:gli-controlling")
option("no runner", "cannot be disabled", "-p", "no:runner")
option("no functions", "2 of 2 cases did not report", "-p", "no:python")
option("no main", "cannot be disabled", "-p", "no:main")
option(
    "another time zone and language", "first-check[api] failed: broken", TZ="Pacific/Kiritimati", LC_ALL="tr_TR.UTF-8"
)
option("a debugger that reads no command", "another function took its place", "--trace")
option("a trace of pytest", "write what targets answered, with its secrets", "--debug=trace")
option("a trace by the environment", "write what targets answered, with its secrets", PYTEST_DEBUG="1")
option("help by the environment", "this call of pytest made no run", PYTEST_ADDOPTS="--help")
option("help and a name that is empty", "this call of pytest made no run", "--env=", "--help")
option("fewer checks by the environment", "PYTEST_ADDOPTS holds --phase;", PYTEST_ADDOPTS="--phase=on-call -k second")
option("a recording by the environment", "PYTEST_ADDOPTS holds --replay;", PYTEST_ADDOPTS="--replay=facts.jsonl")
option("options of the settings by the environment", "holds -o addopts;", PYTEST_ADDOPTS="-o addopts=--phase=on-call")
option(
    "fewer checks by the settings",
    "addopts of pytest's settings holds --phase;",
    "-o",
    "addopts=--phase=on-call -k second",
)
option("no plugins of distributions", "unrecognized arguments", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
option("hooks of the run blocked", "this call of pytest made no run", "-p", "no:gli-run")
option("proxies of workers", "the suite itself failed", "-n1", "--px=popen//python=/usr/bin/python3")
option("every worker runs all", "first-check[api] failed: broken", "-n2", "--dist=each")
option("a looping run", "before its verdict was there", "-f")
option("the verdict as a file of another report", "NO-GO", "--junitxml=reports/own/latest/verdict.json")
option("no debugger", "first-check[api] failed: broken", "-p", "no:debugging")
option("another Python for the workers", "leave --tx out", "--dist=load", "--tx=popen//python=/usr/bin/python3")


# ---- bytecode that differs from the source


def kept(project: Project, source: str, mode: py_compile.PycInvalidationMode, *, pytests: bool = False) -> None:
    other = project.root / "other.py"
    other.write_text(source)
    name = f"test_own.{TAG}-pytest-{pytest.__version__}.pyc" if pytests else f"test_own.{TAG}.pyc"
    cache = project.root / "tests_smoke/__pycache__" / name
    py_compile.compile(str(other), cfile=str(cache), dfile="tests_smoke/test_own.py", invalidation_mode=mode)
    other.unlink()


@way("first-check[api] failed: broken")
def bytecode_that_nobody_compares(project: Project, elsewhere: Path) -> Ran:
    kept(project, PASSES, py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return project.run()


@way("first-check[api] failed: broken")
def bytecode_of_the_same_size_and_time(project: Project, elsewhere: Path) -> Ran:
    kept(project, FAILS.replace("assert False", "assert True "), py_compile.PycInvalidationMode.TIMESTAMP)
    for path in (project.root / "tests_smoke/test_own.py",):
        cache = project.root / f"tests_smoke/__pycache__/test_own.{TAG}.pyc"
        content = bytearray(cache.read_bytes())
        content[8:16] = (1_700_000_000).to_bytes(4, "little") + path.stat().st_size.to_bytes(4, "little")
        cache.write_bytes(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return project.run("-n2")


@way("first-check[api] failed: broken")
def bytecode_with_the_hash_of_the_source(project: Project, elsewhere: Path) -> Ran:
    kept(project, PASSES, py_compile.PycInvalidationMode.CHECKED_HASH)
    cache = project.root / f"tests_smoke/__pycache__/test_own.{TAG}.pyc"
    content = bytearray(cache.read_bytes())
    content[8:16] = importlib.util.source_hash((project.root / "tests_smoke/test_own.py").read_bytes())
    cache.write_bytes(content)
    return project.run()


@way("first-check[api] failed")
def bytecode_of_rewritten_assertions(project: Project, elsewhere: Path) -> Ran:
    """pytest keeps it with the hash of the source, and knows the source by this hash alone."""
    kept(project, PASSES, py_compile.PycInvalidationMode.CHECKED_HASH, pytests=True)
    cache = project.root / f"tests_smoke/__pycache__/test_own.{TAG}-pytest-{pytest.__version__}.pyc"
    content = bytearray(cache.read_bytes())
    content[8:16] = importlib.util.source_hash((project.root / "tests_smoke/test_own.py").read_bytes())
    cache.write_bytes(content)
    return project.run("--assert=rewrite")


@way("the file or its bytecode changed")
def bytecode_of_the_package_from_before(project: Project, elsewhere: Path) -> Ran:
    """Stale bytecode of the package's first module: Python loads it before any code of the package can check."""
    copy = elsewhere / "gli"
    shutil.copytree(Path(__file__).parents[2] / "gli", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (elsewhere / "old.py").write_text('__version__ = "0.0.9"\n')
    cache = copy / f"__pycache__/__init__.{TAG}.pyc"
    py_compile.compile(
        str(elsewhere / "old.py"), cfile=str(cache), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    (elsewhere / "old.py").unlink()
    project.checks(PASSES)
    return project.run_alone(env={"PYTHONPATH": str(elsewhere)})


# ---- a hidden failure


@way("first-check[api] failed: the first try")
def a_plugin_that_calls_again_and_reports_the_last(project: Project, elsewhere: Path) -> Ran:
    project.write(
        "conftest.py",
        "from _pytest.runner import runtestprotocol\n"
        "def pytest_runtest_protocol(item, nextitem):\n"
        "    runtestprotocol(item, log=False, nextitem=nextitem)\n"
        "    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)\n"
        "    for report in runtestprotocol(item, log=False, nextitem=nextitem):\n"
        "        item.ihook.pytest_runtest_logreport(report=report)\n"
        "    return True\n",
    )
    project.checks(
        "tries = []\ndef test_first_check(target):\n    tries.append(1)\n    assert len(tries) > 1, 'the first try'\n"
        "def test_second_check(target): pass\n"
    )
    return project.run()


@way("first-check[api] unknown: the check itself failed: RuntimeError: it was not called")
def a_plugin_that_calls_no_check(project: Project, elsewhere: Path) -> Ran:
    project.write(
        "conftest.py",
        "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
        "def pytest_runtest_call(item):\n    item.runtest = lambda: None\n    return (yield)\n",
    )
    return project.run()


@way("first-check[api] failed: broken")
def a_plugin_that_takes_the_exception_away(project: Project, elsewhere: Path) -> Ran:
    project.write(
        "conftest.py",
        "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_pyfunc_call(pyfuncitem):\n"
        "    try:\n        yield\n    except AssertionError:\n        pass\n    return True\n",
    )
    return project.run()


@way("AssertionError in the thread")
def an_exception_in_a_thread(project: Project, elsewhere: Path) -> Ran:
    project.checks(
        "import threading\ndef fails(): assert False, 'broken'\n"
        "def test_first_check(target):\n    t = threading.Thread(target=fails)\n    t.start()\n    t.join()\n"
        "def test_second_check(target): pass\n"
    )
    return project.run("-p", "no:threadexception")


def conftest(name: str, says: str, conftest: str, checks: str = FAILS, *, alone: bool = False) -> None:
    """Add an attempt with this conftest.py. Its code is hashed: an honest person may have written it."""

    def go(project: Project, elsewhere: Path) -> Ran:
        project.checks(checks)
        project.write("conftest.py", conftest)
        return (project.run_alone if alone else project.run)()

    WAYS[name] = Way(go, says)


FIXTURE = "import pytest\n{}@pytest.fixture\ndef {}(): return 'mine'\n"
OBSERVES = "from gli.run.plugin import fixture_for\nlanding = fixture_for('gli.observe.edge.http:landing')\n"
MINE = "def test_first_check(target, {0}): assert {0} == 'mine'\ndef test_second_check(target): pass\n"
conftest("another target", "has a fixture target, which takes", FIXTURE.format("", "target"))
conftest(
    "another environment",
    "has a fixture environment, which takes",
    FIXTURE.format("", "environment"),
    MINE.format("environment"),
)
conftest(
    "an observation that nobody made",
    "has a fixture landing, which takes the place of this suite's",
    FIXTURE.format(OBSERVES, "landing"),
    MINE.format("landing"),
)
conftest(
    "another configuration of pytest",
    "has a fixture pytestconfig, which takes",
    FIXTURE.format("", "pytestconfig"),
    "def test_first_check(target, environment): pass\ndef test_second_check(target): pass\n",
)
conftest(
    "a check that says that it does not apply",
    "1 of 2 cases did not report: first-check[api]",
    "",
    "from gli.run.check_hooks import NotApplicable\ndef test_first_check(target): raise NotApplicable('no')\n"
    "def test_second_check(target): pass\n",
)
OBSERVED = "from gli.observe.engine.observation import unknown\nimport pytest\n"
conftest(
    "a check that raises that it does not apply",
    "it says that it does not apply (not here), and its row has no may_not_apply",
    "",
    OBSERVED + "def test_first_check(target): raise unknown('not-applicable', 'not here')\n"
    "def test_second_check(target): pass\n",
)
conftest(
    "a fixture that raises that a check does not apply",
    "it says that it does not apply (not here), and its row has no may_not_apply",
    OBSERVED + "@pytest.fixture(autouse=True)\ndef mine(): raise unknown('not-applicable', 'not here')\n",
)
conftest(
    "a fixture that says that a check does not apply",
    "2 of 2 cases did not report",
    "import pytest\nfrom gli.run.check_hooks import NotApplicable\n"
    "@pytest.fixture(autouse=True)\ndef mine(): raise NotApplicable('no')\n",
)
conftest(
    "a result in the name of another case",
    "1 of 2 cases did not report",
    "def pytest_runtest_protocol(item):\n    return True if 'first' in item.nodeid else None\n",
    "def test_first_check(target): assert False\ndef test_second_check(target, record_property):\n"
    '    record_property("gli-result", \'{"check":"first-check","target":"api","outcome":"passed"}\')\n',
)
conftest(
    "a failure in a subtest",
    "first-check[api] failed",
    "",
    "def test_first_check(target, subtests):\n    with subtests.test('a'): assert False\n"
    "def test_second_check(target): pass\n",
)
conftest(
    "checks that end pytest softly",
    "1 of 2 cases did not report",
    "def pytest_runtest_setup(item): item.session.shouldfail = 'x'\n",
    PASSES,
)
conftest(
    "a report that says passed",
    "first-check[api] failed: broken",
    "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_runtest_makereport(item, call):\n"
    "    call.excinfo = None\n    report = yield\n    report.outcome = 'passed'\n    return report\n",
)
conftest(
    "hooks of checks that leave in the middle",
    "2 of 2 cases did not report",
    "def pytest_collection_finish(session):\n    plugins = session.config.pluginmanager\n"
    "    plugins.unregister(plugins.get_plugin('gli-checking'))\n",
    PASSES,
)


@way("are the same case; a check has one function, without parametrize")
def a_part_of_a_case_that_is_left_out(project: Project, elsewhere: Path) -> Ran:
    """The id of the first part is that of the whole case."""
    project.checks(
        "import pytest\n@pytest.mark.parametrize('n', [pytest.param(1, id=pytest.HIDDEN_PARAM), 2])\n"
        "def test_first_check(target, n): assert n == 1\ndef test_second_check(target): pass\n"
    )
    return project.run("--deselect=tests_smoke/test_own.py::test_first_check[api-2]")


@way("@options names a file with options of pytest")
def options_in_a_file(project: Project, elsewhere: Path) -> Ran:
    project.write("options", "--phase=on-call\n-k\nsecond\n")
    return project.run("@options")


conftest(
    "checks that another loader reads",
    "what ran of",
    "import importlib.machinery as m\nm.SourceFileLoader.get_code = lambda self, name: compile(\n"
    f"    {PASSES!r} if 'test_own' in name else open(self.path).read(), self.path, 'exec')\n",
)
conftest(
    "a thread that hides its own exception",
    "the check replaced threading.excepthook",
    "",
    "import threading\ndef fails():\n    threading.excepthook = lambda raised: None\n    assert False, 'broken'\n"
    "def test_first_check(target):\n    t = threading.Thread(target=fails)\n    t.start()\n    t.join()\n"
    "def test_second_check(target): pass\n",
)
conftest(
    "an end that conftest prepared",
    "first-check[api] failed: broken",
    "import atexit, os, pytest, signal\natexit.register(os._exit, 0)\n"
    "signal.signal(signal.SIGALRM, lambda *_: os._exit(0))\nsignal.setitimer(signal.ITIMER_REAL, 0.5)\n"
    "@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_cmdline_main():\n    yield\n    return 0\n",
    "import time\ndef test_first_check(target):\n    time.sleep(1)\n    assert False, 'broken'\n"
    "def test_second_check(target): pass\n",
    alone=True,
)


# ---- a process that ends early, or never


@way("VERDICT own: NO-GO")
def an_end_in_a_debugger_that_nobody_uses(project: Project, elsewhere: Path) -> Ran:
    project.checks("import os\ndef test_first_check(target): os._exit(0)\ndef test_second_check(target): pass\n")
    return project.run(env={"PYTEST_ADDOPTS": "--pdb"})


@way("VERDICT own: NO-GO")
def a_verdict_that_becomes_a_pipe(project: Project, elsewhere: Path) -> Ran:
    project.checks(
        "import os, pathlib\ndef test_first_check(target):\n"
        "    path = next(pathlib.Path('reports/own').glob('2*/verdict.json'))\n"
        "    path.unlink(), os.mkfifo(path), os._exit(0)\ndef test_second_check(target): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "--env=own"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=60, check=False)
    return Ran(done.returncode, done.stdout, None, None)


@way("a worker ended, and did not say which files and plugins it had loaded")
def a_worker_that_does_not_say_what_it_loaded(project: Project, elsewhere: Path) -> Ran:
    project.write(
        "conftest.py",
        "import os, pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_sessionfinish(session):\n"
        "    if hasattr(session.config, 'workeroutput'):\n        import time\n        time.sleep(1)\n"
        "        os._exit(0)\n    return (yield)\n",
    )
    project.checks(PASSES)
    return project.run("-n1")


@way("VERDICT own: NO-GO")
def words_in_the_pipe_that_end_the_run(project: Project, elsewhere: Path) -> Ran:
    """They say that the run needs no GO, that it begins in another folder, and that it ended with 0."""
    (elsewhere / "verdict.json").write_text('{"verdict": "GO"}')
    began = {"folder": str(elsewhere), "name": "own", "language": "en", "cases": 0, "longest_s": 90.0, "end_s": 4.0}
    words = [began | {"overlay": {}}, {"needs_go": False}, {"verdict": "GO", "coloured": False}, {"code": 0}]
    project.checks(
        "import json, os, stat\ndef test_first_check(target):\n    for n in os.listdir('/proc/self/fd'):\n"
        "        if int(n) > 2 and os.path.exists(f'/proc/self/fd/{n}') and stat.S_ISFIFO(os.stat(int(n)).st_mode):\n"
        f"            for word in {words!r}: os.write(int(n), json.dumps(word).encode() + b'\\n')\n"
        "    os._exit(0)\ndef test_second_check(target): pass\n"
    )
    return project.run_alone()


@way("first-check[api] failed: broken")
def words_in_the_pipe_to_the_parent(project: Project, elsewhere: Path) -> Ran:
    project.checks(
        "import os, stat\ndef test_first_check(target):\n    for n in os.listdir('/proc/self/fd'):\n"
        "        if int(n) > 2 and os.path.exists(f'/proc/self/fd/{n}') and stat.S_ISFIFO(os.stat(int(n)).st_mode):\n"
        '            os.write(int(n), b\'x\\n[1]\\n{"code": null, "code": 0}\\n\')\n'
        "    assert False, 'broken'\ndef test_second_check(target): pass\n"
    )
    return project.run_alone()
