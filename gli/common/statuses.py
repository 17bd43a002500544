"""Writes the commit status `gli/verdict` on GitHub: for the gate's decision, and for the commits of a release.

`success` comes last and on all commits or on none: first each of them gets `pending`, so that what fails in between
leaves no commit green. Requests go one after the other, as GitHub asks of writers. Source of truth: GitHub REST,
"Create a commit status"; "Rate limits for the REST API"; "Best practices for using the REST API" (redirects).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from gli.common.github import CONTEXT, GITHUB, request_headers

State = Literal["success", "failure", "error", "pending"]
_ANSWER_S = 10.0
_TRIES = 4
_LONGEST_PAUSE_S = 60.0
_LONGEST_DESCRIPTION = 140
_RENAMED = (httpx.codes.TEMPORARY_REDIRECT, httpx.codes.PERMANENT_REDIRECT)
"""The redirects after which a request keeps its method. GitHub sends one for a repository that was renamed."""


@dataclass(frozen=True)
class Problem:
    """Why a status was not written."""

    sentence: str
    code: int
    """1: GitHub refused; 3: GitHub could not be told, or nobody knows whether it was."""


@dataclass(frozen=True)
class Statuses:
    """Writes statuses of one owner's repositories."""

    owner: str
    token: str
    api_url: str = GITHUB

    def publish(self, commits: Mapping[str, str], state: State, description: str) -> list[Problem]:
        """Give the commit of every repository this state; empty if all have it. No commit is green unless all are."""
        with httpx.Client(headers=request_headers(self.token), timeout=_ANSWER_S) as client:

            def give_all(state: State, description: str) -> list[Problem]:
                found = (self._give(client, *commit, state, description) for commit in commits.items())
                return [problem for problem in found if problem is not None]

            if state == "success":
                problems = give_all("pending", "waiting for the verdict on every repository")
                if problems:
                    return problems
            problems = give_all(state, description)
            if problems and state == "success":
                problems += give_all("error", "the verdict could not be published on every repository")
            return problems

    def _give(self, client: httpx.Client, repository: str, commit: str, state: State, text: str) -> Problem | None:
        url = f"{self.api_url}/repos/{self.owner}/{repository}/statuses/{commit}"
        body = {"state": state, "context": CONTEXT, "description": text[:_LONGEST_DESCRIPTION]}
        where = f"{repository} {commit[:8]}"
        said = ""
        for attempt in range(_TRIES):
            try:
                answer = client.post(url, json=body)
                if answer.status_code in _RENAMED and answer.next_request is not None:
                    answer = client.send(answer.next_request)
            except httpx.HTTPError as e:
                said, pause_s = f"GitHub can't be told of {where}: {type(e).__name__}", 2.0**attempt
            else:
                if answer.status_code == httpx.codes.CREATED:
                    return _misunderstood(answer, commit, state, where)
                said = f"GitHub answered {answer.status_code} to the status of {where}{_message(answer)}"
                limit_s = _limited(answer)
                if limit_s is None and not answer.is_server_error:
                    return Problem(said, 1)
                pause_s = 2.0**attempt if limit_s is None else limit_s
            if pause_s > _LONGEST_PAUSE_S:
                return Problem(f"{said}; it takes no more for {pause_s:.0f} s", 3)
            if attempt + 1 < _TRIES:
                time.sleep(pause_s)
        return Problem(said, 3)


def _misunderstood(answer: httpx.Response, commit: str, state: State, where: str) -> Problem | None:
    """None if GitHub's answer shows this status on this commit."""
    document = _document(answer)
    same = (document.get("state"), document.get("context")) == (state, CONTEXT)
    if same and str(document.get("url", "")).endswith(f"/statuses/{commit}"):
        return None
    return Problem(f"GitHub's answer for {where} shows another status than {CONTEXT}: {state}", 3)


def _limited(answer: httpx.Response) -> float | None:
    """Seconds until GitHub answers again; None if no rate limit caused the refusal."""
    if answer.status_code not in (403, 429):
        return None
    after, reset = answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-reset", "")
    if after.isdecimal():
        return float(after)
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        return max(float(reset) - time.time(), 0.0)
    return _LONGEST_PAUSE_S if answer.status_code == 429 else None


def _message(answer: httpx.Response) -> str:
    message = _document(answer).get("message")
    return f" ({message})" if message else ""


def _document(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
