"""Which verdict on disk is the newest of an environment. A gate that reads an older one would be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path

from gli.common import clock
from gli.common.clock import CLOCKS_DIFFER
from gli.common.documents import content
from gli.common.verdict_file import VERDICT
from gli.judge.verdict import Verdict
from gli.report.files import LATEST, RUN_IDS, sealed


@dataclass(frozen=True)
class Found:
    """A verdict on disk."""

    path: Path
    content: bytes
    """Of the file, as it was read once: the verdict and its signature are of this content."""
    verdict: Verdict
    whole: bool
    """Whether the file is unchanged since the run wrote it."""


def newest(reports: Path, environment: str, phase: str, now: datetime) -> Found | None:
    """The newest verdict of the environment for the phase: of a run of this phase, or of all phases.

    A later NO-GO revokes an earlier GO. A replay does not count: it says nothing about the present state. The order is
    by the time at which the runs ended, never by the folders' names. A NO-GO counts as later than a GO if it may be:
    on one machine by the seconds since the machine's start, between two machines if their clocks may differ by more
    than the time between the runs. A run that may still be under way counts as later than every run that has ended. An
    edited verdict counts as the newest of all, since the time of its run is unknown. A run that a merged verdict rests
    on does not count beside that verdict, but it counts beside every other.
    Raises `ValueError` with a sentence for a folder that can't be read: the gate must not skip it.
    """
    folders = sorted((reports / environment).iterdir()) if (reports / environment).is_dir() else []
    found = [one for one in map(_read, folders) if one is not None]
    speaking = [f for f in found if not f.whole or (f.verdict.phase in (None, phase) and not f.verdict.replayed)]
    alone = [f for f in speaking if not _joined_elsewhere(f, speaking)]
    last = max(alone, key=lambda f: _order(f, now), default=None)
    if last is None or not last.whole or not last.verdict.go:
        return last
    rivals = [f for f in speaking if not f.verdict.go and not _joined_elsewhere(f, [last])]
    rivals = [f for f in rivals if _may_be_later(f.verdict, last.verdict)]
    return max(rivals, key=lambda f: _order(f, now), default=last)


def _joined_elsewhere(one: Found, found: Iterable[Found]) -> bool:
    """Whether a merged verdict rests on this run, or on all runs that this merged verdict rests on, and on more."""
    verdict = one.verdict
    parts = {(part.run, part.digest) for part in verdict.merged}
    others = [{(part.run, part.digest) for part in f.verdict.merged} for f in found if f.whole and f.verdict.merged]
    return one.whole and any((verdict.run, verdict.digest) in other or (parts and parts < other) for other in others)


def _order(found: Found, now: datetime) -> tuple[bool, bool, datetime, bool]:
    verdict = found.verdict
    under_way = verdict.ends_by is not None and now <= clock.moment(verdict.ends_by)
    return not found.whole, under_way, clock.moment(verdict.as_of), not verdict.go


def _may_be_later(one: Verdict, other: Verdict) -> bool:
    """Whether `one` may have ended after `other`, given that clocks may differ, and that a clock may be set back."""
    if one.machine == other.machine != "" and one.machine_s is not None and other.machine_s is not None:
        return one.machine_s >= other.machine_s
    return clock.moment(one.as_of) + CLOCKS_DIFFER >= clock.moment(other.as_of)


def _read(folder: Path) -> Found | None:
    """The verdict in a folder; None if the folder is not that of a run. Raises `ValueError` if it can't be read."""
    path, latest = folder / VERDICT, folder.name == LATEST
    if latest and folder.is_symlink():
        return None
    try:
        text = content(path)
        verdict, whole = sealed(text)
    except (FileNotFoundError, NotADirectoryError):
        if not fnmatch(folder.name, RUN_IDS):
            return None
        raise ValueError(f"{folder} holds no verdict; remove it") from None
    except (OSError, ValueError):
        raise ValueError(f"{folder} holds no verdict that can be read; remove it") from None
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link; remove it")
    if verdict.run not in ("", folder.name) and not latest:  # `latest` is a copy on systems without links
        raise ValueError(f"{folder} holds the verdict of the run {verdict.run}; give it its name again, or remove it")
    return Found(path, text, verdict, whole)
