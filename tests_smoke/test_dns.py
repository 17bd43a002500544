"""Names, as the environment's resolvers answer them."""

from gli.observe.dns import Addresses
from gli.saying import saw


def test_dns_host_resolves(addresses: Addresses) -> None:
    """Each public host has an address."""
    assert addresses.addresses, saw(addresses.error, expected=f"an address for {addresses.host}")
