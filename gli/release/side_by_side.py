"""One job in all mirrors, side by side, and what becomes of its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from gli.git.command import GitFailed
from gli.release.mirror import Mirror
from gli.release.plan import Refused
from gli.release.repositories import each

T = TypeVar("T")


def on_each(
    mirrors: Iterable[Mirror], work: Callable[[Mirror], T], *, say: Callable[[str], object] = lambda line: None
) -> dict[str, T | GitFailed]:
    """`work` for every mirror, side by side; a `GitFailed` is a result. `say` hears for whom is waited long."""
    by_name = {m.name: m for m in mirrors}
    return each([m.repository for m in by_name.values()], lambda repository: work(by_name[repository.name]), say=say)


def answers(found: Mapping[str, T | GitFailed]) -> dict[str, T]:
    """What `on_each` found; raises `Refused` with code 3 where git failed in one of them."""
    failed = {name: e for name, e in found.items() if isinstance(e, GitFailed)}
    if failed:
        raise Refused(*(f"{name}: {e}" for name, e in failed.items()), code=3)
    return {name: result for name, result in found.items() if not isinstance(result, GitFailed)}


def collected(refusals: Sequence[Refused]) -> Refused:
    """Several refusals as one: everything that stands against it, at once."""
    reasons = dict.fromkeys(reason for refusal in refusals for reason in refusal.reasons)
    return Refused(*reasons, code=min(refusal.code for refusal in refusals))
