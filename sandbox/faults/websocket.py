"""Faults of the WebSocket server."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import rewritten_overlay
from sandbox.overlay import IDLE_HOLD_S


@fault("websocket-unavailable", turns_red=["ws-handshake"])
def websocket_unavailable(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server answers every upgrade with 503."""
    sandbox.websocket.unavailable = True
    yield
    sandbox.websocket.unavailable = False


@fault("websocket-without-pongs", turns_red=["ws-ping-pong"])
def websocket_without_pongs(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server never answers a ping frame."""
    sandbox.websocket.no_pong = True
    yield
    sandbox.websocket.no_pong = False


@fault("websocket-mute", turns_red=["ws-app-echo"])
def websocket_mute(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server accepts the upgrade but never answers a message."""
    sandbox.websocket.mute = True
    yield
    sandbox.websocket.mute = False


@fault("websocket-open-to-anybody", turns_red=["ws-auth-enforced"])
def websocket_open_to_anybody(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server's protected path accepts clients without a token."""
    sandbox.websocket.open_to_anybody = True
    yield
    sandbox.websocket.open_to_anybody = False


@fault("websocket-without-subprotocol", turns_red=["ws-subprotocol"])
def websocket_without_subprotocol(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server accepts none of the subprotocols that the frontends offer."""
    sandbox.websocket.no_subprotocol = True
    yield
    sandbox.websocket.no_subprotocol = False


@fault("websocket-idle-cut", turns_red=["ws-idle-survives"])
def websocket_idle_cut(sandbox: Sandbox) -> Iterator[None]:
    """An idle WebSocket session is cut off, as by a load balancer with a short idle timeout."""
    hold = f'"idle_hold_s" = {IDLE_HOLD_S}'
    sandbox.websocket.patience_s = 2.5  # on a busy machine, the first message of an active session takes a while
    with rewritten_overlay(sandbox, hold, '"idle_hold_s" = 3.0'):
        yield
    sandbox.websocket.patience_s = None


@fault("websocket-any-origin", turns_red=["ws-origin-policy"])
def websocket_any_origin(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server accepts pages of any site."""
    sandbox.websocket.any_origin = True
    yield
    sandbox.websocket.any_origin = False


@fault("websocket-forgets-the-admin", turns_red=["ws-own-origins"])
def websocket_forgets_the_admin(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server refuses the admin frontend's origin."""
    sandbox.websocket.forgotten = sandbox.environment.frontends["admin"].url
    yield
    sandbox.websocket.forgotten = None
