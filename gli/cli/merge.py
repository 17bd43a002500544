"""`gli merge`: one verdict from the runs of an environment's cells."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gli.cells import merging
from gli.cli.options import sentences
from gli.cli.report import run_folder
from gli.common import clock
from gli.common.verdict_file import last_line
from gli.judge.verdict import Verdict
from gli.report import sinks, terminal, texts
from gli.report.files import RunFolder


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--lang", type=click.Choice(texts.LANGUAGES), help="Language of the reports (default: from LANG).")
@click.option(
    "--report-dir", type=click.Path(path_type=Path), default=Path("reports"), help="The folder of the reports."
)
@sentences
def merge(runs: tuple[str, ...], lang: str | None, report_dir: Path) -> None:
    """Join the runs of an environment's cells into one verdict, which the gate reads. Exit code 0: GO, 1: NO-GO.

    RUN is the folder of a run, or its path below the reports: stg/20260131T080000.123-4711. The environment and the
    phase are those of the first one. The merged verdict is a run folder of its own, reports/ENV/ID.
    """
    folders = [run_folder(run, report_dir) for run in runs]
    first = merging.given(folders[0], None).verdict
    setting = merging.Setting.of(Path.cwd(), first.environment, first.phase, texts.chosen(lang))
    found = [merging.given(folder, setting) for folder in folders]
    folder = RunFolder.of(report_dir, first.environment, clock.now(), replay=False)
    folder.make()
    sys.exit(say(setting, merging.merge(setting, found, folder), folder))


def say(setting: merging.Setting, verdict: Verdict, folder: RunFolder) -> int:
    """Prints a merged verdict as a run prints its own. Returns the exit code."""
    page = folder.path / sinks.PAGE
    terminal.say(terminal.summary(setting.shown(verdict), str(page), language=setting.language))
    sinks.say([f"WARNING: {problem}" for problem in setting.problems])
    terminal.say([last_line(verdict.environment, verdict.verdict)])
    return 0 if verdict.go else 1
