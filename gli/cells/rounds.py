"""A round: starts the run of every cell at once, waits until all have ended or their time is over, and joins them.

The round writes a NO-GO first and replaces it at its end, as a run does: a round that is killed leaves no GO.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from gli.cells import merging
from gli.cells.merging import Setting
from gli.common import clock
from gli.common.errors import UsageError
from gli.common.sentences import phrase
from gli.common.verdict_file import NO_GO, VERDICT
from gli.config.cells import Cell
from gli.judge.merge import Given, Round
from gli.judge.verdict import Reason, Verdict
from gli.observe.engine.observatory import END_S, RUN_DEADLINE_S
from gli.report.files import PRIVATE_FOLDER, RUN_IDS, RunFolder

CELLS = "cells"
"""The folder of the cells' own runs, in the run folder of their round."""
Say = Callable[[str], None]


class Started(Protocol):
    """The run of one cell, wherever it is made. A method that can't do its work raises `CellLost`."""

    starting_s: float
    """How long it may take until the run begins."""
    tick_s: float
    """How often to ask for its state."""

    def start(self, arguments: Sequence[str]) -> None:
        """Starts `pytest ARGUMENTS`."""

    def ended(self) -> str | None:
        """How it ended; None while it is under way."""

    def end(self) -> None:
        """Ends it, if it is under way."""

    def fetch(self) -> None:
        """Brings what it wrote into the folder of the cell; a run that left nothing leaves the folder empty."""


class CellLost(Exception):
    """Why nothing is known of a cell's run, as a sentence."""


Engines = Mapping[str, Callable[[Setting, Cell, Path], Started]]
"""How a cell is run (`[ENV.cells.NAME] run`), and what starts it: with the setting, the cell and its folder."""


def hold(
    setting: Setting, folder: RunFolder, engines: Engines, *, patience_s: float, arguments: Sequence[str], say: Say
) -> Verdict:
    """Makes a round; returns its verdict. A `KeyboardInterrupt` ends every run and still leaves a verdict.

    Raises `UsageError` for a cell that none of the engines can start, before anything is started.
    """
    cells = setting.environment.cells
    for cell in cells.values():
        if cell.run not in engines:
            name = f"[{setting.environment.name}.cells.{cell.name}]"
            raise UsageError(
                f"{name} run = {cell.run!r}: somebody else starts it; run each cell, then gli merge RUN..."
            )
    longest_s = RUN_DEADLINE_S + END_S + patience_s
    runs = {name: engines[cell.run](setting, cell, _place(folder, name)) for name, cell in cells.items()}
    folder.make()
    latest_s = longest_s + max(run.starting_s for run in runs.values())
    _write_first(setting, folder, latest_s)
    under_way: dict[str, Started] = {}
    try:
        _start(setting, runs, under_way, arguments, say)
        _wait(under_way, longest_s, say)
    except KeyboardInterrupt:
        say("interrupted: every run is ended")
    finally:
        for name, run in under_way.items():
            _attempt(name, run.end, say)
    for name, run in runs.items():
        _attempt(name, run.fetch, say)
    found = [given for name in runs for given in _left(setting, name, _place(folder, name), say)]
    return merging.merge(setting, found, folder)


def _left(setting: Setting, cell: str, place: Path, say: Say) -> Iterator[Given]:
    """What the run of a cell left. What it says of another cell does not count: only that cell's run can say it."""
    for path in found_in(place / setting.environment.name):
        given = merging.given(path, setting)
        if given.verdict.cell == cell:
            yield given
        else:
            say(f"{cell}: it left a run of the cell {given.verdict.cell}, which does not count")


def found_in(folder: Path) -> list[Path]:
    """The folders of the runs in a folder."""
    return sorted(p.parent for p in folder.glob(f"{RUN_IDS}/{VERDICT}") if not p.parent.is_symlink())


def _place(folder: RunFolder, cell: str) -> Path:
    return folder.path / CELLS / cell


def _write_first(setting: Setting, folder: RunFolder, longest_s: float) -> None:
    """Writes the NO-GO of a round that has not ended."""
    now = clock.now()
    first = Round(setting.catalogue, setting.environment, setting.phase, (), must_be_signed=False, now=now).verdict(
        folder.path.name, waivers=setting.waivers, signed={}
    )
    said = phrase("incomplete: {}", phrase("the round of the cells has not ended"))
    changes = {
        "verdict": NO_GO,
        "reasons": (str(said),),
        "held_by": (Reason(kind="incomplete", message=said),),
        "ends_by": clock.rfc3339(now + timedelta(seconds=longest_s)),
    }
    merging.write(setting, first.model_copy(update=changes), folder)


def _start(
    setting: Setting, runs: Mapping[str, Started], under_way: dict[str, Started], arguments: Sequence[str], say: Say
) -> None:
    for name, run in runs.items():
        place = f"--env={setting.environment.name}", f"--cell={name}"
        try:
            run.start((*place, *([f"--phase={setting.phase}"] if setting.phase else []), *arguments))
        except CellLost as e:
            say(f"{name}: {e}")
            continue
        under_way[name] = run
        say(f"{name}: started")


def _wait(under_way: dict[str, Started], longest_s: float, say: Say) -> None:
    """Waits for each run until its time is over; what is in `under_way` afterwards has to be ended."""
    begun = time.monotonic()
    asked: dict[str, float] = {}
    while waiting := [name for name, run in under_way.items() if begun + run.starting_s + longest_s > time.monotonic()]:
        for name in waiting:
            run = under_way[name]
            if time.monotonic() - asked.get(name, 0) < run.tick_s:
                continue
            asked[name] = time.monotonic()
            how = _attempt(name, run.ended, say)
            if how is not None:
                say(f"{name}: {how} after {time.monotonic() - begun:.0f} s")
                del under_way[name]
        time.sleep(0.05)
    for name in under_way:
        say(f"{name}: late, it is ended")


def _attempt(name: str, do: Callable[[], str | None], say: Say) -> str | None:
    try:
        return do()
    except CellLost as e:
        say(f"{name}: {e}")
        return None


def make_place(folder: Path) -> None:
    """Makes the folder of a cell's run."""
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
