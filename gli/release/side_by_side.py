"""One job in all mirrors in parallel, and the handling of its errors."""

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
    """The result of `work` for every mirror, run in parallel; a `GitFailed` is a result. `say` is called with the names
    of remotes whose answer takes long.
    """
    by_name = {m.name: m for m in mirrors}
    return each([m.repository for m in by_name.values()], lambda repository: work(by_name[repository.name]), say=say)


def answers(found: Mapping[str, T | GitFailed]) -> dict[str, T]:
    """The results of `on_each`. Raises `Refused` with code 3 if git failed in one of them."""
    failed = {name: e for name, e in found.items() if isinstance(e, GitFailed)}
    if failed:
        raise Refused(*(f"{name}: {e}" for name, e in failed.items()), code=3)
    return {name: result for name, result in found.items() if not isinstance(result, GitFailed)}


def collected(refusals: Sequence[Refused]) -> Refused:
    """Several refusals as one, with all objections at once."""
    reasons = dict.fromkeys(reason for refusal in refusals for reason in refusal.reasons)
    return Refused(*reasons, code=min(refusal.code for refusal in refusals))
