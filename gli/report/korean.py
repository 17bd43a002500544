"""A verdict in Korean: every text for people in it, made again from what it was made from.

Source of truth: `phrases.KOREAN` for what the suite says, `checklists/` for remedies and items. Text without Korean
stays English: an environment whose checks have no Korean still has its report.
"""

from __future__ import annotations

from collections.abc import Mapping

from gli.common.sentences import Phrase, filled, of, saw
from gli.config.catalogue import Catalogue
from gli.config.check import Check
from gli.judge.verdict import CheckLine, ItemLine, Verdict


def said(text: str, language: str) -> str:
    """The text in the language; a value, and a phrase without a translation, stay as they are."""
    if language != "ko":
        return str(text)
    from gli.report.phrases import KOREAN  # a large table: only where somebody reads Korean

    return _said(of(text), KOREAN)


def _said(phrase: Phrase, table: Mapping[str, str]) -> str:
    values = [_said(value, table) for value in phrase.values]
    if phrase.template:
        return filled(table.get(phrase.template, phrase.template), values)
    return ", ".join(values) or str(phrase)


def translated(verdict: Verdict, language: str, catalogue: Catalogue | None) -> Verdict:
    """The verdict with every text for people in the language.

    Remedies and items come from the catalogue, where it is the one that the run had.
    """
    if language != "ko":
        return verdict
    own = catalogue is not None and catalogue.sha256 == verdict.suite.catalogue_sha256
    catalogue = catalogue if own else None
    held_by = tuple(r.model_copy(update={"message": of(said(r.message, language))}) for r in verdict.held_by)
    lines = {c.key: _line(c, language, catalogue) for c in verdict.checks}
    roots = tuple(
        r.model_copy(
            update={
                "message": lines[r.key].message if r.key in lines else r.message,
                "hint": _remedy(r.check, r.hint, catalogue),
            }
        )
        for r in verdict.root_causes
    )
    return verdict.model_copy(
        update={
            "held_by": held_by,
            "reasons": tuple(str(r.message) for r in held_by) or verdict.reasons,
            "checks": tuple(lines.values()),
            "root_causes": roots,
            "checklist": tuple(_item(i, catalogue) for i in verdict.checklist),
        }
    )


def _line(line: CheckLine, language: str, catalogue: Catalogue | None) -> CheckLine:
    seen = of(said(line.seen, language))
    expected = of(said(line.expected, language)) if line.expected is not None else None
    message = said(line.seen if line.expected is None else saw(line.seen, expected=line.expected), language)
    texts = {"message": message or line.message, "expected": expected, "seen": seen}
    return line.model_copy(update={**texts, "hint": _remedy(line.id, line.hint, catalogue)})


def _remedy(check: str, given: str, catalogue: Catalogue | None) -> str:
    known = catalogue.checks.get(check) if catalogue is not None and given else None
    return remedied(known, given) if known else given


def remedied(check: Check, given: str) -> str:
    """The remedy that a verdict names for a check, in Korean: its own, or that of a run that could not look."""
    from gli.report.phrases import KOREAN

    return KOREAN.get(given) or check.remedy.of("ko")


def _item(line: ItemLine, catalogue: Catalogue | None) -> ItemLine:
    for checklist in catalogue.checklists.values() if catalogue is not None else ():
        item = checklist.items.get(line.item)
        if item is not None:
            heading = checklist.headings[item.heading].of("ko")
            return line.model_copy(update={"heading": heading, "text": item.text.of("ko")})
    return line
