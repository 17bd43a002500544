"""Answers of real hosting: bundles of megabytes, the page in the place of a missing file, a balancer's own cookies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from served import in_a_thread

from conftest import ROOT
from gli.config import environments
from gli.config.environments import Environment
from gli.observe.edge import frontend, http
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Observatory
from tests_smoke import test_api, test_frontend

PAGE = b'<!doctype html><div id="app"></div><script type="module" src="/assets/index-3f2a.js"></script>'
LIBRARY = b"const a=1;" * 110_000
"""More than a megabyte in one line, as bundlers write it."""
OWN = b'const api="https://stg-api.glibiz.com",ws="wss://stg-ws.glibiz.com";'


@contextmanager
def served(files: Mapping[str, bytes], cookies: tuple[str, ...] = ()) -> Iterator[tuple[Observatory, Environment]]:
    """Staging's user frontend and API on a port of this machine. The page is served for every missing file."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path, PAGE)
            if self.path == "/asked-with":
                body = str(self.headers["Cookie"]).encode()
            kinds = {"js": "text/javascript", "map": "application/json"}
            self.send_response(200)
            self.send_header(
                "Content-Type",
                kinds.get(self.path.rpartition(".")[2], "text/html") if body is not PAGE else "text/html",
            )
            self.send_header("Content-Length", str(len(body)))
            for cookie in cookies:
                self.send_header("Set-Cookie", cookie)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    in_a_thread(server)
    staging, url = environments.load(ROOT, "stg"), f"http://127.0.0.1:{server.server_port}"
    user = staging.frontends["user"].model_copy(update={"url": url})
    api = staging.services["api"].model_copy(update={"url": url})
    environment = staging.model_copy(
        update={"aws": None, "frontends": {"user": user}, "services": staging.services | {"api": api}}
    )
    observatory = Observatory(environment)
    try:
        yield observatory, environment
    finally:
        observatory.close()
        server.shutdown()
        server.server_close()


def judge_the_bundle(script: bytes) -> None:
    """Run cdn-api-base-correct on a page with this script."""
    with served({"/assets/index-3f2a.js": script}) as (observatory, environment):
        user, named = environment.frontends["user"], environments.load(ROOT, "stg")
        origins = observatory.wait(frontend.bundle_origins, user)
        test_frontend.test_cdn_api_base_correct(origins, named, user)


def test_the_origins_at_the_end_of_a_bundle_of_megabytes_are_read() -> None:
    judge_the_bundle(LIBRARY + OWN)
    with pytest.raises(AssertionError):
        judge_the_bundle(LIBRARY + OWN.replace(b"stg-api", b"api"))


def test_a_bundle_that_is_too_large_to_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend, "_MOST_CHARACTERS", 1_000_000)
    with pytest.raises(Unobserved, match="is longer than what is read"):
        judge_the_bundle(LIBRARY)


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        ("navigator.serviceWorker.register('/sw.js')", "/sw.js"),
        ("'serviceWorker' in navigator && navigator.serviceWorker?.register(`/sw.js?v=3`, { scope: '/' })", "/sw.js"),
        ("const w = new Kn('/sw.js', { scope: '/', type: 'classic' })", "/sw.js"),
        ("navigator.serviceWorker.register('/there.js')", "/assets/gone.css"),
        ("navigator.serviceWorker.register('./sw.js')", None),
        ("// navigator.serviceWorker.register('/sw.js')", None),
        ("navigator.serviceWorker.register(path)", None),
        ("const docs = [{ url: '/guide', revision: '3' }]", None),
    ],
)
def test_a_service_worker_and_what_it_keeps_belong_to_the_bundle(script: str, missing: str | None) -> None:
    """A path that begins with a dot begins at the page, which a script does not tell."""
    kept = b'p([{url:"assets/gone.css",revision:null},{revision:"1",url:"index.html"},{url:"there.js",revision:"2"}]);'
    with served({"/assets/index-3f2a.js": script.encode(), "/there.js": kept}) as (observatory, environment):
        found = observatory.wait(frontend.parts, environment.frontends["user"])
    assert [urlsplit(part.url).path for part in found if not part.genuine] == ([missing] if missing else [])


