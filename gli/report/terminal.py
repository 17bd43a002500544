"""The verdict on a terminal: root causes first, then what else is not green, then one line that says it all.

Plain text that fits 80 columns and loses nothing without colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from gli.judge.outcome import Outcome
from gli.judge.verdict import CheckLine, RootCause, Verdict, some

_WIDTH = 80
_NOTED = (Outcome.FAILED, Outcome.UNKNOWN)


def summary(verdict: Verdict, report: str) -> Iterator[str]:
    """The lines of the summary, without the verdict's own line."""
    known = {(r.check, r.target) for r in verdict.root_causes}
    for root in verdict.root_causes:
        yield from _root(root)
    for line in verdict.checks:
        if line.outcome in _NOTED and (line.id, line.target) not in known:
            yield from _paragraph(f"{line.outcome.value}: {line.id}[{line.target}]: {line.message}")
    yield from _not_applicable(verdict.checks)
    told = tuple(f"{line.id}[{line.target}] {line.outcome.value}:" for line in verdict.checks)
    for reason in verdict.reasons:
        if not reason.startswith(told):
            yield from _paragraph(reason)
    since = verdict.since_last
    if since.new or since.fixed:
        parts = {"new": since.new, "still": since.still, "fixed": since.fixed}
        yield "since the last whole run: " + ", ".join(f"{len(v)} {word}" for word, v in parts.items() if v)
    counts = ", ".join(f"{n} {outcome}" for outcome, n in verdict.counts.items()) or "nothing judged"
    warned = sum(line.severity == "warn" and line.outcome in (*_NOTED, Outcome.BLOCKED) for line in verdict.checks)
    yield f"{counts}" + (f" ({warned} of them warnings, which do not hold a verdict)" if warned else "")
    yield f"report: {report}"


def refusal(sentence: str, report: str) -> Iterator[str]:
    """The lines of a run that asked nothing, because it is not who it should be."""
    yield from _paragraph(f"ERROR: {sentence}")
    yield "Nothing else was asked."
    yield f"report: {report}"


def last_line(environment: str, verdict: str) -> str:
    """`VERDICT stg: GO`, the last line of every run."""
    return f"VERDICT {environment}: {verdict}"


def _root(root: RootCause) -> Iterator[str]:
    yield from _paragraph(f"ROOT CAUSE {root.check}[{root.target}]", indent="  ")
    yield from _paragraph(f"  {root.message}", indent="  ")
    yield from _paragraph(f"  to do: {root.hint}", indent="  ")
    if root.explains:
        yield from _paragraph(f"  explains: {some(root.explains)}", indent="  ")


def _not_applicable(lines: tuple[CheckLine, ...]) -> Iterator[str]:
    """One line for each reason, with the checks that it stands for."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        if line.outcome is Outcome.NOT_APPLICABLE:
            reasons.setdefault(line.message, []).append(line.id)
    for reason, ids in reasons.items():
        yield from _paragraph(f"not applicable: {', '.join(ids)}: {reason}")


def _paragraph(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent + "  ", break_on_hyphens=False) or [""]
