"""A temporary bare repository whose remote `origin` gives git what it asks for, and nothing else.

Source of truth: gitrepository-layout(5), git-config(1) (`extensions.partialClone`), partial-clone in git's technical
documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ONLY_OBJECTS = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
"""Options of a fetch that brings objects and nothing else."""
_CONFIG = """\
[core]
	repositoryformatversion = 1
	bare = true
[extensions]
	objectFormat = {format}
	partialClone = origin
[remote "origin"]
	url = "{url}"
	promisor = true
	partialclonefilter = blob:none
[maintenance]
	auto = false
[gc]
	auto = 0
"""


def create(folder: Path, url: str, commits: Iterable[str]) -> None:
    """Make the repository in an empty folder. The commits that it will hold tell its object format."""
    for part in ("objects", "refs"):
        (folder / part).mkdir()
    (folder / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    escaped = url.replace("\\", "\\\\").replace('"', '\\"')
    (folder / "config").write_text(_CONFIG.format(url=escaped, format=_format(commits)), encoding="utf-8")


def _format(commits: Iterable[str]) -> str:
    """The object format of a repository, by the length of its commit ids (git's hash-function-transition)."""
    return "sha256" if any(len(commit) == 64 for commit in commits) else "sha1"
