"""WebSocket sessions as the frontends open them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.edge.websocket import PONG_TIMEOUT_S, WebSocketSession

if TYPE_CHECKING:
    from gli.config.services import Service

_UNAUTHORIZED = (1008, 3000, 3003, 4401, 4403)  # policy violation; unauthorized, forbidden: by IANA, by custom


def test_ws_handshake(websocket_session: WebSocketSession) -> None:
    """A handshake with a frontend's origin is upgraded."""
    assert websocket_session.upgraded, saw(
        websocket_session.error,
        expected=phrase("101 from {} for the origin {}", websocket_session.url, websocket_session.origin),
    )


def test_ws_ping_pong(websocket_session: WebSocketSession) -> None:
    """Control frames make the round trip: each ping is answered by a pong within a second."""
    seen = phrase(
        "{} of {} ({})",
        len(websocket_session.pongs_s),
        websocket_session.pings or 3,
        websocket_session.error or phrase("silence"),
    )
    assert websocket_session.pings and len(websocket_session.pongs_s) == websocket_session.pings, saw(
        seen, expected=phrase("a pong for each ping within {:g} s", PONG_TIMEOUT_S)
    )


def test_ws_app_echo(websocket_session: WebSocketSession, target: Service) -> None:
    """The application behind the socket answers its own protocol, not just the handshake."""
    if target.echo is None:
        talk, seen = websocket_session.talk, websocket_session.error or phrase("silence")
        if talk is not None:
            seen = phrase("{} frames, the last: {}", talk.frames, talk.last or phrase("silence"))
        if talk is not None and talk.close_code is not None:
            seen = phrase("{}, then closed with code {}", seen, talk.close_code)
        assert talk is not None and talk.unmet is None, saw(
            seen,
            expected=phrase("a frame like {}", talk.unmet if talk else next(s.expect for s in target.talk if s.expect)),
        )
        return
    assert websocket_session.reply == target.echo.expect, saw(
        websocket_session.reply or websocket_session.error or phrase("silence"),
        expected=phrase("{} in reply to {}", target.echo.expect, target.echo.send),
    )


def test_ws_subprotocol(websocket_session: WebSocketSession, target: Service) -> None:
    """The server takes one of the subprotocols that the frontends offer."""
    offered = target.subprotocols
    assert websocket_session.subprotocol in offered, saw(
        websocket_session.subprotocol or websocket_session.error or phrase("none taken"),
        expected=phrase("{} taken by {}", listed(offered), websocket_session.url),
    )


def test_ws_auth_enforced(anonymous_websocket: WebSocketSession) -> None:
    """Without a token there is no session: the handshake is refused, or the session closed at once."""
    refused = anonymous_websocket.status in (401, 403) or anonymous_websocket.close_code in _UNAUTHORIZED
    code = anonymous_websocket.close_code
    ended = phrase("closed with {}", code) if code else phrase("an open session")
    assert refused, saw(
        anonymous_websocket.error or ended, expected=phrase("{} to refuse who brings no token", anonymous_websocket.url)
    )


def test_ws_idle_survives(quiet_websocket: WebSocketSession, target: Service) -> None:
    """A silent session outlives the load balancer's idle timeout: the server's pings keep it open."""
    held, code = quiet_websocket.open_s, quiet_websocket.close_code
    assert held is not None and code is None, saw(
        quiet_websocket.error or phrase("closed with {} after {:g} s", code, held),
        expected=phrase("{} to stay open for {:g} s of silence", quiet_websocket.url, target.idle_hold_s),
    )


def test_ws_origin_policy(foreign_websocket: WebSocketSession) -> None:
    """A page of another site can't open a socket with a user's cookies (cross-site WebSocket hijacking)."""
    assert not foreign_websocket.upgraded, saw(
        phrase("an open socket"), expected=phrase("{} to be refused", foreign_websocket.origin)
    )
    refused = foreign_websocket.status in (400, 401, 403, 404) or foreign_websocket.close_code is not None
    assert refused, saw(foreign_websocket.error, expected=phrase("{} to be refused with 403", foreign_websocket.origin))


def test_ws_own_origins(frontend_websockets: Sequence[WebSocketSession]) -> None:
    """A page of each frontend may open a socket: a server can know one origin and have forgotten another."""
    refused = [phrase("{}: {}", s.origin, s.error) for s in frontend_websockets if not s.upgraded]
    assert not refused, saw(listed(refused), expected=phrase("a handshake for the origin of each frontend"))
