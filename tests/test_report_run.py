"""The files of a run, and its output while it runs: real runs in separate processes."""

from __future__ import annotations

import base64
import html
import json
import os
import pty
import re
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema
from report_rig import HOOK, Hook, gli
from sample_verdicts import SAMPLES

from conftest import ENVIRONMENT, PYTEST, ROOT, Project, Ran, clean_environment
from gli.report import sinks

FILES = {"verdict.json", "facts.jsonl", "junit.xml", "report.html", "report.md"}
PASSES = "def test_first_check(target): pass\ndef test_second_check(target): pass\n"
FAILS = "def test_first_check(target): assert False, 'expected 200, saw 503'\ndef test_second_check(target): pass\n"
PROBES = """
import asyncio
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.run.plugin import fixture_for

class Seen(Observation):
    text: str

@probe(deadline=30)
async def quick(observer: Observer, service: object) -> Seen:
    return Seen(text={text!r})

@probe(deadline=30)
async def slow(observer: Observer, service: object) -> Seen:
    await asyncio.sleep({seconds})
    return Seen(text="")

@probe(deadline=30)
async def denied(observer: Observer, service: object) -> Seen:
    raise unknown("access-denied", {text!r} or "access denied", action="ecs:DescribeServices")

quick_seen, slow_seen, denied_seen = fixture_for(quick), fixture_for(slow), fixture_for(denied)
"""


def probes(project: Project, *, text: str = "", seconds: float = 0) -> None:
    project.write("conftest.py", PROBES.format(text=text, seconds=seconds))


def path(ran: Ran, name: str) -> Path:
    assert ran.folder is not None
    return ran.folder / name


def valid_junit(ran: Ran) -> dict[str, ElementTree.Element]:
    """Validate junit.xml; returns its test cases by name."""
    text = path(ran, "junit.xml").read_text(encoding="utf-8")
    xmlschema.validate(text, Path(__file__).with_name("junit.xsd"))
    return {c.attrib["name"]: c for c in ElementTree.fromstring(text.encode()).iter("testcase")}


def outcome(project: Project, name: str) -> Ran:
    """A real run with the same result as the sample of this name."""
    project.checks(PASSES)
    if name in ("no-go", "waived"):
        project.checks(FAILS)
    if name == "blocked":
        rows, _, rest = (project.root / "checklists/checks.toml").read_text().rpartition("causes = []")
        project.write("checklists/checks.toml", rows + 'causes = ["first-check"]' + rest)
        project.checks("def test_first_check(target): assert 0, 'a'\ndef test_second_check(target): assert 0, 'b'\n")
    if name == "waived":
        project.write("checklists/waivers.toml", WAIVER.format(expires=datetime.now(UTC).date() + timedelta(days=3)))
    if name == "unknown":
        probes(project)
        project.checks("def test_first_check(target, denied): pass\ndef test_second_check(target): pass\n")
    if name == "incomplete":
        project.checks(
            "import os, signal\nsignal.signal(2, signal.default_int_handler)\n"
            "def test_first_check(target): os.kill(os.getpid(), 2)\ndef test_second_check(target): 0\n"
        )
    if name == "refused":
        project.rows("first-check", "second-check", "aws-caller-identity")
        rows = (project.root / "checklists/checks.toml").read_text()
        head, _, tail = rows.rpartition('each = "apis"')
        project.write("checklists/checks.toml", f'{head}each = "account"{tail}')
        project.write("environments.toml", f"{ENVIRONMENT}\n{NOBODY}")
        project.checks(f"{PASSES}def test_aws_caller_identity(target): pass\n")
    no_metadata = {"AWS_EC2_METADATA_DISABLED": "true"}
    return project.run(*(["-k", "second"] if name == "partial" else []), env=no_metadata)


NOBODY = """
[own.aws]
region = "ap-northeast-2"
account_id = "123456789012"
credentials_file = "/dev/null"
profile = "gone"
"""
WAIVER = """
[[waiver]]
environment = "own"
check = "first-check"
target = "api"
reason = "known since Monday"
owner = "Lee Minho <minho@example.com>"
expires = {expires}
"""


@pytest.mark.parametrize("name", [n for n in SAMPLES if n != "post-deploy"])
def test_a_run_leaves_every_report_and_exits_as_its_golden_files_say(name: str, project: Project) -> None:
    ran = outcome(project, name)
    code, sample = SAMPLES[name]
    assert ran.verdict is not None
    assert (ran.code, ran.verdict["verdict"]) == (code, sample.verdict), ran.output
    assert ran.last_line == f"VERDICT own: {sample.verdict}"
    assert "WARNING: " not in ran.output
    assert {p.name for p in path(ran, "").iterdir()} == FILES
    jsonschema.Draft202012Validator(json.loads((ROOT / "docs/verdict.schema.json").read_text())).validate(ran.verdict)
    cases = valid_junit(ran)
    assert (cases["verdict"].find("failure") is None) == sample.go
    assert {n for n in cases if n != "verdict"} == {f"{c['id']}[{c['target']}]" for c in ran.verdict["checks"]}
    for root in ran.verdict["root_causes"]:
        for file in ("report.md", "report.html"):
            seen = root["message"].rpartition(", saw ")[2]
            assert seen in html.unescape(re.sub(r"\\(.)", r"\1", path(ran, file).read_text())), file
    assert path(ran, "report.md").read_text().startswith(f"## {sample.verdict}: own, all phases\n")
    assert "own" in (project.root / "reports/index.html").read_text()
    assert f"report: {path(ran, 'report.html').relative_to(project.root)}" in ran.output
    assert ("[WAIVED] first-check[api]: accepted by Lee Minho" in ran.output) == (name == "waived")


