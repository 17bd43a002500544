"""HTTP as a user's browser speaks it. One exchange is one fact; a refused connection is a fact too.

Source of truth: RFC 9110.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import Mapping
from http.client import UNAUTHORIZED
from typing import Any
from urllib.parse import urlsplit

from gli.common.documents import parsed
from gli.common.json_paths import at
from gli.common.sentences import Said, phrase
from gli.config.services import Endpoint, Frontend, Service
from gli.observe.data.secrets import secret, secrets
from gli.observe.edge.sign_in import authorization, sign_in
from gli.observe.edge.tcp import answering_port
from gli.observe.engine.http_client import TIMEOUT_S
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

BUDGET_S = 2.0
BODY_LIMIT = 200_000
_ATTEMPTS = 3
_SPACING_S = 0.5
_VERSION_REQUESTS = 10
_BURST_REQUESTS = 30
_BURST_AT_ONCE = 6


class Cookie(Observation):
    """A cookie that an answer sets, without its value, which may be a secret."""

    name: str
    secure: bool = False
    http_only: bool = False
    same_site: str | None = None
    domain: str | None = None


class HttpExchange(Observation):
    """One request and its answer, or the error that came instead."""

    method: str
    url: str
    status: int | None = None
    headers: Mapping[str, str] = {}
    """Without Set-Cookie, which may hold a session."""
    cookies: tuple[Cookie, ...] = ()
    body: str = ""
    seconds: float
    attempts: int = 1
    error: Said | None = None
    unconnected: bool = False
    """No connection, or no TLS session, opened in time."""
    cut: bool = False
    """The body was longer than the part that is kept."""
    signed_in: bool = False
    """It carried the login that the host asks of everybody."""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """The whole body. Raises `Unobserved` if only a part of it was kept."""
        if self.cut:
            raise unknown(
                "too-little-data",
                phrase("{} answered more than the {} characters that are read", self.url, len(self.body)),
            )
        return self.body

    @property
    def document(self) -> Any:
        """The body as JSON; None if it is not JSON, or if readers may differ in what it says (a key stands twice).
        Raises `Unobserved` if only a part of the body was kept.
        """
        try:
            return parsed(self.text)
        except ValueError:
            return None

    @property
    def seen(self) -> str:
        """The answer in a few words: `503 application/json` or `connection refused`."""
        told = self.error or f"{self.status} {self.content_type}".strip()
        return phrase("{}: the login was refused", told) if self.signed_in and self.status == UNAUTHORIZED else told


class Revisions(Observation):
    """Revision to the number of answers that named it. Each request used a connection of its own."""

    counts: Mapping[str, int]
    errors: tuple[Said, ...] = ()

    @property
    def only(self) -> str | None:
        """The revision that every answer named; None if answers differ, or one named none."""
        return next(iter(self.counts)) if len(self.counts) == 1 and not self.errors else None


class Burst(Observation):
    """Many requests, each on a connection of its own."""

    requests: int
    failures: tuple[tuple[Said, int], ...] = ()
    """(failure, how often), sorted. A failure is an answer of 500 or above, or no answer."""


async def fetch(
    observer: Observer,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    fresh: bool = False,
    attempts: int = 1,
    within_s: float = math.inf,
    limit: int = BODY_LIMIT,
    anonymous: bool = False,
) -> HttpExchange:
    """Makes one exchange. A failure of the network is part of the fact, not an exception; but raises `Unobserved` if
    the host takes no connection and refuses none.

    The login that the host asks of everybody goes with it, unless it is `anonymous` or has another one.
    `fresh`: use a new connection, one of many: one that is not answered is part of the fact. `attempts`: try up to
    this many times, after an error, a 5xx answer or an answer that took longer than `within_s`; the fact has the number
    of the last attempt. `limit`: how many bytes of the body are read and kept, counted after decompression.
    """
    sent = dict(headers or {}) | ({"Connection": "close"} if fresh else {})
    login: dict[str, str] = {}
    if not anonymous and "authorization" not in {name.lower() for name in sent}:
        login = await sign_in(observer, url)
    for attempt in range(1, attempts + 1):
        async with observer.http.turn(observer):
            exchange = await _once(observer, url, method, sent | login, attempt, limit)
        if exchange.unconnected and not fresh:
            parts = urlsplit(url)
            await answering_port(observer, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        if exchange.status is not None and exchange.status < 500 and exchange.seconds <= within_s:
            break
        if exchange.seconds > within_s:
            observer.over(within_s, time.monotonic() - exchange.seconds)
        if attempt < attempts:
            await asyncio.sleep(_SPACING_S)
    observer.attempts = max(observer.attempts, exchange.attempts)
    return exchange.model_copy(update={"signed_in": True}) if login else exchange


async def _once(
    observer: Observer, url: str, method: str, headers: dict[str, str], attempt: int, limit: int
) -> HttpExchange:
    import httpcore
    import httpx

    observer.count("http")
    begun = time.monotonic()
    marks: dict[str, float] = {}

    async def trace(event: str, _: Mapping[str, Any]) -> None:
        marks[event] = time.monotonic()

    def exchange(**fields: Any) -> HttpExchange:
        seconds = round(time.monotonic() - begun, 4)
        return HttpExchange(method=method, url=url, seconds=seconds, attempts=attempt, **fields)

    try:
        answer = await observer.http.request(method, url, limit, headers=headers, extensions={"trace": trace})
    except (httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as e:
        if isinstance(e, httpcore.RemoteProtocolError | httpcore.NetworkError) and _was_kept(marks):
            return await _once(observer, url, method, headers, attempt, limit)
        if isinstance(e, httpx.TimeoutException | httpcore.TimeoutException):
            observer.over(TIMEOUT_S)
        return exchange(error=_why(e), unconnected=isinstance(e, httpx.ConnectTimeout | httpcore.ConnectTimeout))
    finally:
        _keep_phases(observer, marks)
    return exchange(
        status=answer.status,
        headers={k.lower(): v for k, v in answer.headers.items() if k.lower() != "set-cookie"},
        cookies=tuple(map(_cookie, answer.headers.get_list("set-cookie"))),
        body=answer.text,
        cut=answer.cut,
    )


def _was_kept(marks: Mapping[str, float]) -> bool:
    """Whether a connection from before was used, and no answer began: the server may have closed it as idle.

    The same request is sent again then, on another connection (RFC 9112, section 9.3.1).
    """
    return "connection.connect_tcp.started" not in marks and "http11.receive_response_headers.complete" not in marks


def _cookie(line: str) -> Cookie:
    """Parses a Set-Cookie header as RFC 6265, section 5.2, says."""
    pair, *rest = line.split(";")
    attributes = {name.strip().lower(): value.strip() for name, _, value in (part.partition("=") for part in rest)}
    return Cookie(
        name=pair.partition("=")[0].strip(),
        secure="secure" in attributes,
        http_only="httponly" in attributes,
        same_site=attributes.get("samesite", "").lower() or None,
        domain=attributes.get("domain", "").lower().lstrip(".") or None,
    )


def _keep_phases(observer: Observer, marks: Mapping[str, float]) -> None:
    spans = {
        "connect": "connection.connect_tcp",
        "tls": "connection.start_tls",
        "first_byte": "http11.receive_response_headers",
        "body": "http11.receive_response_body",
    }
    for phase, span in spans.items():
        begun, ended = marks.get(f"{span}.started"), marks.get(f"{span}.complete")
        if begun is not None and ended is not None:
            observer.phases_s[phase] = round(ended - begun, 4)


def _why(error: Exception) -> str:
    kind = type(error).__name__
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return phrase("TLS: {}", text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0])
    if kind == "ConnectTimeout":
        return phrase("no connection within {:g} s", TIMEOUT_S)
    if kind == "ReadTimeout":
        return phrase("no answer within {:g} s", TIMEOUT_S)
    if kind == "ConnectError" and "All connection attempts failed" in text:
        return phrase("connection refused")
    return f"{kind}: {text}" if text else kind


@probe(deadline=TIMEOUT_S * _ATTEMPTS + 2, timed=True, libraries=["httpx"])
async def landing(observer: Observer, page: Service | Frontend) -> HttpExchange:
    """The answer of a service's health endpoint, or of a frontend's index page. Tried up to three times."""
    path = page.health_path if isinstance(page, Service) else "/"
    return await fetch(observer, page.url.rstrip("/") + path, attempts=_ATTEMPTS, within_s=BUDGET_S)


@probe(after=[secrets])
async def deep_health(observer: Observer, service: Service) -> HttpExchange:
    """The answer of the deep health endpoint, which reports the service's dependencies. Sends the secret's token."""
    headers = {}
    if service.deep_health_secret:
        await observer.see(secret, service.deep_health_secret)
        document = observer.vault.document(service.deep_health_secret)
        headers[service.deep_health_header] = document.get("health_token") or document.get("token", "")
    return await fetch(observer, f"{service.url}{service.deep_health_path}", headers=headers)


@probe(deadline=20)
async def served_revisions(observer: Observer, service: Service) -> Revisions:
    """The revisions in ten answers of the version endpoint. New connections reach every task."""
    asked = [fetch(observer, f"{service.url}{service.version_path}", fresh=True) for _ in range(_VERSION_REQUESTS)]
    counts: dict[str, int] = {}
    errors = []
    for answer in await asyncio.gather(*asked):
        revision = revision_in(answer, service.version_at)
        if answer.status == 200 and revision:
            counts[revision] = counts.get(revision, 0) + 1
        else:
            errors.append(answer.seen if answer.status != 200 else phrase("an answer without a revision"))
    return Revisions(counts=counts, errors=tuple(errors))


@probe(deadline=20, after=[secrets])
async def contract_answers(observer: Observer, service: Service) -> tuple[HttpExchange, ...]:
    """One exchange for each endpoint of the service's contract, in the order of the contract."""

    async def ask(endpoint: Endpoint) -> HttpExchange:
        headers = {**endpoint.headers, **await authorization(observer, endpoint.authorization)}
        return await fetch(observer, f"{service.url}{endpoint.path}", method=endpoint.method, headers=headers)

    return tuple(await asyncio.gather(*map(ask, service.contract)))


