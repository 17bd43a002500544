"""`gli infra plan`, `apply` and `drift`: the stacks of `infrastructure/`, compared with AWS."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from gli.cli.options import sentences
from gli.common.errors import UsageError
from gli.common.sentences import listed
from gli.config import environments
from gli.provision import apply as carry_out
from gli.provision import drift as drifts
from gli.provision import plan as plans
from gli.provision import stacks as all_stacks
from gli.provision.account import Account, ProvisionError
from gli.provision.changes import Line
from gli.provision.plan import Step
from gli.provision.stacks import Stacks

_env = click.option("--env", "name", required=True, metavar="NAME", help="stg or prod: a table of environments.toml.")


@click.group()
def infra() -> None:
    """Create and update the AWS stacks of infrastructure/: plan shows, apply changes, drift compares."""


@infra.command()
@_env
@sentences
def plan(name: str) -> None:
    """Show what apply would do. Changes nothing."""
    try:
        account, stacks = _opened(name)
        _print(plans.lines(plans.plan(account, stacks)))
    except ProvisionError as e:
        _refuse(e)


@infra.command()
@_env
@click.option("--yes", is_flag=True, help="Ask only about data that would be deleted. Not for production.")
@sentences
def apply(name: str, yes: bool) -> None:
    """Show the plan, ask, and carry it out, stack by stack."""
    try:
        account, stacks = _opened(name)
        if yes and account.environment.production:
            raise UsageError(f"--yes is not for {name}: it is production; type the name when you are asked")

        def confirm(steps: list[Step]) -> bool:
            return _confirmed(name, steps, asked=not yes)

        steps = plans.plan(account, stacks)
        _print(plans.lines(steps))
        if any(step.changes for step in steps) and not (
            confirm(steps) and carry_out.apply(account, stacks, steps, _confirm_more(confirm), _say)
        ):
            click.echo("gli: not confirmed; nothing more was changed", err=True)
            sys.exit(1)
        click.echo()
        _print(carry_out.inventory(account, stacks))
    except ProvisionError as e:
        _refuse(e)
    except KeyboardInterrupt:
        click.echo("\ngli: nobody watches now; what CloudFormation has begun, it ends", err=True)
        sys.exit(3)


@infra.command()
@_env
@sentences
def drift(name: str) -> None:
    """Say what was changed by hand since the last apply. Exit code 1: something was, 3: can't tell."""
    drifted = unknown = False
    try:
        account, stacks = _opened(name)
        for each in drifts.drift(account, stacks):
            drifted |= each.drifted
            unknown |= each.unknown
            _print(each.lines())
    except ProvisionError as e:
        _refuse(e)
    sys.exit(1 if drifted else 3 if unknown else 0)


def _opened(name: str) -> tuple[Account, Stacks]:
    root = Path.cwd()
    stacks = all_stacks.load(root, name)
    account = Account(environments.load(root, name))
    click.echo(f"{name}, account {account.environment.aws.account_id if account.environment.aws else ''}")
    return account, stacks


def _confirmed(name: str, steps: list[Step], *, asked: bool) -> bool:
    """Whether the user typed the environment's name, and, if data is taken away, the names of the resources too."""
    if asked and _typed(f"Type {name} to apply this") != name:
        return False
    taken = [change.resource for step in steps for change in step.changes if change.takes_data]
    if not taken:
        return True
    phrase = f"take the data of {listed(taken, most=len(taken))}"
    return _typed(f'This takes data away. Type "{phrase}"') == phrase


def _confirm_more(confirm: carry_out.Confirm) -> carry_out.Confirm:
    """Wraps `confirm`: shows the steps that were not in the plan, then asks."""

    def more(steps: list[Step]) -> bool:
        click.echo("\nMore than was shown, since the stacks before it changed:")
        _print(plans.lines(steps))
        return confirm(steps)

    return more


def _typed(question: str) -> str:
    answer: str = click.prompt(question, default="", show_default=False)
    return answer.strip()


def _print(lines: Iterable[Line]) -> None:
    for line in lines:
        _say(line)


def _say(line: Line) -> None:
    click.secho(line.text, fg=line.colour)


def _refuse(error: ProvisionError) -> None:
    click.echo(f"gli: {error}", err=True)
    sys.exit(error.exit_code)
