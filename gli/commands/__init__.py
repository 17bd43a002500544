"""The commands of `gli`, a module a subject. Each is imported when it is called: `gli pull` starts at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

import click

from gli.errors import UsageError

env = click.option(
    "--env", "name", default="stg", envvar="GLI_ENV", metavar="NAME", help="Where the repositories are; default: stg."
)
"""Of every command on the eight repositories: the environment that says where they live."""
P = ParamSpec("P")
R = TypeVar("R")


def refuse(error: UsageError) -> NoReturn:
    """The error's sentence on stderr, and exit code 2."""
    click.echo(f"gli: {error}", err=True)
    sys.exit(2)


def sentences(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose `UsageError`s end it with their sentence, without a traceback."""

    @wraps(command)
    def told(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return command(*arguments, **options)
        except UsageError as e:
            refuse(e)

    return told
