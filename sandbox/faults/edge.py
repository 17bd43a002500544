"""Faults between a user and GLI: DNS records, certificates, distributions, buckets and what is in them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from gli.environments import Environment, Frontend
from sandbox import frontends
from sandbox.aws.account import EDGE_REGION
from sandbox.aws.seed_edge import invalidate
from sandbox.faults import Sandbox, fault
from sandbox.site import required

_PAGE = "index.html"
_SETTLED = 0.5
"""Seconds after which the CDN and the name server have seen a change of what AWS holds."""


def _frontend(sandbox: Sandbox) -> Frontend:
    return sandbox.environment.frontends["user"]


@contextmanager
def _api_record(sandbox: Sandbox, target: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Iterator[None]:
    """The API's alias record with another target; without a record where `target` gives None."""
    route53 = sandbox.aws("route53")
    zone = route53.list_hosted_zones_by_name(DNSName=required(sandbox.environment.dns.zone))["HostedZones"][0]["Id"]
    name = f"{sandbox.environment.services['api'].host}."
    records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    before = next(r for r in records if r["Name"] == name)
    record = {key: before[key] for key in ("Name", "Type", "AliasTarget")}

    def change(action: str, record: dict[str, Any]) -> None:
        changes = [{"Action": action, "ResourceRecordSet": record}]
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})
        time.sleep(_SETTLED)

    alias = target(record["AliasTarget"])
    if alias is None:
        change("DELETE", record)
    else:
        change("UPSERT", {**record, "AliasTarget": alias})
    try:
        yield
    finally:
        change("UPSERT", record)


@fault("dns-record-deleted", turns_red=["dns-host-resolves", "dns-alias-target"])
def dns_record_deleted(sandbox: Sandbox) -> Iterator[None]:
    """The API's host has no record."""
    with _api_record(sandbox, lambda _: None):
        yield


@fault("dns-alias-of-a-ghost", turns_red=["dns-alias-target"])
def dns_alias_of_a_ghost(sandbox: Sandbox) -> Iterator[None]:
    """The API's record points at a load balancer that was replaced."""
    ghost = f"replaced-1.{required(sandbox.environment.aws).region}.elb.amazonaws.com."
    with _api_record(sandbox, lambda alias: {**alias, "DNSName": ghost}):
        yield


@fault("dns-crossed-with-production", turns_red=["dns-env-not-crossed", "dns-alias-target"])
def dns_crossed_with_production(sandbox: Sandbox) -> Iterator[None]:
    """The API's record points at production's load balancer."""
    name = required(sandbox.site.other.load_balancer).name
    balancer = sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]
    with _api_record(sandbox, lambda alias: {**alias, "DNSName": f"{balancer['DNSName']}."}):
        yield


