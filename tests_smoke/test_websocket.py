"""WebSocket sessions as the frontends open them."""

from gli.environments import Service
from gli.observe.websocket import PONG_TIMEOUT_S, WebSocketSession
from gli.saying import saw


def test_ws_handshake(websocket_session: WebSocketSession) -> None:
    """A handshake with a frontend's origin is upgraded."""
    assert websocket_session.upgraded, saw(
        websocket_session.error, expected=f"101 from {websocket_session.url} for the origin {websocket_session.origin}"
    )


def test_ws_ping_pong(websocket_session: WebSocketSession) -> None:
    """Control frames make the round trip: each ping has its pong within a second."""
    seen = (
        f"{len(websocket_session.pongs_s)} of {websocket_session.pings or 3} ({websocket_session.error or 'silence'})"
    )
    assert websocket_session.pings and len(websocket_session.pongs_s) == websocket_session.pings, saw(
        seen, expected=f"a pong for each ping within {PONG_TIMEOUT_S:g} s"
    )


def test_ws_app_echo(websocket_session: WebSocketSession, target: Service) -> None:
    """The application behind the socket answers its own protocol, not just the handshake."""
    assert target.echo is not None
    assert websocket_session.reply == target.echo.expect, saw(
        websocket_session.reply or websocket_session.error or "silence",
        expected=f"{target.echo.expect} to {target.echo.send}",
    )


def test_ws_origin_policy(foreign_websocket: WebSocketSession) -> None:
    """A page of another site can't open a socket with a user's cookies (cross-site WebSocket hijacking)."""
    assert not foreign_websocket.upgraded, saw("an open socket", expected=f"{foreign_websocket.origin} to be refused")
    assert foreign_websocket.status in (None, 400, 401, 403, 404), saw(
        foreign_websocket.error, expected=f"{foreign_websocket.origin} to be refused with 403"
    )
