"""`gli diagnose`: from a symptom to its root, in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from gli.cli.options import sentences
from gli.common.errors import UsageError
from gli.common.verdict_file import VERDICT
from gli.config import catalogue, toml_tables
from gli.judge.verdict import Verdict
from gli.report import diagnosis, texts

_REPORTS = Path("reports")
_OWN = _REPORTS / "diagnose"
"""Apart from the environments' reports: a diagnosis must not take the place of a verdict."""


@click.command()
@click.argument("symptom", type=click.Choice(list(diagnosis.SYMPTOMS)), default="all")
@click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
@click.option(
    "--replay", type=click.Path(path_type=Path), metavar="FILE", help="Diagnose a recorded run (facts.jsonl)."
)
@click.option("--lang", type=click.Choice(texts.LANGUAGES), help="Language of what to do (default: from LANG).")
@sentences
def diagnose(symptom: str, name: str, replay: Path | None, lang: str | None) -> None:
    """Find the root of a symptom: what is red, why, what changed since the last GO, and what to do.

    Asks at once everything that can explain the symptom. It is no verdict, and no gate accepts it.

    Exit codes: 0 nothing is wrong, 1 a root was found, 2 wrong usage, 3 the root could not be observed.
    """
    root = Path.cwd()
    if name not in toml_tables.environment_names(toml_tables.read_tables(root)):
        raise UsageError(f"environments.toml has no environment {name!r}")
    known = catalogue.load(root).checks
    wanted = diagnosis.asked(known, symptom, recorded=replay is not None)
    before = _last_go(_REPORTS / name)
    arguments = [f"--env={name}", "-q", f"--report-dir={_OWN}", "-p", "no:cacheprovider"]
    arguments += [f"--replay={replay}"] if replay else []
    arguments += ["-k", " or ".join(check.function for check in wanted)]
    earlier = _newest(_OWN / name)
    ended = subprocess.run([sys.executable, "-m", "pytest", *arguments], capture_output=True, text=True, check=False)
    folder = _newest(_OWN / name)
    if folder is None or folder == earlier:  # it did not begin to observe
        click.echo((ended.stderr.strip() or ended.stdout.strip()).splitlines()[-1], err=True)
        sys.exit(2 if ended.returncode == 4 else 3)
    verdict = Verdict.model_validate_json((folder / VERDICT).read_text(encoding="utf-8"))
    ids = {check.id for check in wanted}
    korean = texts.chosen(lang) == "ko"
    for line in diagnosis.lines(verdict, known, ids, before, _facts(folder), name, korean):
        click.echo(line)
    for line in diagnosis.not_asked(known, ids, symptom, name):
        click.echo(line)
    click.echo(f"evidence: {folder / 'report.html'}")
    outcomes = {line.outcome.value for line in verdict.checks if line.id in ids}
    sys.exit(1 if outcomes & {"failed", "blocked"} else 3 if "unknown" in outcomes else 0)


def _last_go(reports: Path) -> dict[str, Any] | None:
    """The facts of the newest run that was GO."""
    for folder in sorted(reports.glob("2*"), reverse=True):
        try:
            if json.loads((folder / VERDICT).read_text(encoding="utf-8"))["verdict"] == "GO":
                return _facts(folder)
        except (OSError, ValueError, KeyError):
            continue
    return None


def _newest(reports: Path) -> Path | None:
    found = [f for f in reports.glob("*/") if f.name != "latest" and (f / VERDICT).exists()]
    return max(found, key=lambda f: f.stat().st_mtime, default=None)


def _facts(folder: Path) -> dict[str, Any]:
    """The observations of a run, by `probe[target]`."""
    found = {}
    for line in (folder / "facts.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record.get("observation") is not None:
            target = f"[{record['target']}]" if record.get("target") else ""
            found[f"{record['probe']}{target}"] = record["observation"]
    return found
