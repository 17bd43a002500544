"""Opens pages in headless Chromium, in a process of its own: `python -m gli.observe.edge.browser_process JOB`.

JOB is JSON: `frontends` (the `pages` of each, and `mount`, the id of the element that the application fills), `own`
(the hosts whose requests must not fail), `connect_to` and `ca_file` (the environment's), `limit_s` (for each page).
Prints one JSON document: the fields of a `PageVisit` for each page under `visits`, or `missing` where no browser is
installed. SIGTERM closes the browser, which reaches the network through `gli.observe.edge.browser_filter` alone.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gli.observe.edge.browser_filter import Filter

if TYPE_CHECKING:
    from playwright.async_api import (
        Browser,
        ConsoleMessage,
        Error,
        Page,
        Playwright,
        Request,
    )

BROWSER_VARIABLE = "GLI_CHROMIUM"
"""Names the browser's file; empty: no page is opened in a browser."""
LOGINS_VARIABLE = "GLI_BROWSER_LOGINS"
"""Holds JSON: origin (`origin_of`) to the header Authorization. Other users of the machine see no variables."""
_INSTALLED_AS = (
    *("chromium-headless-shell", "chrome-headless-shell"),
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
)
"""Names of a browser in `PATH`. The shell renders pages as the whole browser does, with a third of its work."""
_READS = ("GET", "HEAD", "OPTIONS")
_FLAGS = ("--disable-gpu",)
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "FONTCONFIG_PATH", "FONTCONFIG_FILE")
_QUALITY = 45  # of a JPEG: about 20 kB
_MOST, _LONGEST = 40, 300
_FILLED_S, _QUIET_S = 8.0, 3.0
"""How long a loaded page may take to show something, and then to become quiet: lazy parts come in this time."""
_TICK_MS = 100
_WATCH = """
(() => {
  const seen = { refused: [], rejected: [] };
  Object.defineProperty(window, "__gli", { value: seen });
  document.addEventListener("securitypolicyviolation", (e) => {
    if (e.disposition === "enforce") seen.refused.push([e.effectiveDirective, e.blockedURI]);
  });
  addEventListener("unhandledrejection", (e) => seen.rejected.push(String(e.reason?.message ?? e.reason)));
})();
"""
_FILLED = """(id) => {
  const node = document.getElementById(id);
  return !!node && (node.childElementCount > 0 || node.textContent.trim() !== "");
}"""
_KINDS = ("errors", "excused", "console", "failed", "foreign_failed", "held_back")
_OF_A_REQUEST = re.compile(r"failed to fetch|network ?error", re.IGNORECASE)
_ABORTED = "net::ERR_ABORTED"  # by the page itself, as when it leaves for another page


