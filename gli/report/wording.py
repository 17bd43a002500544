"""Texts that several reports share: counts, comparisons, sign-offs, and which checks get a line of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gli.common.sentences import listed
from gli.judge.coverage import State
from gli.judge.outcome import Outcome
from gli.judge.verdict import CheckLine, ItemLine, RootCause, SinceLast, Verdict
from gli.report import korean
from gli.report.texts import Words

GREEN_ITEMS = ("passed", "waived", "not-applicable")


def label(line: CheckLine | RootCause) -> str:
    """`api-health[api]`."""
    return str(line.key)


def scope(verdict: Verdict, words: Words) -> str:
    """What was judged: `stg, pre-deploy`."""
    judged = f"{verdict.environment}, {words[verdict.phase or 'all phases']}"
    return f"{judged}, {words['replayed']}" if verdict.replayed else judged


def said(expected: str | None, seen: str, hint: str, words: Words) -> Iterator[tuple[str, str]]:
    """What a red says, a pair of word and text each: what was expected and seen, and what to do."""
    if expected is not None:
        yield words["expected"], expected
    yield words["seen"], seen
    if hint:
        yield words["to do"], hint


def some(labels: Sequence[str], words: Words, most: int = 5) -> str:
    """The first few labels, and how many more there are."""
    return korean.said(listed(labels, most=most), words.language) if labels else ""


def counts(verdict: Verdict, words: Words) -> str:
    """`1 failed, 314 passed`, worst first."""
    told = (words["count"].format(n=n, what=words[outcome]) for outcome, n in verdict.counts.items())
    return ", ".join(told) or words["nothing judged"]


def warnings(verdict: Verdict, words: Words) -> str | None:
    """The number of reds that are only warnings, as text; None without a warning."""
    n = sum(line.severity == "warn" and line.outcome.red for line in verdict.checks)
    return words["warnings"].format(n=n) if n else None


def covered(verdict: Verdict, words: Words) -> str | None:
    """`31 of 155 checks (20 %), 4 of 17 parts`, and which parts are not verified; None in old verdicts."""
    found = verdict.coverage
    if found is None:
        return None
    absent = found.named("absent")
    said = words["covered"].format(
        judged=found.judged,
        checks=found.checks,
        percent=found.percent,
        verified=len(found.named("verified")),
        parts=len(found.parts) - len(absent),
    )
    states: tuple[State, ...] = ("not-verified", "absent", "left-out")
    named = [f"{words[state]}: {', '.join(found.named(state))}" for state in states if found.named(state)]
    return "; ".join([said, *named])


def compared(since: SinceLast, words: Words) -> str:
    """`1 new, 2 fixed`; empty where nothing was or is red."""
    parts = {"new": since.new, "still": since.still, "fixed": since.fixed}
    return ", ".join(words["count"].format(n=len(labels), what=words[key]) for key, labels in parts.items() if labels)


def comparisons(verdict: Verdict, words: Words) -> Iterator[tuple[str, SinceLast]]:
    """Each comparison with a difference, with its name."""
    for name, since in (("since the last run", verdict.since_last), ("since pre-deploy", verdict.since_pre_deploy)):
        if since is not None and (since.new or since.still or since.fixed):
            yield words[name], since


def other_reasons(verdict: Verdict) -> list[str]:
    """The reasons that the lines of red checks and roots do not tell already: an incomplete run, missing cases, ..."""
    told = ("failed", "unknown", "blocked") if verdict.root_causes else ("failed", "unknown")
    if not verdict.held_by:
        return list(verdict.reasons)
    return [str(r.message) for r in verdict.held_by if r.kind not in told]


def symptoms(verdict: Verdict) -> list[CheckLine]:
    """The failed and unknown checks that are no root: their cause could not be observed."""
    roots = {r.key for r in verdict.root_causes}
    noted = (Outcome.FAILED, Outcome.UNKNOWN)
    return [c for c in verdict.checks if c.outcome in noted and c.key not in roots]


def waived(verdict: Verdict) -> list[CheckLine]:
    return [line for line in verdict.checks if line.outcome is Outcome.WAIVED]


def retried(verdict: Verdict) -> list[str]:
    """The labels of the checks that passed on a later attempt."""
    return [label(line) for line in verdict.checks if line.outcome is Outcome.PASSED and line.attempts > 1]


def acceptance(line: CheckLine, words: Words) -> str:
    """Who accepted a waived failure, until when and why."""
    w = line.waiver
    return words["waiver"].format(owner=w.owner, expires=w.expires, reason=w.reason) if w else words["waived"]


def not_applicable(lines: Iterable[CheckLine]) -> dict[str, list[str]]:
    """Each reason why checks do not apply, with their ids."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        if line.outcome is Outcome.NOT_APPLICABLE:
            ids = reasons.setdefault(line.message, [])
            if line.id not in ids:
                ids.append(line.id)
    return reasons


def headings(items: Iterable[ItemLine]) -> dict[str, list[ItemLine]]:
    """The items under their headings, both in their order."""
    found: dict[str, list[ItemLine]] = {}
    for item in items:
        found.setdefault(item.heading, []).append(item)
    return found


def sign_off(item: ItemLine, words: Words) -> str | None:
    """Who signed an item; None if it needs no signature."""
    if item.sign_off is None:
        return None
    n, needed = len(item.sign_off.by), item.sign_off.needed
    if not n:
        return words["unsigned"].format(needed=needed)
    return words["signed"].format(by=", ".join(item.sign_off.by), n=n, needed=needed)


@dataclass(frozen=True)
class Root:
    """A root cause, and what its own case says of it."""

    cause: RootCause
    expected: str | None
    seen: str
    holds: bool
    """Whether the root, or a case that it explains, holds the verdict; a warning does not."""
    before_deploy: bool
    cells: tuple[str, ...]
    """In a merged verdict: the cells that saw the root."""

    def headed(self, words: Words) -> str:
        """`root cause`, or `warning` if the root does not hold the verdict."""
        return words["root cause" if self.holds else "warning"]

    def said(self, words: Words) -> Iterator[tuple[str, str]]:
        """What was expected and seen, from where, and what to do, a pair of word and text each."""
        found = [*said(self.expected, self.seen, self.cause.hint, words)]
        return iter([*found[:-1], (words["vantage"], ", ".join(self.cells)), found[-1]] if self.cells else found)


def roots(verdict: Verdict) -> list[Root]:
    """The root causes, worst first: what holds the verdict before what only warns."""
    lines = {label(c): c for c in verdict.checks}
    found = []
    for cause in verdict.root_causes:
        own = lines.get(label(cause))
        about = [lines[name] for name in (label(cause), *cause.explains) if name in lines]
        holds = not about or any(c.severity == "block" and c.outcome.red for c in about)
        expected, seen = (own.expected, own.seen) if own is not None else (None, "")
        before, cells = (own.before_deploy, own.cells) if own is not None else (False, ())
        found.append(Root(cause, expected, seen or cause.message, holds, before, cells))
    return sorted(found, key=lambda r: not r.holds)
