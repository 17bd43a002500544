"""A developer's own database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.release.migrations import Migration, difference

if TYPE_CHECKING:
    from gli.observe.data.sqlite import SqliteState


def test_sqlite_integrity(sqlite_state: SqliteState) -> None:
    """The database file can be read and is not damaged."""
    assert sqlite_state.error is None, saw(sqlite_state.error, expected=phrase("to read {}", sqlite_state.path))
    assert sqlite_state.integrity == "ok", saw(
        sqlite_state.integrity, expected=phrase("{} to be whole", sqlite_state.path)
    )


def test_sqlite_migrations_applied(sqlite_state: SqliteState, working_tree_migrations: Sequence[Migration]) -> None:
    """The database has every migration of the working tree, and none that the tree lacks."""
    assert sqlite_state.error is None, saw(
        sqlite_state.error, expected=phrase("the migrations in {}", sqlite_state.path)
    )
    assert working_tree_migrations, saw(phrase("none"), expected=phrase("migrations in the working tree"))
    pending, unknown = difference(working_tree_migrations, sqlite_state.applied)
    assert not pending, saw(
        phrase("{} pending", listed(pending)), expected=phrase("every migration of the working tree applied")
    )
    assert not unknown, saw(
        phrase("{}, which the tree lacks", listed(unknown)), expected=phrase("only migrations of the working tree")
    )
