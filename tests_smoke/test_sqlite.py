"""A developer's own database."""

from collections.abc import Sequence

from gli.common.sentences import listed, saw
from gli.observe.data.sqlite import SqliteState
from gli.observe.release.migrations import Migration, difference


def test_sqlite_integrity(sqlite_state: SqliteState) -> None:
    """The database file can be read and is not damaged."""
    assert sqlite_state.error is None, saw(sqlite_state.error, expected=f"to read {sqlite_state.path}")
    assert sqlite_state.integrity == "ok", saw(sqlite_state.integrity, expected=f"{sqlite_state.path} to be whole")


def test_sqlite_migrations_applied(sqlite_state: SqliteState, working_tree_migrations: Sequence[Migration]) -> None:
    """The database has every migration of the working tree, and none that the tree lacks."""
    assert sqlite_state.error is None, saw(sqlite_state.error, expected=f"the migrations in {sqlite_state.path}")
    assert working_tree_migrations, saw("none", expected="migrations in the working tree")
    pending, unknown = difference(working_tree_migrations, sqlite_state.applied)
    assert not pending, saw(f"{listed(pending)} pending", expected="every migration of the working tree applied")
    assert not unknown, saw(f"{listed(unknown)}, which the tree lacks", expected="only migrations of the working tree")
