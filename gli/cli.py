"""The `gli` command; no logic of its own.

Exit codes: 0 yes, 1 no or refused, 2 wrong usage or configuration, 3 cannot tell.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

import gli
from gli import catalogue, clock, environments
from gli.catalogue import Check
from gli.errors import UsageError
from gli.policy import policy


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gli.__version__, prog_name="gli")
def main() -> None:
    """GLI's deployment verification. The verdict itself comes from pytest: `pytest --env=stg`."""


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: Sequence[str]) -> None:
    """Start, break and heal a local replica of staging (gli sandbox --help)."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "sandbox", *arguments])


@main.command()
@click.argument("check_id", required=False)
@click.option("--json", "as_json", is_flag=True, help="For machines: a list of checks.")
def checks(check_id: str | None, as_json: bool) -> None:
    """List the catalogue, or explain one check in full."""
    try:
        known = catalogue.load(Path.cwd()).checks
        if check_id is not None and check_id not in known:
            raise UsageError(f"no check is called {check_id!r}; `gli checks` lists them")
    except UsageError as e:
        _refuse(e)
    chosen = [known[check_id]] if check_id else list(known.values())
    proves = catalogue.docstrings(Path.cwd())
    if as_json:
        documents = [{**c.model_dump(mode="json"), "proves": proves.get(c.function, "")} for c in chosen]
        click.echo(json.dumps(documents, ensure_ascii=False, indent=1))
    elif check_id:
        click.echo("\n".join(_explained(chosen[0], proves.get(chosen[0].function, ""))))
    else:
        width = max(len(c.id) for c in chosen)
        for c in chosen:
            click.echo(f"{c.id:{width}}  {c.layer:9}  {c.phase:11}  {c.severity:5}  {c.vantage:8}  {c.each}")


@main.command()
@click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
@click.option("--phase", type=click.Choice(["pre-deploy", "post-deploy"]), help="The phase that was judged.")
@click.option("--report-dir", type=click.Path(path_type=Path), default=Path("reports"), help="Where the reports are.")
def gate(name: str, phase: str | None, report_dir: Path) -> None:
    """Say whether the newest verdict lets a promotion through: exit code 0 yes, 1 refused, 3 cannot tell."""
    from gli.release import gate as gates

    root = Path.cwd()
    try:
        environment = environments.load(root, name)
        sha256 = catalogue.load(root).sha256
    except UsageError as e:
        _refuse(e)
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


@main.command("iam-policy")
@click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
def iam_policy(name: str) -> None:
    """Print the least-privilege IAM policy that verifying an environment needs."""
    root = Path.cwd()
    try:
        document = policy(catalogue.load(root), environments.load(root, name))
    except UsageError as e:
        _refuse(e)
    click.echo(json.dumps(document, indent=1))


def _explained(check: Check, proves: str) -> list[str]:
    """One check in full."""
    rows = {
        "proves": proves,
        "layer": check.layer,
        "phase": check.phase,
        "severity": check.severity,
        "vantage": check.vantage,
        "asked of": " with ".join([check.each, ", ".join(check.needs)]) if check.needs else check.each,
        "explained by": ", ".join(check.causes) or "nothing: it is a root",
        "to do": check.remedy.en,
        "할 일": check.remedy.ko,
        "IAM": ", ".join(check.iam) or "none",
    }
    return [check.id, *(f"  {name}: {value}" for name, value in rows.items())]


def _refuse(error: UsageError) -> NoReturn:
    click.echo(f"gli: {error}", err=True)
    sys.exit(2)
