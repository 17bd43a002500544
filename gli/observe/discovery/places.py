"""The public addresses of an environment, from what its account shows and from what the user gives. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from gli.observe.aws.route53 import normalised
from gli.observe.discovery.account import Account, Deployed, Site
from gli.observe.engine.observation import Observation

_HTTPS = 443


class Leading(NamedTuple):
    """A host of one rule of a load balancer."""

    host: str
    port: int
    balancer: str
    groups: tuple[str, ...]
    prefix: str
    """What its paths begin with (`/orders`); empty for any path."""


class Place(Observation):
    """One public host, or a part of it below a path, and what serves it."""

    url: str
    """As the user gave it, or `https://host` with a port that is not 443."""
    prefix: str = ""
    """The path that it lies below, where several services or pages share the host."""
    socket: str = ""
    """The address of its WebSocket, where the user gave one beside another URL of the host."""
    service: Deployed | None = None
    site: Site | None = None
    health_path: str | None = None
    """The path of the load balancer's health check."""
    balancer: str | None = None
    also: tuple[str, ...] = ()
    """The other hosts of the same service or distribution."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def key(self) -> str:
        """Host and prefix: no other place has both."""
        return f"{self.host}{self.prefix}"

    @property
    def origin(self) -> str:
        """Where HTTP is asked: the URL without a path, a socket's scheme as that of HTTP."""
        parts = urlsplit(self.url)
        return f"{parts.scheme.replace('ws', 'http')}://{parts.netloc}"


def places(account: Account | None, urls: Sequence[str]) -> tuple[Place, ...]:
    """Every host that leads to a service or a distribution of the account, then those that only the user names."""
    found = _below_paths([*_of_services(account), *_of_sites(account)] if account else [])
    found += _of_others(account, found) if account else []
    shared = {place.host for place in found if place.prefix}
    sockets = {urlsplit(url).hostname: url for url in urls if url.startswith("ws")}
    pages = sorted((url for url in urls if not url.startswith("ws")), key=lambda url: -len(url))
    first = {urlsplit(url).hostname: url for url in pages}
    given = {host: url for host, url in (sockets | first).items() if host not in shared}
    beside = {host: url for host, url in sockets.items() if given.get(host) != url}
    known = {host for place in found for host in (place.host, *place.also)}
    found += [Place(url=url) for host, url in given.items() if host not in known]
    found = [place.model_copy(update={"url": given.get(place.host, place.url)}) for place in found]
    own = {place.key for place in found} | {urlsplit(url).hostname or "" for url in given.values()}
    more = (Place(url=url.rstrip("/"), prefix=urlsplit(url).path.rstrip("/")) for url in reversed(pages))
    found += [place for place in more if place.key not in own]
    heads = {place.host: place for place in reversed(found)}
    return tuple(
        place.model_copy(update={"socket": beside.get(place.host, "")}) if heads[place.host] is place else place
        for place in found
    )


def _below_paths(found: Sequence[Place]) -> list[Place]:
    """The places, each below its path where several share a host; without its path where it has the host alone."""
    hosts = [place.host for place in found]
    alone = [place for place in found if hosts.count(place.host) == 1]
    return [place.model_copy(update={"prefix": ""} if place in alone else {"url": _below(place)}) for place in found]


def _below(place: Place) -> str:
    """The URL of a place below its prefix: a page of CloudFront is asked with a slash, as its behaviour's paths are."""
    return f"{place.url}{place.prefix}" + ("/" if place.site and place.prefix else "")


def _of_services(account: Account) -> list[Place]:
    """The ECS services that a rule of a listener with HTTPS leads to."""
    found = []
    for service in account.services:
        hosts: dict[str, tuple[int, str, str]] = {}
        for leads in _leading(account):
            if {*leads.groups} & {*service.ecs.every_group}:
                hosts.setdefault(leads.host, (leads.port, leads.balancer, leads.prefix))
        if hosts:
            first, *also = sorted(hosts, key=lambda host: (hosts[host][0] != _HTTPS, host))
            port, name, prefix = hosts[first]
            checked = [account.health_paths[g] for g in service.ecs.every_group if g in account.health_paths]
            found.append(
                Place(
                    url=_url(first, port),
                    prefix=prefix,
                    service=service,
                    health_path=next(iter(checked), None),
                    balancer=name,
                    also=tuple(also),
                )
            )
    return found


def _of_others(account: Account, found: Sequence[Place]) -> list[Place]:
    """The hosts of rules that lead to no ECS service: to instances, or to addresses."""
    known = {host for place in found for host in (place.host, *place.also)}
    others: dict[str, Place] = {}
    for leads in _leading(account):
        host, port = leads.host, leads.port
        if leads.groups and host not in known and (host not in others or port == _HTTPS):
            path = next((account.health_paths[g] for g in leads.groups if g in account.health_paths), None)
            others[host] = Place(url=_url(host, port), health_path=path, balancer=leads.balancer)
    return [others[host] for host in sorted(others)]


def _leading(account: Account) -> Iterator[Leading]:
    """Every host of every rule, with the target groups that it leads to."""
    for each in account.balancers:
        for listener in each.listeners:
            for rule in listener.rules:
                prefix = _prefix(rule.paths)
                fronted = _in_front(account, each.dns_name, prefix) if rule.hosts is None else []
                for host in fronted or _hosts(account, each.dns_name, rule.hosts):
                    yield Leading(host, listener.port, each.name, rule.groups, prefix)


def _in_front(account: Account, dns_name: str | None, prefix: str) -> list[str]:
    """The names of a distribution that passes the paths of a prefix to this load balancer."""
    ends = {site: account.names.get(normalised(site.origin), normalised(site.origin)) for site in account.sites}
    passing = [
        site for site, end in ends.items() if prefix and site.prefix == prefix and end == normalised(dns_name or "")
    ]
    return [alias for site in passing for alias in site.aliases if "*" not in alias]


def _prefix(patterns: tuple[str, ...] | None) -> str:
    """What the paths of a rule begin with: `/orders` for `/orders/*`. Empty for patterns that begin in several ways."""
    begins = {re.split(r"[*?]", pattern)[0].rstrip("/") for pattern in patterns or () if not pattern.startswith("~")}
    return begins.pop() if len(begins) == 1 else ""


def _url(host: str, port: int) -> str:
    return f"https://{host}" + (f":{port}" if port != _HTTPS else "")


def _hosts(account: Account, dns_name: str | None, patterns: tuple[str, ...] | None) -> list[str]:
    """The hosts of a rule; of a rule for any host, the names that point at the load balancer."""
    if patterns is None:
        return [host for host, end in account.names.items() if dns_name and end == normalised(dns_name)]
    return [pattern for pattern in patterns if not pattern.startswith("~") and not {*pattern} & {*"*?"}]


def _of_sites(account: Account) -> list[Place]:
    """The distributions, each under its first name that is no wildcard, and the buckets below one of their paths."""
    found = []
    for site in account.sites:
        first, *also = [alias for alias in site.aliases if "*" not in alias] or [site.domain_name]
        if site.bucket or not site.prefix:
            found.append(Place(url=f"https://{first}", prefix=site.prefix, site=site, also=tuple(also)))
    return found
