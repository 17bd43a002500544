"""The HTTP API as its users and the frontends call it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gli.common.json_paths import MISSING, at
from gli.common.sentences import Phrase, either, listed, phrase, saw
from gli.observe.edge.http import BUDGET_S, Burst, Cookie, HttpExchange, Revisions
from gli.observe.edge.http_headers import REFERRER_POLICIES, directives, framers, hsts_age, referrer_policy, seconds

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.services import Endpoint, Frontend, Service
    from gli.observe.edge.cors import CorsAnswers, Preflights
    from gli.observe.release.builds import Build

_DEBUG_MARKS = ("Traceback (most recent call last)", "DEBUG = True", "Django settings file", "URLconf defined in")

_OF_THE_BALANCER = re.compile(r"AWS(ALB|ELB)[A-Z]*(-\d+)?")
"""Cookies that the load balancer itself sets for sticky sessions and logins. They lack the protecting flags."""


def test_api_health(landing: HttpExchange) -> None:
    """The health endpoint answers 200 through DNS, TLS and the load balancer, within 2 seconds."""
    assert landing.status == 200, saw(landing.seen, expected=phrase("200 from {}", landing.url))
    assert landing.seconds <= BUDGET_S, saw(
        phrase("{:.2f} s", landing.seconds), expected=phrase("{} to answer within {:g} s", landing.url, BUDGET_S)
    )


def test_api_deep_health(deep_health: HttpExchange, target: Service) -> None:
    """The API itself reaches its database and its cache. Its broker may be late: other checks cover the broker."""
    wanted, found = target.deep_health_values, _values(deep_health, target.deep_health_values)
    seen = listed(found.values()) if isinstance(deep_health.document, dict | list) else deep_health.seen
    assert not _wrong(deep_health, wanted), saw(
        seen, expected=phrase("{} from {}", listed(phrase("{}: {}", *one) for one in wanted.items()), deep_health.url)
    )


def test_api_version(served_revisions: Revisions, build: Build, target: Service) -> None:
    """Every task behind the load balancer answers with the commit at the head of the environment's branch."""
    seen = [phrase("{} ({} of 10)", commit, n) for commit, n in sorted(served_revisions.counts.items())]
    assert build.is_named(served_revisions.only, target.version), saw(
        listed([*seen, *served_revisions.errors]), expected=phrase("{} from every task", build.expected(target.version))
    )


def test_api_endpoints_contract(contract_answers: Sequence[HttpExchange], target: Service) -> None:
    """Every endpoint of the contract answers with its status, its headers, its content and its values."""
    for endpoint, answer in zip(target.contract, contract_answers, strict=True):
        kind = endpoint.content_type
        agreed = phrase("{} {}", either(endpoint.statuses), kind) if kind else either(endpoint.statuses)
        assert answer.status in endpoint.statuses and kind in ("", answer.content_type), saw(
            answer.seen, expected=phrase("{} from {}", agreed, endpoint.path)
        )
        _assert_content(endpoint, answer)
        keys = answer.document if isinstance(answer.document, dict) else {}
        missing = [key for key in endpoint.keys if key not in keys]
        assert not missing, saw(listed(keys), expected=phrase("{} in the answer of {}", listed(missing), endpoint.path))


def test_api_auth_enforced(anonymous_answer: HttpExchange, target: Service) -> None:
    """A protected endpoint refuses an anonymous call, without a server error."""
    refusals = target.protected_status
    assert anonymous_answer.status in refusals, saw(
        anonymous_answer.seen,
        expected=phrase("{} from {} without a token", either(refusals), anonymous_answer.url),
    )


def test_http_debug_off(error_page: HttpExchange) -> None:
    """A page that does not exist answers 404 without a debug page or a traceback."""
    assert error_page.status == 404, saw(error_page.seen, expected=phrase("404 from {}", error_page.url))
    marks = [mark for mark in _DEBUG_MARKS if mark in error_page.body]
    assert not marks, saw(phrase("a debug page ({})", listed(marks)), expected=phrase("a plain 404"))


