"""The review of migrations: it finds operations that break a rolling deploy or a rollback."""

from __future__ import annotations

import pytest

from gli.observe.release.migration_columns import replaced, schema
from gli.observe.release.migration_review import review
from gli.observe.release.migrations import Squash, difference

HEAD = "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"


def migration(operations: str, after: str | None = "0001_initial", replaces: str = "") -> str:
    dependencies = [("shop", after)] if after else []
    return f"{HEAD}    dependencies = {dependencies}\n    {replaces}\n    operations = [{operations}]\n"


def found(operations: str) -> list[str]:
    files = {
        "shop/migrations/0001_initial.py": migration("", after=None),
        "shop/migrations/0002_next.py": migration(operations),
    }
    return [f.what for f in review(files, ["shop/migrations/0002_next.py"])]


@pytest.mark.parametrize(
    ("operations", "what"),
    [
        ('migrations.RemoveField(model_name="order", name="total")', "RemoveField order.total"),
        ('migrations.RemoveField("Order", "total")', "RemoveField order.total"),
        ('migrations.DeleteModel(name="Order")', "DeleteModel order"),
        ('migrations.RenameField("order", old_name="a", new_name="b")', "RenameField order.a"),
        ('migrations.RenameModel("Order", "Purchase")', "RenameModel order.purchase"),
        ('migrations.AlterField("order", "total", models.TextField())', "AlterField order.total"),
        ('migrations.RunSQL("DROP TABLE x")', "RunSQL without reverse_sql"),
        (
            'migrations.SeparateDatabaseAndState(database_operations=[migrations.DeleteModel("Order")])',
            "DeleteModel order",
        ),
    ],
)
def test_operations_that_break_the_running_code_are_found(operations: str, what: str) -> None:
    (only,) = found(operations)
    assert only.startswith(what)


@pytest.mark.parametrize(
    "operations",
    [
        'migrations.AddField("order", "note", models.TextField(null=True))',
        'migrations.CreateModel("Invoice", fields=[])',
        'migrations.RunSQL("CREATE VIEW v AS SELECT 1", "DROP VIEW v")',
        'migrations.RunSQL("CREATE VIEW v AS SELECT 1", reverse_sql=migrations.RunSQL.noop)',
        'migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("Order")])',
    ],
)
def test_harmless_operations_are_not_reported(operations: str) -> None:
    assert found(operations) == []


def test_only_new_migrations_are_reviewed() -> None:
    files = {"shop/migrations/0001_initial.py": migration('migrations.DeleteModel("Order")', after=None)}
    assert review(files, []) == ()


def test_two_leaf_migrations_are_found_and_a_merge_or_squash_joins_them() -> None:
    folder = "shop/migrations"
    files = {
        f"{folder}/0001_initial.py": migration("", after=None),
        f"{folder}/0002_left.py": migration(""),
        f"{folder}/0002_right.py": migration(""),
    }
    (fork,) = review(files, [f"{folder}/0002_right.py"])
    assert "0002_left and 0002_right" in fork.what
    merge = HEAD + '    dependencies = [("shop", "0002_left"), ("shop", "0002_right")]\n    operations = []\n'
    assert review(files | {f"{folder}/0003_merge.py": merge}, [f"{folder}/0003_merge.py"]) == ()
    squash = migration("", replaces='replaces = [("shop", "0002_left"), ("shop", "0002_right")]')
    assert review(files | {f"{folder}/0001_squashed.py": squash}, [f"{folder}/0001_squashed.py"]) == ()


def test_a_migration_with_a_syntax_error_is_reported() -> None:
    (only,) = review({"shop/migrations/0002_next.py": "<<<<<<< HEAD\n"}, ["shop/migrations/0002_next.py"])
    assert only.what == "can't be parsed"


