"""What the commands of `gli` share: the option `--env`, and how a command reports its errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import click

from gli.common.errors import FULL, DiskError, UsageError
from gli.common.standard_streams import leave_output
from gli.config import toml_tables
from gli.git.command import GitFailed

P = ParamSpec("P")
R = TypeVar("R")


def _named(context: click.Context, parameter: click.Parameter, name: str | None) -> str:
    """The environment that the option or GLI_ENV names, else the default one."""
    try:
        return name or toml_tables.default_environment(Path.cwd())
    except UsageError as e:
        refuse(e)


env = click.option(
    "--env",
    "name",
    envvar="GLI_ENV",
    callback=_named,
    metavar="NAME",
    help=f"The environment whose repositories are used: this one, else that of GLI_ENV, else {toml_tables.DEFAULT}.",
)
"""The option of every command on the eight repositories: the environment that names their remotes."""


def refuse(error: UsageError) -> NoReturn:
    """Prints the error's sentence on stderr and ends with exit code 2."""
    click.echo(f"gli: {error}", err=True)
    sys.exit(2)


def sentences(command: Callable[P, R]) -> Callable[P, R]:
    """Wraps a command: an error ends the command with one sentence. Exit code 2 for a `UsageError` and for a file or
    folder that can't be used, 3 if git failed or the disk is full."""

    @wraps(command)
    def told(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return command(*arguments, **options)
        except UsageError as e:
            refuse(e)
        except BrokenPipeError:
            raise  # click handles it: the reader closed the pipe
        except DiskError as e:
            click.echo(f"gli: {e}", err=True)
            sys.exit(3)
        except OSError as e:
            if e.errno in FULL:
                click.echo(f"gli: {e.filename or 'a file'} can't be written: {e.strerror}", err=True)
                if e.filename is None:  # the output
                    leave_output()
                sys.exit(3)
            refuse(UsageError(f"{e.filename or 'a file'} can't be used: {e.strerror or e}"))
        except GitFailed as e:
            click.echo(f"gli: {e}", err=True)
            sys.exit(3)

    return told
