"""`gli checks` and `gli iam-policy`: the checks of the catalogue, and the AWS actions that they need."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gli.cli.options import sentences
from gli.common.errors import UsageError
from gli.config import catalogue, environments
from gli.config.catalogue import Check
from gli.config.iam_policy import policy


@click.command()
@click.argument("check_id", required=False)
@click.option("--json", "as_json", is_flag=True, help="For machines: a list of checks.")
@sentences
def checks(check_id: str | None, as_json: bool) -> None:
    """List the catalogue, or explain one check in full."""
    known = catalogue.load(Path.cwd()).checks
    if check_id is not None and check_id not in known:
        raise UsageError(f"no check is called {check_id!r}; `gli checks` lists them")
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


@click.command("iam-policy")
@click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
@sentences
def iam_policy(name: str) -> None:
    """Print the least-privilege IAM policy that verifying an environment needs."""
    root = Path.cwd()
    document = policy(catalogue.load(root), environments.load(root, name))
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
