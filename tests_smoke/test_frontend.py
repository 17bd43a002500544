"""The frontends as a browser loads them: the page, its hashed assets, its routes, the hosts that it calls."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.edge.browser import PageVisit, visits_of
from gli.observe.edge.csp import allows, policies
from gli.observe.edge.frontend import SCRIPT, Asset, Index, Part, read_index
from gli.observe.edge.http_headers import directives, seconds

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.services import Frontend
    from gli.observe.edge.http import HttpExchange
    from gli.observe.release.builds import Build

LONGEST_PAGE_S = 60
LONGEST_AT_ALL_S = 7 * 86_400
YEAR_S = 31_536_000
_HASHED = re.compile(r"[-.](?=\w*\d)\w{8,}\.(?:js|mjs|css)$")  # app-4f9a1c2b.js


def test_cdn_index_200(landing: HttpExchange, index: Index, target: Frontend) -> None:
    """The application's page is served as HTML that browsers show and do not save, has the node on which it mounts,
    and sends nobody to another site. No browser keeps the page for more than a week: it would show none of that time's
    releases, and nothing can call the page back.
    """
    assert landing.seen == "200 text/html", saw(landing.seen, expected=phrase("200 text/html from {}", landing.url))
    kept = landing.headers.get("content-disposition", "")
    assert not kept.lower().startswith("attachment"), saw(
        phrase("Content-Disposition: {}", kept), expected=phrase("a page that browsers show, from {}", landing.url)
    )
    header = landing.headers.get("cache-control", "")
    kept_s = seconds(directives(header), "max-age")
    assert _is_fresh(header) or kept_s is None or kept_s <= LONGEST_AT_ALL_S, saw(
        header, expected=phrase("max-age of at most {} on {}", LONGEST_AT_ALL_S, landing.url)
    )
    assert target.mount in index.ids, saw(listed(index.ids), expected=phrase('an element with id="{}"', target.mount))
    assert index.sent_to is None, saw(
        phrase("a page that sends its visitors to {}", index.sent_to), expected=phrase("visitors to stay on it")
    )


def test_cdn_index_fresh(index: Index, build: Build, target: Frontend) -> None:
    """Viewers get the page of the commit at the head of the environment's branch, not an older one from a cache."""
    assert build.is_named(index.build, target.version), saw(
        index.build or phrase("no build tag"), expected=phrase("the build {}", build.expected(target.version))
    )


def test_cdn_assets_resolve(assets: Sequence[Asset], index: Index) -> None:
    """Every script and style of the page loads with the right type; an HTML page in its place is a hidden 404."""
    assert assets, saw(phrase("none"), expected=phrase("at least one script or style in the page"))
    broken = [phrase("{}: {}", a.url, a.seen) for a in assets if not a.genuine]
    assert not broken, saw(
        listed(broken), expected=phrase("all {} scripts and styles with their real type", len(index.assets))
    )


def test_cdn_chunks_complete(parts: Sequence[Part]) -> None:
    """Whatever the page, its scripts and its styles need later is there: lazy chunks, their styles, fonts,
    configuration, the service worker and what it keeps.

    A route whose chunk is missing fails at the click, long after the page has loaded.
    """
    missing = [phrase("{}: {}, needed by {}", p.url, p.seen, p.named_by) for p in parts if not p.genuine]
    assert not missing, saw(listed(missing), expected=phrase("every part that the bundle needs later"))


def test_cdn_csp_admits_own(
    landing: HttpExchange, index: Index, bundle_origins: Sequence[str], environment: Environment
) -> None:
    """The page's own Content-Security-Policy lets it load its scripts and styles, and reach its API and WebSocket."""
    assert landing.status is not None, saw(landing.seen, expected=phrase("an answer of {}", landing.url))
    header = landing.headers.get("content-security-policy", "")
    hosts = {s.host for s in environment.services.values()}
    wanted = [("script-src" if kind == SCRIPT else "style-src", url) for url, kind in index.assets]
    wanted += [("connect-src", o) for o in bundle_origins if o.partition("://")[2].partition(":")[0] in hosts]
    refused = [
        phrase("{} refuses {}", directive, url)
        for policy in policies([header, *index.policies])
        for directive, url in wanted
        if not allows(policy, directive, url, landing.url)
    ]
    assert not refused, saw(listed(refused), expected=phrase("a policy that lets the page work"))


def test_page_boots(page_visits: Sequence[PageVisit], target: Frontend) -> None:
    """The application starts in a browser: its page and its route show something, without an uncaught error and without
    a request to its own hosts that comes to nothing. The browser sends no write, and nobody is logged in.
    """
    visits = visits_of(page_visits, target)
    assert visits, saw(phrase("none"), expected=phrase("a visit of {}", target.url))
    wrong = [phrase("{}: {}", visit.url, said) for visit in visits for said in _wrong(visit, target)]
    assert not wrong, saw(listed(wrong), expected=phrase("{} starts in a browser", target.url))


def _wrong(visit: PageVisit, frontend: Frontend) -> Iterator[str]:
    if visit.problem:
        yield visit.problem
    elif (visit.status or 0) >= 400:
        yield str(visit.status)
    yield from (phrase("uncaught {}", error) for error in visit.errors)
    yield from visit.failed
    if not visit.filled and not visit.problem:
        yield phrase("nothing in the element {}", frontend.mount)


def test_cdn_spa_deep_link(deep_link: HttpExchange, index: Index) -> None:
    """A client-side route survives a reload: it serves the same build of the same page."""
    assert deep_link.seen == "200 text/html", saw(
        deep_link.seen, expected=phrase("200 text/html from {}", deep_link.url)
    )
    build = read_index(deep_link).build
    assert build == index.build, saw(build, expected=phrase("the build of the index page, {}", index.build))