def test_the_pages_own_scripts_name_parts_too() -> None:
    with served({"/": PAGE + b"<script>navigator.serviceWorker.register('sw.js')</script>"}) as (
        observatory,
        environment,
    ):
        named = observatory.wait(frontend.index, environment.frontends["user"]).others
    assert [urlsplit(url).path for url in named] == ["/sw.js"]


def test_a_template_in_a_script_tag_is_no_script() -> None:
    template = b"<script type='text/template'>fetch('/config.json')</script>"
    with served({"/": PAGE + template}) as (observatory, environment):
        assert observatory.wait(frontend.index, environment.frontends["user"]).others == ()


def test_the_api_is_called_encrypted_by_a_page_of_https() -> None:
    plain, user = b'fetch("http://stg-api.glibiz.com/x");', environments.load(ROOT, "stg").frontends["user"]
    with served({"/assets/index-3f2a.js": OWN + plain}) as (observatory, environment):
        origins = observatory.wait(frontend.bundle_origins, environment.frontends["user"])
    with pytest.raises(AssertionError, match=r"saw http://stg-api\.glibiz\.com"):
        test_frontend.test_cdn_api_base_correct(origins, environments.load(ROOT, "stg"), user)


def judge_the_maps(**more: bytes) -> None:
    """Run cdn-no-source-maps where errors are mapped to the page."""
    files = {"/assets/index-3f2a.js": OWN} | {f"/assets/index-3f2a.js.{name}": body for name, body in more.items()}
    with served(files) as (observatory, environment):
        user = environment.frontends["user"]
        found, index = observatory.wait(frontend.source_maps, user), observatory.wait(frontend.index, user)
        test_frontend.test_cdn_no_source_maps(found, index)


def test_the_page_in_the_place_of_a_missing_source_map_is_no_source_map() -> None:
    judge_the_maps()
    with pytest.raises(AssertionError, match="answered"):
        judge_the_maps(map=b'{"version": 3, "sources": ["src/main.ts"]}')


STICKY = ("AWSALB=x; Expires=Thu, 31 Dec 2099 00:00:00 GMT; Path=/", "AWSALBCORS=x; Path=/; SameSite=None; Secure")
OURS = "sessionid=x; Path=/; Secure; HttpOnly; SameSite=Lax"


def judge_the_cookies(*cookies: str) -> None:
    """Run http-cookie-flags on an answer with these cookies."""
    with served({}, cookies) as (observatory, environment):
        api = environment.services["api"]
        test_api.test_http_cookie_flags(observatory.wait(http.cookie_answer, api), environment, api)


def test_the_cookies_of_the_balancer_are_not_the_applications() -> None:
    judge_the_cookies(OURS, *STICKY)
    with pytest.raises(AssertionError, match="sessionid"):
        judge_the_cookies("sessionid=x; Path=/", *STICKY)
    with pytest.raises(AssertionError, match="without a cookie"):
        judge_the_cookies(*STICKY)


def test_the_cookie_of_an_answer_is_not_sent_with_the_next_request() -> None:
    with served({}, cookies=("session=1; Path=/",)) as (observatory, environment):
        api = environment.services["api"]
        assert observatory.wait(http.landing, api).cookies
        later = api.model_copy(update={"name": "later", "health_path": "/asked-with"})
        assert observatory.wait(http.landing, later).body == "None"


def test_the_chunks_of_a_script_that_was_cut_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the script may name a chunk that is missing."""
    monkeypatch.setattr(frontend, "_MOST_CHARACTERS", 1_000_000)
    files = {"/assets/index-3f2a.js": LIBRARY + b'import("/assets/lost.js")'}
    with served(files) as (observatory, environment), pytest.raises(Unobserved, match="is longer than what is read"):
        observatory.wait(frontend.parts, environment.frontends["user"])


def test_a_page_of_more_scripts_than_are_read_is_unknown() -> None:
    page = b"".join(b'<script src="/assets/%d.js"></script>' % n for n in range(500))
    with served({"/": page}) as (observatory, environment), pytest.raises(Unobserved, match="more than 400 scripts"):
        observatory.wait(frontend.assets, environment.frontends["user"])
