"""The eight repositories as git has them."""

from gli.observe.git import BRANCHES, Heads
from gli.saying import listed, saw


def test_git_remote_branches(heads: Heads) -> None:
    """The repository can be read and has every branch of the promotion."""
    assert heads.error is None, saw(heads.error, expected=f"to list the branches of {heads.repository}")
    missing = [b for b in BRANCHES if b not in heads.branches]
    assert not missing, saw(f"no {listed(missing)}", expected=f"{listed(BRANCHES)} in {heads.repository}")
