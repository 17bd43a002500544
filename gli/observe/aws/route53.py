"""Route 53 records, and the targets that they should point at.

Source of truth: route53 ListHostedZonesByName and ListResourceRecordSets.
"""

from __future__ import annotations

from collections.abc import Iterable

from gli.common.sentences import phrase
from gli.observe.aws.cloudfront import distributions
from gli.observe.aws.load_balancer import balancer
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe


class Zone(Observation):
    """A hosted zone: where each name points, normalised (lower case, no trailing dot, no `dualstack.`)."""

    name: str
    aliases: dict[str, tuple[str, ...]]
    """Name to every DNS name that its alias records point at: A and AAAA, weighted or not."""
    values: dict[str, tuple[str, ...]]
    """Name to everything that its other A, AAAA and CNAME records give."""

    def targets(self, name: str) -> tuple[str, ...]:
        """All that a resolver may be led to."""
        return (*self.aliases.get(name, ()), *self.values.get(name, ()))


def normalised(name: str) -> str:
    """A DNS name for comparison."""
    return name.lower().rstrip(".").removeprefix("dualstack.").replace("\\052", "*")


@probe()
async def zone(observer: Observer) -> Zone:
    """The environment's hosted zone."""
    wanted = observer.environment.dns.zone
    assert wanted is not None, "asked only of environments with a zone"
    answer = await observer.aws.call(observer, "route53", "list_hosted_zones_by_name", DNSName=wanted, MaxItems="5")
    ids = [z["Id"] for z in answer["HostedZones"] if normalised(z["Name"]) == normalised(wanted)]
    if not ids:
        raise unknown("not-found", phrase("Route 53 has no hosted zone {}", wanted))
    answer = await observer.aws.call(observer, "route53", "list_resource_record_sets", HostedZoneId=ids[0])
    records = [r for r in answer["ResourceRecordSets"] if r["Type"] in ("A", "AAAA", "CNAME")]
    return Zone(
        name=wanted,
        aliases=_by_name((r["Name"], r["AliasTarget"]["DNSName"]) for r in records if "AliasTarget" in r),
        values=_by_name((r["Name"], each["Value"]) for r in records for each in r.get("ResourceRecords") or []),
    )


@probe()
async def alias_targets(observer: Observer) -> dict[str, str | None]:
    """For each public host, the DNS name that its record should point at: the balancer's or its distribution's."""
    environment = observer.environment
    targets: dict[str, str | None] = {}
    if environment.load_balancer:
        described = await observer.see(balancer, environment.load_balancer)
        dns_name = normalised(described.dns_name) if described.dns_name else None
        targets |= {s.host: dns_name for s in environment.services.values()}
    served = {alias: normalised(d.domain_name) for d in await observer.see(distributions) for alias in d.aliases}
    return targets | {f.host: served.get(f.host) for f in environment.frontends.values()}


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """A name may have several records of a type, each for a part of the resolvers (weights, regions, failover)."""
    found: dict[str, set[str]] = {}
    for name, target in pairs:
        found.setdefault(normalised(name), set()).add(normalised(target))
    return {name: tuple(sorted(targets)) for name, targets in found.items()}
