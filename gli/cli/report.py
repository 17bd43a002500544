"""`gli report` shows a run again, `gli reports prune` removes old ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from gli.cli.options import sentences
from gli.common import clock
from gli.common.documents import parsed
from gli.common.errors import UsageError
from gli.common.verdict_file import VERDICT
from gli.config import catalogue, environments
from gli.config.catalogue import Catalogue
from gli.config.parts import Retention
from gli.judge.verdict import Verdict
from gli.report import files, github, markdown, prometheus, retention, texts
from gli.report.korean import translated

FORMATS = ("md", "html", "line", "json", "prometheus", "github")
_REPORTS = click.option(
    "--report-dir", type=click.Path(path_type=Path), default=Path("reports"), help="The folder of the reports."
)


@click.command()
@click.argument("run")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="md", help="What to print (default: md).")
@click.option("--lang", type=click.Choice(texts.LANGUAGES), help="Language (default: from LANG).")
@_REPORTS
@sentences
def report(run: str, kind: str, lang: str | None, report_dir: Path) -> None:
    """Show a run again: give its folder, or ENV/latest below the reports."""
    folder = run_folder(run, report_dir)
    text, verdict = _verdict(folder / VERDICT)
    language = texts.chosen(lang)
    shown = translated(verdict, language, _catalogue())
    if kind == "json":
        click.echo(text, nl=False)
    elif kind == "prometheus":
        click.echo(prometheus.prometheus(verdict), nl=False)
    elif kind == "github":
        click.echo(github.lines(shown), nl=False)
    elif kind == "html":
        click.echo(_page(folder, shown, language), nl=False)
    elif kind == "line":
        click.echo(markdown.line(shown, language=language))
    else:
        click.echo(markdown.markdown(shown, language=language), nl=False)


@click.group()
def reports() -> None:
    """Manage the folder of reports."""


@reports.command()
@click.option("--env", "name", metavar="NAME", help="Only this environment (default: every environment with reports).")
@click.option("--dry-run", is_flag=True, help="Only print what would be deleted.")
@_REPORTS
@sentences
def prune(name: str | None, dry_run: bool, report_dir: Path) -> None:
    """Remove the runs that [ENV.reports] no longer keeps. The newest run always stays."""
    root, now = Path.cwd(), clock.now()
    known = environments.names(root)
    if name is not None and name not in known:
        raise UsageError(f"environments.toml has no environment {name!r}; it has: {', '.join(known)}")
    found = [name] if name else sorted(p.name for p in report_dir.glob("*") if p.is_dir())
    removed = 0
    for environment in found:
        settings = environments.load(root, environment, overlay={}).reports if environment in known else Retention()
        for folder in retention.expired(report_dir / environment, settings, now):
            click.echo(f"{'would remove' if dry_run else 'removed'} {folder}")
            removed += 1
            if not dry_run:
                _remove(folder)
    click.echo(f"{removed} {'runs would go' if dry_run else 'runs removed'}")
    if removed and not dry_run:
        from gli.report import index

        index.write(report_dir)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as e:
        raise UsageError(f"{folder} can't be removed: {e.strerror}; remove it by hand") from None


def run_folder(run: str, report_dir: Path) -> Path:
    """The folder of a run: `run` is its path, or its path below the folder of reports."""
    for path in (Path(run), report_dir / run):
        if path.is_dir() and (path / VERDICT).is_file():
            return path
        if path.is_file() and path.name == VERDICT:
            return path.parent
    raise UsageError(f"{run} is no run: give its folder, or ENV/latest below {report_dir}")


def _verdict(path: Path) -> tuple[str, Verdict]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, Verdict.of(parsed(text))
    except (OSError, ValueError) as e:
        raise UsageError(f"{path} is no verdict of schema 1 ({type(e).__name__}); run pytest --env again") from None


def _catalogue() -> Catalogue | None:
    """The project's catalogue; None if it can't be read."""
    try:
        return catalogue.load(Path.cwd())
    except UsageError:
        return None


def _page(folder: Path, verdict: Verdict, language: str) -> str:
    """The page of a run. The drawing shows the environment as environments.toml describes it now."""
    from gli.report import html, topology

    facts = folder / files.FACTS
    header, records = files.read_facts(facts) if facts.is_file() else ({}, [])
    try:
        root = Path.cwd()
        environment = environments.load(root, verdict.environment, overlay=header.get("overlay", {}))
        known = catalogue.load(root)
        proves = catalogue.proved(known, language)
    except UsageError:  # environments.toml does not describe this environment (any more)
        return html.page(verdict, records, None, language)
    drawn = topology.topology(environment, known.cases(environment, verdict.phase))
    return html.page(verdict, records, drawn, language, proves=proves)
