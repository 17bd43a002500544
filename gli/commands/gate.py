"""`gli gate`: whether a promotion may go ahead."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gli import catalogue, clock, environments
from gli.commands import sentences
from gli.release import gate as gates


@click.command()
@click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
@click.option("--phase", type=click.Choice(["pre-deploy", "post-deploy"]), help="The phase that was judged.")
@click.option("--report-dir", type=click.Path(path_type=Path), default=Path("reports"), help="Where the reports are.")
@sentences
def gate(name: str, phase: str | None, report_dir: Path) -> None:
    """Say whether the newest verdict lets a promotion through: exit code 0 yes, 1 refused, 3 cannot tell."""
    root = Path.cwd()
    environment = environments.load(root, name)
    sha256 = catalogue.load(root).sha256
    decision = gates.decide(
        gates.newest(report_dir, name, phase),
        environment=name,
        phase=phase,
        catalogue_sha256=sha256,
        commits=gates.heads(environment),
        now=clock.now(),
    )
    click.echo(f"{'yes' if decision.code == gates.YES else 'no'}: {decision.reason}")
    sys.exit(decision.code)
