"""WebSocket sessions as a browser opens them.

Source of truth: RFC 6455 (handshake section 4, ping and pong 5.5, close 7).
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from http.client import UNAUTHORIZED
from typing import Any
from urllib.parse import urljoin

from gli.common.sentences import Said, phrase
from gli.config.services import Service, Step
from gli.observe.edge.cors import EVIL_ORIGIN
from gli.observe.edge.sign_in import message, sign_in, signed_url
from gli.observe.edge.tcp import answering_port, why
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

HANDSHAKE_TIMEOUT_S = 5.0
PONG_TIMEOUT_S = 1.0
ECHO_TIMEOUT_S = 3.0
REFUSAL_TIMEOUT_S = 5.0
_PINGS = 3
MOST_FRAMES, MOST_BYTES = 5_000, 4_000_000
"""What one session takes from the server; the bytes are counted after decompression."""
_SLICE_BYTES = 4_096  # a flood of frames is noticed before many of them are read


class Talk(Observation):
    """A conversation, as far as it came."""

    unmet: str | None = None
    """The pattern of the frame that did not come; None where all came."""
    frames: int = 0
    """How many frames came."""
    last: str = ""
    close_code: int | None = None
    """The code with which the other side ended it before its end."""


class WebSocketSession(Observation):
    """One session from handshake to close."""

    url: str
    origin: str
    upgraded: bool
    error: Said | None = None
    """Why the handshake failed, or why the session broke."""
    status: int | None = None
    """The HTTP status of a refused handshake."""
    close_code: int | None = None
    """The code with which the other side closed the session; 1006: the connection was cut."""
    pongs_s: tuple[float, ...] = ()
    """Seconds from each ping to its pong. A ping whose pong was late has no entry."""
    pings: int = 0
    sent: str | None = None
    reply: str | None = None
    """The application's answer to `sent`; None if it did not answer in time."""
    talk: Talk | None = None
    """The conversation of the service's steps; None where there was none."""
    subprotocol: str | None = None
    """The subprotocol that the server chose; the handshake offers all of the service's."""
    open_s: float | None = None
    """How many seconds the quiet session stayed open."""


@probe(deadline=30, timed=True, libraries=["websockets.asyncio.client"])
async def websocket_session(observer: Observer, service: Service) -> WebSocketSession:
    """A handshake with a frontend's origin, three pings, one application message, a clean close.

    If a pong is late, the session is tried a second time; the record counts both attempts.
    """

    async def talked(session: Any) -> dict[str, Any]:
        return await _talked(observer, session, service)

    for step in service.talk:
        await message(observer, step)  # the credential is fetched before a server waits for it
    session = await _session(observer, service, service.url, talked)
    if session.upgraded and len(session.pongs_s) < session.pings:
        observer.attempts += 1
        session = await _session(observer, service, service.url, talked)
    return session


@probe(timed=True, libraries=["websockets.asyncio.client"])
async def foreign_websocket(observer: Observer, service: Service) -> WebSocketSession:
    """A handshake with an origin that the server must refuse (cross-site WebSocket hijacking)."""
    return await _session(
        observer, service, service.url, lambda session: _kept_open(observer, session), origin=EVIL_ORIGIN
    )


@probe(deadline=HANDSHAKE_TIMEOUT_S + REFUSAL_TIMEOUT_S + 2, timed=True, libraries=["websockets.asyncio.client"])
async def anonymous_websocket(observer: Observer, service: Service) -> WebSocketSession:
    """A session on the protected path without a token. The server has 5 seconds to refuse or close it."""
    url = urljoin(service.url, service.protected_path)
    session = await _session(
        observer, service, url, lambda session: _left_open(session, REFUSAL_TIMEOUT_S), anonymous=True
    )
    if session.open_s == REFUSAL_TIMEOUT_S:
        observer.over(REFUSAL_TIMEOUT_S)
    return session


@probe(deadline=85)
async def quiet_websocket(observer: Observer, service: Service) -> WebSocketSession:
    """A session on which this side sends nothing for `idle_hold_s` seconds, except answers to the server's pings."""
    assert service.idle_hold_s is not None, "asked only of services with idle_hold_s"
    hold_s = service.idle_hold_s
    return await _session(observer, service, service.url, lambda session: _left_open(session, hold_s))


def _own_origin(observer: Observer, service: Service) -> str:
    if service.origin:
        return service.origin.rstrip("/")
    return next((f.origin_header for f in observer.environment.callers(service)), "")


