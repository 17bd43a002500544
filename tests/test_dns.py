"""Answers of resolvers for IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

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


def names_that_point_at_each_other() -> bytes:
    """60 kB, whose names are 250 signs long once they are read."""
    question = b"\x01a" * 126 + b"\0" + struct.pack(">HH", 1, 1)
    each = [bytes((2, 97 + n % 26, 97 + n // 26 % 26)) + b"\xc0\x10" for n in range(3_500)]
    records = [name + struct.pack(">HHIH", 5, 1, 60, 2) + b"\xc0\x0c" for name in each]
    return struct.pack(">HHHHHH", 1, 0x8180, 1, len(records), 0, 0) + question + b"".join(records)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([names_that_point_at_each_other()], "an answer of more than 8 kB"),
        ([b"\0\0" + bytes(10)] * 200, "more than 50 packets that are no answer"),
    ],
    ids=["a bomb", "a flood"],
)
def test_an_answer_without_an_end_is_named(answer: list[bytes], says: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            with suppress(OSError):
                while True:
                    asked_, who = server.recvfrom(65_535)
                    for packet in answer:
                        server.sendto(asked_[:2] + packet[2:] if len(answer) == 1 else packet, who)

        threading.Thread(target=serve, daemon=True).start()
        found = asyncio.run(asked([f"127.0.0.1:{server.getsockname()[1]}"], "a.example"))
    assert found.addresses == () and says in str(found.error)


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
