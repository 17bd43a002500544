"""What every request to GitHub's REST API shares. Source of truth: GitHub REST, "Getting started" (headers)."""

from __future__ import annotations

GITHUB = "https://api.github.com"
CONTEXT = "gli/verdict"
"""The name of the commit status that holds the verdict."""


def request_headers(token: str | None) -> dict[str, str]:
    """The headers of a request, with the token if there is one."""
    asked = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    return {**asked, "Authorization": f"Bearer {token}"} if token else asked
