"""Cases of made-up checks and random graphs of them; a verdict, and what the gate says of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from gli.config.check import Case, Check
from gli.config.checklists import Text
from gli.gate.gate import Decision, Evidence, judged
from gli.judge.outcome import Outcome, Result
from gli.judge.verdict import Suite, Verdict

GREEN = (Outcome.PASSED, Outcome.WAIVED, Outcome.NOT_APPLICABLE)
NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
HEADS = {"app": "a" * 40, "web": "b" * 40}
LINE = {"id": "one", "target": "api", "outcome": "failed", "severity": "block", "phase": "both"}
WAIVER = {"reason": "known", "owner": "Ada", "expires": "2026-01-31T00:00:00.000Z"}


def case(
    id_: str,
    target: str = "api",
    causes: tuple[str, ...] = (),
    severity: str = "block",
    shared: bool = False,
    each: str = "apis",
) -> Case:
    check = Check.model_validate(
        {
            "id": id_,
            "layer": "http",
            "phase": "both",
            "severity": severity,
            "vantage": "internet",
            "each": each,
            "causes": causes,
            "remedy": Text(en=f"Mend {id_}.", ko="고치세요."),
        }
    )
    return Case(check, target, check.severity, frozenset() if shared else frozenset({target}))


def result(of: Case, outcome: Outcome, message: str = "") -> Result:
    return Result(check=of.check.id, target=of.target, outcome=outcome, seen=message or f"{of.check.id} is {outcome}")


@st.composite
def judged_graphs(draw: st.DrawFn) -> tuple[list[Case], list[Result]]:
    """Random acyclic causes, severities and targets, and random reports on some of the cases."""
    ids = [f"check-{n}" for n in range(draw(st.integers(1, 10)))]
    cases = []
    for n, id_ in enumerate(ids):
        causes = tuple(draw(st.lists(st.sampled_from(ids[:n]), unique=True, max_size=3))) if n else ()
        severity = draw(st.sampled_from(["block", "block", "warn"]))
        shared = draw(st.booleans())
        for target in draw(st.sampled_from([("one",), ("one", "two")])):
            cases.append(case(id_, target, causes, severity, shared))
    reports = [
        result(c, outcome) for c in cases for outcome in draw(st.lists(st.sampled_from(list(Outcome)), max_size=2))
    ]
    return cases, reports


def verdict(**changes: Any) -> Verdict:
    """A GO of staging, of the commits `HEADS`, with these changes."""
    whole: dict[str, Any] = {
        "verdict": "GO",
        "reasons": (),
        "environment": "stg",
        "phase": None,
        "vantage": "vpc",
        "started": "2026-01-31T08:00:00.000Z",
        "finished": "2026-01-31T08:00:03.000Z",
        "expires": "2026-01-31T10:00:03.000Z",
        "suite": Suite(version="1", revision=None, catalogue_sha256="same"),
        "manifest": {r: {"branch": "stg", "commit": c, "tree": "t"} for r, c in HEADS.items()},
    }
    return Verdict.model_validate(whole | changes)


def decided(of: Verdict | None, **changes: Any) -> Decision:
    """What the gate says of a verdict, with these changes of its evidence."""
    asked: dict[str, Any] = {"catalogue_sha256": "same", "now": NOW}
    asked |= {k: changes.pop(k) for k in ("catalogue_sha256", "now") if k in changes}
    evidence: dict[str, Any] = {"environment": "stg", "phase": "pre-deploy", "verdict": of, "commits": HEADS}
    return judged(Evidence(**(evidence | changes)), **asked)
