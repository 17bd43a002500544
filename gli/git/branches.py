"""The branches that a release moves through, in their order: `git.branches` of environments.toml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BRANCHES = ("dev", "stg", "main")
LIVE = BRANCHES[-1]


class Branches(NamedTuple):
    """One or more branches, the live one last."""

    names: Sequence[str] = BRANCHES

    @property
    def live(self) -> str:
        """The branch of production."""
        return self.names[-1]

    @property
    def staged(self) -> str:
        """The branch that is merged into the live one; empty where there is one branch only."""
        return self.names[-2] if len(self.names) > 1 else ""

    @property
    def earlier(self) -> tuple[str, ...]:
        """The branches before the live one, the nearest first."""
        return tuple(reversed(self.names[:-1]))

    @property
    def pushed(self) -> tuple[str, ...]:
        """The branches that an emergency push may go to: the staged one and the live one."""
        return tuple(self.names[-2:])

    @property
    def onwards(self) -> tuple[tuple[str, str], ...]:
        """The promotions: each branch into the next one."""
        return tuple(zip(self.names, self.names[1:], strict=False))

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """What may be promoted to where: the promotions, then the back-merges from the live branch down."""
        return self.onwards + tuple((target, source) for source, target in reversed(self.onwards))

    @property
    def merge_back(self) -> str:
        """The commands that bring what only the live branch has back into the others."""
        back = self.ways[len(self.onwards) :]
        return ", then ".join(f"gli promote {source} {target}" for source, target in back)

    def refused(self, name: str) -> str:
        """Why this branch is none of them."""
        return f"{name!r} is not one of {', '.join(map(repr, self.names))}"