def test_cdn_missing_asset_404(missing_asset: HttpExchange, index: Index) -> None:
    """A missing script is an error. The application's page is accepted too if no browser runs or keeps it: CloudFront
    answers it where it maps 403 and 404 to /index.html, as single-page applications do.
    """
    if _is_the_page(missing_asset, index):
        header = missing_asset.headers.get("cache-control", "")
        assert _is_fresh(header), saw(
            phrase("the page for a missing script with {}", header or phrase("no Cache-Control")),
            expected=phrase("no-cache, or max-age of at most {}, on {}", LONGEST_PAGE_S, missing_asset.url),
        )
        return
    assert missing_asset.status in (403, 404), saw(
        missing_asset.seen, expected=phrase("403 or 404 for a missing script")
    )


def test_cdn_index_cache_control(landing: HttpExchange, assets: Sequence[Asset]) -> None:
    """Browsers ask for the page each time, and keep files with a hash in their name for long."""
    header = landing.headers.get("cache-control", "")
    assert _is_fresh(header), saw(
        header or phrase("no Cache-Control"),
        expected=phrase("no-cache, or max-age of at most {}, on {}", LONGEST_PAGE_S, landing.url),
    )
    short = [
        phrase("{} on {}", a.cache_control or phrase("no Cache-Control"), a.url)
        for a in assets
        if a.genuine and _HASHED.search(a.url) and (seconds(directives(a.cache_control), "max-age") or 0) < YEAR_S
    ]
    assert not short, saw(listed(short), expected=phrase("max-age of at least {} on what is named by its hash", YEAR_S))


def test_s3_direct_access_denied(bucket_answer: HttpExchange, target: Frontend) -> None:
    """Nobody reads the bucket around CloudFront."""
    assert bucket_answer.status == 403, saw(
        bucket_answer.seen,
        expected=phrase("403 from S3 for index.html of {}, asked without credentials", target.bucket),
    )


def test_cdn_no_source_maps(source_maps: Sequence[HttpExchange], index: Index) -> None:
    """The bundle's source code is not public: no script has its source map beside it."""
    assert source_maps, saw(phrase("none"), expected=phrase("at least one script in the page"))
    served = [a.url for a in source_maps if a.status not in (403, 404) and not _is_the_page(a, index)]
    assert not served, saw(phrase("{} answered", listed(served)), expected=phrase("403 or 404 for every source map"))


def test_cdn_api_base_correct(bundle_origins: Sequence[str], environment: Environment, target: Frontend) -> None:
    """The bundle talks to this environment's API and WebSocket hosts, and to no other environment's; encrypted, as
    browsers refuse anything else on a page of HTTPS.
    """
    named = set(bundle_origins)
    called = environment.services if target.calls is None else target.calls
    wanted = {
        s.url.partition("://")[0] + "://" + s.host for s in environment.services.values() if s.url and s.name in called
    }
    # Socket.IO's client takes an address with https:// and makes wss:// of it.
    assert {_of_http(origin) for origin in wanted} <= {_of_http(origin) for origin in named}, saw(
        listed(sorted(named)), expected=phrase("{} in the bundle", listed(sorted(wanted)))
    )
    plain = {o.replace("https", "http", 1) for o in map(_of_http, wanted) if o.startswith("https")}
    in_clear = sorted(o for o in named if _of_http(o) in plain) if target.url.startswith("https:") else []
    assert not in_clear, saw(
        listed(in_clear), expected=phrase("{} to be called over HTTPS alone", listed(sorted(wanted)))
    )
    zone = environment.dns.zone or ""
    own = {*environment.hosts}
    strangers = sorted(o for o in named if _strange(o.partition("://")[2].partition(":")[0], zone, own))
    assert not strangers, saw(
        listed(strangers), expected=phrase("only hosts of {} in the bundle of {}", environment.name, target.name)
    )


def test_cdn_no_secrets(bundle_secrets: Mapping[str, Sequence[str]], index: Index) -> None:
    """The bundle tells no key and no login that only a server may have: everybody can read the bundle."""
    assert index.assets, saw(phrase("none"), expected=phrase("at least one script in the page"))
    told = [phrase("{} in {}", listed(kinds), url) for url, kinds in sorted(bundle_secrets.items())]
    assert not told, saw(listed(told), expected=phrase("a bundle without secrets"))


def _of_http(origin: str) -> str:
    """The origin with the scheme of HTTP: `wss://` and `https://` name the same host and port."""
    return origin.replace("ws", "http", 1) if origin.startswith("ws") else origin


def _is_fresh(header: str) -> bool:
    """Whether a browser soon asks again for an answer with this Cache-Control."""
    found = directives(header)
    kept_s = seconds(found, "max-age")
    return bool({"no-cache", "no-store"} & found.keys()) or (kept_s is not None and kept_s <= LONGEST_PAGE_S)


def _is_the_page(answer: HttpExchange, index: Index) -> bool:
    """Whether an answer is the application's own page: HTML of the same build, with the same element ids."""
    found = read_index(answer)
    return answer.seen == "200 text/html" and found.ids != () and (found.ids, found.build) == (index.ids, index.build)


def _strange(host: str, zone: str, own: set[str]) -> bool:
    """Whether the host belongs to another environment or is a developer's own machine."""
    foreign = bool(zone) and (host == zone or host.endswith(f".{zone}")) and host not in own
    return foreign or host in ("localhost", "127.0.0.1")
