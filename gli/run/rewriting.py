"""Checks whose assertions pytest rewrites are compiled from the bytes that are hashed, like all other files that judge.

pytest's own import hook (`--assert=rewrite`) reads a file or its cached bytecode by itself, so nobody could say later
what ran. Source of truth: `_pytest.assertion.rewrite.AssertionRewritingHook.exec_module`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

from _pytest.assertion import rewrite

from gli.common import sources

_kept = rewrite.AssertionRewritingHook.exec_module


def rewrite_from_source() -> None:
    """Makes pytest rewrite the files that judge from their source, from now on."""
    rewrite.AssertionRewritingHook.exec_module = _executed  # type: ignore[method-assign]


def _executed(self: rewrite.AssertionRewritingHook, module: ModuleType) -> None:
    path = module.__spec__.origin if module.__spec__ is not None else None
    if path is None or not sources.judges(path):
        _kept(self, module)
        return
    self._rewritten_names[module.__name__] = Path(path)
    source = sources.taken(module.__name__, path)
    tree = ast.parse(source, filename=path)
    rewrite.rewrite_asserts(tree, source, path, self.config)
    exec(compile(tree, path, "exec", dont_inherit=True), module.__dict__)
