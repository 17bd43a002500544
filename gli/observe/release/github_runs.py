"""The deploy workflows: the content of their files, and the result of their newest run for the release.

Source of truth: the file at the head of the environment's branch; GitHub REST, "List workflow runs for a repository".
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from gli.common.github import request_headers
from gli.common.sentences import phrase
from gli.config.environment_consistency import own_names
from gli.config.environments import Environment
from gli.config.parts import Repository
from gli.observe.edge.http import HttpExchange, fetch
from gli.observe.engine.observation import Observation, Unobserved, one_of, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.called_workflows import called_workflows
from gli.observe.release.git_history import history, revision
from gli.observe.release.git_refs import TIMEOUT_S, Release, release
from gli.observe.release.workflow import Workflow, read

_RUNS, _PAGES = 10, 10  # one run takes about 15 kB in GitHub's answer
_REDIRECTS = 3
_MOST_CHARACTERS = 2_000_000
_STATUSES = frozenset({"completed", "in_progress", "pending", "queued", "requested", "waiting"})
_CONCLUSIONS = frozenset(
    {
        "action_required",
        "cancelled",
        "failure",
        "neutral",
        "skipped",
        "stale",
        "startup_failure",
        "success",
        "timed_out",
    }
)
_POLL_S = 5.0
_APPEARS_S = 60.0  # how long after a push a run may take to appear


class WorkflowRun(Observation):
    """The newest run of a repository's deploy workflow for the head of the environment's branch."""

    repository: str
    commit: str
    status: str | None = None
    """`queued`, `in_progress`, `completed`, ...; None if there is no run."""
    conclusion: str | None = None
    """`success`, `failure`, `cancelled`, `skipped`, ...; None as long as the run is not completed."""
    url: str = ""

    @property
    def ended(self) -> bool:
        """Whether there is a run and it has ended."""
        return self.status == "completed"


@probe(deadline=TIMEOUT_S)
async def workflow(observer: Observer, repository: Repository) -> Workflow:
    """The deploy workflow at the head of the environment's branch, with the workflows that it calls."""
    commit = (await observer.see(revision, repository.name)).commit  # raises if the branch does not exist
    seen = await observer.see(history, repository.name)
    text = seen.workflow
    path = str(repository.workflow)
    called = await called_workflows(observer, repository.name, commit, path, text or "")
    found = read(path, text, _foreign_names(observer.environment), called)
    return found.model_copy(update={"unheard": seen.unheard})


def _foreign_names(environment: Environment) -> dict[str, set[str]]:
    """For the staged and the live branch: the names that only the other branch's environment has."""
    pair = {e.branch: own_names(e) for e in (environment, environment.other) if e is not None}
    if environment.git is None or not environment.git.staged:
        return {}
    staged, live = (pair.get(branch, set()) for branch in environment.git.deployed)
    return {environment.git.staged: live - staged, environment.git.live: staged - live}


@probe(deadline=15, early=True)
async def workflow_run(observer: Observer, repository: Repository) -> WorkflowRun:
    """The result of the deploy workflow for the branch's head, from GitHub. Waits for its end, if the run may wait."""
    while True:
        run = await _newest_run(observer, repository)
        longest = math.inf if run.status else _APPEARS_S
        if run.ended or not await observer.try_again(_POLL_S, longest):
            return run


async def workflows_ended(observer: Observer) -> list[WorkflowRun]:
    """The workflow run of every repository with a deploy workflow, without those that could not be observed."""
    asked = [r for r in observer.environment.repositories if r.workflow] if observer.environment.github else []
    found = await asyncio.gather(*[observer.see(workflow_run, r) for r in asked], return_exceptions=True)
    return [run for run in found if isinstance(run, WorkflowRun)]


async def _newest_run(observer: Observer, repository: Repository) -> WorkflowRun:
    head = (await observer.see(release)).commit_of(repository.name)
    run = await _newest_run_of(observer, repository, head)
    if run.status is None and (earlier := (await _deploying(observer, repository.name))):
        return await _newest_run_of(observer, repository, earlier)
    return run


async def _deploying(observer: Observer, repository: str) -> str:
    """The commit that deploys where the head does not; empty if the head does, or nobody tells."""
    try:
        return (await observer.see(history, repository)).deploying
    except Unobserved:
        return ""


@probe(deadline=15)
async def deployed_release(observer: Observer) -> Release:
    """The commit of each repository that has to run: the branch's head, or the newest one that deploys.

    A newest commit that changes documentation alone starts no deploy, where the workflow says so.
    """
    seen = await observer.see(release)
    commits = await asyncio.gather(*[deployed_commit(observer, seen, r) for r in observer.environment.repositories])
    names = [r.name for r in observer.environment.repositories]
    return Release(branch=seen.branch, commits={n: c for n, c in zip(names, commits, strict=True) if c})


async def deployed_commit(observer: Observer, heads: Release, repository: Repository) -> str:
    """The commit of one repository that has to run; empty if the repository has no readable branch."""
    head = heads.commits.get(repository.name, "")
    if not head or not repository.workflow or observer.environment.github is None:
        return head
    if not await _deploying(observer, repository.name):
        return head
    try:
        return (await observer.see(workflow_run, repository)).commit
    except Unobserved:
        return head


