"""Records the AWS answers of a run against the sandbox, and runs all probes and checks again on changed answers.

    recorded = record(environment)
    recorded.judged(lambda name, answer: answer)     # check and target to outcome, from the answers as they were

Other observations (git, HTTP, the data tier) stay as they were recorded. Nothing is sent.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from botocore import xform_name

from conftest import ROOT
from gli.config import catalogue
from gli.config.check import Case
from gli.config.environments import Environment
from gli.observe.engine import observatory as engine
from gli.observe.engine.aws_models import loader
from gli.observe.engine.aws_session import AwsSession
from gli.observe.engine.guard import AWS_READS
from gli.observe.engine.observation import Unobserved, unknown
from gli.observe.engine.observatory import Observatory, target_name
from gli.observe.engine.probe import Probe, probe_of

runpy.run_path(str(ROOT / "conftest.py"))  # it tells in which module each probe is
_NOT_RECORDED = unknown("not-recorded", "the recorded run did not make this call")
MODULES = (
    *("balancer", "compute", "data", "edge", "identity", "network", "parity", "paths", "pipelines", "registry"),
    *("release", "roles", "scaling", "start", "storage", "tasks", "watching"),
)
Change = Callable[[str, Any], Any]
"""From an operation (`ecs.describe_services`) and its answer to what it should answer instead."""


@dataclass(frozen=True)
class Outcome:
    """What a check came to: `passed`, `failed`, `unknown`, or `broken` for any other exception."""

    kind: str
    message: str = ""


@dataclass
class Recorded:
    """Every answer of AWS by call, every other observation by probe and target, and the cases that use them."""

    environment: Environment
    cases: list[tuple[Case, Any]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    others: dict[tuple[str, str], Any] = field(default_factory=dict)

    def operations(self) -> list[str]:
        """`ecs.describe_services` for every operation that was called."""
        return sorted({name.partition(" ")[0] for name in self.answers})

    def samples(self, operation: str) -> list[Any]:
        """The answers of one operation."""
        found = [a for name, a in self.answers.items() if name.partition(" ")[0] == operation]
        return [a for a in found if not isinstance(a, Exception)]

    def members(self, operation: str) -> dict[Path, Any]:
        """Every member that an answer of the operation has, with its shape, in a fixed order."""
        described = shape(operation)
        return dict(sorted({p: s for a in self.samples(operation) for p, s in paths(described, a)}.items(), key=str))

    def left_out(self, operation: str) -> dict[Path, Any]:
        """Every member that no answer of the operation has, with its shape, in a fixed order."""
        described = shape(operation)
        there = self.members(operation).keys()
        found = {p: s for a in self.samples(operation) for p, s in gaps(described, a) if p not in there}
        return dict(sorted(found.items(), key=str))

    def judged(self, change: Change) -> dict[str, Outcome]:
        """`check[target]` to its outcome, with every answer changed."""

        def answered(_: Any, call: Any, service: str, operation: str, *where: Any, **how: Any) -> Any:
            found = self.answers.get(_name(service, operation, *where), _NOT_RECORDED)
            if isinstance(found, Exception):
                raise found
            return change(f"{service}.{operation}", copy.deepcopy(found))

        tried = engine._tried

        async def replayed(probe: Probe[Any], target: Any, observer: Any) -> Any:
            key = (probe.name, target_name(target))
            if key not in self.others:
                return await tried(probe, target, observer)
            if isinstance(self.others[key], Exception):
                raise self.others[key]
            return self.others[key]

        with patch.object(AwsSession, "_call", answered), patch.object(engine, "_tried", replayed):
            return dict(_outcomes(self.environment, self.cases))


def record(environment: Environment) -> Recorded:
    """Run every case of the infrastructure checks, and keep what they are built on."""
    recorded = Recorded(environment, _cases(environment))
    call, tried = AwsSession._call, engine._tried

    def answered(self: Any, of: Any, service: str, operation: str, *where: Any, **how: Any) -> Any:
        name = _name(service, operation, *where)
        try:
            answer = call(self, of, service, operation, *where, **how)
        except Exception as error:
            recorded.answers[name] = error
            raise
        recorded.answers[name] = copy.deepcopy(answer)
        return answer

    async def kept(probe: Probe[Any], target: Any, observer: Any) -> Any:
        of_aws = ".aws." in probe.run.__module__ or probe.run.__module__.endswith(".secrets")
        key = (probe.name, target_name(target))
        try:
            seen = await tried(probe, target, observer)
        except Unobserved as error:
            if not of_aws:
                recorded.others[key] = error
            raise
        if not of_aws:
            recorded.others[key] = seen
        return seen

    with patch.object(AwsSession, "_call", answered), patch.object(engine, "_tried", kept):
        dict(_outcomes(environment, recorded.cases))
    return recorded


def _cases(environment: Environment) -> list[tuple[Case, Any]]:
    """The cases of the checks in `tests_infra`, with their target tables."""
    known = catalogue.load(ROOT)
    return [
        (case, known.targets(case.check, environment)[case.target])
        for case in known.cases(environment, "on-call")
        if case.not_applicable is None and case.check.function in _functions()
    ]


def _functions() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in MODULES:
        module = importlib.import_module(f"tests_infra.test_{name}")
        found |= {k: v for k, v in vars(module).items() if k.startswith("test_")}
    return found


def _outcomes(environment: Environment, cases: list[tuple[Case, Any]]) -> Iterator[tuple[str, Outcome]]:
    functions = _functions()
    observatory = Observatory(environment)
    try:
        asked = [(case, target, inspect.signature(functions[case.check.function])) for case, target in cases]
        for _, target, signature in asked:
            for name in signature.parameters:
                if (found := probe_of(name)) is not None:
                    observatory.begin(found, target if found.per_target else None)
        for case, target, signature in asked:
            yield f"{case.check.id}[{case.target}]", _outcome(observatory, functions, case, target, signature)
    finally:
        observatory.close()


def _outcome(observatory: Observatory, functions: Any, case: Case, target: Any, signature: Any) -> Outcome:
    given: dict[str, Any] = {"target": target, "environment": observatory.environment}
    try:
        for name in signature.parameters:
            if (found := probe_of(name)) is not None:
                given[name] = observatory.wait(found, target if found.per_target else None)
        functions[case.check.function](**{name: given[name] for name in signature.parameters})
    except Unobserved as error:
        return Outcome("unknown", error.unknown.message)
    except AssertionError as error:
        return Outcome("failed", str(error).partition("\n")[0])
    except Exception as error:  # noqa: BLE001 - what a test looks for
        return Outcome("broken", f"{type(error).__name__}: {error}")
    return Outcome("passed")


def _name(service: str, operation: str, region: str, role: str | None, parameters: dict[str, Any]) -> str:
    steady = {k: v for k, v in parameters.items() if k not in ("StartTime", "EndTime", "startTime", "endTime")}
    return f"{service}.{operation} {region} {role} {steady!r}"


Path = tuple[str, ...]
"""The way to a member: names of members, `[]` for every element of a list, `*` for every value of a map."""


def paths(shape: Any, value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every member of an answer with its shape in botocore's model."""
    if shape is None or value is None:
        return
    if shape.type_name == "structure" and isinstance(value, dict):
        for name in value.keys() & shape.members.keys():
            yield (*path, name), shape.members[name]
            yield from paths(shape.members[name], value[name], (*path, name))
    elif shape.type_name == "list":
        for each in value:
            yield from paths(shape.member, each, (*path, "[]"))
    elif shape.type_name == "map":
        for each in value.values():
            yield from paths(shape.value, each, (*path, "*"))


