"""Variants: set-ups that AWS documents and users run, and that must stay GO: nothing is broken while one is active.

    @variant("health-matcher-range")
    def health_matcher_range(sandbox: Sandbox) -> Iterator[None]:
        \"""The load balancer accepts any 2xx from the API's health path.\"""
        ...

A variant is written like a fault. `up --variant NAME` starts a sandbox with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from sandbox import switches
from sandbox.handle import Sandbox
from sandbox.switches import Make, Switch

__all__ = ["Sandbox", "known", "variant"]

_registered: dict[str, Switch] = {}


def variant(id: str) -> Callable[[Make], Make]:
    """Register the decorated generator function under `id`; the first line of its docstring describes it."""

    def register(make: Make) -> Make:
        switches.register(_registered, Switch(id, switches.described(make), make))
        return make

    return register


@cache
def known() -> Mapping[str, Switch]:
    """Every variant, sorted by id."""
    return switches.imported(__name__, __path__, _registered)
