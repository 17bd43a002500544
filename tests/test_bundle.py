"""Answers of real hosting: bundles of megabytes, the page in the place of a missing file, a balancer's own cookies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
    with pytest.raises(Unobserved, match="answered more than the 1000000 characters"):
        judge_the_bundle(LIBRARY)


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