async def _newest_run_of(observer: Observer, repository: Repository, commit: str) -> WorkflowRun:
    github, branch = observer.environment.github, observer.environment.branch
    assert github is not None, "asked only of environments with a github table"
    token = os.environ.get(github.token_variable or "", "")
    if token:
        observer.vault.hide(token)
    headers = request_headers(token)
    url = f"{github.api_url}/repos/{github.owner}/{repository.name}/actions/runs"
    next_: str | None = f"{url}?head_sha={commit}&branch={branch}&event=push&per_page={_RUNS}"
    runs: list[dict[str, Any]] = []
    for _ in range(_PAGES):  # newest first: the first page with a run of the workflow has its newest run
        if next_ is None or runs:
            break
        answer = await _asked(observer, next_, headers)
        found = runs_in(answer, repository.name)
        runs = [r for r in found if _is_of(r, repository, commit)]
        next_ = _next(answer, url)
    if not runs and next_ is not None:
        raise unknown(
            "too-little-data", phrase("{} has more than {} runs for {}", repository.name, _PAGES * _RUNS, commit[:12])
        )
    if not runs:
        return WorkflowRun(repository=repository.name, commit=commit)
    newest = max(runs, key=lambda run: (run.get("run_number", 0), run.get("run_attempt", 0)))
    status, conclusion = newest.get("status"), newest.get("conclusion")
    what = phrase("the state of a run of {}", repository.name)
    return WorkflowRun(
        repository=repository.name,
        commit=commit,
        status=one_of(_STATUSES, status, what) if status else None,
        conclusion=one_of(_CONCLUSIONS, conclusion, what) if conclusion else None,
        url=newest.get("html_url") or "",
    )


async def _asked(observer: Observer, url: str, headers: Mapping[str, str]) -> HttpExchange:
    """Fetches one page. Follows the redirect of a renamed or moved repository, on the same host only."""
    for _ in range(_REDIRECTS):
        answer = await fetch(observer, url, headers=headers, limit=_MOST_CHARACTERS)
        target = urljoin(url, answer.headers.get("location", ""))
        if answer.status not in (301, 302, 307, 308) or not _same_origin(target, url):
            break
        url = target
    return answer


def _is_of(run: dict[str, Any], repository: Repository, commit: str) -> bool:
    """Whether a run is of the repository's workflow, and of the commit that was asked for."""
    path = str(run.get("path", "")).partition("@")[0]
    return path == repository.workflow and bool(run.get("head_sha", commit) == commit)


def _same_origin(one: str, other: str) -> bool:
    """Whether both URLs lead to the same host over the same protocol: the token goes nowhere else."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def _next(answer: HttpExchange, url: str) -> str | None:
    """The URL of the next page (RFC 8288): the link whose relation is `next`; None on the last page.

    Raises `Unobserved` if it is on another host than `url`.
    """
    found = re.search(r'<([^<>]+)>[^,<]*;\s*rel="?next"?', answer.headers.get("link", ""))
    if found is None:
        return None
    if not _same_origin(found[1], url):
        raise unknown("error", phrase("GitHub's next page is on another host: {}", found[1]))
    return found[1]


def runs_in(answer: HttpExchange, repository: str) -> list[dict[str, Any]]:
    """The runs in GitHub's answer. Raises `Unobserved` if the answer is an error or not a list of runs."""
    if answer.status is None:
        raise unknown("unreachable", phrase("GitHub can't be reached: {}", answer.error))
    if answer.status in (403, 429) and (wait := _limited(answer)):
        raise unknown("throttled", phrase("GitHub answers no more questions for now: {}", wait))
    if answer.status in (401, 403, 404):  # 404: also a private repository that the token can't read
        raise unknown(
            "access-denied",
            phrase(
                "GitHub does not show the runs of {}: {}; give it a token that may read Actions there",
                repository,
                f"{answer.seen}{_said(answer)}",
            ),
        )
    runs = answer.document.get("workflow_runs") if isinstance(answer.document, dict) else None
    if answer.status != 200 or not isinstance(runs, list):
        raise unknown("error", phrase("GitHub answered {} instead of the runs of {}", answer.seen, repository))
    return runs


def _limited(answer: HttpExchange) -> str | None:
    """Which rate limit of GitHub caused the refusal, and when it ends; None if no rate limit did."""
    if answer.headers.get("x-ratelimit-remaining") == "0":
        reset = answer.headers.get("x-ratelimit-reset", "")
        if not re.fullmatch("[0-9]{1,11}", reset):
            return phrase("its rate limit is used up")
        return phrase("its rate limit is used up until {:%H:%M} UTC", datetime.fromtimestamp(int(reset), UTC))
    after = answer.headers.get("retry-after")
    if after or answer.status == 429 or "secondary rate limit" in answer.body:
        return phrase("its secondary rate limit was met, try again in {} s", after or 60)
    return None


def _said(answer: HttpExchange) -> str:
    document = answer.document
    return f" ({document['message']})" if isinstance(document, dict) and document.get("message") else ""
