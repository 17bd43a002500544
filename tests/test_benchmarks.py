"""The benchmarks can start; that of promotions is fair: every tool does the whole work. Durations are not tested."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from conftest import ROOT, exhaustive

BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.stem}_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", BENCHMARKS, ids=[path.stem for path in BENCHMARKS])
def test_a_benchmark_finds_what_it_imports(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(path.parent)
    imported(path)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return imported(ROOT / "benchmarks" / "promotion.py")


@pytest.mark.parametrize("way", [("stg", "main"), pytest.param(("dev", "stg"), marks=exhaustive)])
def test_a_promotion_is_compared_with_a_loop(benchmark: ModuleType, tmp_path: Path, way: tuple[str, str]) -> None:
    seen = benchmark.promotions(way, benchmark.slow_to_connect(10), 1, tmp_path)
    assert set(seen) == {"gli", "gli moved", "loop"}
    assert all(len(seconds) == 1 for seconds in seen.values())


def test_a_pull_is_compared_with_the_installed_tools(benchmark: ModuleType, tmp_path: Path) -> None:
    seen = benchmark.pulls(2, benchmark.slow_to_connect(10), 1, tmp_path)
    assert set(seen) == {"one commit", "nothing new"}
    assert all({"gli", "loop"} <= set(ways) for ways in seen.values())
