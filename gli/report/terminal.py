"""The verdict on a terminal: a summary that fits a screen, root causes first. The last line follows it: `verdict_file`.

Plain text of 80 columns that loses nothing without colour: a long word stands on a line of its own, whole. `-q` leaves
the root causes and the counts, `-qq` the last line, `-v` cuts nothing short.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from gli.judge.verdict import ItemLine, Verdict
from gli.report import texts, wording
from gli.report.texts import Words
from gli.report.wording import Root, label

WIDTH = 80
_IN_FULL, _IN_SHORT = 3, 5
"""How many root causes are shown in full, and how many more in one line each; the rest by name only."""
_MARKS = {"passed": "ok", "waived": "ok", "not-applicable": "--", "pending": "..", "unknown": "??", "missing": "??"}
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "bold": 1}
Paint = Callable[[str, str], str]


def plain(text: str, colour: str) -> str:
    """The text without colour."""
    return text


def coloured(text: str, colour: str) -> str:
    """The text in a colour of ANSI terminals."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def paint_of(setting: str) -> Paint:
    """How to colour for pytest's `--color` (`yes`, `no`, `auto`): on a terminal only, and not against `NO_COLOR`."""
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") if setting == "auto" else setting == "yes"
    return coloured if wanted else plain


def say(lines: Iterable[str]) -> None:
    """Prints lines, none of them a command for a CI runner, also where the terminal's encoding lacks a character."""
    encoding = sys.stdout.encoding or "utf-8"
    printed = (no_command(part) for line in lines for part in line.split("\n"))
    text = "\n".join(printed).encode(encoding, "backslashreplace").decode(encoding)
    print(text, flush=True)


def no_command(line: str) -> str:
    """The line, unless a CI runner would take it for a command: GitHub's begin with `::` or `##[`."""
    bare = line.lstrip()
    return line.replace(bare, f"{bare[:1]} {bare[1:]}", 1) if bare.startswith(("::", "##[")) else line


def summary(
    verdict: Verdict, report: str, *, language: str = "en", verbosity: int = 0, paint: Paint = plain
) -> Iterator[str]:
    """The lines of the summary, without the verdict's own line."""
    if verbosity < -1:
        return
    words = texts.of(language)
    yield _rule(verdict, words, paint)
    yield from _roots(verdict, words, verbosity, paint)
    most = len(verdict.checks) if verbosity > 0 else _IN_SHORT
    lines = wording.symptoms(verdict)
    for line in lines[:most]:
        yield from wrapped(f"{words[line.outcome.value]}: {label(line)}: {line.message}")
    if lines[most:]:
        yield from wrapped("  " + wording.some([label(c) for c in lines[most:]], words))
    for reason in wording.other_reasons(verdict):
        yield from wrapped(reason)
    if verbosity >= 0:
        yield from _asides(verdict, words, most, paint)
        yield from _checklist(verdict.checklist, words, verbosity, paint)
    yield from _counted(verdict, words, verbosity, most)
    yield f"{words['report']}: {report}"


def refusal(sentence: str, report: str, *, language: str = "en") -> Iterator[str]:
    """The lines of a run that asked nothing, because its identity is not the expected one."""
    words = texts.of(language)
    yield from wrapped(f"{words['error']}: {sentence}")
    yield words["not asked"]
    yield f"{words['report']}: {report}"


def _rule(verdict: Verdict, words: Words, paint: Paint) -> str:
    title = f" {words[verdict.verdict]}: {wording.scope(verdict, words)} "
    left = (WIDTH - columns(title)) // 2
    rule = "=" * left + title + "=" * (WIDTH - columns(title) - left)
    return paint(rule, "green" if verdict.go else "red")


def _roots(verdict: Verdict, words: Words, verbosity: int, paint: Paint) -> Iterator[str]:
    """The first roots in full, more of them and the warnings in a line each, the rest by name."""
    roots = wording.roots(verdict)
    in_full = [r for r in roots if verbosity > 0 or r.holds][: None if verbosity > 0 else _IN_FULL]
    for root in in_full:
        yield from _root(root, words, verbosity, paint)
    others = [r for r in roots if r not in in_full]
    for root in others[:_IN_SHORT]:
        yield from wrapped(f"{_headed(root, words, paint)}: {_short(root.cause.message)}")
    for holds, word in ((True, "root causes"), (False, "warning")):
        names = [label(r.cause) for r in others[_IN_SHORT:] if r.holds == holds]
        if names:
            yield from wrapped(f"{words[word].upper()} {', '.join(names)}")


def _short(message: str) -> str:
    """At most two lines of a message; the report and `-v` have all of it."""
    return message if len(message) <= 2 * WIDTH else f"{message[: 2 * WIDTH]}..."


