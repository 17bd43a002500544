"""The commit status `gli/verdict` that GitHub gets for the commits that are about to become main.

They are parked by then, so GitHub knows them. A ruleset of main that requires the status accepts their push, and no
other.

Source of truth: GitHub's "Create a commit status" (REST API, repos/statuses), "Require status checks to pass before
merging" (rulesets).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gli.common import github
from gli.common.github import CONTEXT
from gli.release.plan import Refused
from gli.release.repositories import Repository, each

GITHUB = "https://api.github.com"
_ANSWER_S = 10.0


@dataclass(frozen=True)
class Statuses:
    """Where statuses are written, and who may."""

    api_url: str
    owner: str
    token: str

    def give(self, commits: Mapping[str, str], description: str, known: tuple[Repository, ...]) -> None:
        """Write `success` on the commit of each repository. Raises `Refused` with every failure. Exit code 1 if GitHub
        refused, 3 if it can't be reached.
        """
        import httpx  # most operations tell GitHub nothing

        headers, body = github.request_headers(self.token), github.status("success", description)
        with httpx.Client(headers=headers, timeout=_ANSWER_S, follow_redirects=True) as client:  # after a rename

            def one(repository: Repository) -> tuple[str, int]:
                commit = commits[repository.name]
                url = f"{self.api_url}/repos/{self.owner}/{repository.name}/statuses/{commit}"
                try:
                    answer = client.post(url, json=body)
                except httpx.HTTPError as e:
                    return f"GitHub can't be told of {commit[:8]}: {type(e).__name__}", 3
                if answer.status_code == 201:
                    return "", 0
                return f"GitHub answered {answer.status_code} to the status {CONTEXT} of {commit[:8]}", 1

            said = each([r for r in known if r.name in commits], one)
        against = {name: answer for name, answer in said.items() if isinstance(answer, tuple) and answer[1]}
        if against:
            reasons = [f"{name}: {text}" for name, (text, _) in against.items()]
            raise Refused(*reasons, code=min(code for _, code in against.values()))
