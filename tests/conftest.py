"""Fixtures of the project's own tests: a real sandbox, real runs in separate processes, small projects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import forked
import pytest
import release_rig
from release_rig import Rig
from report_rig import HOOK, Hook

from gli.common.bound_process import Bond
from gli.observe.edge.browser_process import BROWSER_VARIABLE, of_the_system
from gli.release.journal import Event, Journal
from sandbox import control
from sandbox.state import Place, running

ROOT = Path(__file__).resolve().parent.parent
# Gives git an identity on a new machine, which has none.
for _role in ("AUTHOR", "COMMITTER"):
    os.environ.setdefault(f"GIT_{_role}_NAME", "GLI Developer")
    os.environ.setdefault(f"GIT_{_role}_EMAIL", "developer@glibiz.com")
# Python keeps what it compiled: without that every process of the tests compiles every library again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Files in memory where they have room: the tests write thousands, and a CI machine's disk may be slow.
_MEMORY, _ROOM = Path("/dev/shm"), 4 << 30
if "TMPDIR" not in os.environ and _MEMORY.is_dir():
    _about = os.statvfs(_MEMORY)
    if _about.f_bavail * _about.f_frsize >= _ROOM and not _about.f_flag & getattr(os, "ST_NOEXEC", 0):
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
exhaustive = pytest.mark.exhaustive
TURN = int(os.environ.setdefault("GLI_TESTS_TURN", str(datetime.now(UTC).toordinal())))
"""The day, which chooses the cases of `in_turn`: workers that start on the next day have the same."""
LONGEST = (
    "test_diagnose.py",
    "test_release_machine.py",
    "test_aws_incomplete.py",
    "test_faults.py",
    "test_story.py",
    "test_continue.py",
    "test_variants.py",
)
PYTEST = [sys.executable, "-m", "pytest"]
UNUSED_PLUGINS = ("-p", "no:hypothesispytest", "-p", "no:valkey")
"""Plugins of development packages: a run would import them for nothing."""
SANDBOX = [sys.executable, "-m", "sandbox"]


@dataclass(frozen=True)
class Ran:
    """A run in its own process."""

    code: int
    output: str
    verdict: dict[str, Any] | None
    folder: Path | None

    @property
    def last_line(self) -> str:
        return self.output.rstrip().splitlines()[-1]

    def outcomes(self, *outcomes: str) -> set[str]:
        """The ids of the checks with one of these outcomes on any target."""
        assert self.verdict is not None
        return {c["id"] for c in self.verdict["checks"] if c["outcome"] in outcomes}

    @property
    def red(self) -> set[str]:
        return self.outcomes("failed", "unknown", "blocked", "missing")

    @property
    def roots(self) -> set[str]:
        assert self.verdict is not None
        return {r["check"] for r in self.verdict["root_causes"]}

    @property
    def says_that_it_was_slow(self) -> bool:
        """Whether the run could not tell its target's time from its own."""
        facts = self.folder / "facts.jsonl" if self.folder else None
        return facts is not None and facts.exists() and '"slow-runner"' in facts.read_text()


def run(
    *arguments: str,
    root: Path,
    reports: Path,
    env: dict[str, str] | None = None,
    timeout: float = 120,
) -> Ran:
    """`pytest ARGUMENTS` in `root`, with its verdict."""
    command = [*PYTEST, *UNUSED_PLUGINS, f"--report-dir={reports}", *arguments]
    with started(command, cwd=root, env=clean_environment() | (env or {})) as process:
        output, _ = process.communicate(timeout=timeout)
    return Ran(process.returncode, output, *latest(reports))


def run_forked(*arguments: str, root: Path, reports: Path, env: dict[str, str] | None = None) -> Ran:
    """Like `run`, in a fork of a process that has already imported the modules of every run."""
    with tempfile.NamedTemporaryFile("r", prefix="gli-run-") as output:
        code = forked.run(
            [*UNUSED_PLUGINS, f"--report-dir={reports}", *arguments],
            root=root,
            env=clean_environment() | (env or {}),
            output=Path(output.name),
            timeout=120,
        )
        return Ran(code, output.read(), *latest(reports))


def gli_forked(
    *arguments: str, root: Path, env: Mapping[str, str] | None = None, says: str = ""
) -> subprocess.CompletedProcess[str]:
    """`gli ARGUMENTS` in `root`, in a fork like that of `run_forked`; `says` is what the user types."""
    return forked.gli([*arguments], root=root, env=clean_environment() | (env or {}), says=says)


def sampled(cases: Sequence[Any], every: int) -> list[Any]:
    """Cases for `parametrize`: `make test` runs a sample of them, `make test-all` the others."""
    return [
        case if n % every == 0 else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=exhaustive)
        for n, case in enumerate(cases)
    ]


