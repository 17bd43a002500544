"""`report.html`: one run as one page that can be opened offline, years later.

A pure function of the verdict, its records and the topology of its environment. The page is one file. Without its
script everything can be read but the facts, which the script shows from the data inside the page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any

from gli.judge.outcome import Outcome
from gli.judge.verdict import CheckLine, Verdict
from gli.observe.engine.observation import Record
from gli.report import drawing, texts, waterfall, web, wording
from gli.report.secret_places import MASK
from gli.report.topology import Topology

NOTHING: Mapping[str, str] = MappingProxyType({})
VISITS = "page_visits"
"""The fact with the pages that were opened in a browser."""
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_FOLDED = (Outcome.PASSED, Outcome.NOT_APPLICABLE)
_SCRIPT_WORDS = (
    *("outcome", "severity", "phase", "blocked by", "to do", "proves", "duration", "not recorded"),
    *("shown", "only part", "holds the verdict", "warning", "tries", "requests"),
)


@dataclass(frozen=True)
class Row:
    """One check of the list, with the result of its comparison."""

    index: int
    line: CheckLine
    label: str
    since: str | None
    """`new` or `still`, compared with the last whole run."""


def page(
    verdict: Verdict,
    records: Sequence[Record],
    topology: Topology | None,
    language: str = "en",
    *,
    proves: Mapping[str, str] = NOTHING,
) -> str:
    """The page of one run; `topology` is None where its environment is not described any more.

    `proves` says what a check proves, by its id. Verdict and records must not hold secrets any more.
    """
    words = texts.of(language)
    rows = _rows(verdict)
    counts = Counter(row.line.outcome.value for row in rows)
    outcomes = {row.label: row.line.outcome.value for row in rows}
    drawn = drawing.with_the_rest(topology, list(outcomes)) if topology else None
    facts = {record.fact: record for record in records}
    return web.render(
        "report.html",
        script="report.js",
        language=language,
        t=words,
        v=verdict,
        wording=wording,
        proves=proves,
        reasons=wording.other_reasons(verdict),
        took=_took(verdict),
        counts=counts,
        shares=web.shares(counts),
        red=sum(line.outcome.red for line in verdict.checks),
        outcomes=outcomes,
        groups=[
            (outcome.value, list(group), outcome in _FOLDED)
            for outcome, group in groupby(rows, key=lambda row: row.line.outcome)
        ],
        drawings=[("broad", drawing.broad(drawn, outcomes)), ("tall", drawing.tall(drawn, outcomes))] if drawn else [],
        pictures=_pictures(facts),
        fall=waterfall.of(list(facts.values())),
        data=_data(rows, facts, drawn, words, proves),
    )


def _visits(facts: Mapping[str, Record]) -> list[dict[str, Any]]:
    """The pages that were opened in a browser, as `gli.observe.edge.browser.PageVisit` records them."""
    record = facts.get(VISITS)
    return list(record.observation or ()) if record else []


def _pictures(facts: Mapping[str, Record]) -> list[tuple[str, str]]:
    """(address, picture in base64) of each page that has one. No picture can be redacted: one of a page with a secret
    is left out.
    """
    shown = [(visit["url"], visit.get("screenshot") or "", visit.get("text", "")) for visit in _visits(facts)]
    return [(url, picture) for url, picture, text in shown if _BASE64.fullmatch(picture) and MASK not in text]


def _without_pictures(record: Record) -> dict[str, Any]:
    whole = record.model_dump(mode="json", exclude_none=True)
    if record.fact == VISITS and record.observation:
        whole["observation"] = [{k: v for k, v in visit.items() if k != "screenshot"} for visit in record.observation]
    return whole


def _unfolded(line: CheckLine, words: Mapping[str, str]) -> dict[str, Any]:
    """The data of a check that the script shows."""
    whole = line.model_dump(mode="json", exclude={"expected", "seen"})
    return {**whole, "phase": words.get(line.phase, line.phase)}


def _took(verdict: Verdict) -> float | None:
    try:
        return web.seconds_between(verdict.started, verdict.finished)
    except ValueError:
        return None  # an old verdict that somebody edited still gets a page


def _rows(verdict: Verdict) -> list[Row]:
    new, still = set(verdict.since_last.new), set(verdict.since_last.still)
    rows = []
    for index, line in enumerate(sorted(verdict.checks, key=lambda c: c.outcome.rank)):
        label = wording.label(line)
        rows.append(Row(index, line, label, "new" if label in new else "still" if label in still else None))
    return rows


def _data(
    rows: Iterable[Row],
    facts: Mapping[str, Record],
    topology: Topology | None,
    words: Mapping[str, str],
    proves: Mapping[str, str],
) -> dict[str, Any]:
    """The data that the script shows; each fact stands in it once, however many checks use it."""
    nodes = topology.nodes if topology else ()
    return {
        "checks": [_unfolded(row.line, words) for row in rows],
        "facts": {name: _without_pictures(record) for name, record in facts.items()},
        "nodes": [{"name": node.name or words[f"node {node.kind}"], "cases": node.cases} for node in nodes],
        "proves": dict(proves),
        "words": {key: words[key] for key in _SCRIPT_WORDS},
        "outcomes": {outcome.value: words[outcome.value] for outcome in Outcome},
        "phases": {phase: words[f"phase {phase}"] for phase in waterfall.PHASES},
    }
