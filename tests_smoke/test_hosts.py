"""Checks of every public host, of services and frontends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gli.common.sentences import phrase, saw

if TYPE_CHECKING:
    from gli.observe.edge.http import HttpExchange


def test_http_redirects_to_https(plain_http_answer: HttpExchange, target: str) -> None:
    """Plain HTTP is redirected permanently to HTTPS on the same host."""
    location = plain_http_answer.headers.get("location", "")
    expected = phrase("301 or 308 to https://{}/", target)
    assert plain_http_answer.status in (301, 308), saw(plain_http_answer.seen, expected=expected)
    assert location.startswith((f"https://{target}/", f"https://{target}:443/")), saw(
        location or phrase("no Location"), expected=expected
    )
