"""The state of each item of a checklist, from the outcomes of its checks and from who signed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from gli.config.catalogue import Catalogue
from gli.config.checklists import Checklist, Item
from gli.config.environments import Environment
from gli.judge.outcome import Outcome
from gli.judge.verdict import CheckLine, ItemLine, SignOff

Signatures = Mapping[str, Sequence[str]]
"""Item to the distinct persons who signed it: `Name <e-mail>`."""
PENDING: Literal["pending"] = "pending"


def item_lines(
    catalogue: Catalogue,
    environment: Environment,
    phase: str | None,
    checks: Sequence[CheckLine],
    signed: Signatures,
) -> tuple[ItemLine, ...]:
    """A line for every item that a run of this phase can prove. There are none for an environment without a
    counterpart, which takes part in no promotion, and none for the on-call run.
    """
    if environment.counterpart is None:
        return ()
    lists = [c for c in catalogue.checklists.values() if phase in (None, c.phase)]
    return tuple(_line(c, item, environment, checks, signed) for c in lists for item in c.shown_in(environment))


def _line(
    checklist: Checklist,
    item: Item,
    environment: Environment,
    checks: Iterable[CheckLine],
    signed: Signatures,
) -> ItemLine:
    proofs = [c for c in checks if c.id in item.checks] if item.asked_in(environment) else []
    sign_off = None
    if checklist.signed_in(item, environment):
        sign_off = SignOff(needed=item.people, by=tuple(signed.get(item.id, ())))
    return ItemLine(
        item=item.id,
        heading=checklist.headings[item.heading].en,
        text=item.text.en,
        outcome=_outcome(proofs, sign_off),
        checks=tuple(str(c.key) for c in proofs),
        sign_off=sign_off,
    )


def _outcome(
    proofs: Sequence[CheckLine], sign_off: SignOff | None
) -> Literal["missing", "failed", "unknown", "blocked", "pending", "waived", "not-applicable", "passed"]:
    """The worst outcome of the item's blocking checks; a check of severity `warn` does not count."""
    holding = [c.outcome for c in proofs if c.severity == "block" or c.outcome.green]
    worst = min(holding, key=lambda o: o.rank, default=Outcome.PASSED)
    if worst.green and sign_off is not None and len(sign_off.by) < sign_off.needed:
        return PENDING
    if holding and worst is Outcome.NOT_APPLICABLE and any(o is Outcome.PASSED for o in holding):
        return "passed"
    if not proofs and sign_off is None:
        return "not-applicable"
    return worst.value
