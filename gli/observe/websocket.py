"""WebSocket sessions as a browser opens them.

Source of truth: RFC 6455 (handshake section 4, ping and pong 5.5, close 7).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from gli.environments import Service
from gli.observe.http import EVIL_ORIGIN
from gli.observe.observation import Observation
from gli.observe.probe import Observer, probe
from gli.observe.tcp import why

HANDSHAKE_TIMEOUT_S = 5.0
PONG_TIMEOUT_S = 1.0
ECHO_TIMEOUT_S = 3.0
_PINGS = 3


class WebSocketSession(Observation):
    """One session from handshake to close."""

    url: str
    origin: str
    upgraded: bool
    error: str | None = None
    """Why it was not upgraded, or why it broke."""
    status: int | None = None
    """The HTTP status of a refused handshake."""
    pongs_s: tuple[float, ...] = ()
    """Seconds from each ping to its pong; a ping without a pong in time has none."""
    pings: int = 0
    sent: str | None = None
    reply: str | None = None
    """What the application answered to `sent`; None where it did not answer in time."""


@probe(deadline=15)
async def websocket_session(observer: Observer, service: Service) -> WebSocketSession:
    """Handshake with a frontend's origin, three pings, one application message, a clean close."""
    return await _session(observer, service, _own_origin(observer), talk=True)


@probe()
async def foreign_websocket(observer: Observer, service: Service) -> WebSocketSession:
    """A handshake with an origin that must not be let in (cross-site WebSocket hijacking)."""
    return await _session(observer, service, EVIL_ORIGIN, talk=False)


def _own_origin(observer: Observer) -> str:
    frontends = observer.environment.frontends
    return next(iter(frontends.values())).url.rstrip("/") if frontends else ""


async def _session(observer: Observer, service: Service, origin: str, *, talk: bool) -> WebSocketSession:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

    observer.count("websocket")
    address, port = observer.dial.address(service.host, service.port)
    seen: dict[str, Any] = {"url": service.url, "origin": origin, "upgraded": False}
    options: dict[str, Any] = {"ssl": observer.dial.trust, "server_hostname": service.host} if service.secure else {}
    try:
        with observer.phase("handshake"):
            session = await connect(
                service.url,
                origin=origin or None,  # type: ignore[arg-type]  # a NewType of str
                host=address,
                port=port,
                open_timeout=HANDSHAKE_TIMEOUT_S,
                ping_interval=None,
                close_timeout=1,
                user_agent_header="gli-verify",
                proxy=None,
                **options,
            )
        seen["upgraded"] = True
        async with session:
            seen |= await _talked(session, service) if talk else await _kept_open(session)
    except InvalidStatus as e:
        seen |= {"status": e.response.status_code, "error": f"the handshake was answered {e.response.status_code}"}
    except (InvalidHandshake, ConnectionClosed) as e:
        seen["error"] = str(e)
    except TimeoutError:
        seen["error"] = f"no handshake within {HANDSHAKE_TIMEOUT_S:g} s"
    except OSError as e:
        seen["error"] = why(e)
    return WebSocketSession(**seen)


async def _talked(session: Any, service: Service) -> dict[str, Any]:
    pongs = []
    for _ in range(_PINGS):
        begun = time.monotonic()
        try:
            async with asyncio.timeout(PONG_TIMEOUT_S):
                await (await session.ping(secrets.token_bytes(8)))
        except TimeoutError:
            break
        pongs.append(round(time.monotonic() - begun, 4))
    talk: dict[str, Any] = {"pings": _PINGS, "pongs_s": tuple(pongs)}
    if service.echo is not None:
        await session.send(service.echo.send)
        talk["sent"] = service.echo.send
        try:
            async with asyncio.timeout(ECHO_TIMEOUT_S):
                talk["reply"] = str(await session.recv())[:2000]
        except TimeoutError:
            pass
    return talk


async def _kept_open(session: Any) -> dict[str, Any]:
    """A server may upgrade and then close at once with 1008: wait a moment for that."""
    try:
        async with asyncio.timeout(0.5):
            await session.wait_closed()
    except TimeoutError:
        return {}
    return {"upgraded": False, "error": f"closed at once with code {session.close_code}"}
