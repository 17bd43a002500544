"""Groups faults that can be active together, so that one run must name each of them as a separate root."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from conftest import BROWSER, ROOT
from gli.config import catalogue
from gli.report.diagnosis import ASKED_FIRST
from sandbox.faults import Fault, known

NEED_A_BROWSER = {id for id, fault in known().items() if fault.turns_red == ("page-boots",)}

STAGING: Mapping[str, Fault] = {
    id: fault for id, fault in known().items() if not fault.production and (BROWSER or id not in NEED_A_BROWSER)
}
"""The faults that turn staging red, and that can be seen on this machine."""

_API = ("run-failed", "run-in-progress", "migration-", "workflow-step-may-fail", "workflow-builds-a-fixed-ref")
_API += ("workflow-deploys-after-failed-tests", "workflow-tests-nothing", "workflow-for-documents-alone")
_API += ("workflow-script-checks-out-main", "workflow-ref-in-a-variable")
_SOCKET = ("staging-moved-on", "workflow-cuts-deploys-off", "workflow-with-stored-keys", "workflow-step-for-one-branch")
_SOCKET += ("workflow-on-a-retired-runner",)
_USER = ("run-cancelled", "workflow-deploys-elsewhere", "workflow-not-protected", "workflow-swallows-a-failure")
_ADMIN = ("workflow-step-missing", "workflow-not-for-main")
_SETTINGS = ("bucket-forgets-versions", "bucket-in-the-clear", "bucket-may-be-public")
_SETTINGS += ("cdn-certificate-of-another-name", "cdn-errors-kept", "cdn-invalidation-running", "cdn-serves-")
_PLACES = dict.fromkeys(_API, "api's repository") | dict.fromkeys(_SOCKET, "websocket's repository")
_PLACES |= dict.fromkeys(_USER, "user frontend's repository") | dict.fromkeys(_ADMIN, "admin frontend's repository")
_PLACES |= dict.fromkeys(_SETTINGS, "settings of the cdn")
_PLACES |= dict.fromkeys(("task-missing", "task-unhealthy", "service-scaled", "rolled-back", "taskdef-"), "service")
_PLACES |= dict.fromkeys(("circuit-breaker-", "grace-period-", "rollout-", "old-tasks-", "registry"), "service")
_PLACES |= dict.fromkeys(("hook-goes-on", "deploys-take-", "deploy-without-room"), "service")
_PLACES |= dict.fromkeys(("sidecar-", "spare-sidecar-"), "service")
_PLACES |= dict.fromkeys(("sequence-", "application-may-", "row-security-", "table-", "column-", "row-"), "tables")
_PLACES |= dict.fromkeys(("unique-", "foreign-key-", "numbers-too-short", "migrator-may-not-"), "tables")
_PLACES["secret-with-an-empty-password"] = "broker"
_PLACES |= dict.fromkeys(("transaction-", "lock-held", "vacuum-behind"), "views in front of a catalogue")
_PLACES |= dict.fromkeys(
    ("tasks-without-a-way-in", "deployment-alarm-", "platform-version-", "tasks-killed-"), "service"
)
_PLACES |= dict.fromkeys(("tasks-without-a-way-out", "nat-"), "routes of the tasks")
_PLACES["cors-"] = "cors"
_PLACES["service-of-another-port"] = "service"
_PLACES |= {"released-": "release", "released-already": "api's repository"}  # all repositories, with its migrations
_WIDE = {
    "release": "release",
    "pipeline": "release",
    "cdn": "cdn",
    "storage": "cdn",
    "broker": "broker",
    "cache": "cache",
    "scaling": "scaling",
}
_WIDE |= {"registry": "service"}
"""Places of which a group may change one thing at most: the repositories, the user frontend with its bucket, the API's
CORS settings, the broker, the cache, the API's scaling, the API's ECS service with its images, and the tables of the
database. One fault would hide or undo another. `_PLACES` names a fault by the beginning of its id, `_WIDE` the others
also by their module.
"""

_ALONE = {
    "tasks-in-one-zone",
    "container-check-fails",
    "secret-key-missing",
    "tag-pushed-again",
    "platform-image-expired",
    "commits-wait-for-a-standby",
    "database-read-only",
    "schema-frozen",
    "bucket-key-disabled",
    "release-of-nothing",
    "cdn-old-build-uploaded",
}
_ALONE |= NEED_A_BROWSER
"""Broken in a sandbox of their own: faults of the running tasks, which a change of the service or of the network would
replace; a fault of a secret that the task definition has to name; those that let every write of another fault wait or
fail; those that change the bucket of others; one that needs every other repository as it is; an older page, which is
told from a new one only where the page is served. A browser beside others would make this runner too slow for what is
timed.
"""


def groups(faults: Iterable[str]) -> list[list[str]]:
    """Put these faults into few groups, by a greedy search that starts with the faults with the most conflicts.

    The members of a group change different places of the sandbox, so that no fault undoes another. Each member turns
    a check red that no other member turns red, neither as its root nor through other checks. So each member has a root
    of its own, whichever other members are active.
    """
    symptoms = _symptoms(faults)
    conflicts = {one: sum(not _fits([one, other], symptoms) for other in symptoms if other != one) for one in symptoms}
    found: list[list[str]] = []
    for id in sorted(symptoms, key=lambda id: (-conflicts[id], id)):
        free = [group for group in found if _fits([*group, id], symptoms)]
        if free:
            min(free, key=len).append(id)
        else:
            found.append([id])
    together = [[id for id in group if id not in _ALONE] for group in found]
    return [group for group in together if group] + [[id] for id in sorted(_ALONE.intersection(symptoms))]


def _fits(group: list[str], symptoms: Mapping[str, set[str]]) -> bool:
    """Whether these faults can be active together."""
    members = [STAGING[id] for id in group]
    if any(not ASKED_FIRST.isdisjoint(member.turns_red) for member in members):  # broken alone
        return False
    places = [place for member in members for place in _places(member)]
    if len(set(places)) < len(places):
        return False
    hidden = {id: set().union(*(symptoms[other] for other in group if other != id)) for id in group}
    return all(not hidden[member.id].issuperset(member.turns_red) for member in members)


@cache
def _places(fault: Fault) -> set[str]:
    module = fault.make.__module__.rpartition(".")[2]
    named = {place for beginning, place in _PLACES.items() if fault.id.startswith(beginning)}
    return named or {place for name, place in _WIDE.items() if name == module or fault.id.startswith(name)}


def _symptoms(faults: Iterable[str]) -> dict[str, set[str]]:
    """By fault, its checks and every check that they are a cause of, directly or through other checks."""
    led: dict[str, set[str]] = {}
    for check in catalogue.load(ROOT).checks.values():
        for cause in check.causes:
            led.setdefault(cause, set()).add(check.id)
    found = {}
    for id in faults:
        reached, waiting = set(STAGING[id].turns_red), list(STAGING[id].turns_red)
        while waiting:
            further = led.get(waiting.pop(), set()) - reached
            reached |= further
            waiting += further
        found[id] = reached
    return found


REFUSALS = {id for id in STAGING if id.startswith(("aws-denies-", "aws-throttles-"))}
"""A refusal by AWS hides every fact of that service: tests/test_unknown.py tries each of these faults alone."""
TOGETHER = groups(STAGING.keys() - REFUSALS)
