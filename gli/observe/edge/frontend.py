"""Frontends as a browser loads them: the index page, its scripts and styles, and the hosts that the bundle calls."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from gli.common.partitions import domain_of
from gli.common.sentences import Said, phrase
from gli.config.services import Frontend
from gli.observe.edge.bundle_secrets import told
from gli.observe.edge.http import HttpExchange, fetch, landing, revision_in
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

SCRIPT, STYLE = "script", "style"
_MIME = {
    SCRIPT: frozenset(
        {
            *("application/ecmascript", "application/javascript", "application/x-ecmascript"),
            *("application/x-javascript", "text/ecmascript", "text/javascript", "text/jscript", "text/livescript"),
            *("text/x-ecmascript", "text/x-javascript", *(f"text/javascript1.{n}" for n in range(6))),
        }
    ),
    STYLE: frozenset({"text/css"}),
}
"""The content types that browsers accept. For scripts: the JavaScript MIME types of MIME Sniffing, section 4.6."""
_IMPORTED = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["'`]((?:\.{0,2}/)[^"'`\s]+?\.m?js)["'`]""")
_IN_BUNDLE = re.compile(
    r"""(?P<lazy>["'`]assets/[\w./-]+-[\w-]{6,}\.(?:m?js|css)["'`])"""  # Vite's list of a chunk's dependencies
    r"""|(?:\bfetch\(|\bgetJSON\(|\.open\(\s*["'`]GET["'`]\s*,)\s*["'`](?P<fetched>(?:\.{0,2}/)[^"'`?#$\s]+\.json)"""
    r"""|\bnew\s+URL\(\s*["'`](?P<beside>[^"'`$:\s]+\.\w+)["'`]\s*,\s*import\.meta\.url"""
    r"""|(?:\bnew\s+(?:Shared)?Worker|\bserviceWorker\??\.register)\(\s*["'`](?P<worker>[^"'`$:?\s]+\.m?js)[?"'`]"""
    r"""|\bnew\s+\w+\(\s*["'`](?P<workbox>/[^"'`$\s]+\.m?js)["'`]\s*,\s*\{\s*scope\s*:"""  # vite-plugin-pwa
)
_FILE = r"""["']?url["']?\s*:\s*["'](?P<{}>[^"'?\s]+\.(?!html?["'])\w+)["']"""
_KEPT = re.compile(
    r"""\{\s*["']?revision["']?\s*:\s*(?:null|["'][^"']*["'])\s*,\s*"""
    + _FILE.format("second")
    + r"|\{\s*"
    + _FILE.format("first")
    + r"""\s*,\s*["']?revision["']?\s*:"""
)
"""What a service worker of Workbox keeps, pages apart: if a file is missing, browsers do not install the worker."""
_COMMENT_BEGINS = re.compile(r"(?:^|[\s;{}(,])(/\*|//)(?!.*\*/)", re.DOTALL)
_BEFORE, _LONGEST_LINE = 2_000, 500
_IN_STYLE = re.compile(r"""(?:\burl\(\s*|@import\s+)["']?([^"')\s;]+)""")
_SCRIPT_NAME, _STYLE_NAME = re.compile(r"\.m?js$"), re.compile(r"\.css$")
_MOST_CHARACTERS = 20_000_000
_MOST_SCRIPTS, _AT_ONCE = 400, 8
_URL = re.compile(r"""(?:https?|wss?)://[a-zA-Z0-9.-]+(?::\d+)?""")


class Index(Observation):
    """The parts of an index page that checks look at."""

    ids: tuple[str, ...]
    build: str | None
    """The revision of the page: of its `<meta name="build">` tag, or of the frontend's version_path."""
    assets: tuple[tuple[str, str], ...]
    """(URL, kind) of each script and style of the same site, in the page's order."""
    others: tuple[str, ...] = ()
    """The URLs of what else the page's links and its own scripts name on the same site: preloads, manifest, icons, a
    service worker."""
    policies: tuple[str, ...] = ()
    """The Content-Security-Policy of each `<meta>` tag."""
    sent_to: str | None = None
    """The URL on another site to which the page itself sends its visitors, by `<meta http-equiv="refresh">`."""
    integrity: Mapping[str, str] = {}
    """URL of an asset to the hashes that a browser compares it with (Subresource Integrity)."""


class Asset(Observation):
    """One script or style, and whether the answer really is one."""

    url: str
    kind: str
    seen: Said
    genuine: bool
    """The answer was 200 with the content type of its kind. For a missing file, a single-page application's fallback
    answers 200 with text/html."""
    cache_control: str = ""
    origins: tuple[str, ...] = ()
    """The origins (`https://api…`, `wss://ws…`) in its text, sorted."""
    imports: tuple[str, ...] = ()
    """The URLs of the scripts that it imports, statically or dynamically."""
    names: tuple[str, ...] = ()
    """The URLs of what else it needs: chunks, their styles, runtime configuration, fonts."""
    secrets: tuple[Said, ...] = ()
    """The kinds of secrets in its text."""
    cut: bool = False
    """The file is longer than the part that was read."""