BROWSER = of_the_system() or ""
"""The Chromium of this system, if it has one. The tests that need it are skipped by name elsewhere."""
IN_A_BROWSER = {BROWSER_VARIABLE: BROWSER}
"""For the `env` of a run that opens pages."""


def in_turn(cases: Iterable[Any], days: int) -> list[Any]:
    """The cases that `make test-all` runs today. All take too long for one day: it runs them within this many days."""
    return [case for n, case in enumerate(cases) if n % days == TURN % days]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first: at the end, one of them would keep one worker busy while the others wait."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_report_header() -> str:
    return f"exhaustive cases of GLI_TESTS_TURN={TURN}"


def heed_ctrl_c() -> None:
    """For `preexec_fn`: the shell that started the tests may ignore SIGINT, and a child would too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(happened: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until the condition is true; fail with its name after the time limit."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.02)


def latest(reports: Path) -> tuple[dict[str, Any] | None, Path | None]:
    """The newest verdict below a folder of reports, and its folder."""
    found = sorted(reports.glob("*/*/verdict.json"), key=lambda p: p.parent.name.removeprefix("replay-"))
    found = [p for p in found if p.parent.name != "latest"]
    return (json.loads(found[-1].read_text()), found[-1].parent) if found else (None, None)


def clean_environment() -> dict[str, str]:
    """This process's environment without the variables that would affect a run, and without a browser: most tests
    have nothing to do with it, and it doubles the work of a run.
    """
    dropped = ("PYTEST_", "AWS_", "GLI_SANDBOX", "GLI_TESTS", "COLUMNS")
    return {k: v for k, v in os.environ.items() if not k.startswith(dropped)} | {BROWSER_VARIABLE: ""}


@contextmanager
def started(command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a process that ends with the block, or with the test run if that is interrupted."""
    bond = Bond(signal.SIGTERM)
    process = subprocess.Popen(
        bond.command(command), stdin=bond.stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how
    )
    bond.started()
    with process:
        try:
            yield process
        finally:
            process.kill()  # usually it has already ended
            process.wait()
            bond.release()


@contextmanager
def sandbox_up(name: str, *options: str, cwd: Path = ROOT) -> Iterator[None]:
    """Run a sandbox until the end of the block, or until the test run is interrupted."""
    command = [*SANDBOX, "up", "--name", name, *options]
    # A new process session: Ctrl-C ends only the tests, which then end the sandbox.
    with started(command, cwd=cwd, env=clean_environment(), start_new_session=True) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if "sandbox ready in" in line:
                break
        assert process.poll() is None, "".join(said)
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=30)
        assert process.returncode == 0


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that the tests share."""

    name: str
    status: dict[str, Any]

    def call(self, *arguments: str, check: bool = True) -> str:
        """Run `gli sandbox ARGUMENTS`; returns the output."""
        done = subprocess.run(
            [*SANDBOX, *arguments, "--name", self.name],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def verify(self, *arguments: str, reports: Path, env: dict[str, str] | None = None) -> Ran:
        """Run `pytest --env=sandbox ARGUMENTS` against this sandbox."""
        return run(
            "--env=sandbox", *arguments, root=ROOT, reports=reports, env={"GLI_SANDBOX": self.name} | (env or {})
        )

    def verify_often(self, *arguments: str, reports: Path, env: dict[str, str] | None = None) -> Ran:
        """Like `verify`, but without the cost of a new process: for tests that are not about the process. Other tests
        keep the machine busy: a run that says that it was too slow to tell is made again, as its remedy says.
        """
        env = {"GLI_SANDBOX": self.name} | (env or {})
        ran = run_forked("--env=sandbox", *arguments, root=ROOT, reports=reports, env=env)
        if ran.says_that_it_was_slow:
            ran = run_forked("--env=sandbox", *arguments, root=ROOT, reports=reports, env=env)
        return ran

    def verify_some(self, *checks: str, reports: Path) -> Ran:
        """Run these checks only, which costs a third of a whole run. A partial run is NO-GO: read its outcomes."""
        selected = " or ".join(f"test_{check.replace('-', '_')}[" for check in checks)
        return self.verify_often("-k", selected, reports=reports)

    def ask(self, do: str, *ids: str) -> None:
        """Do `gli sandbox break`, `heal`, `vary` or `restore` without a new process."""
        answer = control.ask(running(Place.of(self.name, "sandbox")) / "control", {"do": do, "ids": ids})
        assert answer["ok"], answer["error"]

    def web_requests(self) -> int:
        """The number of the suite's HTTP requests and WebSocket handshakes, counted by the sandbox."""
        answer = control.ask(running(Place.of(self.name, "sandbox")) / "control", {"do": "status"})
        return int(answer["status"]["requests"])

    def aws_requests(self) -> dict[str, int]:
        """The number of the suite's requests by service, counted by the sandbox's AWS."""
        url = f"{self.status['aws_endpoint_url']}/_sandbox/requests"
        with urllib.request.urlopen(urllib.request.Request(url, data=b"{}"), timeout=60) as answer:
            found: dict[str, int] = json.loads(answer.read())["requests"]
        return found

    def aws_asked(self) -> list[list[str]]:
        """Service, action, HTTP method and target of what the suite asked AWS since the last call."""
        url = f"{self.status['aws_endpoint_url']}/_sandbox/asked"
        with urllib.request.urlopen(urllib.request.Request(url, data=b"{}"), timeout=60) as answer:
            found: list[list[str]] = json.loads(answer.read())["asked"]
        return found

    def asked(self) -> dict[str, Any]:
        """What the suite asked over HTTP since the last call, by server, and what it sent to the broker."""
        found: dict[str, Any] = control.ask(running(Place.of(self.name, "sandbox")) / "control", {"do": "asked"})[
            "asked"
        ]
        return found

    def aws(self, service: str) -> Any:
        """A boto3 client with other credentials than the suite's, as another tool has."""
        import boto3

        return boto3.client(
            service,
            region_name=self.status["aws_region"],
            endpoint_url=self.status["aws_endpoint_url"],
            aws_access_key_id="another",
            aws_secret_access_key="tool",
        )


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One sandbox for all tests that need one; every test must restore its state."""
    name = f"tests-{os.getpid()}"
    with sandbox_up(name):
        yield Sandbox(name, json.loads(Sandbox(name, {}).call("status", "--json")))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """Eight repositories for the release tests of one module."""
    return release_rig.make(tmp_path_factory.mktemp("rig"))


@pytest.fixture
def rig(made: Rig) -> Iterator[Rig]:
    """The repositories as they were made."""
    made.reset()
    yield made
    made.reset()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    made = Hook()
    monkeypatch.setenv(HOOK, f"json://127.0.0.1:{made.port}/hook")
    yield made
    made.close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A small project: one environment, two checks, no network."""
    return Project(tmp_path / "project")


