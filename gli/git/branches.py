"""The three branches that a release moves through, in its order."""

from __future__ import annotations

BRANCHES = ("dev", "stg", "main")
DEVELOPED, STAGED, LIVE = BRANCHES
