"""`gli pull`: one branch of every clone. In a module of its own, because it needs little and should start at once."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import click

from gli.commands import env, sentences
from gli.release import pull as pulls
from gli.release import repositories

_WIDTH = 80


@click.command()
@click.argument("branch", type=click.Choice(repositories.BRANCHES))
@click.option("--clone", is_flag=True, help="Clone what is missing.")
@env
@sentences
def pull(branch: str, clone: bool, name: str) -> None:
    """Bring BRANCH of all clones forward: exit code 0 all, 1 some were left alone, 3 some could not be asked.

    All at once, and by fast-forward alone: a clone with changed files, with commits of its own beside the remote's, or
    with a detached HEAD is reported and left as it is.
    """
    known = repositories.of(Path.cwd(), name)
    indent = max(len(repository.name) for repository in known) + 2
    pulled = []
    for repository, result in pulls.pull(known, branch, clone=clone):
        said = f"{result.state}: {result.text}" if result.code else result.text
        click.echo(f"{repository:{indent}}" + f"\n{'':{indent}}".join(textwrap.wrap(said, _WIDTH - indent)))
        pulled.append(result)
    click.echo(pulls.summary(branch, pulled))
    sys.exit(max(result.code for result in pulled))
