"""Content-Security-Policy: which addresses a page may load and connect to. Pure.

Source of truth: Content Security Policy Level 3, sections 6.7 (matching of sources) and 6.8 (fallback of directives).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

_FALLBACK = {
    "connect-src": ("connect-src", "default-src"),
    "script-src": ("script-src-elem", "script-src", "default-src"),
    "style-src": ("style-src-elem", "style-src", "default-src"),
    "font-src": ("font-src", "default-src"),
}
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_UPGRADES = {"http": {"http", "https"}, "ws": {"ws", "wss", "http", "https"}, "wss": {"wss", "https"}}
_NONCES = ("'nonce-", "'sha256-", "'sha384-", "'sha512-", "'strict-dynamic'")

Policy = Mapping[str, Sequence[str]]
"""Directive to its sources. A directive that stands twice counts the first time."""


def policies(texts: Iterable[str]) -> list[Policy]:
    """The policies of headers (several are joined by commas) and of `<meta>` tags. A page must satisfy each."""
    found: list[Policy] = []
    for text in ",".join(texts).split(","):
        policy: dict[str, list[str]] = {}
        for directive in text.split(";"):
            name, *sources = directive.split() or [""]
            policy.setdefault(name.lower(), sources)
        policy.pop("", None)
        if policy:
            found.append(policy)
    return found


def allows(policy: Policy, directive: str, url: str, page: str) -> bool:
    """Whether a page at `page` may use `url` for `directive`. A policy by nonces or hashes counts as allowing."""
    sources = next((policy[name] for name in _FALLBACK[directive] if name in policy), None)
    if sources is None:
        return True
    if directive in ("script-src", "style-src") and any(s.lower().startswith(_NONCES) for s in sources):
        return True
    return any(_matches(source, url, page) for source in sources)


def _matches(source: str, url: str, page: str) -> bool:
    own, asked = urlsplit(page), urlsplit(url)
    if source.lower() == "'self'":
        return own.hostname == asked.hostname and (
            (own.scheme, _port(page)) == (asked.scheme, _port(url))
            or (asked.scheme in ("https", "wss") and _port(url) in (_port(page), 443))
        )
    if source.startswith("'"):
        return False
    if source == "*":
        return asked.scheme in ("http", "https", "ws", "wss")
    if source.endswith(":"):
        return _scheme_matches(source[:-1].lower(), asked.scheme)
    scheme, separator, rest = source.rpartition("://")
    if not _scheme_matches(scheme.lower() if separator else own.scheme, asked.scheme):
        return False
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.partition(":")
    named, hostname = host.lower(), asked.hostname or ""
    fits = named in ("*", hostname) or (named.startswith("*.") and hostname.endswith(named[1:]))
    port_fits = port == "*" or _port(url) == (int(port) if colon and port.isdigit() else _PORTS.get(asked.scheme))
    wanted, there = slash + path, asked.path or "/"
    path_fits = not slash or wanted == "/" or (there.startswith(wanted) if wanted.endswith("/") else there == wanted)
    return fits and port_fits and path_fits


def _scheme_matches(allowed: str, scheme: str) -> bool:
    return scheme == allowed or scheme in _UPGRADES.get(allowed, ())


def _port(url: str) -> int | None:
    parts = urlsplit(url)
    return parts.port or _PORTS.get(parts.scheme)
