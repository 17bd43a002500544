"""Reviews Django migrations by parsing them; nothing is run. Is each migration safe while the old code still runs?

In a rolling deploy, old and new tasks run at the same time. The old tasks fail if a migration removes or renames
something that they use. A migration that can't be reversed makes a rollback of the code unsafe.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping

from gli.common.sentences import Said, listed, phrase
from gli.observe.engine.observation import Observation

_UNSAFE = {
    "RemoveField": phrase("the old code still reads that column"),
    "DeleteModel": phrase("the old code still reads that table"),
    "RenameField": phrase("the old code still uses the old name"),
    "RenameModel": phrase("the old code still uses the old name"),
    "AlterField": phrase("the old code still writes the old type, and the change may lock the table"),
}


class Finding(Observation):
    """One problem in one migration that a person has to look at."""

    migration: str
    """The path of the migration, or the app's folder of migrations."""
    what: Said

    def __str__(self) -> str:
        return phrase("{}: {}", self.migration, self.what)


def review(files: Mapping[str, str], added: Collection[str]) -> tuple[Finding, ...]:
    """The problems of the new migrations.

    `files` maps the path of every migration of the apps that have new ones to its text; `added` are the new paths.
    """
    trees = {path: _parsed(text) for path, text in files.items()}
    found = [Finding(migration=path, what=what) for path in sorted(added) for what in _unsafe(trees.get(path))]
    folders = sorted({path.rpartition("/")[0] for path in added})
    for folder in folders:
        leaves = _leaves({p: t for p, t in trees.items() if p.rpartition("/")[0] == folder and t is not None})
        if len(leaves) > 1:
            what = phrase("has two ends, {}; migrate refuses that", listed(leaves, most=len(leaves)))
            found.append(Finding(migration=folder, what=what))
    return tuple(found)


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _unsafe(tree: ast.Module | None) -> Iterator[str]:
    if tree is None:
        yield phrase("can't be parsed")
        return
    for call in _operations(tree):
        name = _name(call.func)
        if name in _UNSAFE:
            yield phrase("{} {}: {}", name, _subject(call), _UNSAFE[name])
        elif name == "RunSQL" and len(call.args) < 2 and not any(k.arg == "reverse_sql" for k in call.keywords):
            yield phrase("RunSQL without reverse_sql: there is no way back")


def _operations(node: ast.AST) -> Iterator[ast.Call]:
    """Every call of an operation that changes the database. `state_operations` change only Django's own state."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.keyword) and child.arg == "state_operations":
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _operations(child)


def _name(function: ast.expr) -> str:
    """The operation's name: `RemoveField`, whether the code says `migrations.RemoveField` or `RemoveField`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _subject(call: ast.Call) -> str:
    """`order.total`: the model and the field that the operation names."""
    keys = ("model_name", "name", "old_name")
    named = {k.arg: k.value for k in call.keywords}
    values = [*call.args[:2], *(named[k] for k in keys if k in named)]
    return ".".join(str(v.value) for v in values if isinstance(v, ast.Constant)).lower() or phrase("something")


def _leaves(trees: Mapping[str, ast.Module]) -> list[str]:
    """The migrations of one app that no other migration of this app depends on or replaces, sorted."""
    names = {path.rpartition("/")[2].removesuffix(".py"): tree for path, tree in trees.items()}
    inner: set[str] = set()
    for name, tree in names.items():
        inner |= {other for other in _mentioned(tree) if other != name}
    return sorted(names.keys() - inner)


def _mentioned(tree: ast.Module) -> Iterator[str]:
    """The names of the migrations in `dependencies` and `replaces` of a Migration class."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(t, ast.Name) and t.id in ("dependencies", "replaces") for t in targets):
            yield from filter(None, map(_reference, ast.walk(node.value)))


def _reference(node: ast.AST) -> str | None:
    """`0001_initial` of `("app", "0001_initial")`. The app is ignored: its label may differ from the folder's name."""
    if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[1], ast.Constant):
        return str(node.elts[1].value)
    return None
