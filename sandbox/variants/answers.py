"""Other answers of the services that mean the same to their clients."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import answering


@variant(
    "answers-in-another-spelling",
    tries=[
        "api-endpoints-contract",
        "cors-foreign-denied",
        "cors-preflight-allowed",
        "http-hsts",
        "http-private-not-cached",
        "ws-auth-enforced",
    ],
)
def answers_in_another_spelling(sandbox: Sandbox) -> Iterator[None]:
    """The API says the same in other words: longer HSTS, a list of referrer policies, stricter cookies, preflights with
    204 and without spaces. The WebSocket server refuses who brings no token before it upgrades."""
    sandbox.websocket.refuses_early = True
    with answering(sandbox, "answers-in-another-spelling"):
        yield
    sandbox.websocket.refuses_early = False
