"""Waivers: failures that somebody accepted, with reason, owner and expiry.

Source of truth: `checklists/waivers.toml`. A waiver that is malformed, expired, too long or matches nothing stops the
run with one sentence that names it. A file that is not there is no waiver.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import StringConstraints, ValidationError

from gli.common.errors import UsageError
from gli.config import environments
from gli.config.catalogue import WAIVERS, Catalogue
from gli.config.environments import Environment, Table

LONGEST = timedelta(days=30)
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3)]


class Waiver(Table):
    """One `[[waiver]]` of the file."""

    environment: str
    check: str
    target: str
    reason: Words
    owner: Words
    expires: date
    """The last day on which it counts, in UTC."""

    @property
    def key(self) -> tuple[str, str]:
        return self.check, self.target

    @property
    def label(self) -> str:
        return f"{self.check}[{self.target}]"

    @property
    def ends(self) -> datetime:
        """The first moment at which it counts no more."""
        return datetime.combine(self.expires, time(), UTC) + timedelta(days=1)


def load(root: Path, catalogue: Catalogue, environment: Environment, now: datetime) -> dict[tuple[str, str], Waiver]:
    """The waivers of one environment by check and target; raises `UsageError` for the first one that is not valid,
    of whichever environment it is.
    """
    known = environments.names(root)
    found: dict[tuple[str, str], Waiver] = {}
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
    try:
        tables = tomllib.loads((root / WAIVERS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except OSError as e:
        raise UsageError(f"{WAIVERS} can't be read: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"{WAIVERS} is not valid TOML: {e}; mend that line") from None
    entries = tables.pop("waiver", [])
    if tables or not isinstance(entries, list):
        raise UsageError(f"{WAIVERS}: every entry is a [[waiver]]; {next(iter(tables), 'waiver')!r} is none")
    return entries


def _waiver(number: int, entry: Mapping[str, Any]) -> Waiver:
    try:
        return Waiver.model_validate(entry)
    except ValidationError as e:
        error = e.errors(include_url=False)[0]
        key = ".".join(str(part) for part in error["loc"])
        about = f"{entry.get('check')}[{entry.get('target')}]" if isinstance(entry, dict) else "?"
        raise UsageError(f"{WAIVERS}: waiver {number}, {about}: {key}: {error['msg']}; mend the entry") from None


def _refuse_invalid(waiver: Waiver, catalogue: Catalogue, known: list[str], now: datetime) -> None:
    if waiver.check not in catalogue.checks:
        raise UsageError(_says(waiver, "is of no check that there is; mend its spelling, or take it out"))
    if waiver.environment not in known:
        raise UsageError(_says(waiver, f"is for {waiver.environment!r}, which is none of {', '.join(known)}"))
    if datetime.combine(waiver.expires, time(), UTC) > now + LONGEST:  # first: the last day that there is has no end
        raise UsageError(_says(waiver, f"expires on {waiver.expires}; at most {LONGEST.days} days ahead are accepted"))
    if waiver.ends <= now:
        raise UsageError(_says(waiver, f"expired after {waiver.expires}; mend the failure, or have it accepted again"))


def _says(waiver: Waiver, what: str) -> str:
    return f"{WAIVERS}: the waiver of {waiver.label} in {waiver.environment} {what}"
