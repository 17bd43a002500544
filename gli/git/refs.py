"""The refs that releases use, and the one reader of what `git ls-remote` and `git for-each-ref` list.

Source of truth: git-ls-remote(1), gitprotocol-v2 (ls-refs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

LOCK = "refs/gli/lock"
"""In the log repository: which operation is under way."""
FENCE = "refs/gli/fence"
"""In every repository: which operation was the last to touch it (see `gli.release.fence`)."""
PARKED = "refs/promotions/"
"""What operations have pushed without moving a branch: `refs/promotions/ID/BRANCH`."""
ARCHIVED = "refs/archive/"
"""What a reset took off a branch: `refs/archive/ID/BRANCH`."""
_HEADS, _TAGS, _PEELED = "refs/heads/", "refs/tags/", "^{}"


def lines(text: str) -> list[str]:
    """The lines of what git printed, which only `\\n` ends: `str.splitlines` also breaks a name at U+2028, which git
    allows in the name of a branch, and so in `refs/heads/stg` and what follows.
    """
    return [line for line in text.split("\n") if line]


class Listing(NamedTuple):
    """Branches and tags of a remote, by their short names."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]
    """Tag to what it stands for: an annotated tag is peeled."""


def listed(text: str) -> dict[str, str]:
    """{ref: object} from the output of `git ls-remote`. An annotated tag `t` also has a line `t^{}`: the commit that it
    points to.
    """
    return {ref: object_ for object_, _, ref in (line.partition("\t") for line in lines(text))}


def listing(refs: Mapping[str, str]) -> Listing:
    """The branches and tags among these refs."""
    branches = {r.removeprefix(_HEADS): o for r, o in refs.items() if r.startswith(_HEADS)}
    tags = {
        r.removeprefix(_TAGS): refs.get(f"{r}{_PEELED}", o)
        for r, o in refs.items()
        if r.startswith(_TAGS) and not r.endswith(_PEELED)
    }
    return Listing(branches, tags)
