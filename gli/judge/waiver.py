"""What a waiver does to an outcome: a failure that was seen and accepted holds no verdict; nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gli.config.waivers import Waiver
from gli.judge.outcome import Outcome, Result

Key = tuple[str, str]


def accepted(results: Mapping[Key, Result], waivers: Mapping[Key, Waiver]) -> dict[Key, Result]:
    """The results with waived failures marked. What is `unknown`, `missing` or `blocked` was not seen to fail by
    itself: a waiver does not reach it.
    """
    return {
        key: result.but(outcome=Outcome.WAIVED) if result.outcome is Outcome.FAILED and key in waivers else result
        for key, result in results.items()
    }


def no_longer_needed(results: Mapping[Key, Result], waivers: Mapping[Key, Waiver]) -> Iterator[str]:
    """A sentence for each waiver of a check that is green without it."""
    for key, waiver in waivers.items():
        result = results.get(key)
        if result is not None and result.outcome in (Outcome.PASSED, Outcome.NOT_APPLICABLE):
            yield f"the waiver of {waiver.label} is no longer needed: it is {result.outcome.value}; take it out"