def test_http_cookie_flags(cookie_answer: HttpExchange, environment: Environment, target: Service) -> None:
    """Cookies travel over HTTPS only, are hidden from scripts, stay on this site and never reach the
    other environment.
    """
    cookies = [c for c in cookie_answer.cookies if not _OF_THE_BALANCER.fullmatch(c.name)]
    assert target.cookies is not None and cookies, saw(
        phrase("{} without a cookie", cookie_answer.seen), expected=phrase("cookies from {}", cookie_answer.url)
    )
    other = environment.other.hosts if environment.other and not environment.production else ()
    faults = [
        phrase("{} {}", c.name, fault)
        for c in cookies
        for fault in _cookie_faults(c, target.cookies.readable, target.host, other)
    ]
    assert not faults, saw(
        listed(faults), expected=phrase("every cookie of {} Secure, HttpOnly, SameSite=Lax", cookie_answer.url)
    )


def test_http_no_5xx_burst(burst: Burst, target: Service) -> None:
    """No bad task hides behind the load balancer."""
    seen = [phrase("{} times {}", n, failure) for failure, n in burst.failures]
    assert not seen, saw(
        listed(seen),
        expected=phrase("{} requests to {} without a 5xx or a lost connection", burst.requests, target.host),
    )


def test_http_hsts(landing: HttpExchange, environment: Environment, target: Service | Frontend) -> None:
    """Every page and API answer tells browsers to use HTTPS only, for at least half a year (RFC 6797)."""
    header = landing.headers.get("strict-transport-security", "")
    age, least = hsts_age(header), environment.tls.least_hsts_days * 86_400
    assert age is not None and age >= least, saw(
        header or landing.error or phrase("no such header"),
        expected=phrase("Strict-Transport-Security from {} with one max-age of at least {}", target.host, least),
    )


def test_http_security_headers(landing: HttpExchange, environment: Environment, target: Service | Frontend) -> None:
    """Browsers trust the stated content type, no other site frames a page, and other sites do not learn the address of
    a page.
    """
    headers, page = landing.headers, landing.content_type == "text/html"
    referrer, own = referrer_policy(headers), {"'self'", *(f"https://{host}" for host in environment.hosts)}
    wanted = {
        "X-Content-Type-Options: nosniff": headers.get("x-content-type-options", "").lower() == "nosniff",
        phrase("X-Frame-Options or frame-ancestors without strangers"): not page
        or any(f <= own for f in framers(headers)),
        phrase("Referrer-Policy for other sites"): not page
        or (referrer is not None and not REFERRER_POLICIES[referrer]),
    }
    missing = [what for what, there in wanted.items() if not there]
    assert landing.error is None, saw(landing.error, expected=phrase("an answer of {}", target.host))
    assert not missing, saw(
        phrase("no {}", listed(missing)), expected=phrase("{} from {}", listed(wanted), target.host)
    )


def test_cors_preflight_allowed(preflights: Preflights) -> None:
    """Each frontend may call the API: its origin, the POST method and the headers it sends are allowed."""
    for origin, answer in preflights.allowed.items():
        allowed = answer.headers.get("access-control-allow-origin")
        assert answer.status in (200, 204), saw(answer.seen, expected=phrase("200 or 204 to a preflight of {}", origin))
        assert allowed == origin, saw(
            allowed or phrase("no such header"), expected=phrase("Access-Control-Allow-Origin: {}", origin)
        )
        methods = _tokens(answer, "access-control-allow-methods")
        assert methods & {"post", "*"}, saw(listed(sorted(methods)), expected=phrase("POST allowed for {}", origin))
        missing = {"authorization", "content-type"} - _tokens(answer, "access-control-allow-headers")
        assert not missing, saw(
            phrase("no {}", listed(sorted(missing))), expected=phrase("the frontend's headers allowed for {}", origin)
        )


def test_cors_answer_readable(cors_answers: CorsAnswers, target: Service) -> None:
    """Browsers give each frontend the API's answer: it names the origin, and allows cookies if the API sets any."""
    for origin, answer in cors_answers.answers.items():
        allowed = answer.headers.get("access-control-allow-origin")
        assert answer.status is not None, saw(answer.seen, expected=phrase("an answer to a request of {}", origin))
        assert allowed == origin or (allowed == "*" and target.cookies is None), saw(
            allowed or phrase("no such header"), expected=phrase("Access-Control-Allow-Origin: {}", origin)
        )
        allows = answer.headers.get("access-control-allow-credentials")
        assert allows == "true" or target.cookies is None, saw(
            allows or phrase("no such header"),
            expected=phrase("Access-Control-Allow-Credentials: true for {}, as the API sets cookies", origin),
        )


