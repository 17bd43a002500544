"""`junit.xml`: the verdict for CI systems.

Source of truth: the schemas that Jenkins' xUnit plugin (junit-10) and Ant's JUnit task read; the file is valid against
both, so it keeps to what they share. Neither has properties on a test case: every check is a suite of its own, with
its id, severity, environment and phase as properties, and its targets as cases. A first suite holds the verdict, so
that a run that is NO-GO without a red check is red here too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from gli.judge.outcome import Outcome
from gli.judge.verdict import CheckLine, Verdict
from gli.report import texts, wording
from gli.report.texts import Words
from gli.report.wording import label

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAGS = {
    Outcome.FAILED: "failure",
    Outcome.BLOCKED: "failure",
    Outcome.UNKNOWN: "error",
    Outcome.MISSING: "error",
    Outcome.WAIVED: "skipped",
    Outcome.NOT_APPLICABLE: "skipped",
}


def junit(verdict: Verdict, *, language: str = "en") -> str:
    """The verdict as JUnit XML, worst check first."""
    words = texts.of(language)
    suites = Element("testsuites")
    _verdict(suites, verdict)
    by_check: dict[str, list[CheckLine]] = {}
    for line in verdict.checks:
        by_check.setdefault(line.id, []).append(line)
    for number, (check, lines) in enumerate(by_check.items(), 1):
        properties = {
            "check": check,
            "severity": lines[0].severity,
            "environment": verdict.environment,
            "phase": lines[0].phase,
        }
        _suite(suites, number, check, verdict, properties, [_case(verdict, line, words) for line in lines])
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def _verdict(suites: Element, verdict: Verdict) -> None:
    case = Element("testcase", name="verdict", classname=_clean(f"{verdict.environment}.verdict"), time="0.0000")
    if not verdict.go:
        reasons = [_clean(r) for r in verdict.reasons]
        failure = SubElement(case, "failure", message=reasons[0] if reasons else verdict.verdict, type="NO-GO")
        failure.text = "\n".join(reasons)
    properties = {
        "verdict": verdict.verdict,
        "environment": verdict.environment,
        "phase": verdict.phase or "all",
        "vantage": verdict.vantage,
        "finished": verdict.finished,
        "expires": verdict.expires,
        "catalogue_sha256": verdict.suite.catalogue_sha256,
    }
    if covered := wording.covered(verdict, texts.of("en")):
        properties["coverage"] = covered
    _suite(suites, 0, "verdict", verdict, properties, [case])


def _suite(
    suites: Element, number: int, name: str, verdict: Verdict, properties: dict[str, str], cases: Sequence[Element]
) -> None:
    """One suite, with its children in the order that Ant's schema wants."""
    found = {tag: sum(case.find(tag) is not None for case in cases) for tag in ("failure", "error", "skipped")}
    suite = SubElement(
        suites,
        "testsuite",
        name=name,
        package="gli",
        id=str(number),
        timestamp=f"{datetime.fromisoformat(verdict.started):%Y-%m-%dT%H:%M:%S}",
        hostname="localhost",
        tests=str(len(cases)),
        failures=str(found["failure"]),
        errors=str(found["error"]),
        skipped=str(found["skipped"]),
        time=f"{sum(float(case.get('time', 0)) for case in cases):.4f}",
    )
    held = SubElement(suite, "properties")
    for key, value in properties.items():
        SubElement(held, "property", name=key, value=_clean(value))
    suite.extend(cases)
    SubElement(suite, "system-out")
    SubElement(suite, "system-err")


def _case(verdict: Verdict, line: CheckLine, words: Words) -> Element:
    case = Element(
        "testcase",
        name=_clean(label(line)),
        classname=_clean(f"{verdict.environment}.{line.id}"),
        time=f"{line.duration_s:.4f}",
    )
    tag = _TAGS.get(line.outcome)
    if tag is None:
        return case
    message, expected, seen = line.message, line.expected, line.seen
    if line.blocked_by:
        message = f"{words['blocked by']} {line.blocked_by}: {message}"
        expected, seen = None, message
    if line.outcome is Outcome.WAIVED:
        message = f"{words['waived']}: {wording.acceptance(line, words)}: {message}"
    detail = SubElement(case, tag, message=_clean(message))
    if tag != "skipped":
        detail.set("type", line.outcome.value)
        detail.text = _clean(
            "\n".join(f"{word}: {text}" for word, text in wording.said(expected, seen or message, line.hint, words))
        )
    return case


def _clean(text: str) -> str:
    """The text without characters that XML 1.0 forbids."""
    return _NOT_XML.sub("\ufffd", text)
