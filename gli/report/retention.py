"""Which runs may be removed: `[ENV.reports]` says how long a run is kept; failures are kept longer.

The newest run of each phase, the run that `latest` points at and the newest `keep_runs` of the environment always stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gli.common.verdict_file import VERDICT
from gli.config.parts import Retention
from gli.report.files import LATEST, REPLAY, RUN_IDS, read_verdict


@dataclass(frozen=True)
class Kept:
    """A run on disk, as far as its verdict can be read."""

    folder: Path
    begun: datetime
    go: bool
    """False also for a verdict that can't be read: it is kept as long as a failure."""
    phase: str | None


def expired(folder: Path, settings: Retention, now: datetime) -> list[Path]:
    """The runs below `reports/<env>` that may be removed, oldest first."""
    runs = sorted(_runs(folder), key=lambda run: run.folder.name, reverse=True)
    latest = (folder / LATEST).resolve()
    seen: set[str | None] = set()
    gone: list[Path] = []
    for number, run in enumerate(runs):
        newest_of_phase = run.phase not in seen
        seen.add(run.phase)
        days = settings.keep_days if run.go else settings.keep_failures_days
        young = now - run.begun <= timedelta(days=days)
        if not (newest_of_phase or young or number < settings.keep_runs or run.folder.resolve() == latest):
            gone.append(run.folder)
    return gone[::-1]


def _runs(folder: Path) -> Iterable[Kept]:
    for path in (*folder.glob(RUN_IDS), *folder.glob(REPLAY + RUN_IDS)):
        if path.is_symlink() or not path.is_dir():
            continue
        try:
            begun = datetime.strptime(path.name.removeprefix(REPLAY)[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue  # not a run of ours
        try:
            verdict = read_verdict(path / VERDICT)
            phase = REPLAY if path.name.startswith(REPLAY) else verdict.phase
            yield Kept(path, begun, go=verdict.go, phase=phase)
        except (OSError, ValueError):
            yield Kept(path, begun, go=False, phase="unreadable")
