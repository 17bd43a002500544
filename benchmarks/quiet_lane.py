"""What a run measures of a target, beside what curl measures of it: the runner's own work must not count.

    .venv/bin/python benchmarks/quiet_lane.py [ROUNDS]

starts a sandbox. Each round verifies the sandbox and asks curl for the page of the API's health, first on an idle
machine, then beside four busy loops. Prints the 95th percentile for each phase in milliseconds, how many checks passed
only on a later attempt, and how many runs were not GO, each with its first reason.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PHASES = ("connect", "tls", "first_byte")
_BUSY = "while True: pass"
_LIMIT_MS = 10.0


def sandbox(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Processes that take all the time they get, until the end of the block."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def of_run(name: str) -> tuple[str, dict[str, float], int, list[str]]:
    """(URL, milliseconds of each phase, number of checks with a later attempt, reasons of a NO-GO) of one run."""
    with tempfile.TemporaryDirectory() as reports:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--env=sandbox", "-q", f"--report-dir={reports}"],
            cwd=ROOT,
            env=os.environ | {"GLI_SANDBOX": name},
            capture_output=True,
            text=True,
            check=False,
        )
        folder = next(Path(reports).glob("sandbox/2*"), None)
        if folder is None or not (folder / "facts.jsonl").is_file():
            sys.exit(f"the run made no report\n{done.stdout}{done.stderr}")
        facts = [json.loads(line) for line in (folder / "facts.jsonl").read_text().splitlines()[1:]]
        verdict = json.loads((folder / "verdict.json").read_text())
    landing = next(f for f in facts if f["probe"] == "landing" and f["target"] == "api")
    phases = {phase: landing["phases_s"][phase] * 1000 for phase in PHASES}
    late = sum(check["attempts"] > 1 for check in verdict["checks"])
    return landing["observation"]["url"], phases, late, verdict["reasons"]


def of_curl(url: str, status: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of each phase, measured by curl."""
    host = url.split("/")[2]
    shown = "%{time_namelookup} %{time_connect} %{time_appconnect} %{time_pretransfer} %{time_starttransfer}"
    done = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--output", os.devnull, "--write-out", shown),
            *("--cacert", status["ca_file"], "--connect-to", f"{host}::{status['hosts'][host]}", url),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    looked_up, connected, encrypted, ready, answered = (float(part) * 1000 for part in done.stdout.split())
    return {"connect": connected - looked_up, "tls": encrypted - connected, "first_byte": answered - ready}


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def measure(name: str, status: dict[str, Any], rounds: int, loops: int) -> None:
    """Measures the rounds and prints a line for each phase."""
    runs, curls, late, red = [], [], 0, 0
    with busy(loops):
        for turn in range(rounds):
            url, phases, retried, reasons = of_run(name)
            runs.append(phases)
            curls.append(of_curl(url, status))
            late += retried
            red += bool(reasons)
            said = f", NO-GO: {reasons[0]}" if reasons else ""
            print(f"{loops} busy loops: round {turn + 1} of {rounds}{said}", file=sys.stderr)
    for phase in PHASES:
        run, curl = p95([r[phase] for r in runs]), p95([c[phase] for c in curls])
        said = "ok" if run - curl <= _LIMIT_MS else f"more than {_LIMIT_MS:g} ms above curl"
        print(f"{loops} busy loops  {phase:10}  run {run:7.1f} ms  curl {curl:7.1f} ms  {said}")
    print(f"{loops} busy loops  {late} checks passed on a later attempt, {red} of {rounds} runs were not GO")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    name = f"bench-{os.getpid()}"
    sandbox("up", "--detach", "--name", name)
    try:
        status = json.loads(sandbox("status", "--json", "--name", name))
        for loops in (0, 4):
            measure(name, status, rounds, loops)
    finally:
        sandbox("down", "--name", name)


if __name__ == "__main__":
    main()