def _headed(root: Root, words: Words, paint: Paint) -> str:
    return f"{paint(root.headed(words).upper(), 'red' if root.holds else 'yellow')} {label(root.cause)}"


def _root(root: Root, words: Words, verbosity: int, paint: Paint) -> Iterator[str]:
    early = f" ({words['before the deploy']})" if root.before_deploy else ""
    yield from wrapped(_headed(root, words, paint) + early)
    for word, text in root.said(words):
        yield from wrapped(f"  {word}: {text}", indent=4)
    explains = root.cause.explains
    if explains:
        most = len(explains) if verbosity > 0 else 5
        yield from wrapped(f"  {words['explains']}: {wording.some(explains, words, most)}", indent=4)


def _asides(verdict: Verdict, words: Words, most: int, paint: Paint) -> Iterator[str]:
    """Accepted failures, checks with more than one attempt, and checks that do not apply, one line for each reason."""
    lines = wording.waived(verdict)
    for line in lines[:most]:
        badge = paint(f"[{words['waived'].upper()}]", "yellow")
        yield from wrapped(f"{badge} {label(line)}: {wording.acceptance(line, words)}")
    if lines[most:]:
        yield from wrapped(f"  {wording.some([label(c) for c in lines[most:]], words)}")
    retried = wording.retried(verdict)
    if retried:
        yield from wrapped(f"{words['later attempt']}: {wording.some(retried, words, most)}")
    for reason, ids in wording.not_applicable(verdict.checks).items():
        yield from wrapped(f"{words['not-applicable']}: {wording.some(ids, words, most)}: {reason}")


def _checklist(items: Iterable[ItemLine], words: Words, verbosity: int, paint: Paint) -> Iterator[str]:
    """One line a heading, and the items below it that are not green; those that only people hold up in one line."""
    unsigned: list[str] = []
    for heading, below in wording.headings(items).items():
        red = [i for i in below if i.outcome not in wording.GREEN_ITEMS]
        worst = next((i.outcome for i in red if _mark(i.outcome) == "NO"), red[0].outcome if red else "passed")
        yield from wrapped(f"{_boxed(worst, paint)} {heading} ({len(below) - len(red)}/{len(below)})", indent=5)
        for item in red:
            if item.outcome == "pending" and verbosity < 1:
                unsigned.append(item.item)
                continue
            signed = wording.sign_off(item, words)
            why = f" ({signed})" if signed and item.outcome == "pending" else ""
            yield from wrapped(f"     {item.item} {words[item.outcome]}: {item.text}{why}", indent=9)
    if unsigned:
        yield from wrapped(f"{words['to sign']}: {', '.join(unsigned)}")


def _mark(outcome: str) -> str:
    return _MARKS.get(outcome, "NO")


def _boxed(outcome: str, paint: Paint) -> str:
    mark = _mark(outcome)
    return paint(f"[{mark}]", {"ok": "green", "NO": "red"}.get(mark, "yellow"))


def _counted(verdict: Verdict, words: Words, verbosity: int, most: int) -> Iterator[str]:
    for name, since in wording.comparisons(verdict, words):
        yield f"{name}: {wording.compared(since, words)}"
        for key, labels in (("new", since.new), ("fixed", since.fixed)):
            if labels and verbosity >= 0:
                yield from wrapped(f"  {words[key]}: {wording.some(labels, words, most)}", indent=4)
    covered = wording.covered(verdict, words)
    if covered and verbosity >= 0:
        yield from wrapped(f"{words['coverage']}: {covered}")
    if verdict.coverage and verbosity > 0:
        for line in verdict.coverage.parts:
            why = f": {line.why}" if line.why else ""
            yield from wrapped(f"  {line.part} {line.judged}/{line.checks} {words[line.state]}{why}", indent=4)
    warned = wording.warnings(verdict, words)
    yield from wrapped(wording.counts(verdict, words) + (f" ({warned})" if warned else ""))


def columns(text: str) -> int:
    """How many columns a terminal takes for the text: two for each wide character, none for colours."""
    shown = _without_colours(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in shown)


def _without_colours(text: str) -> str:
    if "\x1b" not in text:
        return text
    head, *rest = text.split("\x1b[")
    return head + "".join(part.partition("m")[2] for part in rest)


def wrapped(text: str, *, indent: int = 2) -> list[str]:
    """The text in lines of at most `WIDTH` columns, continued with an indent; no word is broken."""
    lead = len(text) - len(text.lstrip(" "))
    lines, line = [], " " * lead
    for n, word in enumerate(text.split()):
        if n and columns(line) + 1 + columns(word) > WIDTH:
            lines.append(line)
            line = " " * indent + word
        else:
            line += word if n == 0 else f" {word}"
    return [*lines, line]
