"""How much of the catalogue a run judged, part by part: a GO of four cases must not look like one of three hundred.

Pure: it counts outcomes. What an environment leaves out is not asked and not red, so only the coverage shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gli.common.case_key import CaseKey
from gli.config.catalogue import Catalogue
from gli.config.check import Check
from gli.config.environments import Environment
from gli.config.parts import PARTS
from gli.config.targets import GROUPS
from gli.judge.outcome import Outcome, Redactable

JUDGED = (Outcome.PASSED, Outcome.FAILED, Outcome.WAIVED)
State = Literal["verified", "not-verified", "absent", "left-out"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class PartLine(_Part):
    """One part of the environment."""

    part: str
    state: State
    """`verified`: a check of it passed, or its failure is accepted. `not-verified`: checks were asked, and none passed.
    `absent`: the environment declares why there is none. `left-out`: `environments.toml` does not describe it."""
    why: Redactable = ""
    """The reason why the part is absent, or the key that `environments.toml` lacks."""
    judged: int = 0
    """The number of its checks that passed, failed or are waived on at least one target."""
    checks: int = 0
    """The number of its checks in this phase."""


class Exemption(_Part):
    """One entry of `[[ENV.not_applicable]]`."""

    check: str
    target: str
    reason: Redactable
    owner: Redactable
    cases: int
    """The number of cases of this phase that the entry covers."""


class Coverage(_Part):
    """The share of the catalogue that a run judged."""

    judged: int
    """The number of checks that passed, failed or are waived on at least one target."""
    checks: int
    """The number of checks of the phase, without the checks that do not apply to the environment."""
    parts: tuple[PartLine, ...]
    not_applicable: tuple[Exemption, ...] = ()

    @property
    def percent(self) -> int:
        """The judged share of the checks in percent, rounded down: 100 only if every check was judged."""
        return 100 * self.judged // self.checks if self.checks else 0

    def named(self, state: State) -> list[str]:
        """The parts in this state."""
        return [line.part for line in self.parts if line.state == state]


def coverage(
    catalogue: Catalogue, environment: Environment, phase: str | None, outcomes: Iterable[tuple[CaseKey, Outcome]]
) -> Coverage:
    """The coverage of a run; `outcomes` holds the outcome of each case."""
    by_check: dict[str, list[Outcome]] = {}
    keys = []
    for key, outcome in outcomes:
        by_check.setdefault(key.check, []).append(outcome)
        keys.append(key)
    checks = catalogue.asked_in(environment, phase)
    exempt = {c.id for c in checks if by_check.get(c.id) and {*by_check[c.id]} == {Outcome.NOT_APPLICABLE}}
    judged = {c.id for c in checks if any(o in JUDGED for o in by_check.get(c.id, ()))}
    parts = []
    for part in PARTS:
        own = [c for c in checks if c.part == part]
        if own:
            parts.append(_part(part, own, environment, by_check, judged))
    return Coverage(
        judged=len(judged),
        checks=len(checks) - len(exempt),
        parts=tuple(parts),
        not_applicable=tuple(
            Exemption(
                check=entry.check,
                target=entry.target,
                reason=entry.reason,
                owner=entry.owner,
                cases=sum(entry.covers(key.check, key.target) for key in keys),
            )
            for entry in environment.not_applicable
            if any(entry.covers(key.check, key.target) for key in keys) or not environment.inherits_not_applicable
        ),
    )


def _part(
    part: str,
    checks: Sequence[Check],
    environment: Environment,
    by_check: dict[str, list[Outcome]],
    judged: set[str],
) -> PartLine:
    found = [outcome for check in checks for outcome in by_check.get(check.id, ())]
    state: State = "not-verified"
    why = environment.absent.get(part, "")
    if why:
        state = "absent"
    elif any(outcome in (Outcome.PASSED, Outcome.WAIVED) for outcome in found):
        state = "verified"
    elif not found:
        state, why = "left-out", GROUPS[checks[0].each].missing.replace("{}", environment.name)
    elif {*found} == {Outcome.NOT_APPLICABLE}:
        state, why = "absent", _declared(checks, environment)
    return PartLine(part=part, state=state, why=why, judged=sum(c.id in judged for c in checks), checks=len(checks))


def _declared(checks: Sequence[Check], environment: Environment) -> str:
    ids = [c.id for c in checks]
    return next((e.reason for e in environment.not_applicable if any(e.covers(i, e.target) for i in ids)), "")
