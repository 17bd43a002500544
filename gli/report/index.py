"""`reports/index.html`: the newest runs of every environment, and how they develop.

It is made from the runs' own files alone. What it takes from each run is kept in `reports/.index.json`, so that a run
reads its own files and no others; without that file, or with a damaged one, everything is read again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from gli.common.documents import content, parsed
from gli.common.sentences import of, read
from gli.common.verdict_file import VERDICT, write_whole
from gli.judge.outcome import Outcome
from gli.report import korean, texts, web
from gli.report.files import FACTS, RUN_IDS, read_verdict

PAGE, _DIGESTS, _SCHEMA = "index.html", ".index.json", 2
MOST_RUNS = 50
_SLOWEST, _FLAKIEST = 8, 8


@dataclass(frozen=True)
class Digest:
    """What the index keeps of one run; lists of labels are as the verdict has them."""

    run: str
    """The name of the run's folder."""
    verdict: str
    """Empty where the verdict can't be read."""
    phase: str | None = None
    started: str = ""
    seconds: float = 0.0
    expires: str = ""
    counts: Mapping[str, int] | None = None
    about: str | Mapping[str, Any] = ""
    """The label of the first root cause, or else the first reason, as JSON holds a phrase."""
    whole: bool = False
    """Whether the run ended with every check."""
    commits: str = ""
    """A digest of the commits that the run judged; empty if it recorded none."""
    red: Sequence[str] = ()
    retried: Sequence[str] = ()
    seconds_of: Mapping[str, float] | None = None
    """Each observation's duration."""
    page: str = VERDICT
    """The file to open."""


@dataclass(frozen=True)
class Flaky:
    """A check whose outcome changed between runs of the same commits."""

    label: str
    changes: int
    """The number of changes between green and red from one run to the next run of the same commits."""
    retried: int
    """The number of runs in which it passed on a second or later attempt."""


@dataclass(frozen=True)
class Column:
    """One run in a chart: parts of it from bottom to top, with y and height in percent."""

    x: float
    width: float
    title: str
    parts: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class History:
    """The runs of one environment, newest first."""

    environment: str
    runs: Sequence[Digest]
    durations: Sequence[Column]
    reds: Sequence[Column]
    slowest: Sequence[tuple[str, float, float]]
    """Observation, its median and its newest duration in seconds."""
    flaky: Sequence[Flaky]

    @property
    def go(self) -> int:
        """The number of runs that are GO."""
        return sum(run.verdict == "GO" for run in self.runs)

    @property
    def took(self) -> Sequence[float]:
        """The durations of the readable runs in seconds, the newest first."""
        return [run.seconds for run in self.runs if run.verdict]

    @property
    def usual(self) -> float:
        return median(self.took)


def write(reports: Path, language: str = "en") -> None:
    """Rewrites `reports/index.html` from the runs below `reports`; raises `OSError` where it can't be written."""
    known = _known(reports / _DIGESTS)
    kept: dict[str, dict[str, Any]] = {}
    histories = []
    for folder in sorted(p for p in reports.iterdir() if p.is_dir() and not p.name.startswith(".")):
        runs = [_digest(run, known, kept) for run in _newest(folder)]
        if runs:
            histories.append(history(folder.name, runs))
    write_whole(reports / _DIGESTS, json.dumps({"schema": _SCHEMA, "runs": kept}, ensure_ascii=False))
    write_whole(reports / PAGE, page(histories, language))


def page(histories: Sequence[History], language: str) -> str:
    """The index as a page."""
    return web.render(
        "index.html",
        language=language,
        t=texts.of(language),
        said=lambda about: korean.said(read(about), language),
        histories=histories,
        most=MOST_RUNS,
    )


def history(environment: str, runs: Sequence[Digest]) -> History:
    """The trends of an environment's runs, newest first."""
    return History(
        environment=environment,
        runs=runs,
        durations=_durations(runs),
        reds=_reds(runs),
        slowest=_slowest(runs),
        flaky=_flaky(runs),
    )


def _newest(folder: Path) -> list[Path]:
    """The newest run folders of an environment."""
    runs = (p.parent for p in folder.glob(f"{RUN_IDS}/{VERDICT}"))
    return sorted(runs, key=lambda p: p.name, reverse=True)[:MOST_RUNS]


def _known(path: Path) -> dict[str, Any]:
    try:
        document = parsed(content(path).decode())
        return dict(document["runs"]) if document["schema"] == _SCHEMA else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _digest(folder: Path, known: Mapping[str, Any], kept: dict[str, dict[str, Any]]) -> Digest:
    """What is kept of a run; read again only where its files changed."""
    key = f"{folder.parent.name}/{folder.name}"
    stamp = [_stamp(folder / name) for name in (VERDICT, FACTS)]
    entry: dict[str, Any] = known.get(key, {})
    try:
        if entry["stamp"] == stamp:
            read(entry["digest"].get("about", ""))
            kept[key] = entry
            return Digest(**entry["digest"])
    except (KeyError, TypeError, AttributeError, ValueError):
        pass  # the index is damaged: read the run itself
    digest = _read(folder)
    kept[key] = {"stamp": stamp, "digest": vars(digest)}
    return digest


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_mtime_ns, status.st_size]


