"""Faults of DNS records, and of the name server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import refusing, relay_mode
from sandbox.site import required

_SETTLED = 0.5
"""Seconds after which the name server has seen a change of what Route 53 holds."""


@fault("aws-throttles-dns", turns_red=["dns-alias-target", "dns-delegated"])
def aws_throttles_dns(sandbox: Sandbox) -> Iterator[None]:
    """Another client uses up Route 53's limit of five requests per second and account."""
    with refusing(sandbox, "route53", "Throttling"):
        yield


@contextmanager
def _api_records(sandbox: Sandbox, instead: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Iterator[None]:
    """Replace the API's alias record by other records."""
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
    """A copy of the record with another target."""
    return {**record, "AliasTarget": {**record["AliasTarget"], "DNSName": f"{target}."}, **changes}


def _balancer_of_production(sandbox: Sandbox) -> str:
    name = required(sandbox.site.other.load_balancer).name
    return str(sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]["DNSName"])


@fault("dns-record-deleted", turns_red=["dns-host-resolves", "dns-alias-target"])
def dns_record_deleted(sandbox: Sandbox) -> Iterator[None]:
    """The API's host has no record."""
    with _api_records(sandbox, lambda _: []):
        yield


@fault("dns-host-given-away", turns_red=["dns-delegated"])
def dns_host_given_away(sandbox: Sandbox) -> Iterator[None]:
    """An NS record of the last provider stands beside the API's alias: resolvers ask that provider's servers."""

    def delegated(record: dict[str, Any]) -> list[dict[str, Any]]:
        servers = [{"Value": "ns1.provider.example."}, {"Value": "ns2.provider.example."}]
        return [record, {"Name": record["Name"], "Type": "NS", "TTL": 300, "ResourceRecords": servers}]

    with _api_records(sandbox, delegated):
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
    """The API's additional AAAA record points at production's load balancer."""
    other = _balancer_of_production(sandbox)
    with _api_records(sandbox, lambda record: [record, _to(record, other, Type="AAAA")]):
        yield


@fault("dns-crossed-by-weight", turns_red=["dns-env-not-crossed", "dns-alias-target"])
def dns_crossed_by_weight(sandbox: Sandbox) -> Iterator[None]:
    """The API has two weighted records; one sends one of ten users to production's load balancer."""
    other = _balancer_of_production(sandbox)

    def weighted(record: dict[str, Any]) -> list[dict[str, Any]]:
        here = {**record, "SetIdentifier": "here", "Weight": 90}
        return [here, _to(record, other, SetIdentifier="there", Weight=10)]

    with _api_records(sandbox, weighted):
        yield


@fault("dns-record-of-one-country", turns_red=["dns-alias-target"])
def dns_record_of_one_country(sandbox: Sandbox) -> Iterator[None]:
    """The API's only record is for users in Korea: all others get no answer, and a runner in Korea does not see it."""
    place = {"SetIdentifier": "kr", "GeoLocation": {"CountryCode": "KR"}}
    with _api_records(sandbox, lambda record: [{**record, **place}]):
        yield


@fault("dns-silent", turns_red=["dns-delegated", "dns-host-resolves"])
def dns_silent(sandbox: Sandbox) -> Iterator[None]:
    """The name server never answers, over UDP or TCP."""
    datagrams = sandbox.datagrams
    datagrams.mode = "blackhole"
    with relay_mode(sandbox, "blackhole", "dns"):
        yield
    datagrams.mode = "pass"


def _zone_id(sandbox: Sandbox) -> str:
    name = required(sandbox.environment.dns.zone)
    return str(sandbox.aws("route53").list_hosted_zones_by_name(DNSName=name)["HostedZones"][0]["Id"])


@contextmanager
def _record(sandbox: Sandbox, record: dict[str, Any]) -> Iterator[None]:
    """Put a record into the zone, in place of the one of its name and type."""
    route53, zone = sandbox.aws("route53"), _zone_id(sandbox)
    records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    before = [r for r in records if (r["Name"], r["Type"]) == (record["Name"], record["Type"])]

    def change(action: str, what: dict[str, Any]) -> None:
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": what}]}
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)
        time.sleep(_SETTLED)

    change("UPSERT", record)
    try:
        yield
    finally:
        change("UPSERT", before[0]) if before else change("DELETE", record)


@fault("caa-forbids-amazon", turns_red=["dns-caa-allows-acm", "acm-validation-record"])
def caa_forbids_amazon(sandbox: Sandbox) -> Iterator[None]:
    """A CAA record lets another authority alone issue certificates: Amazon can't renew its own."""
    value = {"Value": '0 issue "letsencrypt.org"'}
    record = {"Name": f"{sandbox.environment.dns.zone}.", "Type": "CAA", "TTL": 300, "ResourceRecords": [value]}
    region = required(sandbox.environment.aws).region
    undo = sandbox.aws_overlay("certificates-by", region=region, kind="AMAZON_ISSUED")
    with _record(sandbox, record):
        yield
    sandbox.aws_overlay("certificates-by", **undo)


