"""A Korean report is completely Korean: only names, ids and values are Latin."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from conftest import ROOT, Project, Sandbox, row
from gli.common.sentences import Phrase, listed, phrase, read, saw
from gli.config import catalogue, environments
from gli.report import korean, texts
from gli.report.phrases import KOREAN
from gli.run.check_hooks import NO_ASSERTIONS

CHECKS = [*ROOT.glob("tests_smoke/*.py"), *ROOT.glob("tests_infra/*.py")]
SOURCES = [*CHECKS, *ROOT.glob("gli/**/*.py")]
NAMED_ELSEWHERE = {
    *("expected {}, saw {}", "{} and {} more", "nothing", "{} failed: {}", "{} unknown: {}"),
    *("passed", "not-applicable", NO_ASSERTIONS, "no AWS credentials for [{}]"),
}
"""Templates that a constant or a variable holds where the phrase is made."""
LATIN = re.compile(r"[A-Za-z][A-Za-z0-9_./:=+-]*[A-Za-z0-9/]|[A-Za-z]")
SENTENCE = re.compile(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b")


def calls(path: Path, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def templates() -> set[str]:
    """The template of every phrase in the source, in the form of the catalogue's keys."""
    found = set()
    for path in SOURCES:
        for call in calls(path, "phrase"):
            first = call.args[0]
            for part in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
                if isinstance(part, ast.Constant):
                    fields = sum(field is not None for _, field, _, _ in Formatter().parse(part.value))
                    found.add(phrase(part.value, *[_Anything()] * fields).template)
    return found


class _Anything:
    def __format__(self, spec: str) -> str:
        return "x"


def fields(template: str) -> list[str]:
    named = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    return sorted(field or str(at) for at, field in enumerate(named))


def test_phrases_and_korean_translations_match_one_to_one() -> None:
    said = templates() | NAMED_ELSEWHERE
    assert {t for t in said - KOREAN.keys() if re.search("[A-Za-z]", t)} == set()
    assert KOREAN.keys() - said == set()


def test_a_translation_has_the_same_values_and_only_names_in_latin() -> None:
    for english, said in KOREAN.items():
        assert fields(said) == fields(english), english
        plain = re.sub(r"\{\d*\}|`[^`]*`", " ", said)
        assert set(LATIN.findall(plain)) <= set(LATIN.findall(english)), english
        assert not re.search(r"[a-z]{2,} [a-z]{2,}", plain), english
        assert re.search("[가-힣]", plain) or not SENTENCE.search(english), english


def test_checks_use_phrases_for_their_messages() -> None:
    """A bare string in `saw` is a value, so English words in it would stay English in every report."""
    for path in CHECKS:
        for call in calls(path, "saw", "listed", "either", "phrase"):
            for text in bare(call):
                assert not re.search(r"[a-z]{2,} |^[a-z]{3,}$", text), f"{path.name}: {text!r} should be a phrase"


def test_probes_use_phrases_for_unknown_reasons() -> None:
    for path in [*CHECKS, *ROOT.glob("gli/observe/**/*.py"), *ROOT.glob("gli/run/*.py")]:
        for call in calls(path, "unknown", "Unknown"):
            said = [text for text in bare(call) if " " in text.replace("{}", "")]
            assert said == [], f"{path.name}: {said} should be a phrase"


