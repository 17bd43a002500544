"""`gli log` and `gli doctor`: what was released, and whether all is in order."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from gli.cli.options import env, sentences
from gli.common.clock import now
from gli.common.errors import UsageError
from gli.config import environments
from gli.git.command import GitFailed
from gli.release import doctor as doctors
from gli.release import lock, settings
from gli.release import log as logs
from gli.release import notes as release_notes
from gli.release.mirror import Mirror
from gli.release.plan import Refused
from gli.release.settings import Settings
from gli.release.side_by_side import answers, on_each
from gli.report import sinks, texts


@click.command()
@click.argument("tag", required=False)
@click.option("--notes", is_flag=True, help="The release notes of TAG, as Markdown.")
@click.option("--since", metavar="DAYS", help="The four DORA figures of this many days, such as 90d.")
@click.option("--lang", type=click.Choice(["en", "ko"]), help="Language of notes and figures (default: from LANG).")
@click.option("--rebuild", is_flag=True, help="Rebuild the log from the repositories' tags alone.")
@click.option("--publish", is_flag=True, help="Push the lines that are missing in the log repository.")
@env
@sentences
def log(
    tag: str | None, notes: bool, since: str | None, lang: str | None, rebuild: bool, publish: bool, name: str
) -> None:
    """Print the deployment log. Exit code 0, or 3 if only this machine's part of it can be read.

    One line for each operation: when, its tag or id, how it ended, the branches, the release before and after, who, who
    approved, on which verdict, and why not. With --notes: the commits, migrations and people of one release.
    """
    if notes != (tag is not None) or (notes and since is not None):
        raise UsageError(
            "--notes needs a TAG, and a TAG needs --notes: gli log deploy-... --notes; --since stands alone"
        )
    chosen = settings.read(Path.cwd(), name)
    state = chosen.state
    if notes or since is not None:
        _told(chosen, tag, since, texts.chosen(lang))
        return
    if rebuild:
        with _mirrors(chosen) as mirrors:
            sys.exit(_rebuilt(mirrors, chosen.deploy_tag))
    branch, code = chosen.log_in(chosen.mirrors()), 0
    try:
        if state.is_dir():
            chosen.claim()
        logs.write(state)
    except OSError as e:
        click.echo(f"gli: {state / logs.FILE} can't be written: {e.strerror}", err=True)
    try:
        if publish:
            logs.publish(branch)
        lines = logs.joined(branch.look(), state)
    except GitFailed as e:
        click.echo(f"gli: {branch.mirror.name} can't be reached, so this is only what this machine did: {e}", err=True)
        lines, code = [str(entry) for entry in logs.entries(state)], 3
    for line in lines:
        click.echo(line)
    sys.exit(code)


@click.command()
@env
@sentences
def doctor(name: str) -> None:
    """List the problems of the repositories, each with its fix. Exit code 0: none, 1: something is wrong, 3: can't
    tell.

    Finds tips of main that no operation made, missing or moved tags, unfinished operations, debts of emergency pushes,
    missing branch rules, and clones that are behind.
    """
    root = Path.cwd()
    chosen, github, found = settings.read(root, name), environments.load(root, name).github, []
    with _mirrors(chosen) as mirrors:
        patient = doctors.Patient(chosen, github, mirrors, chosen.log_in(mirrors), click.echo)
        for finding in doctors.findings(patient):
            sinks.say([f"{finding.text}\n  mend: {finding.mend}"])
            found.append(finding)
    click.echo(f"{len(found)} to mend" if found else f"all {len(chosen.repositories)} repositories are in order")
    sys.exit(doctors.exit_code(found))


def _told(chosen: Settings, tag: str | None, since: str | None, language: str) -> None:
    """Print the notes of a tag, or the figures of the last days that `since` names."""
    days = re.fullmatch(r"([1-9]\d{0,3})d?", since) if since is not None else None
    if since is not None and days is None:
        raise UsageError(f"--since {since} is not a number of days, as in 90d")
    with _mirrors(chosen) as mirrors:
        try:
            refs = answers(on_each(mirrors.values(), Mirror.fetch))
            if tag is not None:
                text = release_notes.notes(mirrors, refs, tag, language)
            else:
                assert days is not None
                text = release_notes.figures(mirrors, refs, chosen.deploy_tag, int(days[1]), now(), language)
        except Refused as e:
            for reason in e.reasons:
                click.echo(f"gli: {reason}", err=True)
            sys.exit(e.code)
    click.echo(text, nl=False)


def _rebuilt(mirrors: Mapping[str, Mirror], deploy_tag: str) -> int:
    """Print the log as the tags tell it. Returns the exit code."""
    failed = {n: e for n, e in on_each(mirrors.values(), Mirror.fetch).items() if isinstance(e, GitFailed)}
    for name, error in failed.items():
        click.echo(f"gli: {name} can't be reached, so its tags may be old: {error}", err=True)
    for entry in logs.rebuilt(mirrors.values(), deploy_tag):
        click.echo(str(entry))
    return 3 if failed else 0


@contextmanager
def _mirrors(chosen: Settings) -> Iterator[dict[str, Mirror]]:
    """Locks the mirrors and yields them. If another command holds the lock, this command ends with exit code 3."""
    try:
        with lock.local(chosen.state, "gli log or doctor") as running:
            chosen.claim()
            yield chosen.mirrors(running)
    except lock.Busy as e:
        click.echo(f"gli: {e}", err=True)
        sys.exit(3)
