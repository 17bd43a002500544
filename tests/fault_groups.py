"""Groups faults that can be active together, so that one run must name each of them as a separate root."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from conftest import ROOT
from gli.config import catalogue
from sandbox.faults import Fault, known

STAGING: Mapping[str, Fault] = {id: fault for id, fault in known().items() if not fault.production}
"""The faults that turn staging red."""

_ASKED_FIRST = {"env-config-valid", "aws-caller-identity"}
"""Checks without which a run observes nothing else: what turns one of them red is broken alone."""

_AREAS = {"storage": "cdn", "registry": "compute", "pipeline": "release"}
"""Layers whose faults change what those of another layer change too."""

_APART = {
    *("application-may-not-write", "database-password-ends", "database-read-only", "replication-slot-forgotten"),
    *("cache-wants-replicas", "cache-user-without-channels", "cors-without-credentials", "session-answer-public"),
    *("websocket-forgets-the-admin", "cdn-one-country-only"),
    *("broker-blocks-publishers", "worker-stuck"),
    *("sequence-behind", "sequence-at-its-end", "database-memory-low"),
}
"""Faults that change one thing that no other fault changes."""


def groups(faults: Iterable[str]) -> list[list[str]]:
    """Put these faults into few groups, by a greedy search that starts with the faults with the most conflicts.

    The members of a group change different areas of the sandbox, so that no fault undoes another. They turn different
    checks red, and no check of one is a cause of another's, directly or through other checks. So each member's roots
    stay roots, whichever other members are active.
    """
    wanted = set(faults)
    symptoms = {id: _led_to(STAGING[id].turns_red) for id in wanted}
    conflicts = {
        one: {other for other in wanted - {one} if _conflict(STAGING[one], STAGING[other], symptoms)} for one in wanted
    }
    found: list[list[str]] = []
    for id in sorted(wanted, key=lambda id: (-len(conflicts[id]), id)):
        free = [group for group in found if not conflicts[id].intersection(group)]
        if free:
            min(free, key=len).append(id)
        else:
            found.append([id])
    return found


def _conflict(one: Fault, other: Fault, symptoms: Mapping[str, set[str]]) -> bool:
    return (
        _area(one) == _area(other)
        or not symptoms[one.id].isdisjoint(other.turns_red)
        or not symptoms[other.id].isdisjoint(one.turns_red)
        or not _ASKED_FIRST.isdisjoint((*one.turns_red, *other.turns_red))
    )


def _area(fault: Fault) -> str:
    """The part of the sandbox that a fault changes: usually the layer of its module."""
    if fault.id in _APART:
        return fault.id
    for begins, area in (("cdn-", "cdn"), ("migration-", "release")):
        if fault.id.startswith(begins):
            return area
    layer = fault.make.__module__.rpartition(".")[2]
    return _AREAS.get(layer, layer)


def _led_to(checks: Iterable[str]) -> set[str]:
    """These checks and every check that they are a cause of, directly or through other checks."""
    rows = catalogue.load(ROOT).checks
    found, waiting = set(checks), list(checks)
    while waiting:
        cause = waiting.pop()
        further = {check.id for check in rows.values() if cause in check.causes} - found
        found |= further
        waiting += further
    return found
