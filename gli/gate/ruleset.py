"""The ruleset of GitHub that makes the verdict binding: nobody moves the branch without the status `gli/verdict`.

Source of truth: GitHub REST, "Create a repository ruleset".
"""

from __future__ import annotations

from typing import Any

from gli.common.github import CONTEXT
from gli.config.environments import Environment


def ruleset(environment: Environment) -> dict[str, Any]:
    """The body that creates the ruleset of an environment's branch. Only a production's branch requires the status.

    The branch can neither be deleted nor rewritten. Nobody may bypass the rules.
    """
    rules: list[dict[str, Any]] = [{"type": "deletion"}, {"type": "non_fast_forward"}]
    if environment.production:
        checks = {
            "strict_required_status_checks_policy": False,
            "required_status_checks": [{"context": CONTEXT}],
        }
        rules.append({"type": "required_status_checks", "parameters": checks})
    return {
        "name": f"gli {environment.name}",
        "target": "branch",
        "enforcement": "active",
        "bypass_actors": [],
        "conditions": {"ref_name": {"include": [f"refs/heads/{environment.branch}"], "exclude": []}},
        "rules": rules,
    }
