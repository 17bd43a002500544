"""`report.md` for a pull request and a job's summary, and one line for chat.

GitHub takes 65,536 characters in a comment and 1 MiB in a job's summary: what does not fit is left out row by row, from
the least important section up, and counted.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gli.judge.outcome import Outcome
from gli.judge.verdict import ItemLine, Verdict
from gli.report import texts, wording
from gli.report.texts import Words
from gli.report.wording import Root, label

COMMENT_LIMIT = 65_536
_LONGEST = 1_000
"""The most characters of one message. A longer sentence quotes a document, which the facts hold too."""
_SPECIAL = re.compile(r"([\\`*_\[\]|#~])")
_MENTION = re.compile(r"(?<!\w)@(?=\w)")


@dataclass(frozen=True)
class _Section:
    """Rows between a head and a tail; each row is whole or left out."""

    head: str
    rows: Sequence[str]
    tail: str = ""


def markdown(verdict: Verdict, *, language: str = "en", limit: int = COMMENT_LIMIT) -> str:
    """The report in GitHub's Markdown, of at most `limit` bytes of UTF-8 (at least 4,000)."""
    words = texts.of(language)
    return _fitted([*_sections(verdict, words)], words, limit)


def line(verdict: Verdict, *, language: str = "en") -> str:
    """The verdict in one line, for chat: what holds it, and the counts."""
    words = texts.of(language)
    said = f"{verdict.verdict} {wording.scope(verdict, words)}: "
    holding = [r.cause for r in wording.roots(verdict) if r.holds and not verdict.go]
    if holding:
        more = f" ({words['and more'].format(n=len(holding) - 1)})" if holding[1:] else ""
        said += f"{label(holding[0])}{more}: {holding[0].message}; "
    elif not verdict.go:
        said += "; ".join(wording.other_reasons(verdict)[:1]) + "; "
    return " ".join(f"{said}{wording.counts(verdict, words)}".split())


def _sections(verdict: Verdict, words: Words) -> Iterator[_Section]:
    """What the report says, the most important first."""
    yield _Section(f"## {words[verdict.verdict]}: {_text(wording.scope(verdict, words))}\n\n", ())
    yield _Section("", [_root(root, words) for root in wording.roots(verdict)])
    reasons = wording.other_reasons(verdict)
    yield _Section("", [f"- {_text(r)}\n" for r in reasons], "\n")
    waived = [
        f"- **[{words['waived']}]** `{label(c)}`: {_text(wording.acceptance(c, words))}\n"
        for c in wording.waived(verdict)
    ]
    waived += [
        f"- **[{words['not-applicable']}]** {_text(wording.some(ids, words))}: {_text(reason)}\n"
        for reason, ids in wording.not_applicable(verdict.checks).items()
    ]
    yield _Section("", waived, "\n")
    warned = wording.warnings(verdict, words)
    rows = [wording.counts(verdict, words) + (f" ({warned})" if warned else "") + "\n\n"]
    covered = wording.covered(verdict, words)
    rows += [f"{words['coverage']}: {_text(covered)}\n\n"] if covered else []
    retried = wording.retried(verdict)
    rows += [f"{words['later attempt']}: {_text(wording.some(retried, words))}\n\n"] if retried else []
    rows += [f"{name}: {wording.compared(since, words)}\n\n" for name, since in wording.comparisons(verdict, words)]
    yield _Section("", rows)
    if verdict.checklist:
        yield _Section(f"### {words['checklist']}\n\n", [*_checklist(verdict.checklist, words)])
    yield from _tables(verdict, words)
    times = (("started", verdict.started), ("finished", verdict.finished), ("expires", verdict.expires))
    facts = [f"{words[key]} {value}" for key, value in times] + [
        f"{words['vantage']} {words.get(verdict.vantage, verdict.vantage)}"
    ]
    parts = [f"{part.cell or '?'} {part.run}" for part in verdict.merged]
    facts += [f"{words['merged']} {wording.some(parts, words, most=20)}"] if parts else []
    yield _Section("", [f"<sub>{_text(', '.join(facts))}</sub>\n"])


