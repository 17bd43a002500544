"""Variants: set-ups that AWS documents and users run, and that must stay GO: nothing is broken while one is active.

    @variant("health-matcher-range", tries=["alb-health-check-config"])
    def health_matcher_range(sandbox: Sandbox) -> Iterator[None]:
        \"""The load balancer accepts any 2xx from the API's health path.\"""
        ...

A variant is written like a fault. `tries` names the checks that it is about: each reads something else in it than
without it, and passes. `up --variant NAME` starts a sandbox with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from sandbox import switches
from sandbox.handle import Sandbox
from sandbox.switches import Make, Switch

__all__ = ["Sandbox", "Variant", "known", "variant"]


@dataclass(frozen=True)
class Variant(Switch):
    """One healthy set-up."""

    tries: tuple[str, ...] = ()
    """The checks that judge something else than usual while it is active, and pass."""


_registered: dict[str, Variant] = {}


def variant(id: str, *, tries: Sequence[str] = ()) -> Callable[[Make], Make]:
    """Register the decorated generator function under `id`; the first line of its docstring describes it."""

    def register(make: Make) -> Make:
        switches.register(_registered, Variant(id, switches.described(make), make, tuple(tries)))
        return make

    return register


@cache
def known() -> Mapping[str, Variant]:
    """Every variant, sorted by id."""
    return switches.imported(__name__, __path__, _registered)
