"""A run beside its lower limit: the start of Python with the libraries that the run needs.

    .venv/bin/python benchmarks/limit.py [ROUNDS]

A run can't end before its libraries are imported, nor before the slowest chain of requests that need each other is
answered. In every round the bare imports and the runs take turns, on one sandbox without delay. The figures are medians
of wall seconds, processor seconds and memory; the last column is the ratio of the wall to the imports' wall.

How many answers the slowest chain of requests holds is measured too: a run of everything is made at 0 and at 100 ms an
answer, and each answer that another request waits for adds 100 ms to its wall.
"""

from __future__ import annotations

import sys

from measured import Cost, cost, median
from others import BIN, ROOT, Target, suite, target

from gli.observe.edge.browser_process import of_the_system

LIBRARIES = "pytest, httpx, websockets, psycopg, redis, boto3, pydantic"
BROWSER = "everything, each page in Chromium"
DELAYED = "everything, 100 ms an answer"
RUNS = {
    "everything": suite(),
    "on call, the database": suite("--phase=on-call", "-k", "db_"),
    "HTTP alone": suite("--phase=on-call", "-k", "api_ or http_"),
}


def imports(target: Target) -> Cost:
    """Python that imports the libraries and ends."""
    command = [str(BIN / "python"), "-c", f"import {LIBRARIES}"]
    return cost(command, cwd=ROOT, env=target.environment(), output=target.folder / "output")


def measured(rounds: int) -> dict[str, Cost]:
    """The medians of the imports and of each run. One round before the first is not counted."""
    seen: dict[str, list[Cost]] = {}
    with target(0) as there:
        for turn in range(-1, rounds):
            found = {"bare imports": imports(there)} | {name: run(there) for name, run in RUNS.items()}
            if turn >= 0:
                for name, one in found.items():
                    seen.setdefault(name, []).append(one)
                print(f"round {turn + 1} of {rounds}: {found['everything'].wall_s:.1f} s", file=sys.stderr, flush=True)
        if of_the_system():
            seen[BROWSER] = [suite(browser=True)(there)]
    with target(100) as there:
        seen[DELAYED] = [suite()(there) for _ in range(max(1, rounds // 2))]
    return {name: median(costs) for name, costs in seen.items()}


def table(found: dict[str, Cost]) -> list[str]:
    """The figures as a Markdown table."""
    limit = found["bare imports"].wall_s
    lines = ["| | wall | CPU | memory | to the imports |", "|---|---|---|---|---|"]
    for name, c in found.items():
        lines.append(f"| {name} | {c.wall_s:.2f} s | {c.cpu_s:.2f} s | {c.memory_mb:.0f} MB | {c.wall_s / limit:.2f} |")
    return lines


def chain(found: dict[str, Cost]) -> str:
    """How many answers were waited for one after another, as a sentence."""
    more = found[DELAYED].wall_s - found["everything"].wall_s
    return f"The slowest chain holds {more / 0.1:.0f} answers: at 100 ms an answer, a run takes {more:.1f} s longer."


def main() -> None:
    found = measured(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
    print("\n".join([*table(found), "", chain(found)]))


if __name__ == "__main__":
    main()
