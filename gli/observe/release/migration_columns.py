"""The columns that Django migrations make, by parsing them; nothing is run.

A migration can be on record and never have run (`migrate --fake`): the code then asks for a column that is not there.
What the text does not tell for certain is left out: a table that SQL changes, an operation or a field of another
package. Source of truth: Django's "Migration Operations" and "Model field reference" (`db_column`, `db_table`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gli.observe.release.migrations import in_paths

_POINTS = frozenset({"ForeignKey", "OneToOneField"})
_PLAIN = re.compile(
    r"(?:Big|Small)?AutoField|(?:Positive)?(?:Big|Small)?IntegerField|(?:Char|Text|Slug|Email|URL|UUID|JSON|Binary|File"
    r"|Image|FilePath|Boolean|NullBoolean|Date|DateTime|Time|Duration|Decimal|Float|GenericIPAddress)Field"
)
_BYTES = {
    **dict.fromkeys(("SmallAutoField", "SmallIntegerField", "PositiveSmallIntegerField"), 2),
    **dict.fromkeys(("AutoField", "IntegerField", "PositiveIntegerField"), 4),
    **dict.fromkeys(("BigAutoField", "BigIntegerField", "PositiveBigIntegerField"), 8),
}
_KINDS = {
    **dict.fromkeys(_BYTES, "number"),
    **dict.fromkeys(
        [f"{kind}Field" for kind in ("Char", "Text", "Slug", "Email", "URL", "File", "Image", "FilePath")], "text"
    ),
    **dict.fromkeys(("BooleanField", "NullBooleanField"), "boolean"),
    "DateField": "date",
    "DateTimeField": "timestamp",
    "TimeField": "time",
    "DurationField": "interval",
    "DecimalField": "decimal",
    "FloatField": "float",
    "UUIDField": "uuid",
    "JSONField": "json",
    "BinaryField": "bytes",
    "GenericIPAddressField": "address",
}
"""What values Django's own fields put into their columns. A field of the same name of another package may differ."""
_OF_DJANGO = re.compile(r"(?:django\.db\.)?models\.\w+")
_HARMLESS = re.compile(
    r"RunPython|AlterModelOptions|AlterModelManagers|AlterOrderWithRespectTo|AlterIndexTogether"
    r"|(?:Add|Remove|Rename|Alter)(?:Index|Constraint)\w*|AlterModelTableComment|\w+Extension|Validate\w+"
)
"""Operations that make and remove no column."""


