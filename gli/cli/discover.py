"""`gli discover`: a first description of an environment, from what its account, hosts and repositories show."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import TypeAdapter, ValidationError

from gli.cli.options import sentences
from gli.common.errors import UsageError
from gli.config import environments, toml_tables, values
from gli.config.environments import FILE
from gli.config.services import without_secrets
from gli.observe.discovery import asking, description, draft
from gli.observe.engine.observation import Unobserved

_WAY = ("vantage", "aws", "dns", "tls", "git", "connect_to")
"""The keys of an environment that say how to reach it: what `environments.toml` has of them already is used."""


@click.command()
@click.option("--env", "name", required=True, metavar="NAME", help="The environment to describe.")
@click.option("--region", help="The region of its AWS account. Credentials come from the usual chain, or --profile.")
@click.option("--profile", help="A profile of the AWS configuration.")
@click.option(
    "--match", "patterns", multiple=True, metavar="PATTERN",
    help="Take the resources whose names match, as in 'stg-*' (repeatable; default: all). Comments name the others.",
)  # fmt: skip
@click.option("--url", "urls", multiple=True, metavar="URL", help="An address for users (repeatable).")
@click.option("--remote", help="Where the repositories are, as in git@github.com:shop/{repository}.git.")
@click.option("--repository", "repositories", multiple=True, metavar="REPO", help="A repository (repeatable).")
@click.option(
    "--to", "target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write to this new file; default: print.",
)  # fmt: skip
@sentences
def discover(
    name: str,
    region: str | None,
    profile: str | None,
    patterns: Sequence[str],
    urls: Sequence[str],
    remote: str | None,
    repositories: Sequence[str],
    target: Path | None,
) -> None:
    """Describe an environment from what its AWS account, its hosts and its repositories show.

    Give what there is: a region, addresses, or both.

    \b
      gli discover --env staging --region eu-central-1 --match 'stg-*' \\
          --remote git@github.com:shop/{repository}.git --repository shop --to staging.toml
      gli discover --env production --url https://shop.example.com

    It only reads: AWS lists and descriptions without values of secrets (`gli iam-policy --discover` prints the policy),
    GET requests, WebSocket handshakes, git ls-remote. What environments.toml says of the environment already is used
    and kept. Comments say what could not be told. Review the file, then copy its tables into environments.toml.

    Exit codes: 0 described, 2 wrong usage, 3 the account can't be asked.
    """
    if target is not None and target.exists():
        raise UsageError(f"{target} exists; name a new file")
    root = Path.cwd()
    tables = toml_tables.read_tables(root) if (root / FILE).exists() else {}
    written: dict[str, Any] = tables.get(name, {})
    known = [*tables.get("repositories", [])]
    known += [{"name": each} for each in repositories if each not in [entry.get("name") for entry in known]]
    options: dict[str, Any] = {"aws": {}, "git": {}}
    options["aws"] |= {k: v for k, v in (("region", region), ("profile", profile)) if v}
    options["git"] |= {"remote": remote} if remote else {}
    written = toml_tables.merged(written, {key: table for key, table in options.items() if table})
    pages = _named(written, "frontends")
    named = {**dict.fromkeys(map(without_secrets, urls), ""), **pages, **_named(written, "services")}
    _refuse_wrong(named)
    way = _way(root, name, written, known)
    if way.aws is None and not named:
        raise UsageError("nothing to ask: give --region, --url, or both (gli discover --help has examples)")
    try:
        whole = asking.ask(way, patterns, named, pages)
    except Unobserved as e:
        click.echo(f"gli: {e}", err=True)
        sys.exit(3)
    text = draft.text(description.describe(whole), name, written, known)
    if target is None:
        click.echo(text, nl=False)
        return
    with target.open("x", encoding="utf-8") as file:
        file.write(text)
    click.echo(f"wrote {target}; next: review it, copy its tables into {FILE}, gli checks --env {name}")


def _way(
    root: Path, name: str, written: Mapping[str, Any], repositories: list[dict[str, Any]]
) -> environments.Environment:
    """An environment of which only the way there is known; `UsageError` for a wrong key or value in it."""
    overlay = toml_tables.read_overlay(root, written) or {}
    kept = [{key: table for key, table in each.items() if key in _WAY} | _logins(each) for each in (written, overlay)]
    tables = {name: {"branch": "main", **kept[0]}, "repositories": [{"name": each["name"]} for each in repositories]}
    return environments.load(root, name, overlay=kept[1], tables=tables)


def _logins(written: Mapping[str, Any]) -> dict[str, Any]:
    """The services and frontends that have a login in front of them, as far as a request needs them."""
    found: dict[str, Any] = {}
    for group in ("services", "frontends"):
        tables = written.get(group)
        for name, each in tables.items() if isinstance(tables, dict) else ():
            if isinstance(each, dict) and {"url", "authorization"} <= {*each}:
                found.setdefault(group, {})[name] = {key: each[key] for key in ("url", "authorization")}
    return found


def _named(written: Mapping[str, Any], group: Literal["services", "frontends"]) -> dict[str, str]:
    """The URLs of the services or frontends that `environments.toml` has already, with their names."""
    tables = written.get(group)
    entries = [(k, each) for k, each in tables.items() if isinstance(each, dict)] if isinstance(tables, dict) else []
    return {str(each["url"]): name for name, each in entries if "url" in each}


def _refuse_wrong(urls: Iterable[str]) -> None:
    known = TypeAdapter[str](values.Url)
    for url in urls:
        try:
            known.validate_python(url)
        except ValidationError as e:
            should = e.errors()[0]["msg"].removeprefix("Value error, ")
            raise UsageError(f"{url!r} should be {should}; mend --url, or the url in {FILE}") from None
