"""Faults of names and certificates: DNS records, what a listener serves, and whether it will be renewed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from gli.config.environments import Environment
from sandbox.faults import Sandbox, fault
from sandbox.site import required

_SETTLED = 0.5
"""Seconds after which the name server has seen a change of what Route 53 holds."""


@contextmanager
def _api_records(sandbox: Sandbox, instead: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Iterator[None]:
    """Those records in place of the API's alias record."""
    route53 = sandbox.aws("route53")
    zone = route53.list_hosted_zones_by_name(DNSName=required(sandbox.environment.dns.zone))["HostedZones"][0]["Id"]
    name = f"{sandbox.environment.services['api'].host}."
    records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    before = next(r for r in records if r["Name"] == name)
    record = {key: before[key] for key in ("Name", "Type", "AliasTarget")}

    def exchange(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
        changes = [{"Action": "DELETE", "ResourceRecordSet": each} for each in old]
        changes += [{"Action": "UPSERT", "ResourceRecordSet": each} for each in new]
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})
        time.sleep(_SETTLED)

    exchange([record], instead(record))
    try:
        yield
    finally:
        exchange(instead(record), [record])


def _to(record: dict[str, Any], target: str, **changes: Any) -> dict[str, Any]:
    """The record with another target."""
    return {**record, "AliasTarget": {**record["AliasTarget"], "DNSName": f"{target}."}, **changes}


def _balancer_of_production(sandbox: Sandbox) -> str:
    name = required(sandbox.site.other.load_balancer).name
    return str(sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]["DNSName"])


@fault("dns-record-deleted", turns_red=["dns-host-resolves", "dns-alias-target"])
def dns_record_deleted(sandbox: Sandbox) -> Iterator[None]:
    """The API's host has no record."""
    with _api_records(sandbox, lambda _: []):
        yield


@fault("dns-alias-of-a-ghost", turns_red=["dns-alias-target"])
def dns_alias_of_a_ghost(sandbox: Sandbox) -> Iterator[None]:
    """The API's record points at a load balancer that was replaced."""
    ghost = f"replaced-1.{required(sandbox.environment.aws).region}.elb.amazonaws.com"
    with _api_records(sandbox, lambda record: [_to(record, ghost)]):
        yield


@fault("dns-crossed-with-production", turns_red=["dns-env-not-crossed", "dns-alias-target"])
def dns_crossed_with_production(sandbox: Sandbox) -> Iterator[None]:
    """The API's record points at production's load balancer."""
    other = _balancer_of_production(sandbox)
    with _api_records(sandbox, lambda record: [_to(record, other)]):
        yield


@fault("dns-crossed-over-ipv6", turns_red=["dns-env-not-crossed", "dns-alias-target"])
def dns_crossed_over_ipv6(sandbox: Sandbox) -> Iterator[None]:
    """The API has a AAAA record too, and that one points at production's load balancer."""
    other = _balancer_of_production(sandbox)
    with _api_records(sandbox, lambda record: [record, _to(record, other, Type="AAAA")]):
        yield


@fault("dns-crossed-by-weight", turns_red=["dns-env-not-crossed", "dns-alias-target"])
def dns_crossed_by_weight(sandbox: Sandbox) -> Iterator[None]:
    """The API's record has a weighted twin that sends one of ten users to production's load balancer."""
    other = _balancer_of_production(sandbox)

    def weighted(record: dict[str, Any]) -> list[dict[str, Any]]:
        here = {**record, "SetIdentifier": "here", "Weight": 90}
        return [here, _to(record, other, SetIdentifier="there", Weight=10)]

    with _api_records(sandbox, weighted):
        yield


@fault("acm-certificate-expiring", turns_red=["acm-certificate-valid"])
def acm_certificate_expiring(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer's listener has a certificate that expires in two days, and nobody renews it."""
    pems = sandbox.authority.issue(sandbox.environment.hosts, expires_in=timedelta(days=2)).pems()
    acm = sandbox.aws("acm")
    expiring = acm.import_certificate(
        Certificate=pems.certificate.encode(),
        PrivateKey=pems.private_key.encode(),
        CertificateChain=pems.chain.encode(),
    )["CertificateArn"]
    with _listener(sandbox, sandbox.environment, Certificates=[{"CertificateArn": expiring}]):
        yield
    acm.delete_certificate(CertificateArn=expiring)


@contextmanager
def _listener(sandbox: Sandbox, of: Environment, **changes: Any) -> Iterator[None]:
    """The HTTPS listener of an environment's load balancer with other settings."""
    elbv2, name = sandbox.aws("elbv2"), required(of.load_balancer).name
    balancer = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    listeners = elbv2.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    listener = next(each for each in listeners if each["Protocol"] == "HTTPS")
    kept = {"ListenerArn": listener["ListenerArn"], "DefaultActions": listener["DefaultActions"]}
    elbv2.modify_listener(**kept, **changes)
    try:
        yield
    finally:
        elbv2.modify_listener(**kept, **{key: listener[key] for key in changes})


@fault("acm-validation-record-gone", turns_red=["acm-validation-record", "acm-certificate-valid"])
def acm_validation_record_gone(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer's certificate can't be validated: somebody cleared the zone of records that looked odd."""
    acm, host = sandbox.aws("acm"), sandbox.environment.services["api"].host
    pending = acm.request_certificate(DomainName=host, ValidationMethod="DNS")["CertificateArn"]
    with _listener(sandbox, sandbox.environment, Certificates=[{"CertificateArn": pending}]):
        yield
    acm.delete_certificate(CertificateArn=pending)


@fault("listener-takes-old-tls", turns_red=["tls-min-version", "parity-edge"])
def listener_takes_old_tls(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer takes TLS 1.0, by the policy that a new listener used to have."""
    with _listener(sandbox, sandbox.environment, SslPolicy="ELBSecurityPolicy-2016-08"):
        yield


@fault("counterpart-of-another-policy", turns_red=["parity-edge"])
def counterpart_of_another_policy(sandbox: Sandbox) -> Iterator[None]:
    """The other environment's load balancer got a stricter TLS policy, which nobody tested here."""
    with _listener(sandbox, sandbox.site.other, SslPolicy="ELBSecurityPolicy-TLS13-1-3-2021-06"):
        yield
