"""What both pages are made with: templates that escape everything, in files without external resources.

A page loads nothing, sends nothing and runs only its own script: a Content-Security-Policy names the digests of its
script and its style (W3C CSP Level 3), so that text from a target can't run as a script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gli.judge.outcome import Outcome

_TEMPLATES = Path(__file__).parent / "templates"
MARKS = {
    "missing": "!",
    "failed": "✕",
    "unknown": "?",
    "blocked": "⊘",
    "pending": "…",
    "waived": "≈",
    "not-applicable": "–",
    "passed": "✓",
}
"""The sign before the word of each outcome, of an item of the checklist too."""


def render(template: str, *, script: str | None = None, **context: Any) -> str:
    """A whole page from `templates/`, with the style and, where it has any, the script inside."""
    style = _source("page.css")
    code = _source(script) if script else ""
    policy = ["default-src 'none'", f"style-src {_digest(style)}", "img-src data:"]
    policy += [f"script-src {_digest(code)}"] if code else []
    policy += ["base-uri 'none'", "form-action 'none'"]
    # style and script are the project's own files: no text of a run is in them
    own = {"style": Markup(style), "script": Markup(code), "policy": "; ".join(policy), "marks": MARKS}
    return _templates().get_template(template).render(**own, **context)


def duration(seconds: float) -> str:
    """`0.4 ms`, `85 ms`, `1.52 s`, `2 min 5 s`."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def moment(rfc3339: str) -> str:
    """`2026-01-31 08:00:03 UTC` of a verdict's `2026-01-31T08:00:03.000Z`."""
    return f"{rfc3339[:10]} {rfc3339[11:19]} UTC" if rfc3339[10:11] == "T" else rfc3339


def seconds_between(begun: str, ended: str) -> float:
    """The seconds between two moments in RFC 3339; raises `ValueError` for any other text."""
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()


def worst(outcomes: Iterable[str]) -> str:
    """The worst of some outcomes."""
    return min(outcomes, key=lambda o: Outcome(o).rank)


def shares(counts: Mapping[str, int]) -> list[tuple[str, float, float]]:
    """Each outcome's part of a line, worst first: where it begins and how long it is, in percent.

    Every part has a minimum length: two reds among hundreds must be visible.
    """
    least = sum(counts.values()) / 100
    lengths = {outcome: max(counts[outcome], least) for outcome in sorted(counts, key=lambda o: Outcome(o).rank)}
    total, at, parts = sum(lengths.values()), 0.0, []
    for outcome, length in lengths.items():
        parts.append((outcome, round(100 * at / total, 3), round(100 * length / total, 3)))
        at += length
    return parts


@cache
def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def prepare() -> None:
    """Compiles the templates ahead of time. A run does so while it waits for observations.

    Nothing is kept on disk: a cache file could be stale, or written by somebody else.
    """
    for name in ("report.html", "index.html"):
        _templates().get_template(name)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    templates.filters["duration"] = duration
    templates.filters["moment"] = moment
    templates.filters["cap"] = lambda text: text[:1].upper() + text[1:]
    return templates
