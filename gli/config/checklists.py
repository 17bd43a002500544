"""The checklists: what must be true before and after a deployment, and what proves each item.

Source of truth: `checklists/pre-deploy.toml` and `checklists/post-deploy.toml`. Checks prove an item, or people confirm
it, or both. This module only reads; `gli.judge.checklist` says which items are done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gli.common.errors import UsageError
from gli.config import toml_tables
from gli.config.environments import Environment
from gli.config.toml_models import Table, validated

PHASES = ("pre-deploy", "post-deploy")


class Text(Table):
    """One sentence in English and, where its author writes Korean, in Korean."""

    en: str
    ko: str = ""

    def of(self, language: str) -> str:
        """The sentence in the language, or in English if the language has none."""
        return (self.ko if language == "ko" else "") or self.en


class Item(Table):
    """One item of a checklist."""

    id: str
    heading: str
    text: Text
    checks: tuple[str, ...] = ()
    """The checks that prove the item."""
    people: Annotated[int, Field(ge=0, le=9)] = 0
    """How many different people must sign the item."""
    on: Literal["staging", "production"] | None = None
    """Where its checks run; None: in staging and in production."""

    def asked_in(self, environment: Environment) -> bool:
        """Whether its checks run in this environment."""
        return self.on is None or (self.on == "production") == environment.production


@dataclass(frozen=True)
class Checklist:
    """The items of one phase, in their order, and the headings that they stand under."""

    phase: str
    headings: Mapping[str, Text]
    items: Mapping[str, Item]

    @property
    def path(self) -> Path:
        return file_of(self.phase)

    def names(self, check: str) -> bool:
        """Whether a check proves one of the items."""
        return any(check in item.checks for item in self.items.values())

    def asks(self, check: str, environment: Environment) -> bool:
        """Whether one of the items needs the check in this environment."""
        return any(check in i.checks and i.asked_in(environment) for i in self.items.values())

    def signed_in(self, item: Item, environment: Environment) -> bool:
        """Whether people sign the item for this environment: before a deployment to production for what will land,
        which is staging; after it for production.
        """
        return item.people > 0 and (self.phase == "post-deploy") == environment.production

    def shown_in(self, environment: Environment) -> tuple[Item, ...]:
        """The items that concern this environment."""
        shown = (
            i for i in self.items.values() if (i.checks and i.asked_in(environment)) or self.signed_in(i, environment)
        )
        return tuple(shown)


def file_of(phase: str) -> Path:
    """The file of a phase's checklist, relative to the project's root."""
    return Path("checklists") / f"{phase}.toml"


def load(root: Path) -> dict[str, Checklist]:
    """The checklist of each phase. Raises `UsageError` for every error but an unknown check id, which
    `gli.config.catalogue` reports.
    """
    return {phase: _checklist(root, phase) for phase in PHASES}


def _checklist(root: Path, phase: str) -> Checklist:
    file = file_of(phase)
    tables = toml_tables.read(root / file, file, missing="it says what proves a deployment")
    headings = tables.pop("headings", {})
    tables = toml_tables.with_own(tables, root, Path("tests_own") / file.name, file)
    if not isinstance(headings, dict):
        raise UsageError(f"{file}: headings must be tables, as in [headings.staging]")
    known = {name: validated(Text, table, file=file, name=f"headings.{name}") for name, table in headings.items()}
    items = {id_: validated(Item, table, file=file, name=id_, id=id_) for id_, table in tables.items()}
    for item in items.values():
        if item.heading not in known:
            raise UsageError(f"{file}: [{item.id}] heading = {item.heading!r} is none of: {', '.join(known) or 'none'}")
        if not item.checks and not item.people:
            raise UsageError(f"{file}: [{item.id}] is proven by nothing; give it checks, or people who sign it")
    return Checklist(phase=phase, headings=known, items=items)