@dataclass
class _Table:
    name: str
    columns: dict[str, str | None] = field(default_factory=dict)
    """Field to column, in lower case; None: which one is not certain; empty: it has none (many to many)."""
    numbered: set[str] = field(default_factory=set)
    """The fields that the database numbers (AutoField)."""
    widths: dict[str, int] = field(default_factory=dict)
    """Field to the most characters that it takes (`max_length`)."""
    bytes: dict[str, int] = field(default_factory=dict)
    """Field to the bytes of its whole numbers."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Field to the kind of its values, for a field of Django's own."""
    digits: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Field to its digits before and after the point (`max_digits`, `decimal_places`)."""
    points: set[str] = field(default_factory=set)
    """The fields with a foreign key."""
    nullable: set[str] = field(default_factory=set)
    """The fields that may be NULL."""
    unique: dict[str, frozenset[str]] = field(default_factory=dict)
    """Constraint to the fields whose values are together unique."""
    certain: bool = True

    @property
    def _told(self) -> tuple[dict[str, Any], ...]:
        return self.widths, self.bytes, self.kinds, self.digits

    def forget(self, name: str) -> None:
        """Forget what is known of a field beside its column."""
        for known in (self.numbered, self.points, self.nullable):
            known.discard(name)
        for mapping in (*self._told, self.unique):
            mapping.pop(name, None)

    def rename(self, old: str, new: str) -> None:
        """Call a field by another name."""
        for known in (self.numbered, self.points, self.nullable):
            if old in known:
                known.remove(old)
                known.add(new)
        for mapping in self._told:
            if old in mapping:
                mapping[new] = mapping.pop(old)
        self.unique = {
            new if key == old else key: frozenset(new if f == old else f for f in fields)
            for key, fields in self.unique.items()
        }

    def named(self, names: Iterable[str]) -> list[str]:
        """`table.column` of those of these fields whose column is certain."""
        return [f"{self.name}.{c}" for name in names if (c := self.columns.get(name))]


class Schema(NamedTuple):
    """What migrations make in the database for certain."""

    columns: tuple[str, ...]
    """`table.column` of every column, sorted."""
    whole_tables: tuple[str, ...]
    """The tables of which every column is known, sorted."""
    numbered: tuple[str, ...]
    """`table.column` of those that the database numbers by itself, sorted."""
    widths: Mapping[str, int]
    """`table.column` to the most characters that the code puts into it, where `max_length` says so."""
    bytes: Mapping[str, int]
    """`table.column` to the bytes of the whole numbers that the code puts into it."""
    kinds: Mapping[str, str]
    """`table.column` to the kind of the values that the code puts into it: `number`, `text`, `timestamp`."""
    digits: Mapping[str, tuple[int, int]]
    """`table.column` to the digits before and after the point of the numbers that the code puts into it."""
    points: tuple[str, ...]
    """`table.column` of every foreign key, sorted."""
    nullable: tuple[str, ...]
    """`table.column` of every column into which the code puts NULL, sorted."""
    unique: tuple[tuple[str, tuple[str, ...]], ...]
    """(table, columns) of everything that is unique by a constraint without a condition, sorted; primary keys apart."""


def schema(files: Mapping[str, str]) -> Schema:
    """What these migrations (path to text) make for certain."""
    made: dict[str, dict[str, _Table]] = {}
    for path in sorted(files, key=lambda path: in_paths([path])):
        named = in_paths([path])
        if named:
            _read(files[path], named[0][0], made.setdefault(named[0][0], {}))
    tables = [table for app in made.values() for table in app.values() if table.certain]
    whole = [t.name for t in tables if t.columns and None not in t.columns.values()]
    return Schema(
        columns=tuple(sorted(f"{t.name}.{column}" for t in tables for column in t.columns.values() if column)),
        whole_tables=tuple(sorted(whole)),
        numbered=tuple(sorted(name for t in tables for name in t.named(t.numbered))),
        widths={name: most for t in tables for f, most in t.widths.items() for name in t.named([f])},
        bytes={name: size for t in tables for f, size in t.bytes.items() for name in t.named([f])},
        kinds={name: kind for t in tables for f, kind in t.kinds.items() for name in t.named([f])},
        digits={name: digits for t in tables for f, digits in t.digits.items() for name in t.named([f])},
        points=tuple(sorted(name for t in tables for name in t.named(t.points))),
        nullable=tuple(sorted(name for t in tables for name in t.named(t.nullable))),
        unique=tuple(
            sorted(
                (t.name, tuple(sorted(str(t.columns[f]) for f in fields)))
                for t in tables
                for fields in t.unique.values()
                if fields and all(t.columns.get(f) for f in fields)
            )
        ),
    )


def replaced(files: Mapping[str, str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Path of each squashed migration to the (app, migration) that it names in `replaces`."""
    found = {}
    for path, text in files.items():
        lists = [value for name, value in _settings(text) if name == "replaces"]
        pairs = [node for value in lists for node in ast.walk(value) if isinstance(node, ast.Tuple)]
        names = [tuple(_text(e) for e in pair.elts) for pair in pairs]
        if names:
            found[path] = tuple((n[0], n[1]) for n in names if len(n) == 2 and n[0] and n[1])
    return found


