"""Runs the benchmarks of a run's cost and of promotions, and writes docs/speed.md and its plot.

    make bench

Takes some 40 minutes on two idle cores. The prose of docs/speed.md stands in this file, the figures are measured.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import growth
import limit
import others
from measured import Cost

ROOT = others.ROOT
PAGE = ROOT / "docs/speed.md"
PLOT = "speed.svg"
DRAW = """\
import json, sys
import matplotlib
matplotlib.use("svg")
from matplotlib import pyplot
matplotlib.rcParams["svg.hashsalt"] = "gli"
lines, path = json.loads(sys.stdin.read()), sys.argv[1]
figure, axes = pyplot.subplots(figsize=(7.5, 4.2))
for name, points in lines.items():
    axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
axes.set(xlabel="delay of an answer, ms", ylabel="wall, s", yscale="log")
axes.grid(alpha=0.3)
axes.legend()
figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
"""
TEXT = """\
# What a run costs

`make bench` measures every figure of this page side by side in one run and writes the page. The machine: {machine}.
Figures are medians; ratios mean more than seconds. [benchmarks/README.md](../benchmarks/README.md) describes each
benchmark.

## Beside other tools

Wall seconds by the delay of an answer. CPU, memory (of all processes, shared pages once) and requests (HTTP,
WebSocket and AWS) are those without delay.

{others}

![wall seconds by the delay of an answer]({plot})

- `plain` is the same checks as a plain pytest suite: each observation starts when a check asks for it, and each worker
  makes its own. At 100 ms the suite is {ahead:.1f} times as fast as plain serial pytest.
- A check of one page or one port costs a running `blackbox_exporter` milliseconds. The suite has to start Python and
  its libraries first, so it is behind there: it can't be faster than the bare imports below.

## Beside the limit

A run takes at least the start of Python with its libraries, and the slowest chain of requests that need each other.
The bare imports are those of {libraries}.

{limit}

One interpreter does the work of all threads in turn. Samples of who held it during a whole run (`py-spy --gil`): the
event loop with its probes 40 %, the threads with AWS's calls 20 %, the end of the run (verdict, reports, the hiding of
secrets in them) 19 %, pytest's own protocol 11 %, the rest Python's start. Imports are 13 % of it, inside these. What
would help most: probes of AWS in a process of their own, and fewer words in the facts (each is looked through for
secrets). Compiled code of the checks and compiled templates are not kept on disk: a kept copy could be stale.

## Growth

A recorded run whose services, frontends and repositories are copied, judged with `--replay`: collection, checks,
verdict, reports. Asking is not part of it.

{growth}

## Releases

Pull and promotion of repositories, in seconds, with the ratio to `gli`.

```
{promotion}```
"""


def drawn(found: dict[tuple[str, int], Cost]) -> None:
    """Draws wall seconds by delay. The drawing library lives apart from the product's."""
    names = [name for name in dict.fromkeys(n for n, _ in found) if name == "gli" or name.startswith("plain")]
    lines = {name: [(d, c.wall_s) for (n, d), c in sorted(found.items()) if n == name] for name in names}
    command = [str(ROOT / ".venv/bench/bin/python"), "-c", DRAW, str(PAGE.parent / PLOT)]
    subprocess.run(command, input=json.dumps(lines), text=True, check=True)


def machine() -> str:
    """This machine in a few words, and how busy it is."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    load = f"load {os.getloadavg()[0]:.1f} before the first round"
    return f"{os.cpu_count()} cores, {memory} GiB, {platform.system()}, Python {platform.python_version()}, {load}"


def attempted(measure: Callable[[], str]) -> str:
    """What `measure` returns, or one line that says why it could not: the other parts are measured all the same."""
    try:
        return measure()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as e:
        return f"could not be measured: {str(e).splitlines()[0]}\n"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    where = machine()
    found = others.compared((0, 50, 100, 250), rounds)
    least = limit.measured(2 * rounds + 1)
    larger = attempted(lambda: "\n".join(growth.table()))
    promotion = [sys.executable, str(Path(__file__).parent / "promotion.py"), str(rounds)]
    run = partial(subprocess.run, promotion, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    releases = attempted(lambda: str(run().stdout))
    drawn(found)
    PAGE.write_text(
        TEXT.format(
            machine=where,
            others="\n".join(others.table(found)),
            plot=PLOT,
            ahead=found["plain", 100].wall_s / found["gli", 100].wall_s,
            libraries=limit.LIBRARIES,
            limit="\n".join(limit.table(least)),
            growth=larger,
            promotion=releases,
        )
    )
    print(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
