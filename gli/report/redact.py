"""The one point that every text passes before it leaves: terminal, files, messages, exceptions, test ids.

It knows the values that the run fetched as secrets and hides them in every form that they travel in: as they are,
JSON-escaped, URL-encoded and base64. What nobody knew of goes too where its place gives it away: passwords in URLs
and DSNs, headers that carry credentials, cookies, tokens of a known shape, private keys; percent-encoded and in base64
too.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
_CARRIED = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GITHUB_TOKEN",
    "GLI_STATUS_TOKEN",
    "PGPASSWORD",
)
_SHORTEST = 6  # a shorter value would mask ordinary words
_HEADERS = r"(?:proxy-)?authorization|(?:x-)?api-?key|x-[a-z0-9-]*(?:token|secret|key|signature)"
_NAMED = r"[a-z0-9_]*(?:secret|token|password|api_?key|access_key)[a-z0-9_]*"
# Each place with words of which one is in every text that it is found in: looking for a word is much the faster.
_PLACES: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = tuple(
    (words, re.compile(pattern, re.IGNORECASE), rf"\g<place>{MASK}\g<rest>")
    for words, pattern in (
        # RFC 3986 userinfo
        (("://",), r"(?P<place>[a-z][a-z0-9+.-]*://)[^/\s@'\"]*(?P<rest>@)"),
        # libpq's connection strings
        (("password=", "passwd=", "pwd="), r"(?P<place>\b(?:password|passwd|pwd)=)(?:'[^']*'|[^\s'\",;&]+)(?P<rest>)"),
        # RFC 7235 credentials, and headers and cookies that carry some
        (("bearer", "basic", "token"), r"(?P<place>\b(?:Bearer|Basic|Token)\s+)[a-z0-9._~+/=-]{8,}(?P<rest>)"),
        (
            ("authorization", "key", "token", "secret", "signature"),
            rf"(?P<place>\b(?:{_HEADERS})['\"]?\s*[:=]\s*['\"]?)(?!(?:Bearer|Basic|Token)\s)[^\s'\",;]{{6,}}(?P<rest>)",
        ),
        (("cookie",), r"(?P<place>\bcookie['\"]?\s*[:=]\s*['\"]?)[^\s=;,'\"]+=[^\r\n'\"]+(?P<rest>)"),
        # URL parameters and variables that are named like secrets
        (
            ("signature=", "sig=", "credential="),
            r"(?P<place>[?&][a-z0-9_.-]*(?:signature|credential|sig)=)[^\s&#'\"]+(?P<rest>)",
        ),
        (("=",), rf"(?P<place>(?:\b|(?<=[?&])){_NAMED}=)[^\s&#'\",;$]{{6,}}(?P<rest>)"),
        # shapes: JSON Web Tokens, GitHub, Slack, AWS, PEM
        (("eyj",), r"(?P<place>\b)eyJ[a-z0-9_-]{8,}\.[a-z0-9_-]{4,}(?:\.[a-z0-9_-]*)?(?P<rest>)"),
        (
            ("gh", "github_pat_", "xox"),
            r"(?P<place>\b)(?:gh[pousr]_[a-z0-9]{20,}|github_pat_[a-z0-9_]{20,}|xox[abeoprs]-[a-z0-9-]{10,})(?P<rest>)",
        ),
        (("hooks.slack.com",), r"(?P<place>hooks\.slack\.com/(?:services|workflows)/)[a-z0-9/_-]+(?P<rest>)"),
        (("akia", "asia"), r"(?P<place>\b)(?:AKIA|ASIA)[A-Z2-7]{16}(?P<rest>\b)"),
        (("private key",), r"(?P<place>-----BEGIN [A-Z ]*PRIVATE KEY-----)(?s:.*?)(?P<rest>-----END|\Z)"),
    )
)
_KEYS = re.compile(
    rf"(?:set-)?cookie|{_HEADERS}|passw(?:or)?d|(?:aws_)?(?:secret_access_key|session_token)", re.IGNORECASE
)
_PERCENT = re.compile(r"[^\s'\"<>]*%[0-9A-Fa-f]{2}[^\s'\"<>]*")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{16,}={0,2}")


def carried() -> list[str]:
    """The credentials that this process's own environment variables hold."""
    return [os.environ[name] for name in _CARRIED if name in os.environ]


class Redactor:
    """Hides secrets in text. Values can be added while a run goes on, from any thread."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._hidden: dict[str, str] = {}
        self._learning = threading.Lock()
        self.learn(values)

    def learn(self, values: Iterable[str]) -> None:
        """Values that must not leave from now on."""
        with self._learning:
            known = self._known | {v for v in values if len(v) >= _SHORTEST}
            if known != self._known:
                forms = {form for value in known for form in _forms(value)}
                self._pattern = re.compile("|".join(re.escape(f) for f in sorted(forms, key=len, reverse=True)))
                self._known, self._hidden = known, {}  # last: what is kept from now on was hidden by the new pattern

    def text(self, text: str) -> str:
        """The text without secrets; always an exact `str`."""
        text = f"{text}"
        kept = self._hidden  # a verdict says the same words over and over
        hidden = kept.get(text)
        if hidden is None:
            hidden = kept[text] = self._without(text)
        return hidden

    def _without(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        lowered = text.lower()
        for words, pattern, kept in _PLACES:
            if any(word in lowered for word in words):
                text = pattern.sub(kept, text)
        if "%" in text:
            text = _PERCENT.sub(lambda found: self._unless_inside(found[0], unquote(found[0])), text)
        return _BASE64.sub(lambda found: self._unless_inside(found[0], _decoded(found[0])), text)

    def _unless_inside(self, encoded: str, inside: str) -> str:
        """The encoded text, or the mask where a secret is inside."""
        return encoded if self.text(inside) == inside else MASK

    def document(self, value: Any) -> Any:
        """A JSON document without secrets, keys included; what stands under a key like `password` is one."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(k) if isinstance(k, str) else k: self._under(k, v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.document(v) for v in value]
        return value

    def _under(self, key: Any, value: Any) -> Any:
        secret = isinstance(value, str) and value and isinstance(key, str) and _KEYS.fullmatch(key)
        return MASK if secret else self.document(value)


def _decoded(encoded: str) -> str:
    """The text inside base64, of either alphabet; empty where there is none."""
    bare = encoded.rstrip("=")
    try:
        return base64.b64decode(
            bare + "=" * (-len(bare) % 4), altchars=b"-_" if set(bare) & set("-_") else None
        ).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _forms(value: str) -> set[str]:
    raw = value.encode()
    encoded = {base64.b64encode(raw), base64.urlsafe_b64encode(raw)}
    forms = {value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1]}
    return forms | {e.decode() for e in encoded} | {e.decode().rstrip("=") for e in encoded}
