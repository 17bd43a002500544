"""Waivers: failures that a person accepted, with reason, owner and expiry.

Source of truth: `checklists/waivers.toml`. A waiver that is malformed, expired, too long or matches nothing stops the
run with one sentence that names it. Without the file there are no waivers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints

from gli.common.case_key import CaseKey
from gli.common.errors import UsageError
from gli.config import toml_tables
from gli.config.catalogue import WAIVERS, Catalogue
from gli.config.environments import Environment
from gli.config.toml_models import Table, validated

LONGEST = timedelta(days=30)


def _legible(text: str) -> str:
    if sum(map(str.isalnum, text)) < _SHORTEST:  # spaces without a width are no reason either
        raise ValueError(f"at least {_SHORTEST} letters or digits")
    return text


_SHORTEST = 3
NonBlank = Annotated[str, StringConstraints(strip_whitespace=True, min_length=_SHORTEST), AfterValidator(_legible)]


class Waiver(Table):
    """One `[[waiver]]` of the file."""

    environment: str
    check: str
    target: str
    reason: NonBlank
    owner: NonBlank
    expires: date
    """The last day on which it counts, in UTC."""

    @property
    def key(self) -> CaseKey:
        return CaseKey(self.check, self.target)

    @property
    def ends(self) -> datetime:
        """The first moment at which it no longer counts."""
        return datetime.combine(self.expires, time(), UTC) + timedelta(days=1)


def load(
    root: Path, catalogue: Catalogue, environment: Environment, known: Sequence[str], now: datetime
) -> dict[CaseKey, Waiver]:
    """The waivers of one environment by their case; raises `UsageError` for the first one of any environment that is
    not valid. `known` are the names of all environments.
    """
    found: dict[CaseKey, Waiver] = {}
    for number, entry in enumerate(_entries(root), 1):
        waiver = _waiver(number, entry)
        _refuse_invalid(waiver, catalogue, known, now)
        if waiver.environment != environment.name:
            continue
        if waiver.target not in catalogue.targets(catalogue.checks[waiver.check], environment):
            raise UsageError(_says(waiver, f"matches nothing: {environment.name} has no such target; take it out"))
        if waiver.key in found:
            raise UsageError(_says(waiver, "stands there twice; keep one"))
        found[waiver.key] = waiver
    return found


def _entries(root: Path) -> list[Any]:
    if not (root / WAIVERS).exists():
        return []
    tables = toml_tables.read(root / WAIVERS, WAIVERS)
    entries = tables.pop("waiver", [])
    if tables or not isinstance(entries, list):
        raise UsageError(f"{WAIVERS}: every entry is a [[waiver]]; {next(iter(tables), 'waiver')!r} is none")
    return entries


def _waiver(number: int, entry: Any) -> Waiver:
    about = CaseKey(f"{entry.get('check')}", f"{entry.get('target')}") if isinstance(entry, dict) else "?"
    return validated(Waiver, entry, file=WAIVERS, name=str(about), heading=f"waiver {number}, {{}}:")


def _refuse_invalid(waiver: Waiver, catalogue: Catalogue, known: Sequence[str], now: datetime) -> None:
    if waiver.check not in catalogue.checks:
        raise UsageError(_says(waiver, "names an unknown check; correct the spelling, or remove the waiver"))
    if waiver.environment not in known:
        raise UsageError(_says(waiver, f"is for {waiver.environment!r}, which is none of {', '.join(known)}"))
    if datetime.combine(waiver.expires, time(), UTC) > now + LONGEST:  # before `ends`: the last date has no next day
        raise UsageError(_says(waiver, f"expires on {waiver.expires}; at most {LONGEST.days} days ahead are accepted"))
    if waiver.ends <= now:
        raise UsageError(_says(waiver, f"expired after {waiver.expires}; mend the failure, or have it accepted again"))


def _says(waiver: Waiver, what: str) -> str:
    return f"{WAIVERS}: the waiver of {waiver.key} in {waiver.environment} {what}"
