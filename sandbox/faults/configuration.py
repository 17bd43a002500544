"""Faults of what a run is told: environments.toml and what is merged on top of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.faults import Sandbox, fault


@contextmanager
def rewritten_overlay(sandbox: Sandbox, text: str, by: str) -> Iterator[None]:
    """The overlay with one text replaced, for the runs that start from now on."""
    overlay = sandbox.state_dir / "environment.toml"
    before = overlay.read_text(encoding="utf-8")
    if text not in before:
        raise LookupError(f"the overlay has no {text.strip()}")
    overlay.write_text(before.replace(text, by), encoding="utf-8")
    try:
        yield
    finally:
        overlay.write_text(before, encoding="utf-8")


@fault("production-in-the-overlay", turns_red=["env-config-valid"])
def production_in_the_overlay(sandbox: Sandbox) -> Iterator[None]:
    """The sandbox's overlay names a host of production."""
    section = "[connect_to]\n"
    line = f'"{sandbox.site.other.services["api"].host}:443" = "127.0.0.1:9"\n'
    with rewritten_overlay(sandbox, section, section + line):
        yield
