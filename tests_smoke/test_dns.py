"""Host names, as the environment's resolvers answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gli.common.sentences import phrase, saw

if TYPE_CHECKING:
    from gli.observe.edge.dns import Addresses


def test_dns_host_resolves(addresses: Addresses) -> None:
    """Each public host has an address."""
    assert addresses.addresses, saw(addresses.error, expected=phrase("an address for {}", addresses.host))
