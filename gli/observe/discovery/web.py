"""What the public addresses of an environment answer, for `gli discover`: GET requests and WebSocket handshakes only.

Source of truth: the answers themselves. The paths are those that frameworks and their health packages use by default.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from gli.config.services import Service
from gli.observe.edge.frontend import SCRIPT, read_index
from gli.observe.edge.http import HttpExchange, fetch
from gli.observe.edge.websocket import websocket_session
from gli.observe.engine.observation import Observation, Unobserved
from gli.observe.engine.probe import Observer

HEALTH_PATHS = (
    *("/health/", "/health", "/healthz", "/healthcheck", "/ht/", "/up", "/ping", "/api/health", "/status", "/livez"),
    *("/actuator/health/liveness", "/actuator/health"),
)
DEEP_PATHS = (
    *("/health/deep", "/health/ready", "/health/readiness", "/readyz", "/ready", "/ht/?format=json"),
    *("/actuator/health/readiness", "/actuator/health"),
)
VERSION_PATHS = (
    *("/version", "/version/", "/version.json", "/api/version", "/api/version/", "/revision", "/build.json"),
    *("/info", "/actuator/info"),
)
MISSING_PATH = "/no-such-page-gli-discover/"
"""A path that no application serves: it shows how an application answers a page that is missing."""
SOCKET_PATHS = ("/ws/", "/ws", "/socket.io/?EIO=4&transport=websocket", "/graphql", "/cable", "/")
META = "meta"
"""Stands for a path where an element `<meta>` of the index page names the commit."""
_BUILD_METAS = ("build", "commit", "revision", "version", "release", "git-sha", "sha")
_REVISION_HEADER = re.compile(r"x-(?:[\w-]+-)?(?:revision|commit|sha|build|version|release)(?:-[\w-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_IN_TEXT = re.compile(
    r"(?P<word>(?:commit|revision|\brev|build|git|sha|version|release)[\w-]{0,16}[^\w\n]{1,6})"
    r"(?P<number>[\w.][\w.-]{0,30}[-+ (]{1,2}g?)?(?P<commit>[0-9a-f]{7,40})(?!\.?[\w-])",
    re.IGNORECASE,
)
"""A commit in a text behind a word for it, and maybe behind a number: `build 66d82ff`, `version 1.4.2-3-g66d82ff`."""
_ADDRESS = re.compile(r"""(?:https?|wss?)://[\w.-]+(?::\d+)?(?:/[\w./?=&%-]*)?""")
_MOUNTS = ("root", "app", "__next", "__nuxt", "svelte", "main")
_MOST_SCRIPTS, _SCRIPT_BYTES = 20, 5_000_000