class Part(Observation):
    """A part that no tag of the page names as a script or style: a lazy chunk, a font, a configuration."""

    url: str
    named_by: str
    """The URL of the file that needs it."""
    seen: Said
    genuine: bool
    """The answer was 200 and not a page: a single-page application's fallback answers 200 with text/html."""
    read: bool = True
    """False: the answer was an error of the server or of the network."""
    origins: tuple[str, ...] = ()
    secrets: tuple[Said, ...] = ()
    cut: bool = False


class _Reader(HTMLParser):
    """Collects the ids, the build tag and the assets of a page."""

    def __init__(self, page_url: str, build_meta: str) -> None:
        super().__init__()
        self.page_url, self.build_meta = page_url, build_meta
        self.ids: list[str] = []
        self.build: str | None = None
        self.assets: dict[str, str] = {}
        self.others: dict[str, None] = {}
        self.policies: list[str] = []
        self.integrity: dict[str, str] = {}
        self.sent_to: str | None = None
        self._without_scripts = self._in_script = False

    def handle_endtag(self, tag: str) -> None:
        self._without_scripts = self._without_scripts and tag != "noscript"
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            named = _names(self.page_url, data, SCRIPT) | _imports(self.page_url, data)
            self.others |= dict.fromkeys(url for url in sorted(named) if _same_host(url, self.page_url))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {k: v or "" for k, v in attrs}
        self._without_scripts = self._without_scripts or tag == "noscript"
        if self._without_scripts:  # a browser with scripts loads nothing of it
            return
        if tag == "base" and a.get("href"):
            self.page_url = urljoin(self.page_url, a["href"])
        if a.get("id"):
            self.ids.append(a["id"])
        if tag == "meta":
            self._meta(a)
        elif tag == "script" and a.get("src"):
            self._asset(a["src"], SCRIPT, a.get("integrity", ""))
        elif tag == "script":
            self._in_script = a.get("type", "") in ("", "module", *_MIME[SCRIPT])
        elif tag == "link" and a.get("href"):
            self._link(a)

    def _meta(self, a: Mapping[str, str]) -> None:
        equivalent, content = a.get("http-equiv", "").lower(), a.get("content", "")
        if a.get("name") == self.build_meta:
            self.build = a.get("content")
        if equivalent == "content-security-policy":
            self.policies.append(content)
        if equivalent == "refresh":
            url = urljoin(self.page_url, content.partition("=")[2].strip(" '\""))
            self.sent_to = self.sent_to if _same_host(url, self.page_url) else url

    def _link(self, a: Mapping[str, str]) -> None:
        rel = a.get("rel", "").lower().split()
        if "stylesheet" in rel:
            self._asset(a["href"], STYLE, a.get("integrity", ""))
        elif "modulepreload" in rel or ("preload" in rel and a.get("as") == "script"):
            self._asset(a["href"], SCRIPT)
        elif "preload" in rel and a.get("as") == "style":
            self._asset(a["href"], STYLE)
        elif {"preload", "manifest", "icon", "apple-touch-icon"} & set(rel):
            url = urljoin(self.page_url, a["href"])
            if _same_host(url, self.page_url):
                self.others[url] = None

    def _asset(self, reference: str, kind: str, integrity: str = "") -> None:
        url = urljoin(self.page_url, reference)
        if _same_host(url, self.page_url):
            self.assets[url] = kind
            if integrity:
                self.integrity[url] = integrity


