"""Host names, as the environment's resolvers answer."""

from gli.common.sentences import phrase, saw
from gli.observe.edge.dns import Addresses


def test_dns_host_resolves(addresses: Addresses) -> None:
    """Each public host has an address."""
    assert addresses.addresses, saw(addresses.error, expected=phrase("an address for {}", addresses.host))
