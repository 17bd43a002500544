"""`infrastructure/stacks.toml`: the stacks of an environment, their order, and the decisions of people about them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gli.common.errors import UsageError
from gli.common.sentences import listed
from gli.provision.template import Template

FOLDER = "infrastructure"
FILE = f"{FOLDER}/stacks.toml"


@dataclass(frozen=True)
class Stack:
    """One stack of one environment."""

    name: str
    template: Template
    region: str | None
    """None: the environment's own."""

    @property
    def shared(self) -> bool:
        """It serves all environments."""
        return "Environment" not in self.template.parameters


@dataclass(frozen=True)
class Stacks:
    """All stacks of one environment, in the order in which they are applied."""

    environment: str
    stacks: tuple[Stack, ...]
    given: Mapping[str, str]
    """Parameters that the file gives for this environment, and `Environment`."""

    def parameters(self, stack: Stack, outputs: Mapping[str, str]) -> dict[str, str]:
        """The values of the stack's parameters; those with a default that nothing fills are left out.

        `outputs` are those of the stacks before it.
        """
        filled = {**outputs, **self.given}
        return {n: filled[n] for n in stack.template.parameters if n in filled}


def load(root: Path, environment: str) -> Stacks:
    """The stacks of the environment. Raises `UsageError` if the file or one of its keys is wrong or missing."""
    tables = _read(root)
    known = tables.get("parameters", {})
    if environment not in known:
        raise UsageError(f"{FILE}: [parameters.{environment}] is missing; only {listed(sorted(known))} stand on AWS")
    given = known[environment]
    for name, value in given.items():
        if not isinstance(value, str):
            raise UsageError(
                f"{FILE}: [parameters.{environment}] {name} = {value!r} should be a text; put it in quotes"
            )
    stacks = tuple(_stack(root, table, environment) for table in tables.get("stacks", []))
    names = {p for stack in stacks for p in stack.template.parameters}
    for name in given:
        if name not in names:
            raise UsageError(f"{FILE}: [parameters.{environment}] {name} is a parameter of no template; take it out")
    loaded = Stacks(environment, stacks, {**given, "Environment": environment})
    _every_parameter_is_filled(loaded)
    return loaded


def _every_parameter_is_filled(loaded: Stacks) -> None:
    """Raises `UsageError` for a parameter without a value before anything is applied, not in the middle."""
    filled = set(loaded.given)
    for stack in loaded.stacks:
        for name, parameter in stack.template.parameters.items():
            if name not in filled and "Default" not in parameter:
                raise UsageError(
                    f"{FILE}: [parameters.{loaded.environment}] {name} is missing: {stack.template.path.name} needs "
                    f"it, and no stack before {stack.name} has an output of that name; write it"
                )
        filled |= stack.template.outputs.keys()


def _read(root: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((root / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{root / FILE} is missing; run from the project's root") from None
    except tomllib.TOMLDecodeError as e:
        raise UsageError(f"{FILE} is not valid TOML: {e}; mend that line") from None


def _stack(root: Path, table: Any, environment: str) -> Stack:
    if not isinstance(table, dict) or not {"name", "template"} <= table.keys() <= {"name", "template", "region"}:
        raise UsageError(f"{FILE}: [[stacks]] takes name, template and region; {table!r} is something else")
    template = Template(root / FOLDER / table["template"])
    return Stack(table["name"].replace("{env}", environment), template, table.get("region"))