def _same_host(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def read_index(page: HttpExchange, build_meta: str = "build") -> Index:
    """Reads the index of a fetched page. An answer that is not HTML has no ids and no assets."""
    reader = _Reader(page.url, build_meta)
    if page.content_type == "text/html":
        reader.feed(page.body)
    return Index(
        ids=tuple(reader.ids),
        build=reader.build,
        assets=tuple(reader.assets.items()),
        others=tuple(reader.others),
        policies=tuple(reader.policies),
        integrity=reader.integrity,
        sent_to=reader.sent_to,
    )


@probe()
async def index(observer: Observer, frontend: Frontend) -> Index:
    """The index page, parsed as HTML."""
    page = await observer.see(landing, frontend)
    if page.cut:
        raise unknown(
            "too-little-data", phrase("{} is longer than what is read: what it refers to is not known", page.url)
        )
    seen = read_index(page, frontend.build_meta)
    if not frontend.version_path:
        return seen
    answer = await fetch(observer, frontend.url.rstrip("/") + frontend.version_path)
    return seen.model_copy(update={"build": revision_in(answer, frontend.version_at) if answer.status == 200 else None})


@probe(deadline=60)
async def assets(observer: Observer, frontend: Frontend) -> tuple[Asset, ...]:
    """Every script and style that the index page refers to, fetched in full."""
    found = await observer.see(index, frontend)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def get(url: str, kind: str) -> Asset:
        async with turns:
            answer = await fetch(observer, url, limit=_MOST_CHARACTERS)
        genuine = answer.status == 200 and answer.content_type in _MIME[kind] and answer.body != ""
        seen = answer.seen
        if genuine and answer.body.startswith("\x1f\ufffd"):
            genuine, seen = False, phrase("gzip without Content-Encoding")
        elif genuine and not _intact(answer, found.integrity.get(url, "")):
            genuine, seen = False, phrase("another content than the page's integrity names")
        return Asset(
            url=url,
            kind=kind,
            seen=seen,
            genuine=genuine,
            cache_control=answer.headers.get("cache-control", ""),
            origins=tuple(sorted(set(_URL.findall(answer.body)))) if genuine else (),
            imports=tuple(sorted(_imports(url, answer.body))) if genuine and kind == SCRIPT else (),
            names=tuple(sorted(_names(url, answer.body, kind))) if genuine else (),
            secrets=told(answer.body) if genuine else (),
            cut=answer.cut,
        )

    return tuple(await asyncio.gather(*[get(url, kind) for url, kind in found.assets]))


def _intact(answer: HttpExchange, integrity: str) -> bool:
    """Whether the body has one of the hashes of its strongest kind; True where the text does not give the bytes."""
    wanted = [one.partition("?")[0].partition("-") for one in integrity.split()]
    kinds = [kind for kind in ("sha512", "sha384", "sha256") if any(kind == one[0] for one in wanted)]
    if not kinds or answer.cut or "\ufffd" in answer.body:
        return True
    charset = answer.headers.get("content-type", "").lower().partition("charset=")[2].strip(' "')
    if charset not in ("", "utf-8"):
        return True
    digest = base64.b64encode(hashlib.new(kinds[0], answer.body.encode()).digest()).decode()
    return any(one[0] == kinds[0] and one[2] == digest for one in wanted)


def _imports(url: str, body: str) -> set[str]:
    """The scripts that a script imports."""
    return {urljoin(url, m[1]) for m in _IMPORTED.finditer(body) if not _is_no_code(body, m)}


def _is_no_code(body: str, match: re.Match[str]) -> bool:
    """Whether a match stands in a comment, or in a text with other quotes. Only short lines are judged for the latter:
    a bundler leaves no comments, and writes one long line."""
    begins = max(0, match.start() - _BEFORE)
    before = body[begins : match.start()]
    opened = _COMMENT_BEGINS.search(before, max(0, before.rfind("*/") + 2 if "*/" in before else 0))
    if opened and opened[1] == "/*" and "*/" in body[match.end() : match.end() + _BEFORE]:
        return True
    line = before.rpartition("\n")[2]
    if len(line) >= _LONGEST_LINE:
        return False
    others = {'"', "'", "`"} - {match[0][-1]}
    return bool(re.search(r"(?:^|[\s;{}(,])//", line)) or any(line.count(quote) % 2 for quote in others)


def _names(url: str, body: str, kind: str) -> set[str]:
    """What else a script or a style needs, on any site."""
    if kind == STYLE:
        found = _IN_STYLE.findall(re.sub(r"/\*.*?\*/", " ", body, flags=re.DOTALL))
        return {urljoin(url, one) for one in found if not one.startswith(("data:", "#", "blob:"))}
    names = set()
    for match in _IN_BUNDLE.finditer(body):
        if _is_no_code(body, match):
            continue
        lazy, beside = match["lazy"], match["beside"]
        # a path that is fetched, and a worker's, begin at the page: most pages of a bundle are at the root
        other = match["fetched"] or match["workbox"] or match["worker"]
        if match["worker"] and not other.startswith("/") and _kind(url):
            continue  # the page that this script belongs to is not known here
        names.add(urljoin(url, beside) if beside else urljoin(url, "/" + lazy[1:-1] if lazy else other))
    return names | {urljoin(url, match["first"] or match["second"]) for match in _KEPT.finditer(body)}


@probe(deadline=60)
async def parts(observer: Observer, frontend: Frontend) -> tuple[Part, ...]:
    """Everything that the page's scripts, styles and links need, and what these need in turn, each fetched once.

    Raises `Unobserved` if the bundle has more parts than are read.
    """
    page = await observer.see(index, frontend)
    known = await observer.see(assets, frontend)
    seen = {asset.url for asset in known}
    waiting = {url: page_url for url in page.others for page_url in [frontend.url]}
    waiting |= {url: asset.url for asset in known for url in (*asset.imports, *asset.names)}
    found: list[Part] = []
    while waiting := {u: by for u, by in waiting.items() if _same_site(u, frontend) and u not in seen}:
        if len(seen) > _MOST_SCRIPTS:
            raise unknown("too-little-data", phrase("the bundle imports more than {} scripts", _MOST_SCRIPTS))
        batch = sorted(waiting)[:_AT_ONCE]
        answers = await asyncio.gather(*[fetch(observer, url, limit=_MOST_CHARACTERS) for url in batch])
        seen |= set(batch)
        for url, answer in zip(batch, answers, strict=True):
            kind = _kind(url)
            fits = answer.content_type in _MIME[kind] if kind else answer.content_type != "text/html"
            genuine = answer.status == 200 and fits
            found.append(
                Part(
                    url=url,
                    named_by=waiting[url],
                    seen=answer.seen,
                    genuine=genuine,
                    read=answer.status is not None and answer.status < 500,
                    origins=tuple(sorted(set(_URL.findall(answer.body)))) if genuine and kind == SCRIPT else (),
                    secrets=told(answer.body) if genuine else (),
                    cut=answer.cut,
                )
            )
            if genuine and kind:
                more = _names(url, answer.body, kind) | (_imports(url, answer.body) if kind == SCRIPT else set())
                waiting |= {one: url for one in more if one not in waiting}
    return tuple(found)


def _kind(url: str) -> str | None:
    path = urlsplit(url).path
    return SCRIPT if _SCRIPT_NAME.search(path) else STYLE if _STYLE_NAME.search(path) else None


@probe(deadline=60)
async def bundle_origins(observer: Observer, frontend: Frontend) -> tuple[str, ...]:
    """Every origin in the frontend's bundle: in its assets and in the scripts that they import.

    Raises `Unobserved` if a part of the bundle could not be read: that part may name further origins.
    """
    return tuple(sorted({origin for one in await _bundle(observer, frontend) for origin in one.origins}))


@probe(deadline=60)
async def bundle_secrets(observer: Observer, frontend: Frontend) -> dict[str, tuple[Said, ...]]:
    """URL of a part of the frontend's bundle to the kinds of secrets in it. Raises `Unobserved` as `bundle_origins`."""
    return {one.url: one.secrets for one in await _bundle(observer, frontend) if one.secrets}


async def _bundle(observer: Observer, frontend: Frontend) -> tuple[Asset | Part, ...]:
    """Every part of the bundle. Raises `Unobserved` if one of them could not be read to its end."""
    known, more = await observer.see(assets, frontend), await observer.see(parts, frontend)
    unread = next((part for part in more if not part.read), None)
    if unread is not None:
        raise unknown(
            "unreachable", phrase("{} is imported by the bundle, and can't be read: {}", unread.url, unread.seen)
        )
    read: tuple[Asset | Part, ...] = (*known, *more)
    cut = [one.url for one in read if one.cut]
    if cut:
        raise unknown(
            "too-little-data", phrase("{} answered more than the {} characters that are read", cut[0], _MOST_CHARACTERS)
        )
    return read


def _same_site(url: str, frontend: Frontend) -> bool:
    return urlsplit(url).netloc == urlsplit(frontend.url).netloc


@probe()
async def deep_link(observer: Observer, frontend: Frontend) -> HttpExchange:
    """The answer for a client-side route, as when a user reloads the page there."""
    return await fetch(observer, frontend.url.rstrip("/") + str(frontend.route))


@probe()
async def bucket_answer(observer: Observer, frontend: Frontend) -> HttpExchange:
    """S3's own answer for the index page, past CloudFront and without credentials."""
    assert observer.environment.aws is not None, "asked only of environments with an aws table"
    region = observer.environment.aws.region
    host, path = f"s3.{region}.{domain_of(region)}", f"/{frontend.index_key}"
    if "." in str(frontend.bucket):  # S3's certificate covers only one label
        path = f"/{frontend.bucket}{path}"
    else:
        host = f"{frontend.bucket}.{host}"
    answer = await fetch(observer, f"https://{host}{path}")
    if answer.status is None:
        raise unknown("unreachable", phrase("S3 can't be reached under {}: {}", host, answer.seen))
    return answer


@probe()
async def source_maps(observer: Observer, frontend: Frontend) -> tuple[HttpExchange, ...]:
    """The answer for the source map of each script of the page."""
    found = await observer.see(index, frontend)
    scripts = [url for url, kind in found.assets if kind == SCRIPT]
    return tuple(await asyncio.gather(*[fetch(observer, f"{url}.map") for url in scripts]))


@probe()
async def missing_asset(observer: Observer, frontend: Frontend) -> HttpExchange:
    """The answer for a script that can't exist."""
    return await fetch(observer, f"{frontend.url.rstrip('/')}/assets/gli-verify-{secrets.token_hex(6)}.js")
