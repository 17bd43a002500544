"""What names a set of commits, one of each repository: in approvals, in tags, and in the folders of sign-offs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256


def manifest_id(commits: Mapping[str, str]) -> str:
    """16 hexadecimal digits that stand for {repository: commit}, in whatever order they come; so too for trees."""
    return sha256(json.dumps(dict(sorted(commits.items())), separators=(",", ":")).encode()).hexdigest()[:16]
