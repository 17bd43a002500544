"""The verdict as metrics, for node_exporter's textfile collector.

Source of truth: Prometheus' text exposition format. Gauges without timestamps: the collector takes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from gli.judge.outcome import Outcome
from gli.judge.verdict import Verdict

Sample = tuple[Mapping[str, str], float]


def prometheus(verdict: Verdict) -> str:
    """One gauge a family, each with the labels `environment` and `phase`."""
    lines: list[str] = []
    common = {"environment": verdict.environment, "phase": verdict.phase or "all"}
    for name, text, samples in _families(verdict):
        lines += [f"# HELP gli_{name} {text}", f"# TYPE gli_{name} gauge"]
        lines += [f"gli_{name}{{{_labels({**common, **labels})}}} {_number(value)}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _families(verdict: Verdict) -> Iterator[tuple[str, str, Iterable[Sample]]]:
    started, finished, expires = (
        datetime.fromisoformat(moment).timestamp() for moment in (verdict.started, verdict.finished, verdict.expires)
    )
    yield "verdict_go", "1 where the verdict is GO, else 0.", [({"vantage": verdict.vantage}, float(verdict.go))]
    yield "verdict_finished_timestamp_seconds", "When the run ended.", [({}, finished)]
    yield "verdict_expires_timestamp_seconds", "Until when the gate takes the verdict.", [({}, expires)]
    yield "run_duration_seconds", "How long the run took.", [({}, finished - started)]
    counts = [({"outcome": o.value}, float(verdict.counts.get(o, 0))) for o in Outcome]
    yield "cases", "Cases by outcome.", counts
    yield "root_causes", "Reds that no other red explains.", [({}, float(len(verdict.root_causes)))]
    green = (
        ({"check": c.id, "target": c.target, "severity": c.severity}, float(c.outcome.green)) for c in verdict.checks
    )
    yield "check_green", "1 where a case passed, was waived or does not apply, else 0.", green
    requests = (({"kind": kind}, float(n)) for kind, n in verdict.requests.items())
    yield "requests", "Requests that the run sent, by protocol or AWS service.", requests


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
