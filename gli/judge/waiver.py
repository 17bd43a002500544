"""The effect of a waiver: an accepted failure does not hold the verdict. It changes no other outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gli.common.case_key import CaseKey
from gli.config.waivers import Waiver
from gli.judge.outcome import Outcome, Result


def accepted(results: Mapping[CaseKey, Result], waivers: Mapping[CaseKey, Waiver]) -> dict[CaseKey, Result]:
    """The results with waived failures marked. A waiver accepts only a failure that was seen: a case that is `unknown`,
    `missing` or `blocked` keeps its outcome.
    """
    return {
        key: result.but(outcome=Outcome.WAIVED) if result.outcome is Outcome.FAILED and key in waivers else result
        for key, result in results.items()
    }


def no_longer_needed(results: Mapping[CaseKey, Result], waivers: Iterable[CaseKey]) -> dict[CaseKey, Outcome]:
    """The waived cases that are green without their waiver."""
    green = (Outcome.PASSED, Outcome.NOT_APPLICABLE)
    return {key: results[key].outcome for key in waivers if key in results and results[key].outcome in green}
