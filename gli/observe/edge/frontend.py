"""Frontends as a browser loads them: the index page, its scripts and styles, and the hosts that the bundle calls."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from gli.common.partitions import domain_of
from gli.common.sentences import Said, phrase
from gli.config.services import Frontend
from gli.observe.edge import bundle_names
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
_SCRIPT_NAME, _STYLE_NAME = re.compile(r"\.m?js$"), re.compile(r"\.css$")
_MOST_CHARACTERS = 20_000_000
_MOST_IN_ALL = 60_000_000
"""How many characters of all files of a bundle are read: to look at them takes a second for each 20 MB."""
_MOST_SCRIPTS, _AT_ONCE = 400, 8
_LONGEST_ADDRESS = 8_000


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
    unread: bool = False
    """An address on the page is longer than servers take, or it names more than is read."""


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
        self.unread = False
        self._without_scripts = self._in_script = False

    def handle_endtag(self, tag: str) -> None:
        self._without_scripts = self._without_scripts and tag != "noscript"
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            named, more = bundle_names.in_script(self.page_url, data, in_page=True)
            imported, unread = bundle_names.imports(self.page_url, data)
            self.unread = self.unread or more or unread
            found = sorted(named | imported)
            self.others |= dict.fromkeys(url for url in found if _same_host(url, self.page_url))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {k: v or "" for k, v in attrs}
        self._without_scripts = self._without_scripts or tag == "noscript"
        if self._without_scripts:  # a browser with scripts loads nothing of it
            return
        address = a.get("src" if tag == "script" else "href", "")
        if tag in ("base", "script", "link") and len(address) > _LONGEST_ADDRESS and not address.startswith("data:"):
            self.unread = True
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
        unread=reader.unread,
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
    if seen.unread:
        raise unknown(
            "too-little-data", phrase("{} names an address of more than {} characters", page.url, _LONGEST_ADDRESS)
        )
    if not frontend.version_path:
        return seen
    answer = await fetch(observer, frontend.url.rstrip("/") + frontend.version_path)
    return seen.model_copy(update={"build": revision_in(answer, frontend.version_at) if answer.status == 200 else None})


@probe(deadline=60)
async def assets(observer: Observer, frontend: Frontend) -> tuple[Asset, ...]:
    """Every script and style that the index page refers to, fetched in full."""
    found = await observer.see(index, frontend)
    if len(found.assets) > _MOST_SCRIPTS:
        raise unknown("too-little-data", phrase("the page names more than {} scripts and styles", _MOST_SCRIPTS))
    turns, left = asyncio.Semaphore(_AT_ONCE), _MOST_IN_ALL

    async def get(url: str, kind: str) -> Asset:
        nonlocal left
        async with turns:
            answer = await fetch(observer, url, limit=min(_MOST_CHARACTERS, max(left, 0)))
        left = 0 if answer.cut else left - len(answer.body)  # of a bundle with a cut part, nothing is judged
        genuine = answer.status == 200 and answer.content_type in _MIME[kind] and (answer.body != "" or answer.cut)
        seen = answer.seen
        if genuine and answer.body.startswith("\x1f\ufffd"):
            genuine, seen = False, phrase("gzip without Content-Encoding")
        elif genuine and not _intact(answer, found.integrity.get(url, "")):
            genuine, seen = False, phrase("another content than the page's integrity names")
        names = _Names.of(url, answer, kind, genuine=genuine)
        return Asset(
            url=url,
            kind=kind,
            seen=seen,
            genuine=genuine,
            cache_control=answer.headers.get("cache-control", ""),
            origins=tuple(sorted(names.origins)),
            imports=tuple(sorted(names.imports)),
            names=tuple(sorted(names.others)),
            secrets=told(answer.body) if genuine and not answer.cut else (),
            cut=answer.cut or names.unread,
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


@dataclass
class _Names:
    """What the text of a file names, and whether it may name more."""

    origins: set[str]
    imports: set[str]
    others: set[str]
    unread: bool

    @classmethod
    def of(cls, url: str, answer: HttpExchange, kind: str | None, *, genuine: bool) -> _Names:
        if kind is None or not genuine or answer.cut:  # nothing is judged of a bundle of which a part was cut
            return cls(set(), set(), set(), unread=False)
        body = answer.body
        called, more = bundle_names.origins(body)
        imported, unread = bundle_names.imports(url, body) if kind == SCRIPT else (set(), False)
        named, rest = (bundle_names.in_script if kind == SCRIPT else bundle_names.in_style)(url, body)
        return cls(called, imported, named, more or unread or rest)


@probe(deadline=60)
async def parts(observer: Observer, frontend: Frontend) -> tuple[Part, ...]:
    """Everything that the page's scripts, styles and links need, and what these need in turn, each fetched once.

    Raises `Unobserved` if the bundle has more parts than are read, or if nothing is wrong with those that were read
    and one of them was not read to its end.
    """
    page = await observer.see(index, frontend)
    known = await observer.see(assets, frontend)
    seen = {asset.url for asset in known}
    waiting = {url: page_url for url in page.others for page_url in [frontend.url]}
    waiting |= {url: asset.url for asset in known for url in (*asset.imports, *asset.names)}
    found: list[Part] = []
    left = _MOST_IN_ALL
    while waiting := {u: by for u, by in waiting.items() if _same_site(u, frontend) and u not in seen}:
        if len(seen) > _MOST_SCRIPTS:
            raise unknown("too-little-data", phrase("the bundle imports more than {} scripts", _MOST_SCRIPTS))
        batch = sorted(waiting)[:_AT_ONCE]
        most = min(_MOST_CHARACTERS, max(left, 0))
        read = await asyncio.gather(*[_part(observer, url, waiting[url], most) for url in batch])
        seen |= set(batch)
        for part, more, size in read:
            found.append(part)
            left = 0 if part.cut and _kind(part.url) else left - size
            waiting |= {one: part.url for one in more if one not in waiting}
    if all(part.genuine for part in found):
        _refuse_cut([*known, *(part for part in found if _kind(part.url))])
    return tuple(found)


def _refuse_cut(read: Iterable[Asset | Part]) -> None:
    """Raises `Unobserved` if a file was not read to its end."""
    cut = next((one.url for one in read if one.cut), None)
    if cut is not None:
        raise unknown(
            "too-little-data",
            phrase(
                "{} is longer than what is read ({} characters of a file, {} in all)",
                cut,
                _MOST_CHARACTERS,
                _MOST_IN_ALL,
            ),
        )


async def _part(observer: Observer, url: str, named_by: str, most: int) -> tuple[Part, set[str], int]:
    """A part, what it needs in turn, and how many characters of it were read. The text itself is not kept."""
    answer, kind = await fetch(observer, url, limit=most), _kind(url)
    fits = answer.content_type in _MIME[kind] if kind else answer.content_type != "text/html"
    genuine = answer.status == 200 and fits
    names = _Names.of(url, answer, kind, genuine=genuine)
    part = Part(
        url=url,
        named_by=named_by,
        seen=answer.seen,
        genuine=genuine,
        read=answer.status is not None and answer.status < 500,
        origins=tuple(sorted(names.origins)) if kind == SCRIPT else (),
        secrets=told(answer.body) if genuine and not answer.cut else (),
        cut=answer.cut or names.unread,
    )
    return part, names.others | names.imports, len(answer.body)


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
    _refuse_cut(read)
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
