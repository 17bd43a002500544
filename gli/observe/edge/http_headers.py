"""The content of HTTP headers, read as a browser reads it.

Source of truth: RFC 9111 (Cache-Control), RFC 6797 (HSTS), RFC 7034, CSP Level 3 (frame-ancestors), Referrer Policy.
"""

from __future__ import annotations

from collections.abc import Mapping

_MOST_DIGITS = 18
"""The most digits of a number of seconds. int() refuses a text of thousands of digits."""
REFERRER_POLICIES = {
    "no-referrer": False,
    "no-referrer-when-downgrade": True,
    "origin": False,
    "origin-when-cross-origin": False,
    "same-origin": False,
    "strict-origin": False,
    "strict-origin-when-cross-origin": False,
    "unsafe-url": True,
}
"""The policies of the Referrer Policy standard; true: the policy sends a page's full address to other sites."""


def directives(header: str) -> dict[str, str]:
    """The directives of Cache-Control and similar headers: `{"max-age": "60", "immutable": ""}`."""
    parts = (part.strip().partition("=") for part in header.lower().replace(";", ",").split(",") if part.strip())
    return {name: value.strip('"') for name, _, value in parts}


def seconds(found: Mapping[str, str], directive: str) -> int | None:
    """The seconds of a directive; None if the directive is missing or not a number."""
    return _whole(found.get(directive, ""))


def hsts_age(header: str) -> int | None:
    """How many seconds the header makes a browser use HTTPS; None if the browser must ignore it (RFC 6797, 6.1)."""
    pairs = [[half.strip() for half in part.lower().partition("=")] for part in header.split(";") if part.strip()]
    ages = [value for name, _, value in pairs if name == "max-age"]
    once = len({name for name, *_ in pairs}) == len(pairs)
    return _whole(ages[0].removeprefix('"').removesuffix('"')) if ages and once else None


def framers(headers: Mapping[str, str]) -> tuple[frozenset[str], ...]:
    """For each policy with `frame-ancestors`, the sources that may frame the page. A site must be in all of them.

    X-Frame-Options counts only if no Content-Security-Policy has `frame-ancestors`. An empty result: any site may.
    """
    policies = map(_ancestors, headers.get("content-security-policy", "").lower().split(","))
    named = tuple(policy for policy in policies if policy is not None)
    option = {"deny": frozenset[str](), "sameorigin": frozenset({"'self'"})}.get(
        headers.get("x-frame-options", "").strip().lower()
    )
    return named or (() if option is None else (option,))


def _ancestors(policy: str) -> frozenset[str] | None:
    for directive in policy.split(";"):
        name, *sources = directive.split() or [""]
        if name == "frame-ancestors":
            return frozenset(sources) - {"'none'"}
    return None


def referrer_policy(headers: Mapping[str, str]) -> str | None:
    """The policy that a browser follows: the last one that it knows. None if it knows none of them."""
    tokens = [token.strip().lower() for token in headers.get("referrer-policy", "").split(",")]
    return next((token for token in reversed(tokens) if token in REFERRER_POLICIES), None)


def _whole(digits: str) -> int | None:
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS else None
