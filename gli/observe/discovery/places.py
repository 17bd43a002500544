"""The public addresses of an environment, from what its account shows and from what the user gives. Pure."""

from __future__ import annotations

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


class Place(Observation):
    """One public host, and what serves it."""

    url: str
    """As the user gave it, or `https://host` with a port that is not 443."""
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
    def origin(self) -> str:
        """Where HTTP is asked: the URL without a path, a socket's scheme as that of HTTP."""
        parts = urlsplit(self.url)
        return f"{parts.scheme.replace('ws', 'http')}://{parts.netloc}"


def places(account: Account | None, urls: Sequence[str]) -> tuple[Place, ...]:
    """Every host that leads to a service or a distribution of the account, then those that only the user names."""
    found = [*_of_services(account), *_of_sites(account)] if account else []
    found += _of_others(account, found) if account else []
    sockets = {urlsplit(url).hostname: url for url in urls if url.startswith("ws")}
    given = sockets | {urlsplit(url).hostname: url for url in urls if not url.startswith("ws")}
    beside = {host: url for host, url in sockets.items() if given[host] != url}
    known = {host for place in found for host in (place.host, *place.also)}
    found += [Place(url=url) for host, url in given.items() if host not in known]
    return tuple(
        place.model_copy(update={"url": given.get(place.host, place.url), "socket": beside.get(place.host, "")})
        for place in found
    )


def _of_services(account: Account) -> list[Place]:
    """The ECS services that a rule of a listener with HTTPS leads to."""
    found = []
    for service in account.services:
        hosts: dict[str, tuple[int, str]] = {}
        for leads in _leading(account):
            if {*leads.groups} & {*service.ecs.every_group}:
                hosts.setdefault(leads.host, (leads.port, leads.balancer))
        if hosts:
            first, *also = sorted(hosts, key=lambda host: (hosts[host][0] != _HTTPS, host))
            port, name = hosts[first]
            checked = [account.health_paths[g] for g in service.ecs.every_group if g in account.health_paths]
            found.append(
                Place(
                    url=_url(first, port),
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
                for host in _hosts(account, each.dns_name, rule.hosts):
                    yield Leading(host, listener.port, each.name, rule.groups)


def _url(host: str, port: int) -> str:
    return f"https://{host}" + (f":{port}" if port != _HTTPS else "")


def _hosts(account: Account, dns_name: str | None, patterns: tuple[str, ...] | None) -> list[str]:
    """The hosts of a rule; of a rule for any host, the names that point at the load balancer."""
    if patterns is None:
        return [host for host, end in account.names.items() if dns_name and end == normalised(dns_name)]
    return [pattern for pattern in patterns if not pattern.startswith("~") and not {*pattern} & {*"*?"}]


def _of_sites(account: Account) -> list[Place]:
    """The distributions, each under its first name that is no wildcard."""
    found = []
    for site in account.sites:
        first, *also = [alias for alias in site.aliases if "*" not in alias] or [site.domain_name]
        found.append(Place(url=f"https://{first}", site=site, also=tuple(also)))
    return found
