"""Adds a submodule to the root repository, for faults and variants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sandbox import repositories
from sandbox.handle import Sandbox


@contextmanager
def linked(sandbox: Sandbox, commit: str = "") -> Iterator[None]:
    """Add the database's repository at a commit, by default its newest, on staging's branch and on dev."""
    names, first = [r.name for r in sandbox.environment.repositories], sandbox.site.staging.branch
    root = repositories.path(sandbox.repositories, next(name for name in names if name.endswith("_root")))
    library = next(name for name in names if name.endswith("_database"))
    heads = repositories.refs(repositories.path(sandbox.repositories, library), "refs/heads")
    before = {branch: repositories.refs(root, "refs/heads")[branch] for branch in (first, "dev")}
    at, named = datetime.now(UTC), ("schema", f"../{library}.git", commit or heads["main"])
    added = repositories.link(root, first, *named, at)
    repositories.push(root, "dev", "Merge", {}, at, added)
    repositories.link(root, "dev", *named, at)
    try:
        yield
    finally:
        for branch, head in before.items():
            repositories.set_ref(root, f"refs/heads/{branch}", head)
