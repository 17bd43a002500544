"""What an application must answer is data: endpoints, health documents, revisions and conversations of sockets."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from served import in_a_thread
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from conftest import ROOT, Ran, run_forked
from gli.config import environments
from gli.config.services import Endpoint, Frontend, Service, without_secrets
from gli.observe.edge.http import HttpExchange

STAGE_LOGIN = f"Basic {base64.b64encode(b'stage:0pen').decode()}"
LOGIN = f"Basic {base64.b64encode(b'shop:s3cret').decode()}"


class Shop(BaseHTTPRequestHandler):
    """A small application that nobody wrote for this suite."""

    def do_GET(self) -> None:
        who = self.headers.get("Authorization", "")
        if self.headers["Host"].startswith("stage.test") and who != STAGE_LOGIN:
            self.send_error(401)
            return
        answers: dict[str, tuple[int, Mapping[str, str], str]] = {
            "/deep": (200 if self.headers.get("X-Token") == "h3althy" else 403, {}, json.dumps({"ok": True})),
            "/ht/": (200, {}, json.dumps({"Database(alias='default')": "OK", "Cache(alias='default')": "OK"})),
            "/": (200, {"Content-Type": "text/html", "X-Revision": "v7"}, "<h1>Shop</h1>"),
            "/orders": (302, {"Location": "/login"}, ""),
            "/stock": (200, {"Cache-Control": "max-age=60"}, json.dumps({"items": [{"sku": "a", "left": 3}]})),
            "/admin": (200 if who == LOGIN else 401, {}, "{}"),
            "/me": (200 if who == "Bearer t0ken" else 401, {}, "{}"),
        }
        status, headers, body = answers.get(self.path, (404, {}, "{}"))
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


def socket(session: ServerConnection) -> None:
    """Socket.IO's handshake (Engine.IO 4): a session id, then the namespace, with a ping between them."""
    if session.request is not None and session.request.path == "/graphql":
        graphql(session)
        return
    if session.request is not None and session.request.path.startswith("/track"):
        session.send(f"hello, {session.request.path}")
        for _ in session:  # until the other side ends it
            pass
        return
    if session.request is None or session.request.headers.get("Authorization") != "Bearer t0ken":
        session.close(1008)
    session.send('0{"sid":"x1","upgrades":[],"pingInterval":25000}')
    for frame in session:
        if frame == "40":
            session.send("2")
            session.send('40{"sid":"x2"}')
            return


def admits(_: ServerConnection, request: Request) -> Response | None:
    """A server that takes the login from the URL."""
    wrong = request.path.startswith("/track") and request.path != "/track?v=1&ticket=0ne%2Ftick%2Bet"
    return Response(401, "Unauthorized", Headers()) if wrong else None


def graphql(session: ServerConnection) -> None:
    """graphql-ws: the login is in the first message; the answer repeats it, as a careless server does."""
    first = json.loads(session.recv())
    if first != {"type": "connection_init", "payload": {"user": 'a"b', "password": "w0rd-of-the-socket"}}:
        session.close(4403)
        return
    session.send(json.dumps({"type": "connection_ack", "payload": first["payload"]}))


