"""Host names, as the environment's resolvers answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw

if TYPE_CHECKING:
    from gli.observe.edge.dns import Addresses


def test_dns_host_resolves(addresses: Addresses) -> None:
    """Each public host has an address, and an HTTPS record sends browsers to no other."""
    assert addresses.addresses, saw(addresses.error, expected=phrase("an address for {}", addresses.host))
    strange = [hint for hint in addresses.hints if hint not in addresses.addresses]
    assert not strange, saw(
        phrase("an HTTPS record with {}", listed(strange)),
        expected=phrase("hints of {} to be among its addresses: {}", addresses.host, listed(addresses.addresses)),
    )
