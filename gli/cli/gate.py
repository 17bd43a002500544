"""`gli gate` and `gli sign`: whether a promotion may go ahead, and the sign-offs of people."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gli.cli.options import sentences
from gli.common import clock
from gli.common.errors import UsageError
from gli.config import catalogue, environments
from gli.gate import gate as gates
from gli.gate import sign_offs
from gli.report import sinks

_env = click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
_phase = click.option(
    "--phase",
    type=click.Choice(["pre-deploy", "post-deploy"]),
    default="pre-deploy",
    show_default=True,
    help="Before or after the deployment.",
)


@click.command()
@_env
@_phase
@click.option(
    "--report-dir", type=click.Path(path_type=Path), default=Path("reports"), help="The folder of the reports."
)
@sentences
def gate(name: str, phase: str, report_dir: Path) -> None:
    """Say whether a promotion may go ahead. Exit code 0: yes, 1: refused, 3: can't tell.

    Reads the newest verdict of the environment and, before a deployment, of its counterpart in production, with the
    sign-offs of people. A verdict counts for two hours, and only for the commits that it was made on.
    """
    root = Path.cwd()
    decision = gates.decision(root, catalogue.load(root), environments.load(root, name), phase, report_dir, clock.now())
    sinks.say_and_summarize(
        [f"{'yes' if decision.code == gates.YES else 'no'}: {decision.reason}", *(f"  {n}" for n in decision.notes)]
    )
    sys.exit(decision.code)


@click.command()
@click.argument("item_id", metavar="ITEM")
@_env
@click.option("--note", required=True, help="What you examined, and where the evidence is.")
@click.option("--reject", is_flag=True, help="Say no: the gate stays closed for these commits.")
@sentences
def sign(item_id: str, name: str, note: str, reject: bool) -> None:
    """Confirm an item of the checklist, for the commits that the environment's branch has now.

    Counts for 24 hours, under your name in git. It is signed with your key (GLI_SIGNING_KEY, or the key that signs your
    commits) if you have one. Commit the file: the gate reads it from the repository.
    """
    root = Path.cwd()
    environment, known = environments.load(root, name), catalogue.load(root)
    checklist = next((c for c in known.checklists.values() if item_id in c.items), None)
    if checklist is None:
        raise UsageError(
            f"no item is called {item_id!r}; the items stand in checklists/pre-deploy.toml and post-deploy.toml"
        )
    if not checklist.signed_in(checklist.items[item_id], environment):
        raise UsageError(_unsigned(checklist.items[item_id].people, item_id, environment.production))
    if not note.strip():
        raise UsageError("--note is empty; say what was looked at")
    commits = gates.heads(environment)
    if commits is None:
        click.echo("the heads of the repositories can't be read now, so there is nothing to sign for", err=True)
        sys.exit(gates.CANNOT_TELL)
    path, record, is_signed = sign_offs.write(
        root, name, item_id, rejected=reject, note=note, commits=commits, now=clock.now()
    )
    click.echo(
        f"{item_id} {record.result} by {record.by} until {record.expires}" + ("" if is_signed else ", not signed")
    )
    click.echo(f"commit {path.relative_to(root)}")


def _unsigned(people: int, item: str, production: bool) -> str:
    if not people:
        return f"{item} is proven by checks alone; nobody signs it"
    other = "staging" if production else "production"
    return f"{item} is signed for {other}, not for this environment; mend --env"
