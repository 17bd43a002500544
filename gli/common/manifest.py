"""The short name of a set of commits, one from each repository. Approvals, tags and folders of sign-offs use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256


def manifest_id(commits: Mapping[str, str]) -> str:
    """16 hexadecimal digits that identify {repository: commit}, whatever the order of the entries. Trees work too."""
    return sha256(json.dumps(dict(sorted(commits.items())), separators=(",", ":")).encode()).hexdigest()[:16]
