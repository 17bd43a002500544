"""`gli init`: what a project needs to verify its deployments, in the folder where the command runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import click

import gli
from gli.cli.options import sentences
from gli.common.errors import UsageError
from gli.config.environments import FILE

SUITE = ("tests_smoke", "tests_infra", "checklists", "conftest.py", "pytest.ini")
"""What the package brings: the checks, their catalogue and checklists, and what pytest needs to run them."""
_OWN = ("waivers.toml",)
_FIRST = """\
# What each environment consists of: only what is described here is asked. `gli checks --env production` says
# which checks are asked of what, and which key brings the others. docs/adopting.md explains the keys.

# [[repositories]]                               # the repositories that are deployed
# name = "shop"

[production]
branch = "main"                                  # the git branch that it runs
production = true
vantage = "internet"                             # where the run stands; "vpc" sees private addresses

[production.services.web]
url = "https://shop.example.com"                 # its address for users; ws:// and wss:// are WebSockets
health_path = "/health/"
# [[production.services.web.contract]]           # read-only endpoints, and what each must answer
# path = "/api/products/"
# status = [200]
# content_type = "application/json"
# values = { "results.0.currency" = "EUR" }      # JSON paths with their values
# authorization = { bearer = "env:SHOP_TOKEN" }

# [production.database]                          # a PostgreSQL server
# secret = "env:DATABASE_URL"                    # env:NAME, file:PATH, ssm:NAME, or an id in Secrets Manager
# verify_secret = "env:VERIFY_DATABASE_URL"      # a role that may only look
# instance = "shop-production"                   # its identifier, where RDS or Aurora provides it

# [production.cache]
# secret = "env:REDIS_URL"

# [production.aws]
# region = "eu-central-1"
# account_id = "123456789012"

# [production.broker]
# absent = "the shop sends no messages"          # a part that there is not, and why: every report shows it
"""


@click.command()
@click.option(
    "--update", is_flag=True, help="Write the checks, the catalogue and the checklists of this version again."
)
@sentences
def init(update: bool) -> None:
    """Write a first environments.toml, and the checks with their catalogue and checklists.

    A file that is there already stays as it is. With --update, the files of the package are written again;
    environments.toml, the waivers and the folder tests_own stay.
    """
    root = Path.cwd()
    source = suite()
    if source == root:
        raise UsageError("this folder is the suite's own repository; run gli init in the folder of your project")
    written = [*_written(source, root, update=update)]
    if not (root / FILE).exists():
        (root / FILE).write_text(_FIRST, encoding="utf-8")
        written.append(FILE)
    for name in written:
        click.echo(f"wrote {name}")
    click.echo(f"next: describe an environment in {FILE}; gli checks --env NAME; pytest --env=NAME")


def suite() -> Path:
    """The folder that the checks of this version are in: inside the package, or the repository that it runs from."""
    package = Path(gli.__file__).resolve().parent
    inside = package / "suite"
    return inside if inside.is_dir() else package.parent


def _written(source: Path, root: Path, *, update: bool) -> Iterator[str]:
    """Copies what is missing, or everything; names what was written."""
    files = [path for name in SUITE for path in (sorted((source / name).rglob("*")) or [source / name])]
    for path in files:
        name = path.relative_to(source)
        ours = path.is_file() and "__pycache__" not in name.parts and "sign-offs" not in name.parts
        if not ours or name.name in _OWN or ((root / name).exists() and not update):
            continue
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, root / name)
        yield str(name)