async def _session(
    observer: Observer,
    service: Service,
    url: str,
    use: Callable[[Any], Awaitable[dict[str, Any]]],
    *,
    origin: str | None = None,
    anonymous: bool = False,
) -> WebSocketSession:
    """Opens a session with `url`, by default with the origin of the service or of a frontend, and with the login that
    the host asks of everybody.

    `use` returns further fields of the fact.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

    observer.count("websocket")
    origin = _own_origin(observer, service) if origin is None else origin
    address, port = observer.dial.address(service.host, service.port)
    login = {} if anonymous else await sign_in(observer, url)
    signed = await signed_url(observer, service, url)
    seen: dict[str, Any] = {"url": url, "origin": origin, "upgraded": False}
    options: dict[str, Any] = {"ssl": observer.dial.trust, "server_hostname": service.host} if service.secure else {}
    session: Any = None
    try:
        with observer.phase("handshake"):
            session = await connect(
                signed,
                origin=origin or None,  # type: ignore[arg-type]  # a NewType of str
                subprotocols=service.subprotocols or None,  # type: ignore[arg-type]
                host=address,
                port=port,
                open_timeout=HANDSHAKE_TIMEOUT_S,
                ping_interval=None,
                close_timeout=1,
                user_agent_header="gli-verify",
                additional_headers=login or None,
                proxy=None,
                create_connection=_limited(),
                **options,
            )
        seen |= {"upgraded": True, "subprotocol": session.subprotocol}
        async with session:
            seen |= await use(session)
    except InvalidStatus as e:
        status = e.response.status_code
        told = phrase("the handshake was answered {}", status)
        refused = (login or signed != url) and status == UNAUTHORIZED
        seen |= {"status": status, "error": phrase("{}: the login was refused", told) if refused else told}
    except (InvalidHandshake, ConnectionClosed) as e:
        seen["error"] = str(e)
    except TimeoutError:
        observer.over(HANDSHAKE_TIMEOUT_S)
        await answering_port(observer, service.host, service.port)
        seen["error"] = phrase("no handshake within {:g} s", HANDSHAKE_TIMEOUT_S)
    except OSError as e:
        seen["error"] = why(e)
    if session is not None and session.flooded:
        raise unknown(
            "too-little-data",
            phrase(
                "{} sent more than {} frames or {} MB in one session", service.host, MOST_FRAMES, MOST_BYTES // 10**6
            ),
        )
    return WebSocketSession(**seen)


def _limited() -> Any:
    """A client's connection that is cut where the server sends more than the limits; `flooded` then says so."""
    from websockets.asyncio.client import ClientConnection

    class Limited(ClientConnection):
        flooded = False
        frames = size = 0

        def data_received(self, data: bytes) -> None:
            for at in range(0, len(data), _SLICE_BYTES):
                if not self.flooded:
                    super().data_received(data[at : at + _SLICE_BYTES])

        def process_event(self, event: Any) -> None:
            if self.response is not None:  # the first event is the answer to the handshake
                self.frames += 1
                self.size += len(event.data)
                if self.frames > MOST_FRAMES or self.size > MOST_BYTES:
                    self.flooded = True
                    self.transport.abort()
            super().process_event(event)

    return Limited


async def _talked(observer: Observer, session: Any, service: Service) -> dict[str, Any]:
    pongs = []
    for _ in range(_PINGS):
        begun = time.monotonic()
        try:
            async with observer.within(PONG_TIMEOUT_S):
                await (await session.ping(secrets.token_bytes(8)))
        except TimeoutError:
            break
        pongs.append(round(time.monotonic() - begun, 4))
    talk: dict[str, Any] = {"pings": _PINGS, "pongs_s": tuple(pongs)}
    if service.echo is not None:
        await session.send(service.echo.send)
        talk["sent"] = service.echo.send
        with suppress(TimeoutError):
            async with observer.within(ECHO_TIMEOUT_S):
                talk["reply"] = str(await session.recv())[:2000]
    elif service.talk:
        talk["talk"] = await _conversed(observer, session, service.talk)
    return talk


async def _conversed(observer: Observer, session: Any, steps: Sequence[Step]) -> Talk:
    """Sends and waits as the steps say. A frame that is not the expected one is passed over: a ping, an event."""
    from websockets.exceptions import ConnectionClosed

    frames, last = 0, ""
    for step in steps:
        try:
            if step.send:
                await session.send(await message(observer, step))
                continue
            async with observer.within(ECHO_TIMEOUT_S):
                while True:
                    frame = await session.recv()
                    last = (frame if isinstance(frame, str) else frame.decode(errors="replace"))[:2000]
                    frames += 1
                    if re.search(step.expect, last):
                        break
        except TimeoutError:
            return Talk(unmet=step.expect, frames=frames, last=last)
        except ConnectionClosed:
            unmet = next((s.expect for s in steps[steps.index(step) :] if s.expect), None)
            return Talk(unmet=unmet, frames=frames, last=last, close_code=session.close_code)
    return Talk(frames=frames, last=last)


async def _left_open(session: Any, seconds: float) -> dict[str, Any]:
    """Listens for this many seconds, or until the other side closes the session."""
    from websockets.exceptions import ConnectionClosed

    begun = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            while True:
                await session.recv()
    except TimeoutError:
        return {"open_s": seconds}
    except ConnectionClosed:
        return {"open_s": round(time.monotonic() - begun, 2), "close_code": session.close_code}


async def _kept_open(observer: Observer, session: Any) -> dict[str, Any]:
    """A server may upgrade and then close at once with 1008: wait a moment for that; longer where this side is late."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(0.5):
            await session.wait_closed()
    except TimeoutError:
        if not observer.lateness.spoils(0.5, begun):
            return {}
        await observer.lateness.calm()
        if session.close_code is None:
            return {}
    code = session.close_code
    return {"upgraded": False, "close_code": code, "error": phrase("closed at once with code {}", code)}


@probe(deadline=30, timed=True, libraries=["websockets.asyncio.client"])
async def frontend_websockets(observer: Observer, service: Service) -> tuple[WebSocketSession, ...]:
    """A handshake with each origin of the frontends that call the service, in the order of environments.toml."""
    origins = list(dict.fromkeys(f.origin_header for f in observer.environment.callers(service)))

    async def opened(_: Any) -> dict[str, Any]:
        return {}

    return tuple(
        await asyncio.gather(*[_session(observer, service, service.url, opened, origin=origin) for origin in origins])
    )
