"""Content-Security-Policy is read as browsers read it (CSP Level 3, section 6.7)."""

from __future__ import annotations

import pytest

from gli.observe.edge.csp import allows, policies

PAGE, API, SOCKET = "https://stg.glibiz.com/", "https://stg-api.glibiz.com", "wss://stg-ws.glibiz.com"


@pytest.mark.parametrize(
    ("policy", "url", "allowed"),
    [
        ("", API, True),
        ("img-src 'none'", API, True),
        ("default-src 'self'", API, False),
        ("default-src 'self'; connect-src *", API, True),
        ("connect-src 'none'", API, False),
        ("connect-src https:", API, True),
        ("connect-src https:", SOCKET, False),
        ("connect-src wss:", SOCKET, True),
        ("connect-src stg-api.glibiz.com", API, True),
        ("connect-src stg-ws.glibiz.com", SOCKET, False),  # without a scheme, the page's own counts: https
        ("connect-src https://*.glibiz.com", API, True),
        ("connect-src https://*.glibiz.com", "https://glibiz.com", False),
        ("connect-src https://stg-api.glibiz.com:8443", API, False),
        ("connect-src https://stg-api.glibiz.com:*", API, True),
        ("connect-src 'self'", "wss://stg.glibiz.com", True),
        ("connect-src https://stg-api.glibiz.com/v1/", API + "/v1/notices", True),
        ("connect-src https://stg-api.glibiz.com/v1/", API + "/v2/notices", False),
        ("CONNECT-SRC https://STG-API.glibiz.com; connect-src 'none'", API, True),  # the first of two counts
    ],
)
def test_a_policy_admits_what_browsers_admit(policy: str, url: str, allowed: bool) -> None:
    assert all(allows(one, "connect-src", url, PAGE) for one in policies([policy])) is allowed


def test_a_page_must_satisfy_each_of_several_policies() -> None:
    both = policies(["connect-src *, connect-src 'self'"])
    assert [allows(one, "connect-src", API, PAGE) for one in both] == [True, False]


def test_a_policy_by_nonces_says_nothing_of_addresses() -> None:
    (policy,) = policies(["script-src 'nonce-4f9a' 'strict-dynamic'"])
    assert allows(policy, "script-src", PAGE + "assets/index.js", PAGE)
