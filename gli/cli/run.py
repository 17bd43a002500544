"""`gli run --cells`: a run from every cell of an environment, joined into one verdict."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import click

from gli.cells import ecs, local, merging, rounds
from gli.cli.merge import say
from gli.cli.options import sentences
from gli.common import clock
from gli.report import sinks, texts
from gli.report.files import RunFolder

ENGINES: rounds.Engines = {"local": local.LocalRun, "ecs": ecs.EcsRun}


@click.command()
@click.option("--cells", is_flag=True, required=True, help="From every cell that the environment declares.")
@click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
@click.option("--phase", type=click.Choice(["pre-deploy", "post-deploy"]), help="The phase (default: all of them).")
@click.option(
    "--await-rollout",
    "patience_s",
    type=click.FloatRange(0, 86_400),
    default=0.0,
    metavar="SECONDS",
    help="Wait this long for rollouts to end.",
)
@click.option("--lang", type=click.Choice(texts.LANGUAGES), help="Language of the reports (default: from LANG).")
@click.option(
    "--report-dir", type=click.Path(path_type=Path), default=Path("reports"), help="The folder of the reports."
)
@sentences
def run(cells: bool, name: str, phase: Any, patience_s: float, lang: str | None, report_dir: Path) -> None:
    """Run every cell of an environment at once, and join their verdicts into one. Exit code 0: GO, 1: NO-GO.

    `[ENV.cells.NAME] run` says how a cell is run. A run that does not end in time is ended, and so is every run on
    Ctrl-C. The merged verdict is a run folder, reports/ENV/ID, with the folders of the runs in it.
    """
    setting = merging.Setting.of(Path.cwd(), name, phase, texts.chosen(lang))
    folder = RunFolder.of(report_dir, name, clock.now(), replay=False)
    arguments = [f"--lang={setting.language}", *([f"--await-rollout={patience_s:g}"] if patience_s else [])]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a cancelled job still leaves a verdict
    verdict = rounds.hold(setting, folder, ENGINES, patience_s=patience_s, arguments=arguments, say=_print)
    sys.exit(say(setting, verdict, folder))


def _print(line: str) -> None:
    sinks.say([line])
