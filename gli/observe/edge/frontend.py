"""Frontends as a browser loads them: the index page, what it refers to, and what the bundle talks to."""

from __future__ import annotations

import asyncio
import re
import secrets
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from gli.common.sentences import Said, phrase
from gli.config.environments import Frontend
from gli.observe.edge.http import HttpExchange, fetch, landing
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

SCRIPT, STYLE = "script", "style"
_MIME = {
    SCRIPT: ("text/javascript", "application/javascript"),
    STYLE: ("text/css",),
}
_URL = re.compile(r"""(?:https?|wss?)://[a-zA-Z0-9.-]+(?::\d+)?""")


class Index(Observation):
    """What an index page holds."""

    ids: tuple[str, ...]
    build: str | None
    """The revision of the `<meta name="build">` tag."""
    assets: tuple[tuple[str, str], ...]
    """(URL, kind) of each script and style of the same site, in the page's order."""


class Asset(Observation):
    """One script or style, and whether it is what the page takes it for."""

    url: str
    kind: str
    seen: Said
    genuine: bool
    """200 with the content type of its kind: a single-page fallback answers 200 text/html for a missing file."""
    cache_control: str = ""
    origins: tuple[str, ...] = ()
    """The origins (`https://api…`, `wss://ws…`) that its text names, sorted."""


class _Reader(HTMLParser):
    """Collects ids, the build tag and the assets of a page."""

    def __init__(self, page_url: str) -> None:
        super().__init__()
        self.page_url = page_url
        self.ids: list[str] = []
        self.build: str | None = None
        self.assets: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {k: v or "" for k, v in attrs}
        if a.get("id"):
            self.ids.append(a["id"])
        if tag == "meta" and a.get("name") == "build":
            self.build = a.get("content")
        rel = a.get("rel", "").lower().split()
        if tag == "script" and a.get("src"):
            self._asset(a["src"], SCRIPT)
        elif tag == "link" and a.get("href"):
            if "stylesheet" in rel:
                self._asset(a["href"], STYLE)
            elif "modulepreload" in rel or ("preload" in rel and a.get("as") == "script"):
                self._asset(a["href"], SCRIPT)
            elif "preload" in rel and a.get("as") == "style":
                self._asset(a["href"], STYLE)

    def _asset(self, reference: str, kind: str) -> None:
        url = urljoin(self.page_url, reference)
        if urlsplit(url).netloc == urlsplit(self.page_url).netloc:
            self.assets[url] = kind


def read_index(page: HttpExchange) -> Index:
    """The index in a fetched page; an answer that is no page has no ids and no assets."""
    reader = _Reader(page.url)
    if page.content_type == "text/html":
        reader.feed(page.body)
    return Index(ids=tuple(reader.ids), build=reader.build, assets=tuple(reader.assets.items()))


@probe()
async def index(observer: Observer, frontend: Frontend) -> Index:
    """The index page, read as HTML."""
    return read_index(await observer.see(landing, frontend))


@probe(deadline=20)
async def assets(observer: Observer, frontend: Frontend) -> tuple[Asset, ...]:
    """Every script and style that the index page refers to, fetched."""
    found = await observer.see(index, frontend)

    async def get(url: str, kind: str) -> Asset:
        answer = await fetch(observer, url)
        genuine = answer.status == 200 and answer.content_type in _MIME[kind] and answer.body != ""
        origins = tuple(sorted(set(_URL.findall(answer.body)))) if genuine else ()
        return Asset(
            url=url,
            kind=kind,
            seen=answer.seen,
            genuine=genuine,
            cache_control=answer.headers.get("cache-control", ""),
            origins=origins,
        )

    return tuple(await asyncio.gather(*[get(url, kind) for url, kind in found.assets]))


@probe()
async def deep_link(observer: Observer, frontend: Frontend) -> HttpExchange:
    """A client-side route, loaded as if the page was reloaded there."""
    return await fetch(observer, frontend.url.rstrip("/") + str(frontend.route))


@probe()
async def bucket_answer(observer: Observer, frontend: Frontend) -> HttpExchange:
    """The index page asked of S3 itself, around CloudFront and without credentials."""
    assert observer.environment.aws is not None, "asked only of environments with an aws table"
    host = f"{frontend.bucket}.s3.{observer.environment.aws.region}.amazonaws.com"
    answer = await fetch(observer, f"https://{host}/index.html")
    if answer.status is None:
        raise unknown("unreachable", phrase("S3 can't be reached under {}: {}", host, answer.seen))
    return answer


@probe()
async def source_maps(observer: Observer, frontend: Frontend) -> tuple[HttpExchange, ...]:
    """The source map beside each script of the page, asked for."""
    found = await observer.see(index, frontend)
    scripts = [url for url, kind in found.assets if kind == SCRIPT]
    return tuple(await asyncio.gather(*[fetch(observer, f"{url}.map") for url in scripts]))


@probe()
async def missing_asset(observer: Observer, frontend: Frontend) -> HttpExchange:
    """A script that can't exist."""
    return await fetch(observer, f"{frontend.url.rstrip('/')}/assets/gli-verify-{secrets.token_hex(6)}.js")
