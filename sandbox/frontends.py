"""The files of a frontend's build: an `index.html` that is never cached, and assets with a hash in their name."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from gli.config.environments import Environment
from gli.config.services import Frontend
from sandbox.copies import copy_number

_HTML = "text/html; charset=utf-8"
_NEVER = "no-cache"
_FOREVER = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """One object of a bucket."""

    body: bytes
    content_type: str
    cache_control: str


def build(environment: Environment, frontend: Frontend, revision: str) -> dict[str, Asset]:
    """The build of one frontend for one environment: {key: asset}."""
    assets: dict[str, Asset] = {}

    def bundle(stem: str, suffix: str, content_type: str, text: str) -> str:
        body = text.encode()
        key = f"assets/{stem}-{hashlib.sha256(body).hexdigest()[:8]}.{suffix}"
        assets[key] = Asset(body, content_type, _FOREVER)
        return f"/{key}"

    vendor = bundle("vendor", "js", "text/javascript", _VENDOR)
    login = bundle("LoginView", "js", "text/javascript", _LOGIN)
    script = bundle("index", "js", "text/javascript", _script(environment, frontend, vendor, login))
    font = bundle("gli", "woff2", "font/woff2", "wOF2: no browser of the sandbox draws with it\n").removeprefix(
        "/assets/"
    )
    face = f"@font-face {{ font-family: gli; src: url(./{font}) format('woff2'); font-display: swap; }}\n"
    style = bundle("index", "css", "text/css", f"{face}#{frontend.mount} {{ font-family: sans-serif; }}\n")
    page = _page(frontend, revision, script=script, style=style, vendor=vendor)
    assets["index.html"] = Asset(page.encode(), _HTML, _NEVER)
    assets["404.html"] = Asset(b"<!doctype html><title>Not found</title><p>Not found</p>\n", _HTML, _NEVER)
    return assets


def entry_script(s3: Any, bucket: str) -> str:
    """The key of the entry script that the bucket's page names: scripts of earlier builds stay in the bucket."""
    page = s3.get_object(Bucket=bucket, Key="index.html")["Body"].read().decode()
    keys = [str(o["Key"]) for o in s3.list_objects_v2(Bucket=bucket, Prefix="assets/index-")["Contents"]]
    return next(key for key in keys if key.endswith(".js") and key in page)


def _page(frontend: Frontend, revision: str, *, script: str, style: str, vendor: str) -> str:
    return f"""\
<!doctype html>
<html lang="ko">
  <head>
    <meta charset="utf-8">
    <meta name="build" content="{revision}">
    <title>GLI {frontend.name}</title>
    <link rel="modulepreload" href="{vendor}">
    <link rel="stylesheet" href="{style}">
    <script type="module" src="{script}"></script>
  </head>
  <body>
    <div id="{frontend.mount}"></div>
  </body>
</html>
"""


def _script(environment: Environment, frontend: Frontend, vendor: str, login: str) -> str:
    """The entry chunk, which contains the environment's addresses, as a bundler writes them."""
    number = copy_number(frontend.name)
    api, websocket = environment.services[f"api{number}"].url, environment.services[f"websocket{number}"]
    return f"""\
import {{ mount }} from "{vendor.replace("/assets", ".")}";
const addresses = {json.dumps({"api": api, "websocket": websocket.url})};
const protocols = {json.dumps(websocket.subprotocols)};
async function notices() {{
  const answer = await fetch(`${{addresses.api}}/api/v1/notices/`, {{ credentials: "include" }});
  return (await answer.json()).results;
}}
const routes = {{ "/login": () => import("{login.replace("/assets", ".")}") }};
if (routes[location.pathname]) routes[location.pathname]().then((view) => view.show());
mount("{frontend.mount}", "{frontend.name}", notices, () => new WebSocket(addresses.websocket, protocols));
"""


_LOGIN = """\
export function show() {
  document.title = "Login";
}
"""

_VENDOR = """\
export async function mount(id, title, load, connect) {
  const root = document.getElementById(id);
  root.textContent = title;
  const list = root.appendChild(document.createElement("ul"));
  for (const { title } of await load()) {
    list.appendChild(document.createElement("li")).textContent = title;
  }
  const socket = connect();
  socket.addEventListener("open", () => socket.send(JSON.stringify({ type: "ping", id: "hello" })));
}
"""
