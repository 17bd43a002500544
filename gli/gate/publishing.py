"""Tells GitHub the gate's decision: the commit status `gli/verdict` on every commit of the verdict.

`success` comes last and on all commits or on none: first each of them gets `pending`, so that what fails in between
leaves no commit green. Source of truth: GitHub REST, "Create a commit status"; "Rate limits for the REST API".
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from gli.common import github
from gli.common.github import CONTEXT

State = Literal["success", "failure", "error", "pending"]
_ANSWER_S = 10.0
_TRIES = 4
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class Problem:
    """Why a status was not written."""

    sentence: str
    code: int
    """1: GitHub refused; 3: GitHub could not be told, or nobody knows whether it was."""


@dataclass(frozen=True)
class Commit:
    """One commit of a verdict."""

    repository: str
    commit: str


class Statuses:
    """Writes statuses of one owner's repositories. Use it in a `with` block."""

    def __init__(self, api_url: str, owner: str, token: str) -> None:
        self._url = f"{api_url}/repos/{owner}"
        self._client = httpx.Client(headers=github.request_headers(token), timeout=_ANSWER_S)

    def __enter__(self) -> Statuses:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def publish(self, commits: Iterable[Commit], state: State, description: str) -> list[Problem]:
        """Give every commit this state; empty if all have it. No commit is green unless all are."""
        wanted = list(commits)
        if state == "success":
            problems = self._all(wanted, "pending", "waiting for the verdict on every repository")
            if problems:
                return problems
        problems = self._all(wanted, state, description)
        if problems and state == "success":
            problems += self._all(wanted, "error", "the verdict could not be published on every repository")
        return problems

    def _all(self, commits: Iterable[Commit], state: State, description: str) -> list[Problem]:
        found = (self._give(commit, state, description) for commit in commits)
        return [problem for problem in found if problem is not None]

    def _give(self, commit: Commit, state: State, description: str) -> Problem | None:
        url = f"{self._url}/{commit.repository}/statuses/{commit.commit}"
        body = github.status(state, description)
        where = f"{commit.repository} {commit.commit[:8]}"
        said = ""
        for attempt in range(_TRIES):
            try:
                answer = self._client.post(url, json=body)
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


def _misunderstood(answer: httpx.Response, commit: Commit, state: State, where: str) -> Problem | None:
    """None if GitHub's answer shows this status on this commit."""
    document = _document(answer)
    same = (document.get("state"), document.get("context")) == (state, CONTEXT)
    if same and str(document.get("url", "")).endswith(f"/statuses/{commit.commit}"):
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
