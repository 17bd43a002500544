"""The files of a run: `reports/<env>/<run id>/verdict.json` and `facts.jsonl`, and `latest` pointing there.

Everything is written whole or not at all. A run writes a NO-GO first, so that a killed run leaves one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from gli.common.documents import content, parsed
from gli.common.errors import UsageError
from gli.common.verdict_file import VERDICT, digest, write_verdict, write_whole
from gli.judge.verdict import Verdict
from gli.observe.engine.observation import Record

FACTS, LATEST = "facts.jsonl", "latest"
RUN_IDS = "[0-9]*T[0-9]*-*"
"""The names of run folders, as a glob. The folders of replays begin with `REPLAY` and do not match."""
REPLAY = "replay-"
PRIVATE_FOLDER = 0o700
"""The mode of each folder that is made for reports: they name hosts, addresses and users of the environment."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; its name sorts by time and is unique among runs that start at once."""

    path: Path

    @classmethod
    def of(cls, reports: Path, environment: str, started: datetime, *, replay: bool) -> RunFolder:
        """The folder of a run that starts now. It is not made yet."""
        run_id = f"{started:%Y%m%dT%H%M%S.%f}"[:-3] + f"-{os.getpid()}"
        return cls(reports / environment / (REPLAY + run_id if replay else run_id))

    def make(self) -> None:
        """Makes the folder; raises `UsageError` where that fails."""
        try:
            for folder in reversed(self.path.parents):
                folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            self.path.mkdir(mode=PRIVATE_FOLDER)
        except OSError as e:
            raise UsageError(f"the report can't be written: {e}; choose a folder with --report-dir") from None

    def last_whole(self, phase: str | None, cell: str | None = None) -> Verdict | None:
        """The verdict of the newest earlier run of the phase and cell that came to its end with every check."""
        earlier = (p for p in self.path.parent.glob(f"{RUN_IDS}/{VERDICT}") if p.parent.name != self.path.name)
        for path in sorted(earlier, key=lambda p: p.parent.name, reverse=True):
            try:
                text = content(path).decode()
                if not _may_be_whole(text, phase):
                    continue
                verdict = Verdict.of(parsed(text))
            except (OSError, ValueError):
                continue  # not a verdict of ours, or one that somebody damaged: nothing to compare with
            same = (verdict.phase, verdict.cell) == (phase, cell)
            if verdict.whole and same and verdict.checks and not verdict.replayed:
                return verdict
        return None

    def write_clean(self, verdict: Verdict, hide: Callable[[str], str]) -> Verdict:
        """Writes a verdict without secrets, which `hide` hides, and returns it as written. Raises `UsageError` if it
        can't be written.
        """
        clean = verdict.without(hide)
        try:
            write_verdict(self.path, clean.document())
        except OSError as e:
            raise UsageError(f"the verdict can't be written to {self.path}: {e.strerror}") from None
        return clean

    def write_facts(self, header: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> str:
        """Writes `facts.jsonl`: a header line for replays, then one line for each observation, without secrets. Returns
        the file's SHA-256.
        """
        lines = (json.dumps(line, ensure_ascii=False) for line in (header, *records))
        text = "".join(f"{line}\n" for line in lines)
        write_whole(self.path / FACTS, text)
        return hashlib.sha256(text.encode()).hexdigest()

    def point_latest_here(self) -> None:
        """`reports/<env>/latest`: a symbolic link, replaced atomically. Raises `UsageError` if there is a folder."""
        link = self.path.parent / LATEST
        if link.is_dir() and not link.is_symlink():
            raise UsageError(f"{link} is a folder, and a run makes a link of that name; remove the folder")
        fresh = self.path.parent / f".latest-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        fresh.symlink_to(self.path.name)
        fresh.replace(link)


def read_verdict(path: Path) -> Verdict:
    """Reads a `verdict.json`. Raises `OSError` or `ValueError` for any other file."""
    return sealed(content(path))[0]


def sealed(text: bytes) -> tuple[Verdict, bool]:
    """The verdict in the content of a `verdict.json`, and whether it is unchanged since a run wrote it. Raises
    `ValueError` for any other content.
    """
    document = parsed(text.decode())
    verdict = Verdict.of(document)
    return verdict, verdict.digest == digest(document)


def read_facts(path: Path, sha256: str | None = None) -> tuple[dict[str, Any], list[Record]]:
    """The header of a recorded run and its records. Raises `UsageError` for any other file, and for a file of another
    `sha256`, if one is given.

    Two records of one fact must agree: otherwise nobody could tell which of them the checks judge.
    """
    try:
        whole = content(path)
        text = whole.decode()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} can't be read ({e}); give the facts.jsonl of a run") from None
    if sha256 is not None and hashlib.sha256(whole).hexdigest() != sha256:
        raise UsageError(f"{path} was edited after the run wrote it; run it again")
    if not text:
        raise UsageError(f"{path}: the file is empty; give the facts.jsonl of a run")
    header, *lines = (_line(path, number, line) for number, line in enumerate(text.rstrip("\n").split("\n"), 1))
    schema = header.get("schema")
    if type(schema) is not int or schema != 1 or not isinstance(header.get("environment"), str):
        raise UsageError(f"{path}: the first line is no header of a recorded run; give its facts.jsonl")
    if not isinstance(header.get("overlay", {}), dict) or header.get("vantage") not in (None, "internet", "vpc"):
        raise UsageError(f"{path}: the first line has an overlay or a vantage that is none; the file is damaged")
    if not isinstance(header.get("cell"), str | None):
        raise UsageError(f"{path}: the first line has a cell that is no name; the file is damaged")
    records: dict[str, Record] = {}
    for number, line in enumerate(lines, 2):
        try:
            record = Record.model_validate(line)
            if record.started.tzinfo is None or not all(map(isfinite, (record.duration_s, *record.phases_s.values()))):
                raise ValueError("a time that is none")
        except ValueError as e:
            raise UsageError(f"{path}: line {number} is no record ({str(e).splitlines()[0]}); it is damaged") from None
        if records.setdefault(record.fact, record) != record:
            raise UsageError(f"{path}: line {number} says something else of {record.fact} than a line before it")
    return header, list(records.values())


def _line(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        document = parsed(line)
    except ValueError:
        raise UsageError(f"{path}: line {number} is not JSON; the file is damaged") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}: line {number} is no record; the file is damaged")
    return document


def _may_be_whole(text: str, phase: str | None) -> bool:
    """Looks for the lines that `write_verdict` writes: to parse the verdicts of all earlier runs takes seconds."""
    return f'\n "phase": {json.dumps(phase)},\n' in text and '\n   "kind": "partial",\n' not in text
