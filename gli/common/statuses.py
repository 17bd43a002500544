"""Writes the commit status `gli/verdict` on GitHub: for the gate's decision, and for the commits of a release.

`success` comes last and on all commits or on none: first each of them gets `pending`, so that what fails in between
leaves no commit green. Requests go one after the other, as GitHub asks of writers. Source of truth: GitHub REST,
"Create a commit status"; "Rate limits for the REST API"; "Best practices for using the REST API" (redirects).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gli.common.github import CONTEXT, GITHUB, request_headers
from gli.common.http_exchange import Answer, NoAnswerError, exchange

State = Literal["success", "failure", "error", "pending"]
_ANSWER_S = 10.0
_TRIES = 4
_LONGEST_PAUSE_S = 60.0
_PATIENCE_S = 300.0
"""How long all tries may take together; after that, each commit gets one try."""
_LONGEST_DESCRIPTION = 140
_LONGEST_MESSAGE = 200
_LONG_WORD = re.compile(r"\S{33,}")
"""What may be a token in any form, and is no word of a message."""


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
        ends = time.monotonic() + _PATIENCE_S

        def give_all(state: State, description: str) -> list[Problem]:
            found = (self._give(*commit, state, description, ends) for commit in commits.items())
            return [problem for problem in found if problem is not None]

        if state == "success":
            problems = give_all("pending", "waiting for the verdict on every repository")
            if problems:
                return problems
        problems = give_all(state, description)
        if problems and state == "success":
            problems += give_all("error", "the verdict could not be published on every repository")
        return problems

    def _give(self, repository: str, commit: str, state: State, text: str, ends: float) -> Problem | None:
        url = f"{self.api_url}/repos/{self.owner}/{repository}/statuses/{commit}"
        body = {"state": state, "context": CONTEXT, "description": text[:_LONGEST_DESCRIPTION]}
        where = f"{repository} {commit[:8]}"
        said = ""
        for attempt in range(_TRIES):
            try:
                # GitHub sends a redirect for a repository that was renamed
                answer = exchange(
                    "POST", url, headers=request_headers(self.token), within_s=_ANSWER_S, redirects=1, json=body
                )
            except NoAnswerError as e:
                said, pause_s = f"GitHub can't be told of {where}: {e}", 2.0**attempt
            else:
                if answer.status == 201:
                    return _misunderstood(answer, commit, state, where)
                said = f"GitHub answered {answer.status} to the status of {where}{self._message(answer)}"
                limit_s = _limited(answer)
                if limit_s is None and answer.status < 500:
                    return Problem(said, 1)
                pause_s = 2.0**attempt if limit_s is None else limit_s
            if pause_s > _LONGEST_PAUSE_S:
                return Problem(f"{said}; it takes no more for {pause_s:.0f} s", 3)
            if time.monotonic() + pause_s > ends:
                break
            if attempt + 1 < _TRIES:
                time.sleep(pause_s)
        return Problem(said, 3)

    def _message(self, answer: Answer) -> str:
        """What GitHub says, as one short line that no terminal and no job acts on, and without the token."""
        said = "".join(sign if sign.isprintable() else " " for sign in str(_document(answer).get("message") or ""))
        said = _LONG_WORD.sub("…", said.replace(self.token, "…"))
        said = " ".join(said.split())[:_LONGEST_MESSAGE]
        return f" ({said})" if said else ""


def _misunderstood(answer: Answer, commit: str, state: State, where: str) -> Problem | None:
    """None if GitHub's answer shows this status on this commit."""
    document = _document(answer)
    same = (document.get("state"), document.get("context")) == (state, CONTEXT)
    if same and str(document.get("url", "")).endswith(f"/statuses/{commit}"):
        return None
    return Problem(f"GitHub's answer for {where} shows another status than {CONTEXT}: {state}", 3)


def _limited(answer: Answer) -> float | None:
    """Seconds until GitHub answers again; None if no rate limit caused the refusal."""
    if answer.status not in (403, 429):
        return None
    after, reset = answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-reset", "")
    if after.isdecimal():
        return float(after)
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        return max(float(reset) - time.time(), 0.0)
    return _LONGEST_PAUSE_S if answer.status == 429 else None


def _document(answer: Answer) -> Mapping[str, Any]:
    document = answer.document()
    return document if isinstance(document, dict) else {}
