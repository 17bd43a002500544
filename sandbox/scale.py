"""Makes a project whose staging and production are many times as large as GLI's, for a sandbox that plays them.

Each service, frontend, repository and queue gets copies: `api-2` is a copy of `api`. A copy has an ECS service, a
target group, a log group, an image, a bucket, a secret and a repository of its own. The server of the original answers
under the copy's name, so the copies need no further ports: a check of a copy asks a real server. An environment has one
database, one cache and one broker, however large it is.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gli.config.toml_tables import FILE
from sandbox.overlay import toml

SUITE = ("tests_smoke", "tests_infra", "checklists", "conftest.py", "pytest.ini")
_PLAYED = ("stg", "prod")
_KINDS = ("services", "frontends")
_CALLED = ("api", "websocket")
"""What each frontend calls; a copy calls the copies of its own number."""


def grow(root: Path, folder: Path, times: int) -> None:
    """Write a project into `folder`: the checks of `root`, and its environments, so many times as large."""
    for name in SUITE:
        (shutil.copytree if (root / name).is_dir() else shutil.copy)(root / name, folder / name)
    tables = tomllib.loads((root / FILE).read_text(encoding="utf-8"))
    (folder / FILE).write_text(toml(grown(tables, times)), encoding="utf-8")


def grown(tables: Mapping[str, Any], times: int) -> dict[str, Any]:
    """The tables of environments.toml with `times - 1` copies of what each environment of a release consists of."""
    ends = [f"-{number}" for number in range(2, times + 1)]
    found = dict(tables)
    found["repositories"] = [
        *tables["repositories"],
        *({**_without(r, "first"), "name": r["name"] + end} for end in ends for r in tables["repositories"]),
    ]
    for name in _PLAYED:
        found[name] = _environment(tables[name], ends)
    return found


def _environment(table: Mapping[str, Any], ends: list[str]) -> dict[str, Any]:
    found = dict(table)
    for kind in _KINDS:
        copies = {n + end: _copy(t, end) for end in ends for n, t in table[kind].items()}
        found[kind] = {**{n: _copy(t, "") for n, t in table[kind].items()}, **copies}
    groups = table["logs"]["groups"]
    found["logs"] = {**table["logs"], "groups": [*groups, *(_group(g, end) for end in ends for g in groups)]}
    broker = table["broker"]
    for key in ("queues", "dead_letter_queues"):
        if key in broker:
            found["broker"] = broker = {**broker, key: [*broker[key], *(q + end for end in ends for q in broker[key])]}
    return found


def _copy(table: Mapping[str, Any], end: str) -> dict[str, Any]:
    """The table of a copy. Production's tables hold only what differs from staging's, so any key may be missing."""
    found = dict(table)
    if "mount" in found:
        found["calls"] = [name + end for name in _CALLED]
    for key in ("repository", "image", "bucket", "deep_health_secret"):
        if key in found:
            found[key] += end
    if end and "url" in found:
        host = str(urlsplit(found["url"]).hostname)
        label, _, zone = host.partition(".")
        copied = f"{label}{end}.{zone}" if "." in zone else f"users{end}.{host}"
        found["url"] = found["url"].replace(host, copied)
    if "log_group" in found:
        found["log_group"] = _group(found["log_group"], end)
    if "ecs" in found and "service" in found["ecs"]:
        found["ecs"] = {**found["ecs"], "service": found["ecs"]["service"] + end}
    return found


def _group(name: str, end: str) -> str:
    """/gli/api-server/staging of the second copy is /gli/api-server-2/staging."""
    stem, _, environment = name.rpartition("/")
    return f"{stem}{end}/{environment}"


def _without(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in table.items() if k != key}
