"""Which pushes start a workflow, by the files that they change. Pure.

Source of truth: GitHub's "Workflow syntax", `on.push.paths` and `on.push.paths-ignore`, and its "Filter pattern cheat
sheet".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gli.observe.release.workflow_calls import Invalid, document, triggers

_SIGNS = re.compile(r"\*\*/|\*\*|\*|\?|\+|\[[^\]]*\]|.", re.DOTALL)
_MEANS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
"""`?` and `+` are quantifiers of what stands before them, as in regular expressions."""


class Filters(NamedTuple):
    """The filters of a workflow's `push`; GitHub lets it have one of the two."""

    paths: Sequence[str] = ()
    ignored: Sequence[str] = ()

    def start(self, changed: Iterable[str]) -> bool:
        """Whether a push that changes these files starts the workflow."""
        if self.paths:
            return any(_last(self.paths, path) for path in changed)
        return any(not _last(self.ignored, path) for path in changed)


def path_filters(workflow: str) -> Filters | None:
    """The filters of a workflow's text; None if every push to its branches starts it."""
    try:
        on = triggers(document(workflow))
    except Invalid:
        return None
    push = on.get("push") if isinstance(on, dict) else None
    if not isinstance(push, dict):
        return None
    found = Filters(_listed(push.get("paths")), _listed(push.get("paths-ignore")))
    return found if any(found) else None


def _listed(value: Any) -> tuple[str, ...]:
    return (str(value),) if isinstance(value, str) else tuple(map(str, value or ()))


def _last(patterns: Sequence[str], path: str) -> bool:
    """Whether the last pattern that matches a path takes it; a pattern with `!` refuses."""
    matching = [p for p in patterns if re.fullmatch(_expression(p.removeprefix("!")), path)]
    return bool(matching) and not matching[-1].startswith("!")


def _expression(pattern: str) -> str:
    return "".join(_MEANS.get(s, s if len(s) > 1 else re.escape(s)) for s in _SIGNS.findall(pattern))
