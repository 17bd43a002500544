"""What a run says of each item of a checklist and of each part of an environment, from the outcomes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from judge_rig import case

from conftest import ROOT
from gli.common.case_key import CaseKey
from gli.config import catalogue, environments
from gli.config.catalogue import Catalogue
from gli.config.checklists import Checklist, Item, Text
from gli.config.environments import Environment
from gli.config.parts import NotApplicable
from gli.judge.checklist import item_lines
from gli.judge.coverage import Coverage, coverage
from gli.judge.outcome import Outcome
from gli.judge.verdict import CheckLine, ItemLine

WORDS = Text(en="It works.", ko="동작한다.")
FAILED, UNKNOWN, PASSED, ABSENT = Outcome.FAILED, Outcome.UNKNOWN, Outcome.PASSED, Outcome.NOT_APPLICABLE


def check(id_: str, outcome: Outcome, severity: str = "block", target: str = "api") -> CheckLine:
    return CheckLine.model_validate(
        {"id": id_, "target": target, "outcome": outcome, "severity": severity, "phase": "both"}
    )


def item(**changes: object) -> Item:
    return Item.model_validate({"id": "PRE-1", "heading": "all", "text": WORDS, "checks": ("one", "two")} | changes)


def lines_of(of: Item, *checks: CheckLine, env: str = "stg", by: Sequence[str] = ()) -> tuple[ItemLine, ...]:
    """The lines of a pre-deploy checklist with one item; `by` is who signed it."""
    known = catalogue.load(ROOT)
    listed = replace(known.checklists["pre-deploy"], headings={"all": WORDS}, items={of.id: of})
    whole = Catalogue(checks=known.checks, checklists={"pre-deploy": listed}, root=ROOT)
    return item_lines(whole, environments.load(ROOT, env), "pre-deploy", checks, {of.id: by})


def told(of: Item, *checks: CheckLine, by: Sequence[str] = ()) -> ItemLine:
    (line,) = lines_of(of, *checks, by=by)
    return line


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ((PASSED, PASSED), "passed"),
        ((PASSED, FAILED), "failed"),
        ((UNKNOWN, FAILED), "failed"),
        ((Outcome.MISSING, FAILED), "missing"),
        ((PASSED, Outcome.WAIVED), "waived"),
        ((PASSED, ABSENT), "passed"),
        ((ABSENT, ABSENT), "not-applicable"),
        ((Outcome.WAIVED, ABSENT), "waived"),
    ],
)
def test_an_item_is_as_good_as_its_worst_check(outcomes: tuple[Outcome, Outcome], said: str) -> None:
    lines = [check(id_, outcome) for id_, outcome in zip(("one", "two"), outcomes, strict=True)]
    found = told(item(), *lines, check("other", FAILED))
    assert (found.outcome, found.checks) == (said, ("one[api]", "two[api]"))


def test_a_red_warning_holds_no_item_and_a_green_one_proves_it() -> None:
    assert told(item(), check("one", PASSED), check("two", FAILED, "warn")).outcome == "passed"
    assert told(item(), check("one", PASSED, "warn"), check("two", ABSENT)).outcome == "passed"


def test_an_item_waits_for_the_people_who_sign_it() -> None:
    signed, ada = item(people=2), ["Ada <ada@glibiz.com>"]
    lines = check("one", PASSED), check("two", PASSED)
    waiting = told(signed, *lines, by=ada)
    assert (waiting.outcome, waiting.sign_off and (waiting.sign_off.needed, waiting.sign_off.by)) == (
        "pending",
        (2, tuple(ada)),
    )
    assert told(signed, *lines, by=[*ada, "Bob <bob@glibiz.com>"]).outcome == "passed"
    assert told(signed, check("one", FAILED), check("two", PASSED), by=ada).outcome == "failed"
    assert told(signed, check("one", ABSENT), check("two", ABSENT)).outcome == "pending"
    assert told(item(checks=(), people=1)).outcome == "pending"


def test_an_item_is_asked_where_it_says() -> None:
    elsewhere = item(on="production")
    assert lines_of(elsewhere, check("one", FAILED)) == ()
    (line,) = lines_of(elsewhere, check("one", FAILED), check("two", PASSED), env="prod")
    assert line.outcome == "failed"


def test_an_item_that_is_signed_here_and_checked_elsewhere_waits_for_its_people_alone() -> None:
    assert told(item(on="production", people=1), check("one", FAILED)).outcome == "pending"


def test_an_item_that_nothing_proves_does_not_apply() -> None:
    assert told(item()).outcome == "not-applicable"


def test_there_are_no_items_without_a_counterpart_or_in_another_phase() -> None:
    known = catalogue.load(ROOT)
    staging, dev = environments.load(ROOT, "stg"), environments.load(ROOT, "dev")
    assert item_lines(known, dev, "pre-deploy", (), {}) == ()
    assert item_lines(known, staging, "on-call", (), {}) == ()
    each = [len(item_lines(known, staging, phase, (), {})) for phase in ("pre-deploy", "post-deploy", None)]
    assert each[0] and each[1] and each[2] == each[0] + each[1]


def covered(environment: Environment, outcomes: Mapping[str, Outcome]) -> Coverage:
    """The coverage of two checks of the services and one of the cache; keys are `check` or `check[target]`."""
    rows = {id_: case(id_).check for id_ in ("one", "two")}
    rows["three"] = case("three").check.model_copy(update={"each": "cache"})
    nothing: dict[str, Checklist] = {}
    keys = [
        (CaseKey(id_.partition("[")[0], id_.partition("[")[2].rstrip("]") or "api"), o) for id_, o in outcomes.items()
    ]
    return coverage(Catalogue(checks=rows, checklists=nothing, root=ROOT), environment, None, keys)


STAGING = environments.load(ROOT, "stg")


@pytest.mark.parametrize(
    ("outcomes", "judged", "percent", "states"),
    [
        ({"one": PASSED, "two": FAILED, "three": Outcome.WAIVED}, 3, 100, ["verified", "verified"]),
        ({"one": FAILED, "two": FAILED, "three": PASSED}, 3, 100, ["not-verified", "verified"]),
        ({"one": PASSED, "two": UNKNOWN, "three": Outcome.MISSING}, 1, 33, ["verified", "not-verified"]),
        ({"one": UNKNOWN, "one[ws]": PASSED, "two": Outcome.BLOCKED}, 1, 33, ["verified", "left-out"]),
        ({"one": PASSED, "two": ABSENT, "three": ABSENT}, 1, 100, ["verified", "absent"]),
        ({"one": PASSED, "two": PASSED, "two[ws]": ABSENT}, 2, 66, ["verified", "left-out"]),
        ({}, 0, 0, ["left-out", "left-out"]),
    ],
)
def test_what_was_judged_is_counted_by_check_and_part(
    outcomes: dict[str, Outcome], judged: int, percent: int, states: list[str]
) -> None:
    found = covered(STAGING, outcomes)
    assert (found.judged, found.percent) == (judged, percent)
    assert [(p.part, p.state) for p in found.parts] == list(zip(("services", "cache"), states, strict=True))
    assert found.named("verified") == [p.part for p in found.parts if p.state == "verified"]


def test_each_part_says_how_much_of_it_was_judged_and_why_not() -> None:
    found = covered(STAGING, {"one": PASSED, "two": UNKNOWN})
    assert [(p.judged, p.checks, p.why) for p in found.parts] == [(1, 2, ""), (0, 1, "[stg.cache]")]


def test_a_coverage_without_any_check_is_nothing() -> None:
    assert covered(STAGING, {"one": ABSENT, "two": ABSENT, "three": ABSENT}).percent == 0


def test_a_declared_absence_gives_its_reason_and_the_cases_that_it_covers() -> None:
    second = {"check": "two", "target": "*", "reason": "no second one", "owner": "Ada"}
    third = {"check": "three", "target": "api", "reason": "sessions are in the database", "owner": "Bob"}
    entries = tuple(NotApplicable.model_validate(each) for each in (second, third))
    environment = STAGING.model_copy(update={"not_applicable": entries})
    found = covered(environment, {"one": PASSED, "two": ABSENT, "two[ws]": ABSENT, "three": ABSENT})
    assert [(e.check, e.target, e.owner, e.cases) for e in found.not_applicable] == [
        ("two", "*", "Ada", 2),
        ("three", "api", "Bob", 1),
    ]
    assert [(p.state, p.why) for p in found.parts] == [("verified", ""), ("absent", "sessions are in the database")]


def test_a_part_that_is_declared_absent_gives_its_reason() -> None:
    found = covered(STAGING.model_copy(update={"absent": {"cache": "none is needed"}}), {"one": PASSED})
    assert [(p.state, p.why) for p in found.parts] == [("verified", ""), ("absent", "none is needed")]
