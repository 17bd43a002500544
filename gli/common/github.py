"""What every request to GitHub's REST API shares, and the one commit status of a verdict.

Source of truth: GitHub REST, "Getting started" (headers), "Create a commit status".
"""

from __future__ import annotations

CONTEXT = "gli/verdict"
_LONGEST = 140  # of a description


def request_headers(token: str | None) -> dict[str, str]:
    """The headers of a request, with the token if there is one."""
    asked = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    return {**asked, "Authorization": f"Bearer {token}"} if token else asked


def status(state: str, description: str) -> dict[str, str]:
    """The body of a request that gives a commit this state of `gli/verdict`."""
    return {"state": state, "context": CONTEXT, "description": description[:_LONGEST]}