def gaps(shape: Any, value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every member that botocore's model knows and the answer lacks, with its shape."""
    for way, described, structure in _structures(shape, value, path):
        yield from (((*way, n), described.members[n]) for n in described.members.keys() - structure.keys())


def _structures(shape: Any, value: Any, path: Path) -> Iterator[tuple[Path, Any, dict[str, Any]]]:
    if shape is None or value is None:
        return
    if shape.type_name == "structure" and isinstance(value, dict):
        yield path, shape, value
        for name in value.keys() & shape.members.keys():
            yield from _structures(shape.members[name], value[name], (*path, name))
    elif shape.type_name in ("list", "map"):
        inside, step = (shape.member, "[]") if shape.type_name == "list" else (shape.value, "*")
        for each in value if step == "[]" else value.values():
            yield from _structures(inside, each, (*path, step))


def fill(value: Any, path: Path, made: Any) -> None:
    """Give each structure that the path leads to its last member, where it lacks it."""
    first, *rest = path
    if first in ("[]", "*"):
        for each in value.values() if first == "*" else value:
            fill(each, tuple(rest), made)
    elif not rest:
        value.setdefault(first, copy.deepcopy(made))
    elif value.get(first) is not None:
        fill(value[first], tuple(rest), made)


_DEEPEST = 4
_TYPICAL = {
    "boolean": False,
    "blob": b"x",
    "double": 1.0,
    "float": 1.0,
    "integer": 1,
    "long": 1,
    "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
}


def typical(shape: Any, depth: int = 0) -> Any:
    """A value that AWS could send: every member of a structure, one element of a list, the first value of an enum."""
    kind = shape.type_name
    if kind == "structure":
        return {n: typical(m, depth + 1) for n, m in shape.members.items()} if depth < _DEEPEST else {}
    if kind == "list":
        return [typical(shape.member, depth + 1)] if depth < _DEEPEST else []
    if kind == "map":
        return {typical(shape.key): typical(shape.value, depth + 1)} if depth < _DEEPEST else {}
    return _TYPICAL.get(kind, (shape.metadata.get("enum") or ["x"])[0])


def edit(value: Any, path: Path, change: Callable[[Any, str], None]) -> None:
    """Call `change` with every structure that the path leads to, and the name of the member in it."""
    first, *rest = path
    if first in ("[]", "*"):
        for each in value.values() if first == "*" else value:
            edit(each, tuple(rest), change)
    elif isinstance(value, dict) and first in value:
        if rest:
            edit(value[first], tuple(rest), change)
        else:
            change(value, first)


def shape(operation: str) -> Any:
    """botocore's model of what an operation answers."""
    from botocore.session import Session

    service, _, name = operation.partition(".")
    session = Session()
    session.register_component("data_loader", loader())
    model = session.get_service_model(service)
    found = {xform_name(n): n for n in AWS_READS[service]}
    return model.operation_model(found[name]).output_shape
