"""In which module each probe of conftest.py lies, so that a run imports only the modules that its checks need."""

from __future__ import annotations

PLACES: dict[str, str] = {}
"""Name of a probe to the module that defines it."""


def noted(place: str) -> str:
    """Keeps the module of `MODULE:PROBE`; returns the probe's name."""
    module, _, name = place.partition(":")
    PLACES[name] = module
    return name
