"""The merge of cells: one verdict as a single run that sees everything would give it, and NO-GO for each way to lose a
cell."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from conftest import ROOT
from gli.common.clock import rfc3339
from gli.common.verdict_file import GO
from gli.config import catalogue, environments
from gli.config.catalogue import Catalogue
from gli.config.check import Case
from gli.config.environments import Environment
from gli.config.waivers import Waiver
from gli.judge.checklist import item_lines
from gli.judge.coverage import coverage
from gli.judge.judgement import judge
from gli.judge.merge import Given, Round
from gli.judge.outcome import Outcome, Result
from gli.judge.verdict import Reason, Suite, Verdict

NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
ACCOUNT, REGION = "123456789012", "ap-northeast-2"
TWO = {"world": {"vantage": "internet"}, "seoul": {"vantage": "vpc"}}
DATA = ("stg-gli-database", "stg-gli-redis", "stg/gli/rabbitmq")
TEN = {"world": {"vantage": "internet"}} | {f"vpc-{n}": {"vantage": "vpc", "sees": [DATA[n % 3]]} for n in range(9)}
REDS = (Outcome.FAILED, Outcome.UNKNOWN)


@cache
def known() -> Catalogue:
    return catalogue.load(ROOT)


def stg(cells: dict[str, Any], **more: Any) -> Environment:
    overlay = {"aws": {"account_id": ACCOUNT}, "cells": cells} | more
    return environments.load(ROOT, "stg", overlay=overlay)


def manifest(environment: Environment, commit: str = "a" * 40) -> dict[str, dict[str, str]]:
    return {r.name: {"branch": "stg", "commit": commit, "tree": "b" * 40} for r in environment.repositories}


def run_of(environment: Environment, cell: str, results: list[Result] | None = None, /, **changes: Any) -> Verdict:
    """The verdict of a cell's run: what it can't see is unknown, and everything else passed or is in `results`."""
    side, here = environment.as_cell(cell), environment.cells[cell]
    cases = known().cases(side, changes.get("phase"))
    unseen = [c for c in cases if not c.seen_by(here)]
    said = {r.key: r for r in results or ()} | {c.key: result(c, Outcome.UNKNOWN, cause="vantage") for c in unseen}
    whole: dict[str, Any] = {
        "run": f"20260131T085000.000-{cell}",
        "verdict": "NO-GO" if unseen else "GO",
        "reasons": ("unseen",) if unseen else (),
        "held_by": (Reason(kind="unknown", message="unseen"),) if unseen else (),
        "environment": "stg",
        "phase": None,
        "vantage": side.vantage,
        "cell": cell,
        "started": "2026-01-31T08:50:00.000Z",
        "finished": "2026-01-31T08:50:10.000Z",
        "expires": "2026-01-31T10:50:10.000Z",
        "suite": Suite(version="1", revision=None, catalogue_sha256=known().sha256),
        "account": ACCOUNT,
        "region": REGION,
        "manifest": manifest(environment),
        "reported": tuple(said.get(c.key) or result(c, Outcome.PASSED) for c in cases),
        "digest": cell,
    }
    return Verdict.model_validate(whole | changes)


def result(case: Case, outcome: Outcome, cause: str | None = None) -> Result:
    return Result(
        check=case.check.id, target=case.target, outcome=outcome, seen="" if outcome.green else "no", cause=cause
    )


def merged(environment: Environment, *given: Verdict | Given, signed: bool = False, **more: Any) -> Verdict:
    whole = [g if isinstance(g, Given) else Given(g, unchanged=True) for g in given]
    round_ = Round(known(), environment, more.pop("phase", None), whole, must_be_signed=signed, now=NOW)
    return round_.verdict("20260131T090000.000-1", waivers=more.pop("waivers", {}), signed={}, **more)


@pytest.mark.parametrize("seed", range(3))
def test_ten_cells_give_the_verdict_of_one_run_that_sees_everything(seed: int) -> None:
    """Random reds, one of them waived: outcomes, causes, reasons, roots, checklist and coverage are equal."""
    environment, chance = stg(TEN), random.Random(seed)
    cases = known().cases(environment, None)
    reds = {c.key: result(c, chance.choice(REDS)) for c in cases if chance.random() < 0.15}
    owner = {"reason": "known", "owner": "Ada", "expires": date(2026, 2, 10)}
    failed = next(key for key, r in reds.items() if r.outcome is Outcome.FAILED)
    waived = {failed: Waiver.model_construct(check=failed.check, target=failed.target, **owner)}
    single = judge(cases, [reds.get(c.key) or result(c, Outcome.PASSED) for c in cases], waivers=waived)

    verdict = merged(environment, *(run_of(environment, cell, [*reds.values()]) for cell in TEN), waivers=waived)
    assert (verdict.verdict, verdict.held_by, verdict.counts) == (single.verdict, single.reasons, single.counts)
    checks = tuple(c.model_copy(update={"cells": ()}) for c in verdict.checks)
    assert (checks, verdict.root_causes) == (single.checks, single.root_causes)
    assert verdict.coverage == coverage(known(), environment, None, ((c.key, c.outcome) for c in single.checks))
    assert verdict.checklist == item_lines(known(), environment, None, single.checks, {})
    assert set(verdict.counts) >= {Outcome.BLOCKED, Outcome.PASSED}


def test_the_cell_in_the_vpc_judges_what_the_internet_cannot_see() -> None:
    environment = stg(TWO)
    verdict = merged(environment, *(run_of(environment, cell) for cell in TWO))
    assert (verdict.verdict, verdict.reasons, verdict.vantage) == (GO, (), "internet + vpc")
    assert {c.key for c in verdict.checks} == {c.key for c in known().cases(environment, None)}
    assert [(part.cell, part.run, part.digest) for part in verdict.merged] == [
        ("world", "20260131T085000.000-world", "world"),
        ("seoul", "20260131T085000.000-seoul", "seoul"),
    ]
    assert verdict.manifest == manifest(environment)
    assert (verdict.account, verdict.region) == (ACCOUNT, REGION)


def test_of_two_cells_that_saw_a_case_the_worse_counts() -> None:
    environment = stg(TWO)
    case = next(c for c in known().cases(environment, None) if c.check.id == "api-health")
    for failing in TWO:
        runs = [run_of(environment, c, [result(case, Outcome.FAILED)] if c == failing else []) for c in TWO]
        verdict = merged(environment, *runs)
        assert [str(r.message) for r in verdict.held_by] == ["api-health[api] failed: no"]
        assert verdict.checks[0].cells == (failing,)


def test_a_case_that_no_cell_can_see_is_unknown() -> None:
    environment = stg({"seoul": {"vantage": "vpc", "sees": ["stg-gli-*"]}})
    verdict = merged(environment, run_of(environment, "seoul"))
    unseen = [c for c in verdict.checks if c.outcome is Outcome.UNKNOWN]
    assert {c.target for c in unseen} == {"stg/gli/rabbitmq"}
    assert all(str(c.seen).startswith("no cell of stg can see it: name it in the sees of one") for c in unseen)


def test_a_cell_in_another_region_is_asked_there() -> None:
    """Each cell's run asks its own region and account, and the merged verdict needs every region's identity."""
    cells = {"seoul": {"vantage": "vpc"}, "tokyo": {"vantage": "vpc", "region": "ap-northeast-1"}}
    environment = stg(cells)
    runs = [run_of(environment, "seoul"), run_of(environment, "tokyo", region="ap-northeast-1")]
    verdict = merged(environment, *runs)
    assert (verdict.reasons, verdict.region) == ((), None)
    identities = {c.target for c in verdict.checks if c.id == "aws-caller-identity"}
    assert identities == {"ap-northeast-2", "ap-northeast-1"}


Loss = Callable[[Environment], list[Verdict | Given]]
LOSSES: dict[str, tuple[Loss, str]] = {
    "lost": (lambda e: [run_of(e, "world")], "the cell seoul is lost: there is no run of it"),
    "every cell lost": (lambda e: [], "the cell world is lost: there is no run of it"),
    "twice": (
        lambda e: [run_of(e, "world"), run_of(e, "seoul"), run_of(e, "seoul")],
        "the cell seoul came 2 times, in 20260131T085000.000-seoul and 20260131T085000.000-seoul",
    ),
    "of no cell": (
        lambda e: [run_of(e, "world"), run_of(e, "seoul"), run_of(e, "seoul", cell=None, run="x")],
        "the run x is of no cell: it was made without --cell",
    ),
    "of an unknown cell": (
        lambda e: [run_of(e, "world"), run_of(e, "seoul"), run_of(e, "seoul", cell="mars", run="x")],
        "the run x is of mars, which is no cell of stg",
    ),
}
"""What is given, and the first reason of the merged verdict."""
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "expired": (
        {"finished": "2026-01-31T06:50:00.000Z", "expires": "2026-01-31T10:00:00.000Z"},
        "it expired at 2026-01-31T08:50:00.000Z",
    ),
    "from the future": ({"finished": "2026-01-31T09:02:01.000Z"}, "it is from the future: set the clocks right"),
    "of another round": (
        {"started": "2026-01-31T09:20:01.000Z"},
        "it began at 2026-01-31T09:20:01.000Z, more than 30 minutes after the first run",
    ),
    "still under way": ({"ends_by": "2026-01-31T09:00:00.000Z"}, "it may be under way until 2026-01-31T09:00:00.000Z"),
    "of another environment": ({"environment": "prod"}, "it verified prod, not stg"),
    "of another phase": ({"phase": "pre-deploy"}, "it is of pre-deploy, not of all phases"),
    "of another catalogue": (
        {"suite": Suite(version="1", revision=None, catalogue_sha256="other")},
        "another catalogue judged it: the files of its suite are not those here",
    ),
    "a replay": ({"replayed": True}, "it is a replay"),
    "from another vantage": ({"vantage": "internet"}, "it was made from internet, not from vpc"),
    "of another account": ({"account": "9" * 12}, f"it is of the account {'9' * 12}, not of {ACCOUNT}"),
    "of no account": ({"account": None}, f"it is of the account none, not of {ACCOUNT}"),
    "of another region": ({"region": "us-east-1"}, f"it asked AWS in the region us-east-1, not in {REGION}"),
    "killed": (
        {"held_by": (Reason(kind="incomplete", message="incomplete: interrupted"),)},
        "incomplete: interrupted",
    ),
    "partial": ({"held_by": (Reason(kind="partial", message="partial: 1 of 2"),)}, "partial: 1 of 2"),
    "with a wrong clock": ({"held_by": (Reason(kind="clock", message="the clock is behind"),)}, "the clock is behind"),
    "with a file of its own": ({"held_by": (Reason(kind="suite", message="x.py took part"),)}, "x.py took part"),
    "without commits": ({"manifest": {}}, "it could not read the commits of gli_root, gli_api-server, "),
}
"""What is wrong with one of two runs, and what the reason says after the run and its cell."""


@pytest.mark.parametrize(
    "changes",
    [
        {"finished": "2026-01-31T09:02:00.000Z"},  # as far ahead as clocks may differ
        {"started": "2026-01-31T09:20:00.000Z"},  # at the end of the round
        {"ends_by": "2026-01-31T08:59:59.999Z"},
        {"finished": "2026-01-31T07:00:00.000Z", "expires": "2026-01-31T09:00:00.000Z"},
    ],
)
def test_a_run_at_the_edge_of_its_time_counts(changes: dict[str, Any]) -> None:
    environment = stg(TWO)
    assert merged(environment, run_of(environment, "world"), run_of(environment, "seoul", **changes)).reasons == ()


def test_the_merged_document_sums_up_its_runs() -> None:
    environment = stg(TWO)
    world = run_of(
        environment,
        "world",
        requests={"http": 5, "ecs": 2},
        served={"api": "a" * 40, "ws": "b" * 40},
        machine="one",
        machine_s=10.0,
        clock_behind_s=1.0,
        started="2026-01-31T08:49:00.000Z",
        finished="2026-01-31T08:49:30.000Z",
        expires="2026-01-31T10:49:30.000Z",
    )
    seoul = run_of(
        environment,
        "seoul",
        requests={"ecs": 3, "sql": 1},
        served={"api": "a" * 40, "ws": "c" * 40, "user": "d" * 40},
        machine="one",
        machine_s=20.0,
        clock_behind_s=3.0,
    )
    verdict = merged(environment, world, seoul)
    assert verdict.requests == {"ecs": 5, "http": 5, "sql": 1}
    assert verdict.served == {"api": "a" * 40, "user": "d" * 40, "ws": None}
    assert (verdict.started, verdict.finished) == ("2026-01-31T08:49:00.000Z", "2026-01-31T08:50:10.000Z")
    assert verdict.expires == "2026-01-31T10:49:30.000Z"
    assert (verdict.machine, verdict.machine_s, verdict.clock_behind_s) == ("one", 10.0, 3.0), (
        "a GO is as old as its first"
    )
    late = merged(environment, world, seoul.model_copy(update={"replayed": True}))
    assert (late.verdict, late.machine_s) == ("NO-GO", 20.0), "a NO-GO is as new as its last"
    apart = merged(environment, world, seoul.model_copy(update={"machine": "two"}))
    assert (apart.machine, apart.machine_s) == ("", None)


def test_a_round_of_an_environment_without_git_needs_no_commits() -> None:
    environment = stg(TWO).model_copy(update={"git": None})
    assert merged(environment, *(run_of(environment, c, manifest={}) for c in TWO)).manifest == {}


@pytest.mark.parametrize("case", LOSSES)
def test_a_cell_that_is_lost_or_not_alone_is_no_go(case: str) -> None:
    given, said = LOSSES[case]
    verdict = merged(stg(TWO), *given(stg(TWO)))
    assert (verdict.verdict, verdict.reasons[0], verdict.held_by[0].kind) == ("NO-GO", said, "cell")
    assert verdict.whole is False


@pytest.mark.parametrize("case", WRONG)
def test_a_run_that_cannot_count_is_no_go_and_named_with_its_cell(case: str) -> None:
    changes, said = WRONG[case]
    environment = stg(TWO)
    if "held_by" in changes:
        changes = changes | {"verdict": "NO-GO", "reasons": tuple(str(r.message) for r in changes["held_by"])}
    verdict = merged(environment, run_of(environment, "world"), run_of(environment, "seoul", **changes))
    assert verdict.verdict == "NO-GO"
    assert verdict.reasons[0].startswith(f"the run 20260131T085000.000-seoul of the cell seoul: {said}")
    assert {r.labels for r in verdict.held_by if r.kind == "cell"} == {("seoul",)}


def test_a_run_of_other_commits_is_no_go_and_nothing_can_be_promoted_with_it() -> None:
    environment = stg(TWO)
    other = manifest(environment) | {"gli_redis": {"branch": "stg", "commit": "c" * 40, "tree": "b" * 40}}
    verdict = merged(environment, run_of(environment, "world"), run_of(environment, "seoul", manifest=other))
    assert verdict.reasons == (
        "the run 20260131T085000.000-seoul of the cell seoul: it is of other commits than the cell world, of gli_redis",
    )
    assert verdict.manifest == {}


def test_an_edited_file_and_a_missing_signature_are_no_go() -> None:
    environment = stg(TWO)
    world, seoul = (run_of(environment, cell) for cell in TWO)
    edited = merged(environment, world, Given(seoul, unchanged=False))
    assert edited.reasons[0].endswith("of the cell seoul: the file was edited after the run wrote it")
    signed = Given(world, unchanged=True, signer="ci@glibiz.com")
    unsigned = merged(environment, signed, seoul, signed=True)
    assert unsigned.reasons == ("the run 20260131T085000.000-seoul of the cell seoul: no allowed signer has signed it",)
    assert unsigned.merged[0].signer == "ci@glibiz.com"


def test_a_merged_verdict_is_as_old_as_its_first_run() -> None:
    """So a NO-GO that came after it still counts as later, and the gate's two hours begin with the first run."""
    environment = stg(TWO)
    early = {"finished": "2026-01-31T08:40:00.000Z", "expires": "2026-01-31T10:40:00.000Z", "machine_s": 5.0}
    world = run_of(environment, "world", machine="one", machine_s=9.0)
    verdict = merged(environment, world, run_of(environment, "seoul", machine="one", **early))
    assert (verdict.as_of, verdict.finished) == ("2026-01-31T08:40:00.000Z", "2026-01-31T08:50:10.000Z")
    assert (verdict.expires, verdict.machine, verdict.machine_s) == ("2026-01-31T10:40:00.000Z", "one", 5.0)
    red = merged(environment, world, run_of(environment, "seoul", machine="one", replayed=True, **early))
    assert (red.as_of, red.machine_s) == ("2026-01-31T08:50:10.000Z", 9.0), "a NO-GO is as new as its last run"
    apart = merged(environment, world, run_of(environment, "seoul", machine="two", machine_s=5.0))
    assert (apart.machine, apart.machine_s) == ("", None)


def test_a_merged_run_expires_by_this_machines_clock() -> None:
    environment = stg(TWO)
    ended = rfc3339(NOW - timedelta(hours=2))
    in_time = run_of(environment, "seoul", finished=ended, expires="2026-01-31T09:00:00.000Z")
    assert merged(environment, run_of(environment, "world"), in_time).reasons == ()
