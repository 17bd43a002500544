"""Faults of the distributions, and of the frontend builds that they serve."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gli.config.environments import Environment
from sandbox import frontends
from sandbox.aws.account import EDGE_REGION
from sandbox.aws.seed_edge import invalidate
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import changed_distribution, distribution_id, user_bucket, user_frontend
from sandbox.site import required

_PAGE = "index.html"


@fault("source-map-uploaded", turns_red=["cdn-no-source-maps"])
def source_map_uploaded(sandbox: Sandbox) -> Iterator[None]:
    """A source map was uploaded beside its script."""
    s3, bucket = sandbox.aws("s3"), user_bucket(sandbox)
    source_map = f"{frontends.entry_script(s3, bucket)}.map"
    s3.put_object(Bucket=bucket, Key=source_map, Body=b"{}", ContentType="application/json")
    yield
    s3.delete_object(Bucket=bucket, Key=source_map)


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
    with changed_distribution(sandbox, lambda config: config["ViewerCertificate"].update(ACMCertificateArn=other)):
        yield
    acm.delete_certificate(CertificateArn=other)


@fault("cdn-disabled", turns_red=["cdn-deployed", "cdn-index-200"])
def cdn_disabled(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution is disabled."""
    with changed_distribution(sandbox, lambda config: config.update(Enabled=False)):
        yield


