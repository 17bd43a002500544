"""Which rules must protect the branches of a release on GitHub, and which do.

Source of truth: GitHub REST "Get rules for a branch" (repos/rules), "Get branch protection", "Get a branch".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gli.common.github import CONTEXT, request_headers
from gli.common.http_exchange import NoAnswerError, exchange
from gli.config.parts import Github
from gli.git.branches import Branches
from gli.release.repositories import Repository

_ANSWER_S = 10.0
_REDIRECTS = 3  # GitHub redirects from the old name of a renamed repository
_KEPT = {"deletion", "non_fast_forward"}
"""The rules that must protect a branch, by the types that GitHub gives them."""


def demanded(branches: Branches) -> dict[str, set[str]]:
    """The types of the rules that must protect each branch that is deployed."""
    return {
        branch: _KEPT | ({"required_status_checks"} if branch == branches.live else set())
        for branch in reversed(branches.pushed)
    }


def protections(github: Github, repository: Repository) -> dict[str, set[str]] | str:
    """The types of the rules of each branch, from rulesets and from classic protection; or why they are not known."""
    types = {}
    for branch, needed in demanded(repository.branches).items():
        base = f"{github.api_url}/repos/{github.owner}/{repository.name}"
        try:
            status, rules = _get(github, f"{base}/rules/branches/{branch}?per_page=100")
            if status != 200 or not isinstance(rules, list):
                return f"GitHub answered {status}"
            found = {str(rule.get("type")) for rule in rules if isinstance(rule, dict) and _protects(rule)}
            classic = _classic(github, f"{base}/branches/{branch}") if needed - found else set()
        except NoAnswerError as e:
            return str(e)
        except (AttributeError, TypeError) as e:  # JSON of another shape than GitHub's
            return f"GitHub's answer can't be read ({type(e).__name__})"
        if isinstance(classic, str):
            return f"{branch} {classic}"
        types[branch] = found | classic
    return types


def _get(github: Github, url: str) -> tuple[int, Any]:
    """The status and the document of an answer. Follows redirects on GitHub's host alone: the token goes nowhere
    else. Raises `NoAnswerError`.
    """
    headers = request_headers(os.environ.get(github.token_variable or ""))
    answer = exchange("GET", url, headers=headers, within_s=_ANSWER_S, redirects=_REDIRECTS)
    return answer.status, answer.document()


def _classic(github: Github, branch: str) -> set[str] | str:
    """The types of rules that the branch's classic protection corresponds to; or why they are not known.

    Source of truth: GitHub REST, "Get branch protection", which needs a token that may read the administration, and
    "Get a branch", which tells everybody whether the branch is protected.
    """
    status, known = _get(github, f"{branch}/protection")
    if status != 200:
        status, seen = _get(github, branch)
        protected = status == 200 and (seen.get("protection") or {}).get("enabled")
        return "has classic protection, which takes a token that may read Administration" if protected else set()
    statuses = known.get("required_status_checks") or {}
    demanded = {*(statuses.get("contexts") or []), *(c.get("context") for c in statuses.get("checks") or [])}
    types = {"required_status_checks"} if CONTEXT in demanded else set()
    allowed = {"deletion": "allow_deletions", "non_fast_forward": "allow_force_pushes"}
    return types | {rule for rule, key in allowed.items() if not (known.get(key) or {}).get("enabled")}


def _protects(rule: Mapping[str, Any]) -> bool:
    """Whether a rule protects as its type says: a rule about statuses must demand the verdict's status."""
    if rule.get("type") != "required_status_checks":
        return True
    demanded = (rule.get("parameters") or {}).get("required_status_checks", [])
    return any(check.get("context") == CONTEXT for check in demanded)
