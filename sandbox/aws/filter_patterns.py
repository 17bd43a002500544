"""logs TestMetricFilter, which moto lacks: patterns of words, as the service matches them; and PutMetricFilter, which
replaces a filter of the same name.

Source of truth: CloudWatch Logs User Guide, "Filter pattern syntax", unstructured log events. Words are case-sensitive
and all must occur; `-word` must not; of `?words` one must occur, but they are ignored where a word without `?` stands
beside them. An empty pattern matches every line. Patterns in braces, brackets or percent signs are refused.
"""

from __future__ import annotations

import shlex
from typing import Any

from moto.core.responses import ActionResult
from moto.logs.exceptions import InvalidParameterException
from moto.logs.models import LogsBackend
from moto.logs.responses import LogsResponse


def apply() -> None:
    """Let moto answer TestMetricFilter, and replace filters."""
    LogsResponse.test_metric_filter = _test_metric_filter
    add = LogsBackend.put_metric_filter

    def put(self: Any, filter_name: str, filter_pattern: str, log_group_name: str, *rest: Any, **named: Any) -> None:
        self.delete_metric_filter(filter_name, log_group_name)
        add(self, filter_name, filter_pattern, log_group_name, *rest, **named)

    LogsBackend.put_metric_filter = put


def _test_metric_filter(self: Any) -> ActionResult:
    pattern, lines = self._get_param("filterPattern"), self._get_param("logEventMessages")
    if pattern.lstrip()[:1] in ("{", "[", "%"):
        raise InvalidParameterException(constraint="a pattern of words", parameter="filterPattern", value=pattern)
    found = [
        {"eventNumber": number, "eventMessage": line, "extractedValues": {}}
        for number, line in enumerate(lines, 1)
        if matches(pattern, line)
    ]
    return ActionResult({"matches": found})


def matches(pattern: str, line: str) -> bool:
    """Whether a pattern of words matches a line."""
    words = shlex.split(pattern)
    without = [word[1:] for word in words if word.startswith("-")]
    one_of = [word[1:] for word in words if word.startswith("?")]
    every = [word for word in words if not word.startswith(("-", "?"))]
    if any(word in line for word in without):
        return False
    if every or without or not one_of:
        return all(word in line for word in every)
    return any(word in line for word in one_of)