def bare(call: ast.Call) -> Iterator[str]:
    """The strings that are possible arguments of a call, without those inside other calls."""
    template = isinstance(call.func, ast.Name) and call.func.id == "phrase"
    waiting: list[ast.expr] = [*call.args[template:], *(k.value for k in call.keywords)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
        elif isinstance(node, ast.BoolOp):
            waiting += node.values
        elif isinstance(node, ast.IfExp):
            waiting += [node.body, node.orelse]
        elif isinstance(node, ast.List | ast.Tuple):
            waiting += node.elts
        elif isinstance(node, ast.GeneratorExp | ast.ListComp):
            waiting.append(node.elt)


def test_our_own_catalogue_is_complete_in_korean() -> None:
    known = catalogue.load(ROOT)
    for check in known.checks.values():
        assert re.search("[가-힣]", check.proves.ko), check.id
        assert re.search("[가-힣]", check.remedy.ko), check.id
    for checklist in known.checklists.values():
        for text in (*checklist.headings.values(), *(i.text for i in checklist.items.values())):
            assert re.search("[가-힣]", text.ko), text.en


def test_a_missing_translation_leaves_english_in_the_report(project: Project) -> None:
    rows = "".join(row(i) for i in ("first-check", "second-check"))
    english = "\n".join(line for line in rows.splitlines() if not line.startswith("remedy.ko"))
    project.write("checklists/checks.toml", english)
    project.checks(
        "def test_first_check(target):\n    'It is quiet.'\n    assert False, 'noise'\n"
        "def test_second_check(target): pass\n"
    )
    ran = project.run("--lang=ko")
    assert ran.code == 1
    assert "  관측: noise\n  할 일: Mend first-check.\n" in ran.output
    page = (project.root / "reports/own/latest/report.html").read_text(encoding="utf-8")
    assert "It is quiet." in page


# ── phrases ──


def test_a_phrase_is_english_text_and_keeps_its_template_and_values() -> None:
    said = saw(phrase("{} open to {}", 5432, listed(["a", "b"])), expected=phrase("{} to take only {}", "db", "api"))
    assert said == "expected db to take only api, saw 5432 open to a and b"
    assert korean.said(said, "en") == str(said)
    assert korean.said(said, "ko") == "기대: db이(가) api만 허용, 관측: 5432 포트가 a, b에 열림"
    assert korean.said(read(said.document()), "ko") == korean.said(said, "ko")


def test_text_from_a_target_is_not_a_template() -> None:
    hostile = "{0} {} {x.__class__} {{"
    assert korean.said(phrase("200 from {}", hostile), "ko") == f"{hostile}에서 200"


@pytest.mark.parametrize(
    "made",
    [
        {"text": "all is well", "template": "{} is down", "values": ["api"]},
        {"text": "all is well", "template": "{", "values": []},
        {"text": "all is well", "template": "{1}", "values": ["all is well"]},
        {"text": "all is well", "values": ["all", "well"]},
    ],
)
def test_a_phrase_that_contradicts_its_text_becomes_plain_text(made: dict[str, Any]) -> None:
    assert read(made).document() == "all is well"


def test_a_secret_across_a_template_and_a_value_is_hidden_in_every_language() -> None:
    def hide(text: str) -> str:
        return text.replace("password=hunter2", "***")

    said = phrase("login with password={}", "hunter2").without(hide)
    assert "hunter2" not in str(said.document())
    assert phrase("{} days", "hunter2").without(lambda t: t.replace("hunter2", "***")).values == ("***",)


# ── a whole report ──


class _Text(HTMLParser):
    """The visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.parts = 0, list[str]()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def shown(page: str) -> str:
    reader = _Text()
    reader.feed(page)
    return " ".join(reader.parts)


def leaves(said: Phrase) -> Iterator[str]:
    """The values in a phrase."""
    for value in said.values:
        yield from leaves(value)
    if not said.values and not said.template:
        yield str(said)


def names(value: Any) -> Iterator[str]:
    """Every text in a verdict, without its sentences."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("message", "hint", "reasons", "text", "heading", "seen", "expected"):
                yield key
                yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)
    elif isinstance(value, str):
        yield value


def korean_names() -> set[str]:
    """The Latin words of the Korean catalogue: names of products and protocols, and literal commands."""
    known = catalogue.load(ROOT)
    said = [*KOREAN.values(), *texts.of("ko").values()]
    said += [t for c in known.checks.values() for t in (c.proves.ko, c.remedy.ko)]
    for checklist in known.checklists.values():
        said += [t.ko for t in (*checklist.headings.values(), *(i.text for i in checklist.items.values()))]
    return {word for text in said for word in LATIN.findall(text)}


FAULTS = (
    "database-open-to-an-address",
    "cache-memory-full",
    "alarm-missing",
    "circuit-breaker-off",
    "cdn-index-deleted",
)


def test_in_a_korean_report_of_a_no_go_only_names_are_latin(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.ask("break", *FAULTS)
    try:
        ran = sandbox.verify_often("--lang=ko", "-v", reports=tmp_path)
    finally:
        sandbox.ask("heal", *reversed(FAULTS))
    assert ran.code == 1
    assert ran.verdict is not None
    assert ran.folder is not None
    environment = environments.load(ROOT, "sandbox").model_dump(mode="json")
    values = {*names(ran.verdict), *names(environment), str(ran.folder / "report.html")}
    for line in (*ran.verdict["checks"], *ran.verdict["held_by"]):
        for key in ("expected", "seen", "message"):
            if line.get(key) and not (key == "message" and "id" in line):
                values |= set(leaves(read(line[key])))
    assert not [v for v in values if SENTENCE.search(v)], "a value that is a sentence"
    records = map(json.loads, (ran.folder / "facts.jsonl").read_text(encoding="utf-8").splitlines()[1:])
    values |= {name for record in records for name in (record["probe"], record["target"])}
    junit = (ran.folder / "junit.xml").read_text(encoding="utf-8")
    said = {
        "terminal": ran.output[ran.output.index("NO-GO(배포 불가)") :],
        "report.md": (ran.folder / "report.md").read_text(encoding="utf-8").replace("\\", ""),
        "junit.xml": " ".join(a or b for a, b in re.findall('message="([^"]*)"|>([^<]*)<', junit)),
        "report.html": shown((ran.folder / "report.html").read_text(encoding="utf-8")),
    }
    for name, text in said.items():
        assert strangers(text, values) == set(), name


def strangers(text: str, values: Iterable[str]) -> set[str]:
    """The Latin words of a report that are not values of its verdict, names, units or commits."""
    known = {word for value in values for word in LATIN.findall(value)} | korean_names()
    plain = re.sub(r"</?[a-z!][^>]*>|\[x\]|\b[0-9a-f]{12,40}\b", " ", text)
    fixed = {"GO", "NO", "NO-GO", "VERDICT", "ok", "report.html", "verdict.json", "s", "ms", "min"}
    return set(LATIN.findall(plain)) - known - fixed
