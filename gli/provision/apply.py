"""Carry out a plan, stack by stack, with the progress of each resource and the reason of the first failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from gli.provision.account import Account, ProvisionError
from gli.provision.changes import Line
from gli.provision.plan import Step, propose, usable
from gli.provision.stacks import Stack, Stacks

_POLL_S = 3.0
_FIRST_POLL_S = 0.2
_ENDED = ("_COMPLETE", "_FAILED")
_BECAUSE_OF_ANOTHER = ("Resource creation cancelled", "Resource update cancelled")
Say = Callable[[Line], None]
Confirm = Callable[[list[Step]], bool]

INVENTORY = {
    "ECR repositories": "AWS::ECR::Repository",
    "ECS clusters": "AWS::ECS::Cluster",
    "ECS services": "AWS::ECS::Service",
    "S3 buckets": "AWS::S3::Bucket",
    "CloudWatch log groups": "AWS::Logs::LogGroup",
    "security groups": "AWS::EC2::SecurityGroup",
    "IAM roles": "AWS::IAM::Role",
}
"""What the deployment overview says that provisioning makes, and the type of each."""


def apply(account: Account, stacks: Stacks, shown: list[Step], confirm: Confirm, say: Say) -> bool:
    """Apply every stack that has changes; False if somebody did not confirm. `shown` was confirmed.

    A later stack may turn out to change more than was shown, because the stacks before it have other outputs now. That
    step is confirmed on its own. Raises `ProvisionError` at the first failure; the stacks before it stay applied, and
    the next apply goes on from there.
    """
    outputs: dict[str, str] = {}
    for stack, seen in zip(stacks.stacks, shown, strict=True):
        usable(account, stack)
        proposal = propose(account, stacks, stack, outputs)
        if proposal.change_set is not None:
            if proposal.step.beyond(seen) and not confirm([proposal.step]):
                account.discard(stack, proposal.change_set)
                return False
            say(Line(f"{stack.name}:"))
            _carry_out(account, stack, proposal.change_set, say)
        if account.environment.production:
            account.protect(stack)
        outputs |= account.outputs(stack)
    return True


def inventory(account: Account, stacks: Stacks) -> Iterator[Line]:
    """What exists now, by the kinds that the deployment overview lists, and the values that people must enter
    elsewhere.
    """
    found = [r for stack in stacks.stacks if account.status(stack) for r in account.resources(stack)]
    for kind, type_ in INVENTORY.items():
        names = sorted(_short(r) for r in found if r["ResourceType"] == type_)
        yield Line(f"{kind}: {', '.join(names) or 'none'}")
    for stack in stacks.stacks:
        values = account.outputs(stack)
        for name, output in stack.template.outputs.items():
            if "Description" in output and name in values:
                yield Line(f"{name}: {values[name]} ({output['Description']})")


def _carry_out(account: Account, stack: Stack, change_set: str, say: Say) -> None:
    exists = account.status(stack) is not None
    seen = {e["EventId"] for e in account.events(stack)} if exists else set[str]()
    account.execute(stack, change_set)
    began: dict[str, datetime] = {}
    failures: list[dict[str, Any]] = []
    for event in _events(account, stack, seen):
        failures += [event] if event["ResourceStatus"].endswith("_FAILED") else []
        line = _progress(stack, event, began)
        if line is not None:
            say(line)
    status = account.status(stack) or "gone"
    if failures or status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise ProvisionError(f"{stack.name} is {status}. {_first(failures)}")


def _events(account: Account, stack: Stack, seen: set[str]) -> Iterator[dict[str, Any]]:
    """New events (not in `seen`), as they come, until the event that ends the stack's operation."""
    wait = _FIRST_POLL_S
    while True:
        for event in account.events(stack, seen):
            seen.add(event["EventId"])
            yield event
            status = event["ResourceStatus"]
            of_the_stack = event["PhysicalResourceId"] == event["StackId"]
            if of_the_stack and status.endswith(_ENDED):
                return
        time.sleep(wait)
        wait = min(2 * wait, _POLL_S)


def _progress(stack: Stack, event: dict[str, Any], began: dict[str, datetime]) -> Line | None:
    """A line for a resource that is done or has failed; None for one that only begins, and for the stack."""
    name, status, at = event["LogicalResourceId"], event["ResourceStatus"], event["Timestamp"]
    if name == stack.name:
        return None
    if status.endswith("_IN_PROGRESS"):
        began.setdefault(name, at)
        return None
    took = f"{(at - began.get(name, at)).total_seconds():.0f} s"
    done = {"CREATE": "created", "UPDATE": "updated", "DELETE": "deleted"}.get(status.partition("_")[0], status.lower())
    if status.endswith("_FAILED"):
        reason = event.get("ResourceStatusReason", "no reason given")
        return Line(f"  FAILED   {name} ({event['ResourceType']}): {reason}", "red")
    return Line(f"  {done:8} {name} ({event['ResourceType']}), {took}")


def _first(failures: Iterable[dict[str, Any]]) -> str:
    """The failure that caused the others."""
    for event in failures:
        reason = event.get("ResourceStatusReason", "no reason given")
        if not reason.startswith(_BECAUSE_OF_ANOTHER):
            return f"The first failure: {event['LogicalResourceId']} ({event['ResourceType']}): {reason}"
    return "CloudFormation names no resource that failed"


def _short(resource: dict[str, Any]) -> str:
    """A name that people know: the last part of an ARN; a security group also by its logical name."""
    physical = str(resource.get("PhysicalResourceId", ""))
    if physical.startswith("sg-"):
        return f"{resource['LogicalResourceId']} ({physical})"
    return physical.rpartition("/")[2] if physical.startswith("arn:") else physical