def test_workers_write_the_same_reports(project: Project) -> None:
    project.checks(FAILS)
    alone, shared = project.run(), project.run("-n2")
    assert shared.code == 1
    timeless = [re.sub(r' time="[^"]*"', "", ElementTree.tostring(c).decode()) for c in valid_junit(alone).values()]
    assert timeless == [
        re.sub(r' time="[^"]*"', "", ElementTree.tostring(c).decode()) for c in valid_junit(shared).values()
    ]
    assert "since the last whole run: 1 still" in shared.output


def test_a_report_that_fails_is_one_line_and_the_verdict_stays(project: Project, tmp_path: Path) -> None:
    project.write(
        "conftest.py",
        "from pathlib import Path\n"
        "def pytest_collection_finish(session):\n"
        "    newest = next(Path('reports/own').glob('2*'))\n"
        "    (newest / 'report.md').mkdir()\n"
        "    Path('reports/index.html').mkdir()\n",
    )
    ran = project.run(env={sinks.SUMMARY_VARIABLE: str(tmp_path)})
    assert (ran.code, ran.last_line) == (0, "VERDICT own: GO")
    warnings = [line for line in ran.output.splitlines() if line.startswith("WARNING: ")]
    assert [w.split()[1] for w in warnings] == ["report.md", sinks.SUMMARY_VARIABLE, "index.html"]
    assert "Traceback" not in ran.output
    valid_junit(ran)


@pytest.mark.parametrize("how", ["--lang", "LANG"])
def test_a_run_can_print_korean(how: str, project: Project, tmp_path: Path) -> None:
    project.checks(FAILS)
    summary = tmp_path / "summary.md"
    summary.write_text("# of the step before\n")
    option, env = (["--lang=ko"], {}) if how == "--lang" else ([], {"LANG": "ko_KR.UTF-8"})
    ran = project.run(*option, env=env | {sinks.SUMMARY_VARIABLE: str(summary)})
    assert (ran.code, ran.last_line) == (1, "VERDICT own: NO-GO")
    assert "근본 원인 first-check[api]" in ran.output
    assert "할 일: first-check을 고치세요." in ran.output
    report = path(ran, "report.md").read_text()
    assert "**근본 원인** `first-check[api]`" in report
    assert summary.read_text() == f"# of the step before\n{report}\n"
    assert '<html lang="ko"' in path(ran, "report.html").read_text()


def test_a_summary_that_is_nearly_full_gets_what_fits(project: Project, tmp_path: Path) -> None:
    rows = [f"check-{i:03}" for i in range(60)]
    project.rows(*rows)
    project.checks("".join(f"def test_{r.replace('-', '_')}(target): assert 0, 'x' * 400\n" for r in rows))
    summary = tmp_path / "summary.md"
    summary.write_text(" " * (1024 * 1024 - 6_000))
    ran = project.run("-q", "-q", "--tb=no", "-r", "N", env={sinks.SUMMARY_VARIABLE: str(summary)})
    assert summary.stat().st_size <= 1024 * 1024
    assert "more left out here" in summary.read_text()
    assert "more left out" not in path(ran, "report.md").read_text()
    assert ran.last_line == "VERDICT own: NO-GO"
    assert "ROOT CAUSE" not in ran.output


# ── progress ──


def test_in_a_log_a_plain_line_names_the_awaited_facts(project: Project) -> None:
    probes(project, seconds=5)
    project.checks("def test_first_check(target, slow): pass\ndef test_second_check(target): pass\n")
    ran = project.run()
    assert ran.code == 0
    (line,) = [line for line in ran.output.splitlines() if "awaiting" in line]
    assert re.fullmatch(r"awaiting slow\[api\]: \d+ s", line)
    assert "\x1b" not in ran.output


