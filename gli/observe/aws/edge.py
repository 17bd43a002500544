"""The edge as AWS describes it: Route 53 records, ACM certificates, CloudFront distributions.

Source of truth: route53 ListResourceRecordSets, acm DescribeCertificate, cloudfront ListDistributions,
GetDistribution and ListInvalidations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from gli.clock import now
from gli.environments import Frontend
from gli.observe.aws.balancer import balancer
from gli.observe.aws.session import AwsError
from gli.observe.observation import Observation, unknown
from gli.observe.probe import Observer, probe

_HTTPS = 443
_NEWEST_INVALIDATIONS = 100  # one page
_DEFAULT_ERROR_CACHING_S = 10


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


class Origin(Observation):
    """Where a distribution takes its objects from."""

    domain_name: str
    access_control: str | None
    """Its origin access control, or the older origin access identity; None: it asks as anybody does."""


class ErrorResponse(Observation):
    """How a distribution shows an error of its origin."""

    status: int
    page: str | None
    shown_as: int | None
    cached_s: int


class Behavior(Observation):
    """What a distribution does with the requests for some paths."""

    path: str
    viewers: str | None
    """What happens to plain HTTP: `redirect-to-https`, `https-only` or `allow-all`."""
    compresses: bool


class Distribution(Observation):
    """A CloudFront distribution."""

    id: str
    arn: str
    domain_name: str
    status: str
    enabled: bool
    aliases: tuple[str, ...]
    certificate: str | None = None
    root_object: str | None = None
    origins: tuple[Origin, ...] = ()
    rewrites: bool = False
    """A function sees each request of a viewer before the cache does."""
    errors: tuple[ErrorResponse, ...] = ()
    behaviors: tuple[Behavior, ...] = ()
    """The default one, `*`, and then those of their own paths."""
    tls_policy: str | None = None
    """The oldest TLS that it takes and the ciphers with it, as in `TLSv1.2_2021`."""


class Invalidations(Observation):
    """What a distribution was told to forget."""

    distribution: str
    newest: datetime | None = None
    """When the newest was asked for; None where there is none."""
    running: tuple[str, ...] = ()
    """The ids of those that have not reached every edge."""


class AcmCertificate(Observation):
    """A certificate that a listener or a distribution uses; `status` is MISSING where ACM knows none."""

    arn: str
    status: str
    names: tuple[str, ...] = ()
    not_after: datetime | None = None
    days_left: float | None = None
    renewal: str | None = None
    validation: Mapping[str, str] = {}
    """The CNAME records by which ACM sees whose domain it is, now and at every renewal: name to value."""


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
        raise unknown("not-found", f"Route 53 has no hosted zone {wanted}")
    answer = await observer.aws.call(observer, "route53", "list_resource_record_sets", HostedZoneId=ids[0])
    records = [r for r in answer["ResourceRecordSets"] if r["Type"] in ("A", "AAAA", "CNAME")]
    return Zone(
        name=wanted,
        aliases=_by_name((r["Name"], r["AliasTarget"]["DNSName"]) for r in records if "AliasTarget" in r),
        values=_by_name((r["Name"], each["Value"]) for r in records for each in r.get("ResourceRecords") or []),
    )


@probe(deadline=20)
async def distributions(observer: Observer) -> tuple[Distribution, ...]:
    """Every distribution of the account, with its configuration."""
    answer = await observer.aws.call(observer, "cloudfront", "list_distributions")
    items = answer.get("DistributionList", {}).get("Items") or []
    found = await asyncio.gather(
        *[observer.aws.call(observer, "cloudfront", "get_distribution", Id=item["Id"]) for item in items]
    )
    return tuple(_distribution(f["Distribution"]) for f in found)


@probe()
async def distribution(observer: Observer, frontend: Frontend) -> Distribution:
    """The distribution that serves a frontend's host."""
    for each in await observer.see(distributions):
        if frontend.host in each.aliases:
            return each
    raise unknown("not-found", f"no CloudFront distribution has the alias {frontend.host}")


@probe(deadline=20)
async def invalidations(observer: Observer, frontend: Frontend) -> Invalidations:
    """The newest invalidations of the distribution that serves a frontend's host."""
    served_by = await observer.see(distribution, frontend)
    answer = await observer.aws.call(
        observer,
        "cloudfront",
        "list_invalidations",
        DistributionId=served_by.id,
        PaginationConfig={"MaxItems": _NEWEST_INVALIDATIONS},  # CloudFront lists the newest first
    )
    items = answer.get("InvalidationList", {}).get("Items") or []
    return Invalidations(
        distribution=served_by.id,
        newest=max((item["CreateTime"] for item in items), default=None),
        running=tuple(item["Id"] for item in items if item["Status"] == "InProgress"),
    )


