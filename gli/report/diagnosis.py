"""`gli diagnose`: from a symptom to its root, with what changed since the last GO. Pure, over two recorded runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gli.config.check import Check
from gli.judge.outcome import Outcome
from gli.judge.verdict import CheckLine, RootCause, Verdict
from gli.report.korean import remedied

SYMPTOMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "api": ("http",),
        "db": ("database",),
        "static": ("cdn", "storage"),
        "websocket": ("websocket",),
        "deploy": ("release", "pipeline", "registry", "compute"),
        "all": (),
    }
)
"""Each symptom of the overview's troubleshooting, and the layers whose checks show it; `all`: every layer."""
_SLOW: Mapping[str, str] = MappingProxyType({"ws-idle-survives": "", "page-boots": "static"})
"""A check that takes longer than the others together, to the symptom for which it is asked all the same; an empty text:
none. One holds a session open for a minute, one starts a browser. A record answers both at once."""
ASKED_FIRST = frozenset({"env-config-valid", "aws-caller-identity"})
"""The checks without which a run observes nothing: if one of them is red, it explains every symptom."""
_RED = (Outcome.FAILED, Outcome.UNKNOWN, Outcome.BLOCKED)
_CHANGES = frozenset(
    {
        *("task_definition", "running_image", "routes", "balancer", "target_health", "health_checks", "zone"),
        *("secret_state", "distribution", "bucket_policy", "security_groups", "database_instance", "amazon_mq"),
        *("replication_group", "application_rights", "cache_rights", "cache_state", "release", "network_subnets"),
        *("execution_role", "task_role", "scalable_targets", "index", "database_state"),
    }
)
"""The facts whose changes explain something: what people and deployments set. Measurements change by themselves."""
_BY_THEMSELVES = frozenset(
    {
        "certificate_until",
        "restorable_s",
        "taken",
        "clients",
        "used_bytes",
        "sessions",
        "connections",
        "last",
        "ages",
        "hidden",
        "since",
        "started",
    }
)
_MOST_CHANGES = 12
Facts = Mapping[str, Any]
"""`probe[target]` to its observation."""


def asked(checks: Mapping[str, Check], symptom: str, *, recorded: bool = False) -> list[Check]:
    """The checks that a symptom needs: those of its layers, and everything that can explain or hide them.

    `recorded`: the facts come from a record, so no check is slow.
    """
    layers = SYMPTOMS[symptom]
    waiting = [id for id, check in checks.items() if not layers or check.layer in layers or id in ASKED_FIRST]
    found: set[str] = set()
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            waiting += checks[id].causes
    return [check for id, check in checks.items() if id in found and (recorded or _SLOW.get(id, symptom) == symptom)]


def not_asked(checks: Mapping[str, Check], wanted: Collection[str], symptom: str, environment: str) -> list[str]:
    """A line for each slow check of the symptom's layers that is not among the wanted ones: what to run instead."""
    layers = SYMPTOMS[symptom]
    left_out = [checks[id] for id in _SLOW if id in checks and id not in wanted]
    return [
        f"not asked, as it takes longer: {c.id}; pytest --env={environment} -k {c.function.removeprefix('test_')}"
        for c in left_out
        if not layers or c.layer in layers
    ]


def lines(
    verdict: Verdict,
    checks: Mapping[str, Check],
    wanted: Collection[str],
    before: Facts | None,
    now: Facts,
    environment: str,
    korean: bool = False,
) -> Iterator[str]:
    """The way from the symptom to each root, what changed, and the next command."""
    reds = {str(line.key): line for line in verdict.checks if line.id in wanted and line.outcome in _RED}
    roots = [root for root in verdict.root_causes if str(root.key) in reds]
    if not roots:
        yield "nothing that was asked is wrong"
    for root in roots:
        yield from _root(root, reds, checks, environment, korean)
    if before is None:
        yield "changes: there is no GO of this environment to compare with"
        return
    changed = list(changes(before, now))
    yield f"changed since the last GO: {'nothing of what was asked' if not changed else ''}".rstrip()
    yield from (f"  {line}" for line in changed[:_MOST_CHANGES])
    if changed[_MOST_CHANGES:]:
        yield f"  and {len(changed) - _MOST_CHANGES} more"


def _root(
    root: RootCause, reds: Mapping[str, CheckLine], checks: Mapping[str, Check], environment: str, korean: bool
) -> Iterator[str]:
    yield f"root: {root.key}"
    yield f"  {reds[str(root.key)].outcome.value}: {root.message}"
    for symptom in root.explains:
        if symptom in reds:
            yield "  " + " <- ".join(_way(symptom, str(root.key), reds, checks))
    yield f"  do: {remedied(checks[root.check], root.hint) if korean else root.hint}"
    yield f"  then: pytest --env={environment} -k {checks[root.check].function.removeprefix('test_')}"


def _way(symptom: str, root: str, reds: Mapping[str, CheckLine], checks: Mapping[str, Check]) -> list[str]:
    """The shortest chain of red checks from a symptom to its root."""
    ways = [[symptom]]
    seen = {symptom}
    while ways:
        way = ways.pop(0)
        if way[-1] == root:
            return way
        causes = checks[reds[way[-1]].id].causes
        for label, line in reds.items():
            if line.id in causes and label not in seen:
                seen.add(label)
                ways.append([*way, label])
    return [symptom, root]


def changes(before: Facts, now: Facts) -> Iterator[str]:
    """What differs between the facts of two runs, one line for each value: `task_definition[api] cpu: 256 -> 512`."""
    for fact in sorted(before.keys() & now.keys()):
        if fact.partition("[")[0] in _CHANGES:
            yield from (f"{fact} {line}" for line in _differences(before[fact], now[fact], ""))


def _differences(before: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if key not in _BY_THEMSELVES:
                yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(now, list):
        gone, come = _without(before, now), _without(now, before)
        if len(before) == len(now) and len(gone) == len(come) == 1:
            yield from _differences(gone[0], come[0], path)
            return
        yield from (f"{path}: no longer {_short(one)}" for one in gone)
        yield from (f"{path}: new {_short(one)}" for one in come)
    elif before != now:
        yield f"{path}: {_short(before)} -> {_short(now)}"


def _without(these: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    return [one for one in these if one not in others]


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