CREATED = """migrations.CreateModel(name="Order", fields=[
    ("id", models.BigAutoField(primary_key=True)), ("total", models.IntegerField()),
    ("buyer", models.ForeignKey("users.User", models.CASCADE)), ("tags", models.ManyToManyField("shop.Tag")),
    ("state", models.CharField(max_length=9, db_column="st")), ("place", gis.PointField()),
], options={"ordering": ["id"]})"""
MADE = ["shop_order.buyer_id", "shop_order.id", "shop_order.st", "shop_order.total"]


@pytest.mark.parametrize(
    ("operations", "made"),
    [
        ("", MADE),
        ('migrations.AddField("order", "note", models.TextField())', [*MADE, "shop_order.note"]),
        ('migrations.RemoveField(model_name="order", name="total")', [c for c in MADE if "total" not in c]),
        ('migrations.RenameField("order", "buyer", "payer")', [c.replace("buyer", "payer") for c in MADE]),
        ('migrations.AlterModelOptions("order", {"ordering": []})', MADE),
        ("migrations.RunPython(fill, migrations.RunPython.noop)", MADE),
        ('migrations.RunSQL("ALTER TABLE shop_order ADD x int", "SELECT 1")', []),
        ('migrations.RunSQL("CREATE VIEW sums AS SELECT 1", "DROP VIEW sums")', MADE),
        ("migrations.RunSQL(STATEMENT)", []),
        ('migrations.DeleteModel("Order")', []),
        ('migrations.RenameModel("Order", "Purchase")', []),
        ('tenants.MoveEverything("order")', []),
        ('migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("order", "total")])', []),
        ('migrations.CreateModel("Old", [("id", models.IntegerField())], options={"managed": False})', MADE),
    ],
)
def test_the_columns_that_migrations_make_for_certain(operations: str, made: list[str]) -> None:
    files = {
        "api/shop/migrations/0001_initial.py": migration(CREATED, after=None),
        "api/shop/migrations/0002_next.py": migration(operations),
    }
    assert schema(files).columns == tuple(sorted(made))


@pytest.mark.parametrize(
    ("operations", "widths"),
    [
        ("", {"shop_order.st": 9}),
        ('migrations.AlterField("order", "state", models.CharField(max_length=40))', {"shop_order.state": 40}),
        ('migrations.AlterField("order", "state", models.TextField())', {}),
        ('migrations.RenameField("order", "state", "step")', {"shop_order.st": 9}),
        ('migrations.RemoveField("order", "state")', {}),
        ('migrations.RunSQL("ALTER TABLE shop_order ALTER st TYPE text", "SELECT 1")', {}),
    ],
)
def test_the_most_characters_of_a_column_are_those_of_its_last_migration(
    operations: str, widths: dict[str, int]
) -> None:
    files = {
        "api/shop/migrations/0001_initial.py": migration(CREATED, after=None),
        "api/shop/migrations/0002_next.py": migration(operations),
    }
    assert schema(files).widths == widths


def test_a_migration_that_is_no_python_makes_its_app_uncertain() -> None:
    files = {"shop/migrations/0001_initial.py": migration(CREATED), "shop/migrations/0002_next.py": "class Migration("}
    assert schema(files).columns == ()


def test_rows_of_squashed_migrations_stay_and_a_squash_of_applied_ones_is_not_pending() -> None:
    old = (("shop", "0001_initial"), ("shop", "0002_total"))
    path, squash = "shop/migrations/0001_squashed_0002_total.py", ("shop", "0001_squashed_0002_total")
    text = migration("", after=None, replaces=f"replaces = {list(old)}")
    assert replaced({path: text, "shop/migrations/0003_x.py": migration("")}) == {path: old}
    squashes = [Squash(app="shop", name=squash[1], replaces=old)]
    assert difference([squash], [*old, squash], squashes) == ([], [])
    assert difference([squash], old, squashes) == ([], [])
    assert difference([squash], [*old, squash]) == ([], [])  # its `replaces` was removed
    assert difference([squash], old[:1], squashes) == (["shop.0001_squashed_0002_total"], [])
    assert difference([squash], [*old, squash, ("shop", "0003_x")], squashes) == ([], ["shop.0003_x"])


