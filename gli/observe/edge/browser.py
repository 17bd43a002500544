"""Frontends in a real browser: does the application start and show something, and what failed on the way?

The browser is Chromium under Playwright, in a process of its own (`gli.observe.edge.browser_process`), so that neither
its work nor its end holds up the run, and its memory is not the run's. It reaches hosts through a filter in the same
process, which verifies them as the run does and lets only reads through.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus

from pydantic import TypeAdapter

from gli.common.bound_process import Bond
from gli.common.sentences import Said, phrase
from gli.config.services import Frontend
from gli.observe.data.secrets import secrets
from gli.observe.edge.browser_process import BROWSER_VARIABLE, LOGINS_VARIABLE
from gli.observe.edge.sign_in import page_sign_ins
from gli.observe.engine.observation import Observation, Unobserved, unknown
from gli.observe.engine.probe import Observer, probe

_DEADLINE_S = 50.0
_PAGE_S = 20.0
"""How long one page may take, on a machine that has other work."""
_LEAVE_S = 5.0
_SHORTEST_SECRET = 6


class PageVisit(Observation):
    """One page that was opened in a browser, without a login. Its texts are cut to 300 characters, its lists to 40."""

    url: str
    status: int | None
    """None where the page could not be loaded; `problem` says why."""
    filled: bool
    """The element in which the application mounts has content."""
    errors: tuple[str, ...] = ()
    """Exceptions that nobody caught, and promises that were rejected and not handled."""
    excused: tuple[str, ...] = ()
    """Such errors of another site's script, or after a request that failed only here: it was held back, or another
    site's."""
    failed: tuple[str, ...] = ()
    """Requests to the environment's own hosts that came to nothing: refused by CORS or the page's policy, or without an
    answer."""
    foreign_failed: tuple[str, ...] = ()
    """The same of other sites: this runner may have no way to them."""
    held_back: tuple[str, ...] = ()
    """Requests that could change something: none leaves this machine, and no message of a WebSocket does."""
    console: tuple[str, ...] = ()
    """Its errors and warnings in the console."""
    requests: int = 0
    problem: Said | None = None
    text: str = ""
    screenshot: str | None = None
    """A JPEG in base64, of the frontend's first page, 1024 by 640 pixels; None where that page shows a known secret."""


@probe(deadline=_DEADLINE_S, slow=True)
async def page_visits(observer: Observer) -> tuple[PageVisit, ...]:
    """Each frontend's page, and the route that it declares, in a headless Chromium.

    Raises `Unobserved` as not applicable where Playwright or Chromium is not installed, or is not wanted.
    """
    if os.environ.get(BROWSER_VARIABLE) == "":
        raise unknown("not-applicable", phrase("no page is opened in a browser here: {} is empty", BROWSER_VARIABLE))
    if importlib.util.find_spec("playwright") is None:
        raise _not_installed()
    environment = observer.environment
    job = {
        "frontends": [{"pages": pages(f), "mount": f.mount} for f in environment.frontends.values()],
        "own": list(environment.hosts),
        "connect_to": dict(environment.connect_to),
        "ca_file": environment.tls.ca_file,
        "limit_s": _PAGE_S,
    }
    logins = json.dumps(await page_sign_ins(observer))
    begun = time.monotonic()
    answer = json.loads(await _browsed(json.dumps(job), logins))
    if answer.get("missing"):
        raise _not_installed()
    visits = TypeAdapter(tuple[PageVisit, ...]).validate_python(answer["visits"])
    observer.count("browser", len(visits))
    if any(not visit.filled for visit in visits):
        observer.over(time.monotonic() - begun, begun)
    with suppress(Unobserved):
        await observer.see(secrets)
    return tuple(_without_secrets(visit, observer.vault.values) for visit in visits)


def visits_of(visits: Sequence[PageVisit], frontend: Frontend) -> tuple[PageVisit, ...]:
    """The visits of one frontend.

    Raises `Unobserved` where a page shows nothing, and a request that failed only here may be the reason: one that this
    run held back (then as not applicable), or one to another site.
    """
    own = tuple(visit for visit in visits if visit.url in pages(frontend))
    for visit in own:
        wrong = visit.errors or visit.failed or visit.problem or (visit.status or 0) >= HTTPStatus.BAD_REQUEST
        if visit.filled or wrong:
            continue
        if sent := [one for one in visit.held_back if not one.startswith("a message")]:
            raise unknown(
                "not-applicable",
                phrase(
                    "{} shows nothing before {}, and a run that changes nothing holds that back", visit.url, sent[0]
                ),
            )
        if visit.foreign_failed:
            raise unknown(
                "unreachable",
                phrase("{} shows nothing, and this runner can't reach {}", visit.url, visit.foreign_failed[0]),
            )
    return own


def pages(frontend: Frontend) -> tuple[str, ...]:
    """The addresses of a frontend that are opened: its page, and the route that it declares."""
    url = frontend.url.rstrip("/")
    return (f"{url}/", f"{url}{frontend.route}") if frontend.route else (f"{url}/",)


def _not_installed() -> Unobserved:
    said = phrase(
        "no browser is installed here: `pip install 'gli-verify[browser]'`, then `playwright install chromium` or "
        "`apt-get install chromium-headless-shell` (Debian)"
    )
    return unknown("not-applicable", said)


async def _browsed(job: str, logins: str) -> bytes:
    """What the browser's process prints. The process ends with this run, however that ends."""
    bond = Bond(signal.SIGTERM)
    process = await asyncio.create_subprocess_exec(
        *bond.command([sys.executable, "-P", "-m", "gli.observe.edge.browser_process", job]),
        stdin=bond.stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, LOGINS_VARIABLE: logins},
        start_new_session=True,  # Ctrl-C reaches the run, and the bond ends the browser
    )
    bond.started()
    try:
        said, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _LEAVE_S)
        if process.returncode is None:
            process.kill()
            await process.wait()
        bond.release()
    if process.returncode != 0 or not said:
        last = (complained.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise unknown("error", phrase("the browser's process ended with code {}: {}", process.returncode, last))
    return said


def _without_secrets(visit: PageVisit, known: frozenset[str]) -> PageVisit:
    """A picture can't be redacted: the visit without it where its page shows a secret."""
    shown = any(value in visit.text for value in known if len(value) >= _SHORTEST_SECRET)
    return visit.model_copy(update={"screenshot": None}) if shown else visit
