"""WebSocket sessions as the frontends open them."""

from gli.common.sentences import listed, saw
from gli.config.environments import Service
from gli.observe.edge.websocket import PONG_TIMEOUT_S, WebSocketSession

_UNAUTHORIZED = (1008, 3000, 3003, 4401, 4403)  # policy violation; unauthorized and forbidden, by IANA and by custom


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


def test_ws_subprotocol(websocket_session: WebSocketSession, target: Service) -> None:
    """The server takes one of the subprotocols that the frontends offer."""
    offered = target.subprotocols
    assert websocket_session.subprotocol in offered, saw(
        websocket_session.subprotocol or websocket_session.error or "none taken",
        expected=f"{listed(offered)} taken by {websocket_session.url}",
    )


def test_ws_auth_enforced(anonymous_websocket: WebSocketSession) -> None:
    """Without a token there is no session: the handshake is refused, or the session closed at once."""
    refused = anonymous_websocket.status in (401, 403) or anonymous_websocket.close_code in _UNAUTHORIZED
    code = anonymous_websocket.close_code
    ended = f"closed with {code}" if code else "an open session"
    assert refused, saw(
        anonymous_websocket.error or ended, expected=f"{anonymous_websocket.url} to refuse who brings no token"
    )


def test_ws_idle_survives(quiet_websocket: WebSocketSession, target: Service) -> None:
    """A session on which nobody speaks outlives the load balancer's idle timeout: the server's pings keep it open."""
    held, code = quiet_websocket.open_s, quiet_websocket.close_code
    assert held is not None and code is None, saw(
        quiet_websocket.error or f"closed with {code} after {held:g} s",
        expected=f"{quiet_websocket.url} to stay open for {target.idle_hold_s:g} s of silence",
    )


def test_ws_origin_policy(foreign_websocket: WebSocketSession) -> None:
    """A page of another site can't open a socket with a user's cookies (cross-site WebSocket hijacking)."""
    assert not foreign_websocket.upgraded, saw("an open socket", expected=f"{foreign_websocket.origin} to be refused")
    refused = foreign_websocket.status in (400, 401, 403, 404) or foreign_websocket.close_code is not None
    assert refused, saw(foreign_websocket.error, expected=f"{foreign_websocket.origin} to be refused with 403")