class Project:
    """A project whose checks a test can write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tests_smoke").mkdir(parents=True)
        (root / "tests_infra").mkdir()
        (root / "checklists").mkdir()
        self.write("pytest.ini", (ROOT / "pytest.ini").read_text())
        self.write("environments.toml", ENVIRONMENT)
        self.rows("first-check", "second-check")
        self.write("conftest.py", "")
        self.checks("def test_first_check(target): pass\ndef test_second_check(target): pass\n")

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)

    def checks(self, text: str) -> None:
        self.write("tests_smoke/test_own.py", text)

    def rows(self, *ids: str, **keys: str) -> None:
        self.write("checklists/checks.toml", "\n".join(row(i, **keys) for i in ids))
        for phase in ("pre-deploy", "post-deploy"):
            proved = ids if keys.get("phase", "both") in (phase, "both") else ()
            self.write(f"checklists/{phase}.toml", checklist(*proved))

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> Ran:
        return run_forked("--env=own", *arguments, root=self.root, reports=self.root / "reports", env=env)

    def run_alone(self, *arguments: str, env: dict[str, str] | None = None) -> Ran:
        """Like `run`, in its own process: for tests about the process."""
        return run("--env=own", *arguments, root=self.root, reports=self.root / "reports", env=env)


ENVIRONMENT = """
[[repositories]]
name = "app"
[own]
branch = "main"
[own.services.api]
url = "http://127.0.0.1:9"
repository = "app"
"""


def checklist(*ids: str) -> str:
    """A checklist with one item that these checks prove."""
    item = f'[ITEM-1]\nheading = "all"\ntext.en = "It works"\ntext.ko = "동작한다"\nchecks = {json.dumps(ids)}\n'
    return '[headings.all]\nen = "All"\nko = "전체"\n' + (item if ids else "")


def row(id_: str, severity: str = "block", phase: str = "both", each: str = "apis", causes: str = "[]") -> str:
    """One row of a catalogue."""
    return (
        f'[{id_}]\nlayer = "http"\nphase = "{phase}"\nseverity = "{severity}"\nvantage = "internet"\n'
        f'each = "{each}"\ncauses = {causes}\nremedy.en = "Mend {id_}."\nremedy.ko = "{id_}을 고치세요."\n'
    )


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """Call a function right after the first journal line of this name was written."""
    write = Journal.append

    def register(step: str, action: Callable[[], Any]) -> None:
        waiting = [action]

        def append(self: Journal, event: str, **detail: Any) -> Event:
            written = write(self, event, **detail)
            if event == step and waiting:
                waiting.pop()()
            return written

        monkeypatch.setattr(Journal, "append", append)

    return register
