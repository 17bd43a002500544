"""Mutation testing: changes one place of a module at a time, and asks whether a test fails.

    .venv/bin/python tests/tools/mutants.py [--sample N] MODULE... -- PYTEST-ARGUMENT...

The tests run in a copy of the project, each time in a fork of a process that has imported the libraries. Prints each
mutant that no test noticed, and the share that was noticed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_LEFT_OUT = shutil.ignore_patterns(".venv", ".git", ".sandbox", "reports", "node_modules", "__pycache__", ".*_cache")
_LONGEST_S = 300
_LIBRARIES = ("pytest", "hypothesis.strategies", "pydantic", "boto3", "httpx", "websockets", "psycopg", "redis", "yaml")
_OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}
_NAMES = {"any": "all", "all": "any", "min": "max", "max": "min"}


@dataclass(frozen=True)
class Mutant:
    path: Path
    line: int
    before: str
    after: str
    text: str
    """The whole changed module."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before}  ->  {self.after}"


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """The node in every other form."""
    match node:
        case ast.Compare(ops=ops):
            for n, op in enumerate(ops):
                other = copy.deepcopy(node)
                other.ops[n] = _OTHER[type(op)]()  # type: ignore[call-overload]
                yield other
        case ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op) in _OTHER:
            other = copy.deepcopy(node)
            other.op = _OTHER[type(op)]()  # type: ignore[assignment]
            yield other
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Name(id=name, ctx=ast.Load()) if name in _NAMES:
            yield ast.Name(_NAMES[name], ast.Load())
        case ast.IfExp(body=body, orelse=orelse):
            yield body
            yield orelse


def mutants(path: Path) -> Iterator[Mutant]:
    """Every mutant of a module."""
    source = (ROOT / path).read_text(encoding="utf-8")
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tree = ast.parse(source)
    annotations = {id(n) for top in ast.walk(tree) for n in ast.walk(getattr(top, "annotation", None) or ast.Pass())}
    for node in ast.walk(tree):
        if id(node) in annotations or not isinstance(node, ast.expr):
            continue
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        for other in changed(node):
            after = f"({ast.unparse(other)})"
            text = (source.encode()[:begin] + after.encode() + source.encode()[end:]).decode()
            try:
                ast.parse(text)
            except SyntaxError:  # a place in an f-string
                continue
            yield Mutant(path, node.lineno, ast.unparse(node), ast.unparse(other), text)


def is_noticed(tests: list[str]) -> bool:
    """Whether one of the tests fails, or they do not end."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(_LONGEST_S)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        os._exit(bool(importlib.import_module("pytest").main(["-x", "-q", "-p", "no:cacheprovider", *tests])))
    return os.waitpid(pid, 0)[1] != 0


def main() -> None:
    at = sys.argv.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=int)
    parser.add_argument("modules", nargs="+", type=Path)
    asked, tests = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    found = [m for module in asked.modules for m in mutants(module)]
    tried = sorted(random.Random(1).sample(found, min(asked.sample or len(found), len(found))), key=str)
    with tempfile.TemporaryDirectory(prefix="gli-mutants-") as folder:
        root = Path(folder) / "project"
        shutil.copytree(ROOT, root, ignore=_LEFT_OUT)
        for library in _LIBRARIES:
            importlib.import_module(library)
        os.chdir(root)
        sys.path[:] = [str(root), *(p for p in sys.path if not Path(p or ".").resolve().is_relative_to(ROOT / "tests"))]

        if is_noticed(tests):
            sys.exit("the tests fail without a change; mend that first")
        survived = []
        for mutant in tried:
            whole = (root / mutant.path).read_text(encoding="utf-8")
            (root / mutant.path).write_text(mutant.text, encoding="utf-8")
            if not is_noticed(tests):
                survived.append(mutant)
                print(mutant, flush=True)
            (root / mutant.path).write_text(whole, encoding="utf-8")
    noticed = len(tried) - len(survived)
    print(f"{noticed} of {len(tried)} mutants noticed ({noticed / len(tried):.1%}), of {len(found)} that there are")


if __name__ == "__main__":
    main()
