"""`gli rds-roots`: the CAs of Amazon RDS, fetched once."""

from __future__ import annotations

from pathlib import Path

import click

from gli.cli.options import sentences
from gli.common.errors import UsageError
from gli.config.rds_roots import SOURCE, keep

_ANSWER_S = 30.0


@click.command("rds-roots")
@click.option("--from", "source", default=SOURCE, show_default=True, help="A URL, or a file.", metavar="PLACE")
@sentences
def rds_roots(source: str) -> None:
    """Fetch the CAs that sign the servers of Amazon RDS, to be committed beside environments.toml.

    No system has them: without this file no login at a database of RDS can be verified.
    """
    path = keep(Path.cwd(), _content(source), source)
    click.echo(f"{path.relative_to(Path.cwd())} written; commit it")


def _content(source: str) -> bytes:
    from gli.common.http_exchange import NoAnswerError, exchange  # it brings httpx, which a file does not need

    try:
        if "://" not in source:
            return Path(source).read_bytes()
        answer = exchange("GET", source, within_s=_ANSWER_S)
        why = "" if answer.status == 200 else f"HTTP {answer.status}"
    except (NoAnswerError, OSError) as e:
        why = str(e)
    if why:
        raise UsageError(f"{source} can't be read: {why}; fetch it elsewhere, and name the file with --from")
    return answer.body
