"""Answers of resolvers for IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from gli.observe.edge.dns import asked

RECORDS = {
    "six.example.": ["AAAA 2001:db8::1"],
    "both.example.": ["A 192.0.2.1", "AAAA 2001:db8::1"],
    "no.example.": [],
    "four.example.": ["A 192.0.2.4", "AAAA refused"],
    "none.example.": ["A refused", "AAAA refused"],
    "hinted.example.": ["A 192.0.2.1", 'HTTPS 1 . alpn="h2" ipv4hint=192.0.2.1,192.0.2.9 ipv6hint=2001:db8::9'],
    "elsewhere.example.": ["A 192.0.2.1", "HTTPS 1 cdn.example. ipv4hint=192.0.2.9", "HTTPS 2 elsewhere.example."],
    "half.example.": ["A 192.0.2.4", "AAAA refused", "HTTPS 1 . ipv6hint=2001:db8::9"],
}


@pytest.fixture
def resolver() -> Iterator[str]:
    """A name server on loopback that knows RECORDS."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=[server])
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.sendto(b"", server.getsockname())
        thread.join()


def _serve(server: socket.socket) -> None:
    while True:
        data, sender = server.recvfrom(512)
        if not data:
            return
        query = dns.message.from_wire(data)
        reply, question = dns.message.make_response(query, recursion_available=True), query.question[0]
        for record in RECORDS[question.name.to_text()]:
            kind, value = record.split(maxsplit=1)
            if dns.rdatatype.from_text(kind) != question.rdtype:
                continue
            if value == "refused":
                reply.set_rcode(dns.rcode.REFUSED)
            else:
                reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, value))
        server.sendto(reply.to_wire(), sender)


def test_ipv4_and_ipv6_are_queried(resolver: str) -> None:
    assert asyncio.run(asked([resolver], "both.example")).addresses == ("192.0.2.1", "2001:db8::1")
    assert asyncio.run(asked([resolver], "six.example")).addresses == ("2001:db8::1",)


def test_a_name_without_an_address_is_reported(resolver: str) -> None:
    found = asyncio.run(asked([resolver], "no.example"))
    assert (found.addresses, found.error) == ((), "neither an A nor an AAAA record")


def test_a_server_that_refuses_one_kind_of_address_has_answered_with_the_other(resolver: str) -> None:
    found = asyncio.run(asked([resolver], "four.example"))
    assert (found.addresses, found.error) == (("192.0.2.4",), None)
    refused = asyncio.run(asked([resolver], "none.example"))
    assert refused.addresses == ()
    assert "REFUSED" in str(refused.error)


def test_the_addresses_that_an_https_record_names_for_its_own_host(resolver: str) -> None:
    """Those for another name are that name's. Where AAAA was refused, nobody can say which are strange."""
    found = {host: asyncio.run(asked([resolver], f"{host}.example")).hints for host in ("hinted", "elsewhere", "half")}
    assert found == {"hinted": ("192.0.2.1", "192.0.2.9", "2001:db8::9"), "elsewhere": (), "half": ()}