_UNIQUE = 'migrations.AlterField("order", "total", models.IntegerField(unique=True)), '
_TOGETHER = 'migrations.AlterUniqueTogether("order", {("buyer", "total")})'
_BOTH = 'models.UniqueConstraint(fields=["buyer", "state"], name="both"'
_ADDED = f'migrations.AddConstraint("order", {_BOTH}))'


@pytest.mark.parametrize(
    ("operations", "unique"),
    [
        ("", []),
        ('migrations.AlterField("order", "state", models.CharField(unique=True))', [["state"]]),
        (_UNIQUE + 'migrations.AlterField("order", "total", models.IntegerField())', []),
        ('migrations.AddField("order", "bill", models.OneToOneField("shop.Bill", models.CASCADE))', [["bill_id"]]),
        (_TOGETHER, [["buyer_id", "total"]]),
        (_TOGETHER.replace("{", "set([").replace("}", "])"), [["buyer_id", "total"]]),
        (_TOGETHER + ', migrations.AlterUniqueTogether("order", set())', []),
        (_ADDED, [["buyer_id", "st"]]),
        (f'migrations.AddConstraint("order", {_BOTH}, condition=models.Q(total=1)))', []),
        (_ADDED + ', migrations.RemoveConstraint("order", "both")', []),
        (_ADDED + ', migrations.RenameField("order", "buyer", "who")', [["st", "who_id"]]),
    ],
)
def test_what_the_last_migration_makes_unique(operations: str, unique: list[list[str]]) -> None:
    files = {
        "api/shop/migrations/0001_initial.py": migration(CREATED, after=None),
        "api/shop/migrations/0002_next.py": migration(operations),
    }
    assert schema(files).unique == tuple(("shop_order", tuple(columns)) for columns in unique)


def test_what_migrations_tell_of_foreign_keys_null_and_whole_numbers() -> None:
    fields = (
        'migrations.AddField("order", "free", models.ForeignKey("shop.Tag", models.CASCADE, db_constraint=False)), '
        'migrations.AddField("order", "note", models.TextField(null=True))'
    )
    files = {
        "api/shop/migrations/0001_initial.py": migration(CREATED, after=None),
        "api/shop/migrations/0002_next.py": migration(fields),
    }
    made = schema(files)
    assert made.points == ("shop_order.buyer_id",)
    assert made.nullable == ("shop_order.note",)
    assert made.bytes == {"shop_order.id": 8, "shop_order.total": 4}


@pytest.mark.parametrize(
    ("operations", "kinds", "digits"),
    [
        ("", {}, {}),
        ('migrations.AddField("order", "at", models.DateTimeField())', {"at": "timestamp"}, {}),
        ('migrations.AddField("order", "at", django.db.models.DateTimeField())', {"at": "timestamp"}, {}),
        ('migrations.AddField("order", "notes", jsonfield.JSONField())', {}, {}),
        ('migrations.AlterField("order", "total", models.TextField())', {"total": "text"}, {}),
        (
            'migrations.AlterField("order", "total", models.DecimalField(max_digits=9, decimal_places=2))',
            {"total": "decimal"},
            {"total": (7, 2)},
        ),
    ],
)
def test_what_kinds_of_values_the_code_puts_into_a_column(
    operations: str, kinds: dict[str, str], digits: dict[str, tuple[int, int]]
) -> None:
    """A field of the same name of another package may make a column of another type."""
    files = {
        "api/shop/migrations/0001_initial.py": migration(CREATED, after=None),
        "api/shop/migrations/0002_next.py": migration(operations),
    }
    made, before = schema(files), {"id": "number", "total": "number", "st": "text"}
    assert made.kinds == {f"shop_order.{column}": kind for column, kind in (before | kinds).items()}
    assert made.digits == {f"shop_order.{column}": told for column, told in digits.items()}