def test_http_private_not_cached(cookie_answer: HttpExchange) -> None:
    """No cache keeps an answer that belongs to one user: it would give the answer to others (RFC 9111, section 3)."""
    assert cookie_answer.status is not None, saw(
        cookie_answer.seen, expected=phrase("an answer of {}", cookie_answer.url)
    )
    found = directives(cookie_answer.headers.get("cache-control", ""))
    shared = seconds(found, "s-maxage") or seconds(found, "max-age") or 0
    kept = not {"private", "no-store", "no-cache"} & found.keys() and ("public" in found or shared > 0)
    assert not kept, saw(
        cookie_answer.headers.get("cache-control"),
        expected=phrase("no shared cache to keep {}, which sets cookies", cookie_answer.url),
    )
    hit = cookie_answer.headers.get("x-cache", "")
    assert not hit.lower().startswith("hit"), saw(hit, expected=phrase("{} not from a cache", cookie_answer.url))


def test_cors_foreign_denied(preflights: Preflights) -> None:
    """No other origin may call the API from a browser."""
    for origin, answer in preflights.foreign.items():
        allowed = answer.headers.get("access-control-allow-origin")
        assert answer.status is not None, saw(answer.seen, expected=phrase("an answer to a preflight of {}", origin))
        assert allowed not in (origin, "*", "null"), saw(
            phrase("Access-Control-Allow-Origin: {}", allowed), expected=phrase("{} not to be allowed", origin)
        )


def _assert_content(endpoint: Endpoint, answer: HttpExchange) -> None:
    """The headers, the patterns of the body and the values of one answer."""
    for name, pattern in endpoint.answer_headers.items():
        header = answer.headers.get(name.lower(), "")
        assert re.fullmatch(pattern, header), saw(
            header or phrase("no such header"), expected=phrase("{}: {} from {}", name, pattern, endpoint.path)
        )
    lacking = [p for p in endpoint.body if not re.search(p, answer.text)]
    assert not lacking, saw(
        phrase("a body without it"), expected=phrase("{} in the answer of {}", listed(lacking), endpoint.path)
    )
    present = [p for p in endpoint.body_without if re.search(p, answer.text)]
    assert not present, saw(
        phrase("a body with it"), expected=phrase("no {} in the answer of {}", listed(present), endpoint.path)
    )
    wrong = _wrong(answer, endpoint.values)
    wanted = listed(phrase("{}: {}", path, endpoint.values[path]) for path in wrong)
    assert not wrong, saw(listed(wrong.values()), expected=phrase("{} in the answer of {}", wanted, endpoint.path))


def _values(answer: HttpExchange, paths: Iterable[str]) -> dict[str, Phrase]:
    """What a JSON document holds under each path, in words."""
    found = {path: at(answer.document, path) for path in paths}
    return {p: phrase("{}: {}", p, phrase("not mentioned") if v is MISSING else v) for p, v in found.items()}


def _wrong(answer: HttpExchange, wanted: Mapping[str, object]) -> dict[str, Phrase]:
    """The values that are not as wanted, in words. `true` is not 1."""
    found = {path: at(answer.document, path) for path in wanted}
    wrong = [p for p, v in found.items() if v != wanted[p] or isinstance(v, bool) != isinstance(wanted[p], bool)]
    return _values(answer, wrong)


def _cookie_faults(cookie: Cookie, readable: Sequence[str], host: str, other: Sequence[str]) -> list[str]:
    """The faults of one cookie of `host`. Browsers must not send it to the hosts in `other`."""
    domain = cookie.domain or ""
    reached = [h for h in other if domain and (h == domain or h.endswith(f".{domain}"))]
    faults = {
        phrase("is not Secure"): not cookie.secure,
        phrase("is not HttpOnly"): not cookie.http_only and cookie.name not in readable,
        phrase("goes out with requests of other sites (SameSite=None)"): cookie.same_site == "none",
        phrase("has no SameSite"): cookie.same_site not in ("lax", "strict", "none"),
        phrase("has the foreign Domain {}", domain): bool(domain)
        and host != domain
        and not host.endswith(f".{domain}"),
        phrase("reaches {} with Domain {}", listed(reached), domain): bool(reached),
    }
    return [fault for fault, there in faults.items() if there]


def _tokens(answer: HttpExchange, header: str) -> set[str]:
    return {token.strip().lower() for token in answer.headers.get(header, "").split(",") if token.strip()}
