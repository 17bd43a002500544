"""Verifies each healthy variant of the sandbox many times: every run must be GO, and no other check may be red.

python benchmarks/variants.py                         # 20 runs of each group of variants (tests/test_variants.py)
python benchmarks/variants.py --runs 5 rds-proxy      # 5 runs of one variant alone
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from test_variants import CANNOT_TELL, TOGETHER  # noqa: E402

from sandbox import control  # noqa: E402
from sandbox.state import Place, running  # noqa: E402

NAME = "variants-often"


def sandbox(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "sandbox", *arguments, "--name", NAME], cwd=ROOT, check=True)


def ask(do: str, variants: tuple[str, ...]) -> None:
    answer = control.ask(running(Place.of(NAME, "sandbox")) / "control", {"do": do, "ids": variants})
    if not answer["ok"]:
        sys.exit(answer["error"])


def red(reports: Path) -> tuple[str, frozenset[str]]:
    """The last line of one run, and the ids of its checks that did not pass."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--env=sandbox", "-q", f"--report-dir={reports}"],
        cwd=ROOT,
        env=os.environ | {"GLI_SANDBOX": NAME},
        capture_output=True,
        text=True,
        check=False,
    )
    newest = max(reports.glob("*/*/verdict.json"), key=lambda path: path.stat().st_mtime)
    checks = json.loads(newest.read_text())["checks"]
    bad = {c["id"] for c in checks if c["outcome"] in ("failed", "unknown", "blocked", "missing")}
    return done.stdout.rstrip().splitlines()[-1], frozenset(bad)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("variants", nargs="*", help="each of these alone; default: all, in groups")
    given = parser.parse_args()
    groups = {variant: (variant,) for variant in given.variants} or TOGETHER
    sandbox("up", "--detach")
    false: Counter[str] = Counter()
    try:
        for name, variants in groups.items():
            ask("vary", variants)
            begun, seen = time.monotonic(), Counter[tuple[str, frozenset[str]]]()
            for _ in range(given.runs):
                with tempfile.TemporaryDirectory() as reports:
                    seen[red(Path(reports))] += 1
            ask("restore", variants)
            unknown = frozenset().union(*(CANNOT_TELL.get(variant, set()) for variant in variants))
            wanted = ("VERDICT sandbox: GO", unknown)
            false[name] = given.runs - seen[wanted]
            seconds = (time.monotonic() - begun) / given.runs
            print(f"{name} ({len(variants)}): {seen[wanted]} of {given.runs} GO, {seconds:.1f} s each", flush=True)
            for (line, checks), times in seen.items() - {(wanted, seen[wanted])}:
                print(f"  {times} times {line}: {', '.join(sorted(checks))}", flush=True)
    finally:
        sandbox("down")
    return 1 if +false else 0


if __name__ == "__main__":
    sys.exit(main())
