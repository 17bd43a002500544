"""What GitHub no longer runs: images of its runners, and versions of its actions.

A job that asks for a retired image waits for a runner until it is cancelled; a retired version of an action fails.
Source of truth: actions/runner-images, "Available images" and its announcements; GitHub's changelog of 2024-04-16 and
2024-12-05 (artifact actions v1 to v3, cache v1 and v2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

RUNNERS = frozenset(
    {
        *("ubuntu-16.04", "ubuntu-18.04", "ubuntu-20.04", "windows-2016", "windows-2019"),
        *("macos-10.15", "macos-11", "macos-12", "macos-13"),
    }
)
ACTIONS = re.compile(r"actions/((upload|download)-artifact@v[123]|cache(/\w+)?@v[12])(\.\d+)*", re.IGNORECASE)


def retired(runs_on: Any, steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The retired image and actions of one job. A runner of one's own may have any label."""
    labels = [runs_on] if isinstance(runs_on, str) else runs_on if isinstance(runs_on, list) else []
    if "self-hosted" not in labels:
        yield from (label for label in map(str, labels) if label.lower() in RUNNERS)
    yield from (used for used in (str(step.get("uses") or "") for step in steps) if ACTIONS.fullmatch(used))
