"""A bundle is read whole: the application's own strings follow its libraries, or lie in a script that it imports."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gli.config.environments import Environment, Frontend, Repository
from gli.observe.edge import frontend as frontends
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Observatory

LIBRARIES = "/* libraries */" + "x" * 1_500_000
PAGE = '<div id="app"></div><script type="module" src="/assets/app-4f9a1c2b.js"></script>'
APP = (
    f'import{{a}}from"./vendor.js";{LIBRARIES};const api="https://stg-api.glibiz.com";const p=()=>import("./page.js");'
)


@pytest.fixture
def site() -> Iterator[dict[str, tuple[int, str, str]]]:
    """A site on loopback: path to (status, content type, body); its address under "url"."""
    files = {
        "/": (200, "text/html", PAGE),
        "/assets/app-4f9a1c2b.js": (200, "text/javascript", APP),
        "/assets/vendor.js": (200, "text/javascript", 'export const a=1;import"./deep.js"'),
        "/assets/deep.js": (200, "text/javascript", "export{}"),
        "/assets/page.js": (200, "text/javascript", 'const ws="wss://stg-ws.glibiz.com/ws/"'),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = files.get(self.path, (404, "text/plain", ""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    files["url"] = (0, "", f"http://127.0.0.1:{server.server_port}")
    yield files
    server.shutdown()
    server.server_close()


def origins(site: dict[str, tuple[int, str, str]]) -> tuple[str, ...]:
    repository = Repository(name="user")
    frontend = Frontend(name="user", url=site["url"][2], repository="user")
    environment = Environment(name="own", branch="main", repositories=(repository,), frontends={"user": frontend})
    observatory = Observatory(environment)
    try:
        return observatory.wait(frontends.bundle_origins, frontend)
    finally:
        observatory.close()


def test_what_stands_at_the_end_of_a_bundle_and_in_what_it_imports_is_found(
    site: dict[str, tuple[int, str, str]],
) -> None:
    assert origins(site) == ("https://stg-api.glibiz.com", "wss://stg-ws.glibiz.com")


def test_a_bundle_that_can_not_be_read_whole_is_unknown(
    site: dict[str, tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    site["/assets/page.js"] = (503, "text/plain", "")
    with pytest.raises(Unobserved, match=r"page\.js is imported by the bundle, and can't be read"):
        origins(site)
    monkeypatch.setattr(frontends, "_MOST_CHARACTERS", 1_000_000)
    with pytest.raises(Unobserved, match="answered more than the 1000000 characters that are read"):
        origins(site)
