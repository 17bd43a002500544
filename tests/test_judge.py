"""The judge as a pure function: when it says GO, what a root is, and that it never hides a failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_rig import GREEN, case, judged_graphs, result

from gli.config.check import Case
from gli.config.waivers import Waiver
from gli.judge.judgement import judge, reconciled
from gli.judge.outcome import Outcome, Result, worst
from gli.judge.triage import related, triage
from gli.judge.verdict import Accepted


def outcomes(cases: list[Case], reports: list[Result]) -> dict[str, Outcome]:
    marked, _ = triage(cases, reconciled(cases, reports))
    return {str(key): r.outcome for key, r in marked.items()}


def test_every_case_passed_is_go() -> None:
    one, two = case("one"), case("two")
    judged = judge([one, two], [result(one, Outcome.PASSED), result(two, Outcome.PASSED)])
    assert (judged.verdict, judged.reasons, judged.counts) == ("GO", (), {"passed": 2})


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN, Outcome.BLOCKED])
def test_one_red_blocking_case_is_no_go(outcome: Outcome) -> None:
    one, two = case("one"), case("two")
    assert judge([one, two], [result(one, Outcome.PASSED), result(two, outcome)]).verdict == "NO-GO"


def test_a_case_that_did_not_report_is_missing_whatever_its_severity() -> None:
    one, two = case("one"), case("two", severity="warn")
    judged = judge([one, two], [result(one, Outcome.PASSED)])
    assert judged.verdict == "NO-GO"
    assert [(r.kind, r.labels, str(r.message)) for r in judged.reasons] == [
        ("missing", ("two[api]",), "1 of 2 cases did not report: two[api]")
    ]


def test_nothing_to_judge_is_no_go() -> None:
    assert judge([], []).verdict == "NO-GO"


def test_a_report_without_a_case_is_ignored() -> None:
    one = case("one")
    assert judge([one], [result(case("two"), Outcome.PASSED)]).verdict == "NO-GO"


def test_the_worse_of_two_reports_on_a_case_counts() -> None:
    one = case("one")
    assert worst([result(one, Outcome.PASSED), result(one, Outcome.FAILED)]).outcome is Outcome.FAILED


@pytest.mark.parametrize("words", [{"interrupted": "Ctrl-C"}, {"partial": "1 of 2"}])
def test_an_incomplete_run_is_no_go_even_if_all_passed(words: dict[str, str]) -> None:
    one = case("one")
    assert judge([one], [result(one, Outcome.PASSED)], **words).verdict == "NO-GO"


def test_a_symptom_is_blocked_by_its_root() -> None:
    root, middle, leaf = case("root"), case("middle", causes=("root",)), case("leaf", causes=("middle",))
    reports = [result(c, Outcome.FAILED) for c in (root, middle, leaf)]
    judged = judge([leaf, middle, root], reports)
    assert [(r.check, r.explains) for r in judged.root_causes] == [("root", ("leaf[api]", "middle[api]"))]
    assert {c.id: c.blocked_by for c in judged.checks} == {"root": None, "middle": "root[api]", "leaf": "root[api]"}


def test_three_independent_failures_are_three_roots() -> None:
    cases = [case(name) for name in ("one", "two", "three")]
    judged = judge(cases, [result(c, Outcome.FAILED) for c in cases])
    assert [r.check for r in judged.root_causes] == ["one", "two", "three"]


def test_a_failure_of_another_target_is_not_a_cause() -> None:
    root, leaf = case("root", target="user"), case("leaf", target="admin", causes=("root",))
    assert outcomes([root, leaf], [result(root, Outcome.FAILED), result(leaf, Outcome.FAILED)]) == {
        "root[user]": Outcome.FAILED,
        "leaf[admin]": Outcome.FAILED,
    }


def test_a_failure_of_a_shared_part_explains_every_target() -> None:
    root, leaf = case("root", target="db", shared=True), case("leaf", causes=("root",))
    found = outcomes([root, leaf], [result(root, Outcome.FAILED), result(leaf, Outcome.UNKNOWN)])
    assert found["leaf[api]"] is Outcome.BLOCKED


def test_a_root_that_takes_no_connection_explains_as_a_failed_one() -> None:
    root, leaf = case("root"), case("leaf", causes=("root",))
    silent = result(root, Outcome.UNKNOWN).but(cause="no-connection")
    judged = judge([root, leaf], [silent, result(leaf, Outcome.FAILED)])
    assert {c.id: c.outcome for c in judged.checks} == {"root": Outcome.UNKNOWN, "leaf": Outcome.BLOCKED}
    (told,) = judged.root_causes
    assert (judged.verdict, told.check, told.explains) == ("NO-GO", "root", ("leaf[api]",))
    assert told.hint.startswith("Let the connection through: ")


def test_an_unobserved_cause_explains_nothing() -> None:
    root, leaf = case("root"), case("leaf", causes=("root",))
    judged = judge([root, leaf], [result(root, Outcome.UNKNOWN), result(leaf, Outcome.FAILED, "expected 1, saw 2")])
    line = next(c for c in judged.checks if c.id == "leaf")
    assert line.outcome is Outcome.FAILED
    assert line.message == "expected 1, saw 2 (cause unknown: root[api] could not be observed)"


def test_unknown_cases_with_the_same_reason_are_one_root() -> None:
    one, two, three = case("one"), case("two"), case("three", severity="warn")
    reports = [result(c, Outcome.UNKNOWN, "ecs:DescribeServices is denied") for c in (one, two, three)]
    judged = judge([one, two, three], reports)
    assert [(r.check, r.explains) for r in judged.root_causes] == [("one", ("two[api]", "three[api]"))]
    assert judged.counts == {"unknown": 3}


def test_expected_and_seen_values_stay_data_up_to_the_verdict() -> None:
    """Also if a value contains the separating words, or looks like a reason of the run."""
    one = case("one")
    said = {"expected": "x, saw y", "seen": "incomplete: b"}
    judged = judge([one], [Result(check="one", target="api", outcome=Outcome.FAILED, **said)])
    line = judged.checks[0]
    assert (line.expected, line.seen, line.message) == (
        "x, saw y",
        "incomplete: b",
        "expected x, saw y, saw incomplete: b",
    )
    assert [r.kind for r in judged.reasons] == ["failed"]


def test_a_blocker_does_not_match_a_check_with_a_longer_name() -> None:
    short, long, blocked = case("api-health"), case("api-health-deep"), case("other")
    reports = [result(c, Outcome.FAILED) for c in (short, long)]
    reports.append(result(blocked, Outcome.BLOCKED).but(blocked_by=long.key))
    judged = judge([short, long, blocked], reports)
    assert {r.check: r.explains for r in judged.root_causes} == {
        "api-health": (),
        "api-health-deep": ("other[api]",),
    }


def test_only_a_failed_cause_explains_where_another_one_is_unknown() -> None:
    seen, unseen, leaf = case("seen"), case("unseen"), case("leaf", causes=("seen", "unseen"))
    reports = [result(seen, Outcome.FAILED), result(unseen, Outcome.UNKNOWN), result(leaf, Outcome.FAILED)]
    judged = judge([seen, unseen, leaf], reports)
    assert {r.check: r.explains for r in judged.root_causes} == {"seen": ("leaf[api]",), "unseen": ()}
    judged = judge([seen, unseen, leaf], [result(seen, Outcome.PASSED), *reports[1:]])
    assert {r.check: r.explains for r in judged.root_causes} == {"unseen": ("leaf[api]",)}


def test_a_case_that_is_blocked_by_a_green_one_stays_blocked() -> None:
    one, other = case("one"), case("other")
    reports = [result(one, Outcome.PASSED), result(other, Outcome.BLOCKED).but(blocked_by=one.key)]
    judged = judge([one, other], reports)
    assert (judged.verdict, judged.root_causes) == ("NO-GO", ())


def test_failures_with_the_same_words_are_roots_of_their_own() -> None:
    one, two = case("one"), case("two")
    judged = judge([one, two], [result(c, Outcome.FAILED, "refused") for c in (one, two)])
    assert [r.check for r in judged.root_causes] == ["one", "two"]


API, WEB, CODE = "service api", "service web", "repository code"


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ({API}, {API}, True),
        ({API}, {WEB}, False),
        ({API, CODE}, {WEB, CODE}, False),  # two services of one repository
        ({API, CODE}, {CODE}, True),
        ({CODE}, {API, CODE}, True),
        ({CODE}, {API}, False),
        (set(), {API}, True),
        ({API}, set(), True),
    ],
)
def test_two_cases_are_related_by_what_they_are_about(one: set[str], other: set[str], are: bool) -> None:
    first, second = (replace(case("one"), subjects=frozenset(subjects)) for subjects in (one, other))
    assert related(first, second) is are


def test_a_secret_explains_only_what_needs_it() -> None:
    lost = replace(case("secret-exists", each="secrets"), subjects=frozenset({"stg/cache"}))
    login = replace(case("login", causes=("secret-exists",)), uses=frozenset({"stg/db"}))
    reports = [result(one, Outcome.FAILED) for one in (lost, login)]
    assert [r.check for r in judge([lost, login], reports).root_causes] == ["secret-exists", "login"]
    login = replace(login, uses=frozenset({"stg/db", "stg/cache"}))
    assert [r.check for r in judge([lost, login], reports).root_causes] == ["secret-exists"]


def test_a_warning_is_a_root_and_holds_nothing() -> None:
    one, two = case("one", severity="warn"), case("two")
    judged = judge([one, two], [result(one, Outcome.FAILED), result(two, Outcome.PASSED)])
    assert (judged.verdict, [r.check for r in judged.root_causes]) == ("GO", ["one"])


def test_reasons_name_root_causes_before_other_reds() -> None:
    root, leaf, last = case("root"), case("leaf", causes=("root",)), case("last")
    reports = [result(root, Outcome.UNKNOWN), result(leaf, Outcome.UNKNOWN), result(last, Outcome.UNKNOWN)]
    judged = judge([leaf, root, last], reports)
    assert [r.labels for r in judged.reasons] == [("root[api]",), ("last[api]",), ("leaf[api]",)]


def test_a_red_case_has_the_remedy_and_a_green_one_has_none() -> None:
    one, two = case("one"), case("two")
    judged = judge([one, two], [result(one, Outcome.FAILED), result(two, Outcome.PASSED)])
    assert {c.id: (c.hint, c.attempts, c.waiver) for c in judged.checks} == {
        "one": ("Mend one.", 1, None),
        "two": ("", 1, None),
    }


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        ("access-denied", "Grant this run the right that the message names, and run it again."),
        ("throttled", "Wait a few minutes, and run it again."),
        ("slow-runner", "Run it again on a runner with less to do."),
        ("not-found", "Mend one."),
    ],
)
def test_a_run_that_could_not_look_is_mended_and_not_the_target(cause: str, remedy: str) -> None:
    judged = judge([one := case("one")], [result(one, Outcome.UNKNOWN).but(cause=cause)])
    assert (judged.checks[0].hint, judged.root_causes[0].hint) == (remedy, remedy)


WAIVER = Waiver(environment="stg", check="one", target="api", reason="known", owner="Ada", expires=date(2026, 1, 31))


def test_a_waived_failure_stays_in_the_verdict_with_its_waiver_and_remedy() -> None:
    one, two = case("one"), case("two")
    reports = [result(one, Outcome.FAILED), result(two, Outcome.PASSED)]
    judged = judge([one, two], reports, waivers={WAIVER.key: WAIVER})
    assert (judged.verdict, judged.root_causes) == ("GO", ())
    line = next(c for c in judged.checks if c.id == "one")
    assert line.waiver == Accepted(reason="known", owner="Ada", expires="2026-02-01T00:00:00.000Z")
    assert (line.outcome, line.hint) == (Outcome.WAIVED, "Mend one.")


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.BLOCKED, Outcome.MISSING])
def test_a_waiver_accepts_only_a_failure_that_was_seen(outcome: Outcome) -> None:
    one = case("one")
    judged = judge([one], [result(one, outcome)], waivers={WAIVER.key: WAIVER})
    assert (judged.verdict, judged.checks[0].outcome, judged.checks[0].waiver) == ("NO-GO", outcome, None)


def test_a_waiver_that_is_no_longer_needed_is_no_go() -> None:
    one, two = case("one"), case("two")
    reports = [result(one, Outcome.PASSED), result(two, Outcome.PASSED)]
    judged = judge([one, two], reports, waivers={WAIVER.key: WAIVER})
    assert [(r.kind, r.labels) for r in judged.reasons] == [("waiver", ("one[api]",))]
    assert judge([two], reports, waivers={WAIVER.key: WAIVER}).verdict == "GO", "a waiver of another phase"


def test_only_declared_absences_are_nothing_to_judge() -> None:
    one, two = case("one"), case("two")
    absent = [result(c, Outcome.NOT_APPLICABLE) for c in (one, two)]
    assert [r.kind for r in judge([one, two], absent).reasons] == ["nothing"]
    assert judge([one, two], [absent[0], result(two, Outcome.PASSED)]).verdict == "GO"


def test_a_result_never_changes() -> None:
    with pytest.raises(ValueError, match="frozen"):
        result(case("one"), Outcome.FAILED).outcome = Outcome.PASSED  # type: ignore[misc]


@settings(max_examples=400, deadline=None)
@given(judged_graphs())
def test_go_means_that_every_case_reported_and_every_blocking_one_is_green(
    graph: tuple[list[Case], list[Result]],
) -> None:
    cases, reports = graph
    judged = judge(cases, reports)
    known = reconciled(cases, reports)
    proven = all(r.outcome is not Outcome.MISSING for r in known.values()) and all(
        known[c.key].outcome in GREEN for c in cases if c.severity == "block"
    )
    applies = any(r.outcome is not Outcome.NOT_APPLICABLE for r in known.values())
    assert (judged.verdict == "GO") == (proven and applies)
    assert (judged.verdict == "GO") == (not judged.reasons)


@settings(max_examples=400, deadline=None)
@given(judged_graphs())
def test_blocked_never_hides_a_root(graph: tuple[list[Case], list[Result]]) -> None:
    cases, reports = graph
    known = reconciled(cases, reports)
    marked, roots = triage(cases, known)
    keys = {r.result.key for r in roots}
    for key, seen in marked.items():
        before = known[key].outcome
        assert seen.outcome is before or (
            seen.outcome is Outcome.BLOCKED and before in (Outcome.FAILED, Outcome.UNKNOWN)
        )
        if seen.blocked_by is not None:
            assert seen.blocked_by in keys
            assert marked[seen.blocked_by].outcome is Outcome.FAILED
    if any(r.outcome is Outcome.FAILED for r in known.values()):
        assert any(m.outcome is Outcome.FAILED for m in marked.values())


@settings(max_examples=200, deadline=None)
@given(judged_graphs(), st.randoms())
def test_the_order_of_the_reports_does_not_matter(graph: tuple[list[Case], list[Result]], random: object) -> None:
    cases, reports = graph
    shuffled = list(reports)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    # Two reports of the same outcome have the same message here, so that only the order differs.
    assert judge(cases, shuffled) == judge(cases, reports)
