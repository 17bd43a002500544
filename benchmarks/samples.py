"""Who holds Python's lock during a run: samples of py-spy, by what the threads do.

    .venv/bin/python benchmarks/samples.py

Samples are percentages of the processor time of Python code, in all processes of the run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from measured import cost
from others import BIN, ROOT, Target, target

_PARTS = {
    "imports": r"_find_and_load ",
    "AWS's calls, in threads": r" AwsSession\._read ",
    "the event loop with its probes": r" run_blocking_portal|\.run_blocking_portal ",
    "the verdict, the reports and the hiding of secrets": r"\(gli/(judge|report)/",
    "pytest's own protocol, and the checks": r" wrap_session ",
}
"""What a sample is, by the first of these that is in its stack."""


def parts(stacks: Iterable[str]) -> dict[str, float]:
    """Percent of the samples of each part, from lines `frame;frame;... count`."""
    seen: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        text = " " + stack.replace(";", " ") + " "
        name = next((name for name, pattern in _PARTS.items() if re.search(pattern, text)), "all else")
        seen[name] += int(count)
    return {name: 100 * n / seen.total() for name, n in seen.most_common()}


def sampled(target: Target) -> str:
    """The parts of one run, as a sentence."""
    stacks = target.folder / "stacks"
    spy = [str(ROOT / ".venv/bench/bin/py-spy"), "record", "--subprocesses", "--gil", "--format=raw", "-o", str(stacks)]
    command = [*spy, "--", str(BIN / "pytest"), "--env=sandbox", f"--report-dir={target.folder}/reports"]
    cost(command, cwd=ROOT, env=target.environment(), output=target.folder / "output", fails=True)
    if not stacks.exists():
        raise RuntimeError(f"py-spy wrote nothing: {(target.folder / 'output').read_text()[-500:]}")
    found = parts(stacks.read_text().splitlines())
    return ", ".join(f"{name} {percent:.0f} %" for name, percent in found.items())


def told() -> str:
    """The parts of one run of a sandbox without delay."""
    with target(0) as there:
        return sampled(there)


if __name__ == "__main__":
    print(told())
