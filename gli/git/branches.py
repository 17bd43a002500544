"""The three branches that a release moves through, in its order, and the tags that are no deployment's."""

from __future__ import annotations

BRANCHES = ("dev", "stg", "main")
DEVELOPED, STAGED, LIVE = BRANCHES
ROLLBACK_TAG = "rollback-%Y%m%d-%H%M%S"
EMERGENCY_TAG = "emergency-%Y%m%d-%H%M%S"
"""How operations tag what they leave on the live branch; a deployment's tag is `git.deploy_tag`'s."""
