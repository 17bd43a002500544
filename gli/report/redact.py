"""The one point that every text passes before it leaves: terminal, files, exceptions, test ids.

It knows the values that the run fetched as secrets and hides them in every form that they travel in: as they are,
JSON-escaped, URL-encoded and base64. Passwords in URLs go too, known or not.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 6  # a shorter value would mask ordinary words
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@'\"]*@")
_DSN_PASSWORD = re.compile(r"(?P<key>\bpassword=)(?:'[^']*'|[^\s'\",;]+)", re.IGNORECASE)
_BEARER = re.compile(r"(?P<scheme>\b(?:Bearer|Basic|Token)\s+)[A-Za-z0-9._~+/=-]{8,}")


class Redactor:
    """Hides secrets in text. Values can be added while a run goes on."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.learn(values)

    def learn(self, values: Iterable[str]) -> None:
        """Values that must not leave from now on."""
        known = self._known | {v for v in values if len(v) >= _SHORTEST}
        if known != self._known:
            self._known = known
            forms = {form for value in known for form in _forms(value)}
            self._pattern = re.compile("|".join(re.escape(f) for f in sorted(forms, key=len, reverse=True)))

    def text(self, text: str) -> str:
        """The text without secrets; always an exact `str`."""
        text = f"{text}"
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        text = _USERINFO.sub(rf"\g<scheme>{MASK}@", text)
        text = _DSN_PASSWORD.sub(rf"\g<key>{MASK}", text)
        return _BEARER.sub(rf"\g<scheme>{MASK}", text)

    def document(self, value: Any) -> Any:
        """A JSON document without secrets, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(k) if isinstance(k, str) else k: self.document(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.document(v) for v in value]
        return value


def _forms(value: str) -> set[str]:
    raw = value.encode()
    encoded = {base64.b64encode(raw), base64.urlsafe_b64encode(raw)}
    forms = {value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1]}
    return forms | {e.decode() for e in encoded} | {e.decode().rstrip("=") for e in encoded}