@pytest.fixture
def shop() -> Iterator[tuple[int, int]]:
    """(port of HTTP, port of WebSocket)."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    sockets = serve(socket, "127.0.0.1", 0, process_request=admits)
    in_a_thread(web)
    threading.Thread(target=sockets.serve_forever, daemon=True).start()
    yield web.server_address[1], sockets.socket.getsockname()[1]
    web.shutdown()
    sockets.shutdown()
    web.server_close()


CONTRACT = """
[shop]
branch = "main"
[shop.services.web]
url = "http://127.0.0.1:{web}"
health_path = "/ht/"
deep_health_path = "/ht/"
deep_health_values = {{ "Database(alias='default')" = "OK", "Cache(alias='default')" = "OK" }}
protected_path = "/orders"
protected_status = [302, 401]
[[shop.services.web.contract]]
path = "/"
content_type = "text/html"
body = ["<h1>Sho[pP]"]
body_without = ["Traceback"]
[[shop.services.web.contract]]
path = "/stock"
values = {{ "items.0.left" = 3, "items.0.sku" = "a" }}
answer_headers = {{ Cache-Control = 'max-age=\\d+' }}
[[shop.services.web.contract]]
path = "/orders"
method = "HEAD"
headers = {{ Accept = "text/html" }}
status = [301, 302]
content_type = ""
[[shop.services.web.contract]]
path = "/admin"
authorization = {{ basic = "env:SHOP_ADMIN" }}
[[shop.services.web.contract]]
path = "/me"
authorization = {{ bearer = "env:SHOP_TOKEN" }}
[shop.services.other]
url = "http://localhost:{web}"
health_path = "/ht/"
deep_health_path = "/deep"
deep_health_secret = "file:health.token"
deep_health_header = "X-Token"
deep_health_values = {{ ok = true }}
[shop.services.stage]
url = "http://stage.test:{web}"
health_path = "/ht/"
protected_path = "/"
authorization = {{ basic = "env:STAGE" }}
[[shop.services.stage.contract]]
path = "/stock"
[shop.connect_to]
"stage.test:{web}" = "127.0.0.1:{web}"
[shop.services.live]
authorization = {{ bearer = "env:SHOP", fields = {{ token = "api_token" }} }}
url = "ws://127.0.0.1:{sockets}/socket.io/?EIO=4&transport=websocket"
talk = [{{ expect = '^0\\{{"sid":' }}, {{ send = "40" }}, {{ expect = '^40\\{{"sid":' }}]
[shop.services.track]
url = "ws://127.0.0.1:{sockets}/track?v=1&ticket={{token}}"
authorization = {{ bearer = "env:TICKET" }}
talk = [{{ expect = "^hello" }}]
[shop.services.board]
url = "ws://127.0.0.1:{sockets}/graphql"
[[shop.services.board.talk]]
send = '{{"type": "connection_init", "payload": {{"user": "{{username}}", "password": "{{password}}"}}}}'
authorization = {{ basic = "env:BOARD", fields = {{ username = "name" }} }}
[[shop.services.board.talk]]
expect = '"connection_ack"'
"""


ECHO_FAILED = ("ws-app-echo", "failed")


def verified(shop: tuple[int, int], folder: Path, text: str = CONTRACT, **changes: str) -> Ran:
    for name in ("tests_smoke", "tests_infra", "checklists"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("conftest.py", "pytest.ini"):
        shutil.copy(ROOT / name, folder)
    text = text.format(web=shop[0], sockets=shop[1])
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "environments.toml").write_text(text)
    (folder / "health.token").write_text("h3althy\n")
    variables = {"SHOP_ADMIN": '{"username": "shop", "password": "s3cret"}', "SHOP_TOKEN": "t0ken"}
    variables |= {"STAGE": "stage:0pen", "SHOP": '{"api_token": "t0ken"}'}
    variables["TICKET"] = "0ne/tick+et"
    variables["BOARD"] = json.dumps({"name": 'a"b', "password": "w0rd-of-the-socket"})
    return run_forked("--env=shop", root=folder, reports=folder / "reports", env=variables)


def test_a_foreign_application_is_verified_by_its_own_contract(shop: tuple[int, int], tmp_path: Path) -> None:
    ran = verified(shop, tmp_path)
    asked = {"api-deep-health", "api-endpoints-contract", "api-auth-enforced", "ws-app-echo"}
    assert asked <= ran.outcomes("passed"), ran.output
    assert ran.verdict is not None
    of_stage = {c["id"]: c["outcome"] for c in ran.verdict["checks"] if c["target"] == "stage"}
    of_track = {c["id"]: c["outcome"] for c in ran.verdict["checks"] if c["target"] == "track"}
    assert (of_track["ws-handshake"], of_track["ws-app-echo"]) == ("passed", "passed")
    assert {*of_stage.values()} == {"passed"} and {"api-health", "api-auth-enforced", "http-no-5xx-burst"} <= {
        *of_stage
    }
    assert ran.folder is not None
    written = "".join(path.read_text(encoding="utf-8") for path in ran.folder.glob("*.*"))
    logins = (LOGIN.split()[1], STAGE_LOGIN.split()[1])
    secrets = ("t0ken", "w0rd-of-the-socket", "0pen", "s3cret", "h3althy", "0ne/tick", "0ne%2Ftick", *logins)
    assert not any(secret in written + ran.output for secret in secrets)


def test_a_conversation_that_takes_another_course_says_what_did_not_come(shop: tuple[int, int], tmp_path: Path) -> None:
    ran = verified(shop, tmp_path, CONTRACT.replace("^40", "^41").replace('{{username}}"', '{{username}}s"'))
    assert ran.verdict is not None, ran.output
    said = {c["target"]: c["message"] for c in ran.verdict["checks"] if (c["id"], c["outcome"]) == ECHO_FAILED}
    assert said == {
        "live": 'expected a frame like ^41\\{"sid":, saw 3 frames, the last: 40{"sid":"x2"}, '
        "then closed with code 1000",
        "board": 'expected a frame like "connection_ack", saw 0 frames, the last: silence, then closed with code 4403',
    }


def test_a_login_that_is_refused_is_named(shop: tuple[int, int], tmp_path: Path) -> None:
    ran = verified(
        shop, tmp_path, CONTRACT.replace('"env:STAGE"', '"env:SHOP_ADMIN"').replace("env:TICKET", "env:SHOP_TOKEN")
    )
    assert ran.verdict is not None, ran.output
    said = {(c["id"], c["target"]): c["message"] for c in ran.verdict["checks"]}
    assert "401 text/html: the login was refused" in said["api-health", "stage"]
    assert "the handshake was answered 401: the login was refused" in said["ws-handshake", "track"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("wss://shop.test/live?v=1&access_token=abc", "url holds a secret; write access_token={token}"),
        ("wss://shop.test/live?ticket={token}", "a url with {token} needs the authorization that it stands for"),
        ("https://shop.test/?token={token}", "only the url of a socket"),
        ("https://shop:s3cret@shop.test/", "url holds a login; write it as authorization"),
    ],
)
def test_a_url_holds_no_secret(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Service(name="live", url=url)
    assert "abc" not in without_secrets(url)


def test_a_host_has_one_login(shop: tuple[int, int], tmp_path: Path) -> None:
    other = '[shop.services.second]\nurl = "http://stage.test:{web}/v2"\nauthorization = {{ bearer = "env:SHOP" }}\n'
    ran = verified(shop, tmp_path, CONTRACT + other)
    assert ran.code == 4
    said = f"describes two logins (authorization) for http://stage.test:{shop[0]}; write one, or name only_paths"
    assert said in " ".join(ran.output.split())


ANSWER = HttpExchange(
    method="GET",
    url="http://shop/stock",
    status=200,
    headers={"content-type": "application/json", "cache-control": "no-store"},
    body=json.dumps({"left": 3, "open": True}),
    seconds=0.1,
)


def module(path: str) -> ModuleType:
    """The checks of one file."""
    found = importlib.util.spec_from_file_location("checks_of_a_file", ROOT / path)
    assert found is not None and found.loader is not None
    checks = importlib.util.module_from_spec(found)
    found.loader.exec_module(checks)
    return checks


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"status": (201, 204)}, "expected 201 or 204 application/json from /stock, saw 200 application/json"),
        ({"values": {"left": 4}}, "expected left: 4 in the answer of /stock, saw left: 3"),
        ({"values": {"open": 1}}, "expected open: 1 in the answer of /stock, saw open: True"),
        ({"values": {"items.0": "a"}}, "expected items.0: a in the answer of /stock, saw items.0: not mentioned"),
        ({"body": ("sold out",)}, "expected sold out in the answer of /stock, saw a body without it"),
        ({"body_without": ("left",)}, "expected no left in the answer of /stock, saw a body with it"),
        ({"answer_headers": {"Cache-Control": "max-age"}}, "expected Cache-Control: max-age from /stock, saw no-store"),
    ],
)
def test_each_demand_of_a_contract_can_fail(wanted: dict[str, Any], message: str) -> None:
    checks = module("tests_smoke/test_api.py")
    service = Service(name="web", url="http://shop", contract=(Endpoint(path="/stock", **wanted),))
    with pytest.raises(AssertionError) as failed:
        checks.test_api_endpoints_contract([ANSWER], service)
    assert str(failed.value.args[0]) == message


API, SOCKET = "https://stg-api.glibiz.com", "wss://stg-ws.glibiz.com"


@pytest.mark.parametrize(
    ("calls", "named", "passes"),
    [
        (None, [API, SOCKET], True),
        (None, [API, "https://stg-ws.glibiz.com"], True),  # as Socket.IO's client is told
        (None, [API, "ws://stg-ws.glibiz.com"], False),
        (None, [API], False),
        (("api",), [API], True),
        (("api",), [SOCKET], False),
        ((), [], True),
        ((), ["https://api.glibiz.com"], False),  # production's
    ],
)
def test_a_bundle_names_the_services_that_it_calls(
    calls: tuple[str, ...] | None, named: list[str], passes: bool
) -> None:
    environment = environments.load(ROOT, "stg")
    page = environment.frontends["user"].model_copy(update={"calls": calls})
    check = module("tests_smoke/test_frontend.py").test_cdn_api_base_correct
    with nullcontext() if passes else pytest.raises(AssertionError):
        check(named, environment, page)


@pytest.mark.parametrize(
    ("url", "folder", "key", "script"),
    [
        ("https://shop.example.com", "", "index.html", "a.js"),
        ("https://shop.example.com", "/a/b", "a/b/index.html", "a/b/a.js"),
        ("https://shop.example.com/ops/", "/office/ops", "office/ops/index.html", "office/ops/a.js"),
    ],
)
def test_the_page_and_its_files_lie_in_its_folder_of_the_bucket(url: str, folder: str, key: str, script: str) -> None:
    page = Frontend(name="web", url=url, origin_path=folder)
    assert (page.index_key, page.key_of(page.path_of("/a.js"))) == (key, script)