@probe(deadline=20)
async def certificates(observer: Observer) -> tuple[AcmCertificate, ...]:
    """Every ACM certificate that the environment's listeners and distributions use."""
    used: dict[str, str] = {}
    aws = observer.environment.aws
    assert aws is not None
    if observer.environment.load_balancer:
        described = await observer.see(balancer, observer.environment.load_balancer)
        used |= {arn: aws.region for listener in described.listeners for arn in listener.certificates}
    hosts = {f.host for f in observer.environment.frontends.values()}
    for each in await observer.see(distributions):
        if each.certificate and hosts & set(each.aliases):
            used[each.certificate] = "us-east-1"  # the only region that CloudFront takes certificates from
    return tuple(await asyncio.gather(*[_certificate(observer, arn, region) for arn, region in sorted(used.items())]))


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


@probe()
async def tls_policies(observer: Observer) -> dict[str, str | None]:
    """For each public host that speaks TLS, the policy of the listener or the distribution that it ends at."""
    environment = observer.environment
    policies: dict[str, str | None] = {}
    if environment.load_balancer:
        listeners = (await observer.see(balancer, environment.load_balancer)).listeners
        policy = next((each.policy for each in listeners if each.port == _HTTPS), None)
        policies |= {s.host: policy for s in environment.services.values()}
    served = {alias: d.tls_policy for d in await observer.see(distributions) for alias in d.aliases}
    return policies | {f.host: served.get(f.host) for f in environment.frontends.values()}


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """A name may have several records of a type, each for a part of the resolvers (weights, regions, failover)."""
    found: dict[str, set[str]] = {}
    for name, target in pairs:
        found.setdefault(normalised(name), set()).add(normalised(target))
    return {name: tuple(sorted(targets)) for name, targets in found.items()}


async def _certificate(observer: Observer, arn: str, region: str) -> AcmCertificate:
    try:
        answer = await observer.aws.call(observer, "acm", "describe_certificate", region=region, CertificateArn=arn)
    except AwsError as e:
        if e.code == "ResourceNotFoundException":
            return AcmCertificate(arn=arn, status="MISSING")
        raise
    found = answer["Certificate"]
    not_after = found.get("NotAfter")
    return AcmCertificate(
        arn=arn,
        status=found["Status"],
        names=tuple(sorted({found["DomainName"], *found.get("SubjectAlternativeNames", [])})),
        not_after=not_after,
        days_left=round((not_after - now()).total_seconds() / 86400, 2) if not_after else None,
        renewal=(found.get("RenewalSummary") or {}).get("RenewalStatus"),
        validation={normalised(r["Name"]): normalised(r["Value"]) for r in _validation_records(found)},
    )


def _validation_records(certificate: dict[str, Any]) -> list[dict[str, str]]:
    """Those of a certificate that is validated by DNS; an imported one has none."""
    options = certificate.get("DomainValidationOptions") or []
    return [o["ResourceRecord"] for o in options if o.get("ResourceRecord")]


def _distribution(described: dict[str, Any]) -> Distribution:
    config = described["DistributionConfig"]
    return Distribution(
        id=described["Id"],
        arn=described["ARN"],
        domain_name=described["DomainName"],
        status=described["Status"],
        enabled=config["Enabled"],
        aliases=tuple(sorted((config.get("Aliases") or {}).get("Items") or [])),
        certificate=(config.get("ViewerCertificate") or {}).get("ACMCertificateArn"),
        root_object=config.get("DefaultRootObject") or None,
        origins=tuple(map(_origin, _items(config.get("Origins")))),
        rewrites=_rewrites(config.get("DefaultCacheBehavior") or {}),
        errors=tuple(map(_error_response, _items(config.get("CustomErrorResponses")))),
        behaviors=tuple(
            Behavior(
                path=behavior.get("PathPattern", "*"),
                viewers=behavior.get("ViewerProtocolPolicy"),
                compresses=bool(behavior.get("Compress")),
            )
            for behavior in (config.get("DefaultCacheBehavior") or {}, *_items(config.get("CacheBehaviors")))
        ),
        tls_policy=(config.get("ViewerCertificate") or {}).get("MinimumProtocolVersion"),
    )


def _items(listing: dict[str, Any] | None) -> list[dict[str, Any]]:
    """CloudFront's lists have a Quantity, and no Items where it is 0."""
    return (listing or {}).get("Items") or []


def _origin(described: dict[str, Any]) -> Origin:
    identity = (described.get("S3OriginConfig") or {}).get("OriginAccessIdentity")
    return Origin(
        domain_name=described["DomainName"], access_control=described.get("OriginAccessControlId") or identity or None
    )


def _rewrites(behavior: dict[str, Any]) -> bool:
    functions = _items(behavior.get("FunctionAssociations")) + _items(behavior.get("LambdaFunctionAssociations"))
    return any(f["EventType"] == "viewer-request" for f in functions)


def _error_response(described: dict[str, Any]) -> ErrorResponse:
    return ErrorResponse(
        status=described["ErrorCode"],
        page=described.get("ResponsePagePath") or None,
        shown_as=int(described["ResponseCode"]) if described.get("ResponseCode") else None,
        cached_s=described.get("ErrorCachingMinTTL", _DEFAULT_ERROR_CACHING_S),
    )
