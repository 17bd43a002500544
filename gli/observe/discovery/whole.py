"""Everything that was seen of one environment: what its tables are described from."""

from __future__ import annotations

from collections.abc import Mapping

from gli.observe.discovery.account import Account
from gli.observe.discovery.places import Place
from gli.observe.discovery.web import Seen
from gli.observe.engine.observation import Observation
from gli.observe.release.git_refs import Heads


class Whole(Observation):
    """Everything that was seen of one environment."""

    account: Account | None = None
    region: str = ""
    places: tuple[Place, ...] = ()
    seen: Mapping[str, Seen] = {}
    """`Place.key` to what the host answered there."""
    sockets: Mapping[str, str] = {}
    """Host to the path that accepted a WebSocket handshake."""
    heads: tuple[Heads, ...] = ()
    remote: str = ""
    named: Mapping[str, str] = {}
    """Host, and URL, to the name that the user gave its service, or its frontend where it has no service."""
    pages: Mapping[str, str] = {}
    """Host to the name that the user gave its frontend."""
