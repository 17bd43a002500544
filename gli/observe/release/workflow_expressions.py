"""Evaluates GitHub's expressions for a push of one branch, if they depend on the branch and on known inputs alone.

Source of truth: GitHub's "Evaluate expressions in workflows and actions" and "Contexts reference".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|(&&|\|\||==|!=|!|\(|\)|,)|([\w.-]+))")

_STATUS = {"success": True, "always": True, "failure": False, "cancelled": False}
"""The values of the status functions in a run without failures."""
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda whole, part: part in whole,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


class Unresolved(Exception):
    """The expression needs a value that only GitHub knows."""


class Expression:
    """An expression such as `a == b && c || d`. As on GitHub, `&&` and `||` return one of their operands."""

    def __init__(self, text: str, branch: str, known: Mapping[str, Any] | None = None) -> None:
        """`known`: further names, such as `inputs.x`, with their values. A value that is an expression is not known."""
        given = {name.lower(): value for name, value in (known or {}).items() if "${{" not in str(value)}
        self._known: dict[str, str | bool] = {
            **given,
            "github.ref_name": branch,
            "github.ref": f"refs/heads/{branch}",
            "github.event_name": "push",
            "github.ref_type": "branch",
            "github.base_ref": "",  # these are set for pull requests only
            "github.head_ref": "",
            "github.event.pull_request.merged": "",
            "true": True,
            "false": False,
        }
        self._tokens: list[tuple[str, str, str]] = []
        position = 0
        while text[position:].strip():
            token = _TOKEN.match(text, position)
            if token is None:
                raise Unresolved
            self._tokens.append((token[0].strip(), token[1] or "", token[3] or ""))
            position = token.end()

    def value(self) -> str | bool:
        """The value of the whole expression. Raises `Unresolved` if only GitHub knows it."""
        result = self._or()
        if self._tokens:
            raise Unresolved
        return result

    def _take(self, *operators: str) -> str | None:
        if self._tokens and self._tokens[0][0] in operators:
            return self._tokens.pop(0)[0]
        return None

    def _or(self) -> str | bool:
        left = self._and()
        while self._take("||"):
            right = self._and()
            left = left or right
        return left

    def _and(self) -> str | bool:
        left = self._equal()
        while self._take("&&"):
            right = self._equal()
            left = left and right
        return left

    def _equal(self) -> str | bool:
        left = self._one()
        while operator := self._take("==", "!="):
            same = str(left).lower() == str(self._one()).lower()  # GitHub ignores case when it compares
            left = same if operator == "==" else not same
        return left

    def _one(self) -> str | bool:
        if self._take("!"):
            return not self._one()
        if self._take("("):
            inner = self._or()
            if not self._take(")"):
                raise Unresolved
            return inner
        if not self._tokens:
            raise Unresolved
        whole, literal, name = self._tokens.pop(0)
        if whole.startswith("'"):
            return literal.replace("''", "'")
        if self._take("("):
            return self._call(name.lower())
        if name.lower() not in self._known:
            raise Unresolved
        return self._known[name.lower()]

    def _call(self, function: str) -> str | bool:
        """The value of a function call, read after its opening bracket."""
        arguments: list[str | bool] = []
        while not self._take(")"):
            arguments.append(self._or())
            self._take(",")
        if function in _STATUS and not arguments:
            return _STATUS[function]
        if function in _TEXTS and len(arguments) == 2:
            whole, part = (str(argument).lower() for argument in arguments)
            return _TEXTS[function](whole, part)
        raise Unresolved