def revision_in(answer: HttpExchange, where: str) -> str | None:
    """The revision that an answer names: under a JSON path, in a header (`header:NAME`), or as its `body`.

    A pattern after that finds the revision in the text: `body:build ([0-9a-f]+)`, `header:Server:shop/([0-9a-f]+)`.
    """
    kind, _, rest = where.partition(":")
    if where == "body":
        return answer.body.strip() or None
    if kind == "body":
        return _matched(rest, answer.text)
    if kind == "header":
        name, _, pattern = rest.partition(":")
        value = answer.headers.get(name.strip().lower(), "")
        return (_matched(pattern, value) if pattern else value) or None
    found = at(answer.document, where)
    return found if isinstance(found, str) and found else None


def _matched(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] or None if found else None


@probe(deadline=TIMEOUT_S * _BURST_REQUESTS / _BURST_AT_ONCE + 2)
async def burst(observer: Observer, service: Service) -> Burst:
    """Thirty requests on new connections, in turn to the health endpoint and to the endpoints of the contract."""
    first = await observer.see(landing, service)
    if first.status is None:
        raise unknown("dependency", phrase("{} does not answer at all: {}", service.host, first.seen))
    plain = [e for e in service.contract if e.method == "GET" and not e.headers and e.authorization is None]
    paths = [service.health_path, *(e.path for e in plain)]
    turns = asyncio.Semaphore(_BURST_AT_ONCE)

    async def ask(path: str) -> HttpExchange:
        async with turns:
            return await fetch(observer, f"{service.url}{path}", fresh=True)

    answers = await asyncio.gather(*[ask(paths[i % len(paths)]) for i in range(_BURST_REQUESTS)])
    failed = [phrase("{} from {}", a.seen, a.url) for a in answers if a.status is None or a.status >= 500]
    return Burst(requests=_BURST_REQUESTS, failures=tuple(sorted(Counter(failed).items())))


@probe()
async def cookie_answer(observer: Observer, service: Service) -> HttpExchange:
    """The answer of the endpoint that sets the service's cookies. The body may hold a token, so it is not kept."""
    assert service.cookies is not None, "asked only of services with cookies"
    answer = await fetch(observer, f"{service.url}{service.cookies.path}")
    return answer.model_copy(update={"body": ""})


@probe()
async def anonymous_answer(observer: Observer, service: Service) -> HttpExchange:
    """The answer of a protected endpoint to a request without a token."""
    return await fetch(observer, f"{service.url}{service.protected_path}", anonymous=True)


@probe()
async def error_page(observer: Observer, service: Service) -> HttpExchange:
    """The answer for a page that does not exist."""
    return await fetch(observer, f"{service.url}{service.error_path}")


@probe()
async def plain_http_answer(observer: Observer, host: str) -> HttpExchange:
    """The answer of `http://host/`, without following a redirect."""
    return await fetch(observer, f"http://{host}/")
