"""A DNS server over UDP and TCP, which answers from moto's Route 53."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.aws.account import Account

_TTL = 60
_ZONE_SECONDS = 0.3
"""How old the copy of the zones may be."""
_PATIENCE = 1.0
"""Seconds after which an older copy is better than none: clients give up on a resolver soon."""
_LOOPBACK = "127.0.0.1"


class NameServer:
    """Resolves every name in the zones to loopback, where the relays listen; any other name is NXDOMAIN."""

    def __init__(self, aws_endpoint: str, region: str) -> None:
        self._account = Account(aws_endpoint, region)
        self._names: Mapping[str, str] | None = None
        self.registered: dict[str, list[str]] = {}
        """Zone to the name servers that its registrar names, if they are others than the zone's own."""
        self._https: dict[str, list[str]] = {}
        """Name to the values of its HTTPS records."""
        self._servers: dict[str, list[str]] = {}
        """Zone to its name servers. Of several zones of one name the parent delegates to the first, the oldest."""
        self._read = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self, host: str = _LOOPBACK, port: int = 0) -> int:
        """Listen on UDP and TCP; returns the port, which is the same for both."""
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._over_tcp, host, port)
        port = int(self._tcp.sockets[0].getsockname()[1])
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(host, port))
        return port

    async def stop(self) -> None:
        """Close both."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
            await self._tcp.wait_closed()

    def over_udp(self, data: bytes, sender: Any, transport: asyncio.DatagramTransport) -> None:
        """Answer a datagram after asking moto."""

        async def answer() -> None:
            reply = await self._reply(data)
            if reply is not None:
                transport.sendto(reply, sender)

        task = asyncio.ensure_future(answer())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _over_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                reply = await self._reply(await reader.readexactly(length))
                if reply is None:
                    break
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        writer.close()

    async def _reply(self, data: bytes) -> bytes | None:
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        question = query.question[0] if query.question else None
        names = await self._known()
        if question is None:
            reply.set_rcode(dns.rcode.FORMERR)
        elif names is None:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif question.name.to_text().lower() not in names:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.NS and question.name.to_text().lower() in self._servers:
            name = question.name.to_text().lower()
            servers = self.registered.get(name) or self._servers[name]
            reply.answer.append(dns.rrset.from_text(question.name, _TTL, "IN", "NS", *servers))
        elif question.rdtype == dns.rdatatype.CNAME:
            if target := names[question.name.to_text().lower()]:
                reply.answer.append(dns.rrset.from_text(question.name, _TTL, "IN", "CNAME", target))
        elif question.rdtype == dns.rdatatype.HTTPS:
            values = self._https.get(question.name.to_text().lower(), [])
            if values:
                reply.answer.append(dns.rrset.from_text(question.name, _TTL, "IN", "HTTPS", *values))
        elif question.rdtype == dns.rdatatype.A:
            reply.answer.append(dns.rrset.from_text(question.name, _TTL, "IN", "A", _LOOPBACK))
        return reply.to_wire()

    async def _known(self) -> Mapping[str, str] | None:
        """The names that have records in Route 53 now, or had a moment ago; None if moto never answered.

        The value is the target of the name's CNAME; it is empty if the name has other records.
        """
        if self._reading is None and time.monotonic() - self._read > _ZONE_SECONDS:
            self._reading = asyncio.create_task(self._read_again())
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=None if self._names is None else _PATIENCE)
        return self._names

    async def _read_again(self) -> None:
        try:
            self._names = await asyncio.to_thread(self._read_names)
        except (BotoCoreError, ClientError):
            pass  # keep the last known names
        finally:
            self._read = time.monotonic()
            self._reading = None

    def _read_names(self) -> Mapping[str, str]:
        route53 = self._account("route53")
        names: dict[str, str] = {}
        servers: dict[str, list[str]] = {}
        https: dict[str, list[str]] = {}
        for zone in route53.list_hosted_zones()["HostedZones"]:
            for record in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]:
                if record["Type"] == "NS" and record["Name"] == zone["Name"]:
                    servers.setdefault(
                        record["Name"].lower(), [f"{v['Value'].rstrip('.')}." for v in record["ResourceRecords"]]
                    )
                    names.setdefault(record["Name"].lower(), "")
                if record["Type"] == "HTTPS":
                    https[record["Name"].lower()] = [v["Value"] for v in record.get("ResourceRecords") or []]
                if record["Type"] in ("A", "AAAA", "CNAME"):
                    values = record.get("ResourceRecords") or [{"Value": ""}]
                    target = str(values[0]["Value"]).rstrip(".") + "." if record["Type"] == "CNAME" else ""
                    names[record["Name"].lower()] = target
        self._servers, self._https = servers, https
        return names | dict.fromkeys(self._names_of_aws(), "")

    def _names_of_aws(self) -> Iterator[str]:
        """The names that AWS's own zones hold while the resource exists. It takes a deleted one's name back."""
        for balancer in self._account("elbv2").describe_load_balancers()["LoadBalancers"]:
            yield f"{balancer['DNSName']}.".lower()
        for page in self._account("cloudfront").get_paginator("list_distributions").paginate():
            for distribution in page["DistributionList"].get("Items", []):
                yield f"{distribution['DomainName']}.".lower()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._transport is not None:
            self._server.over_udp(data, addr, self._transport)
