"""What was changed by hand since the templates were applied, in words.

Source of truth: cloudformation DetectStackDrift and DescribeStackResourceDrifts.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gli.provision.account import Account
from gli.provision.changes import Line
from gli.provision.stacks import Stack, Stacks
from gli.provision.template import Resource


@dataclass(frozen=True)
class Drift:
    """What drift detection found in one stack."""

    stack: Stack
    exists: bool
    differences: tuple[str, ...] = ()
    by_design: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    """Resources that CloudFormation can't compare."""
    total: int = 0

    @property
    def drifted(self) -> bool:
        return not self.exists or bool(self.differences)

    @property
    def unknown(self) -> bool:
        """Whether nothing of the stack could be compared. That does not mean that nothing changed."""
        return not self.drifted and len(self.unchecked) == self.total

    def lines(self) -> Iterator[Line]:
        """The stack's findings."""
        if not self.exists:
            yield Line(f"{self.stack.name}: does not exist; `gli infra apply` makes it", "red")
            return
        state = "drifted" if self.differences else "cannot tell" if self.unknown else "as applied"
        yield Line(f"{self.stack.name}: {state}, {self.total - len(self.unchecked)} of {self.total} resources compared")
        yield from (Line(f"  {text}", "red") for text in self.differences)
        yield from (Line(f"  by design: {text}") for text in self.by_design)
        if self.unchecked:
            yield Line(f"  CloudFormation can't compare {', '.join(self.unchecked)}")


def drift(account: Account, stacks: Stacks) -> Iterator[Drift]:
    """The drift of every stack, in order, each as soon as it is known. Changes nothing."""
    for stack in stacks.stacks:
        if account.status(stack) is None:
            yield Drift(stack, exists=False)
            continue
        resources = stack.template.resources(account.applied(stack))
        found = account.drifts(stack)
        told = [differences(each, resources) for each in found]
        every = {r["LogicalResourceId"] for r in account.resources(stack)}
        compared = {d["LogicalResourceId"] for d in found if d["StackResourceDriftStatus"] != "NOT_CHECKED"}
        yield Drift(
            stack,
            exists=True,
            differences=tuple(text for by_hand, _ in told for text in by_hand),
            by_design=tuple(text for _, expected in told for text in expected),
            unchecked=tuple(sorted(every - compared)),
            total=len(every),
        )


def differences(found: Mapping[str, Any], resources: Mapping[str, Resource]) -> tuple[list[str], list[str]]:
    """The differences of one resource of DescribeStackResourceDrifts: those made by hand, and those by design."""
    name = found["LogicalResourceId"]
    which = f"{name} ({found['ResourceType']} {found.get('PhysicalResourceId', '')})"
    if found["StackResourceDriftStatus"] == "DELETED":
        return [f"{which} was deleted"], []
    by_hand, expected = [], []
    by_design = resources[name].by_design if name in resources else {}
    for each in found.get("PropertyDifferences", []):
        path = each["PropertyPath"].lstrip("/")
        actual, wanted = _short(each.get("ActualValue")), _short(each.get("ExpectedValue"))
        text = f"{which}: {path} is {actual}, and the template says {wanted}"
        reason = by_design.get(path.partition("/")[0])
        if reason:
            expected.append(f"{text}: {reason}")
        else:
            by_hand.append(text)
    return by_hand, expected


def _short(value: Any) -> str:
    """A value that CloudFormation gives as text: parsed if it is JSON."""
    text = "nothing" if value in (None, "null") else str(value)
    with contextlib.suppress(ValueError):
        text = json.dumps(json.loads(text)) if text[:1] in "{[" else text
    return text if len(text) <= 120 else f"{text[:117]}..."