@pytest.mark.parametrize("quiet", [False, True])
def test_on_a_terminal_one_live_line_comes_and_goes(project: Project, quiet: bool) -> None:
    probes(project, seconds=1.7 if quiet else 3)
    project.checks("def test_first_check(target, slow): pass\ndef test_second_check(target): pass\n")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*PYTEST, "--env=own", "-p", "no:hypothesispytest", *(["-q"] if quiet else [])],
        cwd=project.root,
        env=clean_environment() | {"TERM": "xterm", "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    output = b""
    while True:
        try:
            output += os.read(leader, 4096)
        except OSError:  # the terminal's other end is closed
            break
    os.close(leader)
    assert process.wait(timeout=20) == 0
    text = output.decode()
    drawn = re.findall(r"\n\x1b\[2K([^\r]*)\r\x1b\[A", text)
    assert "VERDICT own: \x1b[32mGO\x1b[0m" in text
    if quiet:
        assert drawn == []
        return
    assert re.fullmatch(r"awaiting slow\[api\]: \d+ s", drawn[0])
    assert drawn[-1] == ""


# ── secrets ──


def test_no_canary_leaves_through_any_sink(project: Project, hook: Hook, tmp_path: Path) -> None:
    """Canaries are in a check's message, exception and output, in an observation, and in the run's credentials."""
    canary = f"c4n4ry{uuid.uuid4().hex}"
    said = "  ".join(forms(canary))
    probes(project, text=said)
    project.checks(
        f"import os\nTEXT = {said!r}\n"
        "def test_first_check(target, quick):\n"
        "    print(TEXT, dict(os.environ))\n"
        "    assert quick.text == '', quick.text\n"
        "def test_second_check(target, denied): pass\n"
        "def test_third_check(target):\n    raise OSError(TEXT)\n"
    )
    project.rows("first-check", "second-check", "third-check")
    project.write("environments.toml", f'{ENVIRONMENT}\n[own.notify]\nurl_variables = ["{HOOK}", "GLI_TEST_BROKEN"]\n')
    summary = tmp_path / "summary.md"
    env = {
        HOOK: f"json://user:{canary}@127.0.0.1:{hook.port}/{canary}",
        "GLI_TEST_BROKEN": f"json://user:{canary}@127.0.0.1:9/{canary}",
        "AWS_SECRET_ACCESS_KEY": f"aws/{canary}",
        sinks.SUMMARY_VARIABLE: str(summary),
    }
    ran = project.run("-rA", "--tb=long", "-vv", env=env)
    assert ran.code == 1
    leaks = [canary, base64.b64encode(canary.encode()).decode().rstrip("=")[:-2]]
    sinks_ = {str(p): p.read_text() for p in (project.root / "reports").rglob("*") if p.is_file()}
    assert {Path(p).name for p in sinks_} >= FILES | {"index.html", "notified.json"}
    sinks_ |= {
        "terminal": ran.output,
        "summary": summary.read_text(),
        "message": json.dumps([h["body"] for h in hook.got]),
    }
    for kind in ("md", "html", "line", "json", "prometheus"):
        sinks_[kind] = gli("report", "own/latest", "--format", kind, cwd=project.root).stdout
    assert len(hook.got) == 1
    assert "***" in ran.output
    for name, text in sinks_.items():
        assert [leak for leak in leaks if leak in text] == [], name
        assert not any(canary in inside for inside in decoded(text)), name


def forms(canary: str) -> list[str]:
    """Texts whose position shows that they are secret: plain, URL-encoded and in base64."""
    plain = [
        f"postgresql://app:{canary}@db:5432/gli",
        f"host=db password={canary} dbname=gli",
        f"Authorization: Bearer {canary}",
        f"Authorization: {canary}",
        f"X-Api-Key: {canary}",
        f"X-Health-Token: {canary}",
        f"Set-Cookie: sessionid={canary}; Path=/; HttpOnly",
        f"Cookie: theme=dark; sessionid={canary}",
        f"https://api.example.com/v1?access_token={canary}&page=2",
        f"https://{canary}@github.com/gli/gli_root",
        f"AWS_SECRET_ACCESS_KEY={canary}",
        json.dumps({"authorization": canary, "set-cookie": f"sessionid={canary}"}),
    ]
    encoded = [quote(t, safe="") for t in plain] + [quote_plus(t) for t in plain]
    return plain + encoded + [base64.b64encode(t.encode()).decode() for t in plain]


def decoded(text: str) -> list[str]:
    """The decoded content of all base64 in the text."""
    found = []
    for token in set(re.findall(r"[A-Za-z0-9+/_-]{16,}", text)):
        try:
            found.append(base64.b64decode(token + "=" * (-len(token) % 4)).decode())
        except ValueError:
            continue
    return found


def test_words_of_the_verdict_are_not_redacted(project: Project) -> None:
    """The redactor must not hide words that an engineer needs."""
    words = "expected secret stg/gli/api to have health_token, secret_key; saw Vary: Cookie, Origin and sg-0a1b2c3d4e5f"
    project.checks(f"def test_first_check(target): assert 0, {words!r}\ndef test_second_check(target): pass\n")
    ran = project.run()
    assert ran.verdict is not None
    assert ran.verdict["root_causes"][0]["message"] == words


def test_nobody_else_may_read_the_files_of_a_run(project: Project) -> None:
    before = os.umask(0o022)
    try:
        ran = project.run()
    finally:
        os.umask(before)
    reports = project.root / "reports"
    made = [found for found in (reports, *reports.rglob("*")) if not found.is_symlink()]
    assert {found.stat().st_mode & 0o777 for found in made if found.is_dir()} == {0o700}
    assert {found.stat().st_mode & 0o777 for found in made if found.is_file()} == {0o600}
    assert ran.folder in made
    assert {found.name for found in made} >= FILES
