"""Which origins may call a service from a browser: its answers to preflights and to requests of frontends.

Source of truth: the Fetch standard, "CORS protocol".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gli.config.services import Service
from gli.observe.edge.http import HttpExchange, fetch
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

EVIL_ORIGIN = "https://evil.invalid"


class CorsAnswers(Observation):
    """Origin of a frontend to the API's answer to its request, without the body."""

    answers: Mapping[str, HttpExchange]


class Preflights(Observation):
    """Origin to the answer to its CORS preflight."""

    allowed: Mapping[str, HttpExchange]
    foreign: Mapping[str, HttpExchange]


@probe(deadline=15)
async def preflights(observer: Observer, service: Service) -> Preflights:
    """The answers to CORS preflights: from the origin of each frontend that calls the service, and from others."""
    frontends = observer.environment.callers(service)
    own = [f.origin_header for f in frontends]
    # "null" is the origin of any sandboxed page. The others pass a pattern that lacks its anchors (^ and $).
    alike = [origin for f in frontends for origin in (f"https://{f.host}.evil.invalid", f"https://evil{f.host}")]
    foreign = [o for o in (EVIL_ORIGIN, "http://localhost:3000", "null", *alike) if o not in own]

    async def ask(origin: str) -> HttpExchange:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        url = f"{service.url}{service.cors_path}"
        return await fetch(observer, url, method="OPTIONS", headers=headers, anonymous=True)  # as browsers do

    answers = await asyncio.gather(*[ask(origin) for origin in (*own, *foreign)])
    return Preflights(
        allowed=dict(zip(own, answers, strict=False)), foreign=dict(zip(foreign, answers[len(own) :], strict=True))
    )


@probe(deadline=15)
async def cors_answers(observer: Observer, service: Service) -> CorsAnswers:
    """The answers to requests of these frontends: browsers look at the headers again after the preflight."""
    own = [f.origin_header for f in observer.environment.callers(service)]
    url = f"{service.url}{service.cors_path}"
    answers = await asyncio.gather(*[fetch(observer, url, headers={"Origin": origin}) for origin in own])
    return CorsAnswers(answers=dict(zip(own, (a.model_copy(update={"body": ""}) for a in answers), strict=True)))
