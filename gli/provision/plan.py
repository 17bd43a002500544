"""What applying an environment's stacks would do, stack by stack, before anything is done.

For an existing stack a change set of CloudFormation says it. For a new stack its template says it: the values of its
parameters come from stacks before it, which may not exist yet either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gli.common.sentences import listed
from gli.provision.account import Account, ProvisionError
from gli.provision.changes import Change, Line, of_new_stack
from gli.provision.stacks import Stack, Stacks

NOT_DEPLOYED = "none"
"""The value of a revision's parameter before anything was deployed."""
_USABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


@dataclass(frozen=True)
class Step:
    """The changes to one stack."""

    stack: Stack
    exists: bool
    changes: tuple[Change, ...]

    def beyond(self, shown: Step) -> bool:
        """Whether this step would do something that the other step did not show."""
        return not {(c.resource, c.kind) for c in self.changes} <= {(c.resource, c.kind) for c in shown.changes}

    def lines(self) -> Iterator[Line]:
        """The stack, then its changes."""
        if not self.changes:
            yield Line(f"{self.stack.name}: no changes")
        elif self.exists:
            yield Line(f"{self.stack.name}: {counted(self.changes)}")
            for change in self.changes:
                yield from change.lines()
        else:
            yield Line(f"{self.stack.name}: new, {counted(self.changes)}")
            for type_, names in _by_type(self.changes).items():
                yield Line(f"  + add       {type_}: {listed(names, most=100)}", "green")


@dataclass(frozen=True)
class Proposal:
    """A step with its change set; None if nothing changes."""

    step: Step
    change_set: str | None


def plan(account: Account, stacks: Stacks) -> list[Step]:
    """A step for every stack, in order. It changes nothing: its change sets are deleted again.

    Raises `ProvisionError` if a stack is in a state in which it can't be changed.
    """
    outputs: dict[str, str] = {}
    steps = []
    for stack in stacks.stacks:
        if not usable(account, stack):
            values = {n: v for n, v in {**outputs, **stacks.given}.items() if n in stack.template.parameters}
            steps.append(Step(stack, False, of_new_stack(stack.template.resources(values).values())))
            continue
        proposal = propose(account, stacks, stack, outputs)
        if proposal.change_set is not None:
            account.discard(stack, proposal.change_set)
        steps.append(proposal.step)
        outputs |= account.outputs(stack)
    return steps


def usable(account: Account, stack: Stack) -> bool:
    """Whether the stack exists. Raises `ProvisionError` if it exists and can't be changed now."""
    status = account.status(stack)
    if status is None:
        return False
    if status in _USABLE:
        return True
    if status.endswith("_IN_PROGRESS"):
        raise ProvisionError(f"{stack.name} is {status}: somebody applies it now; try again when that has ended")
    todo = (
        "find out why in its events, delete the stack, and apply again"
        if status == "ROLLBACK_COMPLETE"
        else "mend it in the CloudFormation console, then apply again"
    )
    raise ProvisionError(f"{stack.name} is {status}: {todo}")


def propose(account: Account, stacks: Stacks, stack: Stack, outputs: dict[str, str]) -> Proposal:
    """The change set for one stack; `outputs` are those of the stacks before it.

    The running code never changes: a service keeps the revision that it had when the stack was applied. If its task
    definition changes anyway, it gets the revision that runs now, which a pipeline may have deployed since.
    """
    exists = account.status(stack) is not None
    values, applied = stacks.parameters(stack, outputs), account.applied(stack)
    services = {
        f"{service.name.capitalize()}Revision": service
        for service in account.environment.services.values()
        if f"{service.name.capitalize()}Revision" in stack.template.parameters
    }
    kept = {name: applied.get(name, NOT_DEPLOYED) for name in services}
    name, changes = account.propose(stack, {**values, **kept})
    touched = {c.resource for c in changes if c.type in ("AWS::ECS::TaskDefinition", "AWS::ECS::Service")}
    now = dict(kept)
    for parameter, service in services.items():
        own = {f"{service.name.capitalize()}{part}" for part in ("Task", "Service")}
        if kept[parameter] == NOT_DEPLOYED or own & touched:
            now[parameter] = account.running(service) or NOT_DEPLOYED
    if now != kept:
        if changes:
            account.discard(stack, name)
        name, changes = account.propose(stack, {**values, **now})
    return Proposal(Step(stack, exists, changes), name if changes else None)


def lines(steps: Iterable[Step]) -> Iterator[Line]:
    """The whole plan, what takes data away first, as a person reads it."""
    steps = list(steps)
    taken = [(step, change) for step in steps for change in step.changes if change.takes_data]
    if taken:
        yield Line("Takes data away:", "red")
        for step, change in taken:
            first, *_ = change.lines()
            yield Line(f"{first.text}  in {step.stack.name}", "red")
        yield Line("")
    for step in steps:
        yield from step.lines()
    every = [c for step in steps for c in step.changes]
    yield Line("")
    yield Line(f"{counted(every)}." if every else "Nothing to do: AWS is as the templates say.")


def counted(changes: Iterable[Change]) -> str:
    """`1 to replace, 2 to change`."""
    kinds = [c.kind for c in changes]
    return ", ".join(f"{kinds.count(k)} to {k}" for k in ("replace", "remove", "change", "add") if k in kinds)


def _by_type(changes: Iterable[Change]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for change in changes:
        found[change.type].append(change.resource)
    return dict(sorted(found.items()))