@fault("cdn-origin-without-access-control", turns_red=["cdn-origin-oac", "cdn-index-200"])
def cdn_origin_without_access_control(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution reads its bucket without origin access control."""

    def unsigned(config: dict[str, Any]) -> None:
        config["Origins"]["Items"][0]["OriginAccessControlId"] = ""

    with changed_distribution(sandbox, unsigned):
        yield


@fault("cdn-reads-another-folder", turns_red=["cdn-origin-oac", "cdn-index-200"])
def cdn_reads_another_folder(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution looks for its files in the folder of last year."""
    with changed_distribution(sandbox, lambda config: config["Origins"]["Items"][0].update(OriginPath="/old")):
        yield


@fault("cdn-errors-kept", turns_red=["cdn-error-mapping"])
def cdn_errors_kept(sandbox: Sandbox) -> Iterator[None]:
    """The edge caches an error of the origin for five minutes."""
    with changed_distribution(
        sandbox, lambda config: config["CustomErrorResponses"]["Items"][0].update(ErrorCachingMinTTL=300)
    ):
        yield


@fault("cdn-invalidation-running", turns_red=["cdn-invalidation-complete"])
def cdn_invalidation_running(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's newest invalidation has not reached every edge."""
    undo = sandbox.aws_overlay("invalidation", distribution=distribution_id(sandbox), status="InProgress")
    yield
    sandbox.aws_overlay("invalidation", **undo)


@fault("cdn-serves-plain-http", turns_red=["cdn-viewer-https"])
def cdn_serves_plain_http(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution serves plain HTTP too."""
    plain = {"ViewerProtocolPolicy": "allow-all"}
    with changed_distribution(sandbox, lambda config: config["DefaultCacheBehavior"].update(plain)):
        yield


@fault("cdn-serves-a-path-over-plain-http", turns_red=["cdn-viewer-https"])
def cdn_serves_a_path_over_plain_http(sandbox: Sandbox) -> Iterator[None]:
    """A behaviour for one path of the user frontend's distribution serves plain HTTP too."""

    def plain(config: dict[str, Any]) -> None:
        another = {"PathPattern": "/downloads/*", "ViewerProtocolPolicy": "allow-all"}
        config["CacheBehaviors"] = {"Quantity": 1, "Items": [{**config["DefaultCacheBehavior"], **another}]}

    with changed_distribution(sandbox, plain):
        yield


@fault("cdn-routes-lost", turns_red=["cdn-error-mapping", "cdn-spa-deep-link"])
def cdn_routes_lost(sandbox: Sandbox) -> Iterator[None]:
    """The function that sends the application's routes to its index is no longer attached."""
    nothing = {"FunctionAssociations": {"Quantity": 0}}
    with changed_distribution(sandbox, lambda config: config["DefaultCacheBehavior"].update(nothing)):
        yield


def _errors(config: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = config["CustomErrorResponses"]["Items"]
    return found


def _fall_back_to_the_index(config: dict[str, Any]) -> None:
    for item in _errors(config):
        item.update(ResponsePagePath="/index.html", ResponseCode="200")


@fault("cdn-blanket-fallback", turns_red=["cdn-missing-asset-404"])
def cdn_blanket_fallback(sandbox: Sandbox) -> Iterator[None]:
    """A missing path is answered with 200 and a page that is not the application's."""
    with changed_distribution(sandbox, lambda config: [e.update(ResponseCode="200") for e in _errors(config)]):
        yield


@contextmanager
def _deleted(sandbox: Sandbox, key: str) -> Iterator[None]:
    """Delete an object of the user frontend's bucket; the bucket is versioned, so the object can be restored."""
    s3, bucket = sandbox.aws("s3"), required(user_frontend(sandbox).bucket)
    marker = s3.delete_object(Bucket=bucket, Key=key)["VersionId"]
    try:
        yield
    finally:
        s3.delete_object(Bucket=bucket, Key=key, VersionId=marker)


@fault("cdn-page-to-save", turns_red=["cdn-index-200"])
def cdn_page_to_save(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's index.html was uploaded as an attachment: browsers save it and show nothing."""
    s3, bucket = sandbox.aws("s3"), required(user_frontend(sandbox).bucket)
    page = s3.get_object(Bucket=bucket, Key=_PAGE)
    how = {"ContentType": page["ContentType"], "CacheControl": page["CacheControl"]}
    body = page["Body"].read()
    made = s3.put_object(Bucket=bucket, Key=_PAGE, Body=body, ContentDisposition="attachment", **how)["VersionId"]
    invalidate(sandbox.account, distribution_id(sandbox))
    yield
    s3.delete_object(Bucket=bucket, Key=_PAGE, VersionId=made)


@fault("cdn-index-deleted", turns_red=["cdn-index-200", "cdn-spa-deep-link", "s3-index-object"])
def cdn_index_deleted(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's index.html is not in its bucket."""
    with _deleted(sandbox, "index.html"):
        yield


@fault("cdn-asset-deleted", turns_red=["cdn-assets-resolve"])
def cdn_asset_deleted(sandbox: Sandbox) -> Iterator[None]:
    """The index names an asset that is not in the bucket."""
    with _deleted(sandbox, _stylesheet(sandbox)):
        yield


@fault("cdn-asset-disguised", turns_red=["cdn-assets-resolve", "parity-edge"])
def cdn_asset_disguised(sandbox: Sandbox) -> Iterator[None]:
    """The index names an asset that is missing, and the fallback answers it with the index page and 200."""
    with _deleted(sandbox, _stylesheet(sandbox)), changed_distribution(sandbox, _fall_back_to_the_index):
        yield


def _stylesheet(sandbox: Sandbox) -> str:
    return next(key for key in _build(sandbox, sandbox.environment) if key.endswith(".css"))


def _build(sandbox: Sandbox, of: Environment) -> dict[str, frontends.Asset]:
    """The user frontend at staging's revision, built for one environment or the other."""
    frontend = of.frontends[user_frontend(sandbox).name]
    return frontends.build(of, frontend, sandbox.site.revision(sandbox.environment, frontend.repository))


@contextmanager
def _uploaded(sandbox: Sandbox, assets: dict[str, frontends.Asset], *, invalidated: bool = True) -> Iterator[None]:
    """Upload objects to the user frontend's bucket, over the existing ones; by default with an invalidation."""
    s3, bucket = sandbox.aws("s3"), required(user_frontend(sandbox).bucket)
    versions = {}
    for key, asset in assets.items():
        answer = s3.put_object(
            Bucket=bucket, Key=key, Body=asset.body, ContentType=asset.content_type, CacheControl=asset.cache_control
        )
        versions[key] = answer["VersionId"]
    if invalidated:
        invalidate(sandbox.account, distribution_id(sandbox))
    try:
        yield
    finally:
        for key, version in versions.items():
            s3.delete_object(Bucket=bucket, Key=key, VersionId=version)


@fault("cdn-build-of-production", turns_red=["cdn-api-base-correct"])
def cdn_build_of_production(sandbox: Sandbox) -> Iterator[None]:
    """Staging serves a build of the user frontend with production's addresses."""
    with _uploaded(sandbox, _build(sandbox, sandbox.site.other)):
        yield


@fault("cdn-old-build-uploaded", turns_red=["cdn-index-fresh", "s3-index-object"])
def cdn_old_build_uploaded(sandbox: Sandbox) -> Iterator[None]:
    """The deploy uploaded the user frontend of the previous release."""
    with _uploaded(sandbox, {_PAGE: _old_page(sandbox)}):
        yield


@fault("cdn-page-of-another-type", turns_red=["cdn-index-200", "s3-index-object"])
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


@fault("cdn-page-kept-for-a-year", turns_red=["cdn-index-200", "cdn-index-cache-control"])
def cdn_page_kept_for_a_year(sandbox: Sandbox) -> Iterator[None]:
    """The page was uploaded with the Cache-Control of the assets: whoever loads it stays on this release for a year."""
    page = _build(sandbox, sandbox.environment)[_PAGE]
    with _uploaded(sandbox, {_PAGE: page._replace(cache_control="public, max-age=31536000, immutable")}):
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
    """The user frontend's page was uploaded again, without an invalidation of the previous one."""
    time.sleep(1.1)  # S3 gives the time of an upload in whole seconds
    page = _build(sandbox, sandbox.environment)[_PAGE]
    with _uploaded(sandbox, {_PAGE: page}, invalidated=False):
        yield


@fault("cdn-index-stale", turns_red=["cdn-index-fresh"])
def cdn_index_stale(sandbox: Sandbox) -> Iterator[None]:
    """The edge still serves the index of the previous release."""
    host = user_frontend(sandbox).host
    with _uploaded(sandbox, {_PAGE: _old_page(sandbox)}):
        sandbox.cdn.pin(host, f"/{_PAGE}")
    yield
    sandbox.cdn.unpin(host, f"/{_PAGE}")


def _old_page(sandbox: Sandbox) -> frontends.Asset:
    """The page of the previous release."""
    frontend = user_frontend(sandbox)
    before = sandbox.site.before(frontend.repository)
    return frontends.build(sandbox.environment, frontend, before)[_PAGE]


@contextmanager
def _entry_with(sandbox: Sandbox, more: bytes) -> Iterator[None]:
    """The user frontend's entry script with more code at its end."""
    build = _build(sandbox, sandbox.environment)
    key = next(key for key in build if key.startswith("assets/index-") and key.endswith(".js"))
    with _uploaded(sandbox, {key: build[key]._replace(body=build[key].body + more)}):
        yield


@fault("cdn-chunk-missing", turns_red=["cdn-chunks-complete"])
def cdn_chunk_missing(sandbox: Sandbox) -> Iterator[None]:
    """The chunk of a route, which is loaded at the click, is not in the bucket."""
    with _deleted(sandbox, next(key for key in _build(sandbox, sandbox.environment) if "LoginView" in key)):
        yield


@fault("cdn-configuration-missing", turns_red=["cdn-chunks-complete"])
def cdn_configuration_missing(sandbox: Sandbox) -> Iterator[None]:
    """The entry script asks for a configuration that is not in the bucket."""
    more = b'export const settings = await (await fetch("/config.json")).json();\n'
    with _entry_with(sandbox, more):
        yield


@fault("cdn-bundle-calls-in-clear", turns_red=["cdn-api-base-correct"])
def cdn_bundle_calls_in_clear(sandbox: Sandbox) -> Iterator[None]:
    """One module of the bundle calls the API by http://: browsers refuse that on a page of HTTPS."""
    plain = sandbox.environment.services["api"].url.replace("https://", "http://")
    with _entry_with(sandbox, f'export const report = () => fetch("{plain}/api/v1/notices/");\n'.encode()):
        yield


@fault("cdn-worker-missing", turns_red=["cdn-chunks-complete"])
def cdn_worker_missing(sandbox: Sandbox) -> Iterator[None]:
    """The entry script names a worker beside itself, by `import.meta.url`, and the worker is not in the bucket."""
    more = b'export const start = () => new Worker(new URL("./worker-4f9a1c2b.js", import.meta.url));\n'
    with _entry_with(sandbox, more):
        yield


@fault("cdn-service-worker-missing", turns_red=["cdn-chunks-complete"])
def cdn_service_worker_missing(sandbox: Sandbox) -> Iterator[None]:
    """The page registers a service worker that the build no longer has: browsers keep the old one, and its old page."""
    page = _build(sandbox, sandbox.environment)[_PAGE]
    registers = b'<head><script>navigator.serviceWorker?.register("/sw.js", { scope: "/" })</script>'
    with _uploaded(sandbox, {_PAGE: page._replace(body=page.body.replace(b"<head>", registers))}):
        yield


@fault("cdn-service-worker-keeps-a-lost-file", turns_red=["cdn-chunks-complete"])
def cdn_service_worker_keeps_a_lost_file(sandbox: Sandbox) -> Iterator[None]:
    """The service worker wants to keep a script that was not uploaded: no browser installs the worker."""
    build = _build(sandbox, sandbox.environment)
    script = next(part for key, part in build.items() if key.endswith(".js"))
    kept = b'precacheAndRoute([{url:"assets/gone-4f9a1c2b.js",revision:null},{url:"index.html",revision:"1"}]);\n'
    registers = b'<head><script>navigator.serviceWorker.register("/sw.js")</script>'
    page = build[_PAGE]._replace(body=build[_PAGE].body.replace(b"<head>", registers))
    with _uploaded(sandbox, {_PAGE: page, "sw.js": script._replace(body=kept)}):
        yield


@fault("cdn-integrity-outdated", turns_red=["cdn-assets-resolve"])
def cdn_integrity_outdated(sandbox: Sandbox) -> Iterator[None]:
    """The page names the hash of an older entry script, so no browser runs the present one."""
    page = _build(sandbox, sandbox.environment)[_PAGE]
    old = base64.b64encode(hashlib.sha384(b"older").digest())
    body = page.body.replace(b'<script type="module"', b'<script type="module" integrity="sha384-' + old + b'"')
    with _uploaded(sandbox, {_PAGE: page._replace(body=body)}):
        yield


@fault("cdn-page-sends-visitors-away", turns_red=["cdn-index-200"])
def cdn_page_sends_visitors_away(sandbox: Sandbox) -> Iterator[None]:
    """The page still sends its visitors to the site with the notice of the last maintenance."""
    page = _build(sandbox, sandbox.environment)[_PAGE]
    away = b'<head><meta http-equiv="refresh" content="0; url=https://status.example.com/">'
    with _uploaded(sandbox, {_PAGE: page._replace(body=page.body.replace(b"<head>", away))}):
        yield


@fault("cdn-firewall-blocks-everybody", turns_red=["cdn-lets-users-in"])
def cdn_firewall_blocks_everybody(sandbox: Sandbox) -> Iterator[None]:
    """The web ACL in front of the user frontend blocks every request."""
    waf = sandbox.aws("wafv2", EDGE_REGION)
    seen = {"SampledRequestsEnabled": False, "CloudWatchMetricsEnabled": False, "MetricName": "gli"}
    acl = waf.create_web_acl(Name="gli", Scope="CLOUDFRONT", DefaultAction={"Block": {}}, VisibilityConfig=seen)
    made = acl["Summary"]
    with changed_distribution(sandbox, lambda config: config.update(WebACLId=made["ARN"])):
        yield
    waf.delete_web_acl(Name="gli", Scope="CLOUDFRONT", Id=made["Id"], LockToken=made["LockToken"])


@fault("cdn-policy-refuses-the-api", turns_red=["cdn-csp-admits-own"])
def cdn_policy_refuses_the_api(sandbox: Sandbox) -> Iterator[None]:
    """The page's Content-Security-Policy lets it connect to its own host only."""
    page = _build(sandbox, sandbox.environment)[_PAGE]
    policy = b"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'self'; connect-src 'self'\">"
    with _uploaded(sandbox, {_PAGE: page._replace(body=page.body.replace(b"<title>", policy + b"<title>"))}):
        yield


@fault("cdn-one-country-only", turns_red=["cdn-lets-users-in"])
def cdn_one_country_only(sandbox: Sandbox) -> Iterator[None]:
    """The distribution serves one country, which is not that of its users."""
    only = {"GeoRestriction": {"RestrictionType": "whitelist", "Quantity": 1, "Items": ["US"]}}
    with changed_distribution(sandbox, lambda config: config.update(Restrictions=only)):
        yield


@fault("page-chunk-throws", turns_red=["page-boots"])
def page_chunk_throws(sandbox: Sandbox) -> Iterator[None]:
    """The chunk of a route throws as soon as it is loaded."""
    build = _build(sandbox, sandbox.environment)
    key = next(key for key in build if "LoginView" in key)
    with _uploaded(sandbox, {key: build[key]._replace(body=b"export const show = null.show;\n")}):
        yield


@fault("page-script-of-no-grammar", turns_red=["page-boots"])
def page_script_of_no_grammar(sandbox: Sandbox) -> Iterator[None]:
    """The entry script has an error of syntax: it is served well, and no browser runs it."""
    with _entry_with(sandbox, b"export const = 1;\n"):
        yield


@fault("page-settings-missing", turns_red=["page-boots"])
def page_settings_missing(sandbox: Sandbox) -> Iterator[None]:
    """The entry script asks for its settings under a name that it puts together, and they are not in the bucket."""
    more = b"""
const name = ["settings", "json"].join(".");
export const settings = await (await fetch(`/${name}`)).json();
"""
    with _entry_with(sandbox, more):
        yield


@fault("page-policy-set-by-a-script", turns_red=["page-boots"])
def page_policy_set_by_a_script(sandbox: Sandbox) -> Iterator[None]:
    """The entry script sets a Content-Security-Policy that refuses the WebSocket server."""
    more = b"""
const policy = { httpEquiv: "Content-Security-Policy", content: "connect-src 'self'" };
document.head.append(Object.assign(document.createElement("meta"), policy));
"""
    with _entry_with(sandbox, more):
        yield


@fault("page-kept-by-the-cdn", turns_red=["cdn-asks-for-the-page"])
def page_kept_by_the_cdn(sandbox: Sandbox) -> Iterator[None]:
    """The minimum TTL of the user frontend's distribution is a day: the page's no-cache counts for nothing."""
    forwarded = {"QueryString": False, "Cookies": {"Forward": "none"}}

    def keep(config: dict[str, Any]) -> None:
        behavior = config["DefaultCacheBehavior"]
        behavior.pop("CachePolicyId", None)
        behavior.update(MinTTL=86_400, DefaultTTL=86_400, MaxTTL=31_536_000, ForwardedValues=forwarded)

    with changed_distribution(sandbox, keep):
        yield


@fault("cdn-wants-signed-urls", turns_red=["cdn-lets-users-in"])
def cdn_wants_signed_urls(sandbox: Sandbox) -> Iterator[None]:
    """The default behaviour of the user frontend's distribution trusts a key group: it wants signed URLs."""
    groups = {"Enabled": True, "Quantity": 1, "Items": ["4b6c2a4e-7f10-4d0e-9a63-0f6f0f2a1c55"]}
    with changed_distribution(sandbox, lambda c: c["DefaultCacheBehavior"].update(TrustedKeyGroups=groups)):
        yield


@fault("cdn-bundle-tells-a-secret", turns_red=["cdn-no-secrets"])
def cdn_bundle_tells_a_secret(sandbox: Sandbox) -> Iterator[None]:
    """The build put a key of the mail service into the user frontend's entry script."""
    more = b'export const mail = {key: "SG.xGLIxGLIxGLIxGLI.notARealKeyNotARealKeyNotARealKey"};\n'
    with _entry_with(sandbox, more):
        yield


@fault("cdn-keeps-answers-of-users", turns_red=["cdn-keeps-no-user"])
def cdn_keeps_answers_of_users(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution passes /api/* to the load balancer, and keeps each answer for five minutes."""
    name = required(sandbox.environment.load_balancer).name
    host = sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]["DNSName"]

    def keep(config: dict[str, Any]) -> None:
        custom = {"HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "https-only"}
        config["Origins"]["Items"].append({"Id": "api", "DomainName": host, "CustomOriginConfig": custom})
        config["Origins"]["Quantity"] = len(config["Origins"]["Items"])
        kept = {"MinTTL": 300, "DefaultTTL": 300, "MaxTTL": 300}
        path = {"PathPattern": "/api/*", "TargetOriginId": "api", "ViewerProtocolPolicy": "redirect-to-https", **kept}
        config["CacheBehaviors"] = {"Quantity": 1, "Items": [{**path, "Compress": True}]}

    with changed_distribution(sandbox, keep):
        yield
