"""A report of 2,000 checks: how long the page takes to write and to open, and whether it scrolls smoothly.

If pytest-html is installed, its self-contained report of 2,000 tests is measured too.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from gli.config import catalogue, environments
from gli.judge.outcome import Outcome
from gli.judge.verdict import CheckLine, Suite, Verdict
from gli.observe.edge.browser_process import of_the_system
from gli.observe.engine.observation import Record
from gli.report import html
from gli.report.topology import topology

ROOT = Path(__file__).resolve().parent.parent
CHECKS, FAILING = 2000, 20
OURS, THEIRS = "report.html", "pytest-html"
BEGUN = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
# Seconds until the page is displayed; milliseconds of each frame while the whole page is scrolled.
STANDS = "() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(performance.now() / 1000))))"
SCROLLED = """() => new Promise((done) => {
    const page = document.scrollingElement;
    const frames = [];
    let last = performance.now();
    const step = (now) => {
        frames.push(now - last);
        last = now;
        page.scrollTop += page.scrollHeight / 120;
        if (frames.length < 120) requestAnimationFrame(step); else done(frames);
    };
    requestAnimationFrame(step);
})"""


def written(folder: Path) -> tuple[Path, float]:
    """Write the page of a run of 2,000 checks with one fact each; returns the page and the seconds it took."""
    environment = environments.load(ROOT, "stg", overlay={})
    drawn = topology(environment, catalogue.load(ROOT).cases(environment, None))
    lines = [
        CheckLine(
            id="api-health",
            target=f"service-{n}",
            outcome=Outcome.FAILED if n < FAILING else Outcome.PASSED,
            severity="block",
            phase="both",
            message="expected 200, saw 503 application/json" if n < FAILING else "",
            facts=(f"landing[service-{n}]",),
        )
        for n in range(CHECKS)
    ]
    answer = {"status": 200, "headers": {"content-type": "application/json", "server": "edge"}, "body": "x" * 400}
    records = [
        Record(
            probe="landing",
            target=f"service-{n}",
            started=BEGUN + timedelta(milliseconds=n),
            duration_s=0.4,
            requests={"http": 1},
            phases_s={"connect": 0.1, "tls": 0.1, "first_byte": 0.1},
            observation={"url": f"https://{n}.example.com/health/", **answer},
        )
        for n in range(CHECKS)
    ]
    verdict = Verdict(
        verdict="NO-GO",
        reasons=(f"{FAILING} of {CHECKS} failed",),
        environment="stg",
        phase=None,
        vantage="vpc",
        started="2026-01-31T09:00:00.000Z",
        finished="2026-01-31T09:00:03.000Z",
        expires="2026-01-31T11:00:03.000Z",
        suite=Suite(version="1", revision=None, catalogue_sha256="0" * 64),
        counts={"failed": FAILING, "passed": CHECKS - FAILING},
        checks=tuple(lines),
    )
    path = folder / "report.html"
    begun = time.monotonic()
    path.write_text(html.page(verdict, records, drawn), encoding="utf-8")
    return path, time.monotonic() - begun


def compared(folder: Path) -> Path | None:
    """pytest-html's report of 2,000 tests; None if pytest-html is not installed."""
    if importlib.util.find_spec("pytest_html") is None:
        return None
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_all.py").write_text(
        f"import pytest\n@pytest.mark.parametrize('n', range({CHECKS}))\n"
        f"def test_service(n): assert n >= {FAILING}, 'expected 200, saw 503 application/json'\n"
    )
    path = folder / "pytest-html.html"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:gli", f"--html={path}", "--self-contained-html"]
    subprocess.run([sys.executable, "-m", "pytest", *options, folder], cwd=folder, check=False, capture_output=True)
    return path if path.is_file() else None


def opened(page: Page, path: Path) -> tuple[float, float, float]:
    """Open a page; returns the seconds until it is displayed, and the median and longest frame in milliseconds."""
    page.goto(path.as_uri())
    stands = float(page.evaluate(STANDS))
    page.evaluate("document.querySelectorAll('details.group').forEach(d => { d.open = true; })")
    frames: list[float] = page.evaluate(SCROLLED)
    return stands, statistics.median(frames), max(frames)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    chromium = of_the_system() or sys.exit("Chromium is not installed: apt-get install chromium-headless-shell")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        made = [written(folder) for _ in range(rounds)]
        paths = {OURS: made[0][0]}
        other = compared(folder)
        if other is None:
            print("pytest-html is not installed; .venv/bin/pip install pytest-html compares with it", file=sys.stderr)
        else:
            paths[THEIRS] = other
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        turns = [{way: opened(page, path) for way, path in paths.items()} for _ in range(rounds)]
        browser.close()
        print(f"making {CHECKS} checks: {statistics.median(seconds for _, seconds in made):.2f} s (median of {rounds})")
        print(f"{'':14}{'KB':>7}{'stands, s':>11}{'frame, ms':>11}{'longest':>9}")
        for way, path in paths.items():
            stands, frame, longest = (statistics.median(turn[way][n] for turn in turns) for n in range(3))
            print(f"{way:14}{path.stat().st_size / 1000:7.0f}{stands:11.2f}{frame:11.0f}{longest:9.0f}")


if __name__ == "__main__":
    main()
