"""What each check reads of a recorded run: a state tries a check if the check reads something else in it than usual.

    judged(folder / "facts.jsonl")     # {"alb-active": {"Balancer.type = 'application'", ...}, ...}

The functions of the checks run again over the recorded facts, and every value that they read of an observation is kept.
Times are left out, and small differences of measurements: these differ in every run.
"""

from __future__ import annotations

import importlib
import inspect
import runpy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from conftest import ROOT
from gli.config import catalogue, environments
from gli.config.environments import Environment
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Replay
from gli.observe.engine.probe import probe_of
from gli.report.files import read_facts

_OBSERVED = ("gli.observe.", "gli.common.")


def judged(facts: Path) -> dict[str, set[str]]:
    """By check, what its function reads of the observations in a record; on all of its targets together."""
    runpy.run_path(str(ROOT / "conftest.py"))  # it tells in which module each probe is
    header, records = read_facts(facts)
    environment = environments.load(ROOT, header["environment"], overlay=header["overlay"])
    seen, known, functions = Replay(records), catalogue.load(ROOT), _functions()
    found: dict[str, set[str]] = {}
    for case in known.cases(environment, None):
        function, target = functions[case.check.function], known.targets(case.check, environment)[case.target]
        read = found.setdefault(case.check.id, set())
        with suppress(Unobserved, AssertionError):
            given = {name: _given(name, seen, target, environment, read) for name in _named(function)}
            with _kept(read):
                function(**given)
    return found


def _functions() -> dict[str, Any]:
    modules = [
        importlib.import_module(f"{folder}.{path.stem}")
        for folder in ("tests_infra", "tests_smoke")
        for path in sorted((ROOT / folder).glob("test_*.py"))
    ]
    return {name: of for module in modules for name, of in vars(module).items() if name.startswith("test_")}


def _named(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def _given(name: str, seen: Replay, target: Any, environment: Environment, read: set[str]) -> Any:
    if name in ("target", "environment"):
        return {"target": target, "environment": environment}[name]
    if name == "certificate":  # a fixture of its own module
        return seen.wait(_probe("tls_session"), target).certificate
    found = _probe(name)
    return _shown(name, seen.wait(found, target if found.per_target else None), read)


def _probe(name: str) -> Any:
    found = probe_of(name)
    assert found is not None, name
    return found


class _Table(dict[Any, Any]):
    """A table that keeps which of its entries are read."""

    def __init__(self, name: str, table: Mapping[Any, Any], read: set[str]) -> None:
        super().__init__(table)
        self._name, self._read = name, read

    def __getitem__(self, key: Any) -> Any:
        return _shown(f"{self._name}[{key}]", super().__getitem__(key), self._read)

    def get(self, key: Any, default: Any = None) -> Any:
        return _shown(f"{self._name}[{key}]", super().get(key, default), self._read)

    def __contains__(self, key: Any) -> bool:
        return bool(_shown(f"{self._name} has {key}", super().__contains__(key), self._read))

    def __iter__(self) -> Iterator[Any]:
        return iter(_shown(f"{self._name} keys", list(super().__iter__()), self._read))

    def keys(self) -> Any:
        return _shown(f"{self._name} keys", super().keys(), self._read)

    def values(self) -> Any:
        return _shown(f"{self._name} values", list(super().values()), self._read)

    def items(self) -> Any:
        return _shown(f"{self._name} items", list(super().items()), self._read)


def _shown(name: str, value: Any, read: set[str]) -> Any:
    """The value, kept under its name if it is a plain one; a table that keeps what is read of it."""
    if isinstance(value, BaseModel):
        return value
    if isinstance(value, Mapping):
        return _Table(name, value, read)
    if (said := _said(value)) is not None:
        read.add(f"{name} = {said}")
    return value


def _said(value: Any) -> str | None:
    """A plain value in words: of a time its type alone, of a measurement two digits. None for what holds observations
    with fields of their own.
    """
    if isinstance(value, BaseModel):
        return None
    if isinstance(value, datetime | timedelta):
        return f"a {type(value).__name__}"
    if isinstance(value, float):
        return f"{value:.2g}"
    if isinstance(value, str | int | None):
        return repr(value)
    if not hasattr(value, "__iter__"):
        return repr(value)
    each = [_said(one) for one in value]
    return f"[{', '.join(sorted({one for one in each if one is not None}))}]" if any(each) or not each else None


@contextmanager
def _kept(read: set[str]) -> Iterator[None]:
    """Keep what is read of observations until the end of the block."""
    usual = BaseModel.__getattribute__

    def kept(self: BaseModel, name: str) -> Any:
        value = usual(self, name)
        kind = type(self)
        if name.startswith("_") or not kind.__module__.startswith(_OBSERVED) or name not in kind.model_fields:
            return value
        return _shown(f"{kind.__name__}.{name}", value, read)

    BaseModel.__getattribute__ = kept  # type: ignore[method-assign]
    try:
        yield
    finally:
        BaseModel.__getattribute__ = usual  # type: ignore[method-assign]
