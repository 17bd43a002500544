"""What a change set would do, sorted by what it may cost, and as lines for people.

Source of truth: cloudformation DescribeChangeSet with property values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gli.provision.template import Resource

HOLDS_DATA = frozenset(
    {
        "AWS::AmazonMQ::Broker",
        "AWS::ECR::Repository",
        "AWS::ElastiCache::ReplicationGroup",
        "AWS::Logs::LogGroup",
        "AWS::RDS::DBInstance",
        "AWS::Route53::HostedZone",
        "AWS::S3::Bucket",
        "AWS::SecretsManager::Secret",
    }
)
"""Types of resources that hold data: the templates alone can't bring the data back."""
Kind = Literal["replace", "remove", "change", "add"]
_ORDER: Mapping[Kind, int] = {"replace": 0, "remove": 1, "change": 2, "add": 3}
_SHOWN: Mapping[Kind, str] = {"replace": "-/+ replace", "remove": "- remove", "change": "~ change", "add": "+ add"}
_COLOUR: Mapping[Kind, str] = {"replace": "red", "remove": "red", "change": "yellow", "add": "green"}
_KEPT = {
    "Retain": "its data stays, outside of the stack",
    "ReplaceAndRetain": "its data stays in the old one, outside of the stack; the new one is empty",
    "Snapshot": "a last snapshot is kept",
    "ReplaceAndSnapshot": "a last snapshot of the old one is kept; the new one is empty",
}


@dataclass(frozen=True)
class Line:
    """A line of text, and its colour where there is a terminal."""

    text: str
    colour: str | None = None


@dataclass(frozen=True)
class Change:
    """One resource that would change."""

    resource: str
    type: str
    physical: str
    kind: Kind
    certain: bool
    """False: CloudFormation decides only while it applies whether the resource is replaced."""
    policy: str
    """What happens to what is taken away: `Delete`, `Retain`, `Snapshot`, and `ReplaceAnd...` of these."""
    properties: tuple[str, ...]
    """What changes, each as `Path: before → after`."""

    @property
    def takes_data(self) -> bool:
        """Whether the change takes away a resource that holds data, even if a copy is kept."""
        return self.kind in ("replace", "remove") and self.type in HOLDS_DATA

    @property
    def order(self) -> tuple[bool, int, str]:
        return (not self.takes_data, _ORDER[self.kind], self.resource)

    def lines(self) -> Iterator[Line]:
        """What it does, and the properties that make it so."""
        maybe = "" if self.certain else " (perhaps: AWS decides while applying)"
        data = f"  DATA: {_KEPT.get(self.policy, 'it is deleted, with no copy')}" if self.takes_data else ""
        physical = f" {self.physical}" if self.physical else ""
        yield Line(f"  {_SHOWN[self.kind]:11} {self.resource} ({self.type}{physical}){maybe}{data}", _COLOUR[self.kind])
        for each in self.properties:
            yield Line(f"{'':16}{each}")


def of_change_set(described: Iterable[Mapping[str, Any]], resources: Mapping[str, Resource]) -> tuple[Change, ...]:
    """The changes of a described change set to these resources of the template, the most costly first."""
    found = [_change(each["ResourceChange"], resources) for each in described if "ResourceChange" in each]
    return tuple(sorted(found, key=lambda c: c.order))


def of_new_stack(resources: Iterable[Resource]) -> tuple[Change, ...]:
    """The changes that create a new stack."""
    found = [Change(r.name, r.type, "", "add", True, "Delete", ()) for r in resources]
    return tuple(sorted(found, key=lambda c: c.order))


def _change(described: Mapping[str, Any], resources: Mapping[str, Resource]) -> Change:
    action, replacement = described["Action"], described.get("Replacement", "False")
    kind: Kind = {"Add": "add", "Import": "add", "Remove": "remove"}.get(action, "change")  # type: ignore[assignment]
    if kind == "change" and replacement != "False":
        kind = "replace"
    name = described["LogicalResourceId"]
    policy = f"ReplaceAnd{resources[name].replacement}" if kind == "replace" and name in resources else "Delete"
    return Change(
        name,
        described["ResourceType"],
        described.get("PhysicalResourceId", ""),
        kind,
        replacement != "Conditional" and action != "Dynamic",
        described.get("PolicyAction", policy),
        tuple(dict.fromkeys(_properties(described))) if kind in ("change", "replace") else (),
    )


def _properties(described: Mapping[str, Any]) -> Iterator[str]:
    for detail in described.get("Details", []):
        target = detail.get("Target", {})
        if target.get("Attribute") not in (None, "Properties"):
            yield str(target["Attribute"])
            continue
        path = str(target.get("Path") or target.get("Name") or "").removeprefix("/Properties/")
        again = "  (this replaces it)" if target.get("RequiresRecreation") == "Always" else ""
        if "BeforeValue" in target or "AfterValue" in target:
            before, after = (_short(target.get(key)) for key in ("BeforeValue", "AfterValue"))
            yield f"{path}: {before} → {after}{again}"
        elif path:
            cause = detail.get("CausingEntity")
            yield f"{path}{f', because {cause} changes' if cause else ''}{again}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
