"""Route 53 records, and the names that they should point at.

Source of truth: route53 ListHostedZonesByName and ListResourceRecordSets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from gli.common.sentences import listed, phrase
from gli.observe.aws.cloudfront import distributions, serving
from gli.observe.aws.load_balancer import balancer
from gli.observe.edge.dns import answers, exists
from gli.observe.edge.http import fetch
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

_MOST_ZONES = "100"  # zones of one name: one public, and one private for each network


class Zone(Observation):
    """A hosted zone. All names are normalised: lower case, without a trailing dot and without `dualstack.`."""

    name: str
    aliases: dict[str, tuple[str, ...]]
    """Name to every DNS name that its alias records (A, AAAA and HTTPS, weighted or not) point at."""
    values: dict[str, tuple[str, ...]]
    """Name to every value of its other A, AAAA and CNAME records, and to the targets of its HTTPS records."""
    authorities: Mapping[str, tuple[str, ...]] = {}
    """Name to the values of its CAA records: which authorities may issue certificates (RFC 8659)."""
    servers: tuple[str, ...] = ()
    """The name servers that Route 53 gave the zone."""
    delegated: Mapping[str, tuple[str, ...]] = {}
    """Name below the zone's own to the servers that answer for it and everything below it: its NS records."""
    somewhere: tuple[str, ...] = ()
    """The names that have records for some places alone (by country or address), and none for all others; sorted."""
    private_twin: bool = False
    """Whether a private zone has the same name, and answers inside its networks."""

    def authorities_of(self, name: str) -> tuple[str, ...]:
        """The CAA records that count for a name: those of the closest name above it that has any (RFC 8659, 3)."""
        while name not in self.authorities and "." in name and name != self.name:
            name = name.partition(".")[2]
        return self.authorities.get(name, ())

    def targets(self, name: str) -> tuple[str, ...]:
        """Every target that a resolver may reach: follows the records of the name through all names in this zone."""
        found: dict[str, None] = {}
        self._follow(name, found, set())
        return tuple(sorted(found))

    def _follow(self, name: str, found: dict[str, None], seen: set[str]) -> None:
        owner = self._owner(name)
        seen.add(owner)
        for target in (*self.aliases.get(owner, ()), *self.values.get(owner, ())):
            if self._knows(target) and self._owner(target) not in seen:
                self._follow(target, found, seen)
            else:
                found[target] = None

    def _knows(self, name: str) -> bool:
        return self._owner(name) in self.aliases or self._owner(name) in self.values

    def _owner(self, name: str) -> str:
        """The record name that answers for a name: the name itself, or the closest wildcard above it (RFC 4592)."""
        candidate, rest = name, name
        while candidate not in self.aliases and candidate not in self.values and "." in rest:
            rest = rest.partition(".")[2]
            candidate = f"*.{rest}"
        return candidate if candidate in self.aliases or candidate in self.values else name


def normalised(name: str) -> str:
    """A DNS name in the form in which names are compared."""
    return name.lower().rstrip(".").removeprefix("dualstack.").replace("\\052", "*")


@probe(deadline=30)
async def zone(observer: Observer) -> Zone:
    """The environment's hosted zone. If private zones have the same name, the public one."""
    wanted = observer.environment.dns.zone
    assert wanted is not None, "asked only of environments with a zone"
    answer = await observer.aws.call(
        observer, "route53", "list_hosted_zones_by_name", DNSName=wanted, MaxItems=_MOST_ZONES
    )
    named = [z for z in answer["HostedZones"] if normalised(z["Name"]) == normalised(wanted)]
    if answer.get("IsTruncated") and len(named) == len(answer["HostedZones"]) > 0:
        raise unknown("too-little-data", phrase("Route 53 has more zones {} than one answer holds", wanted))
    public = [z["Id"] for z in named if not (z.get("Config") or {}).get("PrivateZone")]
    if not named:
        where = observer.aws.elsewhere("dns")
        raise unknown("not-found", phrase("Route 53 has no hosted zone {} in this account ({})", wanted, where))
    ids = public or [z["Id"] for z in named]
    if len(ids) > 1:
        raise unknown(
            "error", phrase("Route 53 has several hosted zones {}, and one of them answers: {}", wanted, listed(ids))
        )
    found = await _records(observer, ids[0])
    records = _answering([r for r in found if r["Type"] in ("A", "AAAA", "CNAME", "HTTPS")])
    return Zone(
        name=wanted,
        authorities=_authorities(found),
        servers=_servers(found, wanted),
        delegated={n: s for n, s in _name_servers(found).items() if n != normalised(wanted)},
        somewhere=_somewhere(records),
        private_twin=len(named) > len(public) > 0,
        aliases=_by_name((r["Name"], r["AliasTarget"]["DNSName"]) for r in records if "AliasTarget" in r),
        values=_by_name((r["Name"], value) for r in records for value in _values(r)),
    )