@fault("caa-forbids-wildcards", turns_red=["dns-caa-allows-acm", "acm-validation-record"])
def caa_forbids_wildcards(sandbox: Sandbox) -> Iterator[None]:
    """Amazon may issue certificates for names, but another authority alone may for wildcards."""
    values = [{"Value": value} for value in ('0 issue "amazon.com"', '0 issuewild "letsencrypt.org"')]
    record = {"Name": f"{sandbox.environment.dns.zone}.", "Type": "CAA", "TTL": 300, "ResourceRecords": values}
    region = required(sandbox.environment.aws).region
    undo = sandbox.aws_overlay("certificates-by", region=region, kind="AMAZON_ISSUED")
    with _record(sandbox, record):
        yield
    sandbox.aws_overlay("certificates-by", **undo)


@fault("zone-not-delegated", turns_red=["dns-delegated"])
def zone_not_delegated(sandbox: Sandbox) -> Iterator[None]:
    """The registrar still names the servers of an older zone of the same name."""
    zone = f"{sandbox.environment.dns.zone}."
    sandbox.nameserver.registered[zone] = ["ns-1.old.example.com.", "ns-2.old.example.com."]
    yield
    del sandbox.nameserver.registered[zone]


@fault("zone-delegated-in-part", turns_red=["dns-delegated"])
def zone_delegated_in_part(sandbox: Sandbox) -> Iterator[None]:
    """The registrar names two servers of the zone, and two of an older zone: every second user gets old records."""
    name = required(sandbox.environment.dns.zone)
    records = sandbox.aws("route53").list_resource_record_sets(HostedZoneId=_zone_id(sandbox))["ResourceRecordSets"]
    own = next(r for r in records if (r["Name"], r["Type"]) == (f"{name}.", "NS"))["ResourceRecords"]
    old = ["ns-1.old.example.com.", "ns-2.old.example.com."]
    sandbox.nameserver.registered[f"{name}."] = [*(f"{v['Value'].rstrip('.')}." for v in own[:2]), *old]
    yield
    del sandbox.nameserver.registered[f"{name}."]


@fault("dns-https-record-of-old-addresses", turns_red=["dns-host-resolves"])
def dns_https_record_of_old_addresses(sandbox: Sandbox) -> Iterator[None]:
    """An HTTPS record of the API's host still names the addresses of last year: browsers connect to those."""
    with _https(sandbox, '1 . alpn="h2" ipv4hint=192.0.2.10,192.0.2.11'):
        yield


@fault("dns-https-record-of-a-ghost", turns_red=["dns-alias-target"])
def dns_https_record_of_a_ghost(sandbox: Sandbox) -> Iterator[None]:
    """An HTTPS record leads browsers from the API's host to a load balancer that was replaced."""
    with _https(sandbox, f"0 replaced-1.{required(sandbox.environment.aws).region}.elb.amazonaws.com."):
        yield


@contextmanager
def _https(sandbox: Sandbox, value: str) -> Iterator[None]:
    """Give the API's host an HTTPS record."""
    name = f"{sandbox.environment.services['api'].host}."
    record = {"Name": name, "Type": "HTTPS", "TTL": 300, "ResourceRecords": [{"Value": value}]}
    with _record(sandbox, record):
        yield


@fault("dns-record-of-another-clouds-app", turns_red=["dns-no-dangling"])
def dns_record_of_another_clouds_app(sandbox: Sandbox) -> Iterator[None]:
    """A host of last year still leads to an app in Azure, which was deleted: anybody may make an app of that name."""
    name = f"blog.{sandbox.environment.dns.zone}."
    app = {"Value": "gli-blog-2019.azurewebsites.net"}
    with _record(sandbox, {"Name": name, "Type": "CNAME", "TTL": 300, "ResourceRecords": [app]}):
        yield


@fault("dns-record-of-a-deleted-bucket", turns_red=["dns-no-dangling"])
def dns_record_of_a_deleted_bucket(sandbox: Sandbox) -> Iterator[None]:
    """A host of last year still leads to the website of its bucket, which was deleted: anybody may make that bucket."""
    zone, region = required(sandbox.environment.dns.zone), required(sandbox.environment.aws).region
    website = {"Value": f"winter.{zone}.s3-website.{region}.amazonaws.com"}
    with _record(sandbox, {"Name": f"winter.{zone}.", "Type": "CNAME", "TTL": 300, "ResourceRecords": [website]}):
        yield


@fault("dns-record-of-a-deleted-balancer", turns_red=["dns-no-dangling"])
def dns_record_of_a_deleted_balancer(sandbox: Sandbox) -> Iterator[None]:
    """A host of last year still leads to its load balancer, which was deleted."""
    route53 = sandbox.aws("route53")
    zone_name = required(sandbox.environment.dns.zone)
    zone = route53.list_hosted_zones_by_name(DNSName=zone_name)["HostedZones"][0]["Id"]
    gone = f"campaign-1066.{required(sandbox.environment.aws).region}.elb.amazonaws.com"
    record = {"Name": f"campaign.{zone_name}.", "Type": "CNAME", "TTL": 300, "ResourceRecords": [{"Value": gone}]}

    def change(action: str) -> None:
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)
        time.sleep(_SETTLED)

    change("CREATE")
    yield
    change("DELETE")
