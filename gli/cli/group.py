"""The `gli` command; no logic of its own.

Exit codes: 0 yes, 1 no or refused, 2 wrong usage or configuration, 3 cannot tell.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from keyword import iskeyword
from types import MappingProxyType
from typing import Any

import click

import gli

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "checks": "checks",
        "init": "init",
        "discover": "discover",
        "pull": "pull",
        "promote": "release",
        "rollback": "release",
        "push": "release",
        "log": "log",
        "doctor": "log",
        "iam-policy": "checks",
        "infra": "infra",
        "continue": "continue_",
        "rds-roots": "trust",
        "diagnose": "diagnose",
        "gate": "gate",
        "merge": "merge",
        "run": "run",
        "publish": "publish",
        "ruleset": "publish",
        "sign": "gate",
        "report": "report",
        "reports": "report",
    }
)
"""Each command, and the module of `gli.cli` that holds it."""


def _function(name: str) -> str:
    """The function of a command: a word that Python keeps for itself has `_` after it."""
    return name.replace("-", "_") + "_" * iskeyword(name)


class _Lazy(click.Group):
    """A group that imports a command when it is called, or when its help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*COMMANDS, *super().list_commands(ctx)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(f"gli.cli.{COMMANDS[cmd_name]}"), _function(cmd_name))
        return command

    def _main_shell_completion(
        self, ctx_args: MutableMapping[str, Any], prog_name: str, complete_var: str | None = None
    ) -> None:
        """Completes words for a shell, which calls without arguments. A command with arguments runs, whatever variables
        are set: with `_GLI_COMPLETE`, click would end `gli gate` with 0 before any decision.
        """
        if len(sys.argv) == 1:
            super()._main_shell_completion(ctx_args, prog_name, complete_var)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gli.__version__, prog_name="gli")
def main() -> None:
    """GLI's deployment verification. pytest makes the verdict: `pytest --env=stg`."""


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: Sequence[str]) -> None:
    """Start, break and heal a local replica of staging (gli sandbox --help)."""
    if find_spec("sandbox") is None:
        click.echo("gli: the sandbox is part of the suite's own repository, not of the package; run it there", err=True)
        sys.exit(2)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "sandbox", *arguments])
