"""The phases of a run."""

from __future__ import annotations

from typing import Literal

Phase = Literal["pre-deploy", "paused", "post-deploy", "on-call"]
PHASES: tuple[Phase, ...] = ("pre-deploy", "paused", "post-deploy", "on-call")
PAUSED: Phase = "paused"
"""The phase of a deployment that waits at a hook: its new tasks run, and only the test listener serves them."""