@fault("acm-certificate-expiring", turns_red=["acm-certificate-valid"])
def acm_certificate_expiring(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer's listener has a certificate that expires in two days, and nobody renews it."""
    pems = sandbox.authority.issue(sandbox.environment.hosts, expires_in=timedelta(days=2)).pems()
    acm, elbv2 = sandbox.aws("acm"), sandbox.aws("elbv2")
    expiring = acm.import_certificate(
        Certificate=pems.certificate.encode(),
        PrivateKey=pems.private_key.encode(),
        CertificateChain=pems.chain.encode(),
    )["CertificateArn"]
    name = required(sandbox.environment.load_balancer).name
    balancer = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"]
    listeners = elbv2.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    listener = next(each for each in listeners if each["Protocol"] == "HTTPS")
    change = {"ListenerArn": listener["ListenerArn"], "DefaultActions": listener["DefaultActions"]}
    elbv2.modify_listener(**change, Certificates=[{"CertificateArn": expiring}])
    yield
    elbv2.modify_listener(**change, Certificates=listener["Certificates"])
    acm.delete_certificate(CertificateArn=expiring)


@fault("cdn-certificate-of-another-name", turns_red=["cdn-aliases-and-cert"])
def cdn_certificate_of_another_name(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution has a certificate that does not cover its host."""
    acm = sandbox.aws("acm", EDGE_REGION)
    pems = sandbox.authority.issue([sandbox.environment.services["api"].host]).pems()
    other = acm.import_certificate(
        Certificate=pems.certificate.encode(),
        PrivateKey=pems.private_key.encode(),
        CertificateChain=pems.chain.encode(),
    )["CertificateArn"]
    with _distribution(sandbox, lambda config: config["ViewerCertificate"].update(ACMCertificateArn=other)):
        yield
    acm.delete_certificate(CertificateArn=other)


def _distribution_id(sandbox: Sandbox) -> str:
    items = sandbox.aws("cloudfront", EDGE_REGION).list_distributions()["DistributionList"]["Items"]
    host = _frontend(sandbox).host
    return next(str(item["Id"]) for item in items if host in item["Aliases"].get("Items", []))


@contextmanager
def _distribution(sandbox: Sandbox, change: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """The user frontend's distribution, configured otherwise."""
    cloudfront, identifier = sandbox.aws("cloudfront", EDGE_REGION), _distribution_id(sandbox)

    def configure(change: Callable[[dict[str, Any]], object]) -> None:
        now = cloudfront.get_distribution_config(Id=identifier)
        change(now["DistributionConfig"])
        cloudfront.update_distribution(Id=identifier, IfMatch=now["ETag"], DistributionConfig=now["DistributionConfig"])
        time.sleep(_SETTLED)

    before = cloudfront.get_distribution_config(Id=identifier)["DistributionConfig"]
    configure(change)
    try:
        yield
    finally:
        configure(lambda config: config.update(before))


@fault("cdn-disabled", turns_red=["cdn-deployed", "cdn-index-200"])
def cdn_disabled(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution is disabled."""
    with _distribution(sandbox, lambda config: config.update(Enabled=False)):
        yield


@fault("cdn-origin-without-access-control", turns_red=["cdn-origin-oac", "cdn-index-200"])
def cdn_origin_without_access_control(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution asks its bucket as anybody does."""

    def unsigned(config: dict[str, Any]) -> None:
        config["Origins"]["Items"][0]["OriginAccessControlId"] = ""

    with _distribution(sandbox, unsigned):
        yield


@fault("cdn-errors-kept", turns_red=["cdn-error-mapping"])
def cdn_errors_kept(sandbox: Sandbox) -> Iterator[None]:
    """The edge keeps an error of the origin for five minutes."""
    with _distribution(
        sandbox, lambda config: config["CustomErrorResponses"]["Items"][0].update(ErrorCachingMinTTL=300)
    ):
        yield


@fault("cdn-invalidation-running", turns_red=["cdn-invalidation-complete"])
def cdn_invalidation_running(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's newest invalidation has not reached every edge."""
    undo = sandbox.aws_overlay("invalidation", distribution=_distribution_id(sandbox), status="InProgress")
    yield
    sandbox.aws_overlay("invalidation", **undo)


@fault("cdn-serves-plain-http", turns_red=["cdn-viewer-https"])
def cdn_serves_plain_http(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution serves plain HTTP too."""
    plain = {"ViewerProtocolPolicy": "allow-all"}
    with _distribution(sandbox, lambda config: config["DefaultCacheBehavior"].update(plain)):
        yield


@fault("cdn-routes-lost", turns_red=["cdn-error-mapping", "cdn-spa-deep-link"])
def cdn_routes_lost(sandbox: Sandbox) -> Iterator[None]:
    """The function that sends the application's routes to its index is no longer attached."""
    nothing = {"FunctionAssociations": {"Quantity": 0}}
    with _distribution(sandbox, lambda config: config["DefaultCacheBehavior"].update(nothing)):
        yield


def _fall_back_to_the_index(config: dict[str, Any]) -> None:
    for item in config["CustomErrorResponses"]["Items"]:
        item.update(ResponsePagePath="/index.html", ResponseCode="200")


@fault("cdn-blanket-fallback", turns_red=["cdn-missing-asset-404"])
def cdn_blanket_fallback(sandbox: Sandbox) -> Iterator[None]:
    """Whatever is missing is answered with the index page and 200."""
    with _distribution(sandbox, _fall_back_to_the_index):
        yield


@contextmanager
def _deleted(sandbox: Sandbox, key: str) -> Iterator[None]:
    """An object of the user frontend's bucket, deleted; the bucket is versioned, so it comes back as it was."""
    s3, bucket = sandbox.aws("s3"), required(_frontend(sandbox).bucket)
    marker = s3.delete_object(Bucket=bucket, Key=key)["VersionId"]
    try:
        yield
    finally:
        s3.delete_object(Bucket=bucket, Key=key, VersionId=marker)


@fault("cdn-index-deleted", turns_red=["s3-index-object", "cdn-index-200", "cdn-spa-deep-link"])
def cdn_index_deleted(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's index.html is not in its bucket."""
    with _deleted(sandbox, "index.html"):
        yield


@fault("cdn-asset-deleted", turns_red=["cdn-assets-resolve"])
def cdn_asset_deleted(sandbox: Sandbox) -> Iterator[None]:
    """The index names an asset that is not in the bucket."""
    with _deleted(sandbox, _stylesheet(sandbox)):
        yield


@fault("cdn-asset-disguised", turns_red=["cdn-assets-resolve", "cdn-missing-asset-404"])
def cdn_asset_disguised(sandbox: Sandbox) -> Iterator[None]:
    """The index names an asset that is missing, and the fallback answers it with the index page and 200."""
    with _deleted(sandbox, _stylesheet(sandbox)), _distribution(sandbox, _fall_back_to_the_index):
        yield


def _stylesheet(sandbox: Sandbox) -> str:
    return next(key for key in _build(sandbox, sandbox.environment) if key.endswith(".css"))


def _build(sandbox: Sandbox, of: Environment) -> dict[str, frontends.Asset]:
    """The user frontend at staging's revision, built for one environment or the other."""
    frontend = of.frontends[_frontend(sandbox).name]
    return frontends.build(of, frontend, sandbox.site.revision(sandbox.environment, frontend.repository))


@contextmanager
def _uploaded(sandbox: Sandbox, assets: dict[str, frontends.Asset], *, invalidated: bool = True) -> Iterator[None]:
    """Those objects on top of what the user frontend's bucket holds, and by default an invalidation after them."""
    s3, bucket = sandbox.aws("s3"), required(_frontend(sandbox).bucket)
    versions = {}
    for key, asset in assets.items():
        answer = s3.put_object(
            Bucket=bucket, Key=key, Body=asset.body, ContentType=asset.content_type, CacheControl=asset.cache_control
        )
        versions[key] = answer["VersionId"]
    if invalidated:
        invalidate(sandbox.account, _distribution_id(sandbox))
    try:
        yield
    finally:
        for key, version in versions.items():
            s3.delete_object(Bucket=bucket, Key=key, VersionId=version)


@fault("cdn-build-of-production", turns_red=["cdn-api-base-correct"])
def cdn_build_of_production(sandbox: Sandbox) -> Iterator[None]:
    """Staging serves a user frontend that was built for production's addresses."""
    with _uploaded(sandbox, _build(sandbox, sandbox.site.other)):
        yield


@fault("cdn-old-build-uploaded", turns_red=["s3-index-object", "cdn-index-fresh"])
def cdn_old_build_uploaded(sandbox: Sandbox) -> Iterator[None]:
    """The deploy uploaded the user frontend of the release before."""
    with _uploaded(sandbox, {_PAGE: _old_page(sandbox)}):
        yield


@fault("cdn-page-of-another-type", turns_red=["s3-index-object", "cdn-index-200"])
def cdn_page_of_another_type(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's index.html was uploaded without its content type."""
    page = _build(sandbox, sandbox.environment)[_PAGE]
    with _uploaded(sandbox, {_PAGE: page._replace(content_type="binary/octet-stream")}):
        yield


@fault("cdn-page-kept-for-a-day", turns_red=["cdn-index-cache-control"])
def cdn_page_kept_for_a_day(sandbox: Sandbox) -> Iterator[None]:
    """Browsers may keep the user frontend's index.html for a day."""
    page = _build(sandbox, sandbox.environment)[_PAGE]
    with _uploaded(sandbox, {_PAGE: page._replace(cache_control="max-age=86400")}):
        yield


@fault("cdn-assets-not-kept", turns_red=["cdn-index-cache-control"])
def cdn_assets_not_kept(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's stylesheet was uploaded without Cache-Control: max-age=31536000."""
    key = _stylesheet(sandbox)
    asset = _build(sandbox, sandbox.environment)[key]
    with _uploaded(sandbox, {key: asset._replace(cache_control="max-age=300")}):
        yield


@fault("cdn-not-invalidated", turns_red=["cdn-invalidation-complete"])
def cdn_not_invalidated(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's page was uploaded again, and nobody told the edge to forget the one before."""
    time.sleep(1.1)  # S3 tells the time of an upload in whole seconds
    page = _build(sandbox, sandbox.environment)[_PAGE]
    with _uploaded(sandbox, {_PAGE: page}, invalidated=False):
        yield


@fault("cdn-index-stale", turns_red=["cdn-index-fresh"])
def cdn_index_stale(sandbox: Sandbox) -> Iterator[None]:
    """The edge still serves the index of the release before."""
    host = _frontend(sandbox).host
    with _uploaded(sandbox, {_PAGE: _old_page(sandbox)}):
        sandbox.cdn.pin(host, f"/{_PAGE}")
    yield
    sandbox.cdn.unpin(host, f"/{_PAGE}")


def _old_page(sandbox: Sandbox) -> frontends.Asset:
    """The page of the release before."""
    frontend = _frontend(sandbox)
    before = sandbox.site.before(frontend.repository)
    return frontends.build(sandbox.environment, frontend, before)[_PAGE]


@fault("bucket-missing", turns_red=["s3-bucket-exists", "cdn-index-200"])
def bucket_missing(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket does not exist."""
    undo = sandbox.aws_overlay("bucket", name=required(_frontend(sandbox).bucket), exists=False)
    yield
    sandbox.aws_overlay("bucket", **undo)


@fault("bucket-may-be-public", turns_red=["s3-public-access-block"])
def bucket_may_be_public(sandbox: Sandbox) -> Iterator[None]:
    """One of the user frontend's public access blocks is off."""
    s3, bucket = sandbox.aws("s3"), required(_frontend(sandbox).bucket)
    before = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={**before, "RestrictPublicBuckets": False})
    yield
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=before)


@contextmanager
def _policy(sandbox: Sandbox, change: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """The user frontend's bucket policy, with its one statement changed."""
    s3, bucket = sandbox.aws("s3"), required(_frontend(sandbox).bucket)
    before = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    policy = json.loads(before)
    change(policy["Statement"][0])
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    time.sleep(_SETTLED)
    try:
        yield
    finally:
        s3.put_bucket_policy(Bucket=bucket, Policy=before)
        time.sleep(_SETTLED)


@fault("bucket-readable-by-the-world", turns_red=["s3-policy-oac-only"])
def bucket_readable_by_the_world(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket policy lets everybody read."""
    with _policy(sandbox, lambda statement: (statement.update(Principal="*"), statement.pop("Condition"))):
        yield


@fault(
    "bucket-open-to-the-world", turns_red=["s3-public-access-block", "s3-policy-oac-only", "s3-direct-access-denied"]
)
def bucket_open_to_the_world(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket policy lets everybody read, and no public access block overrides it."""
    s3, bucket = sandbox.aws("s3"), required(_frontend(sandbox).bucket)
    before = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(before, False))
    with _policy(sandbox, lambda statement: (statement.update(Principal="*"), statement.pop("Condition"))):
        yield
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=before)


@fault("bucket-closed-to-the-cdn", turns_red=["s3-policy-oac-only", "cdn-index-200"])
def bucket_closed_to_the_cdn(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket policy names a distribution that was replaced."""
    ghost = {"StringEquals": {"AWS:SourceArn": "arn:aws:cloudfront::123456789012:distribution/EREPLACED"}}
    with _policy(sandbox, lambda statement: statement.update(Condition=ghost)):
        yield
