"""Waivers: an accepted failure stays red but does not block the verdict; an invalid waiver stops the run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_rig import GREEN, judged_graphs

from conftest import Project, Ran
from gli.config.waivers import Waiver
from gli.judge.judgement import judge
from gli.judge.outcome import Outcome

TODAY = datetime.now(UTC).date()
FAILS = "def test_first_check(target): assert False, 'slow today'\ndef test_second_check(target): pass\n"


def waiver(**changes: Any) -> str:
    entry = {
        "environment": '"own"',
        "check": '"first-check"',
        "target": '"api"',
        "reason": '"the provider is slow"',
        "owner": '"Ada <ada@glibiz.com>"',
        "expires": str(TODAY + timedelta(days=3)),
    }
    keys = {k: v for k, v in (entry | changes).items() if v is not None}
    return "[[waiver]]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items())


def ran_with(project: Project, text: str, *arguments: str, checks: str = FAILS) -> Ran:
    project.checks(checks)
    project.write("checklists/waivers.toml", text)
    return project.run(*arguments)


def test_a_waived_failure_stays_red_and_lets_the_verdict_be_go(project: Project) -> None:
    ran = ran_with(project, waiver())
    assert ran.code == 0, ran.output
    assert ran.verdict is not None
    line = next(c for c in ran.verdict["checks"] if c["id"] == "first-check")
    assert (line["outcome"], line["message"]) == ("waived", "slow today")
    assert line["waiver"]["owner"] == "Ada <ada@glibiz.com>"
    assert line["waiver"]["expires"].startswith(str(TODAY + timedelta(days=4)))
    assert "first-check" in ran.output
    assert "the provider is slow" in ran.output
    assert "1 passed, 1 xfailed" in ran.output


REFUSED = {
    "expired": (waiver(expires=str(TODAY - timedelta(days=1))), "expired after"),
    "too long": (waiver(expires=str(TODAY + timedelta(days=31))), "at most 30 days ahead"),
    "the last day that there is": (waiver(expires="9999-12-31"), "expires on 9999-12-31; at most 30 days ahead"),
    "an owner of blanks": (waiver(owner='"    "'), "waiver 1, first-check[api]: owner = '    ' should have"),
    "a reason of blanks": (waiver(reason='" \\t  "'), "waiver 1, first-check[api]: reason = ' \\t  ' should have"),
    "a reason that nobody can see": (waiver(reason='"\u200b\u200b\u200b"'), "should be at least 3 letters or digits"),
    "no such check": (waiver(check='"third-check"'), "waiver of third-check[api] in own names an unknown check"),
    "no such target": (waiver(target='"web"'), "waiver of first-check[web] in own matches nothing"),
    "no such environment": (waiver(environment='"nowhere"'), "is for 'nowhere', which is none of own"),
    "no reason": (waiver(reason=None), "waiver 1, first-check[api]: reason is missing; write it"),
    "an empty owner": (waiver(owner='""'), "waiver 1, first-check[api]: owner = '' should have at least 3"),
    "no expiry": (waiver(expires=None), "waiver 1, first-check[api]: expires is missing; write it"),
    "a key too many": (waiver(forever="true"), "waiver 1, first-check[api]: forever is not a known key"),
    "twice": (waiver() + waiver(), "waiver of first-check[api] in own stands there twice"),
    "another table": ("[waivers]\n", "every entry is a [[waiver]]; 'waivers' is none"),
    "no TOML": ("[[", "checklists/waivers.toml is not valid TOML"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_waiver_stops_the_run_and_is_named(project: Project, case: str) -> None:
    text, sentence = REFUSED[case]
    ran = ran_with(project, text)
    assert ran.code == 4
    assert sentence in ran.output
    assert "Traceback" not in ran.output


def test_an_unneeded_waiver_blocks_the_verdict_until_it_is_removed(project: Project) -> None:
    ran = ran_with(project, waiver(check='"second-check"'), checks=FAILS.replace("assert False, 'slow today'", "pass"))
    assert ran.code == 1
    assert "the waiver of second-check[api] is no longer needed" in " ".join(ran.output.split())


def test_an_unknown_outcome_cannot_be_waived(project: Project) -> None:
    raises = (
        "from gli.observe.engine.observation import unknown\n"
        "def test_first_check(target): raise unknown('timeout', 'no')\n"
    )
    ran = ran_with(project, waiver(), checks=raises + "def test_second_check(target): pass\n")
    assert ran.code == 1
    assert ran.outcomes("unknown") == {"first-check"}


def test_a_waived_failure_does_not_count_as_fixed(project: Project) -> None:
    project.checks(FAILS)
    project.run()
    ran = ran_with(project, waiver())
    assert ran.verdict is not None
    assert ran.verdict["since_last"] == {"new": [], "still": ["first-check[api]"], "fixed": []}


@settings(deadline=None)
@given(judged_graphs(), st.data())
def test_go_needs_every_blocking_case_green_or_validly_waived(graph: Any, data: st.DataObject) -> None:
    """Waivers with random catalogues and outcomes: only an observed failure with a waiver is excused."""
    cases, reports = graph
    chosen = data.draw(st.lists(st.sampled_from(cases), unique=True))
    waivers = {
        c.key: Waiver(environment="own", check=c.check.id, target=c.target, reason="known", owner="Ada", expires=TODAY)
        for c in chosen
    }
    judged = judge(cases, reports, waivers=waivers)
    lines = {line.key: line for line in judged.checks}
    for case in cases:
        line = lines[case.key]
        if line.waiver is not None:
            assert case.key in waivers
            assert line.outcome is Outcome.WAIVED
        if judged.verdict == "GO":
            assert line.severity == "warn" or line.outcome in GREEN
            assert line.outcome is not Outcome.MISSING
    blockers = {line.blocked_by for line in judged.checks if line.blocked_by}
    assert blockers <= {str(r.key) for r in judged.root_causes}