def _tables(verdict: Verdict, words: Words) -> Iterator[_Section]:
    """The checks that are not green, the coverage and the commits, folded."""
    red = [c for c in verdict.checks if c.outcome.red or c.outcome is Outcome.WAIVED]
    if red:
        rows = [
            f"| `{label(c)}` | {words[c.outcome.value]} | {words[c.severity]} | {_text(c.message)} |\n" for c in red
        ]
        columns = [words[k] for k in ("check", "outcome", "severity", "message")]
        yield _Section(_folded(f"{words['not green']} ({len(red)})", columns), rows, "\n</details>\n\n")
    if verdict.coverage:
        rows = [
            f"| {line.part} | {words[line.state]} | {line.judged}/{line.checks} | {_text(line.why)} |\n"
            for line in verdict.coverage.parts
        ]
        columns = [words[k] for k in ("part", "state", "checks", "why")]
        yield _Section(_folded(words["coverage"], columns), rows, "\n</details>\n\n")
    if verdict.manifest:
        rows = [f"| {_text(name)} | `{part['commit'][:12]}` |\n" for name, part in verdict.manifest.items()]
        yield _Section(_folded(words["manifest"], [words["repository"], words["commit"]]), rows, "\n</details>\n\n")


def sentences(lines: Sequence[str]) -> str:
    """Sentences as a list, each as plain text."""
    return "".join(f"- {_text(line)}\n" for line in lines)


def _folded(title: str, columns: Sequence[str]) -> str:
    rule = "|".join("---" for _ in columns)
    return f"<details><summary>{_text(title)}</summary>\n\n| {' | '.join(columns)} |\n|{rule}|\n"


def _root(root: Root, words: Words) -> str:
    early = f" ({words['before the deploy']})" if root.before_deploy else ""
    rows = [f"**{words['root cause'] if root.holds else words['warning']}** `{label(root.cause)}`{early}\n"]
    rows += [f"- {word}: {_text(text)}\n" for word, text in root.said(words)]
    if root.cause.explains:
        rows.append(f"- {words['explains']}: {_text(wording.some(root.cause.explains, words))}\n")
    return "".join(rows) + "\n"


def _checklist(items: Sequence[ItemLine], words: Words) -> Iterator[str]:
    for heading, below in wording.headings(items).items():
        rows = [f"**{_text(heading)}**\n"]
        for item in below:
            done = "x" if item.outcome in wording.GREEN_ITEMS else " "
            signed = wording.sign_off(item, words)
            said = _text(f"{item.text}" + (f" ({signed})" if signed else ""))
            how = "" if item.outcome == "passed" else f" **{words[item.outcome]}**"
            rows.append(f"- [{done}] {item.item}{how}: {said}\n")
        yield "".join(rows) + "\n"


def _text(text: str) -> str:
    """The text as plain text in Markdown: no markup, no HTML, no mention, one line, not endless."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... (+{len(text) - _LONGEST})"
    one = html.escape(" ".join(text.split()), quote=False)
    return _MENTION.sub("@<!-- -->", _SPECIAL.sub(r"\\\1", one))


def _fitted(sections: Sequence[_Section], words: Words, limit: int) -> str:
    """The sections, with as many rows of each as fit; what comes first is kept first."""
    fixed = [_size(s.head) + _size(s.tail) + _size(_left_out(len(s.rows), words)) for s in sections]
    free = limit - sum(fixed)
    parts: list[str] = []
    for section in sections:
        kept: list[str] = []
        for row in section.rows:
            if _size(row) > free:
                break
            kept.append(row)
            free -= _size(row)
        missing = len(section.rows) - len(kept)
        if section.rows or section.head:
            parts += [section.head, *kept, _left_out(missing, words) if missing else "", section.tail]
    return "".join(parts).rstrip("\n") + "\n"


def _left_out(n: int, words: Words) -> str:
    return f"\n{words['left out'].format(n=n, file='verdict.json')}\n"


def _size(text: str) -> int:
    return len(text.encode())