def _read(folder: Path) -> Digest:
    """Reads a run's own files. A run with a damaged verdict, or a verdict of another schema, counts as a run too."""
    opened = "report.html" if (folder / "report.html").is_file() else VERDICT
    try:
        v = read_verdict(folder / VERDICT)
        roots = [str(r.key) for r in v.root_causes]
        commits = sorted(f"{name} {at['commit']}" for name, at in v.manifest.items())
        checks = [(str(c.key), c.outcome, c.attempts) for c in v.checks]
        return Digest(
            run=folder.name,
            verdict=v.verdict,
            phase=v.phase,
            started=v.started,
            seconds=web.seconds_between(v.started, v.finished),
            expires=v.expires,
            counts={outcome.value: n for outcome, n in v.counts.items()},
            about=([*roots, *(of(r.message).document() for r in v.held_by), *v.reasons, ""][0] if not v.go else ""),
            whole=bool(checks) and v.whole,
            commits=hashlib.sha256("\n".join(commits).encode()).hexdigest() if commits else "",
            red=[label for label, outcome, _ in checks if outcome.red],
            retried=[label for label, outcome, attempts in checks if outcome is Outcome.PASSED and attempts > 1],
            seconds_of=dict(_seconds_of(folder / FACTS)),
            page=opened,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Digest(run=folder.name, verdict="", page=opened)


def _seconds_of(path: Path) -> Iterator[tuple[str, float]]:
    try:
        lines = content(path).decode().rstrip("\n").split("\n")[1:]
    except OSError:
        return
    for line in lines:
        record = parsed(line)
        target = record.get("target")
        yield (f"{record['probe']}[{target}]" if target else record["probe"]), float(record["duration_s"])


def _columns(runs: Sequence[Digest]) -> Iterator[tuple[float, Digest]]:
    """Where each run stands in a chart: the newest on the right."""
    for index, run in enumerate(runs):
        yield 100 - (index + 1) * 100 / MOST_RUNS, run


def _durations(runs: Sequence[Digest]) -> list[Column]:
    longest = max((run.seconds for run in runs), default=0) or 1
    columns = []
    for x, run in _columns(runs):
        height = max(100 * run.seconds / longest, 2)
        colour = "passed" if run.verdict == "GO" else "failed" if run.verdict else "none"
        title = f"{web.moment(run.started)} {run.verdict} {web.duration(run.seconds)}"
        columns.append(Column(x, 80 / MOST_RUNS, title, ((colour, 100 - height, height),)))
    return columns


def _reds(runs: Sequence[Digest]) -> list[Column]:
    """What was not green, in a scale of its own: beside hundreds of green checks a few reds would not show."""
    worst_first = [outcome.value for outcome in Outcome if outcome.red]
    most = max((sum((run.counts or {}).get(o, 0) for o in worst_first) for run in runs), default=0) or 1
    columns = []
    for x, run in _columns(runs):
        counts = {o: (run.counts or {}).get(o, 0) for o in worst_first}
        title = ", ".join(f"{n} {o}" for o, n in (run.counts or {}).items())
        parts, top = [], 100.0
        for outcome, n in counts.items():
            if n:
                height = 100 * n / most
                top -= height
                parts.append((outcome, round(top, 2), round(height, 2)))
        columns.append(Column(x, 80 / MOST_RUNS, f"{web.moment(run.started)} {title}", tuple(parts)))
    return columns


def _slowest(runs: Sequence[Digest]) -> list[tuple[str, float, float]]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, seconds in (run.seconds_of or {}).items():
            found.setdefault(name, []).append(seconds)
    slowest = sorted(((median(all_), name) for name, all_ in found.items()), reverse=True)[:_SLOWEST]
    return [(name, usual, found[name][0]) for usual, name in slowest]


def _flaky(runs: Sequence[Digest]) -> list[Flaky]:
    """Compares each whole run with the next one of its phase, where both judged the same commits."""
    changes: Counter[str] = Counter()
    by_phase: dict[str | None, list[Digest]] = {}
    for run in runs:
        if run.whole:
            by_phase.setdefault(run.phase, []).append(run)
    for of_phase in by_phase.values():
        for later, earlier in pairwise(of_phase):
            if later.commits and later.commits == earlier.commits:
                changes.update(set(later.red) ^ set(earlier.red))
    retried = Counter(label for run in runs for label in run.retried)
    found = [Flaky(label, changes[label], retried[label]) for label in {*changes, *retried}]
    # a single change means that something broke, or was mended
    found = [f for f in found if f.changes > 1 or f.retried]
    return sorted(found, key=lambda f: (-f.changes, -f.retried, f.label))[:_FLAKIEST]
