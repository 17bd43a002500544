"""Runs the benchmarks of a run's cost and of promotions, and writes docs/speed.md and its plot.

    make bench

One round takes 16 minutes on two idle cores. The prose of docs/speed.md stands in this file, the figures are measured.
A part that fails leaves a sentence in its place; the others are measured all the same.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import growth
import limit
import others
import promotion
import samples
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
HEAD = """\
# What a run costs

`make bench` measures every figure of this page side by side in one run and writes the page. The machine: {machine}.
Rounds: {rounds}. Figures are medians of the rounds; what takes longer than 15 s is measured once. Ratios mean more than
seconds. [benchmarks/README.md](../benchmarks/README.md) describes each benchmark.
"""
OTHERS = """\
Wall seconds by the delay of an answer. CPU, memory (of all processes, shared pages once) and requests (HTTP,
WebSocket and AWS) are those without delay. No way opens a page in a browser here.

{table}

![wall seconds by the delay of an answer]({plot})

- `plain` is the same checks as a plain pytest suite: each observation starts when a check asks for it, and each worker
  makes its own.{ahead}
- A check of one page or one port costs a running `blackbox_exporter` milliseconds. The suite has to start Python and
  its libraries first, so it is behind there: it can't be faster than the bare imports below.
"""
LIMIT = """\
A run takes at least the start of Python with its libraries, and the slowest chain of requests that need each other.
The bare imports are those of {libraries}.

{table}

{chain}

One interpreter does the work of all threads in turn. Samples of who held it during a run of everything (`py-spy
--gil`): {samples}.

Compiled code of the checks and compiled templates are not kept on disk: a kept copy could be stale.
"""
GROWTH = """\
Asking: a sandbox plays an environment that is as many times as large as GLI, with as many services, frontends,
queues and repositories. GLI's servers answer under all names. The sandbox and the run share the processors.

{asking}

What grows with each service, whatever the suite does: one request for each address, and the operations of AWS that take
one resource (a task definition, a target group's health, a bucket, a distribution, a log group's events). Described
together: ECS services (10 at once), repositories, alarms, metrics, security groups.

Judging: a recorded run whose services, frontends and repositories are copied, judged with `--replay`: collection,
checks, verdict, reports.

{judging}
"""
RELEASES = """\
Pull and promotion of repositories over a real `sshd`.

{table}
"""


def beside_others(rounds: int) -> str:
    """The suite beside other tools, with the plot."""
    found, failed = others.compared(others.DELAYS_MS, rounds)
    drawn(found)
    pair = [found.get((name, 100)) for name in ("gli", "plain")]
    ahead = ""
    if pair[0] and pair[1]:
        ahead = f" At 100 ms the suite is {pair[1].wall_s / pair[0].wall_s:.1f} times as fast as plain serial pytest."
    return OTHERS.format(
        table="\n".join([*others.table(found), *(f"\n{said}" for said in failed)]), plot=PLOT, ahead=ahead
    )


def beside_the_limit(rounds: int) -> str:
    """Runs beside the bare imports."""
    found = limit.measured(2 * rounds + 1)
    taken = attempted(samples.told)
    table = "\n".join(limit.table(found))
    return LIMIT.format(libraries=limit.LIBRARIES, table=table, chain=limit.chain(found), samples=taken)


def grown(_rounds: int) -> str:
    """Larger environments."""
    lines = ("\n".join(measure()) for measure in (growth.asking, growth.table))
    return GROWTH.format(asking=next(lines), judging=next(lines))


def releases(rounds: int) -> str:
    """Pull and promotion."""
    return RELEASES.format(table="\n".join(promotion.short(rounds)))


PARTS: dict[str, Callable[[int], str]] = {
    "Beside other tools": beside_others,
    "Beside the limit": beside_the_limit,
    "Growth": grown,
    "Releases": releases,
}


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
    """What `measure` returns, or a sentence that says why it could not."""
    try:
        return measure()
    except Exception as e:  # noqa: BLE001 - one failure must not lose what the other parts take so long to measure
        first = next(iter(str(e).splitlines()), "")
        print(f"failed: {type(e).__name__}: {e}", file=sys.stderr, flush=True)
        return f"could not be measured: {type(e).__name__}: {first}\n"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    page = HEAD.format(machine=machine(), rounds=rounds)
    for number, (title, measure) in enumerate(PARTS.items(), start=1):
        print(f"part {number} of {len(PARTS)}: {title}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        page += f"\n## {title}\n\n{attempted(partial(measure, rounds))}"
        print(f"part {number} took {(time.monotonic() - begun) / 60:.1f} minutes", file=sys.stderr, flush=True)
        PAGE.write_text(page)
    print(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
