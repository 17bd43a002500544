"""What environments.toml says about releases: where the repositories are, and where operations keep their state.

Read without models, so that a promotion starts at once. Source of truth: the comments at `[stg.git]` in
environments.toml.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gli.common.errors import UsageError
from gli.common.github import GITHUB
from gli.config import toml_tables
from gli.git.branches import Branches
from gli.git.command import shown, without_secrets
from gli.git.identity import UNSIGNED, Signing
from gli.release import log, repositories
from gli.release.mirror import Mirror
from gli.release.repositories import LOG_BRANCH, Repository

if TYPE_CHECKING:
    from gli.common.statuses import Statuses


@dataclass(frozen=True)
class Settings:
    """What environments.toml says about releases."""

    repositories: tuple[Repository, ...]
    state: Path
    """The folder of the journals, the mirrors and the lock."""
    log_repository: str
    deploy_tag: str = "deploy-%Y%m%d-%H%M%S"
    timezone: str = "UTC"
    """The time zone of the moment in a tag's name."""
    log_branch: str = LOG_BRANCH
    log_path: str = "deployment.log"
    remote: str = ""
    """The address of the remotes, without secrets."""
    statuses: Statuses | None = None
    """Tells GitHub which commits were verified; None if GitHub is not told."""

    @property
    def branches(self) -> Branches:
        """The branches that a release moves through, the same in all repositories."""
        return self.repositories[0].branches

    def claim(self) -> None:
        """Note which remotes the state folder belongs to. Raises `UsageError` if it belongs to other remotes."""
        path = self.state / "remote"
        try:
            noted = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            noted = ""
        if not noted:  # new, or power failed before the content was on the disk
            path.write_text(f"{self.remote}\n", encoding="utf-8")
        elif noted != self.remote:
            raise UsageError(
                f"{self.state} holds operations on {noted}; give this environment a `state` of its own in "
                f"{toml_tables.FILE}, or delete {path} where these remotes have moved"
            )

    def mirrors(
        self, running: Path | None = None, identity: Mapping[str, str] | None = None, signing: Signing = UNSIGNED
    ) -> dict[str, Mirror]:
        """{repository: its mirror}, with these arguments of `Mirror`."""
        return {
            known.name: Mirror(
                known,
                self.state / "mirrors" / f"{known.name}.git",
                running,
                identity or {},
                self.log_branch if known.name == self.log_repository else "",
                signing,
            )
            for known in self.repositories
        }

    def log_in(self, mirrors: Mapping[str, Mirror]) -> log.Branch:
        """The branch of the deployment log, in one of the mirrors."""
        return log.Branch(mirrors[self.log_repository], self.state, self.log_branch, self.log_path)


def read(root: Path, name: str) -> Settings:
    """The settings of an environment. Raises `UsageError`."""
    file = toml_tables.read_tables(root)
    table = repositories.git_table(root, file, name)
    known = repositories.listed(root, file, table)
    given = {key: table[key] for key in ("deploy_tag", "timezone", "log_branch", "log_path") if key in table}
    home = table.get("log_repository", known[0].name)
    if home not in [repository.name for repository in known]:
        raise UsageError(f"{toml_tables.FILE}: git.log_repository is {home!r}, which no [[repositories]] entry names")
    github = toml_tables.whole(root, file, name).get("github")
    statuses = _statuses(github) if isinstance(github, dict) else None
    remote = shown(without_secrets(table["remote"]))
    state = root / table.get("state", ".release")
    return Settings(tuple(known), state, home, remote=remote, statuses=statuses, **given)


def _statuses(github: Mapping[str, Any]) -> Statuses | None:
    """Where GitHub is told what was verified, if its token is set."""
    token, owner = os.environ.get(str(github.get("status_variable", "")), ""), github.get("owner")
    if token and not isinstance(owner, str):
        raise UsageError(f"{toml_tables.FILE}: a `github` table has no `owner`; write whose repositories they are")
    if not token:
        return None
    from gli.common.statuses import Statuses  # it brings httpx, which most operations do not need

    return Statuses(str(owner), token, github.get("api_url", GITHUB))
