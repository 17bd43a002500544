"""A verdict as annotations of a GitHub Actions run: one for each root cause, none for what a root cause explains.

Source of truth: GitHub's "Workflow commands for GitHub Actions" (`::error`, `::warning`).
"""

from __future__ import annotations

from gli.judge.verdict import Verdict


def lines(verdict: Verdict) -> str:
    """One line for each root cause; an error where it blocks, a warning otherwise."""
    severities = {check.key: check.severity for check in verdict.checks}
    return "".join(
        f"::{'warning' if severities.get(cause.key) == 'warn' else 'error'} "
        f"title={_property(str(cause.key))}::{_data(f'{cause.message} {cause.hint}'.strip())}\n"
        for cause in verdict.root_causes
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
