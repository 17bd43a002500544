"""A CloudFormation template as data, and its resources with the values of one environment.

Source of truth: CloudFormation's template anatomy and intrinsic functions. Only what is known without AWS is resolved:
parameters, mappings, conditions, and texts made of them. A reference to another resource stays as it is written
(`{"Ref": "Vpc"}`), and in a text as `${Vpc}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gli.common.errors import UsageError

_NO_VALUE = {"Ref": "AWS::NoValue"}
_BARE = ("Ref", "Condition")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML with CloudFormation's short forms: `!Sub text` is `{"Fn::Sub": "text"}`."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in _BARE else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


@dataclass(frozen=True)
class Resource:
    """One resource of a template, for one set of parameters."""

    name: str
    type: str
    properties: Mapping[str, Any]
    deletion: str
    """DeletionPolicy: `Delete`, `Retain`, `RetainExceptOnCreate` or `Snapshot`."""
    replacement: str
    """UpdateReplacePolicy, what becomes of the old one: `Delete`, `Retain` or `Snapshot`."""
    by_design: Mapping[str, str]
    """Properties that change without the template, and who changes them (`Metadata: ChangesByDesign`)."""


class Template:
    """One file; `body` is its text, as AWS gets it."""

    def __init__(self, path: Path) -> None:
        """Raises `UsageError` if the file is missing or is not a template."""
        self.path = path
        try:
            self.body = path.read_text(encoding="utf-8")
            self.tables: dict[str, Any] = yaml.load(self.body, Loader=_Loader)
        except FileNotFoundError:
            raise UsageError(f"{path} is missing; infrastructure/stacks.toml names it") from None
        except yaml.YAMLError as e:
            raise UsageError(f"{path} is not valid YAML: {e}; mend that line") from None
        if not isinstance(self.tables, dict) or not isinstance(self.tables.get("Resources"), dict):
            raise UsageError(f"{path} is no CloudFormation template: it has no Resources")

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Its parameters by name."""
        return dict(self.tables.get("Parameters", {}))

    @property
    def outputs(self) -> Mapping[str, Mapping[str, Any]]:
        """Its outputs by name."""
        return dict(self.tables.get("Outputs", {}))

    def resources(self, values: Mapping[str, str]) -> dict[str, Resource]:
        """The resources that the template makes with these values of the parameters, by logical name."""
        known = {n: str(p["Default"]) for n, p in self.parameters.items() if "Default" in p} | dict(values)
        resolver = _Resolver(self.tables, known)
        return {
            name: Resource(
                name,
                table["Type"],
                resolver.resolved(table.get("Properties", {})),
                table.get("DeletionPolicy", "Delete"),
                table.get("UpdateReplacePolicy", "Delete"),
                table.get("Metadata", {}).get("ChangesByDesign", {}),
            )
            for name, table in self.tables["Resources"].items()
            if resolver.holds(table.get("Condition"))
        }


class _Resolver:
    """Intrinsic functions over known values of parameters."""

    def __init__(self, tables: Mapping[str, Any], known: Mapping[str, str]) -> None:
        self._mappings = tables.get("Mappings", {})
        self._conditions = tables.get("Conditions", {})
        self._known = known

    def holds(self, condition: str | None) -> bool:
        return condition is None or bool(self.resolved(self._conditions[condition]))

    def resolved(self, value: Any) -> Any:
        """The value with everything resolved that is known. Properties without a value are left out."""
        if isinstance(value, list):
            items = [self.resolved(v) for v in value]
            return [i for i in items if i != _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (function, argument), *_ = value.items()
            if function.startswith("Fn::") or function in _BARE:
                return self._function(function.removeprefix("Fn::"), argument)
        pairs = {k: self.resolved(v) for k, v in value.items()}
        return {k: v for k, v in pairs.items() if v != _NO_VALUE}

    def _function(self, name: str, argument: Any) -> Any:
        if name == "Ref":
            return self._known.get(argument, {"Ref": argument})
        if name == "Condition":
            return self.holds(argument)
        if name == "If":
            condition, yes, no = argument
            return self.resolved(yes if self.holds(condition) else no)
        if name == "Sub":
            return self._sub(argument)
        arguments = self.resolved(argument)
        if name == "FindInMap" and all(isinstance(a, str) for a in arguments):
            table, row, column = arguments
            return self._mappings[table][row][column]
        if name == "Equals":
            return arguments[0] == arguments[1]
        if name == "Not":
            return not arguments[0]
        if name == "And":
            return all(arguments)
        if name == "Or":
            return any(arguments)
        return {f"Fn::{name}": arguments}

    def _sub(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument
        values = {**self._known, **{k: self.resolved(v) for k, v in own.items()}}
        return re.sub(r"\$\{([^!}][^}]*)\}", lambda m: str(values.get(m[1], m[0])), text)
