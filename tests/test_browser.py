"""The browser of page-boots sends nothing that writes, excuses what fails only here, and leaves no process behind."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from playwright.sync_api import sync_playwright
from served import in_a_thread
from websockets.sync.server import ServerConnection, serve

from conftest import BROWSER, wait_for
from gli.config.environments import Environment
from gli.config.services import Frontend
from gli.observe.edge.browser import page_visits
from gli.observe.edge.browser_process import LOGINS_VARIABLE
from gli.observe.engine.observation import Unobserved

browses = pytest.mark.skipif(not BROWSER, reason="Chromium is not installed: apt-get install chromium-headless-shell")
WRITES = """
fetch("/api", { method: "POST", body: "x" });
fetch("/kept", { method: "DELETE", keepalive: true });
navigator.sendBeacon("/beacon", "x");
new Worker("/worker.js");
if (window.SharedWorker) new SharedWorker("/worker.js");
const link = document.body.appendChild(document.createElement("a"));
link.href = "#there";
link.ping = "/ping";
link.click();
const form = document.body.appendChild(document.createElement("form"));
const frame = document.body.appendChild(document.createElement("iframe"));
Object.assign(form, { method: "POST", action: "/form", target: (frame.name = "frame") }).submit();
setTimeout(() => window.open("/popup"), 50);
for (const end of ["pagehide", "unload", "visibilitychange"]) {
  addEventListener(end, () => navigator.sendBeacon(`/${end}`));
  addEventListener(end, () => fetch(`/${end}`, { method: "POST", keepalive: true }));
}
"""
PAGES = {
    "writes": f'<div id="app">x</div><script type="module">{WRITES}</script>',
    "works": '<div id="app">x</div>',
    "popup": '<script>fetch("/from-popup", { method: "POST" })</script>',
    "worker.js": 'fetch("/from-worker", { method: "POST" });',
    "throws": '<div id="app">x</div><script>fetch("/a", { method: "POST" }); null.name;</script>',
    "waits-for-a-post": '<div id="app"></div><script type="module">await fetch("/a", { method: "POST" });</script>',
    "unreachable-own": '<div id="app">x</div><script>fetch("http://127.0.0.1:1/").catch(() => 0)</script>',
}


PAGE_THAT_LISTENS = """
<div id="app"></div><script>
const socket = new WebSocket("ws://127.0.0.1:%s/");
socket.onopen = () => socket.send("a write");
socket.onmessage = (message) => { document.getElementById("app").textContent = message.data; };
</script>
"""


FRONTEND = Frontend(name="user", url="http://127.0.0.1:9")
ENVIRONMENT = Environment(name="own", branch="main", frontends={"user": FRONTEND})
OBSERVER: Any = SimpleNamespace(environment=ENVIRONMENT)


class Site:
    """Serves PAGES on this machine, and keeps the method and the path of each request. `/hangs` never answers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.logins: set[str | None] = set()
        site, self.ended = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                site.seen.append((self.command, self.path))
                site.logins.add(self.headers.get("Authorization"))
                if self.path == "/hangs":
                    site.ended.wait()
                body = PAGES.get(self.path[1:], "ok").encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
                self.send_header("Content-Security-Policy-Report-Only", "script-src 'none'; report-uri /report")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        in_a_thread(self._server)

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def command(*urls: str) -> list[str]:
    frontends = [{"pages": [url], "mount": "app"} for url in urls]
    job = {"frontends": frontends, "own": ["127.0.0.1"], "connect_to": {}, "ca_file": None, "limit_s": 20}
    return [sys.executable, "-m", "gli.observe.edge.browser_process", json.dumps(job)]


def visited(site: Site, *names: str) -> dict[str, dict[str, Any]]:
    """What a browser saw of these pages."""
    done = subprocess.run(command(*[f"{site.url}/{n}" for n in names]), capture_output=True, check=True, timeout=90)
    return dict(zip(names, json.loads(done.stdout)["visits"], strict=True))


@browses
def test_no_write_leaves_the_browser_and_each_is_named(site: Site) -> None:
    visit = visited(site, "writes")["writes"]
    assert {method for method, _ in site.seen} == {"GET"}
    named = {line.partition(site.url)[2] for line in visit["held_back"]}
    assert {"/api", "/kept", "/beacon", "/ping", "/form", "/from-worker", "/from-popup", "/report"} <= named
    assert (visit["filled"], visit["errors"], visit["failed"]) == (True, [], [])


@browses
@pytest.mark.parametrize(("of", "sent"), [("{}", "Basic eDp5"), ("http://elsewhere.test:80", None)])
def test_the_login_of_a_host_goes_to_its_own_origin_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch, of: str, sent: str | None
) -> None:
    monkeypatch.setenv(LOGINS_VARIABLE, json.dumps({of.format(site.url): "Basic eDp5"}))
    assert visited(site, "works")["works"]["filled"]
    assert site.logins == {sent}


@browses
def test_a_websocket_is_heard_and_never_spoken_to(site: Site) -> None:
    heard: list[str | bytes] = []

    def talk(connection: ServerConnection) -> None:
        connection.send("hello")
        heard.extend(connection)

    with serve(talk, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        PAGES["listens"] = PAGE_THAT_LISTENS % port
        visit = visited(site, "listens")["listens"]
        server.shutdown()
    assert (visit["text"], heard) == ("hello", [])


@browses
def test_failures_of_this_machine_are_excused_and_failures_of_users_are_named(site: Site) -> None:
    seen = visited(site, "throws", "waits-for-a-post", "unreachable-own")
    assert seen["throws"]["errors"] == ["Cannot read properties of null (reading 'name')"]
    assert (seen["waits-for-a-post"]["errors"], seen["waits-for-a-post"]["filled"]) == ([], False)
    assert seen["unreachable-own"]["failed"] == ["http://127.0.0.1:1/: net::ERR_UNSAFE_PORT"]


@browses
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_the_browser_ends_with_its_process(site: Site, sent: signal.Signals) -> None:
    def below(process: psutil.Process) -> list[psutil.Process]:
        return process.children(recursive=True)

    process = psutil.Popen(command(f"{site.url}/hangs"), stdout=subprocess.DEVNULL)
    wait_for(lambda: ("GET", "/hangs") in site.seen, "the first request of the browser")
    browser = below(process)
    assert len(browser) > 3
    process.send_signal(sent)
    _, alive = psutil.wait_procs([process, *browser], timeout=20)
    assert [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


@browses
def test_the_headless_shell_of_playwright_is_taken_before_the_whole_browser(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with sync_playwright() as playwright:
        whole = Path(playwright.chromium.executable_path)
    release = next(folder for folder in whole.parents if folder.parent == tmp_path)
    shell = tmp_path / release.name.replace("-", "_headless_shell-") / "linux" / "chrome-headless-shell"
    for file, does in ((whole, "exit 1"), (shell, f'exec {BROWSER} "$@"')):
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\n{does}\n")
        file.chmod(0o755)
    assert visited(site, "works")["works"]["filled"]


@pytest.mark.parametrize("variables", [{"GLI_CHROMIUM": ""}, {"PATH": "/nowhere"}], ids=["unwanted", "missing"])
def test_without_a_browser_the_check_does_not_apply_and_says_why(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    monkeypatch.delenv("GLI_CHROMIUM", raising=False)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", "/nowhere")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unobserved) as raised:
        asyncio.run(page_visits.run(OBSERVER))
    assert raised.value.unknown.cause == "not-applicable"
    assert (
        "GLI_CHROMIUM" if variables.get("GLI_CHROMIUM") == "" else "apt-get install chromium-headless-shell"
    ) in str(raised.value)
