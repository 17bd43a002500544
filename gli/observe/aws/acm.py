"""ACM certificates, and the TLS policies of the hosts that they serve.

Source of truth: acm DescribeCertificate; the balancer's listeners and CloudFront's distributions for what is in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gli.common.clock import now
from gli.observe.aws.cloudfront import distributions
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.route53 import normalised
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_HTTPS = 443


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
