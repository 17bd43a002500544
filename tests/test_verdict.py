"""The document of a verdict: what it says of itself, how it is compared, and what it refuses to be read from."""

from __future__ import annotations

from typing import Any

import pytest
from judge_rig import verdict

from gli.common.verdict_file import digest
from gli.judge.judgement import compared, marked
from gli.judge.outcome import Outcome
from gli.judge.verdict import CheckLine, Joined, JudgingFile, Reason, SinceLast, Verdict

TIMES = {
    "started": "2026-01-31T08:00:00.000Z",
    "finished": "2026-01-31T08:00:03.000Z",
    "expires": "2026-01-31T10:00:03.000Z",
}


def held(*kinds: str) -> Verdict:
    """A NO-GO with a reason of each kind."""
    reasons = tuple(Reason(kind=kind, message=f"it is {kind}") for kind in kinds)
    return verdict(verdict="NO-GO", reasons=[str(r.message) for r in reasons], held_by=reasons)


def line(id_: str, outcome: Outcome) -> CheckLine:
    return CheckLine(id=id_, target="api", outcome=outcome, severity="block", phase="both")


def test_a_verdict_is_go_only_if_it_says_go() -> None:
    assert verdict().go
    assert not held("failed").go


def test_a_verdict_is_held_by_the_kinds_of_its_reasons() -> None:
    assert held("failed", "missing").is_held_by("missing", "partial")
    assert not held("failed", "missing").is_held_by("partial")
    assert not verdict().is_held_by("failed")


@pytest.mark.parametrize("kind", ["incomplete", "partial", "cell"])
def test_a_run_that_did_not_judge_every_case_is_not_whole(kind: str) -> None:
    assert not held("failed", kind).whole


def test_a_run_that_judged_every_case_is_whole() -> None:
    assert verdict().whole
    assert held("failed").whole
    assert not verdict(verdict="NO-GO", reasons=["an old one"]).whole, "an old verdict does not say"


def test_reasons_and_their_data_must_agree() -> None:
    with pytest.raises(ValueError, match="do not say the same"):
        verdict(verdict="NO-GO", reasons=["one"], held_by=(Reason(kind="failed", message="another"),))
    assert verdict(verdict="NO-GO", reasons=["an old one"]).held_by == ()


def test_a_merged_verdict_is_as_old_as_its_first_go_and_as_new_as_its_last_no_go() -> None:
    unsaid = dict.fromkeys(("account", "region", "signer"))
    part = {
        "cell": "one",
        "run": "r",
        "digest": "d",
        "verdict": "GO",
        "vantage": "vpc",
        "machine": "",
        **unsaid,
        **TIMES,
    }
    merged = [Joined.model_validate(part | {"finished": f"2026-01-31T08:00:0{n}.000Z"}) for n in (5, 4, 6)]
    assert verdict(merged=merged).as_of == "2026-01-31T08:00:04.000Z"
    late = verdict(verdict="NO-GO", reasons=["x"], merged=merged)
    assert late.as_of == "2026-01-31T08:00:06.000Z"
    assert verdict().as_of == TIMES["finished"]


@pytest.mark.parametrize("document", [None, [], ["schema"], "schema", {}, {"verdict": "GO"}])
def test_a_document_without_a_schema_is_no_verdict(document: Any) -> None:
    with pytest.raises(ValueError, match="no schema"):
        Verdict.of(document)


def test_a_document_of_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema"):
        Verdict.of(verdict().document() | {"schema": 2})


def test_a_verdict_is_the_same_after_it_was_written_and_read() -> None:
    whole = held("failed", "unknown")
    assert Verdict.of(whole.document()) == whole
    assert whole.document()["schema"] == 1
    assert whole.document()["replayed"] is False


def test_the_digest_covers_everything_but_itself_in_any_order() -> None:
    document = verdict(environment="스테이징").document()
    assert digest(document) == digest(document | {"digest": "another"}) == digest(dict(reversed(document.items())))
    assert digest(document) != digest(document | {"verdict": "NO-GO"})
    assert digest({"b": 1, "a": "가"}) == "cf8b59121111d9e821e16c8e4eafa6e5b9d5cc94028f1b8648835956c6855516"


def test_secrets_leave_the_text_and_no_field_that_is_read_by_programs() -> None:
    red = line("failed", Outcome.FAILED).model_copy(update={"message": "failed with failed", "hint": "failed"})
    clean = verdict(checks=(red,)).without(lambda text: text.replace("failed", "***"))
    assert (clean.checks[0].message, clean.checks[0].hint) == ("*** with ***", "***")
    assert (clean.checks[0].id, clean.checks[0].outcome) == ("failed", Outcome.FAILED)


def test_reds_are_compared_with_an_earlier_run() -> None:
    before = [
        line("a", Outcome.FAILED),
        line("b", Outcome.FAILED),
        line("c", Outcome.PASSED),
        line("d", Outcome.WAIVED),
    ]
    now = [line("a", Outcome.UNKNOWN), line("b", Outcome.PASSED), line("c", Outcome.FAILED), line("d", Outcome.WAIVED)]
    assert compared(before, now) == SinceLast(new=("c[api]",), still=("a[api]", "d[api]"), fixed=("b[api]",))


def test_a_check_that_was_red_before_the_deployment_is_marked() -> None:
    lines = (line("a", Outcome.FAILED), line("b", Outcome.FAILED))
    found = marked(lines, SinceLast(new=("b[api]",), still=("a[api]",)))
    assert [c.before_deploy for c in found] == [True, False]
    assert [c.before_deploy for c in marked(lines, None)] == [False, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest": {"app": {"branch": "stg", "commit": "c"}}},
        {"finished": "yesterday"},
        {"started": "2026-01-31T08:00:00"},
        {"machine_s": float("inf")},
        {"clock_behind_s": float("nan")},
        {"verdict": "MAYBE"},
    ],
)
def test_a_verdict_that_no_run_writes_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        verdict(**changes)


def test_a_verdict_never_changes() -> None:
    with pytest.raises(ValueError, match="frozen"):
        verdict().verdict = "NO-GO"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        JudgingFile(module="m", path="p", sha256="s").path = "q"  # type: ignore[misc]
