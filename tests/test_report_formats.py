"""Every format of every outcome: golden files, and the properties that readers of each format rely on."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema
from prometheus_client.parser import text_string_to_metric_families
from sample_verdicts import FOLDER, FORMATS, OPENED, SAMPLES, check, golden, reasons_of, root, verdict

from conftest import ROOT
from gli.judge.outcome import Outcome
from gli.judge.verdict import Verdict
from gli.report import junit, markdown, prometheus, schema, terminal, texts
from gli.report.wording import label

SCREEN = 40
HOSTILE = 'a|b `c` <script>alert(1)</script> @everyone [x](http://x) # *b* _i_ "q" & \x1b[31m\x00 \ud7ff 한글'


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", SAMPLES)
def test_each_format_of_each_outcome_is_its_golden_file(name: str, kind: str) -> None:
    assert FORMATS[kind](name) == golden(name, kind).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_verdict_reads_back_as_it_was_written(name: str) -> None:
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert Verdict.model_validate({**document, "schema_": document["schema"]}) == SAMPLES[name][1]


def many(n: int, message: str = "expected 200, saw 503") -> Verdict:
    """A verdict with `n` failed checks, which are all roots."""
    lines = [check(f"check-{i:04}[api]", "failed", message, hint="Mend it.") for i in range(n)]
    return verdict(*lines, reasons=reasons_of(*lines), root_causes=tuple(root(line) for line in lines))


def shown(verdict: Verdict, **options: object) -> list[str]:
    return list(terminal.summary(verdict, "reports/stg/x/report.html", **options))  # type: ignore[arg-type]


# ── terminal ──


@pytest.mark.parametrize("language", texts.LANGUAGES)
@pytest.mark.parametrize("name", SAMPLES)
def test_the_summary_has_eighty_columns_and_fits_a_screen(name: str, language: str) -> None:
    lines = shown(SAMPLES[name][1], language=language)
    assert [line for line in lines if terminal.columns(line) > 80] == []
    assert len(lines) < SCREEN


def test_every_root_cause_is_named_however_many_there_are() -> None:
    lines = shown(many(40))
    assert len(lines) < SCREEN
    assert {f"check-{i:04}[api]" for i in range(40)} <= set(re.findall(r"check-\d+\[api\]", "\n".join(lines)))


def test_a_long_word_is_not_broken_so_that_search_finds_it() -> None:
    arn = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:loadbalancer/app/stg-gli-alb/50dc6c495c0c9188"
    assert any(arn in line for line in shown(many(1, f"expected healthy targets, saw none behind {arn}")))


def test_no_information_is_lost_without_colour() -> None:
    plain = shown(SAMPLES["no-go"][1])
    coloured = shown(SAMPLES["no-go"][1], paint=terminal.coloured)
    assert any("\x1b[" in line for line in coloured)
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == plain


def test_quiet_keeps_the_blocking_failures_and_verbose_shortens_nothing() -> None:
    no_go = SAMPLES["no-go"][1]
    said = {v: "\n".join(shown(no_go, verbosity=v)) for v in (-2, -1, 0, 1)}
    assert said[-2] == ""
    assert OPENED.partition(", saw ")[2] in said[-1]
    assert "Staging has been tested" in said[0]
    assert "Staging has been tested" not in said[-1]
    pending = "Exploratory and business acceptance"
    assert (pending in said[1], pending in said[0], "PRE-05" in said[0]) == (True, False, True)
    refused = SAMPLES["refused"][1]
    assert "and 12 more" in "\n".join(shown(refused))
    assert "more" not in "\n".join(shown(refused, verbosity=1))


# ── Markdown ──


@pytest.mark.parametrize("language", texts.LANGUAGES)
@pytest.mark.parametrize("message", ["expected 200, saw 503", "한글 " * 200, "x" * 100_000])
def test_the_report_stays_below_githubs_limit_and_names_omissions(message: str, language: str) -> None:
    report = markdown.markdown(many(2_000, message), language=language)
    assert len(report.encode()) <= markdown.COMMENT_LIMIT
    named = len(set(re.findall(r"`check-\d+\[api\]`", report)))
    left_out = [int(n) for n in re.findall(r"(\d+)(?: more left out here|건 생략)", report)]
    assert named < 2_000
    assert 2_000 - named in left_out
    assert report.count("<details>") == report.count("</details>")


def test_a_report_below_the_limit_is_complete() -> None:
    assert "more left out here" not in markdown.markdown(many(50))


def test_text_from_a_target_is_not_markup() -> None:
    report = markdown.markdown(many(1, HOSTILE))
    (row,) = [line for line in report.splitlines() if line.startswith("| `check-0000")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 5
    assert "<script>" not in report
    assert r"\[x\](http" in report
    assert "@everyone" not in report


def test_chat_gets_one_line() -> None:
    for name, (_, sample) in SAMPLES.items():
        said = markdown.line(sample)
        assert "\n" not in said, name
        assert said.startswith(f"{sample.verdict} {sample.environment}, ")


# ── JUnit ──


@pytest.fixture(scope="module")
def xsd() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


@pytest.mark.parametrize("name", [*SAMPLES, "hostile"])
def test_junit_is_valid_and_adds_up(name: str, xsd: xmlschema.XMLSchema) -> None:
    sample = many(3, HOSTILE) if name == "hostile" else SAMPLES[name][1]
    text = junit.junit(sample)
    xsd.validate(text)
    suites = ElementTree.fromstring(text.encode()).findall("testsuite")
    for suite in suites:
        cases = suite.findall("testcase")
        found = [sum(c.find(tag) is not None for c in cases) for tag in ("failure", "error", "skipped")]
        assert [len(cases), *found] == [int(suite.attrib[k]) for k in ("tests", "failures", "errors", "skipped")]
    first, *checks = suites
    assert (first.find("testcase/failure") is None) == sample.go
    assert sum(len(s.findall("testcase")) for s in checks) == len(sample.checks)


def test_junit_has_id_severity_environment_and_phase_as_properties() -> None:
    suites = ElementTree.fromstring(junit.junit(SAMPLES["no-go"][1]).encode()).findall("testsuite")
    found = {s.attrib["name"]: {p.attrib["name"]: p.attrib["value"] for p in s.iter("property")} for s in suites}
    wanted = {"check": "tls-chain-valid", "severity": "warn", "environment": "stg", "phase": "both"}
    assert found["tls-chain-valid"] == wanted


def test_junit_never_shows_a_red_as_skipped() -> None:
    for _, sample in SAMPLES.values():
        cases = {c.attrib["name"]: c for c in ElementTree.fromstring(junit.junit(sample).encode()).iter("testcase")}
        for line in sample.checks:
            case = cases[label(line)]
            red = case.find("failure") is not None or case.find("error") is not None
            assert red == line.outcome.red


# ── Prometheus ──


def test_a_textfile_collector_can_read_the_metrics() -> None:
    for _, sample in SAMPLES.values():
        families = {f.name: f for f in text_string_to_metric_families(prometheus.prometheus(sample))}
        assert {f.type for f in families.values()} == {"gauge"}
        assert all(f.documentation for f in families.values())
        samples = [(s.name, tuple(sorted(s.labels.items()))) for f in families.values() for s in f.samples]
        assert len(samples) == len(set(samples))
        assert all(s.timestamp is None for f in families.values() for s in f.samples)
        assert families["gli_verdict_go"].samples[0].value == sample.go
        counts = {s.labels["outcome"]: s.value for s in families["gli_cases"].samples}
        assert {o: n for o, n in counts.items() if n} == sample.counts
        assert set(counts) == {o.value for o in Outcome}
        red = [s.labels["check"] for s in families["gli_check_green"].samples if not s.value]
        assert sorted(red) == sorted(c.id for c in sample.checks if c.outcome.red)


def test_a_label_can_hold_any_target_name() -> None:
    odd = 'a"b\\c\nd'
    text = prometheus.prometheus(verdict(check(f"odd[{odd}]", "failed", "x")))
    families = {f.name: f for f in text_string_to_metric_families(text)}
    assert odd in {s.labels["target"] for s in families["gli_check_green"].samples}


# ── JSON Schema ──


def test_the_published_schema_matches_the_model() -> None:
    published = json.loads((ROOT / "docs/verdict.schema.json").read_text(encoding="utf-8"))
    assert published == schema.schema(), "write it again: python -m gli.report.schema > docs/verdict.schema.json"
    jsonschema.Draft202012Validator.check_schema(published)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_verdict_is_valid_and_a_broken_one_is_not(name: str) -> None:
    validator = jsonschema.Draft202012Validator(schema.schema())
    document = SAMPLES[name][1].document()
    validator.validate(json.loads(json.dumps(document)))
    for broken in ({"schema": 2}, {"verdict": "MAYBE"}, {"checks": [{"id": "x"}]}, {"reasons": "none"}):
        assert not validator.is_valid(document | broken), broken


def test_a_verdict_with_contradicting_reasons_and_data_is_invalid() -> None:
    document = SAMPLES["no-go"][1].document()
    with pytest.raises(ValueError, match="reasons and held_by do not say the same"):
        Verdict.of(document | {"reasons": document["reasons"][1:]})


# ── words ──


def test_every_word_exists_in_both_languages() -> None:
    english, korean = texts.of("en"), texts.of("ko")
    assert set(english) == set(korean)
    assert all(english.values())
    assert all(korean.values())
    named = re.compile(r"\{(\w+)\}")
    assert {k: sorted(named.findall(v)) for k, v in english.items()} == {
        k: sorted(named.findall(v)) for k, v in korean.items()
    }


@pytest.mark.parametrize(
    ("option", "lang", "language"),
    [
        (None, "ko_KR.UTF-8", "ko"),
        (None, "en_US.UTF-8", "en"),
        (None, "", "en"),
        ("en", "ko_KR", "en"),
        ("ko", "C", "ko"),
    ],
)
def test_the_option_sets_the_language_before_the_environment(
    option: str | None, lang: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", lang)
    assert texts.chosen(option) == language


def test_wrapping_counts_wide_characters_twice_and_loses_no_word() -> None:
    text = "한국어 문장은 한 글자가 두 칸을 차지하므로 " * 12
    lines = terminal.wrapped(text, indent=4)
    assert all(terminal.columns(line) <= 80 for line in lines)
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert all(terminal.columns(a) + terminal.columns(b.split()[0]) >= 80 for a, b in pairwise(lines))
