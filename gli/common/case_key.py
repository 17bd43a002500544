"""The identity of a case: one check on one target."""

from __future__ import annotations

from typing import NamedTuple


class CaseKey(NamedTuple):
    """The identity of a case. As text, its label: `api-health[api]`."""

    check: str
    target: str

    def __str__(self) -> str:
        return f"{self.check}[{self.target}]"