def _settings(text: str) -> Iterator[tuple[str, ast.expr]]:
    """The name and the value of every setting of a migration's class. A text that is no Python has none."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _read(text: str, app: str, models: dict[str, _Table]) -> None:
    lists = [value for name, value in _settings(text) if name == "operations"]
    if not lists:
        _doubt(models)
    for value in lists:
        if not isinstance(value, ast.List):
            _doubt(models)
            continue
        for operation in value.elts:
            _apply(operation, app, models)


def _doubt(models: Mapping[str, _Table]) -> None:
    for table in models.values():
        table.certain = False


def _apply(operation: ast.expr, app: str, models: dict[str, _Table]) -> None:
    name = _called(operation)
    if not isinstance(operation, ast.Call) or not name:
        _doubt(models)
        return
    given = {k.arg: k.value for k in operation.keywords if k.arg}
    positions = ("name", "fields") if name == "CreateModel" else ("model_name", "name", "field")
    given |= dict(zip(positions, operation.args, strict=False))
    if name == "CreateModel":
        _create(given, app, models)
    elif name in ("AddField", "AlterField", "RemoveField", "RenameField"):
        _change(name, operation.args, given, models)
    elif name in ("AlterUniqueTogether", "AddConstraint", "RemoveConstraint"):
        _constrain(name, operation, models)
    elif name == "RunSQL":
        _sql(operation, models)
    elif not _HARMLESS.fullmatch(name):
        # the name of the model is the operation's first argument: DeleteModel, RenameModel, AlterModelTable
        model = (_text(given.get("model_name")) or _text(given.get("old_name")) or _text(given.get("name"))).lower()
        if name in ("DeleteModel", "RenameModel", "AlterModelTable") and model in models:
            del models[model]
        else:
            _doubt(models)


def _create(given: Mapping[str, ast.expr], app: str, models: dict[str, _Table]) -> None:
    name, fields = _text(given.get("name")).lower(), given.get("fields")
    options = given.get("options")
    values: dict[str, ast.expr] = {}
    if isinstance(options, ast.Dict):
        values = {_text(k): v for k, v in zip(options.keys, options.values, strict=True) if k is not None}
    unmanaged = [v for k, v in values.items() if k in ("proxy", "managed")]
    table = _Table(_text(values.get("db_table")) or f"{app}_{name}", certain=not unmanaged)
    _unite(table, values.get("unique_together"))
    constraints = values.get("constraints")
    for constraint in constraints.elts if isinstance(constraints, ast.List | ast.Tuple) else []:
        _add(table, constraint)
    if not isinstance(fields, ast.List) or ("db_table" in values and not _text(values["db_table"])):
        table.certain = False
    else:
        for pair in fields.elts:
            if isinstance(pair, ast.Tuple) and len(pair.elts) == 2:
                _set(table, _text(pair.elts[0]), pair.elts[1])
            else:
                table.certain = False
    models[name] = table


def _change(name: str, args: Sequence[ast.expr], given: Mapping[str, ast.expr], models: dict[str, _Table]) -> None:
    table = models.get(_text(given.get("model_name")).lower())
    if table is None:
        return
    if name == "RenameField":
        old, new = (_text(args[1]), _text(args[2])) if len(args) == 3 else ("", "")
        old, new = old or _text(given.get("old_name")), new or _text(given.get("new_name"))
        before = table.columns.pop(old.lower(), None)
        own = before == old or before == f"{old}_id"
        table.columns[new.lower()] = before.replace(old, new, 1) if before and own else before
        table.rename(old.lower(), new.lower())
        return
    of = _text(given.get("name"))
    table.columns.pop(of.lower(), None)
    table.forget(of.lower())
    if name != "RemoveField":
        _set(table, of, given.get("field"))


def _set(table: _Table, named: str, made: ast.expr | None) -> None:
    kind, name = _called(made), named.lower()
    given = {k.arg: k.value.value for k in _keywords(made) if k.arg and isinstance(k.value, ast.Constant)}
    table.columns[name] = _column(named, made)
    table.forget(name)
    if isinstance(most := given.get("max_length"), int):
        table.widths[name] = most
    if kind in _BYTES:
        table.bytes[name] = _BYTES[kind]
    if kind in _KINDS and isinstance(made, ast.Call) and _OF_DJANGO.fullmatch(ast.unparse(made.func)):
        table.kinds[name] = _KINDS[kind]
    most, after = given.get("max_digits"), given.get("decimal_places")
    if kind == "DecimalField" and isinstance(most, int) and isinstance(after, int):
        table.digits[name] = (most - after, after)
    if kind.endswith("AutoField"):
        table.numbered.add(name)
    if kind in _POINTS and given.get("db_constraint") is not False:
        table.points.add(name)
    if given.get("null") is True:
        table.nullable.add(name)
    if (given.get("unique") is True or kind == "OneToOneField") and not given.get("primary_key"):
        table.unique[name] = frozenset({name})


def _constrain(name: str, operation: ast.Call, models: dict[str, _Table]) -> None:
    given = {k.arg: k.value for k in operation.keywords if k.arg}
    of_all = name == "AlterUniqueTogether"
    positions = ("name", "unique_together") if of_all else ("model_name", "name" if name[0] == "R" else "constraint")
    given |= dict(zip(positions, operation.args, strict=False))
    table = models.get(_text(given.get(positions[0])).lower())
    if table is None:
        return
    if of_all:
        _unite(table, given.get("unique_together"))
    elif name == "AddConstraint":
        _add(table, given.get("constraint"))
    else:
        table.unique.pop(f"={_text(given.get('name'))}", None)


def _unite(table: _Table, value: ast.expr | None) -> None:
    """Take `unique_together`: several lists of fields, or one alone."""
    table.unique = {key: fields for key, fields in table.unique.items() if not key.startswith("+")}
    while isinstance(value, ast.Call) and len(value.args) == 1:  # set(...), as migrations spell it
        value = value.args[0]
    parts = value.elts if isinstance(value, ast.List | ast.Tuple | ast.Set) else []
    lists = [value] if parts and all(_text(part) for part in parts) else parts
    for number, each in enumerate(lists):
        names = [_text(f).lower() for f in each.elts] if isinstance(each, ast.List | ast.Tuple) else []
        if names and all(names):
            table.unique[f"+{number}"] = frozenset(names)


def _add(table: _Table, constraint: ast.expr | None) -> None:
    """Take a UniqueConstraint of plain fields: one with a condition is of some rows, one with an expression of none."""
    given = {k.arg: k.value for k in _keywords(constraint)}
    fields = given.get("fields")
    names = [_text(f).lower() for f in fields.elts] if isinstance(fields, ast.List | ast.Tuple) else []
    plain = isinstance(constraint, ast.Call) and not constraint.args and "condition" not in given
    if _called(constraint) == "UniqueConstraint" and plain and names and all(names):
        table.unique[f"={_text(given.get('name'))}"] = frozenset(names)


def _keywords(made: ast.expr | None) -> list[ast.keyword]:
    return made.keywords if isinstance(made, ast.Call) else []


def _sql(operation: ast.Call, models: Mapping[str, _Table]) -> None:
    """SQL may change any column of a table that it names; of a text that is not written out, nothing is known."""
    texts = [n.value for n in ast.walk(operation) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    if not texts or any(isinstance(n, ast.Name | ast.JoinedStr) for a in operation.args for n in ast.walk(a)):
        _doubt(models)
    for table in models.values():
        if any(re.search(rf"\b{re.escape(table.name)}\b", text, re.IGNORECASE) for text in texts):
            table.certain = False


def _column(name: str, made: ast.expr | None) -> str | None:
    kind = _called(made)
    if kind == "ManyToManyField":
        return ""
    if not isinstance(made, ast.Call) or (kind not in _POINTS and not _PLAIN.fullmatch(kind)):
        return None
    own = next((k.value for k in made.keywords if k.arg == "db_column"), None)
    if own is not None:
        return _text(own) or None
    return f"{name}_id" if kind in _POINTS else name


def _called(node: ast.expr | None) -> str:
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
