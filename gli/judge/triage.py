"""From many reds to few roots, along the catalogue's cause edges.

A red with a red cause is a symptom. The roots of a red are the reds that it leads to which have no red cause
themselves. A root that failed explains: what it explains is `blocked`. So does a root whose host took no connection in
two tries: nothing behind it can be seen. A root that is `unknown` for another reason explains nothing: what leads to it
keeps its outcome and says "cause unknown".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gli.common.case_key import CaseKey
from gli.common.sentences import listed, phrase
from gli.config.check import Case
from gli.judge.outcome import Outcome, Result


@dataclass
class Root:
    """A red that no other red explains, and what it explains."""

    result: Result
    explains: list[str] = field(default_factory=list)


def triage(cases: Sequence[Case], results: Mapping[CaseKey, Result]) -> tuple[dict[CaseKey, Result], list[Root]]:
    """The results with symptoms marked `blocked`, and the roots: failures first, in the order of the cases."""
    reds = [c for c in cases if results[c.key].outcome in (Outcome.FAILED, Outcome.UNKNOWN)]
    causes = {c.key: [r for r in _causes(c, reds) if r.key != c.key] for c in reds}
    marked = dict(results)
    roots = {c.key: Root(results[c.key]) for c in reds if not causes[c.key]}
    for case in reds:
        if not causes[case.key]:
            continue
        leads_to = _roots(case.key, causes)
        explaining = [key for key in leads_to if _explains(results[key])]
        for key in explaining or leads_to:
            roots[key].explains.append(str(case.key))
        marked[case.key] = _marked(
            results[case.key], [results[key] for key in explaining], [results[k] for k in leads_to]
        )
    for case in cases:
        blocker = results[case.key].blocked_by
        if blocker is not None and blocker in roots:
            roots[blocker].explains.append(str(case.key))
    return marked, _folded(sorted(roots.values(), key=lambda r: r.result.outcome.rank))


def _explains(result: Result) -> bool:
    return result.outcome is Outcome.FAILED or result.cause == "no-connection"


def _folded(roots: Iterable[Root]) -> list[Root]:
    """Joins the roots that are unknown for the same reason: one denied action is one problem, not fifteen."""
    kept: dict[object, Root] = {}
    for root in roots:
        unknown = root.result.outcome is Outcome.UNKNOWN
        first = kept.setdefault((root.result.cause, root.result.seen) if unknown else root.result.key, root)
        if first is not root:
            first.explains += [str(root.result.key), *root.explains]
    for root in kept.values():
        root.explains = list(dict.fromkeys(root.explains))
    return list(kept.values())


def _marked(result: Result, failed: Sequence[Result], leads_to: Sequence[Result]) -> Result:
    if failed:
        return result.but(outcome=Outcome.BLOCKED, blocked_by=failed[0].key)
    unseen = listed(sorted(str(r.key) for r in leads_to))
    seen = phrase("{} (cause unknown: {} could not be observed)", result.seen, unseen)
    return result.but(seen=seen)


def _causes(case: Case, reds: Iterable[Case]) -> list[Case]:
    """The red cases that the catalogue names as causes and that share a target with this one, or that it needs.

    Where it is known whose credentials a secret holds, the secret explains nothing else: a lost secret of the cache is
    not why the database is down.
    """
    return [red for red in reds if red.check.id in case.check.causes and _can_explain(red, case)]


def _can_explain(red: Case, case: Case) -> bool:
    needed = not case.uses.isdisjoint(red.subjects)
    of_a_secret = red.check.each == "secrets" != case.check.each
    return needed if of_a_secret and case.uses else needed or related(case, red)


def related(one: Case, other: Case) -> bool:
    """Whether two cases are about the same thing: a shared name, or one of them is about the whole environment.

    Two services that are built from one repository share it, and are two things all the same.
    """
    if not one.subjects or not other.subjects:
        return True
    shared = one.subjects & other.subjects
    return bool({s for s in shared if not _is_repository(s)} or (shared and (_of_one(one) or _of_one(other))))


def _of_one(case: Case) -> bool:
    """Whether a case is about a repository itself."""
    return all(map(_is_repository, case.subjects))


def _is_repository(subject: str) -> bool:
    return subject.startswith("repository ")


def _roots(key: CaseKey, causes: Mapping[CaseKey, Sequence[Case]]) -> list[CaseKey]:
    """Every red without a red cause that can be reached along the causes, in a stable order."""
    found: dict[CaseKey, None] = {}
    seen: set[CaseKey] = set()
    waiting = [key]
    while waiting:
        here = waiting.pop(0)
        if here in seen:
            continue
        seen.add(here)
        if not causes[here]:
            found[here] = None
        waiting += [c.key for c in causes[here]]
    return list(found)
