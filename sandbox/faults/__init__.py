"""Faults: named ways to break one thing of the sandbox, each of which can be undone.

A fault is a generator: the code before its `yield` breaks something, the code after it heals. A fault belongs in the
module of the catalogue's layer that has its first check.

    @fault("redis-user-off", turns_red=["redis-ping"])
    def redis_user_off(sandbox: Sandbox) -> Iterator[None]:
        \"""The suite's ACL user is switched off.\"""
        sandbox.redis().acl_setuser("gli_verify", enabled=False)
        yield
        sandbox.redis().acl_setuser("gli_verify", enabled=True)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from gli.common.errors import UsageError
from gli.config.environments import Environment
from sandbox import switches
from sandbox.handle import Sandbox
from sandbox.switches import Make, Switch

__all__ = ["Fault", "Sandbox", "fault", "known"]


@dataclass(frozen=True)
class Fault(Switch):
    """One way to break the sandbox."""

    turns_red: tuple[str, ...]
    """The checks that fail while it is active, as its root cause or as a symptom."""
    production: bool = False
    """Whether it only turns them red in production."""

    @property
    def told(self) -> str:
        return f"{self.description} It turns red: {', '.join(self.turns_red)}"

    def refuse(self, environment: Environment) -> None:
        if self.production and not environment.production:
            raise UsageError(f"{self.id} only turns production red; break it where production is played (`--env`)")


_registered: dict[str, Fault] = {}


def fault(id: str, *, turns_red: Sequence[str], production: bool = False) -> Callable[[Make], Make]:
    """Register the decorated generator function under `id`; the first line of its docstring describes it."""

    def register(make: Make) -> Make:
        switches.register(_registered, Fault(id, switches.described(make), make, tuple(turns_red), production))
        return make

    return register


@cache
def known() -> Mapping[str, Fault]:
    """Every fault, sorted by id."""
    return switches.imported(__name__, __path__, _registered)
