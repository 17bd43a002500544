"""`gli pull`: one branch of every clone."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gli.cli.options import env, sentences
from gli.release import pull as pulls


@click.command()
@click.argument("branch")
@click.option("--clone", is_flag=True, help="Clone missing repositories.")
@env
@sentences
def pull(branch: str, clone: bool, name: str) -> None:
    """Bring BRANCH of all clones forward. Exit code 0: all, 1: some were left alone, 3: some remotes did not answer.

    All clones at once, and only by fast-forward: a clone with changed files, with commits that the remote lacks, or
    with a detached HEAD is reported and left as it is.
    """
    sys.exit(pulls.told(Path.cwd(), name, branch, click.echo, clone=clone))
