"""Resolves host names with the environment's resolvers, or with this machine's own.

Source of truth: RFC 1035.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gli.common.sentences import Said, phrase
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

if TYPE_CHECKING:
    import dns.asyncresolver
    import dns.resolver

_TIMEOUT_S = 3.0
_HINTS_S = 1.0
_LONGEST_CHAIN = 5


class Addresses(Observation):
    """The addresses of a host, sorted, or why there are none."""

    host: str
    addresses: tuple[str, ...] = ()
    error: Said | None = None
    hints: tuple[str, ...] = ()
    """The addresses that its HTTPS record names (RFC 9460, `ipv4hint`): browsers connect to them at once."""


@probe(deadline=8, timed=True, libraries=["dns.asyncresolver"])
async def addresses(observer: Observer, host: str) -> Addresses:
    """The host's A, AAAA and HTTPS records."""
    with observer.phase("resolve"):
        try:
            if observer.environment.dns.resolvers:
                observer.count("dns", 3)
                return await asked(observer.environment.dns.resolvers, host)
            observer.count("dns", 2)
            async with asyncio.timeout(_TIMEOUT_S):
                looked_up = asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
                found, hints = await asyncio.gather(looked_up, _hints((), host))
        except TimeoutError as e:
            observer.over(_TIMEOUT_S)
            return Addresses(host=host, error=str(e) or phrase("no answer within {:g} s", _TIMEOUT_S))
        except socket.gaierror as e:
            return Addresses(host=host, error=e.strerror or str(e))
    return Addresses(host=host, addresses=tuple(sorted({str(entry[4][0]) for entry in found})), hints=hints)


async def _hints(resolvers: Iterable[str], host: str) -> tuple[str, ...]:
    """The addresses that the host's HTTPS records name for the host itself. None without an answer: a browser whose
    resolver has no HTTPS record goes by the others. An address has no records.
    """
    import dns.exception
    import dns.inet
    import dns.name
    import dns.rdtypes.svcbbase

    if dns.inet.is_address(host):
        return ()
    try:
        answer = await _told(_resolver(resolvers), host, "HTTPS", lifetime=_HINTS_S)
    except dns.exception.DNSException:
        return ()
    own = {dns.name.root, dns.name.from_text(host)}
    named = [hints for r in answer if r.target in own for hints in r.params.values()]
    kinds = (dns.rdtypes.svcbbase.IPv4HintParam, dns.rdtypes.svcbbase.IPv6HintParam)
    return tuple(sorted({address for hints in named if isinstance(hints, kinds) for address in hints.addresses}))


async def chain(observer: Observer, host: str) -> tuple[str, ...]:
    """The chain of names that the host's CNAME records lead to, in order. Raises `Unobserved` without an answer."""
    found: list[str] = []
    with observer.phase("resolve"):
        while len(found) < _LONGEST_CHAIN:
            answer = await _records(observer, [host, *found][-1], "CNAME")
            names = [str(record.target).rstrip(".").lower() for record in answer or ()]
            if not names:
                break
            found.append(names[0])
    return tuple(found)


async def answers(observer: Observer, name: str, kind: str) -> tuple[str, ...]:
    """The values of a name's records of one kind, lower case and without the last dot; empty if it has none.

    Raises `Unobserved` without an answer.
    """
    found = await _records(observer, name, kind)
    return tuple(sorted(record.to_text().rstrip(".").lower() for record in found or ()))


async def exists(observer: Observer, name: str) -> bool:
    """Whether a name exists in DNS, with records of whatever kind. Raises `Unobserved` without an answer."""
    return await _records(observer, name, "A") is not None


async def _records(observer: Observer, name: str, kind: str) -> dns.resolver.Answer | None:
    """The name's records of one kind; None if there is no such name. Raises `Unobserved` without an answer."""
    import dns.exception
    import dns.resolver

    observer.count("dns")
    resolver = _resolver(observer.environment.dns.resolvers)
    try:
        return await _told(resolver, name, kind)
    except dns.resolver.NXDOMAIN:
        return None
    except dns.exception.DNSException as e:
        if isinstance(e, dns.exception.Timeout):
            observer.over(_TIMEOUT_S)
        raise unknown(
            "unreachable", phrase("nobody tells where {} leads: {}", name, " ".join(str(e).split()))
        ) from None


async def asked(resolvers: Iterable[str], host: str) -> Addresses:
    """The host's addresses, by these resolvers; raises `TimeoutError` if none of them answers in time."""
    import dns.exception

    resolver = _resolver(resolvers)
    try:
        asking = [_told(resolver, host, kind) for kind in ("A", "AAAA")]
        hints, answers = await asyncio.gather(_hints(resolvers, host), asyncio.gather(*asking, return_exceptions=True))
        failures = [a for a in answers if isinstance(a, BaseException)]
        records = [record.to_text() for a in answers if not isinstance(a, BaseException) for record in a]
        if failures and not records:  # some servers refuse AAAA and answer A
            raise failures[0]
    except dns.exception.Timeout as e:
        raise TimeoutError(" ".join(str(e).split())) from None
    except dns.exception.DNSException as e:
        return Addresses(host=host, error=" ".join(str(e).split()))
    found = tuple(sorted(records))
    error = None if found else phrase("neither an A nor an AAAA record")
    # without all of its addresses, nobody can say that a hint is none of them
    return Addresses(host=host, addresses=found, error=error, hints=() if failures else hints)


async def _told(
    resolver: dns.asyncresolver.Resolver, name: str, kind: str, *, lifetime: float | None = None
) -> dns.resolver.Answer:
    """The records of one kind. Raises dnspython's exceptions, also for an answer without an end."""
    from gli.observe.edge.dns_limits import Bounded

    return await resolver.resolve(
        name, kind, search=False, raise_on_no_answer=False, lifetime=lifetime, backend=Bounded()
    )


def _resolver(resolvers: Iterable[str]) -> dns.asyncresolver.Resolver:
    """A resolver that asks these servers; without any, this machine's own."""
    import dns.asyncresolver
    import dns.nameserver

    servers = [_split(r) for r in resolvers]
    resolver = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in servers]
    resolver.lifetime = _TIMEOUT_S
    return resolver


def _split(resolver: str) -> tuple[str, int]:
    address, colon, port = resolver.rpartition(":")
    return (address, int(port)) if colon and port.isdigit() else (resolver, 53)
