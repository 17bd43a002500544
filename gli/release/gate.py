"""The gate: reads the newest verdict of an environment and says yes or no, with the reason.

A verdict is worth what it was earned on: this environment and phase, this catalogue, these commits, not long ago.
`decide` is a pure function; `newest` and `heads` fetch what it needs. Exit codes as everywhere: 0 yes, 1 refused, 3
can't tell.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gli.environments import Environment
from gli.judge.verdict import GO, Verdict
from gli.observe.git import release
from gli.observe.observation import Unobserved
from gli.observe.observatory import Observatory

YES, REFUSED, CANNOT_TELL = 0, 1, 3


@dataclass(frozen=True)
class Decision:
    """Yes or no, as an exit code and one sentence."""

    code: int
    reason: str


def decide(
    verdict: Verdict | None,
    *,
    environment: str,
    phase: str | None,
    catalogue_sha256: str,
    commits: Mapping[str, str] | None,
    now: datetime,
) -> Decision:
    """Whether the verdict lets a promotion through; the first thing that speaks against it is the reason.

    `commits` are the heads of the environment's branch now; None where they could not be read.
    """
    again = f"run pytest --env={environment}" + (f" --phase={phase}" if phase else "")
    if verdict is None:
        return Decision(CANNOT_TELL, f"there is no readable verdict for {environment}: {again}")
    what = f"the newest verdict for {environment} ({verdict.finished})"
    if verdict.environment != environment:
        return Decision(REFUSED, f"{what} was earned on {verdict.environment}: {again}")
    if any(reason.startswith("incomplete:") for reason in verdict.reasons):
        return Decision(CANNOT_TELL, f"{what} is of a run that did not come to its end: {again}")
    if not verdict.go:
        first, more = verdict.reasons[0], len(verdict.reasons) - 1
        return Decision(REFUSED, f"{what} is NO-GO: {first}" + (f" (and {more} more reasons)" if more else ""))
    if now > datetime.fromisoformat(verdict.expires):
        return Decision(CANNOT_TELL, f"{what} expired at {verdict.expires}: {again}")
    if verdict.suite.catalogue_sha256 != catalogue_sha256:
        return Decision(REFUSED, f"{what} was judged by another catalogue than checklists/checks.toml is now: {again}")
    return _same_commits(verdict, commits, what, again)


def _same_commits(verdict: Verdict, commits: Mapping[str, str] | None, what: str, again: str) -> Decision:
    if commits is None:
        return Decision(CANNOT_TELL, "the heads of the repositories can't be read now, so nobody knows what would land")
    earned = {repository: part["commit"] for repository, part in verdict.manifest.items()}
    moved = sorted(r for r in {*earned, *commits} if earned.get(r) != commits.get(r))
    if moved:
        return Decision(REFUSED, f"{what} is of other commits than the heads now of {', '.join(moved)}: {again}")
    return Decision(YES, f"{what} is {GO}, of the {len(earned)} commits that are the heads now")


def newest(reports: Path, environment: str, phase: str | None) -> Verdict | None:
    """The newest verdict of the environment and phase, a later NO-GO before an earlier GO; None where there is none.

    A file that is no verdict counts as the newest that can't be read: it is never passed over for an older one.
    """
    found = sorted(
        (p for p in (reports / environment).glob("*/verdict.json") if not p.parent.is_symlink()), reverse=True
    )
    for path in found:
        verdict = read(path)
        if verdict is None or verdict.phase == phase:
            return verdict
    return None


def read(path: Path) -> Verdict | None:
    """A `verdict.json`; None where it is none, or of another schema."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Verdict.model_validate({**document, "schema_": document.pop("schema")})
    except (OSError, ValueError, KeyError, AttributeError, TypeError, ValidationError):
        return None


def heads(environment: Environment) -> Mapping[str, str] | None:
    """The head of the environment's branch in every repository; None where one of them can't be read."""
    if environment.git is None:
        return {}
    observatory = Observatory(environment)
    try:
        commits = observatory.wait(release).commits
    except Unobserved:
        return None
    finally:
        observatory.close()
    return commits if len(commits) == len(environment.repositories) else None
