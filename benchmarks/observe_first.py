"""Measures the gain of observing first: the same checks on the same sandboxes, in three ways that take turns."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A plugin that disables `begin`: each fixture then makes its own observation when its check asks for it.
ONE_BY_ONE = "from gli.observe.engine.observatory import Observatory\nObservatory.begin = lambda *a, **k: None\n"
WAYS = {"observe first": [], "workers": ["-n2"], "one by one": ["-p", "gli_one_by_one"]}


def sandbox(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "sandbox", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def timed(name: str, options: list[str], plugins: Path) -> float:
    """Wall seconds of one run, which must be GO."""
    environment = os.environ | {"GLI_SANDBOX": name, "PYTHONPATH": str(plugins)}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--env=sandbox", "-q", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    if done.returncode:
        sys.exit(f"{name} {options}: not GO\n{done.stdout}{done.stderr}")
    return seconds


def measured(names: list[str], rounds: int, plugins: Path) -> dict[tuple[str, str], list[float]]:
    """Measure every way on every sandbox, in turns, so that a slower machine slows all of them alike."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds):
        for way, options in WAYS.items():
            for name in names:
                seconds.setdefault((way, name), []).append(timed(name, options, plugins))
        print(f"round {turn + 1} of {rounds}", file=sys.stderr)
    return seconds


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    names: dict[str, list[str]] = {f"bench-{os.getpid()}": [], f"bench-{os.getpid()}-slow": ["--latency", "100ms"]}
    plugins = ROOT / ".sandbox" / f"bench-{os.getpid()}-plugins"
    plugins.mkdir(parents=True)
    try:
        (plugins / "gli_one_by_one.py").write_text(ONE_BY_ONE)
        for name, options in names.items():
            sandbox("up", "--detach", "--name", name, *options)
        at_once, slow = names
        seconds = measured([at_once, slow], rounds, plugins)
    finally:
        for name in names:
            subprocess.run([sys.executable, "-m", "sandbox", "down", "--name", name], cwd=ROOT, capture_output=True)
        shutil.rmtree(plugins)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    print(f"{'':16}{'min':>7}{'median':>8}{'max':>7}{'ratio':>7}   100 ms an answer adds (medians)")
    for way in WAYS:
        values = seconds[way, at_once]
        ratio = medians[way, at_once] / medians["observe first", at_once]
        adds = medians[way, slow] - medians[way, at_once]
        row = f"{min(values):7.2f}{medians[way, at_once]:8.2f}{max(values):7.2f}{ratio:7.2f}"
        print(f"{way:16}{row}   {adds:+.2f} s")


if __name__ == "__main__":
    main()
