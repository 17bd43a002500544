"""ACM certificates, and the TLS policies of the hosts that they serve.

Source of truth: acm DescribeCertificate. elbv2 DescribeListenerCertificates and CloudFront's distributions tell which
certificates are in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gli.common.clock import now
from gli.common.sentences import listed, phrase
from gli.observe.aws.cloudfront import distributions, serving
from gli.observe.aws.load_balancer import balancer
from gli.observe.aws.route53 import normalised
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, one_of, unknown
from gli.observe.engine.probe import Observer, probe

_HTTPS = 443
_STATUSES = frozenset(
    {"PENDING_VALIDATION", "ISSUED", "INACTIVE", "EXPIRED", "VALIDATION_TIMED_OUT", "REVOKED", "FAILED"}
)


class AcmCertificate(Observation):
    """A certificate that a listener or a distribution uses. `status` is MISSING if ACM does not know it."""

    arn: str
    status: str
    names: tuple[str, ...] = ()
    not_after: datetime | None = None
    days_left: float | None = None
    renewal: str | None = None
    by_amazon: bool = False
    """Whether Amazon issued it, and renews it; false for an imported one."""
    logged: bool = True
    """It is in the logs of Certificate Transparency: without that, Chrome and Safari refuse it."""
    validation: Mapping[str, str] = {}
    """CNAME name to value: ACM needs these records to verify the domain, now and at every renewal."""


@probe(deadline=30)
async def certificates(observer: Observer) -> tuple[AcmCertificate, ...]:
    """Every certificate that the environment's listeners and distributions use, including those chosen by SNI.

    Raises `Unobserved` as not applicable where each load balancer passes TLS through: certificates are then elsewhere.
    """
    environment, aws = observer.environment, observer.environment.aws
    assert aws is not None
    used: dict[str, str] = {}
    passed_on: list[str] = []
    for load_balancer in environment.balancers.values():
        described = await observer.see(balancer, load_balancer)
        secure = [each for each in described.listeners if each.certificates]
        passed_on += [load_balancer.name] if {each.protocol for each in described.listeners} == {"TCP"} else []
        more = await asyncio.gather(*[_listed(observer, each.arn) for each in secure])
        used |= dict.fromkeys((arn for each in secure for arn in each.certificates), aws.region)
        used |= dict.fromkeys((arn for arns in more for arn in arns), aws.region)
    found = await observer.see(distributions) if environment.on_cloudfront else ()
    serving_ = [serving(found, f.host) for f in environment.on_cloudfront]
    # CloudFront accepts certificates from us-east-1 only
    used |= dict.fromkeys((d.certificate for d in serving_ if d and d.certificate), "us-east-1")
    if not (used or environment.on_cloudfront) and passed_on == [*environment.balancers]:
        said = phrase("the load balancer {} passes TLS through to what stands behind it", listed(passed_on))
        raise unknown("not-applicable", said)
    return tuple(await asyncio.gather(*[_certificate(observer, arn, region) for arn, region in sorted(used.items())]))


async def _listed(observer: Observer, listener: str) -> list[str]:
    """The ARN of every certificate of a listener. DescribeListeners names only the default one."""
    answer = await observer.aws.call(observer, "elbv2", "describe_listener_certificates", ListenerArn=listener)
    return [c["CertificateArn"] for c in answer["Certificates"]]


@probe()
async def tls_policies(observer: Observer) -> dict[str, str | None]:
    """Public host to the TLS policy of its listener or distribution; None if there is none. Left out: a host whose
    network load balancer passes TLS through, since the policy is then that of what stands behind it.
    """
    environment = observer.environment
    policies: dict[str, str | None] = {}
    for service in environment.services.values():
        if service.load_balancer:
            listeners = (await observer.see(balancer, service.load_balancer)).listeners
            own = next((each for each in listeners if each.port == _HTTPS), None)
            if own is None or own.protocol != "TCP":
                policies[service.host] = own.policy if own else None
    found = await observer.see(distributions) if environment.on_cloudfront else ()
    served = {f.host: serving(found, f.host) for f in environment.on_cloudfront}
    return policies | {host: d.tls_policy if d else None for host, d in served.items()}


async def _certificate(observer: Observer, arn: str, region: str) -> AcmCertificate:
    if ":iam:" in arn:
        raise unknown(
            "vantage", phrase("{} is a server certificate of IAM, which this suite does not look at: use ACM", arn)
        )
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
        status=one_of(_STATUSES, found["Status"], phrase("the status of {}", arn)),
        names=tuple(sorted({found["DomainName"], *(found.get("SubjectAlternativeNames") or [])})),
        not_after=not_after,
        days_left=round((not_after - now()).total_seconds() / 86400, 2) if not_after else None,
        by_amazon=found["Type"] == "AMAZON_ISSUED",
        logged=(found.get("Options") or {}).get("CertificateTransparencyLoggingPreference") != "DISABLED",
        renewal=(found.get("RenewalSummary") or {}).get("RenewalStatus"),
        validation={normalised(r["Name"]): normalised(r["Value"]) for r in _validation_records(found)},
    )


def _validation_records(certificate: dict[str, Any]) -> list[dict[str, str]]:
    """The CNAME records of a certificate that is validated by DNS. An imported certificate has none."""
    options = certificate["DomainValidationOptions"] if certificate["Type"] == "AMAZON_ISSUED" else []
    return [o["ResourceRecord"] for o in options if o.get("ValidationMethod") == "DNS" or o.get("ResourceRecord")]