class Seen(Observation):
    """What one host answers."""

    url: str
    """Scheme, host and port."""
    error: str | None = None
    """Why it did not answer at all."""
    statuses: Mapping[str, int] = {}
    """Path to the status of its answer. Of a page without its answers in HTML: it may answer any path so."""
    page: bool = False
    """Its index is HTML that loads a script: an application that runs in the browser."""
    ids: tuple[str, ...] = ()
    """The ids in its index page."""
    meta: str | None = None
    """The name of the meta element with a commit."""
    addresses: tuple[str, ...] = ()
    """The addresses (http, https, ws, wss) in its scripts."""
    revisions: Mapping[str, tuple[str, str]] = {}
    """Path to where its answer names a commit (`header:NAME`, `body`, or a JSON path), and the commit."""
    deep: Mapping[str, Any] = {}
    """Path to the values of a deep health document: JSON path to a text, a number or a boolean."""
    sockets: tuple[str, ...] = ()
    """The paths that accepted a WebSocket handshake."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def mount(self) -> str | None:
        """The id of the element into which the application renders."""
        return next((one for one in _MOUNTS if one in self.ids), next(iter(self.ids), None))


async def look(observer: Observer, url: str, *, health_path: str | None = None) -> Seen:
    """Asks one host (`https://shop.example.com`) for its index, and for the paths that are usual."""
    try:
        index = await fetch(observer, f"{url}/")
    except Unobserved as e:
        return Seen(url=url, error=e.unknown.message)
    if index.error is not None:
        return Seen(url=url, error=index.error)
    page = read_index(index)
    paths = (*([health_path] if health_path else HEALTH_PATHS), *DEEP_PATHS, *VERSION_PATHS, MISSING_PATH)
    asked = dict(zip(paths, await asyncio.gather(*[fetch(observer, url + path) for path in paths]), strict=True))
    is_page = any(kind == SCRIPT for _, kind in page.assets)
    answers = {path: a for path, a in asked.items() if path == health_path or not (is_page and _is_html(a))}
    named = {path: found for path, a in answers.items() if path != MISSING_PATH and (found := _revision(a))}
    revisions = dict(sorted(named.items(), key=lambda pair: pair[0] not in VERSION_PATHS))
    if index.status == 200 and (told := _in_header(index) or (None if index.cut else _in_text(index.body))):
        revisions.setdefault("/", told)
    meta, built = _of_page(index)
    deep = {path: document for path in DEEP_PATHS if path in answers and (document := _document(answers[path]))}
    return Seen(
        url=url,
        statuses={path: a.status for path, a in {"/": index, **answers}.items() if a.status is not None},
        page=is_page,
        ids=page.ids,
        meta=meta,
        addresses=await _addresses(observer, [u for u, kind in page.assets if kind == SCRIPT]),
        revisions=revisions | ({META: (META, built)} if built else {}),
        deep=deep,
    )


def _is_html(answer: HttpExchange) -> bool:
    return answer.status == 200 and answer.content_type == "text/html"


def _of_page(index: HttpExchange) -> tuple[str | None, str]:
    """The name of the meta element that names a commit in the index page, and the commit."""
    for name in _BUILD_METAS:
        built = read_index(index, name).build
        if _is_commit(built):
            return name, str(built)
    return None, ""


async def open_socket(observer: Observer, url: str, paths: Iterable[str] = SOCKET_PATHS) -> str | None:
    """The first of the paths below `wss://host` that accepts a WebSocket handshake."""
    for path in paths:
        try:
            session = await observer.see(websocket_session, Service(name=url + path, url=url + path))
        except Unobserved:
            continue
        if session.upgraded:
            return path
    return None


async def _addresses(observer: Observer, scripts: list[str]) -> tuple[str, ...]:
    found: set[str] = set()
    for url in scripts[:_MOST_SCRIPTS]:
        with suppress(Unobserved):
            found.update(_ADDRESS.findall((await fetch(observer, url, limit=_SCRIPT_BYTES)).body))
    return tuple(sorted(found))


def _revision(answer: HttpExchange) -> tuple[str, str] | None:
    """Where an answer of 200 names a commit, and the commit."""
    if answer.status != 200 or answer.cut:
        return None
    for path, value in _texts(answer.document) if isinstance(answer.document, dict) else ():
        if _is_commit(value):
            return path, value
    if _is_commit(answer.body.strip()):
        return "body", answer.body.strip()
    return _in_header(answer) or _in_text(answer.body)


def _in_text(text: str) -> tuple[str, str] | None:
    """The pattern that finds a commit in a text (`body:build ([0-9a-f]{7,40})`), and the commit."""
    found = next((m for m in _IN_TEXT.finditer(text) if _is_commit(m["commit"])), None)
    if found is None:
        return None
    number = r"[\w.-]+[-+ (]+g?" if found["number"] else ""
    return f"body:{escaped(found['word'])}{number}([0-9a-f]{{7,40}})", found["commit"]


def escaped(text: str) -> str:
    """The pattern of a text; spaces and hyphens stay as they are, which `re.escape` makes hard to read."""
    return re.sub(r"[\\^$.|?*+(){}\[\]]", r"\\\g<0>", text)


def _in_header(answer: HttpExchange) -> tuple[str, str] | None:
    """The header of an answer that names a commit, and the commit."""
    found = ((name, value) for name, value in answer.headers.items() if _REVISION_HEADER.fullmatch(name))
    return next(((f"header:{name}", value) for name, value in found if _is_commit(value)), None)


def _texts(document: Any) -> Iterable[tuple[str, str]]:
    """JSON path and text of every text in an object, at most three levels deep (`git.commit.id`)."""
    for path, value in _plain(document, 3):
        if isinstance(value, str):
            yield path, value


def _plain(document: Any, depth: int, above: str = "") -> Iterable[tuple[str, str | float | bool]]:
    """JSON path and value of every text, number and boolean in a document, at most so many levels deep."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in entries:
        if isinstance(value, str | int | float | bool):
            yield f"{above}{key}", value
        elif depth > 1 and isinstance(value, dict | list):
            yield from _plain(value, depth - 1, f"{above}{key}.")


def _is_commit(text: str | None) -> bool:
    """Whether a text is a commit, whole or shortened: letters and digits of base 16, with at least one of each."""
    return bool(text and _COMMIT.fullmatch(text) and re.search("[a-f]", text) and re.search("[0-9]", text))


def _document(answer: HttpExchange) -> dict[str, Any] | None:
    """The values of a deep health document, by JSON path; None where the answer is something else."""
    document = answer.document if answer.status == 200 and not answer.cut else None
    return dict(_plain(document, 3)) or None if isinstance(document, dict) else None
