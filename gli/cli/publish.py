"""`gli publish` and `gli ruleset`: the gate's decision as a commit status on GitHub, and the rules that require it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from gli.cli.options import sentences
from gli.common import clock
from gli.common.errors import UsageError
from gli.common.github import CONTEXT
from gli.common.statuses import Problem, State, Statuses
from gli.common.verdict_file import write_whole
from gli.config import catalogue, environments, toml_tables
from gli.config.environments import Environment
from gli.gate import gate as gates
from gli.gate import ruleset as rulesets
from gli.gate.gate import Decision
from gli.gate.newest import Found
from gli.report import files, in_toto, sinks

STATEMENT = "statement.intoto.json"
_STATES: Mapping[int, State] = {gates.YES: "success", gates.REFUSED: "failure", gates.CANNOT_TELL: "error"}


@click.command()
@click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
@click.option("--phase", type=click.Choice(["pre-deploy", "post-deploy"]), default="pre-deploy", show_default=True)
@click.option("--report-dir", type=click.Path(path_type=Path), default=Path("reports"), help="Where the reports are.")
@sentences
def publish(name: str, phase: str, report_dir: Path) -> None:
    """Ask the gate, and write its decision on the commits on GitHub as the status gli/verdict.

    A yes becomes `success` on the commits of the verdict; a no becomes `failure`, and where the gate cannot tell,
    `error`, on the present heads of the branches. A commit that production is to get
    becomes `success` only for a yes of the gate to production; another yes writes no status. Beside the newest verdict
    it writes statement.intoto.json. Exit code 0: yes, and GitHub has it; 1: no, or GitHub refused; 3: cannot tell, or
    GitHub could not be told.
    """
    root = Path.cwd()
    environment, known = environments.load(root, name), catalogue.load(root)
    github = environment.github
    token = os.environ.get((github.status_variable if github else None) or "", "")
    if github is None or not token:
        which = github.status_variable if github and github.status_variable else "status_variable"
        raise UsageError(f"environments.toml: [{name}.github] {which} gives no token that may write commit statuses")
    for stale in (report_dir / name).glob(f"*/{STATEMENT}"):  # CI signs what is there in the end
        stale.unlink()
    now = clock.now()
    decision = gates.decision(root, known, environment, phase, report_dir, now)
    [reason] = sinks.say([f"{'yes' if decision.code == gates.YES else 'no'}: {decision.reason}"])
    commits = _commits(environment, decision)
    if commits is None:
        click.echo("gli: the heads of the repositories can't be read, so no commit gets a status", err=True)
        sys.exit(gates.CANNOT_TELL)
    if decision.code == gates.YES and not commits:
        raise UsageError(f"{name} has no repositories, so no commit can get the status; write [{name}.git]")
    problems: list[Problem] = []
    if decision.code == gates.YES and not _opens_production(root, environment, phase):
        click.echo(f"no status: production takes {CONTEXT} for a yes of the gate to production, and this is another")
    else:
        statuses = Statuses(github.owner, token, github.api_url)
        problems = statuses.publish(commits, _STATES[decision.code], reason.partition(": ")[2])
    for problem in problems:
        click.echo(f"gli: {problem.sentence}", err=True)
    if decision.found is not None:  # after the statuses: a file that is damaged must not keep a commit green
        _write_statement(decision.found)
    sys.exit(max((problem.code for problem in problems), default=decision.code))


def _opens_production(root: Path, environment: Environment, phase: str) -> bool:
    """Whether a yes may become the status that the production's branch demands: commits of staging carry it there."""
    if environment.production:
        return True
    if environment.other is not None and environment.other.production:
        return phase == "pre-deploy"
    tables = toml_tables.read_tables(root)
    return not any(toml_tables.extended(tables, n).get("production") for n in toml_tables.environment_names(tables))


def _commits(environment: Environment, decision: Decision) -> Mapping[str, str] | None:
    """{repository: commit that the decision is about}; None if they can't be read."""
    if decision.code == gates.YES and decision.verdict is not None:
        return {repository: part["commit"] for repository, part in decision.verdict.manifest.items()}
    return gates.heads(environment)


def _write_statement(found: Found) -> None:
    """Write the statement about a verdict beside it. Raises `UsageError` if its facts were edited."""
    facts, sha256 = found.path.with_name(files.FACTS), found.verdict.facts_sha256
    _, records = files.read_facts(facts, sha256) if sha256 else ({}, [])
    images = {
        str(r.observation["repository"]): str(r.observation["digest"])
        for r in records
        if r.probe == "registry_image" and isinstance(r.observation, dict) and r.observation.get("digest")
    }
    text = json.dumps(in_toto.statement(found.verdict, images), indent=1)
    write_whole(found.path.with_name(STATEMENT), text + "\n")


@click.command()
@click.option("--env", "name", required=True, metavar="NAME", help="An environment of environments.toml.")
@sentences
def ruleset(name: str) -> None:
    """Print the ruleset of GitHub that makes the verdict binding for the environment's branch. Changes nothing.

    Create it in every repository: gh api repos/OWNER/REPOSITORY/rulesets --input FILE. `gli doctor` then says which
    repository lacks one of the rules.
    """
    click.echo(json.dumps(rulesets.ruleset(environments.load(Path.cwd(), name)), indent=2))
