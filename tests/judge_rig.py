"""Cases of made-up checks, and random graphs of them."""

from __future__ import annotations

from hypothesis import strategies as st

from gli.config.catalogue import Case, Check
from gli.config.checklists import Text
from gli.judge.outcome import Outcome, Result

GREEN = (Outcome.PASSED, Outcome.WAIVED, Outcome.NOT_APPLICABLE)


def case(
    id_: str, target: str = "api", causes: tuple[str, ...] = (), severity: str = "block", shared: bool = False
) -> Case:
    check = Check.model_validate(
        {
            "id": id_,
            "layer": "http",
            "phase": "both",
            "severity": severity,
            "vantage": "internet",
            "each": "apis",
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