class Visit:
    """One page in its own context: what happened in it, in the order in which it happened."""

    def __init__(self, url: str, mount: str, own: frozenset[str]) -> None:
        self._url, self._mount, self._own = url, mount, own
        self._lines: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        self._thrown: list[tuple[str, bool, bool]] = []
        """(message, of another site's script, after a request that failed only here) of each uncaught error."""
        self._failed_here = False
        self._requests = 0
        self._status: int | None = None
        self._filled = False
        self._screenshot: bytes | None = None
        self._text = ""
        self._problem: str | None = None

    async def make(self, page: Page, limit_s: float, *, picture: bool) -> dict[str, Any]:
        """Opens the page, waits until it is quiet, and returns what a `PageVisit` holds."""
        heard: tuple[tuple[Any, Any, Any], ...] = (
            (page.context, "request", self._request),
            (page.context, "requestfailed", self._failed),
            (page, "pageerror", self._error),
            (page, "console", self._console),
        )
        for source, event, handler in heard:
            source.on(event, handler)
        try:
            async with asyncio.timeout(limit_s):
                await self._load(page)
                await self._look(page, picture)
        except TimeoutError:
            self._problem = f"not quiet within {limit_s:g} s"
        for source, event, handler in heard:
            source.remove_listener(event, handler)
        shot = self._screenshot
        return {
            **self._lines,
            "url": self._url,
            "status": self._status,
            "filled": self._filled,
            "requests": self._requests,
            "problem": self._problem,
            "text": self._text,
            "screenshot": base64.b64encode(shot).decode() if shot else None,
        }

    async def _look(self, page: Page, picture: bool) -> None:
        with suppress(Exception):
            self._text = (await page.inner_text("body", timeout=1000))[:5_000]
            if picture:
                self._screenshot = await page.screenshot(type="jpeg", quality=_QUALITY, timeout=5000)

    async def _load(self, page: Page) -> None:
        from playwright.async_api import Error

        try:
            answer = await page.goto(self._url, wait_until="load", timeout=0)
        except Error as e:
            self._problem = _first_line(e.message)
            return
        self._status = answer.status if answer else None
        with suppress(Error):
            await page.wait_for_function(_FILLED, arg=self._mount, timeout=_FILLED_S * 1000, polling=_TICK_MS)
        with suppress(Error):  # a page that polls is never idle
            await page.wait_for_load_state("networkidle", timeout=_QUIET_S * 1000)
        seen: dict[str, Any] = {"refused": [], "rejected": []}
        with suppress(Error):
            self._filled = bool(await page.evaluate(_FILLED, self._mount))
            seen = await page.evaluate("() => window.__gli")
        self._judge_errors(frozenset(seen["rejected"]))
        for directive, refused in seen["refused"]:
            if urlsplit(refused).hostname in self._own:
                self._note("failed", f"{directive} of the Content-Security-Policy refuses {_plain(refused)}")

    def _judge_errors(self, rejected: frozenset[str]) -> None:
        """Excuses errors of other sites' scripts, and promises that were rejected after a request failed only here."""
        for message, foreign, after_failure in self._thrown:
            of_a_request = message in rejected or _OF_A_REQUEST.search(message)  # a module's own await is no rejection
            excused = foreign or (after_failure and of_a_request)
            self._note("excused" if excused else "errors", _first_line(message))

    def _request(self, request: Request) -> None:
        self._requests += 1
        if request.method not in _READS:
            self._failed_here = True
            self._note("held_back", f"{request.method} {_plain(request.url)}")

    def _error(self, error: Error) -> None:
        """An exception that nobody caught, or a promise that was rejected."""
        hosts = {urlsplit(url).hostname for url in re.findall(r"https?://[^\s)]+", error.stack or "")}
        foreign = bool(hosts) and hosts.isdisjoint(self._own)
        self._thrown.append((error.message, foreign, self._failed_here))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note("console", f"{message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        why = request.failure or ""
        if request.method not in _READS or _ABORTED in why:
            return
        own = urlsplit(request.url).hostname in self._own
        self._failed_here = self._failed_here or not own
        self._note("failed" if own else "foreign_failed", f"{_plain(request.url)}: {why}")

    def _note(self, kind: str, text: str) -> None:
        lines = self._lines[kind]
        if len(lines) < _MOST and text[:_LONGEST] not in lines:
            lines.append(text[:_LONGEST])


def _plain(url: str) -> str:
    """The address without its query and fragment, which may hold what is nobody else's business."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "an error without a word")


def _installed(playwright: Playwright) -> str | None:
    """The browser: the one that the variable names, Playwright's own, or the one of the system."""
    if BROWSER_VARIABLE in os.environ:
        return os.environ[BROWSER_VARIABLE] or None
    own = Path(playwright.chromium.executable_path)
    found = next((str(file) for file in (*_shells(own), own) if file.is_file()), None)
    return found or of_the_system()


def of_the_system() -> str | None:
    """The browser that this machine's packages brought, if there is one."""
    return next(filter(None, map(shutil.which, _INSTALLED_AS)), None)


def _shells(own: Path) -> Iterator[Path]:
    """The headless shell that `playwright install chromium` puts beside the whole browser, or alone."""
    for release in own.parents:
        if release.name.startswith("chromium-"):
            shell = release.name.replace("chromium-", "chromium_headless_shell-")
            yield from release.parent.glob(f"{shell}/*/*headless?shell")


async def _launched(playwright: Playwright, executable: str, flags: list[str], home: str) -> Browser:
    """Chromium with its own sandbox where that can be: not as root, and not in most containers."""
    from playwright.async_api import Error

    environment = {k: os.environ[k] for k in _KEPT if k in os.environ} | {"HOME": home, "TMPDIR": home}

    async def launch(sandboxed: bool) -> Browser:
        return await playwright.chromium.launch(
            executable_path=executable,
            args=[*_FLAGS, *flags],
            env=dict(environment),
            chromium_sandbox=sandboxed,
            handle_sigint=False,
            handle_sighup=False,
        )

    if os.geteuid() != 0:
        with suppress(Error):
            return await launch(True)
    return await launch(False)


async def _frontend(browser: Browser, frontend: Mapping[str, Any], job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The visits of one frontend: its pages one after the other, as one user sees them."""
    context = await browser.new_context(
        viewport={"width": 1024, "height": 640}, service_workers="block", accept_downloads=False, locale="ko-KR"
    )
    await context.add_init_script(_WATCH)
    page = await context.new_page()
    own = frozenset(job["own"])
    visits: list[dict[str, Any]] = []
    for url in frontend["pages"]:
        visit = Visit(url, frontend["mount"], own)
        visits.append(await visit.make(page, job["limit_s"], picture=not visits))
    return visits


async def _visits(job: Mapping[str, Any], home: str) -> dict[str, Any]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        executable = _installed(playwright)
        if executable is None:
            return {"missing": True}
        between = Filter(job["connect_to"], job["ca_file"], json.loads(os.environ.get(LOGINS_VARIABLE, "{}")))
        serving = asyncio.create_task(between.serve())
        browser = await _launched(playwright, executable, between.flags, home)
        try:
            each = await asyncio.gather(*[_frontend(browser, frontend, job) for frontend in job["frontends"]])
            return {"visits": [visit for visits in each for visit in visits]}
        finally:
            await browser.close()
            serving.cancel()


async def _main() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="gli-browser-", ignore_cleanup_errors=True) as home:
        print(json.dumps(await _visits(json.loads(sys.argv[1]), home)), flush=True)


if __name__ == "__main__":
    with suppress(asyncio.CancelledError):
        asyncio.run(_main())