def _values(record: dict[str, Any]) -> list[str]:
    """Where a record leads. `1 . alpn="h2"`, an HTTPS record (RFC 9460), leads to its own name: nowhere else."""
    values = [str(each["Value"]) for each in record.get("ResourceRecords") or []]
    if record["Type"] != "HTTPS":
        return values
    targets = [value.split()[1] for value in values]
    return [t for t in targets if t != "." and normalised(t) != normalised(record["Name"])]


async def _records(observer: Observer, zone_id: str) -> list[dict[str, Any]]:
    answer = await observer.aws.call(observer, "route53", "list_resource_record_sets", HostedZoneId=zone_id)
    return list(answer["ResourceRecordSets"])


def _answering(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without records that answer only where others do not: of weight 0 beside greater ones, and secondary ones beside
    a primary."""
    usual = {(r["Name"], r["Type"]) for r in records if r.get("Weight", 0) > 0 or r.get("Failover") == "PRIMARY"}
    spare = [r for r in records if r.get("Weight") == 0 or r.get("Failover") == "SECONDARY"]
    return [r for r in records if r not in spare or (r["Name"], r["Type"]) not in usual]


_ANYWHERE = "*"


def _somewhere(records: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Route 53 answers nothing to a resolver in a place that no record names, unless one record is for all others."""
    places: dict[tuple[str, str], set[str]] = {}
    for r in records:
        by_country, by_address = r.get("GeoLocation"), r.get("CidrRoutingConfig")
        if by_country or by_address:
            place = by_address["LocationName"] if by_address else str((by_country or {}).get("CountryCode"))
            places.setdefault((normalised(r["Name"]), r["Type"]), set()).add(place)
    return tuple(sorted({name for (name, _), named in places.items() if _ANYWHERE not in named}))


def _authorities(records: Iterable[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """See `Zone.authorities`. An alias record has the values of another one in the zone."""
    caa = {normalised(r["Name"]): r for r in records if r["Type"] == "CAA"}
    found = {name: tuple(sorted(v["Value"] for v in r.get("ResourceRecords") or [])) for name, r in caa.items()}
    for name in caa:
        of, left = name, len(caa)
        while left and (alias := caa.get(of, {}).get("AliasTarget")):
            of, left = normalised(alias["DNSName"]), left - 1
        found[name] = found.get(of, ())
    return {name: values for name, values in found.items() if values}


def _servers(records: Iterable[dict[str, Any]], zone_name: str) -> tuple[str, ...]:
    return _name_servers(records).get(normalised(zone_name), ())


def _name_servers(records: Iterable[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Name to the values of its NS records."""
    return _by_name((r["Name"], v["Value"]) for r in records if r["Type"] == "NS" for v in r["ResourceRecords"])


@probe()
async def name_servers(observer: Observer) -> frozenset[str]:
    """The name servers that answer for the zone, as a resolver finds them from the parent zone. Empty: none."""
    wanted = observer.environment.dns.zone
    assert wanted is not None, "asked only of environments with a zone"
    return frozenset(await answers(observer, wanted, "NS"))


_CLAIMABLE = re.compile(
    r"\.elb\.(?:[\w-]+\.)?amazonaws\.com|\.[\w-]+\.elb\.amazonaws\.com|\.cloudfront\.net|\.elasticbeanstalk\.com"
    r"|\.s3-website[.-][\w-]+\.amazonaws\.com|\.execute-api\.[\w-]+\.amazonaws\.com|\.awsapprunner\.com"
    r"|\.(?:azurewebsites|azureedge|azurefd|azure-api|trafficmanager|cloudapp)\.net|\.cloudapp\.azure\.com"
    r"|\.(?:blob|web)\.core\.windows\.net"
)
"""The names that AWS and Azure give to what stands in front of users, and take back from what is gone."""


@probe(deadline=30, libraries=["dns.asyncresolver"])
async def lost_targets(observer: Observer) -> dict[str, str]:
    """Record of the zone to the name that it leads to, where nobody has that name any more. Asks DNS, and S3 for
    buckets.

    Without the environment's own hosts. A name that a cloud took back does not exist in DNS (RFC 8020); the name of a
    bucket's website always does, and S3 answers 404 for it.
    """
    described = await observer.see(zone)
    own = observer.environment.hosts
    leads = [
        (name, target)
        for name in sorted({*described.aliases, *described.values} - {*own})
        for target in (*described.aliases.get(name, ()), *described.values.get(name, ()))
        if _CLAIMABLE.search(target) and target not in own
    ]
    lost = await asyncio.gather(*[_is_lost(observer, name, target) for name, target in leads])
    return {name: target for (name, target), gone in zip(leads, lost, strict=True) if gone}


async def _is_lost(observer: Observer, name: str, target: str) -> bool:
    if ".s3-website" not in target:
        return not await exists(observer, target)
    # an alias names the region's website endpoint, and its bucket has the name of the record
    bucket = name if target.startswith("s3-website") else target.partition(".s3-website")[0]
    answer = await fetch(observer, f"https://s3.amazonaws.com/{bucket}/")
    if answer.status is None:
        raise unknown("unreachable", phrase("S3 can't be asked for {}: {}", bucket, answer.seen))
    return answer.status == HTTPStatus.NOT_FOUND


@probe()
async def alias_targets(observer: Observer) -> dict[str, str | None]:
    """Public host to the DNS name that its record should point at: the balancer's or its distribution's."""
    environment = observer.environment
    targets: dict[str, str | None] = {}
    for service in environment.services.values():
        if service.load_balancer:
            described = await observer.see(balancer, service.load_balancer)
            targets[service.host] = normalised(described.dns_name) if described.dns_name else None
    found = await observer.see(distributions) if environment.on_cloudfront else ()
    served = {f.host: serving(found, f.host) for f in environment.on_cloudfront}
    return targets | {host: normalised(d.domain_name) if d else None for host, d in served.items()}


@probe()
async def further_names(observer: Observer) -> tuple[str, ...]:
    """The names and patterns that the environment's own distributions and load balancers serve, beside its hosts.

    Such as `www`: an alias of a distribution, or a host in a rule of an HTTPS listener; `*` names none.
    """
    environment = observer.environment
    found = set(environment.hosts)
    if environment.on_cloudfront:
        described = await observer.see(distributions)
        serve = [serving(described, frontend.host) for frontend in environment.on_cloudfront]
        found |= {alias for one in serve if one for alias in one.aliases}
    for load_balancer in environment.balancers.values():
        rules = [r for x in (await observer.see(balancer, load_balancer)).listeners for r in x.rules]
        found |= {host for r in rules if r.does == "forward" for host in r.hosts or () if not host.startswith("~")}
    return tuple(sorted(map(normalised, found - {"*", *environment.hosts})))


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Name to its targets. A name may have several records of one type (weights, regions, failover)."""
    found: dict[str, set[str]] = {}
    for name, target in pairs:
        found.setdefault(normalised(name), set()).add(normalised(target))
    return {name: tuple(sorted(targets)) for name, targets in found.items()}
