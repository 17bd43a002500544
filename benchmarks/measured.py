"""What a command costs: wall seconds, processor seconds and memory of all its processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOOK_S = 0.2


@dataclass(frozen=True)
class Cost:
    """One run of a command, or the medians of several."""

    wall_s: float
    cpu_s: float
    memory_mb: float
    """The highest sum of the memory of all processes at one time; each shared page counts once (PSS). A process that
    ends within 0.2 s does not count.
    """
    requests: int | None = None
    """How many requests the target counted."""


def cost(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Path, fails: bool = False) -> Cost:
    """Runs a command. Raises `RuntimeError` with the end of its output if it fails and should not."""
    with output.open("wb") as out:
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=dict(env), stdout=out, stderr=subprocess.STDOUT)
        memory = _Memory(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not fails:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output.read_text()[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, memory.highest_mb())


def median(costs: Iterable[Cost]) -> Cost:
    """The median of each figure."""
    all_ = list(costs)
    asked = [c.requests for c in all_ if c.requests is not None]
    return Cost(
        wall_s=statistics.median(c.wall_s for c in all_),
        cpu_s=statistics.median(c.cpu_s for c in all_),
        memory_mb=statistics.median(c.memory_mb for c in all_),
        requests=round(statistics.median(asked)) if asked else None,
    )


class _Memory(threading.Thread):
    """Looks at a process and its descendants until they are gone."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._highest = pid, 0
        self.start()

    def run(self) -> None:
        before: set[int] = set()
        while Path(f"/proc/{self._pid}").exists():
            family = set(_family(self._pid))
            lasting = family & before  # a process that vfork has just made has its parent's memory, for a moment
            self._highest = max(self._highest, sum(_pss_kb(_memory_of(pid)) for pid in lasting))
            before = family
            time.sleep(_LOOK_S)

    def highest_mb(self) -> float:
        self.join()
        return self._highest / 1024


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with suppress(OSError):  # the process or a thread has ended
            for task in Path(f"/proc/{one}/task").iterdir():
                with suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return found


def _memory_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return ""


def _pss_kb(memory: str) -> int:
    return next((int(line.split()[1]) for line in memory.splitlines() if line.startswith("Pss:")), 0)
