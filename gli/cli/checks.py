"""`gli checks` and `gli iam-policy`: the checks of the catalogue, and the AWS actions that they need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gli.cli.options import sentences
from gli.common.errors import UsageError
from gli.config import catalogue, environments
from gli.config.catalogue import Catalogue
from gli.config.check import Check
from gli.config.environments import Environment
from gli.config.iam_policy import policy, policy_to_look
from gli.observe.engine.aws_session import iam_action
from gli.observe.engine.guard import DISCOVERY_READS


@click.command()
@click.argument("check_id", required=False)
@click.option("--json", "as_json", is_flag=True, help="For machines: a list of checks.")
@click.option("--env", "name", metavar="NAME", help="Say what each check is asked of in this environment, or why not.")
@sentences
def checks(check_id: str | None, as_json: bool, name: str | None) -> None:
    """List the catalogue, or explain one check in full.

    With --env: the targets that each check is asked of, those that it does not apply to, and what the others lack.
    """
    whole = catalogue.load(Path.cwd())
    known = whole.checks
    if check_id is not None and check_id not in known:
        raise UsageError(f"no check is called {check_id!r}; `gli checks` lists them")
    chosen = [known[check_id]] if check_id else list(known.values())
    if name is not None:
        environment = environments.load(Path.cwd(), name)
        whole.refuse_unmatched(environment)
        found = [_placed(whole, check, environment) for check in chosen]
        click.echo(json.dumps(found, ensure_ascii=False, indent=1) if as_json else "\n".join(_told(found)))
        return
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
@click.option("--env", "name", metavar="NAME", help="An environment of environments.toml.")
@click.option("--discover", is_flag=True, help="Print the policy that `gli discover` needs instead.")
@sentences
def iam_policy(name: str | None, discover: bool) -> None:
    """Print the least-privilege IAM policy that verifying an environment needs."""
    if discover == (name is not None):
        raise UsageError("name either --env or --discover")
    if name is None:
        reads = {iam_action(service, each) for service, operations in DISCOVERY_READS.items() for each in operations}
        document = policy_to_look(reads - {"sts:GetCallerIdentity"})  # needs no permission
    else:
        root = Path.cwd()
        document = policy(catalogue.load(root), environments.load(root, name))
    click.echo(json.dumps(document, indent=1))


def _placed(whole: Catalogue, check: Check, environment: Environment) -> dict[str, Any]:
    """Where one check is asked in an environment: targets, those that it does not apply to, and what others lack."""
    cases = whole.cases_of(check, environment)
    return {
        "check": check.id,
        "part": check.part,
        "asked": [case.target for case in cases if case.not_applicable is None],
        "not_applicable": {case.target: case.not_applicable for case in cases if case.not_applicable is not None},
        "lacks": whole.left_out(check, environment),
    }


def _told(found: list[dict[str, Any]]) -> Iterator[str]:
    """The checks that are asked, those that do not apply, and those that are left out; then how many of each."""
    width = max(len(one["check"]) for one in found)
    asked = [one for one in found if one["asked"]]
    for one in asked:
        yield f"{one['check']:{width}}  asked of {', '.join(one['asked'])}"
    for one in found:
        for target, why in one["not_applicable"].items():
            yield f"{one['check']:{width}}  not applicable to {target}: {why}"
    for one in found:
        for target, key in one["lacks"].items():
            yield f"{one['check']:{width}}  not asked{f' of {target}' if target else ''}: it needs {key}"
    left_out = sum(not one["asked"] and not one["not_applicable"] for one in found)
    cases = sum(len(one["asked"]) for one in asked)
    yield f"{len(asked)} of {len(found)} checks are asked, {cases} cases; {left_out} checks are left out"


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
