"""Headers are judged as browsers interpret them, not by their mere presence."""

from __future__ import annotations

import pytest

from gli.observe.edge.http_headers import REFERRER_POLICIES, directives, framers, hsts_age, referrer_policy, seconds


@pytest.mark.parametrize(
    ("header", "age"),
    [
        ("max-age=31536000", 31536000),
        ('Max-Age="31536000"; includeSubDomains; preload', 31536000),
        ("includeSubDomains ; max-age = 15552000 ;", 15552000),
        ("max-age=1", 1),
        ("", None),
        ("includeSubDomains", None),
        ("max-age=31536000; max-age=0", None),
        ("max-age=31536000; preload; preload", None),
        ("max-age=31536000, max-age=0", None),
        ("max-age=²", None),
        ("max-age=-1", None),
        ("max-age=" + "9" * 5000, None),
    ],
)
def test_hsts_is_read_as_a_browser_does(header: str, age: int | None) -> None:
    assert hsts_age(header) == age


def test_a_number_has_only_digits() -> None:
    assert seconds(directives("max-age=60"), "max-age") == 60
    assert seconds(directives("max-age=²"), "max-age") is None


@pytest.mark.parametrize(
    ("policy", "option", "sources"),
    [
        ("", "", []),
        ("", "DENY", [set()]),
        ("", "sameorigin", [{"'self'"}]),
        ("", "ALLOW-FROM https://x.example", []),
        ("default-src 'self'", "", []),
        ("default-src 'self'; frame-ancestors 'none'", "", [set()]),
        ("frame-ancestors 'self' https://x.example", "", [{"'self'", "https://x.example"}]),
        ("frame-ancestors *", "DENY", [{"*"}]),
        ("frame-ancestors *, frame-ancestors 'none'", "", [{"*"}, set()]),
        ("frame-ancestors *; frame-ancestors 'none'", "", [{"*"}]),
        ("frame-ancestors-of-mine 'none'", "", []),
    ],
)
def test_who_may_frame_a_page(policy: str, option: str, sources: list[set[str]]) -> None:
    assert list(framers({"content-security-policy": policy, "x-frame-options": option})) == sources


@pytest.mark.parametrize(
    ("header", "policy"),
    [
        ("", None),
        ("yes", None),
        ("no-referrer", "no-referrer"),
        ("no-referrer, strict-origin-when-cross-origin", "strict-origin-when-cross-origin"),
        ("same-origin, of-the-future", "same-origin"),
        ("no-referrer, Unsafe-URL", "unsafe-url"),
    ],
)
def test_the_last_known_referrer_policy_counts(header: str, policy: str | None) -> None:
    assert referrer_policy({"referrer-policy": header}) == policy


def test_which_referrer_policies_send_the_full_url() -> None:
    assert [policy for policy, tells in REFERRER_POLICIES.items() if tells] == [
        "no-referrer-when-downgrade",
        "unsafe-url",
    ]
